"""What all companions share: the contract, validation, sums over chunks of rows."""

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

# Values in a chunk that is brought to float64, 8 MiB.
_CHUNK_VALUES = 1 << 20

# Between these, the fourth powers of values, and sums of many, are well within float64.
_SAFE_MAGNITUDES = 1e-30, 1e30

#: How far the source-class probabilities of a row may be from adding up to 1: half precision
#: leaves about this.
SUM_TOLERANCE = 1e-3


class BaseCompanion(BaseEstimator):
    """One number for labelled rows. A subclass says in `_measure` which one.

    `_measure` returns a dict of fitted attributes, `score_` among them, and sets nothing, so
    that rows can be scored without a trace on the estimator.
    """

    #: What of a network it measures, see :class:`~sklearn_ncti.FeatureScorer`.
    response = "features"

    _parameter_constraints: dict = {}
    # Passed on to scikit-learn's validation of X and y.
    _validation: dict = {}
    # Whether the metric is the same for all multiples of the features.
    _is_scale_free = False

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Measure labelled rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            One row per sample. float32 is kept and summed in float64, anything else becomes
            float64.

        y : array-like of shape (n_samples,)
            Class of each row: strings, integers or booleans. LogME takes real numbers as
            well, in one or several columns.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If `X` has NaN, infinity, fewer than two rows or whole numbers that float64 rounds,
            if `y` has another length than `X`, one class only, a missing label, or is no
            vector of class labels, or if the metric cannot be computed from these rows; the
            message then says why and what to do.

        TypeError
            If labels cannot be sorted.
        """
        for name, value in self._measured(X, y, reset=True).items():
            setattr(self, name, value)
        return self

    def score(self, X: ArrayLike | None = None, y: ArrayLike | None = None) -> float:
        """Value of the metric on the fitted rows, or on others by themselves.

        Nothing that was fitted enters the score of other rows: it is what `fit` on them would
        give.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), default=None
            Rows to measure; None for the fitted rows.

        y : array-like of shape (n_samples,), default=None
            Their classes.

        Returns
        -------
        score : float
            The metric; larger is better.
        """
        check_is_fitted(self)
        if not has_other_rows(X, y):
            return self.score_
        return self._measured(X, y, reset=False)["score_"]

    def _measured(self, X, y, reset) -> dict[str, Any]:
        """Validate rows and return all fitted attributes that they give."""
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

    def _check_rows(self, X) -> None:
        """Refuse rows that the metric has no value for: here, rows that are all equal."""
        # Stops at the first row that differs, which is mostly the second.
        if all(np.array_equal(row, X[0]) for row in X[1:]):
            raise ValueError(
                f"X has constant features: all {len(X)} rows are equal, so there is nothing "
                "to tell classes apart by. Check the images and the weights that the features "
                "come from."
            )

    def _measure_targets(self, X, y) -> dict[str, Any]:
        classes, codes = encode_labels(y)
        if self._is_scale_free:
            X, _ = at_safe_scale(X)
        return {"classes_": classes} | self._measure(X, codes, len(classes))

    def _measure(self, X: np.ndarray, y: np.ndarray, n_classes: int) -> dict[str, Any]:
        """Fitted attributes from validated rows and their class codes."""
        raise NotImplementedError

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


class BaseProbabilityCompanion(BaseCompanion):
    """A companion whose rows are the probabilities of a network's source classes."""

    response = "probabilities"

    def _check_rows(self, X) -> None:
        sums = X.sum(axis=1, dtype=np.float64)
        bad = np.flatnonzero((X.min(axis=1) < 0) | (np.abs(sums - 1) > SUM_TOLERANCE))
        if len(bad):
            row = bad[0]
            least = X[row].min()
            what = (
                f"Negative values in data passed to {type(self).__name__}: " if least < 0 else ""
            )
            raise ValueError(
                f"{what}X must hold probabilities of source classes, at least 0 and adding up to "
                f"1 within {SUM_TOLERANCE} in every row, but {len(bad)} of {len(X)} rows do not: "
                f"row {row} adds up to {sums[row]:.6g}, and its least entry is {least:.6g}. Pass "
                "the output of the whole network after a softmax (scipy.special.softmax(logits, "
                "axis=1)), neither its logits nor its features."
            )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        return tags


def at_safe_scale(X: np.ndarray) -> tuple[np.ndarray, int]:
    """Return ``X * 2**exponent``, which rounds nothing, and the exponent.

    It is 0, and `X` is not copied, unless squares of squares could leave the range of float64.
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
    """Sparse matrix of shape (n_samples, n_classes) with a 1 in the class of each row."""
    n = len(y)
    return csr_matrix((np.ones(n), y, np.arange(n + 1)), (n, n_classes))


def cross_products(Y: np.ndarray | spmatrix, X: np.ndarray) -> np.ndarray:
    """``Y.T @ X`` in float64; the sums of every class where `Y` is `one_hot`."""
    return sum(Y[rows].T @ block for rows, block in row_blocks(X))
