"""Discriminants and components of many resamples of the rows at once."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

from .._linalg.moments import ClassMoments, chunks
from .._linalg.nuclear import nuclear_norm_from_gram
from .._linalg.threads import shared_work
from .._utils.arrays import to_host
from .._utils.components import Components
from .._utils.resampling import Draws
from .discriminant import RANK_TOLERANCE, SHRINKAGE_FLOOR, TIE, Discriminant, fit_discriminant
from .projection import Projection

# Rows per (principal component + class) from which on rows are drawn with replacement: with
# fewer, the rows that a draw leaves out make intervals too wide (benchmarks/coverage.py).
_BAYESIAN_ROWS = 10

# Values that are worked on together, 4 MiB.
_BATCH_VALUES = 1 << 19

# Draws that are worked on together, at most: of 100, four threads have their share.
_BATCH_DRAWS = 25

# Threads that draws are shared among, at most: between its steps, which are many and small
# where rows are few, each waits for the interpreter that the others hold.
_MOST_THREADS = 4

# Trace of the inverse of a scatter in its own units up to which the inverse is used: it is
# then exact to some 1e-10, and no direction is near to being absent (RANK_TOLERANCE).
_LARGEST_INVERSE = 1e6

# Logits, those of a row adding up to 0, whose exponentials and their squares are finite.
_LARGEST_LOGIT = 300.0


def resampled_components(
    projection: Projection,
    discriminant: Discriminant,
    draws: Draws,
    components_of: Callable[..., Components],
) -> Components:
    """Components of every resample, under a discriminant of its own in the fitted basis.

    Parameters
    ----------
    projection : Projection
        The fitted rows.

    discriminant : Discriminant
        Their discriminant, of which the shrinkage is taken.

    draws : Draws
        Weights of the rows in every resample.

    components_of : callable
        From the norm and the variances of the coordinates, and the norms and sums of the
        posterior, to the components, as ``components_of(seli, posterior)``.

    Returns
    -------
    components : Components
        Arrays of shape (n_resamples,).
    """
    codes = draws.codes
    moments = projection.moments
    n = len(codes)
    order = np.argsort(codes, kind="stable")
    codes = codes[order]
    with_ones = np.column_stack([to_host(projection.H)[order], np.ones(n)])
    rows = with_ones[:, :-1]
    # What is squared is centred by class, so that collapsed classes stay collapsed.
    offsets = rows - moments.means[codes]
    ends = np.cumsum(moments.counts)
    parts = [slice(*ends_of) for ends_of in zip(ends - moments.counts, ends, strict=True)]

    def measure(weights):
        """Components of some resamples."""
        sums = np.stack([weights[:, part] @ offsets[part] for part in parts], axis=1)
        of_drawn = [
            _moments_of(offsets, counted, shifts, moments)
            for counted, shifts in zip(weights, sums / moments.counts[:, None], strict=True)
        ]
        axes = list(_discriminants(discriminant, of_drawn))
        posteriors = zip(*_posterior_norms(axes, with_ones, codes, weights), strict=True)
        return [
            components_of((own.norm, (*own.variances, None)), posterior)
            for own, posterior in zip(axes, posteriors, strict=True)
        ]

    few = n < _BAYESIAN_ROWS * (projection.H.shape[1] + len(parts))
    batches = _batches(draws.by_class(bayesian=few), n + moments.means.size + moments.within.size)
    with shared_work(_MOST_THREADS) as run:
        return Components.stack(chain.from_iterable(run(measure, batches)))


def _moments_of(offsets, counted, shifts, moments) -> ClassMoments:
    """Moments of rows that count so often, from what they and their means are off by."""
    drawn = np.flatnonzero(counted)
    scatter = 0.0
    for part in chunks(len(drawn), offsets.shape[1]):
        scaled = offsets[drawn[part]]
        scaled *= np.sqrt(counted[drawn[part]])[:, None]
        scatter = scatter + scaled.T @ scaled
    return ClassMoments(
        counts=moments.counts,
        means=moments.means + shifts,
        within=scatter / len(offsets) - (moments.priors * shifts.T) @ shifts,
    )


@dataclass(frozen=True)
class _Axes:
    """What a discriminant is to the components of the rows that it was fitted to.

    `norm` is the nuclear norm of their coordinates, `variances` are e'We and e'Te of every
    axis, `coef` and `intercept` those of the posterior.
    """

    norm: float
    variances: tuple[np.ndarray, np.ndarray]
    coef: np.ndarray
    intercept: np.ndarray


def _discriminants(fitted, moments: list[ClassMoments]) -> Iterator[_Axes]:
    """Yield what discriminants of these moments are, all at once where that is exact enough."""
    solved = batched_discriminants(fitted, moments)
    for i, of_drawn in enumerate(moments):
        yield solved[i] if i in solved else _solved_alone(fitted, of_drawn)


def _solved_alone(fitted, moments) -> _Axes:
    """Discriminant of one set of moments, whatever they are."""
    found = fit_discriminant(
        fitted.basis,
        moments,
        shrinkage=fitted.shrinkage,
        n_dims=fitted.n_dims,
    )
    products = moments.counts.sum() * found.axes.T @ moments.total @ found.axes
    variances = tuple(found.variances_of(moments.within, moments.total)[:2])
    return _Axes(nuclear_norm_from_gram(products), variances, found.coef, found.intercept)


def batched_discriminants(fitted, moments) -> dict[int, _Axes]:
    """Discriminants by index, of those moments whose scatter within the classes has an inverse.

    They are what `fit_discriminant` finds, by shorter steps: with W the regularised scatter
    within the classes, T - W what is between them, and ``W^-1 = F F'``, the eigenvalues of
    ``F'(T - W) F`` are the lambda of the axes, along which e'We = 1 and e'Te = 1 + lambda.
    """
    t = fitted.shrinkage
    shrunk = t > SHRINKAGE_FLOOR
    counts, priors = moments[0].counts, moments[0].priors
    kept = np.flatnonzero(~fitted.basis.is_noise | shrunk)
    within = np.array([of_drawn.within for of_drawn in moments])[:, kept[:, None], kept]
    means = np.array([of_drawn.means for of_drawn in moments])[:, :, kept]
    spread = np.sqrt(priors)[:, None] * (means - (priors @ means)[:, None])
    # W is inverted in units of its mean variance or, where it is not shrunk, of each.
    units = np.diagonal(within, axis1=1, axis2=2)
    if shrunk:
        units = units.sum(axis=1, keepdims=True) / fitted.n_dims
    least = np.finfo(float).eps * fitted.basis.variances[0]
    good = np.flatnonzero((units > least).all(axis=1) & spread.any(axis=(1, 2)))
    scale = 1 / np.sqrt(units[good])[:, :, None]
    regular = within[good] * scale * transpose_stack(scale)
    if shrunk:
        regular = (1 - t) * regular + t * np.eye(len(kept))
    try:
        inverse = np.linalg.inv(regular)
        bound = np.trace(inverse, axis1=1, axis2=2)
        exact = (bound > 0) & (bound < _LARGEST_INVERSE)
        good, factor = good[exact], scale[exact] * np.linalg.cholesky(inverse[exact])
    except np.linalg.LinAlgError:
        return {}
    means, inner = means[good], spread[good] @ factor
    coefs = np.zeros((len(good), len(fitted.basis.variances), len(counts)))
    coefs[:, kept] = factor @ transpose_stack(means @ factor)
    intercepts = np.log(priors) - 0.5 * np.einsum("bck,bkc->bc", means, coefs[:, kept])
    n, n_axes = counts.sum(), min(len(counts) - 1, len(kept))
    if not shrunk:
        # Z'Z is diagonal, with n e'Te.
        short = (
            transpose_stack(inner) @ inner
            if len(kept) < len(counts)
            else inner @ transpose_stack(inner)
        )
        roots = np.linalg.eigvalsh(short)
        roots[roots <= RANK_TOLERANCE**2 * roots[:, -1:]] = -1.0
        singular = np.sqrt(n * (1 + roots))
    else:
        # The contrast of `fit_discriminant`, whose axes have a limit as t goes to 1.
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
        solved[int(i)] = _Axes(float(singular[j].sum()), variances, coefs[j], intercepts[j])
    return solved


def transpose_stack(stack):
    """Transpose every matrix of a stack."""
    return stack.swapaxes(-1, -2)


class _NormSums:
    """Sums of nuclear norms by draw, of Gram matrices of which many are worked on together."""

    def __init__(self, n_draws: int):
        self.sums = np.zeros(n_draws)
        self._waiting = defaultdict(list)
        self._n_values = 0

    def add(self, draw: int, grams: np.ndarray) -> None:
        """Take Gram matrices of one draw, shape (n_blocks, size, size)."""
        self._waiting[grams.shape[-1]].append((draw, grams))
        self._n_values += grams.size
        if self._n_values >= _BATCH_VALUES:
            self.finish()

    def finish(self) -> None:
        """Add up what was taken."""
        for waiting in self._waiting.values():
            draws, grams = zip(*waiting, strict=True)
            squares = np.linalg.eigvalsh(np.concatenate(grams))
            norms = np.sqrt(np.clip(squares, 0.0, None)).sum(axis=-1)
            of_draw = np.repeat(draws, [len(blocks) for blocks in grams])
            self.sums += np.bincount(of_draw, norms, minlength=len(self.sums))
        self._waiting.clear()
        self._n_values = 0


def _posterior_norms(axes, rows, codes, weights):
    """Sums over the classes of what `class_nuclear_norms` gives, for every draw of the rows.

    Classes are along the first axis of the posterior and rows along its second, so that what
    is done over the classes of each row is done for many rows at once, and classes of one size,
    which come one after the other, are a stack of matrices without being copied.

    Parameters
    ----------
    axes : iterable of _Axes
        Discriminant of every draw.

    rows : ndarray of shape (n_samples, k + 1)
        Principal coordinates, sorted by class, and a one.

    codes : ndarray of shape (n_samples,)
        Class of each row.

    weights : ndarray of shape (n_draws, n_samples)
        How often each row is drawn.

    Returns
    -------
    norms, own : ndarray of shape (n_draws,)
        Sum of the nuclear norms, and of the entries of all rows at their own classes.
    """
    norms, own = _NormSums(len(weights)), np.zeros(len(weights))
    for draw, (found, counted) in enumerate(zip(axes, weights, strict=True)):
        logit = np.vstack([found.coef, found.intercept])
        # What all classes have in common is no part of the posterior. Without it the logits of
        # a row add up to 0, and no row has to be scaled unless they are very large.
        logit -= logit.mean(axis=1, keepdims=True)
        for part, blocks in _class_parts(codes, counted, logit.shape[1]):
            P = logit.T @ rows[part].T
            if P.max() > _LARGEST_LOGIT:
                P -= P.max(axis=0)
            np.exp(P, out=P)
            # A row that counts w times adds to a Gram matrix what sqrt(w) times it adds.
            roots = np.sqrt(counted[part])
            P *= roots / P.sum(axis=0)
            own[draw] += P[codes[part], np.arange(len(part))] @ roots
            for begin, stop, size in blocks:
                stack = P[:, begin:stop].reshape(len(P), -1, size).swapaxes(0, 1)
                across = transpose_stack(stack)
                norms.add(draw, across @ stack if size < len(P) else stack @ across)
    norms.finish()
    return norms.sums, own


def _class_parts(codes, counted, n_classes):
    """Yield the drawn rows of some classes at a time, those of classes of one size together.

    With them, of the classes of every size, where their rows begin and stop, and the size.
    """
    drawn = np.flatnonzero(counted)
    sizes = np.bincount(codes[drawn], minlength=n_classes)
    drawn = drawn[np.argsort(sizes[codes[drawn]], kind="stable")]
    rising = np.sort(sizes)
    ends = np.cumsum(rising)
    first = 0
    while first < n_classes:
        start = ends[first] - rising[first]
        fitting = np.searchsorted(ends, start + _BATCH_VALUES // n_classes, "right")
        last = max(first + 1, int(fitting))
        of_size, n_blocks = np.unique(rising[first:last], return_counts=True)
        stops = np.cumsum(of_size * n_blocks)
        yield (
            drawn[start : ends[last - 1]],
            zip(stops - of_size * n_blocks, stops, of_size, strict=True),
        )
        first = last


def _batches(draws, n_values) -> Iterator[np.ndarray]:
    """Stack draws, each of which needs `n_values`, to float matrices."""
    draws = iter(draws)
    step = max(1, min(_BATCH_DRAWS, _BATCH_VALUES // n_values))
    while batch := list(islice(draws, step)):
        yield np.array(batch, dtype=float)
