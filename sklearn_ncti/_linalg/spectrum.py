"""Power laws in the spectra of weight matrices, and the weighted alpha of a network."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .threads import shared_work

#: Smallest side of a matrix that is measured. A fit to fewer eigenvalues says little.
MIN_SIDE = 50

#: Largest smaller side: the time of the eigenvalues grows with its third power.
MAX_SIDE = 4096

# Mean logarithm of eigenvalues over the smallest of a tail, below which they are all equal.
_EQUAL_LOG = 1e-6


class PowerLaw(NamedTuple):
    """A power law that was fitted to the tail of a sample.

    Attributes
    ----------
    alpha : float
        Exponent of the density, which is proportional to ``x ** -alpha``; larger than 1.

    xmin : float
        Value from which on the power law holds.

    distance : float
        Kolmogorov-Smirnov distance between the tail and the power law, in [0, 1].

    n_tail : int
        Number of values in the tail.
    """

    alpha: float
    xmin: float
    distance: float
    n_tail: int


def power_law_fit(values: ArrayLike) -> PowerLaw | None:
    """Fit a continuous power law to the tail of a sample.

    For a given `xmin`, the exponent is the maximum-likelihood estimate
    ``1 + n / sum(log(x / xmin))`` over the n values x of at least `xmin`. Every value is tried as
    `xmin`; the one with the smallest Kolmogorov-Smirnov distance between the tail and its power
    law is taken (Clauset, Shalizi, Newman, "Power-law distributions in empirical data", SIAM
    Review 51, 2009).

    Parameters
    ----------
    values : array-like of shape (n_values,)
        Finite values; those that are not positive are left out.

    Returns
    -------
    fit : PowerLaw or None
        The fit; None if there are no two different positive values.
    """
    values = np.asarray(values, dtype=float)
    x = np.sort(values[values > 0])
    logs = np.log(x)
    first, after = np.searchsorted(x, x, "left"), np.searchsorted(x, x, "right")
    best = None
    for start in np.unique(first):
        over = logs[start:] - logs[start]
        if over.mean() <= _EQUAL_LOG:
            # Nor do larger starts leave different values.
            break
        alpha = 1 + 1 / over.mean()
        model = -np.expm1((1 - alpha) * over)
        # The empirical distribution steps at each value, so that either side may be farther off.
        below, above = (first[start:] - start) / len(over), (after[start:] - start) / len(over)
        distance = max(np.abs(model - below).max(), np.abs(model - above).max())
        if best is None or distance < best.distance:
            best = PowerLaw(float(alpha), float(x[start]), float(distance), len(over))
    return best


def weighted_alpha(matrices: Iterable[np.ndarray]) -> float:
    """Return the weighted alpha of weight matrices; smaller is better.

    It is the mean over the matrices W of ``alpha * log10(largest eigenvalue of W'W)``, where
    alpha is the exponent of the power law in the tail of the eigenvalues (Martin, Peng, Mahoney,
    "Predicting trends in the quality of state-of-the-art neural networks without access to
    training or testing data", Nature Communications 12, 2021; arXiv 2002.06716). In that paper,
    networks of a smaller weighted alpha have the smaller test error.

    As in the paper's own computations, W'W is not divided by the number of rows, and matrices
    with fewer than `MIN_SIDE` rows or columns are left out. So are those with more than
    `MAX_SIDE` of both, for their cost, and those whose eigenvalues are all equal.

    Parameters
    ----------
    matrices : iterable of ndarray of shape (n_rows, n_columns)
        The matrices. They are read one after the other.

    Returns
    -------
    weighted_alpha : float
        The mean; NaN if no matrix is left, or one of them is not finite.
    """
    large = (W for W in matrices if MIN_SIDE <= min(W.shape) <= MAX_SIDE)
    with shared_work() as run:
        terms = [term for term in run(_weighted_alpha_of, large) if term is not None]
    return math.fsum(terms) / len(terms) if terms else math.nan


def _weighted_alpha_of(W: np.ndarray) -> float | None:
    """Alpha times the logarithm for one matrix, NaN if it is not finite; None without a fit."""
    W = np.asarray(W, dtype=float)
    if not np.isfinite(W).all():
        return math.nan
    # The eigenvalues of the smaller Gram matrix are those of W'W but for zeros.
    gram = W.T @ W if W.shape[0] >= W.shape[1] else W @ W.T
    eigenvalues = np.linalg.eigvalsh(gram)
    noise = max(W.shape) * np.finfo(float).eps * eigenvalues[-1]
    fit = power_law_fit(eigenvalues[eigenvalues > noise])
    return None if fit is None else fit.alpha * math.log10(eigenvalues[-1])
