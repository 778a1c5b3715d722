"""Leading eigenpairs of a symmetric matrix, from which principal components come.

A dense eigensolver reduces the whole matrix in many small steps, and the threads of BLAS wait
for each other in each step. On a busy machine this takes many times as long. Everything in this
module therefore runs on one thread of BLAS. A few eigenpairs of a large matrix come from
products with blocks of vectors (a block Krylov method). The dense solver handles small
matrices, flat spectra, and results that fail the check of their residual.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.linalg import eigh, qr
from scipy.linalg.blas import dgemm, sgemm

from .._utils.arrays import as_float32, as_float64, is_tensor, namespace, to_device_of, to_host
from .threads import one_blas_thread

# Additional eigenvectors that are refined together with the wanted ones. Without them, the last
# wanted eigenvectors would mix with the next ones.
_SPARE_VECTORS = 16

# Largest accepted angle between a refined eigenvector and the exact one, by the type in which
# products of features are computed. The relative error of the eigenvalue is its square. For
# features of networks, the angle in float32 is about 1e-5.
_TOLERANCES: dict[type, float] = {np.float32: 2e-4, np.float64: 1e-9}

# Number of rows, in multiples of the wanted vectors, above which products are faster than the
# dense solver.
_LARGE = 16

# Number of vectors that are multiplied together.
_BLOCK = 16

# Sizes of the basis, in multiples of the wanted vectors: at the first computation of its
# eigenpairs, and at most.
_FIRST_CHECK, _LARGEST_BASIS = 3.6, 6

# Number of blocks between two checks, and the largest ratio of the angles at the two. If the
# basis converges more slowly, the dense solver is faster.
_BLOCKS_OF_CHECK = 2
_SLOWEST = 0.3

# Number of blocks of a second start, which searches for eigenvectors that the first one missed.
_BLOCKS_OF_SEARCH = 2


def leading_eigenpairs(
    scatter: Any, k: int, dtype: type = np.float64
) -> tuple[np.ndarray, np.ndarray]:
    """Return the leading `k` eigenpairs of a positive semi-definite matrix.

    Parameters
    ----------
    scatter : array of shape (m, m)
        Matrix in float64: an array, or a tensor on its device.

    k : int
        Number of eigenpairs, at most `m`.

    dtype : {numpy.float32, numpy.float64}, default=numpy.float64
        Type in which products of features were computed. For float32, eigenvectors of the
        rounded matrix are the basis of a Rayleigh-Ritz step on the exact matrix.

    Returns
    -------
    values : ndarray of shape (k,)
        Eigenvalues in descending order, at least 0.

    vectors : ndarray of shape (m, k)
        Orthonormal eigenvectors.
    """
    if not is_tensor(scatter) and not scatter.flags.f_contiguous:
        # BLAS would copy it for every product, and a symmetric matrix equals its transpose.
        scatter = scatter.T
    with one_blas_thread:
        pairs = _refined_bases(scatter, k, dtype)
        found = next((pair for pair in pairs if pair[2] <= _TOLERANCES[dtype]), None)
        values, vectors = map(to_host, _dense(scatter, k)) if found is None else found[:2]
    return np.clip(values[::-1][:k], 0.0, None), vectors[:, ::-1][:, :k].copy()


def _bases(scatter: Any, k: int, dtype: type) -> Iterator[Any]:
    """Yield bases that approximate the leading eigenvectors, the cheapest first."""
    m, wide = len(scatter), min(len(scatter), k + _SPARE_VECTORS)
    exact = dtype == np.float64
    rounded = scatter if exact else as_float32(scatter)
    vectors = None
    if not is_tensor(scatter) and m >= _LARGE * wide:
        vectors = _krylov_vectors(rounded, k, wide, _TOLERANCES[dtype])
    if vectors is not None:
        yield vectors
        if not exact:
            vectors = _krylov_vectors(scatter, k, wide, _TOLERANCES[dtype])
            if vectors is not None:
                yield vectors
    elif not exact:
        yield as_float64(_dense(rounded, wide)[1])


def _dense(matrix: Any, k: int) -> tuple[Any, Any]:
    """Return the leading `k` eigenpairs in ascending order, computed by a dense solver."""
    m = len(matrix)
    if is_tensor(matrix):
        values, vectors = namespace(matrix).linalg.eigh(matrix)
    else:
        values, vectors = eigh(matrix, lower=False, subset_by_index=[m - k, m - 1])
        if len(values) < k:
            # LAPACK can miss some of several equal eigenvalues if only a part is requested.
            values, vectors = eigh(matrix, driver="evd")
    return values[-k:], vectors[:, -k:]


def _refined_bases(
    scatter: Any, k: int, dtype: type
) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """Yield Ritz pairs of each basis and of its image, and the largest angle of the last `k`.

    Rounding errors of the basis lie mostly along small eigenvalues. One more product with the
    matrix removes them.
    """
    for vectors in _bases(scatter, k, dtype):
        values, vectors, image, angle = _ritz_pairs(scatter, vectors, k)
        yield values, vectors, angle
        values, vectors, _, angle = _ritz_pairs(scatter, to_device_of(image, scatter), k)
        yield values, vectors, angle


def _ritz_pairs(
    scatter: Any, vectors: Any, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Return ascending Ritz pairs, the image of the vectors, and a bound of the angles."""
    image = to_host(_image(scatter, vectors))
    vectors = to_host(vectors)
    values, mixing = eigh(vectors.T @ image, vectors.T @ vectors)
    vectors, image = vectors @ mixing, image @ mixing
    residual = np.linalg.norm(image - vectors * values, axis=0)[-k:].max()
    gap = values[-k] - values[0]
    # The image is scaled so that its products stay well conditioned.
    sizes = np.maximum(np.linalg.norm(image, axis=0), np.finfo(float).tiny)
    return values, vectors, image / sizes, residual / gap if gap > 0 else np.inf


def _krylov_vectors(A: np.ndarray, k: int, wide: int, tolerance: float) -> np.ndarray | None:
    """Return approximations of the leading `wide` eigenvectors, or None if `k` do not converge."""
    basis = _KrylovBasis(A, _LARGEST_BASIS * wide)
    basis.grow(int(_FIRST_CHECK * wide))
    before = 1.0
    while True:
        values, vectors, residual = basis.eigenpairs(wide, k)
        gap = values[-k] - values[0]
        # Residual that rounding leaves even for a large basis.
        noise = 16 * np.finfo(A.dtype).eps * values[-1]
        if residual <= max(tolerance * gap, noise):
            return None if basis.has_missed(values[-k]) else vectors.astype(np.float64, order="F")
        if residual > _SLOWEST * before * gap or basis.is_full:
            return None
        before = residual / gap
        basis.grow(_BLOCKS_OF_CHECK * _BLOCK)


class _KrylovBasis:
    """Orthonormal basis that is extended by the product of a matrix and its last block.

    Parameters
    ----------
    A : ndarray of shape (m, m), F-ordered
        Symmetric matrix, float32 or float64.

    max_size : int
        Number of vectors at which the basis is full. The last blocks may exceed it.
    """

    def __init__(self, A: np.ndarray, max_size: int) -> None:
        self._A = A
        self._rng = np.random.default_rng(0)
        capacity = max_size + (_BLOCKS_OF_CHECK + _BLOCKS_OF_SEARCH) * _BLOCK
        self._vectors = np.empty((len(A), capacity), A.dtype, "F")
        self._images = np.empty((len(A), capacity), A.dtype, "F")
        self._projected = np.zeros((capacity, capacity), A.dtype)
        self._max_size = max_size
        self._size = 0
        self._next = self._random_block()

    @property
    def is_full(self) -> bool:
        """Whether the basis has reached its maximal size."""
        return self._size >= self._max_size

    def grow(self, n_vectors: int) -> None:
        """Append at least `n_vectors` vectors, in blocks."""
        stop = self._size + n_vectors
        while self._size < stop:
            before, new = self._size, slice(self._size, self._size + _BLOCK)
            block = self._next
            for _ in range(2):
                # After the second pass, only noise of the block is left inside the basis.
                known = self._vectors[:, :before]
                block = qr(
                    block - _product(known, _product(known, block, trans_a=True)), mode="economic"
                )[0]
            self._vectors[:, new] = block
            self._next = self._images[:, new] = _image(self._A, self._vectors[:, new])
            self._size = new.stop
            self._projected[: new.stop, new] = _product(
                self._vectors[:, : new.stop], self._images[:, new], trans_a=True
            )

    def eigenpairs(self, wide: int, k: int) -> tuple[np.ndarray, np.ndarray, float]:
        """Return the leading Ritz pairs in ascending order, and the residual of the last `k`."""
        now = slice(self._size)
        values, mixing = eigh(self._projected[now, now], lower=False, driver="evd")
        values, mixing = values[-wide:], mixing[:, -wide:].astype(self._A.dtype, order="F")
        vectors = _product(self._vectors[:, now], mixing)
        images = _product(self._images[:, now], mixing[:, -k:])
        residual = images - vectors[:, -k:] * values[-k:].astype(self._A.dtype)
        return values, vectors, float(np.linalg.norm(residual, axis=0).max())

    def has_missed(self, value: float) -> bool:
        """Return whether the basis lacks eigenvectors of eigenvalues above `value`.

        Of several equal eigenvalues, one start finds as many as a block has columns. A second
        start, orthogonal to the basis, finds the remaining ones.
        """
        found = self._size
        self._next = self._random_block()
        self.grow(_BLOCKS_OF_SEARCH * _BLOCK)
        outside = self._projected[found : self._size, found : self._size]
        return bool(eigh(outside, lower=False, eigvals_only=True)[-1] > value)

    def _random_block(self) -> np.ndarray:
        return self._rng.standard_normal((len(self._A), _BLOCK)).astype(self._A.dtype)


def _image(A: Any, vectors: Any) -> Any:
    """Return the product of a symmetric matrix and a few vectors."""
    if is_tensor(A):
        return A @ vectors
    # With the few vectors as the first factor, BLAS takes half as long.
    return (sgemm if A.dtype == np.float32 else dgemm)(1.0, vectors, A, trans_a=True).T


def _product(A: np.ndarray, B: np.ndarray, **kwargs: Any) -> np.ndarray:
    """Return the product of two F-ordered matrices by scipy's BLAS, which copies others."""
    return (sgemm if A.dtype == np.float32 else dgemm)(1.0, A, B, **kwargs)
