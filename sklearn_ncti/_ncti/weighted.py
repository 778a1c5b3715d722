"""`WeightedRows`: moments of labelled rows under the weights of many resamples."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from .._linalg.moments import ClassMoments, chunks
from .._utils.arrays import to_host
from .projection import Projection


@dataclass(frozen=True)
class WeightedRows:
    """Rows in principal coordinates, sorted by class, on the host.

    Attributes
    ----------
    H : ndarray of shape (n_samples, k)
        Coordinates.

    codes : ndarray of shape (n_samples,)
        Class of each row, ascending.

    offsets : ndarray of shape (n_samples, k)
        Rows minus their unweighted class means.

    means : ndarray of shape (n_classes, k)
        Unweighted class means.

    parts : list of slice
        Rows of each class.
    """

    H: np.ndarray
    codes: np.ndarray
    offsets: np.ndarray
    means: np.ndarray
    parts: list[slice]

    @classmethod
    def of(cls, projection: Projection, codes: np.ndarray) -> Self:
        """Sort the rows of a projection by class (a stable sort)."""
        order = np.argsort(codes, kind="stable")
        H, codes, means = to_host(projection.H)[order], codes[order], projection.moments.means
        ends = np.cumsum(projection.moments.counts)
        parts = [slice(*of) for of in zip(ends - projection.moments.counts, ends, strict=True)]
        # Rows are centered by class before they are squared, so that collapsed classes stay exact.
        return cls(H, codes, H - means[codes], means, parts)

    def moments(self, weights: np.ndarray) -> list[ClassMoments]:
        """Return the moments of the rows under each of many weights, see `stacked_moments`."""
        stack = self.stacked_moments(weights)
        parts = zip(stack.counts, stack.means, stack.within, strict=True)
        return [ClassMoments(*of_draw) for of_draw in parts]

    def stacked_moments(self, weights: np.ndarray) -> ClassMoments:
        """Return the moments of the rows under each of many weights.

        Parameters
        ----------
        weights : ndarray of shape (n_draws, n_samples)
            Weights of the rows in the order of `codes`. Every class has a positive one.

        Returns
        -------
        moments : ClassMoments
            Stacks of counts, means and scatters, one for each row of `weights`.
        """
        counts = np.stack([weights[:, part].sum(axis=1) for part in self.parts], axis=1)
        sums = np.stack([weights[:, part] @ self.offsets[part] for part in self.parts], axis=1)
        shifts = sums / counts[:, :, None]
        within = np.array([self.scatter(self.offsets, of_rows) for of_rows in weights])
        within -= (counts[:, :, None] * shifts).swapaxes(1, 2) @ shifts
        within /= counts.sum(axis=1)[:, None, None]
        return ClassMoments(counts, self.means + shifts, within)

    @staticmethod
    def scatter(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return the weighted sum of the outer products of rows."""
        used = np.flatnonzero(weights)
        scatter = np.zeros((rows.shape[1], rows.shape[1]))
        for part in chunks(len(used), rows.shape[1]):
            scaled = rows[used[part]]
            scaled *= np.sqrt(weights[used[part]])[:, None]
            scatter += scaled.T @ scaled
        return scatter
