"""Exact principal components of large feature matrices, and the cache of their moments.

The components come from the smaller Gram matrix, d by d or n by n, and not from a decomposition
of all rows. Several scorers of one matrix share it, see `shared_moments`.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from scipy.linalg import eigvalsh

from .._utils.arrays import as_float64, to_device_of, to_host, zeros_on_device_of
from .eigen import leading_eigenpairs
from .moments import (
    approximate_mean,
    centered_chunks,
    chunks,
    product,
    raw_moments,
    row_products,
    shared_work_on,
)
from .threads import one_blas_thread

_EPS = np.finfo(np.float64).eps

# Number of values in the rows that one thread projects at a time.
_SHARED_VALUES = 1 << 21

# Variance below which products of small values underflow in float64, or lose digits.
_LEAST_VARIANCE = 1e-280

# Multiplications in the scatter of float32 features above which they are done in float32.
_FLOAT32_PRODUCTS = 2e8


@dataclass(frozen=True)
class PrincipalBasis:
    """Exact principal components of a feature matrix.

    Attributes
    ----------
    mean : ndarray of shape (n_features,)
        Mean of the features.

    axes : ndarray of shape (n_features, k)
        Orthonormal principal axes in descending order of variance. An axis whose variance is
        rounding noise is zero, because its direction would be arbitrary.

    variances : ndarray of shape (k,)
        Explained variances, with denominator n - 1.

    total_variance : float
        Sum of the variances of all features.

    noise : float
        Largest explained variance that counts as rounding noise.

    dtype : {numpy.float32, numpy.float64}
        Type in which the products for the basis were computed, and in which `project`
        computes.
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
        """Return the principal coordinates of the rows of `X`.

        Parameters
        ----------
        X : ndarray or tensor of shape (n_samples, n_features)
            Features.

        Returns
        -------
        H : ndarray or tensor of shape (n_samples, k)
            Coordinates in float64, on the device of `X`.
        """
        H = zeros_on_device_of((len(X), self.axes.shape[1]), X)
        shift: np.ndarray = self.mean.astype(self.dtype)
        axes = to_device_of(self.axes.astype(self.dtype, order="F"), X)

        def fill(rows: slice) -> None:
            for part, block in centered_chunks(X[rows], shift, self.dtype):
                H[rows][part] = product(block, axes)

        with shared_work_on(X) as run, np.errstate(invalid="ignore", over="ignore"):
            deque(run(fill, chunks(len(X), X.shape[1], _SHARED_VALUES)), maxlen=0)
        if self.dtype != np.float64:
            H -= to_device_of(product((self.mean - shift)[None], self.axes)[0], X)
        return H

    def leading(self, k: int) -> Self:
        """Return the basis of the first `k` components."""
        return replace(self, axes=self.axes[:, :k], variances=self.variances[:k])


def working_dtype(X: Any, n_components: int) -> type:
    """Return the type for products of features: float32 if they are large and not float64."""
    n, d = X.shape
    products = float(n) * d * min(n, d)
    large = products >= _FLOAT32_PRODUCTS and 4 * n_components <= min(n, d)
    return np.float32 if large and X.dtype.itemsize < 8 else np.float64


@dataclass
class MomentCache:
    """Moments and principal components of one feature matrix that are already computed.

    Attributes
    ----------
    X : ndarray or tensor of shape (n_samples, n_features)
        Feature matrix. The cache is valid for this object only.

    moments : tuple of ndarray and array, default=None
        Mean of the rows, and the smaller Gram matrix of the centered rows.

    basis : PrincipalBasis, default=None
        Basis with the largest number of components so far.
    """

    X: Any
    moments: tuple[np.ndarray, Any] | None = None
    basis: PrincipalBasis | None = None


# Holds at most one cache, that of the latest matrix: candidates are scored one after the other.
# It is None outside of `shared_moments`.
_latest_cache: ContextVar[list[MomentCache] | None] = ContextVar("_latest_cache", default=None)


@contextmanager
def shared_moments() -> Iterator[None]:
    """Compute second moments and components of a matrix only once within this context.

    Only results in float64 are shared: float32 is not exact enough for every scorer.
    """
    token = _latest_cache.set([])
    try:
        yield
    finally:
        _latest_cache.reset(token)


def _moment_cache_of(X: Any, dtype: type = np.float64) -> MomentCache:
    """Return the cache of `X` for this type, a new one if there is none."""
    latest = _latest_cache.get()
    if latest is None or dtype != np.float64:
        return MomentCache(X)
    for cache in latest:
        if cache.X is X:
            return cache
    cache = MomentCache(X)
    latest[:] = [cache]
    return cache


def _centered_moments(X: Any, dtype: type = np.float64) -> tuple[np.ndarray, Any]:
    """Return the mean of the rows and the smaller centered Gram matrix, both read-only."""
    cache = _moment_cache_of(X, dtype)
    if cache.moments is None:
        if len(X) < X.shape[1]:
            cache.moments = row_products(X, dtype)
        else:
            shift = approximate_mean(X, dtype)
            moments = raw_moments(X, shift, dtype)
            mean = shift + to_host(moments.total) / len(X)
            cache.moments = mean, moments.scatter(overwrite=True)
    return cache.moments


def centered_squares(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of the rows, and all squared singular values of the centered rows."""
    basis = _moment_cache_of(X).basis
    if basis is not None and len(basis.variances) == min(X.shape):
        return basis.mean, basis.variances * (len(X) - 1)
    mean, scatter = _centered_moments(X)
    with one_blas_thread:
        return mean, np.clip(eigvalsh(scatter), 0.0, None)


def principal_basis(X: Any, n_components: int, dtype: type = np.float64) -> PrincipalBasis:
    """Return exact principal components, computed from the smaller Gram matrix.

    Parameters
    ----------
    X : ndarray or tensor of shape (n_samples, n_features)
        Features.

    n_components : int
        Number of components, at most ``min(n_samples, n_features)``.

    dtype : {numpy.float32, numpy.float64}, default=numpy.float64
        Type in which products of features are computed.

    Returns
    -------
    basis : PrincipalBasis
        Principal components.

    Raises
    ------
    ValueError
        If all rows are equal, a value is NaN or infinite, or squares are beyond the range of
        float64.
    """
    cache = _moment_cache_of(X, dtype)
    if cache.basis is None or len(cache.basis.variances) < n_components:
        mean, scatter = _centered_moments(X, dtype)
        if dtype != np.float64 and not 1e-24 < float(scatter.trace()) / len(X) < 1e24:
            # Squares beyond the range of float32.
            return principal_basis(X, n_components)
        cache.basis = basis_of_scatter(X, mean, scatter, n_components, dtype)
    return cache.basis.leading(n_components)


def basis_of_scatter(
    X: Any,
    mean: np.ndarray,
    scatter: Any,
    n_components: int,
    dtype: type,
    rows: np.ndarray | None = None,
) -> PrincipalBasis:
    """Return the principal components of some rows from their centered Gram matrix.

    Parameters
    ----------
    X : ndarray or tensor of shape (n_samples, n_features)
        Features.

    mean : ndarray of shape (n_features,)
        Mean of the rows.

    scatter : array of shape (n_features, n_features) or (n_rows, n_rows)
        Products of the centered columns, or of the centered rows.

    n_components : int
        Number of components, at most ``len(scatter)``.

    dtype : {numpy.float32, numpy.float64}
        Type in which the products were computed.

    rows : ndarray of int, default=None
        Indices of the rows. If None, all rows are used.

    Returns
    -------
    basis : PrincipalBasis
        Principal components.
    """
    d = X.shape[1]
    n = len(X) if rows is None else len(rows)
    trace = float(scatter.trace())
    # The mean of equal rows is rounded, so that their centered squares may differ from zero.
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
        vectors = to_device_of(vectors, X)
        for columns in chunks(d, n):
            part = as_float64(X[:, columns] if rows is None else X[to_device_of(rows, X), columns])
            centered = part - to_device_of(mean[columns], X)
            axes[columns] = to_host(centered.T @ vectors)
        axes[:, real] /= np.sqrt(squares[real])
    axes[:, ~real] = 0.0
    return PrincipalBasis(
        mean=mean,
        axes=with_fixed_signs(axes),
        variances=squares / (n - 1),
        total_variance=trace / (n - 1),
        noise=noise / (n - 1),
        dtype=dtype,
    )


def _rows_are_equal(X: Any, rows: np.ndarray | None) -> bool:
    first = X[0] if rows is None else X[rows[0]]
    if rows is not None:
        return bool((X[rows] == first).all())
    return all(bool((X[part] == first).all()) for part in chunks(*X.shape))


def with_fixed_signs(axes: np.ndarray) -> np.ndarray:
    """Flip the sign of columns so that the entry of largest magnitude is positive."""
    if axes.size == 0:
        return axes
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None, :], axis=0)
    return axes * np.where(largest < 0, -1.0, 1.0)
