"""Means and variances of labelled rows, class by class, in one pass over chunks each.

Unlike `class_moments`, no matrix with a row and a column for each feature is computed, so that
the features themselves can be measured, and not only their principal coordinates.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from .._utils.arrays import namespace, to_device_of, to_host, zeros_on_device_of
from .moments import add_by_class, centered_chunks, product

#: Slices over the rows of a matrix, and these rows in float64.
Blocks = Iterable[tuple[slice, Any]]


def class_means(blocks: Blocks, y: np.ndarray, n_classes: int) -> np.ndarray:
    """Return the mean row of every class.

    Parameters
    ----------
    blocks : iterable of (slice, array)
        Slices over the rows, and these rows in float64.

    y : ndarray of shape (n_samples,)
        Class of each row, 0 to ``n_classes - 1``. Every class has a row.

    n_classes : int
        Number of classes.

    Returns
    -------
    means : ndarray of shape (n_classes, n_features)
        Class means, on the host.
    """
    sums: Any = None
    for part, rows in blocks:
        if sums is None:
            sums = zeros_on_device_of((n_classes, rows.shape[1]), rows)
        add_by_class(sums, to_device_of(y[part], rows), rows)
    return to_host(sums) / np.bincount(y, minlength=n_classes)[:, None]


def class_variances(blocks: Blocks, y: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Return the mean squared distance of the rows of every class to its mean.

    Parameters
    ----------
    blocks : iterable of (slice, array)
        Slices over the rows, and these rows in float64.

    y : ndarray of shape (n_samples,)
        Class of each row. Every class has a row.

    means : ndarray of shape (n_classes, n_features)
        Class means.

    Returns
    -------
    variances : ndarray of shape (n_classes,)
        Mean squared distances, summed over the features.
    """
    sums = np.zeros(len(means))
    for part, rows in blocks:
        offsets = rows - to_device_of(means[y[part]], rows)
        squares = to_host((offsets * offsets).sum(1))
        sums += np.bincount(y[part], squares, len(means))
    return sums / np.bincount(y, minlength=len(means))


def projected(blocks: Blocks, axes: np.ndarray) -> Iterator[tuple[slice, Any]]:
    """Yield slices over the rows, and the coordinates of these rows along `axes`."""
    for part, rows in blocks:
        yield part, product(rows, to_device_of(axes, rows))


def unit_rows(X: Any) -> Iterator[tuple[slice, Any]]:
    """Yield slices over the rows, and these rows divided by their Euclidean norm.

    A row of zeros stays zero.
    """
    xp = namespace(X)
    for part, rows in centered_chunks(X, np.zeros(X.shape[1]), np.float64):
        # Squares of very small or large values are beyond the range of float64.
        rows = rows / _positive(xp.amax(xp.abs(rows), 1))[:, None]
        yield part, rows / _positive(xp.sqrt((rows * rows).sum(1)))[:, None]


def _positive(sizes: Any) -> Any:
    """Replace zeros by 1, so that rows of zeros can be divided by them."""
    sizes[sizes == 0] = 1.0
    return sizes
