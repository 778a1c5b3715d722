"""Confidence intervals of scores and ranks from a stratified bootstrap."""

import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils import check_random_state

from .._linalg.arrays import to_host
from .._linalg.moments import ClassMoments, chunks
from .._linalg.nuclear import nuclear_norm_from_gram
from .._linalg.threads import shared_work
from .._ncti.base import BaseNCTI, encode_labels
from .._ncti.discriminant import RANK_TOLERANCE, SHRINKAGE_FLOOR, TIE, fit_discriminant
from .normalization import EQUAL_SHARE, merge_equal, summed

#: Level of all intervals, and at which candidates are told apart.
LEVEL = 0.95

# Rows per (principal component + class) from which on rows are drawn with replacement: with
# fewer, the rows that a draw leaves out make intervals too wide (benchmarks/coverage.py).
_BAYESIAN_ROWS = 10

#: Resamples at most: a slip of the keyboard would otherwise never end.
MAX_RESAMPLES = 100_000

# Share of the resamples with one score from which on a normalisation holds it.
_HELD_SHARE = 0.5

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


@dataclass(frozen=True)
class Resampling:
    """A stratified bootstrap of labelled rows that is the same for all candidates.

    Attributes
    ----------
    n_resamples : int
        Number of resamples.

    seed : int
        Seed of the resamples; they depend on the labels as well.
    """

    n_resamples: int
    seed: int

    def draws(self, codes: np.ndarray, bayesian: bool = False) -> Iterator[np.ndarray]:
        """Yield the weight of each row, for rows sorted by class (a stable sort).

        The weights of a class add up to the number of its rows.

        Parameters
        ----------
        codes : ndarray of shape (n_samples,)
            Class of each row.

        bayesian : bool, default=False
            Whether all rows get continuous weights (Bayesian bootstrap [1]_). Otherwise rows are
            drawn with replacement, which leaves out more than a third of them: too many where
            rows are few.

        Yields
        ------
        weights : ndarray of shape (n_samples,)
            Weights of one resample.

        References
        ----------
        .. [1] Rubin. "The Bayesian Bootstrap". Annals of Statistics 9(1), 1981, pp. 130-134.
        """
        rng = np.random.default_rng(self.seed)
        counts = np.bincount(codes)
        size = np.repeat(counts, counts)
        starts = np.cumsum(counts) - counts
        first = np.repeat(starts, counts)
        for _ in range(self.n_resamples):
            if bayesian:
                weights = rng.standard_exponential(len(codes))
                total = np.add.reduceat(weights, starts)
                yield weights * size / np.repeat(total, counts)
            else:
                drawn = first + (rng.random(len(codes)) * size).astype(np.intp)
                yield np.bincount(drawn, minlength=len(codes))


def check_resampling(
    n_resamples: int, random_state: Any, scorer: Any, labels: np.ndarray
) -> Resampling | None:
    """Return the resampling that was asked for, None for none.

    Parameters
    ----------
    n_resamples : int
        How many times the rows are drawn, at most 100,000; 0 for no resampling.

    random_state : int, RandomState instance or None
        What the drawn rows follow from.

    scorer : estimator
        What scores the rows.

    labels : ndarray of shape (n_samples,)
        Class of each row.

    Returns
    -------
    resampling : Resampling or None
        The same for all candidates.

    Raises
    ------
    ValueError
        If `n_resamples` is out of bounds, a class has one row only, or the scorer measures
        rows that it holds out.

    Warns
    -----
    UserWarning
        If there are too few resamples to tell any two candidates apart.
    """
    whole = isinstance(n_resamples, Integral) and not isinstance(n_resamples, bool)
    if not whole or not 0 <= n_resamples <= MAX_RESAMPLES:
        raise ValueError(
            f"n_resamples must be an integer from 0 to {MAX_RESAMPLES}, got {n_resamples!r}."
        )
    if n_resamples == 0:
        return None
    # A row that is drawn twice would be held out and fitted at once.
    if not isinstance(scorer, BaseNCTI) and is_classifier(scorer):
        raise ValueError(
            f"n_resamples={n_resamples} needs a scorer that measures the rows that it was fitted "
            f"to, but {type(scorer).__name__} is scored by cross-validation. Put another scorer "
            "first in the list, which is the one that is resampled, or use n_resamples=0."
        )
    if getattr(scorer, "cv", None) is not None:
        raise ValueError(
            f"n_resamples={n_resamples} needs a scorer that measures the rows that it was fitted "
            f"to, but {type(scorer).__name__} has cv={scorer.cv!r}. Use cv=None, or n_resamples=0."
        )
    classes, codes = encode_labels(labels)
    counts = np.bincount(codes)
    if counts.min() < 2:
        raise ValueError(
            f"n_resamples={n_resamples} draws rows anew within every class, but the class "
            f"{classes.tolist()[counts.argmin()]!r} has 1 row: at least 2 of every class are "
            "needed. Add rows, leave that class out, or use n_resamples=0."
        )
    least = int(np.ceil(2 / (1 - LEVEL))) - 1
    if n_resamples < least:
        warnings.warn(
            f"n_resamples={n_resamples} are few: with less than {least} no two candidates can be "
            f"told apart at the level of {LEVEL:.0%}. 100 are enough for a first look.",
            UserWarning,
            stacklevel=3,
        )
    seed = int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
    return Resampling(int(n_resamples), seed)


def can_resample_projection(scorer: Any) -> bool:
    """Whether the rows of a scorer can be resampled in their principal coordinates."""
    return isinstance(scorer, BaseNCTI) and scorer.variant == "released"


def resampled_projection(
    fitted: BaseNCTI, resampling: Resampling
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Components of drawn rows under discriminants of their own, in the fitted basis.

    Parameters
    ----------
    fitted : BaseNCTI
        A fitted scorer that was told to keep its projection.

    resampling : Resampling
        Which rows are drawn.

    Returns
    -------
    raw, absolute : dict of str to ndarray of shape (n_resamples,)
        Values of each component, as `fitted` has them for all rows.
    """
    projection, codes = fitted._projection
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

    def components_of(weights):
        """Components of some draws."""
        sums = np.stack([weights[:, part] @ offsets[part] for part in parts], axis=1)
        of_drawn = [
            _moments_of(offsets, counted, shifts, moments)
            for counted, shifts in zip(weights, sums / moments.counts[:, None], strict=True)
        ]
        axes = list(_discriminants(fitted, of_drawn))
        posteriors = zip(*_posterior_norms(axes, with_ones, codes, weights), strict=True)
        # Of every class as many rows are drawn as it has: the labels are the same.
        return [
            fitted._components(None, codes, (own.norm, (*own.variances, None)), posterior)
            for own, posterior in zip(axes, posteriors, strict=True)
        ]

    few = n < _BAYESIAN_ROWS * (projection.H.shape[1] + len(parts))
    batches = _batches(
        resampling.draws(codes, bayesian=few), n + moments.means.size + moments.within.size
    )
    with shared_work(_MOST_THREADS) as run:
        return stacked(list(chain.from_iterable(run(components_of, batches))))


def stacked(
    found: list[tuple[dict[str, float], dict[str, float]]],
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Turn raw and absolute components of every resample into arrays by component."""
    return tuple(
        {name: np.array([values[i][name] for values in found]) for name in found[0][i]}
        for i in (0, 1)
    )


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
    solved = _solved_together(fitted, moments)
    for i, of_drawn in enumerate(moments):
        yield solved[i] if i in solved else _solved_alone(fitted, of_drawn)


def _solved_alone(fitted, moments) -> _Axes:
    """Discriminant of one set of moments, whatever they are."""
    found = fit_discriminant(
        fitted._discriminant.basis,
        moments,
        shrinkage=fitted.shrinkage_,
        n_dims=fitted._discriminant.n_dims,
    )
    products = moments.counts.sum() * found.axes.T @ moments.total @ found.axes
    variances = tuple(found.variances_of(moments.within, moments.total)[:2])
    return _Axes(nuclear_norm_from_gram(products), variances, found.coef, found.intercept)


def _solved_together(fitted, moments) -> dict[int, _Axes]:
    """Discriminants by index, of those moments whose scatter within the classes has an inverse.

    They are what `fit_discriminant` finds, by shorter steps: with W the regularised scatter
    within the classes, T - W what is between them, and ``W^-1 = F F'``, the eigenvalues of
    ``F'(T - W) F`` are the lambda of the axes, along which e'We = 1 and e'Te = 1 + lambda.
    """
    fit, t = fitted._discriminant, fitted.shrinkage_
    shrunk = t > SHRINKAGE_FLOOR
    counts, priors = moments[0].counts, moments[0].priors
    kept = np.flatnonzero(~fit.basis.is_noise | shrunk)
    within = np.array([of_drawn.within for of_drawn in moments])[:, kept[:, None], kept]
    means = np.array([of_drawn.means for of_drawn in moments])[:, :, kept]
    spread = np.sqrt(priors)[:, None] * (means - (priors @ means)[:, None])
    # W is inverted in units of its mean variance or, where it is not shrunk, of each.
    units = np.diagonal(within, axis1=1, axis2=2)
    if shrunk:
        units = units.sum(axis=1, keepdims=True) / fit.n_dims
    least = np.finfo(float).eps * fit.basis.variances[0]
    good = np.flatnonzero((units > least).all(axis=1) & spread.any(axis=(1, 2)))
    scale = 1 / np.sqrt(units[good])[:, :, None]
    regular = within[good] * scale * _turned(scale)
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
    coefs = np.zeros((len(good), len(fit.basis.variances), len(counts)))
    coefs[:, kept] = factor @ _turned(means @ factor)
    intercepts = np.log(priors) - 0.5 * np.einsum("bck,bkc->bc", means, coefs[:, kept])
    n, n_axes = counts.sum(), min(len(counts) - 1, len(kept))
    if not shrunk:
        # Z'Z is diagonal, with n e'Te.
        short = _turned(inner) @ inner if len(kept) < len(counts) else inner @ _turned(inner)
        roots = np.linalg.eigvalsh(short)
        roots[roots <= RANK_TOLERANCE**2 * roots[:, -1:]] = -1.0
        singular = np.sqrt(n * (1 + roots))
    else:
        # The contrast of `fit_discriminant`, whose axes have a limit as t goes to 1.
        own, between = _turned(factor) @ within[good] @ factor, _turned(inner) @ inner
        w, b = units[good], np.square(spread[good]).sum(axis=(1, 2))[:, None] / fit.n_dims
        contrast = between / b[:, None] - own / w[:, None]
        contrast[:, fit.basis.is_noise, fit.basis.is_noise] -= TIE
        roots, vectors = np.linalg.eigh(contrast)
        roots = b * (1 / w + (1 - t) * roots[:, -n_axes:])
        vectors = vectors[:, :, -n_axes:]
        products = n * _turned(vectors) @ (own + between) @ vectors
        singular = np.sqrt(np.clip(np.linalg.eigvalsh(products), 0.0, None))
    solved = {}
    for j, i in enumerate(good):
        between = roots[j][roots[j] > -1]
        variances = np.ones_like(between), 1 + between
        solved[int(i)] = _Axes(float(singular[j].sum()), variances, coefs[j], intercepts[j])
    return solved


def _turned(stack):
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
                across = _turned(stack)
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


def resampled_scores(
    drawn: Mapping[str, np.ndarray],
    observed: Mapping[str, np.ndarray],
    normalization: str,
    weights: Mapping[str, float],
) -> tuple[np.ndarray, np.ndarray]:
    """Score of every candidate in every resample, and on other rows of the same kind.

    A row that is drawn twice is fitted twice as well, so that resamples flatter more than the
    rows that they are drawn from. Components are therefore centred at the observed ones
    first: their spread is what resamples are for.

    On other rows two errors meet, theirs and that of the observed ones. Each is as large as
    that of a resample, so that the deviations of two resamples are added.

    Parameters
    ----------
    drawn : dict of str to ndarray of shape (n_resamples, n_candidates)
        Components of the drawn rows; NaN for a candidate that has none.

    observed : dict of str to ndarray of shape (n_candidates,)
        Components of the rows themselves.

    normalization : {"minmax", "zscore", "rank", "absolute"}
        How they are normalised, in every resample over its candidates.

    weights : dict of str to float
        Weight of every component in the sum.

    Returns
    -------
    resamples : ndarray of shape (n_resamples, n_candidates)
        The sums of the centred components.

    replications : ndarray of shape (n_resamples, n_candidates)
        Sums that other rows may give.
    """
    errors = {name: values - values.mean(axis=0) for name, values in drawn.items()}
    others = {name: error + np.roll(error, 1, axis=0) for name, error in errors.items()}

    def sums(deviations):
        parts = {name: observed[name] + deviations[name] for name in deviations}
        return np.array(
            [
                summed(dict(zip(parts, row, strict=True)), normalization, weights)[0]
                for row in zip(*parts.values(), strict=True)
            ]
        )

    return sums(errors), sums(others)


def describe_resamples(
    scores: np.ndarray, resamples: np.ndarray, replications: np.ndarray
) -> dict[str, np.ndarray]:
    """Intervals, probabilities and groups of candidates.

    Parameters
    ----------
    scores : ndarray of shape (n_candidates,)
        Observed score of each; NaN for one that failed.

    resamples, replications : ndarray of shape (n_resamples, n_candidates)
        What `resampled_scores` returned.

    Returns
    -------
    columns : dict of str to ndarray of shape (n_candidates,)
        ``score_low``, ``score_high``, ``rank_low`` and ``rank_high`` (ends of intervals at
        `LEVEL`, which contain the score and the rank; ranks as in a Ranking), ``held``
        (whether at least half of the resamples give the score itself: bounds of the
        normalisation hold it, and only the interval of the rank says something),
        ``best_probability`` (share of the replications in which a candidate is first, shared
        among those that are equal) and ``group`` (from 1, for the best). NaN, False and group
        0 for candidates that failed.
    """
    ok = np.flatnonzero(np.isfinite(scores))
    order = ok[np.argsort(-scores[ok], kind="stable")]
    resamples, replications = resamples[:, order], replications[:, order]
    ranks = np.array([1 + (_signs(row) < 0).sum(axis=1) for row in resamples])
    # Half a time for a tie.
    above = sum((1 + _signs(row)) / 2 for row in resamples)
    first = np.array([(_signs(row) >= 0).all(axis=1) for row in replications])
    tie = EQUAL_SHARE * np.abs(resamples).max()
    score_low, score_high = _interval(resamples, scores[order])
    rank_low, rank_high = _interval(ranks, 1 + (_signs(scores[order]) < 0).sum(axis=1))
    found = {
        "score_low": score_low,
        "score_high": score_high,
        "rank_low": rank_low,
        "rank_high": rank_high,
        "held": (np.abs(resamples - scores[order]) <= tie).mean(axis=0) >= _HELD_SHARE,
        "best_probability": (first / first.sum(axis=1, keepdims=True)).mean(axis=0),
        "group": _groups(above, len(resamples)),
    }
    columns = {}
    for name, column in found.items():
        missing = np.nan if column.dtype == float else 0
        columns[name] = np.full(len(scores), missing, column.dtype)
        columns[name][order] = column
    return columns


def _interval(resampled: np.ndarray, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the interval of every candidate, which contains what was observed.

    A normalisation over the candidates bounds scores: resamples of the best can only be
    smaller, and quantiles of them alone would exclude the score itself.
    """
    tails = np.array([1 - LEVEL, 1 + LEVEL]) / 2
    method = "linear" if resampled.dtype == float else "inverted_cdf"
    low, high = np.quantile(resampled, tails, axis=0, method=method)
    return np.minimum(low, observed).astype(float), np.maximum(high, observed).astype(float)


def _signs(scores: np.ndarray) -> np.ndarray:
    """Say of each pair whether the first score is larger: 1, 0 for a tie, or -1."""
    scores = merge_equal(scores)
    return np.sign(scores[:, None] - scores)


def _groups(above: np.ndarray, n_resamples: int) -> np.ndarray:
    """Number the groups of candidates, best first, between which all are told apart.

    ``above[i, j]`` counts the resamples in which i is above j. Two candidates are told apart
    if few enough resamples turn them round; one more is counted than was seen, so that a
    handful of resamples tells nothing apart.
    """
    n = len(above)
    apart = (n_resamples - above + 1) / (n_resamples + 1) <= (1 - LEVEL) / 2
    # The last one down the order that a candidate, or any before it, cannot be told apart from.
    linked = np.where(np.triu(~apart), np.arange(n), 0).max(axis=1)
    ends = np.maximum.accumulate(linked) == np.arange(n)
    return 1 + np.concatenate([[0], np.cumsum(ends)[:-1]])
