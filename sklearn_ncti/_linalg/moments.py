"""First and second moments of features, of all rows and by class, in one pass over chunks.

Features are often float32 with a mean far larger than their spread. Every chunk is therefore
centered before it is squared: the textbook form ``X'X - n m m'`` would lose all digits.
Products within a chunk may be computed in float32; sums over chunks are always in float64.
"""

import mmap
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.linalg.blas import dger
from scipy.sparse import csc_matrix

from .._utils.arrays import (
    as_float64,
    is_tensor,
    namespace,
    to_device_of,
    to_host,
    zeros_on_device_of,
)
from .threads import exact_float32_products, shared_work

# Number of values in a chunk that is multiplied, 32 or 64 MiB. BLAS is as fast on such a chunk as
# on the whole matrix, and the chunk takes little memory compared with the features.
_CHUNK_VALUES = 1 << 23

# Number of columns of a tile of second moments, and of multiplications in one unit of work, which
# takes some milliseconds. Within a unit, float32 products are summed in float32.
_TILE_COLUMNS = 512
_TILE_PRODUCTS = 1 << 29

# Number of values in a chunk that is read only once, 2 or 4 MiB, so that it fits in the CPU cache.
_CACHED_VALUES = 1 << 19

# Number of rows that are used for a first estimate of the mean.
_SAMPLED_ROWS = 256


@dataclass(frozen=True)
class RawMoments:
    """Sums over rows about a common shift. Sums of disjoint rows can be added and subtracted.

    Attributes
    ----------
    n : int
        Number of rows.

    total : array of shape (n_features,)
        Sum of ``x - shift``.

    square : array of shape (n_features, n_features)
        Sum of the outer products of ``x - shift``.
    """

    n: int
    total: Any
    square: Any

    def __add__(self, other: Self) -> Self:
        return type(self)(self.n + other.n, self.total + other.total, self.square + other.square)

    def __sub__(self, other: Self) -> Self:
        return type(self)(self.n - other.n, self.total - other.total, self.square - other.square)

    def scatter(self, *, overwrite: bool = False) -> Any:
        """Return the sum of the outer products about the mean of the rows.

        With `overwrite`, the result may be stored in the memory of `square`.
        """
        if is_tensor(self.square):
            return self.square - self.total[:, None] * (self.total / self.n)
        return dger(-1.0 / self.n, self.total, self.total, a=self.square, overwrite_a=overwrite)


@dataclass(frozen=True)
class ClassMoments:
    """Counts, means and maximum-likelihood scatters of labelled rows.

    Attributes
    ----------
    counts : ndarray of shape (n_classes,)
        Number of rows of each class.

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
        """Fraction of the rows in each class."""
        return self.counts / self.counts.sum()

    @property
    def between(self) -> np.ndarray:
        """Scatter of the class means about the overall mean, weighted by the priors."""
        spread = np.sqrt(self.priors)[:, None] * (self.means - self.priors @ self.means)
        return spread.T @ spread

    @property
    def total(self) -> np.ndarray:
        """Scatter of the rows about the overall mean, the sum of `within` and `between`."""
        return self.within + self.between


def chunks(n_rows: int, n_features: int, values: int | None = None) -> Iterator[slice]:
    """Yield slices over the rows, each of about `values` values."""
    return _slices(n_rows, max(1, (values or _CACHED_VALUES) // max(1, n_features)))


def _slices(n_rows: int, step: int) -> Iterator[slice]:
    """Yield slices of about the same length, at most `step`."""
    step = -(-n_rows // max(1, -(-n_rows // step)))
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def centered_chunks(
    X: Any,
    shift: Any,
    dtype: type,
    *,
    rows: np.ndarray | None = None,
    values: int | None = None,
    run: Callable = map,
) -> Iterator[tuple[slice, Any]]:
    """Yield slices over the rows of `X` and their values minus `shift`.

    Parameters
    ----------
    X : ndarray or tensor of shape (n_samples, n_features)
        Rows. A memory-mapped array is read chunk by chunk, and its pages are released.

    shift : ndarray of shape (n_features,)
        Vector that is subtracted from every row, of type `dtype`.

    dtype : {numpy.float32, numpy.float64}
        Type of the chunks.

    rows : ndarray of int, default=None
        Indices of the rows to use. If None, all rows are used. The slices index `rows`.

    values : int, default=None
        Approximate number of values in a chunk.

    run : callable, default=map
        Function that shares the work on a chunk among threads, see `shared_work`.

    Yields
    ------
    part : slice
        Rows of the chunk.

    block : ndarray or tensor of shape (rows in the chunk, n_features), C-ordered
        Centered values. The memory of an array is reused for the next chunk.
    """
    n, d = X.shape if rows is None else (len(rows), X.shape[1])
    parts = list(chunks(n, d, values))
    if is_tensor(X):
        torch = namespace(X)
        shift = to_device_of(shift, X)
        for part in parts:
            chosen = X[part] if rows is None else X[to_device_of(rows[part], X)]
            yield part, chosen.to(torch.float32 if dtype == np.float32 else torch.float64) - shift
        return
    buffer = np.empty((parts[0].stop, d), dtype=dtype)
    release_pages = _page_release(X)
    for part in parts:
        block = buffer[: part.stop - part.start]

        def fill(within: slice, part: slice = part, block: np.ndarray = block) -> None:
            own = slice(part.start + within.start, part.start + within.stop)
            chosen = X[own if rows is None else rows[own]]
            np.subtract(chosen, shift, out=block[within], casting="same_kind")
            release_pages()

        deque(run(fill, chunks(*block.shape)), maxlen=0)
        yield part, block


def approximate_mean(X: Any, dtype: type) -> np.ndarray:
    """Return the mean of a few evenly spaced rows in `dtype`, for approximate centering."""
    d = X.shape[1]
    rows = np.arange(0, len(X), max(1, len(X) // _SAMPLED_ROWS))[:_SAMPLED_ROWS]
    total = zeros_on_device_of((d,), X)
    with np.errstate(invalid="ignore", over="ignore"):
        # A few rows at a time, as the system maps far more of a file than the rows that are read.
        for _, block in centered_chunks(X, np.zeros(d), np.float64, rows=rows, values=16 * d):
            total += block.sum(0)
    return (to_host(total) / len(rows)).astype(dtype)


def raw_moments(
    X: Any, shift: np.ndarray, dtype: type = np.float64, rows: np.ndarray | None = None
) -> RawMoments:
    """Return sums of the rows of `X` and of their outer products about `shift`, in one pass.

    Parameters
    ----------
    X : ndarray or tensor of shape (n_samples, n_features)
        Rows.

    shift : ndarray of shape (n_features,)
        Vector that is subtracted from every row, of type `dtype`.

    dtype : {numpy.float32, numpy.float64}, default=numpy.float64
        Type in which products within a chunk are computed.

    rows : ndarray of int, default=None
        Indices of the rows to use. If None, all rows are used.

    Returns
    -------
    moments : RawMoments
        Sums in float64, on the device of `X`.

    Raises
    ------
    ValueError
        If a value is NaN, infinite or, for float64, so large that its square is.
    """
    d = X.shape[1]
    n = len(X) if rows is None else len(rows)
    total = zeros_on_device_of((d,), X)
    # NaN and infinity propagate to the sums, which are checked at the end.
    with shared_work_on(X) as run, np.errstate(invalid="ignore", over="ignore"):
        add, result = _outer_products(X, d, dtype, run)
        for _, block in centered_chunks(X, shift, dtype, rows=rows, values=_CHUNK_VALUES, run=run):
            for part in run(lambda part, block=block: _sum(block[part]), chunks(*block.shape)):
                total += part
            add(block)
        square = result()
        if not np.isfinite(float(total.sum()) + float(square.trace())):
            check_finite(X, dtype)
    return RawMoments(n, total, square)


def row_products(
    X: Any, dtype: type = np.float64, center: np.ndarray | None = None
) -> tuple[np.ndarray, Any]:
    """Return the mean of the columns, and the products of the centered rows with each other.

    Parameters
    ----------
    X : ndarray or tensor of shape (n_samples, n_features)
        Rows, fewer than features.

    dtype : {numpy.float32, numpy.float64}, default=numpy.float64
        Type in which products are computed.

    center : ndarray of shape (n_features,), default=None
        Vector that is subtracted from every row. If None, the mean of the rows is used.

    Returns
    -------
    center : ndarray of shape (n_features,)
        Vector that was subtracted.

    products : array of shape (n_samples, n_samples)
        ``Xc @ Xc.T`` in float64, on the device of `X`.

    Raises
    ------
    ValueError
        If a value is NaN, infinite or, for float64, so large that its square is.
    """
    n, d = X.shape
    used = np.empty(d)
    with shared_work_on(X) as run, np.errstate(invalid="ignore", over="ignore"):
        add, result = _outer_products(X, n, dtype, run)
        for part in chunks(d, n, _CHUNK_VALUES):
            columns = as_float64(X[:, part])
            middle = columns.mean(0) if center is None else to_device_of(center[part], X)
            used[part] = to_host(middle)
            block = (columns - middle).T
            add(block if is_tensor(X) else np.ascontiguousarray(block, dtype=dtype))
        products = result()
        if not np.isfinite(float(products.trace())):
            check_finite(X, dtype)
    return used, products


def gram(X: np.ndarray, center: np.ndarray | None = None) -> np.ndarray:
    """Return the smaller of the two Gram matrices of `X`, centered at `center`.

    Parameters
    ----------
    X : ndarray or tensor of shape (n_samples, n_features)
        Rows, float32 or float64.

    center : ndarray of shape (n_features,), default=None
        Vector that is subtracted from every row. If None, `X` is not centered.

    Returns
    -------
    gram : ndarray of shape (m, m), m = min(n_samples, n_features)
        ``Xc.T @ Xc`` if there are at least as many rows as features, else ``Xc @ Xc.T``.
        Both have the same non-zero eigenvalues, the squared singular values of ``Xc``.
    """
    shift = np.zeros(X.shape[1]) if center is None else center
    if len(X) < X.shape[1]:
        return to_host(row_products(X, center=shift)[1])
    return to_host(raw_moments(X, shift).square)


def column_means(X: Any, rows: np.ndarray | None = None) -> np.ndarray:
    """Return the mean of every column over `rows` (None for all), summed in float64."""
    n, d = X.shape if rows is None else (len(rows), X.shape[1])
    total = zeros_on_device_of((d,), X)
    for part in chunks(n, d):
        total += as_float64(X[part if rows is None else to_device_of(rows[part], X)]).sum(0)
    return to_host(total) / n


def class_moments(H: Any, y: np.ndarray, n_classes: int) -> ClassMoments:
    """Return counts, means and within-class scatter of labelled rows.

    The scatter is computed about the class means themselves, not as the difference of total and
    between-class scatter, so that it stays exact if a class collapses to one point.

    Parameters
    ----------
    H : ndarray or tensor of shape (n_samples, n_features)
        Rows, float64.

    y : ndarray of shape (n_samples,)
        Class of each row, 0 to ``n_classes - 1``.

    n_classes : int
        Number of classes.

    Returns
    -------
    moments : ClassMoments
        Moments of the classes.
    """
    counts = np.bincount(y, minlength=n_classes)
    sums = zeros_on_device_of((n_classes, H.shape[1]), H)
    for classes, rows in _chunks_by_class(H, y):
        add_by_class(sums, classes, rows)
    means = to_host(sums) / np.maximum(counts, 1)[:, None]
    # Sums of many rows are rounded. A second pass about the first means corrects the means.
    sums = zeros_on_device_of(sums.shape, H)
    add, result = _outer_products(H, H.shape[1], np.float64)
    for classes, rows in _chunks_by_class(H, y, means):
        add_by_class(sums, classes, rows)
        add(rows)
    rest = to_host(sums) / np.maximum(counts, 1)[:, None]
    # For a collapsed class, the scatter about the first mean is only rounding error.
    within = (to_host(result()) - rest.T @ (counts[:, None] * rest)) / len(H)
    return ClassMoments(counts=counts, means=means + rest, within=within)


def scatter_about(
    H: Any, centers: np.ndarray | None = None, y: np.ndarray | None = None
) -> np.ndarray:
    """Return the mean outer product of the rows of `H` about 0, or about their class centers.

    Parameters
    ----------
    H : ndarray or tensor of shape (n_samples, k)
        Rows, float64.

    centers : ndarray of shape (n_classes, k), default=None
        Centers of the classes. If None, the rows are not centered.

    y : ndarray of shape (n_samples,), default=None
        Class of each row, needed with `centers`.

    Returns
    -------
    scatter : ndarray of shape (k, k)
        Mean outer product, on the host.
    """
    add, result = _outer_products(H, H.shape[1], np.float64)
    for _, rows in _chunks_by_class(H, y, centers):
        add(rows)
    return to_host(result()) / len(H)


def _chunks_by_class(
    H: Any, y: np.ndarray | None, centers: np.ndarray | None = None
) -> Iterator[tuple[Any, Any]]:
    """Yield the classes of a chunk of rows, and the rows minus the centers of their classes."""
    y = None if y is None else to_device_of(y, H)
    centers = None if centers is None else to_device_of(centers, H)
    for part in chunks(*H.shape):
        classes = None if y is None else y[part]
        yield classes, H[part] if centers is None else H[part] - centers[classes]


def add_by_class(sums: Any, classes: Any, rows: Any) -> None:
    """Add every row to the sum of its class."""
    if is_tensor(rows):
        sums.index_add_(0, classes, rows)
    else:
        n = len(rows)
        sums += csc_matrix((np.ones(n), classes, np.arange(n + 1)), (len(sums), n)) @ rows


def check_finite(X: Any, dtype: type = np.float64) -> None:
    """Raise a ValueError that describes why sums or squares of `X` are not finite.

    The reason is NaN, infinity or, for products in float64, values that are too large.
    """
    largest = 0.0
    for part in chunks(*X.shape):
        block = to_host(X[part])
        wrong = ~np.isfinite(block)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise ValueError(
                f"Input X contains {'NaN' if np.isnan(block[row, column]) else 'infinity'}: the "
                f"first is in row {part.start + row}, column {column}.\nFeatures must be finite. "
                "Check the input of that row; features in 16 bits may have "
                "overflowed, compute them in 32 then."
            )
        largest = max(largest, float(np.abs(block).max()))
    if dtype == np.float64:
        raise ValueError(
            f"X has values as large as {largest:.3g}, and float64 has no room for sums of their "
            "squares: it ends at 1.8e+308. Divide all features by one constant first."
        )


# Arrays are multiplied by numpy: scipy's functions hold the global interpreter lock while they
# compute, so that threads would wait for each other.


def product(A: Any, B: Any) -> Any:
    """Return the matrix product, without TF32 for tensors."""
    with exact_float32_products if is_tensor(A) else nullcontext():
        return A @ B


def shared_work_on(X: Any) -> AbstractContextManager[Callable]:
    """Return the context of `shared_work` for arrays, and of `map` for tensors."""
    return nullcontext(map) if is_tensor(X) else shared_work()


def _sum(block: Any) -> Any:
    """Return the sum of the rows of a C-ordered chunk."""
    if is_tensor(block):
        return block.sum(0)
    return np.ones(len(block), dtype=block.dtype) @ block


def _outer_products(X: Any, m: int, dtype: type, run: Callable = map) -> tuple[Callable, Callable]:
    """Return a function that adds ``block.T @ block`` to a float64 sum, and one that returns it.

    For arrays, the sum consists of tiles that `run` shares among threads. The tiles do not
    depend on the number of threads.
    """
    if is_tensor(X):
        return _outer_products_on_device(X, m)
    out = np.zeros((m, m))
    tiles = list(_slices(m, _TILE_COLUMNS))

    def add(block: np.ndarray) -> None:
        step = max(1, _TILE_PRODUCTS // tiles[0].stop ** 2)
        pieces = [
            (rows, left, right)
            for right in tiles
            for left in tiles
            if left.start <= right.start
            for rows in _slices(len(block), step)
        ]

        def multiply(piece: tuple[slice, slice, slice]) -> np.ndarray:
            rows, left, right = piece
            return block[rows, left].T @ block[rows, right]

        for (_, left, right), found in zip(pieces, run(multiply, pieces), strict=True):
            out[left, right] += found

    def result() -> np.ndarray:
        for right in tiles:
            for left in tiles:
                if left.start < right.start:
                    out[right, left] = out[left, right].T
        # F-ordered, so that LAPACK does not copy it.
        return out.T

    return add, result


def _outer_products_on_device(X: Any, m: int) -> tuple[Callable, Callable]:
    """Return the functions of `_outer_products` for tensors."""
    total = zeros_on_device_of((m, m), X)

    def add(block: Any) -> None:
        with exact_float32_products:
            total.add_(block.T @ block)

    return add, lambda: total


def _page_release(X: np.ndarray) -> Callable[[], None]:
    """Return a function that releases the pages that a memory-mapped array has read so far.

    The pages stay in the cache of the system, but no longer count as memory of this process.
    Otherwise, the memory of the process would grow to the size of the file.
    """
    base: Any = X
    while base is not None and not isinstance(base, np.memmap):
        base = getattr(base, "base", None)
    # In mode "c", the pages contain changes that the file does not have.
    if base is None or base.mode not in ("r", "r+") or not hasattr(mmap, "MADV_DONTNEED"):
        return lambda: None
    while isinstance(base, np.ndarray):
        base = base.base
    if not isinstance(base, mmap.mmap):
        return lambda: None
    return lambda: base.madvise(mmap.MADV_DONTNEED)
