"""Base classes of the other metrics: their contract, validation, and sums over chunks of rows."""

from collections.abc import Iterator
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_matrix, spmatrix
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils import gen_batches
from sklearn.utils.validation import check_is_fitted, validate_data

from .._utils.arrays import check_whole_numbers
from .._utils.validation import encode_labels, has_other_rows, label_array

# Number of values in a chunk that is converted to float64, 8 MiB.
_CHUNK_VALUES = 1 << 20

# Range of values whose fourth powers, and sums of many of them, are well within float64.
_SAFE_MAGNITUDES = 1e-30, 1e30

#: Largest difference from 1 of the sum of the source-class probabilities of a row. Probabilities
#: in half precision differ by about this much.
SUM_TOLERANCE = 1e-3


class BaseCompanion(BaseEstimator):
    """Estimator of one metric of labelled rows. A subclass computes it in `_measure`.

    `_measure` returns a dict of fitted attributes that contains `score_`. It sets no attribute,
    so that scoring other rows does not change the estimator.
    """

    #: Output of a network that is measured, see :class:`~sklearn_ncti.FeatureScorer`.
    response = "features"

    _parameter_constraints: dict = {}
    # Arguments for scikit-learn's validation of X and y.
    _validation: dict = {}
    # Whether the metric does not depend on the scale of the features.
    _is_scale_free = False

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Measure labelled rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            One row per sample. float32 is not converted, but summed in float64. Other types
            become float64.

        y : array-like of shape (n_samples,)
            Class of each row: strings, integers or booleans. LogME also accepts real numbers,
            in one or several columns.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If `X` contains NaN or infinity, has fewer than two rows, or whole numbers that
            float64 rounds. If `y` has another length than `X`, only one class, a missing label,
            or is not a vector of class labels. If the metric is undefined for these rows; the
            message explains why, and how to fix it.

        TypeError
            If labels cannot be sorted.
        """
        for name, value in self._validate_and_measure(X, y, reset=True).items():
            setattr(self, name, value)
        return self

    def score(self, X: ArrayLike | None = None, y: ArrayLike | None = None) -> float:
        """Return the metric of the fitted rows or of other rows.

        The score of other rows does not depend on the fitted rows: it equals the score after
        `fit` to these rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), default=None
            Rows to measure. If None, the score of the fitted rows is returned.

        y : array-like of shape (n_samples,), default=None
            Classes of these rows.

        Returns
        -------
        score : float
            Value of the metric; larger is better.
        """
        check_is_fitted(self)
        if not has_other_rows(X, y):
            return self.score_
        return self._validate_and_measure(X, y, reset=False)["score_"]

    def _validate_and_measure(self, X: Any, y: Any, reset: bool) -> dict[str, Any]:
        """Validate rows, and return the fitted attributes for them."""
        check_whole_numbers(X)
        X, y = validate_data(
            self,
            X,
            label_array(y),
            reset=reset,
            dtype=[np.float64, np.float32],
            order="C",
            ensure_min_samples=2,
            **self._validation,
        )
        self._check_rows(X)
        return self._measure_targets(X, y)

    def _check_rows(self, X: np.ndarray) -> None:
        """Raise a ValueError if the metric is undefined for `X`, here if all rows are equal."""
        # Stops at the first row that differs, usually the second.
        if all(np.array_equal(row, X[0]) for row in X[1:]):
            raise ValueError(
                f"X has constant features: all {len(X)} rows are equal, so there is nothing "
                "to tell classes apart by. Check the images and the weights that the features "
                "come from."
            )

    def _measure_targets(self, X: np.ndarray, y: np.ndarray) -> dict[str, Any]:
        """Return the fitted attributes for validated rows and targets."""
        classes, codes = encode_labels(y)
        if self._is_scale_free:
            X, _ = at_safe_scale(X)
        return {"classes_": classes} | self._measure(X, codes, len(classes))

    def _measure(self, X: np.ndarray, y: np.ndarray, n_classes: int) -> dict[str, Any]:
        """Return the fitted attributes for validated rows and the codes of their classes.

        A metric of targets that need not be classes overrides `_measure_targets` instead.
        """
        raise NotImplementedError

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


class BaseProbabilityCompanion(BaseCompanion):
    """Metric of the probabilities that a network assigns to its source classes."""

    response = "probabilities"

    def _check_rows(self, X: np.ndarray) -> None:
        sums = X.sum(axis=1, dtype=np.float64)
        bad = np.flatnonzero((X.min(axis=1) < 0) | (np.abs(sums - 1) > SUM_TOLERANCE))
        if len(bad):
            row = bad[0]
            least = X[row].min()
            start = (
                f"Negative values in data passed to {type(self).__name__}: " if least < 0 else ""
            )
            raise ValueError(
                f"{start}X must hold probabilities of source classes, at least 0 and adding up to "
                f"1 within {SUM_TOLERANCE} in every row, but {len(bad)} of {len(X)} rows do not: "
                f"row {row} adds up to {sums[row]:.6g}, and its least entry is {least:.6g}. Pass "
                "the output of the whole network after a softmax (scipy.special.softmax(logits, "
                "axis=1)), neither its logits nor its features."
            )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        return tags


def at_safe_scale(X: np.ndarray) -> tuple[np.ndarray, int]:
    """Return ``X * 2**exponent``, which is exact, and the exponent.

    The exponent is 0, and `X` is not copied, unless fourth powers could exceed the range of
    float64.
    """
    largest = max(float(X.max()), -float(X.min()))
    low, high = _SAFE_MAGNITUDES
    if low < largest < high:
        return X, 0
    exponent = -int(np.frexp(largest)[1])
    return np.ldexp(X, exponent), exponent


def row_blocks(X: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield slices over the rows of `X`, and these rows in float64."""
    for rows in gen_batches(len(X), max(1, _CHUNK_VALUES // X.shape[1])):
        yield rows, X[rows].astype(np.float64, copy=False)


def one_hot(y: np.ndarray, n_classes: int) -> csr_matrix:
    """Return a sparse matrix of shape (n_samples, n_classes) with a 1 in the class of each row."""
    n = len(y)
    return csr_matrix((np.ones(n), y, np.arange(n + 1)), (n, n_classes))


def cross_products(Y: np.ndarray | spmatrix, X: np.ndarray) -> np.ndarray:
    """Return ``Y.T @ X`` in float64. If `Y` is `one_hot`, these are sums over each class."""
    return sum(Y[rows].T @ block for rows, block in row_blocks(X))
