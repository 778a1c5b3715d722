"""Floor 2: moments to principal basis, shrinkage, discriminant axes and posterior.

Everything after the principal basis happens in its k dimensions, where second moments of a
few dozen columns replace factorizations of matrices with one row per sample.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve, eigh
from scipy.special import softmax

from ._moments import chunks, class_moments, column_means, gram, scatter_about

_EPS = np.finfo(np.float64).eps

#: Least value of the shrinkage; at it, the scatter is not shrunk at all.
SHRINKAGE_FLOOR = 1e-10

#: Relative singular value under which a direction counts as absent in the unshrunk case.
RANK_TOLERANCE = 1e-4

#: Principal components whose variances the adaptive shrinkage looks at.
N_SHRINKAGE_COMPONENTS = 32


@dataclass(frozen=True)
class PrincipalBasis:
    """Exact principal components of a feature matrix.

    Attributes
    ----------
    mean : ndarray of shape (n_features,)
        Mean of the features.

    axes : ndarray of shape (n_features, k)
        Orthonormal principal axes by falling variance. An axis whose variance is rounding
        noise is zero: its direction would be an accident of the arithmetic.

    variances : ndarray of shape (k,)
        Explained variances, denominator n - 1.

    total_variance : float
        Sum of the variances of all features.

    noise : float
        Explained variance that is still rounding noise.
    """

    mean: np.ndarray
    axes: np.ndarray
    variances: np.ndarray
    total_variance: float
    noise: float

    def project(self, X: np.ndarray) -> np.ndarray:
        """Principal coordinates of the rows of `X`, shape (n_samples, k), float64."""
        H = np.empty((len(X), self.axes.shape[1]))
        for rows in chunks(*X.shape):
            H[rows] = (X[rows] - self.mean) @ self.axes
        return H


@dataclass(frozen=True)
class Discriminant:
    """Linear discriminant of labelled features in their principal coordinates.

    Attributes
    ----------
    basis : PrincipalBasis
        From features to principal coordinates.

    shrinkage : float
        Share of the isotropic target in the regularised scatters.

    n_dims : int
        Dimensions over which the isotropic target spreads the trace of a scatter.

    centers : ndarray of shape (n_classes, k)
        Class means.

    axes : ndarray of shape (k, q)
        Discriminant axes by falling ratio of between-class to within-class scatter.

    coef : ndarray of shape (k, n_classes)
        Linear coefficients of the log posterior.

    intercept : ndarray of shape (n_classes,)
        Constants of the log posterior.
    """

    basis: PrincipalBasis
    shrinkage: float
    n_dims: int
    centers: np.ndarray
    axes: np.ndarray
    coef: np.ndarray
    intercept: np.ndarray

    def posterior(self, H: np.ndarray) -> np.ndarray:
        """Class probabilities of rows in principal coordinates, shape (n_samples, n_classes)."""
        return softmax(H @ self.coef + self.intercept, axis=1)

    def canonical_correlations(self, H: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Canonical correlation of rows and their classes along every discriminant axis.

        ``sqrt(1 - e'We / e'Te)`` with the scatters of the given rows about the fitted class
        means (W) and about the fitted mean (T), shrunk as the fitted ones were. For rows
        that the fit has not seen, e'We can exceed e'Te; the correlation is then 0.
        """
        within = self._along_axes(scatter_about(H, self.centers[y]))
        total = self._along_axes(scatter_about(H, 0.0))
        ratio = np.divide(within, total, out=np.ones_like(within), where=total > 0)
        return np.sqrt(np.clip(1.0 - ratio, 0.0, 1.0))

    def _along_axes(self, scatter: np.ndarray) -> np.ndarray:
        """Regularised scatter ``e'Se`` along every axis, shape (q,)."""
        own = np.einsum("ij,ij->j", self.axes, scatter @ self.axes)
        if self.shrinkage <= SHRINKAGE_FLOOR:
            return own
        target = np.trace(scatter) / self.n_dims * (self.axes**2).sum(axis=0)
        return (1.0 - self.shrinkage) * own + self.shrinkage * target


def principal_basis(X: np.ndarray, n_components: int) -> PrincipalBasis:
    """Exact principal components through the second moments of the smaller side.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Features, float32 or float64.

    n_components : int
        Number of components, at most ``min(n_samples, n_features)``.

    Returns
    -------
    basis : PrincipalBasis
        The principal components.

    Raises
    ------
    ValueError
        If all rows are equal.
    """
    n, d = X.shape
    mean = column_means(X)
    second = gram(X, mean)
    trace = float(np.trace(second))
    # The mean of equal rows is rounded, so their centred squares need not be exactly zero.
    if trace <= n * (n * _EPS) ** 2 * float(mean @ mean) and bool((X == X[0]).all()):
        raise ValueError(
            f"X has constant features: all {n} rows are equal, so there is no geometry to "
            "score. Check the images and the weights that the features come from."
        )
    m = len(second)
    squares, vectors = eigh(second, subset_by_index=[m - n_components, m - 1])
    squares, vectors = np.clip(squares[::-1], 0.0, None), vectors[:, ::-1]
    noise = max(n, d) * _EPS * squares[0]
    real = squares > noise
    if n < d:
        axes = np.zeros((d, n_components))
        for columns in chunks(d, n):
            axes[columns] = (X[:, columns] - mean[columns]).T @ vectors
        axes[:, real] /= np.sqrt(squares[real])
    else:
        axes = vectors.copy()
    axes[:, ~real] = 0.0
    return PrincipalBasis(
        mean=mean,
        axes=_with_fixed_signs(axes),
        variances=squares / (n - 1),
        total_variance=trace / (n - 1),
        noise=noise / (n - 1),
    )


def adaptive_shrinkage(variances: np.ndarray) -> float:
    """Shrinkage that the authors' code takes from the leading explained variances.

    ``max(exp(-(ev_1 + ... + ev_32)), 1e-10)``: features of small scale are shrunk heavily,
    features of large scale not at all.
    """
    return max(float(np.exp(-variances[:N_SHRINKAGE_COMPONENTS].sum())), SHRINKAGE_FLOOR)


def fit_discriminant(
    basis: PrincipalBasis,
    H: np.ndarray,
    y: np.ndarray,
    n_classes: int,
    *,
    shrinkage: float | None,
    n_dims: int,
) -> Discriminant:
    """Discriminant axes and posterior of labelled rows in principal coordinates.

    Parameters
    ----------
    basis : PrincipalBasis
        The principal components behind `H`.

    H : ndarray of shape (n_samples, k)
        The rows that `basis` projects.

    y : ndarray of shape (n_samples,)
        Class of each row, 0 to ``n_classes - 1``; every class has a row.

    n_classes : int
        Number of classes.

    shrinkage : float or None
        Share of the isotropic target; None for the adaptive one.

    n_dims : int
        Dimensions over which the target spreads the trace of a scatter.

    Returns
    -------
    discriminant : Discriminant
        The fitted discriminant.
    """
    moments = class_moments(H, y, n_classes)
    if shrinkage is None:
        t = adaptive_shrinkage(basis.variances)
    else:
        t = max(float(shrinkage), SHRINKAGE_FLOOR)
    if t > SHRINKAGE_FLOOR:
        axes, coef = _shrunk(moments, t, n_dims, floor=_EPS * basis.variances[0])
    else:
        axes, coef = _unshrunk(moments, basis)
    with_priors = np.log(moments.priors)
    return Discriminant(
        basis=basis,
        shrinkage=t,
        n_dims=n_dims,
        centers=moments.means,
        axes=_with_fixed_signs(axes),
        coef=coef,
        intercept=with_priors - 0.5 * np.einsum("ck,kc->c", moments.means, coef),
    )


def _shrunk(moments, t, n_dims, floor):
    """Axes and coefficients with ``W = (1 - t) S_w + t w I``, w the mean within variance.

    The axes solve ``(T - W) e = lambda W e``, where ``T - W = (1 - t) S_b + t b I``.
    Subtracting ``(b / w) W`` from both sides leaves
    ``(1 - t) (S_b - (b / w) S_w) e = (lambda - b / w) W e``: the same axes in the same order.
    In this form t -> 1, where T - W and W both become multiples of the identity, has a limit
    instead of an arbitrary answer.
    """
    within, between = moments.within, moments.between
    # Collapsed classes leave no within-class variance to divide by.
    w = max(np.trace(within) / n_dims, floor)
    b = np.trace(between) / n_dims
    regular = (1.0 - t) * within / w + t * np.eye(len(within))
    contrast = (between / b if b > 0 else between) - within / w
    _, vectors = eigh(contrast, regular)
    n_axes = min(len(moments.counts) - 1, len(within))
    axes = vectors[:, ::-1][:, :n_axes] / np.sqrt(w)
    coef = cho_solve(cho_factor(regular), moments.means.T) / w
    return axes, coef


def _unshrunk(moments, basis):
    """Axes and coefficients without shrinkage, in the span of the within-class scatter.

    The steps are those of scikit-learn 1.9's ``LinearDiscriminantAnalysis(solver="svd")``,
    done on the scatter instead of on the rows.
    """
    kept = np.flatnonzero(basis.variances > basis.noise)
    within = moments.within[np.ix_(kept, kept)]
    # A component without within-class scatter is perfectly collapsed, the best there is;
    # the floor keeps it, with a deviation at the edge of rounding, instead of dividing by 0.
    variances = np.maximum(np.diag(within), _EPS * basis.variances[0])
    deviations = np.sqrt(variances)
    correlation = within / np.outer(deviations, deviations)
    np.fill_diagonal(correlation, 1.0)
    squares, vectors = eigh(correlation)
    alive = squares > RANK_TOLERANCE**2
    whitening = vectors[:, alive] / deviations[:, None] / np.sqrt(squares[alive])

    offsets = moments.means[:, kept] - moments.priors @ moments.means[:, kept]
    spread = np.sqrt(moments.priors)[:, None] * (offsets @ whitening)
    _, singular, directions = np.linalg.svd(spread, full_matrices=False)
    used = singular > RANK_TOLERANCE * singular[0]
    axes = np.zeros((len(moments.within), int(used.sum())))
    axes[kept] = whitening @ directions[used].T
    return axes, axes @ (axes.T @ moments.means.T)


def _with_fixed_signs(axes: np.ndarray) -> np.ndarray:
    """Turn every column so that its largest entry by size is positive."""
    if axes.size == 0:
        return axes
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None, :], axis=0)
    return axes * np.where(largest < 0, -1.0, 1.0)
