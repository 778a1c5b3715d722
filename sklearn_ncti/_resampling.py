"""Floor 4: what other rows of the same kind would have given: a stratified bootstrap."""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils import check_random_state

from ._arrays import to_host
from ._base import BaseNCTI, encode_labels
from ._discriminant import fit_discriminant
from ._moments import ClassMoments
from ._normalization import NO_SPREAD, summed
from ._nuclear import class_nuclear_norms, nuclear_norm_from_gram
from ._threads import one_blas_thread

#: Level of all intervals, and at which candidates are told apart.
LEVEL = 0.95

# Values of the drawn rows' counts that are worked on together, 4 MiB.
_BATCH_VALUES = 1 << 19

# Scores that differ by less than this share of their spread over the pool are equal: what
# two arrangements of the same features differ by is rounding.
_TIE = 1e-6


@dataclass(frozen=True)
class Resampling:
    """A stratified bootstrap of labelled rows that is the same for all candidates.

    Attributes
    ----------
    n_resamples : int
        How many times the rows are drawn.

    seed : int
        What the drawn rows follow from, together with the labels.
    """

    n_resamples: int
    seed: int

    def draws(self, codes: np.ndarray) -> Iterator[np.ndarray]:
        """Yield how often each row is drawn, for rows sorted by class (a stable sort).

        Of every class as many rows are drawn, with replacement, as it has.
        """
        rng = np.random.default_rng(self.seed)
        counts = np.bincount(codes)
        size = np.repeat(counts, counts)
        first = np.repeat(np.cumsum(counts) - counts, counts)
        for _ in range(self.n_resamples):
            drawn = first + (rng.random(len(codes)) * size).astype(np.intp)
            yield np.bincount(drawn, minlength=len(codes))


def check_resampling(
    n_resamples: int, random_state: Any, scorer: Any, labels: np.ndarray
) -> Resampling | None:
    """Return the resampling that was asked for, None for none.

    Parameters
    ----------
    n_resamples : int
        How many times the rows are drawn; 0 for no resampling.

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
        If `n_resamples` is negative, a class has one row only, or the scorer measures rows
        that it holds out.

    Warns
    -----
    UserWarning
        If there are too few resamples to tell any two candidates apart.
    """
    if not isinstance(n_resamples, Integral) or isinstance(n_resamples, bool) or n_resamples < 0:
        raise ValueError(f"n_resamples must be an integer of at least 0, got {n_resamples!r}.")
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
            f"{classes[counts.argmin()].item()!r} has 1 row: at least 2 of every class are "
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
    basis, moments = projection.basis, projection.moments
    n = len(codes)
    order = np.argsort(codes, kind="stable")
    codes = codes[order]
    # What is squared is centred by class, so that collapsed classes stay collapsed.
    offsets = to_host(projection.H)[order]
    offsets -= moments.means[codes]
    parts = np.split(np.arange(n), np.cumsum(moments.counts)[:-1])
    found = []
    with one_blas_thread:
        for weights in _batches(resampling.draws(codes), n):
            sums = np.stack([weights[:, part] @ offsets[part] for part in parts], axis=1)
            for counted, shifts in zip(weights, sums / moments.counts[:, None], strict=True):
                drawn = np.flatnonzero(counted)
                y, counted = codes[drawn], counted[drawn]
                rows = offsets[drawn]
                scaled = rows * np.sqrt(counted)[:, None]
                of_drawn = ClassMoments(
                    counts=moments.counts,
                    means=moments.means + shifts,
                    within=(scaled.T @ scaled) / n - (moments.priors * shifts.T) @ shifts,
                )
                rows += moments.means[y]
                found.append(_measured(fitted, basis, of_drawn, rows, y, counted))
    return stacked(found)


def stacked(
    found: list[tuple[dict[str, float], dict[str, float]]],
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Turn raw and absolute components of every resample into arrays by component."""
    return tuple(
        {name: np.array([values[i][name] for values in found]) for name in found[0][i]}
        for i in (0, 1)
    )


def _measured(fitted, basis, moments, rows, y, weights):
    """Raw and absolute components of weighted rows under a discriminant of their moments."""
    discriminant = fit_discriminant(
        basis, moments, shrinkage=fitted.shrinkage_, n_dims=fitted._discriminant.n_dims
    )
    n_classes = len(moments.counts)
    total = moments.within + moments.between
    axes = discriminant.axes
    products = moments.counts.sum() * axes.T @ total @ axes
    seli = nuclear_norm_from_gram(products), discriminant.variances_of(moments.within, total)
    posterior = class_nuclear_norms(discriminant.posterior, rows, y, n_classes, n_classes, weights)
    return fitted._components(None, np.repeat(y, weights.astype(int)), seli, posterior)


def _batches(draws, n) -> Iterator[np.ndarray]:
    """Stack draws of n rows to float matrices of a size that fits into the cache."""
    draws = iter(draws)
    step = max(1, _BATCH_VALUES // n)
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
        `LEVEL`; ranks as in a Ranking), ``best_probability`` (share of the replications in
        which a candidate is first, shared among those that are equal) and ``group`` (from 1,
        for the best). NaN, and group 0, for candidates that failed.
    """
    ok = np.flatnonzero(np.isfinite(scores))
    order = ok[np.argsort(-scores[ok], kind="stable")]
    resamples, replications = resamples[:, order], replications[:, order]
    ranks = np.array([1 + (_signs(row) < 0).sum(axis=1) for row in resamples])
    # Half a time for a tie.
    above = sum((1 + _signs(row)) / 2 for row in resamples)
    first = np.array([(_signs(row) >= 0).all(axis=1) for row in replications])
    tails = np.array([1 - LEVEL, 1 + LEVEL]) / 2
    score_low, score_high = np.quantile(resamples, tails, axis=0)
    rank_low, rank_high = np.quantile(ranks, tails, axis=0, method="inverted_cdf")
    found = {
        "score_low": score_low,
        "score_high": score_high,
        "rank_low": rank_low.astype(float),
        "rank_high": rank_high.astype(float),
        "best_probability": (first / first.sum(axis=1, keepdims=True)).mean(axis=0),
        "group": _groups(above, len(resamples)),
    }
    columns = {}
    for name, column in found.items():
        columns[name] = np.full(len(scores), 0 if name == "group" else np.nan, column.dtype)
        columns[name][order] = column
    return columns


def _signs(scores: np.ndarray) -> np.ndarray:
    """Say of each pair whether the first score is larger: 1, 0 for a tie, or -1."""
    ahead = scores[:, None] - scores
    tie = max(_TIE * np.ptp(scores), NO_SPREAD * np.abs(scores).max())
    return np.where(np.abs(ahead) <= tie, 0, np.sign(ahead))


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
