"""Discriminants and components of many bootstrap resamples at once."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

from .._linalg.moments import ClassMoments
from .._linalg.nuclear import nuclear_norm_from_gram
from .._linalg.threads import shared_work
from .._utils.components import Components
from .._utils.resampling import Draws
from .discriminant import RANK_TOLERANCE, SHRINKAGE_FLOOR, TIE, Discriminant, fit_discriminant
from .projection import Projection
from .weighted import WeightedRows

# Number of rows per (principal component + class) below which the Bayesian bootstrap is used. For
# so few rows, drawing with replacement makes intervals too wide (benchmarks/coverage.py).
_BAYESIAN_ROWS = 10

# Number of values that are processed together, 4 MiB.
_BATCH_VALUES = 1 << 19

# Maximal number of draws in a batch, so that four threads share 100 draws equally.
_BATCH_DRAWS = 25

# Maximal number of threads. For few rows the steps are many and small, and threads wait for the
# global interpreter lock between them.
_MAX_THREADS = 4

# Largest trace of the inverse of a scaled scatter for which the inverse is used. It is then exact
# to about 1e-10, and no direction is close to being dropped (RANK_TOLERANCE).
_LARGEST_INVERSE = 1e6

# Largest centered logit whose exponential and its square are finite with certainty.
_LARGEST_LOGIT = 300.0


def resampled_components(
    projection: Projection,
    discriminant: Discriminant,
    draws: Draws,
    components_of: Callable[..., Components],
) -> Components:
    """Return the components of every resample, each with a discriminant of its own.

    All resamples use the fitted principal components.

    Parameters
    ----------
    projection : Projection
        Fitted rows.

    discriminant : Discriminant
        Discriminant of the fitted rows. Its shrinkage is used for all resamples.

    draws : Draws
        Weights of the rows in each resample.

    components_of : callable
        Called as ``components_of(seli, posterior)`` with the norm and the variances of the
        coordinates, and the norms and sums of the posterior. Returns `Components`.

    Returns
    -------
    components : Components
        One array of shape (n_resamples,) for each component.
    """
    rows = WeightedRows.of(projection, draws.codes)
    n, k = rows.H.shape
    with_ones = np.column_stack([rows.H, np.ones(n)])

    def measure(weights: np.ndarray) -> list[Components]:
        solutions = list(_solve(discriminant, rows.moments(weights)))
        posteriors = zip(*_posterior_norms(solutions, with_ones, rows.codes, weights), strict=True)
        return [
            components_of((solution.norm, (*solution.variances, None)), posterior)
            for solution, posterior in zip(solutions, posteriors, strict=True)
        ]

    few = n < _BAYESIAN_ROWS * (k + len(rows.parts))
    return run_in_batches(measure, draws.by_class(bayesian=few), n + len(rows.parts) * k + k * k)


def run_in_batches(
    measure: Callable[[np.ndarray], list[Components]], draws: Iterable[np.ndarray], n_values: int
) -> Components:
    """Return the components of all draws, which threads measure in batches.

    Parameters
    ----------
    measure : callable
        Called with float weights of shape (n_draws, n_samples). Returns one `Components` each.

    draws : iterable of ndarray of shape (n_samples,)
        Weights of the rows.

    n_values : int
        Number of values that one draw holds in memory.

    Returns
    -------
    components : Components
        One array for each component, in the order of the draws.
    """
    with shared_work(_MAX_THREADS) as run:
        batches = _batches(draws, n_values)
        return Components.stack(chain.from_iterable(run(measure, batches)))


@dataclass(frozen=True)
class _Solution:
    """Results of a discriminant that determine the components of its rows.

    Attributes
    ----------
    norm : float
        Nuclear norm of the coordinates of the rows.

    variances : tuple of two ndarray of shape (q,)
        e'We and e'Te of every axis e.

    coef : ndarray of shape (k, n_classes)
        Linear coefficients of the log posterior.

    intercept : ndarray of shape (n_classes,)
        Constants of the log posterior.
    """

    norm: float
    variances: tuple[np.ndarray, np.ndarray]
    coef: np.ndarray
    intercept: np.ndarray


def _solve(fitted: Discriminant, moments: list[ClassMoments]) -> Iterator[_Solution]:
    """Yield the solution for each of the moments, batched where this is exact enough."""
    solved = batched_discriminants(fitted, moments)
    for i, of_resample in enumerate(moments):
        yield solved[i] if i in solved else _solve_one(fitted, of_resample)


def _solve_one(fitted: Discriminant, moments: ClassMoments) -> _Solution:
    """Return the solution for the moments of one resample, without any condition on them."""
    refitted = fit_discriminant(
        fitted.basis,
        moments,
        shrinkage=fitted.shrinkage,
        n_dims=fitted.n_dims,
    )
    products = moments.counts.sum() * refitted.axes.T @ moments.total @ refitted.axes
    within, total, _ = refitted.variances_of(moments.within, moments.total)
    return _Solution(
        nuclear_norm_from_gram(products), (within, total), refitted.coef, refitted.intercept
    )


def batched_discriminants(
    fitted: Discriminant, moments: list[ClassMoments]
) -> dict[int, _Solution]:
    """Return solutions by index, for all moments whose within-class scatter has an inverse.

    The results equal those of `fit_discriminant`, in fewer steps. Let W be the regularized
    within-class scatter, T - W the between-class scatter, and ``W^-1 = F F'``. The eigenvalues
    of ``F'(T - W) F`` are the lambda of the axes, along which e'We = 1 and e'Te = 1 + lambda.
    """
    t = fitted.shrinkage
    shrunk = t > SHRINKAGE_FLOOR
    counts, priors = moments[0].counts, moments[0].priors
    used = np.flatnonzero(~fitted.basis.is_noise | shrunk)
    within = np.array([item.within for item in moments])[:, used[:, None], used]
    means = np.array([item.means for item in moments])[:, :, used]
    spread = np.sqrt(priors)[:, None] * (means - (priors @ means)[:, None])
    # W is scaled before its inversion: by its mean variance or, without shrinkage, to unit
    # variances.
    units = np.diagonal(within, axis1=1, axis2=2)
    if shrunk:
        units = units.sum(axis=1, keepdims=True) / fitted.n_dims
    smallest = np.finfo(float).eps * fitted.basis.variances[0]
    good = np.flatnonzero((units > smallest).all(axis=1) & spread.any(axis=(1, 2)))
    scale = 1 / np.sqrt(units[good])[:, :, None]
    regular = within[good] * scale * transpose_stack(scale)
    if shrunk:
        regular = (1 - t) * regular + t * np.eye(len(used))
    try:
        inverse = np.linalg.inv(regular)
        bound = np.trace(inverse, axis1=1, axis2=2)
        exact = (bound > 0) & (bound < _LARGEST_INVERSE)
        good, factor = good[exact], scale[exact] * np.linalg.cholesky(inverse[exact])
    except np.linalg.LinAlgError:
        return {}
    means, inner = means[good], spread[good] @ factor
    coefs = np.zeros((len(good), len(fitted.basis.variances), len(counts)))
    coefs[:, used] = factor @ transpose_stack(means @ factor)
    intercepts = np.log(priors) - 0.5 * np.einsum("bck,bkc->bc", means, coefs[:, used])
    n, n_axes = counts.sum(), min(len(counts) - 1, len(used))
    if not shrunk:
        # Z'Z is diagonal with entries n e'Te.
        short = (
            transpose_stack(inner) @ inner
            if len(used) < len(counts)
            else inner @ transpose_stack(inner)
        )
        roots = np.linalg.eigvalsh(short)
        roots[roots <= RANK_TOLERANCE**2 * roots[:, -1:]] = -1.0
        singular = np.sqrt(n * (1 + roots))
    else:
        # As in `fit_discriminant`, this contrast has axes with a limit for t -> 1.
        own, between = (
            transpose_stack(factor) @ within[good] @ factor,
            transpose_stack(inner) @ inner,
        )
        w, b = units[good], np.square(spread[good]).sum(axis=(1, 2))[:, None] / fitted.n_dims
        contrast = between / b[:, None] - own / w[:, None]
        contrast[:, fitted.basis.is_noise, fitted.basis.is_noise] -= TIE
        roots, vectors = np.linalg.eigh(contrast)
        roots = b * (1 / w + (1 - t) * roots[:, -n_axes:])
        vectors = vectors[:, :, -n_axes:]
        products = n * transpose_stack(vectors) @ (own + between) @ vectors
        singular = np.sqrt(np.clip(np.linalg.eigvalsh(products), 0.0, None))
    solved = {}
    for j, i in enumerate(good):
        between = roots[j][roots[j] > -1]
        variances = np.ones_like(between), 1 + between
        solved[int(i)] = _Solution(float(singular[j].sum()), variances, coefs[j], intercepts[j])
    return solved


def transpose_stack(stack: np.ndarray) -> np.ndarray:
    """Return the stack of transposed matrices."""
    return stack.swapaxes(-1, -2)


class NormSums:
    """Sums of nuclear norms for each draw. Gram matrices of many draws are processed together.

    Parameters
    ----------
    n_draws : int
        Number of draws.
    """

    def __init__(self, n_draws: int) -> None:
        self.sums = np.zeros(n_draws)
        self._waiting: dict[int, list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)
        self._n_values = 0

    def add(self, draws: int | np.ndarray, grams: np.ndarray) -> None:
        """Add Gram matrices, shape (n_blocks, size, size), of one draw or of one draw each."""
        draws = np.broadcast_to(draws, len(grams))
        self._waiting[grams.shape[-1]].append((draws, grams))
        self._n_values += grams.size
        if self._n_values >= _BATCH_VALUES:
            self.finish()

    def finish(self) -> None:
        """Process the waiting matrices."""
        for waiting in self._waiting.values():
            draws, grams = zip(*waiting, strict=True)
            squares = np.linalg.eigvalsh(np.concatenate(grams))
            norms = np.sqrt(np.clip(squares, 0.0, None)).sum(axis=-1)
            self.sums += np.bincount(np.concatenate(draws), norms, minlength=len(self.sums))
        self._waiting.clear()
        self._n_values = 0


def _posterior_norms(
    solutions: list[_Solution], rows: np.ndarray, codes: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the results of `class_nuclear_norms`, summed over classes, for every draw.

    In the posterior, classes are along the first axis and rows along the second. Operations over
    the classes of a row are thus done for many rows at once, and the adjacent classes of equal
    size are a stack of matrices without a copy.

    Parameters
    ----------
    solutions : list of _Solution
        Solution for each draw.

    rows : ndarray of shape (n_samples, k + 1)
        Principal coordinates and a column of ones, sorted by class.

    codes : ndarray of shape (n_samples,)
        Class of each row.

    weights : ndarray of shape (n_draws, n_samples)
        Weights of the rows in each draw.

    Returns
    -------
    norms : ndarray of shape (n_draws,)
        Sum of the nuclear norms over classes.

    own : ndarray of shape (n_draws,)
        Sum over the rows of the probability of their class.
    """
    norms, own = NormSums(len(weights)), np.zeros(len(weights))
    for draw, (solution, of_rows) in enumerate(zip(solutions, weights, strict=True)):
        logit = np.vstack([solution.coef, solution.intercept])
        # A constant that all classes share does not change the posterior. Without it, the logits
        # of a row add up to 0, and rows need scaling only if logits are very large.
        logit -= logit.mean(axis=1, keepdims=True)
        for part, blocks in _class_parts(codes, of_rows, logit.shape[1]):
            P = logit.T @ rows[part].T
            if P.max() > _LARGEST_LOGIT:
                P -= P.max(axis=0)
            np.exp(P, out=P)
            # A row of weight w contributes to a Gram matrix as the row times sqrt(w).
            roots = np.sqrt(of_rows[part])
            P *= roots / P.sum(axis=0)
            own[draw] += P[codes[part], np.arange(len(part))] @ roots
            for begin, stop, size in blocks:
                stack = P[:, begin:stop].reshape(len(P), -1, size).swapaxes(0, 1)
                across = transpose_stack(stack)
                norms.add(draw, across @ stack if size < len(P) else stack @ across)
    norms.finish()
    return norms.sums, own


def _class_parts(
    codes: np.ndarray, weights: np.ndarray, n_classes: int
) -> Iterator[tuple[np.ndarray, Iterable[tuple[int, int, int]]]]:
    """Yield the drawn rows of a few classes at a time, with classes of equal size adjacent.

    Yields
    ------
    rows : ndarray of int
        Indices of the rows.

    blocks : iterable of tuple
        For each size of a class: first row, end, and size.
    """
    drawn = np.flatnonzero(weights)
    sizes = np.bincount(codes[drawn], minlength=n_classes)
    drawn = drawn[np.argsort(sizes[codes[drawn]], kind="stable")]
    ascending = np.sort(sizes)
    ends = np.cumsum(ascending)
    first = 0
    while first < n_classes:
        start = ends[first] - ascending[first]
        fitting = np.searchsorted(ends, start + _BATCH_VALUES // n_classes, "right")
        last = max(first + 1, int(fitting))
        of_size, n_blocks = np.unique(ascending[first:last], return_counts=True)
        stops = np.cumsum(of_size * n_blocks)
        yield (
            drawn[start : ends[last - 1]],
            zip(stops - of_size * n_blocks, stops, of_size, strict=True),
        )
        first = last


def _batches(draws: Iterable[np.ndarray], n_values: int) -> Iterator[np.ndarray]:
    """Yield float matrices of several draws each. One draw needs memory for `n_values`."""
    draws = iter(draws)
    step = max(1, min(_BATCH_DRAWS, _BATCH_VALUES // n_values))
    while batch := list(islice(draws, step)):
        yield np.array(batch, dtype=float)
