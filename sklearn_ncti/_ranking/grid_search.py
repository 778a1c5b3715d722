"""Scoring and refit functions with which GridSearchCV ranks candidates as a Ranking does."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._ncti.base import COMPONENTS
from .._scoring.normalization import NORMALIZATIONS, check_weights, summed


def ncti_scoring(estimator: Any, X: Any, y: ArrayLike) -> dict[str, float]:
    """Return the components of a fitted pipeline that ends in an NCTIScorer.

    Pass this function to ``GridSearchCV`` as ``scoring``, together with ``refit=ncti_refit``.
    The features are computed once for all components.

    Parameters
    ----------
    estimator : Pipeline or NCTIScorer
        Fitted pipeline whose last step is an :class:`NCTIScorer`, or the scorer alone.

    X : array-like
        Samples to score, in the form that the first step of the pipeline expects.

    y : array-like of shape (n_samples,)
        Class labels of `X`.

    Returns
    -------
    components : dict of str to float
        "seli", "ncc", "vc", and "score", the single-model score. Larger is better for all.

    Raises
    ------
    TypeError
        If the last step is not an NCTIScorer.

    See Also
    --------
    ncti_refit : Select the candidate with the largest sum of normalised components.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn.pipeline import Pipeline
    >>> from sklearn_ncti import NCTIScorer, ncti_refit, ncti_scoring
    >>> X, y = load_digits(return_X_y=True)
    >>> search = GridSearchCV(
    ...     Pipeline([("backbone", PCA()), ("ncti", NCTIScorer())]),
    ...     {"backbone__n_components": [2, 8, 32]},
    ...     scoring=ncti_scoring,
    ...     refit=ncti_refit,
    ...     cv=3,
    ... )
    >>> search.fit(X, y).best_params_
    {'backbone__n_components': 32}
    """
    steps = getattr(estimator, "steps", None)
    scorer = estimator if steps is None else estimator[-1]
    if not hasattr(scorer, "components"):
        raise TypeError(
            f"estimator must end in an NCTIScorer, got {type(scorer).__name__}: use "
            "Pipeline([..., ('ncti', NCTIScorer())])."
        )
    features = X if steps is None or len(steps) == 1 else estimator[:-1].transform(X)
    components = scorer.components(features, y)
    return {**components.raw, "score": sum(components.absolute.values())}


def ncti_refit(
    cv_results: Mapping[str, ArrayLike],
    *,
    normalization: str = "minmax",
    weights: Mapping[str, float] | None = None,
) -> int:
    """Return the index of the candidate with the largest sum of normalised components.

    Pass this function to ``GridSearchCV`` as ``refit``, together with ``scoring=ncti_scoring``.
    Each component is averaged over the splits and normalised over the candidates; the best
    candidate has the largest sum of these.

    Parameters
    ----------
    cv_results : dict of str to array-like of shape (n_candidates,)
        Attribute ``cv_results_`` of a search with ``scoring=ncti_scoring``.

    normalization : {"minmax", "zscore", "rank"}, default="minmax"
        Normalisation, see :func:`rank_features`. To change it, pass a
        :func:`functools.partial` of this function as ``refit``. For the sum of absolute
        components, use ``refit="score"`` instead of this function.

    weights : dict of str to float, default=None
        Weights of the components, see :func:`rank_features`.

    Returns
    -------
    best_index : int
        Index of the best candidate. Candidates whose fit or score failed are ignored.

    Raises
    ------
    ValueError
        If the search did not use ``scoring=ncti_scoring``, or if all candidates failed.
    """
    allowed = tuple(name for name in NORMALIZATIONS if name != "absolute")
    if normalization not in allowed:
        raise ValueError(f"normalization must be one of {list(allowed)}, got {normalization!r}.")
    columns = {name: cv_results.get(f"mean_test_{name}") for name in COMPONENTS}
    if any(column is None for column in columns.values()):
        raise ValueError(
            "cv_results has no mean_test_seli, mean_test_ncc and mean_test_vc: pass "
            "scoring=ncti_scoring together with refit=ncti_refit."
        )
    weights = check_weights(weights, COMPONENTS)
    values = np.array([columns[name] for name in COMPONENTS], dtype=float)
    ok = np.isfinite(values).all(axis=0)
    if not ok.any():
        raise ValueError("All candidates of the search failed: there is none to refit.")
    values[:, ~ok] = np.nan
    components = dict(zip(COMPONENTS, values, strict=True))
    return int(np.nanargmax(summed(components, normalization, weights)[0]))
