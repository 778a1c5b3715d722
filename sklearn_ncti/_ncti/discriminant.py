"""Moments to principal basis, shrinkage, discriminant axes and posterior.

Everything after the principal basis happens in its k dimensions, where second moments of a
few dozen columns replace factorizations of matrices with one row per sample.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from scipy.linalg import cho_factor, cho_solve, eigh, eigvalsh

from .._linalg.arrays import as_float64, beside, namespace, to_host, zeros_beside
from .._linalg.eigen import leading_eigenpairs
from .._linalg.moments import (
    ClassMoments,
    centered_chunks,
    chunks,
    class_moments,
    column_means,
    first_guess,
    product,
    raw_moments,
    row_products,
    shared_work_on,
)
from .._linalg.nuclear import class_nuclear_norms
from .._linalg.threads import one_blas_thread

_EPS = np.finfo(np.float64).eps

#: Least value of the shrinkage; at it, the scatter is not shrunk at all.
SHRINKAGE_FLOOR = 1e-10

#: Relative singular value under which a direction counts as absent in the unshrunk case.
RANK_TOLERANCE = 1e-4

#: By how much axes along which nothing varies are put behind others of the same lambda: above
#: rounding of the eigenvalues that are compared, which are of the order of 1.
TIE = 1e-10

#: Principal components whose variances the adaptive shrinkage looks at.
N_SHRINKAGE_COMPONENTS = 32

# Values of the rows that one thread projects at a time.
_SHARED_VALUES = 1 << 21

# Variance under which products of small values are lost, or rounded, at the end of float64.
_LEAST_VARIANCE = 1e-280

# Products in the scatter of float32 features from which on they are taken in float32.
_FLOAT32_PRODUCTS = 2e8

# Least variance within the classes, relative to the largest variance, that float32 products
# are trusted with: their rounding leaves some 1e-9 of it. Networks have about 1e-2.
_FLOAT32_RESOLUTION = 1e-4


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

    dtype : {numpy.float32, numpy.float64}
        Type in which the products were taken that the basis rests on, and in which
        `project` takes its own.
    """

    mean: np.ndarray
    axes: np.ndarray
    variances: np.ndarray
    total_variance: float
    noise: float
    dtype: type = np.float64

    @property
    def is_noise(self) -> np.ndarray:
        """Whether the variance of each component is rounding noise."""
        return self.variances <= self.noise

    def project(self, X: Any) -> Any:
        """Principal coordinates of the rows of `X`, shape (n_samples, k), float64.

        They lie where `X` lies.
        """
        H = zeros_beside((len(X), self.axes.shape[1]), X)
        shift = self.mean.astype(self.dtype)
        axes = beside(self.axes.astype(self.dtype, order="F"), X)

        def fill(rows):
            for part, block in centered_chunks(X[rows], shift, self.dtype):
                H[rows][part] = product(block, axes)

        with shared_work_on(X) as run, np.errstate(invalid="ignore", over="ignore"):
            deque(run(fill, chunks(*X.shape, _SHARED_VALUES)), maxlen=0)
        if self.dtype != np.float64:
            H -= beside(product((self.mean - shift)[None], self.axes)[0], X)
        return H

    def leading(self, k: int) -> Self:
        """Return the first `k` of the components."""
        return replace(self, axes=self.axes[:, :k], variances=self.variances[:k])


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

    def posterior(self, H: Any) -> Any:
        """Class probabilities of rows in principal coordinates, shape (n_samples, n_classes)."""
        xp = namespace(H)
        P = H @ beside(self.coef, H)
        P += beside(self.intercept, H)
        P -= xp.amax(P, 1)[:, None]
        xp.exp(P, out=P)
        P /= P.sum(1)[:, None]
        return P

    def posterior_by_class(self, H: Any, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Nuclear norm of each class's posterior rows, and sum of their true entries."""
        n_classes = len(self.centers)
        return class_nuclear_norms(self.posterior, H, y, n_classes, n_classes)

    def variances_of(self, within: np.ndarray, total: np.ndarray) -> np.ndarray:
        """Variances along every discriminant axis of rows with these scatters, shape (3, q).

        In this order: e'We of the scatter about the fitted means of the rows' classes, e'Te of
        that about the fitted mean, both regularised as the fitted scatters were, and e'S_t e,
        which is not.
        """
        plain = np.einsum("ij,ij->j", self.axes, total @ self.axes)
        return np.array([self._along_axes(within), self._along_axes(total), plain])

    def _along_axes(self, scatter: np.ndarray) -> np.ndarray:
        """Regularised scatter ``e'Se`` along every axis, shape (q,)."""
        own = np.einsum("ij,ij->j", self.axes, scatter @ self.axes)
        if self.shrinkage <= SHRINKAGE_FLOOR:
            return own
        target = np.trace(scatter) / self.n_dims * (self.axes**2).sum(axis=0)
        return (1.0 - self.shrinkage) * own + self.shrinkage * target


def canonical_correlations(within: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Canonical correlations ``sqrt(1 - e'We / e'Te)`` of the axes e.

    For rows that the fit has not seen, e'We can exceed e'Te; the correlation is then 0.
    """
    ratio = np.divide(within, total, out=np.ones_like(within), where=total > 0)
    return np.sqrt(np.clip(1.0 - ratio, 0.0, 1.0))


def working_dtype(X: Any, n_components: int) -> type:
    """Type in which products of features are taken: float32 for large float32 features."""
    n, d = X.shape
    products = float(n) * d * min(n, d)
    large = products >= _FLOAT32_PRODUCTS and 4 * n_components <= min(n, d)
    return np.float32 if large and X.dtype.itemsize < 8 else np.float64


@dataclass
class _Kept:
    """What was computed of the rows `X`: second moments, and the most components so far."""

    X: Any
    moments: tuple[np.ndarray, Any] | None = None
    basis: PrincipalBasis | None = None


# Of the array that was looked at last: the rows of one candidate come before those of the next.
_last: ContextVar[list[_Kept] | None] = ContextVar("_last", default=None)


@contextmanager
def shared_moments() -> Iterator[None]:
    """Compute second moments and components of one array once in this context.

    Those in float64: products in float32 are exact enough for some who look, not for all.
    """
    token = _last.set([])
    try:
        yield
    finally:
        _last.reset(token)


def _kept_of(X: Any, dtype: type = np.float64) -> _Kept:
    """What was computed of `X` in this type, to be looked at and added to."""
    last = _last.get()
    if last is None or dtype != np.float64:
        return _Kept(X)
    for kept in last:
        if kept.X is X:
            return kept
    kept = _Kept(X)
    last[:] = [kept]
    return kept


def _centered_moments(X, dtype=np.float64):
    """Mean of the rows, and second moments about it on the smaller side, not to be changed."""
    kept = _kept_of(X, dtype)
    if kept.moments is None:
        if len(X) < X.shape[1]:
            kept.moments = row_products(X, dtype)
        else:
            shift = first_guess(X, dtype)
            moments = raw_moments(X, shift, dtype)
            mean = shift + to_host(moments.total) / len(X)
            kept.moments = mean, moments.scatter(overwrite=True)
    return kept.moments


def centered_squares(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the rows, and their squared singular values about it, min(X.shape) of them."""
    basis = _kept_of(X).basis
    if basis is not None and len(basis.variances) == min(X.shape):
        return basis.mean, basis.variances * (len(X) - 1)
    mean, scatter = _centered_moments(X)
    with one_blas_thread:
        return mean, np.clip(eigvalsh(scatter), 0.0, None)


def principal_basis(X: Any, n_components: int, dtype: type = np.float64) -> PrincipalBasis:
    """Exact principal components through the second moments of the smaller side.

    Parameters
    ----------
    X : ndarray or tensor of shape (n_samples, n_features)
        Features.

    n_components : int
        Number of components, at most ``min(n_samples, n_features)``.

    dtype : {numpy.float32, numpy.float64}, default=numpy.float64
        Type in which products of features are taken.

    Returns
    -------
    basis : PrincipalBasis
        The principal components.

    Raises
    ------
    ValueError
        If all rows are equal, a value is NaN or infinite, or squares are beyond the range of
        float64.
    """
    kept = _kept_of(X, dtype)
    if kept.basis is None or len(kept.basis.variances) < n_components:
        mean, scatter = _centered_moments(X, dtype)
        if dtype != np.float64 and not 1e-24 < float(scatter.trace()) / len(X) < 1e24:
            # Squares beyond the range of float32.
            return principal_basis(X, n_components)
        kept.basis = _basis_of_scatter(X, mean, scatter, n_components, dtype)
    return kept.basis.leading(n_components)


def _basis_of_scatter(X, mean, scatter, n_components, dtype, rows=None):
    """Principal components of `rows` of `X` (None for all) from their scatter on either side."""
    d = X.shape[1]
    n = len(X) if rows is None else len(rows)
    trace = float(scatter.trace())
    # The mean of equal rows is rounded, so their centred squares need not be exactly zero.
    if trace <= n * (n * _EPS) ** 2 * float(mean @ mean) and _rows_are_equal(X, rows):
        raise ValueError(
            f"X has constant features: all {n} rows are equal, so there is no geometry to "
            "score. Check the images and the weights that the features come from."
        )
    if trace < n * _LEAST_VARIANCE:
        raise ValueError(
            f"X has a variance of {trace / n:.3g}, and float64 rounds squares so small: at least "
            f"{_LEAST_VARIANCE:g} is needed. Multiply all features by one constant first."
        )
    squares, vectors = leading_eigenpairs(scatter, n_components, dtype)
    noise = max(n, d) * _EPS * squares[0]
    real = squares > noise
    if len(scatter) == d:
        axes = vectors
    else:
        axes = np.zeros((d, n_components))
        vectors = beside(vectors, X)
        for columns in chunks(d, n):
            part = as_float64(X[:, columns] if rows is None else X[beside(rows, X), columns])
            centered = part - beside(mean[columns], X)
            axes[columns] = to_host(centered.T @ vectors)
        axes[:, real] /= np.sqrt(squares[real])
    axes[:, ~real] = 0.0
    return PrincipalBasis(
        mean=mean,
        axes=_with_fixed_signs(axes),
        variances=squares / (n - 1),
        total_variance=trace / (n - 1),
        noise=noise / (n - 1),
        dtype=dtype,
    )


def _rows_are_equal(X, rows) -> bool:
    first = X[0] if rows is None else X[rows[0]]
    if rows is not None:
        return bool((X[rows] == first).all())
    return all(bool((X[part] == first).all()) for part in chunks(*X.shape))


def adaptive_shrinkage(variances: np.ndarray) -> float:
    """Shrinkage that the authors' code takes from the leading explained variances.

    ``max(exp(-(ev_1 + ... + ev_32)), 1e-10)``: features of small scale are shrunk heavily,
    features of large scale not at all.
    """
    return max(float(np.exp(-variances[:N_SHRINKAGE_COMPONENTS].sum())), SHRINKAGE_FLOOR)


@dataclass(frozen=True)
class Projection:
    """Labelled rows in their principal coordinates, and the moments of their classes.

    Attributes
    ----------
    basis : PrincipalBasis
        From features to principal coordinates.

    H : array of shape (n_samples, k)
        Principal coordinates of the rows, where the features lie.

    moments : ClassMoments
        Moments of the classes in these coordinates.
    """

    basis: PrincipalBasis
    H: Any
    moments: ClassMoments

    @property
    def is_resolved(self) -> bool:
        """Whether the products were exact enough for what is left within the classes."""
        if self.basis.dtype == np.float64:
            return True
        within = self.moments.within
        with one_blas_thread:
            least = eigh(within, subset_by_index=[0, 0], eigvals_only=True)[0]
        return bool(least > _FLOAT32_RESOLUTION * self.basis.variances[0])

    @classmethod
    def of(cls, X: Any, y: np.ndarray, n_classes: int, n_components: int) -> Self:
        """Project labelled features on their principal components.

        Large float32 features are worked with in float32 where that resolves the spread
        within the classes, and in float64 where it does not.

        Parameters
        ----------
        X : ndarray or tensor of shape (n_samples, n_features)
            Features.

        y : ndarray of shape (n_samples,)
            Class of each row, 0 to ``n_classes - 1``.

        n_classes : int
            Number of classes.

        n_components : int
            Number of principal components.

        Returns
        -------
        projection : Projection
            The rows in principal coordinates.
        """
        for dtype in dict.fromkeys((working_dtype(X, n_components), np.float64)):
            basis = principal_basis(X, n_components, dtype)
            H = basis.project(X)
            projection = cls(basis, H, class_moments(H, y, n_classes))
            if projection.is_resolved:
                break
        return projection


def held_out_projections(
    X: Any,
    y: np.ndarray,
    n_classes: int,
    folds: list[np.ndarray],
    n_components: int,
    dtype: type,
) -> Iterator[Projection]:
    """Yield for every fold the projection that is fitted to the rows of the others.

    The moments of what is left without a fold are the difference of the moments of all rows
    and of those of the fold: the features are squared once, not once for every fold.

    Parameters
    ----------
    X : ndarray or tensor of shape (n_samples, n_features)
        Features.

    y : ndarray of shape (n_samples,)
        Class of each row, 0 to ``n_classes - 1``.

    n_classes : int
        Number of classes.

    folds : list of ndarray of int
        Rows of each fold; each row is in one of them.

    n_components : int
        Number of principal components, as far as the rows of the other folds allow.

    dtype : {numpy.float32, numpy.float64}
        Type in which products of features are taken.

    Yields
    ------
    projection : Projection
        With the coordinates of all rows, and the moments of the other folds.
    """
    n, d = X.shape
    others = [np.setdiff1d(np.arange(n), fold, assume_unique=True) for fold in folds]
    by_columns = min(map(len, others)) >= d
    if by_columns:
        shift = first_guess(X, dtype)
        parts = [raw_moments(X, shift, dtype, rows=fold) for fold in folds]
        whole = sum(parts[1:], start=parts[0])
    else:
        products = row_products(X, dtype)[1]
    for i, rows in enumerate(others):
        if by_columns:
            rest = whole - parts[i]
            mean, scatter = shift + to_host(rest.total) / rest.n, rest.scatter()
        else:
            mean, scatter = column_means(X, rows), _centered_twice(products, beside(rows, X))
        k = min(n_components, len(rows), d)
        basis = _basis_of_scatter(X, mean, scatter, k, dtype, rows)
        H = basis.project(X)
        yield Projection(basis, H, class_moments(H[beside(rows, H)], y[rows], n_classes))


def _centered_twice(products: Any, rows: Any) -> Any:
    """Products of some of the rows with each other, about the mean of these rows."""
    chosen = products[rows][:, rows]
    means = chosen.mean(0)
    return chosen - means - means[:, None] + means.mean()


def fit_discriminant(
    basis: PrincipalBasis,
    moments: ClassMoments,
    *,
    shrinkage: float | None,
    n_dims: int,
) -> Discriminant:
    """Discriminant axes and posterior of labelled rows in principal coordinates.

    Parameters
    ----------
    basis : PrincipalBasis
        The principal components.

    moments : ClassMoments
        Moments of the classes in principal coordinates; every class has a row.

    shrinkage : float or None
        Share of the isotropic target; None for the adaptive one.

    n_dims : int
        Dimensions over which the target spreads the trace of a scatter.

    Returns
    -------
    discriminant : Discriminant
        The fitted discriminant.
    """
    if shrinkage is None:
        t = adaptive_shrinkage(basis.variances)
    else:
        t = max(float(shrinkage), SHRINKAGE_FLOOR)
    with one_blas_thread:
        if t > SHRINKAGE_FLOOR:
            axes, coef = _shrunk(moments, t, n_dims, basis)
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


def _shrunk(moments, t, n_dims, basis):
    """Axes and coefficients with ``W = (1 - t) S_w + t w I``, w the mean within variance.

    The axes solve ``(T - W) e = lambda W e``, where ``T - W = (1 - t) S_b + t b I``.
    Subtracting ``(b / w) W`` from both sides leaves
    ``(1 - t) (S_b - (b / w) S_w) e = (lambda - b / w) W e``: the same axes in the same order.
    In this form t -> 1, where T - W and W both become multiples of the identity, has a limit
    instead of an arbitrary answer.

    Directions along which nothing varies have lambda = b / w, which is also that of the only
    direction where one has all variance. Of such equals, the direction that varies comes first.
    """
    within, between = moments.within, moments.between
    # Collapsed classes leave no within-class variance to divide by.
    w = max(np.trace(within) / n_dims, _EPS * basis.variances[0])
    b = np.trace(between) / n_dims
    regular = (1.0 - t) * within / w + t * np.eye(len(within))
    contrast = (between / b if b > 0 else between) - within / w
    contrast[basis.is_noise, basis.is_noise] -= TIE * t
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
    kept = np.flatnonzero(~basis.is_noise)
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
