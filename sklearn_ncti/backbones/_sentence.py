"""Texts to the embeddings of a `SentenceTransformer` that the user has made."""

import sys
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from ._texts import check_texts


class SentenceEncoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Texts to what the `encode` of a sentence encoder gives, as a transformer.

    Parameters
    ----------
    model : SentenceTransformer
        The encoder.

    Attributes
    ----------
    n_features_out_ : int
        Number of features.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    def fit(self, X: Any, y: Any = None) -> Self:
        """Encode one text to find the number of features."""
        self.n_features_out_ = self._encode(check_texts(X)[:1]).shape[1]
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the embeddings of texts, one row for each."""
        check_is_fitted(self)
        return self._encode(check_texts(X))

    def _encode(self, texts: list[str]) -> np.ndarray:
        rows = self.model.encode(list(texts), convert_to_numpy=True, show_progress_bar=False)
        return np.asarray(rows, dtype=np.float32)

    @property
    def _n_features_out(self) -> int:
        return self.n_features_out_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        return tags


def is_sentence_transformer(model: Any) -> bool:
    """Whether an object is a `SentenceTransformer`; its package is not imported for it."""
    # One can only have been made where the package is imported already.
    package = sys.modules.get("sentence_transformers")
    kind = getattr(package, "SentenceTransformer", None)
    return kind is not None and isinstance(model, kind)
