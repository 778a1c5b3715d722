"""Confidence intervals of scores and ranks from a stratified bootstrap."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from .._utils.resampling import MAX_RESAMPLES, Draws
from .._utils.stacklevel import find_stack_level
from .._utils.validation import encode_labels, is_continuous
from .normalization import EQUAL_SHARE, merge_equal, summed
from .scorers import can_resample, is_cross_validated

#: Level of all intervals, and at which candidates are told apart.
LEVEL = 0.95

# Resamples add noise to all candidates, which divides z-scores by a larger standard deviation than
# that of the sample, and moves them towards 0. Intervals are moved back half-way: those that are
# not moved cover too often where rows are few, those moved all the way not often enough.
_ZSCORE_SHIFT = 0.5

# Share of the resamples with one score from which on a normalisation holds it.
_HELD_SHARE = 0.5


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

    def of(self, codes: np.ndarray) -> Draws:
        """Return the draws of the rows of these classes."""
        return Draws(codes, self.n_resamples, self.seed)


def check_resampling(
    n_resamples: int, random_state: Any, scorer: Any, labels: np.ndarray
) -> Resampling | None:
    """Check the parameters of the bootstrap and return it, None if it is disabled.

    Parameters
    ----------
    n_resamples : int
        Number of bootstrap resamples, at most 100,000; 0 disables resampling.

    random_state : int, RandomState instance or None
        Controls the resampling. Pass an int for reproducible output across calls.

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
    if is_continuous(labels):
        raise ValueError(
            f"n_resamples={n_resamples} needs classes, of which rows are drawn, and the labels "
            "are real numbers. Use n_resamples=0."
        )
    # A row that is drawn twice would be held out and fitted at once.
    if is_cross_validated(scorer):
        raise ValueError(
            f"n_resamples={n_resamples} needs a scorer that measures the rows that it was fitted "
            f"to, but {type(scorer).__name__} is scored by cross-validation. Put another scorer "
            "first in the list, which is the one that is resampled, or use n_resamples=0."
        )
    if getattr(scorer, "cv", None) is not None and not can_resample(scorer):
        raise ValueError(
            f"n_resamples={n_resamples} needs a scorer that measures the rows that it was fitted "
            f"to, but {type(scorer).__name__} has cv={scorer.cv!r}. Use cv='loo' with "
            "variant='released', cv=None, or n_resamples=0."
        )
    classes, codes = encode_labels(labels)
    counts = np.bincount(codes)
    if counts.min() < 2:
        raise ValueError(
            f"n_resamples={n_resamples} draws rows with replacement within every class, but the "
            f"class {classes.tolist()[counts.argmin()]!r} has 1 row: at least 2 of every class "
            "are needed. Add rows, leave that class out, or use n_resamples=0."
        )
    least = int(np.ceil(2 / (1 - LEVEL))) - 1
    if n_resamples < least:
        warnings.warn(
            f"n_resamples={n_resamples} are few: with less than {least} no two candidates can be "
            f"told apart at the level of {LEVEL:.0%}. 100 are enough for a first look.",
            UserWarning,
            stacklevel=find_stack_level(),
        )
    seed = int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
    return Resampling(int(n_resamples), seed)


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
    replicated = {name: error + np.roll(error, 1, axis=0) for name, error in errors.items()}

    def sums(deviations):
        parts = {name: observed[name] + deviations[name] for name in deviations}
        return np.array(
            [
                summed(dict(zip(parts, row, strict=True)), normalization, weights)[0]
                for row in zip(*parts.values(), strict=True)
            ]
        )

    return sums(errors), sums(replicated)


def describe_resamples(
    scores: np.ndarray, resamples: np.ndarray, replications: np.ndarray, normalization: str
) -> dict[str, np.ndarray]:
    """Intervals, probabilities and groups of candidates.

    Parameters
    ----------
    scores : ndarray of shape (n_candidates,)
        Observed score of each; NaN for one that failed.

    resamples, replications : ndarray of shape (n_resamples, n_candidates)
        What `resampled_scores` returned.

    normalization : {"minmax", "zscore", "rank", "absolute"}
        How the components were normalised.

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
    ranks = np.array([1 + (_pairwise_signs(row) < 0).sum(axis=1) for row in resamples])
    # Half a time for a tie.
    above = np.sum([(1 + _pairwise_signs(row)) / 2 for row in resamples], axis=0)
    first = np.array([(_pairwise_signs(row) >= 0).all(axis=1) for row in replications])
    tie = EQUAL_SHARE * np.abs(resamples).max()
    shift = _ZSCORE_SHIFT if normalization == "zscore" else 0.0
    score_low, score_high = _interval(resamples, scores[order], shift)
    rank_low, rank_high = _interval(ranks, 1 + (_pairwise_signs(scores[order]) < 0).sum(axis=1))
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


def surely_behind(
    scores: np.ndarray, resamples: np.ndarray, n_best: int, risk: float
) -> np.ndarray:
    """Tell which candidates are not among the first ones: multiple comparisons with the best [1]_.

    A candidate is excluded if errors do not explain how far it is below the score of place
    `n_best`: if its own rise and the largest fall of any candidate add up to less, in all but a
    share `risk` / `n_best` of the resamples. Of many candidates that are nearly equal, the best
    has often a low score and is first in no resample; it is not excluded, as errors that are as
    large as those of the resamples explain its place.

    Rises and falls are taken as the resamples have them, and not the other way round as the errors
    of the scores would be: a score that a normalisation holds at its upper bound can only fall.

    Parameters
    ----------
    scores : ndarray of shape (n_candidates,)
        Score of each candidate.

    resamples : ndarray of shape (n_resamples, n_candidates)
        Its score in every resample.

    n_best : int
        Number of candidates that are wanted.

    risk : float
        Largest probability that one of the first is excluded.

    Returns
    -------
    behind : ndarray of bool of shape (n_candidates,)
        Whether a candidate is excluded. Never all of them, and equal ones together.

    References
    ----------
    .. [1] J. C. Hsu, "Multiple Comparisons: Theory and Methods", Chapman & Hall, 1996.
    """
    if len(scores) <= n_best:
        return np.zeros(len(scores), dtype=bool)
    scores = merge_equal(scores)
    rises = np.array([merge_equal(row) for row in resamples]) - scores
    gaps = np.sort(scores)[-n_best] - scores
    # One more is counted than was seen.
    explained = 1 + (rises - rises.min(axis=1, keepdims=True) >= gaps).sum(axis=0)
    return explained / (1 + len(resamples)) <= risk / n_best


def _interval(
    resampled: np.ndarray, observed: np.ndarray, shift: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the interval of every candidate, which contains what was observed.

    A normalisation over the candidates bounds scores: resamples of the best can only be
    smaller, and quantiles of them alone would exclude the score itself. The interval is moved by
    a share `shift` of the way that leads from the median of the resamples to what was observed.
    """
    tails = np.array([1 - LEVEL, 1 + LEVEL]) / 2
    if resampled.dtype == float:
        low, high = np.quantile(resampled, tails, axis=0)
    else:
        low, high = np.quantile(resampled, tails, axis=0, method="inverted_cdf")
    if shift:
        moved = shift * (observed - np.median(resampled, axis=0))
        low, high = low + moved, high + moved
    return np.minimum(low, observed).astype(float), np.maximum(high, observed).astype(float)


def _pairwise_signs(scores: np.ndarray) -> np.ndarray:
    """Return 1, 0 or -1 for each pair: the first score is larger, equal or smaller."""
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
