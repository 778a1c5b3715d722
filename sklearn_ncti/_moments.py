"""Floor 1: first and second moments of features, whole and by class, in float64 over chunks.

Features are often float32 with a mean far larger than their spread. Every chunk is therefore
brought to float64 and centred before it is squared: the textbook form ``X'X - n m m'`` loses
all its digits there.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg.blas import dsyrk

# Values in a float64 chunk: 16 MiB, small beside the features and large enough for BLAS.
_CHUNK_VALUES = 1 << 21


@dataclass(frozen=True)
class ClassMoments:
    """Counts, means and maximum-likelihood scatters of labelled rows.

    Attributes
    ----------
    counts : ndarray of shape (n_classes,)
        Rows of each class.

    means : ndarray of shape (n_classes, n_features)
        Class means; zero for a class without rows.

    within : ndarray of shape (n_features, n_features)
        Scatter of the rows about their class mean, divided by the number of rows.
    """

    counts: np.ndarray
    means: np.ndarray
    within: np.ndarray

    @property
    def priors(self) -> np.ndarray:
        """Share of the rows that each class has."""
        return self.counts / self.counts.sum()

    @property
    def between(self) -> np.ndarray:
        """Scatter of the class means about the overall mean, weighted by the priors."""
        spread = np.sqrt(self.priors)[:, None] * (self.means - self.priors @ self.means)
        return spread.T @ spread


def chunks(n_rows: int, n_features: int):
    """Yield slices over the rows, each about the size of one chunk."""
    step = max(1, _CHUNK_VALUES // max(1, n_features))
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def column_means(X: np.ndarray) -> np.ndarray:
    """Mean of every column, summed in float64."""
    total = np.zeros(X.shape[1])
    for rows in chunks(*X.shape):
        total += X[rows].sum(axis=0, dtype=np.float64)
    return total / len(X)


def gram(X: np.ndarray, center: np.ndarray | None = None) -> np.ndarray:
    """Second moments of the rows of `X` about `center`, on the smaller side.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows, float32 or float64.

    center : ndarray of shape (n_features,), default=None
        What is subtracted from every row; None for nothing.

    Returns
    -------
    gram : ndarray of shape (m, m), m = min(n_samples, n_features)
        ``Xc.T @ Xc`` where there are at least as many rows as features, else ``Xc @ Xc.T``.
        The two have the same non-zero eigenvalues: the squared singular values of ``Xc``.
    """
    n, d = X.shape
    if n < d:
        centered = _centered(X, center)
        return _mirrored(dsyrk(1.0, centered.T, trans=1))
    out = np.zeros((d, d), order="F")
    for rows in chunks(n, d):
        # The transpose of a C-ordered chunk is F-ordered, which is what BLAS takes uncopied.
        out = dsyrk(1.0, _centered(X[rows], center).T, beta=1.0, c=out, overwrite_c=True)
    return _mirrored(out)


def class_moments(H: np.ndarray, y: np.ndarray, n_classes: int) -> ClassMoments:
    """Counts, means and within-class scatter of labelled rows.

    The scatter is taken about the class means themselves, not as a difference of total and
    between-class scatter, so that it stays exact where a class collapses to one point.

    Parameters
    ----------
    H : ndarray of shape (n_samples, n_features)
        Rows, float64.

    y : ndarray of shape (n_samples,)
        Class of each row, 0 to ``n_classes - 1``.

    n_classes : int
        Number of classes.

    Returns
    -------
    moments : ClassMoments
        The moments.
    """
    counts = np.bincount(y, minlength=n_classes)
    order = np.argsort(y, kind="stable")
    means = np.zeros((n_classes, H.shape[1]))
    present = np.flatnonzero(counts)
    starts = (np.cumsum(counts) - counts)[present]
    means[present] = np.add.reduceat(H[order], starts, axis=0) / counts[present, None]
    within = scatter_about(H, means[y])
    return ClassMoments(counts=counts, means=means, within=within)


def scatter_about(H: np.ndarray, centers: np.ndarray | float) -> np.ndarray:
    """Mean outer product of the rows of `H` about `centers`, of shape (k, k)."""
    deviations = H - centers
    return deviations.T @ deviations / len(H)


def _centered(X: np.ndarray, center: np.ndarray | None) -> np.ndarray:
    """Return a fresh C-ordered float64 copy of `X`, minus `center`."""
    out = X.astype(np.float64, order="C")
    if center is not None:
        out -= center
    return out


def _mirrored(upper: np.ndarray) -> np.ndarray:
    """Fill the lower triangle, which BLAS leaves empty."""
    lower = np.tril_indices_from(upper, -1)
    upper[lower] = upper.T[lower]
    return upper
