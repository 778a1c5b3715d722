"""Nested, stratified parts of the rows, for successive halving."""

from itertools import pairwise

import numpy as np

# What "auto" chooses for the first part: rows of each class on average, and rows per principal
# component and class. With hardly more rows than components, the scatter within the classes has no
# inverse without one of them, and the exact leave-one-out decides nothing.
_ROWS_PER_CLASS = 10
_ROWS_PER_COMPONENT = 1.5

# Rows of each class that every part has: a class of one row cannot be resampled.
_LEAST_ROWS = 2


def part_sizes(
    codes: np.ndarray, factor: float, min_samples: int | str, n_components: int
) -> list[int]:
    """Return how many rows each part has, ascending; the last has all.

    Parameters
    ----------
    codes : ndarray of shape (n_samples,)
        Class of each row, 0 to ``n_classes - 1``.

    factor : float
        Ratio of the sizes of successive parts.

    min_samples : int or "auto"
        Least number of rows of the first part. "auto" for 10 rows of each class, and 1.5 for each
        principal component and class.

    n_components : int
        Number of principal components that the scorer uses.

    Returns
    -------
    sizes : list of int
        Sizes of the parts.

    Raises
    ------
    ValueError
        If the first part would be too small for all classes, or larger than the data.
    """
    n, n_classes = len(codes), int(codes.max()) + 1
    if min_samples == "auto":
        least = max(
            _ROWS_PER_CLASS * n_classes, int(_ROWS_PER_COMPONENT * (n_components + n_classes))
        )
    else:
        least = int(min_samples)
        if not _LEAST_ROWS * n_classes <= least <= n:
            raise ValueError(
                f"min_samples={min_samples} must be from {_LEAST_ROWS * n_classes} "
                f"({_LEAST_ROWS} rows of each of {n_classes} classes) to {n} (all rows). Use "
                "another number, or 'auto'."
            )
    sizes = [float(n)]
    while sizes[0] / factor >= least:
        sizes.insert(0, sizes[0] / factor)
    return [round(size) for size in sizes]


def nested_parts(codes: np.ndarray, sizes: list[int], seed: int) -> list[np.ndarray]:
    """Return the rows that each part adds to those before it.

    Every part has the share of each class that all rows have, up to rounding, and at least two
    rows of it.

    Parameters
    ----------
    codes : ndarray of shape (n_samples,)
        Class of each row, 0 to ``n_classes - 1``, of two rows or more.

    sizes : list of int
        What `part_sizes` returned.

    seed : int
        Seed of the order of the rows.

    Returns
    -------
    added : list of ndarray of int
        Positions of the rows that are new in each part, ascending.
    """
    shuffled = np.random.default_rng(seed).permutation(len(codes))
    by_class = shuffled[np.argsort(codes[shuffled], kind="stable")]
    counts = np.bincount(codes)
    position = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
    # Rows of all classes advance at the same pace, after the least that each class needs.
    pace = (position + 0.5) / np.repeat(counts, counts)
    pace[position < _LEAST_ROWS] -= 1.0
    order = by_class[np.argsort(pace, kind="stable")]
    return [np.sort(order[start:stop]) for start, stop in pairwise([0, *sizes])]
