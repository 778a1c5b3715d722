"""`Draws`: how often each row counts in every bootstrap resample."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

#: Resamples at most: a slip of the keyboard would otherwise never end.
MAX_RESAMPLES = 100_000


@dataclass(frozen=True)
class Draws:
    """Weights of the rows in the resamples of a stratified bootstrap.

    A scorer gets them in ``resample(draws)``. Candidates of one ranking get the same ones.

    Parameters
    ----------
    codes : ndarray of shape (n_samples,)
        Class of each row, 0 to ``n_classes - 1``.

    n_resamples : int
        Number of resamples.

    seed : int
        Seed of the resamples; they depend on the classes as well.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ncti._utils.resampling import Draws
    >>> draws = Draws(np.array([1, 0, 0, 1]), n_resamples=2, seed=0)
    >>> len(draws)
    2
    >>> for weights in draws:
    ...     print(weights, weights[[1, 2]].sum())
    [2 1 1 0] 2
    [0 0 2 2] 2
    """

    codes: np.ndarray
    n_resamples: int
    seed: int

    def __len__(self) -> int:
        return self.n_resamples

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield how often each row is drawn, with replacement within its class."""
        order = np.argsort(self.codes, kind="stable")
        for weights in self.by_class():
            in_order = np.empty_like(weights)
            in_order[order] = weights
            yield in_order

    def by_class(self, bayesian: bool = False) -> Iterator[np.ndarray]:
        """Yield the weights of rows sorted by class (a stable sort).

        Parameters
        ----------
        bayesian : bool, default=False
            Whether every row gets a continuous weight (Bayesian bootstrap [1]_); those of a class
            add up to its rows. Drawing with replacement leaves out more than a third of the rows:
            too many where rows are few.

        References
        ----------
        .. [1] Rubin. "The Bayesian Bootstrap". Annals of Statistics 9(1), 1981, pp. 130-134.
        """
        rng = np.random.default_rng(self.seed)
        counts = np.bincount(self.codes)
        n = len(self.codes)
        size = np.repeat(counts, counts)
        starts = np.cumsum(counts) - counts
        first = np.repeat(starts, counts)
        for _ in range(self.n_resamples):
            if bayesian:
                weights = rng.standard_exponential(n)
                total = np.add.reduceat(weights, starts)
                yield weights * size / np.repeat(total, counts)
            else:
                drawn = first + (rng.random(n) * size).astype(np.intp)
                yield np.bincount(drawn, minlength=n)
