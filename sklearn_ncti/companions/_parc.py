"""PARC, agreement of pairwise distances of features and of labels."""

from numbers import Integral

import numpy as np
from scipy.stats import rankdata
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval

from ._base import BaseCompanion

# Distances that agree to this many decimals are ties: rounding would order them otherwise.
_DECIMALS = 12


class PARC(BaseCompanion):
    r"""Pairwise annotation representation comparison: how alike rows of one class are.

    Every pair of rows has a distance in the features, one minus the Pearson correlation of the
    two rows, and one in the labels. The score is the Spearman correlation of the two over all
    pairs. Larger is better.

    Read more in the :ref:`User Guide <companions>`.

    Parameters
    ----------
    max_rows : int, default=2000
        Rows that are compared at most. More are drawn from, each class in proportion; it
        takes about twice as many as there are classes to find two rows of one class.

    random_state : int, RandomState instance or None, default=0
        Which rows are drawn. The default draws the same rows for every candidate, which a
        comparison of candidates needs.

    Attributes
    ----------
    score_ : float
        The rank correlation, in [-1, 1]; larger is better.

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

    Label distances have two values, 0 within a class and :math:`C / (C - 1)` between two, so
    that only features of two distances as well reach 1, and with many classes all scores come
    near 0: compare candidates on the same labels only.

    The paper states the score in hundredths. Its code brings every feature to zero mean and
    unit variance before the rows are correlated, which the equation does not have;
    ``make_pipeline(StandardScaler(), PARC())`` does the same here. Without it a few features of
    large mean, the same in all rows, make all rows look alike.

    A row whose features are all equal has no covariance with others and counts as uncorrelated,
    at distance 1. With two features, distances are 0 or 2. Where all distances are equal, or no
    two of the rows that are compared are of one class, there is nothing to rank: an error.

    Costs O(m^2 (d + log m)) for m = min(n, max_rows) rows, and keeps m^2 numbers.

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

    def _measure(self, X, y, n_classes):
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
        # Label distances have two values, so that an indicator is as good as their ranks.
        score = np.corrcoef(ranks, differ)[0, 1]
        return {"score_": float(score), "n_rows_": len(rows)}


def _stratified_draw(y, size, rng):
    """Rows of a draw in which every class has its share of `size`, up to one row."""
    shuffled = rng.permutation(len(y))
    by_class = shuffled[np.argsort(y[shuffled], kind="stable")]
    counts = np.bincount(y)
    within = np.arange(len(y)) - np.repeat(np.cumsum(counts) - counts, counts)
    # Evenly spaced marks in each class, from a start of its own: the first `size` marks of all
    # classes together are a proportional draw.
    marks = (within + np.repeat(rng.uniform(size=len(counts)), counts)) / np.repeat(counts, counts)
    return np.sort(by_class[np.argsort(marks, kind="stable")[:size]])


def _unit_rows(X):
    """Centre every row of `X` and bring it to length 1, in place; rows without spread to 0."""
    largest = np.abs(X).max(axis=1)
    X -= X.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(X, axis=1)
    flat = lengths <= X.shape[1] * np.finfo(np.float64).eps * largest
    X[flat] = 0.0
    lengths[flat] = 1.0
    X /= lengths[:, None]
    return X
