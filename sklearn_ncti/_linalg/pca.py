"""Exact principal components of large feature matrices, and the cache of their moments.

Second moments of the smaller side, d by d or n by n, take the place of a decomposition of all
rows. Scorers of one matrix share them, see `shared_moments`.
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
    centered_chunks,
    chunks,
    first_guess,
    product,
    raw_moments,
    row_products,
    shared_work_on,
)
from .threads import one_blas_thread

_EPS = np.finfo(np.float64).eps


# Values of the rows that one thread projects at a time.
_SHARED_VALUES = 1 << 21

# Variance under which products of small values are lost, or rounded, at the end of float64.
_LEAST_VARIANCE = 1e-280

# Products in the scatter of float32 features from which on they are taken in float32.
_FLOAT32_PRODUCTS = 2e8


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
        H = zeros_on_device_of((len(X), self.axes.shape[1]), X)
        shift = self.mean.astype(self.dtype)
        axes = to_device_of(self.axes.astype(self.dtype, order="F"), X)

        def fill(rows):
            for part, block in centered_chunks(X[rows], shift, self.dtype):
                H[rows][part] = product(block, axes)

        with shared_work_on(X) as run, np.errstate(invalid="ignore", over="ignore"):
            deque(run(fill, chunks(*X.shape, _SHARED_VALUES)), maxlen=0)
        if self.dtype != np.float64:
            H -= to_device_of(product((self.mean - shift)[None], self.axes)[0], X)
        return H

    def leading(self, k: int) -> Self:
        """Return the first `k` of the components."""
        return replace(self, axes=self.axes[:, :k], variances=self.variances[:k])


def working_dtype(X: Any, n_components: int) -> type:
    """Type in which products of features are taken: float32 for large float32 features."""
    n, d = X.shape
    products = float(n) * d * min(n, d)
    large = products >= _FLOAT32_PRODUCTS and 4 * n_components <= min(n, d)
    return np.float32 if large and X.dtype.itemsize < 8 else np.float64


@dataclass
class MomentCache:
    """What was computed of the rows `X`: second moments, and the most components so far."""

    X: Any
    moments: tuple[np.ndarray, Any] | None = None
    basis: PrincipalBasis | None = None


# Of the array that was looked at last: the rows of one candidate come before those of the next.
_last: ContextVar[list[MomentCache] | None] = ContextVar("_last", default=None)


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


def _moment_cache_of(X: Any, dtype: type = np.float64) -> MomentCache:
    """What was computed of `X` in this type, to be looked at and added to."""
    last = _last.get()
    if last is None or dtype != np.float64:
        return MomentCache(X)
    for kept in last:
        if kept.X is X:
            return kept
    kept = MomentCache(X)
    last[:] = [kept]
    return kept


def _centered_moments(X, dtype=np.float64):
    """Mean of the rows, and second moments about it on the smaller side, not to be changed."""
    kept = _moment_cache_of(X, dtype)
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
    basis = _moment_cache_of(X).basis
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
    kept = _moment_cache_of(X, dtype)
    if kept.basis is None or len(kept.basis.variances) < n_components:
        mean, scatter = _centered_moments(X, dtype)
        if dtype != np.float64 and not 1e-24 < float(scatter.trace()) / len(X) < 1e24:
            # Squares beyond the range of float32.
            return principal_basis(X, n_components)
        kept.basis = basis_of_scatter(X, mean, scatter, n_components, dtype)
    return kept.basis.leading(n_components)


def basis_of_scatter(X, mean, scatter, n_components, dtype, rows=None):
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


def _rows_are_equal(X, rows) -> bool:
    first = X[0] if rows is None else X[rows[0]]
    if rows is not None:
        return bool((X[rows] == first).all())
    return all(bool((X[part] == first).all()) for part in chunks(*X.shape))


def with_fixed_signs(axes: np.ndarray) -> np.ndarray:
    """Turn every column so that its largest entry by size is positive."""
    if axes.size == 0:
        return axes
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None, :], axis=0)
    return axes * np.where(largest < 0, -1.0, 1.0)
