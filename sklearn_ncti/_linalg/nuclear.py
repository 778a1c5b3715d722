"""Nuclear norms (sums of singular values), of a matrix, of a scatter, and by class."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
from scipy.linalg import eigvalsh

from .._utils.arrays import namespace, to_device_of, to_host
from .moments import gram, shared_work_on
from .threads import one_blas_thread

# Values of the blocks that are computed together: 4 MiB on the host, where they should stay
# in the cache; on a device few large batches are better than many small ones.
_BATCH_VALUES = 1 << 19
_DEVICE_BATCH_VALUES = 1 << 25

# Values of rows and norms from which on it pays to share classes among threads.
_SHARED_VALUES = 2e7


def nuclear_norm(X: Any) -> float:
    """Nuclear norm of a large matrix, through the eigenvalues of its smaller Gram matrix."""
    return nuclear_norm_from_gram(gram(X))


def nuclear_norm_from_gram(gram: np.ndarray) -> float:
    """Nuclear norm of any A with ``A.T @ A`` = `gram`: the sum of the eigenvalues' roots."""
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
    """Nuclear norm of the rows of each class, and the sum of their entries at that class.

    The rows are computed from `H` class by class, so that they never are all in memory. The
    norm of a block comes from its Gram matrix on the side that is smaller: n_c for classes
    of few rows, else the number of columns. That loses digits of singular values below 1e-8
    of the largest, and none of their sum.

    Parameters
    ----------
    rows : callable
        From rows of `H`, shape (m, k), to those of the matrix, shape (m, n_columns).

    H : ndarray or tensor of shape (n_samples, k)
        What the rows are computed from.

    y : ndarray of shape (n_samples,)
        Class of each row, 0 to ``n_classes - 1``.

    n_classes : int
        Number of classes.

    n_columns : int
        Columns of the matrix, at least `n_classes`.

    Returns
    -------
    norms : ndarray of shape (n_classes,)
        Zero for a class without rows.

    own : ndarray of shape (n_classes,)
        Sum over the rows of class c of their entry in column c.
    """
    xp = namespace(H)
    norms, own = np.zeros(n_classes), np.zeros(n_classes)
    largest = int(np.bincount(y).max())
    n_values = len(y) * n_columns * (H.shape[1] + min(largest, n_columns))
    values = _BATCH_VALUES if xp is np else _DEVICE_BATCH_VALUES

    def measure(batch):
        classes, index, valid = batch
        n_blocks, n_rows = index.shape
        tall = n_rows >= n_columns
        # Only a tall block can be larger than a batch; its Gram matrix is a sum over rows.
        step = max(1, values // n_columns // n_blocks) if tall else n_rows
        products, hits = 0.0, 0.0
        for start in range(0, n_rows, step):
            part = index[:, start : start + step]
            P = rows(H[to_device_of(part.ravel(), H)]).reshape(*part.shape, n_columns)
            # Rows that only fill a block up become zero, which adds no singular value.
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
    """Yield classes of about one size, about `n_rows` rows together, or a single class.

    Yields the classes, the indices of their rows, shape (number of classes, rows of the
    largest), and 1.0 where an index is valid, 0.0 where it only fills up.
    """
    counts = np.bincount(y, minlength=n_classes)
    order = np.argsort(y, kind="stable")
    ends = np.cumsum(counts)
    by_size = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    first = 0
    while first < len(by_size):
        most = counts[by_size[first]]
        # Filling up may add an eighth to the work, or a row or two.
        alike = counts[by_size[first:]] >= min(most - 2, 0.875 * most)
        last = first + int(np.count_nonzero(alike[: max(1, n_rows // most)]))
        classes = by_size[first:last]
        place = np.arange(most)
        valid = place < counts[classes, None]
        start = (ends - counts)[classes, None]
        index = order[start + np.minimum(place, counts[classes, None] - 1)]
        yield classes, index, valid.astype(np.float64)
        first = last
