"""Nuclear norms (sums of singular values) of a matrix, from a Gram matrix, and by class."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
from scipy.linalg import eigvalsh

from .._utils.arrays import namespace, to_device_of, to_host
from .moments import gram, shared_work_on
from .threads import one_blas_thread

# Number of values of the blocks that are computed together: 4 MiB on the host, to fit in the CPU
# cache. On a device, few large batches are faster than many small ones.
_BATCH_VALUES = 1 << 19
_DEVICE_BATCH_VALUES = 1 << 25

# Number of values above which classes are shared among threads.
_SHARED_VALUES = 2e7


def nuclear_norm(X: Any) -> float:
    """Return the nuclear norm of a large matrix, from its smaller Gram matrix."""
    return nuclear_norm_from_gram(gram(X))


def nuclear_norm_from_gram(gram: np.ndarray) -> float:
    """Return the nuclear norm of a matrix ``A`` with ``A.T @ A`` equal to `gram`."""
    # Rounding can leave an eigenvalue of a positive semidefinite matrix slightly below zero.
    with one_blas_thread:
        return float(np.sqrt(np.clip(eigvalsh(gram), 0.0, None)).sum())


def class_nuclear_norms(
    rows: Callable[[Any], Any],
    H: Any,
    y: np.ndarray,
    n_classes: int,
    n_columns: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the nuclear norm of the rows of each class, and the sum of their own entries.

    The own entry of a row is the one in the column of its class. The rows are computed from `H`
    class by class, so that they are never all in memory. The norm of a class comes from the
    smaller Gram matrix of its rows. Singular values below 1e-8 of the largest lose digits by
    this, but their sum does not.

    Parameters
    ----------
    rows : callable
        Function from rows of `H`, shape (m, k), to rows of the matrix, shape (m, n_columns).

    H : ndarray or tensor of shape (n_samples, k)
        Rows from which the rows of the matrix are computed.

    y : ndarray of shape (n_samples,)
        Class of each row, 0 to ``n_classes - 1``.

    n_classes : int
        Number of classes.

    n_columns : int
        Number of columns of the matrix, at least `n_classes`.

    Returns
    -------
    norms : ndarray of shape (n_classes,)
        Nuclear norms; zero for a class without rows.

    own : ndarray of shape (n_classes,)
        Sum of the entries in column c over the rows of class c.
    """
    xp = namespace(H)
    norms, own = np.zeros(n_classes), np.zeros(n_classes)
    largest = int(np.bincount(y).max())
    n_values = len(y) * n_columns * (H.shape[1] + min(largest, n_columns))
    values = _BATCH_VALUES if xp is np else _DEVICE_BATCH_VALUES

    def measure(
        batch: tuple[np.ndarray, np.ndarray, np.ndarray],
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        classes, index, valid = batch
        n_blocks, n_rows = index.shape
        tall = n_rows >= n_columns
        # Only a tall block can exceed the size of a batch. Its Gram matrix is a sum over rows.
        step = max(1, values // n_columns // n_blocks) if tall else n_rows
        products, hits = 0.0, 0.0
        for start in range(0, n_rows, step):
            part = index[:, start : start + step]
            P = rows(H[to_device_of(part.ravel(), H)]).reshape(*part.shape, n_columns)
            # Padding rows become zero, which adds no singular value.
            scale = to_device_of(valid[:, start : start + step], H)
            P *= scale[..., None]
            own_entries = P[to_device_of(np.arange(n_blocks), H), :, to_device_of(classes, H)]
            hits = hits + (own_entries * scale).sum(-1)
            across = P.swapaxes(1, 2)
            products = products + (across @ P if tall else P @ across)
        return classes, to_host(hits), to_host(xp.linalg.eigvalsh(products))

    shared = shared_work_on(H) if n_values >= _SHARED_VALUES else nullcontext(map)
    with shared as run, one_blas_thread:
        batches = _class_batches(y, n_classes, max(1, values // n_columns))
        for classes, hits, squares in run(measure, batches):
            own[classes] = hits
            norms[classes] = np.sqrt(np.clip(squares, 0.0, None)).sum(axis=-1)
    return norms, own


def _class_batches(
    y: np.ndarray, n_classes: int, n_rows: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield batches of classes of similar size, of about `n_rows` rows or of a single class.

    Yields
    ------
    classes : ndarray of shape (n_blocks,)
        Classes of the batch.

    index : ndarray of shape (n_blocks, n_rows of the largest class)
        Indices of the rows of each class.

    valid : ndarray of the same shape
        1.0 where an index is valid, 0.0 where it is padding.
    """
    counts = np.bincount(y, minlength=n_classes)
    order = np.argsort(y, kind="stable")
    ends = np.cumsum(counts)
    by_size = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    first = 0
    while first < len(by_size):
        largest = counts[by_size[first]]
        # Padding may add up to an eighth to the work, or up to two rows.
        similar = counts[by_size[first:]] >= min(largest - 2, 0.875 * largest)
        last = first + int(np.count_nonzero(similar[: max(1, n_rows // largest)]))
        classes = by_size[first:last]
        position = np.arange(largest)
        valid = position < counts[classes, None]
        start = (ends - counts)[classes, None]
        index = order[start + np.minimum(position, counts[classes, None] - 1)]
        yield classes, index, valid.astype(np.float64)
        first = last
