"""PARC: rank correlation of pairwise distances of features and of labels."""

from numbers import Integral
from typing import Any

import numpy as np
from scipy.stats import rankdata
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval

from ._base import BaseCompanion

# Distances that agree to this number of decimals are ties. Otherwise, rounding would order them.
_DECIMALS = 12


class PARC(BaseCompanion):
    r"""Pairwise annotation representation comparison: similarity of rows of the same class.

    Every pair of rows has a feature distance, one minus the Pearson correlation of the two rows,
    and a label distance. The score is the Spearman correlation of these distances over all
    pairs. Larger is better.

    Read more in the :ref:`User Guide <companions>`.

    Parameters
    ----------
    max_rows : int, default=2000
        Maximal number of rows that are compared. If there are more, a sample is drawn that is
        stratified by class. Use at least about twice the number of classes, so that the sample
        contains two rows of the same class.

    random_state : int, RandomState instance or None, default=0
        Controls the sampling of rows. The default draws the same rows for every candidate,
        which is necessary to compare candidates.

    Attributes
    ----------
    score_ : float
        Rank correlation, in [-1, 1]; larger is better.

    n_rows_ : int
        Number of rows that were compared.

    classes_ : ndarray of shape (n_classes,)
        Class labels.

    n_features_in_ : int
        Number of features seen in `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen in `fit`. Defined only if all names are strings.

    Notes
    -----
    With the one-hot labels :math:`Y`,

    .. math::

       \mathrm{PARC} = \operatorname{spearman} \bigl(
       \{ 1 - r(x_i, x_j) \}_{i < j}, \{ 1 - r(Y_i, Y_j) \}_{i < j} \bigr).

    Label distances have only two values, 0 within a class and :math:`C / (C - 1)` between
    classes. The score is therefore 1 only if feature distances also have two values, and with
    many classes all scores are near 0. Compare candidates only on the same labels.

    The paper multiplies the score by 100. Its code standardizes every feature before the rows
    are correlated, which the equation does not contain. To do the same, use
    ``make_pipeline(StandardScaler(), PARC())``. Without it, a few features with a large mean
    make all rows similar.

    A row whose features are all equal counts as uncorrelated with all other rows, with distance
    1. With two features, all distances are 0 or 2. If all distances are equal, or if no two of
    the compared rows have the same class, ranks are undefined, and an error is raised.

    The cost is O(m^2 (d + log m)) for m = min(n, max_rows) rows, and the memory O(m^2).

    References
    ----------
    .. [1] Bolya, Mittapalli, Hoffman. "Scalable Diverse Model Selection for Accessible Transfer
       Learning". NeurIPS 2021.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ncti.companions import PARC
    >>> X, y = load_iris(return_X_y=True)
    >>> round(PARC().fit(X, y).score(), 3)
    0.75
    """

    _parameter_constraints: dict = {
        "max_rows": [Interval(Integral, 3, None, closed="left")],
        "random_state": ["random_state"],
    }
    _is_scale_free = True

    def __init__(
        self, *, max_rows: int = 2000, random_state: int | np.random.RandomState | None = 0
    ):
        self.max_rows = max_rows
        self.random_state = random_state

    def _measure(self, X: np.ndarray, y: np.ndarray, n_classes: int) -> dict[str, Any]:
        rows = np.arange(len(X))
        if len(X) > self.max_rows:
            rows = _stratified_draw(y, self.max_rows, check_random_state(self.random_state))
        i, j = np.triu_indices(len(rows), 1)
        differ = y[rows][i] != y[rows][j]
        if differ.all() or not differ.any():
            raise ValueError(
                f"y has no pair of rows of {'one class' if differ.all() else 'two classes'} "
                f"among the {len(rows)} rows that are compared, and the metric needs both "
                f"kinds of pairs. Raise max_rows={self.max_rows}, or add rows."
            )
        units = _unit_rows(X[rows].astype(np.float64))
        distances = 1.0 - (units @ units.T)[i, j]
        ranks = rankdata(distances.round(_DECIMALS))
        if np.ptp(ranks) == 0:
            raise ValueError(
                f"X has the same distance between any two of {len(rows)} rows with "
                f"n_features = {X.shape[1]}, so that there is nothing to rank. Pass more "
                "features, or bring each of them to zero mean and unit variance first."
            )
        # Label distances have two values, so that an indicator gives the same correlation.
        score = np.corrcoef(ranks, differ)[0, 1]
        return {"score_": float(score), "n_rows_": len(rows)}


def _stratified_draw(y: np.ndarray, size: int, rng: np.random.RandomState) -> np.ndarray:
    """Return the sorted indices of a sample of `size` rows, stratified by class."""
    shuffled = rng.permutation(len(y))
    by_class = shuffled[np.argsort(y[shuffled], kind="stable")]
    counts = np.bincount(y)
    within = np.arange(len(y)) - np.repeat(np.cumsum(counts) - counts, counts)
    # Each class has evenly spaced positions in [0, 1] with a random offset. The rows at the first
    # `size` positions of all classes are a proportional sample.
    positions = (within + np.repeat(rng.uniform(size=len(counts)), counts)) / np.repeat(
        counts, counts
    )
    return np.sort(by_class[np.argsort(positions, kind="stable")[:size]])


def _unit_rows(X: np.ndarray) -> np.ndarray:
    """Center every row of `X` and scale it to length 1, in place. Constant rows become 0."""
    largest = np.abs(X).max(axis=1)
    X -= X.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(X, axis=1)
    flat = lengths <= X.shape[1] * np.finfo(np.float64).eps * largest
    X[flat] = 0.0
    lengths[flat] = 1.0
    X /= lengths[:, None]
    return X
