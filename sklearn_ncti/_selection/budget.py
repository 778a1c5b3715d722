"""Which candidates a search can afford, and the order in which they start."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .._utils.errors import ParameterError
from .plan import CandidateFacts, Speed, facts_of_candidates, measure_speed
from .prior import imagenet_accuracies

_GB = 1e9


def best_first(
    candidates: Sequence[tuple[str, Any]], prior: Mapping[str, float] | None
) -> list[tuple[str, Any]]:
    """Return the candidates in the order of their prior, those without one last.

    Without a prior, published ImageNet accuracies take its place for the order alone.
    """
    known = imagenet_accuracies(candidates) if prior is None else prior
    return sorted(candidates, key=lambda item: -known.get(item[0], -math.inf))


def affordable(
    candidates: Sequence[tuple[str, Any]],
    X: Any,
    n_first: int,
    n_iterations: int,
    *,
    max_time: float | None,
    max_download: float | None,
) -> dict[str, str]:
    """Return the candidates that are left out, by name, and why.

    A candidate whose size or time is not known counts as nothing.

    Parameters
    ----------
    candidates : sequence of (str, transformer)
        The candidates in the order in which they start.

    X : array-like or sequence of length n_samples
        The rows.

    n_first : int
        Number of rows of the first iteration.

    n_iterations : int
        Number of iterations that share the time.

    max_time : float or None
        Seconds for all iterations.

    max_download : float or None
        Gigabytes (1e9 bytes) of weights.

    Returns
    -------
    left_out : dict of str to str
        Names, and the reason for each.

    Raises
    ------
    ParameterError
        If no candidate fits into the budget.
    """
    left_out: dict[str, str] = {}
    if max_download is None and max_time is None:
        return left_out
    facts = facts_of_candidates(candidates)
    if max_download is not None:
        left_out |= _too_large(facts, max_download)
    facts = [fact for fact in facts if fact.name not in left_out]
    if max_time is not None and any(math.isfinite(fact.work) for fact in facts):
        left_out |= _too_slow(facts, measure_speed(X), n_first, n_iterations, max_time)
    return left_out


def _too_large(facts: Sequence[CandidateFacts], max_download: float) -> dict[str, str]:
    """Leave out each candidate whose weights do not fit into what is left of the budget."""
    sizes = {fact.name: fact.download_bytes / _GB for fact in facts}
    sizes = {name: 0.0 if math.isnan(size) else size for name, size in sizes.items()}
    left_out, total = {}, 0.0
    for name, size in sizes.items():
        if total + size > max_download:
            left_out[name] = (
                f"left out: weights of about {size:.2g} GB do not fit into max_download="
                f"{max_download:g} GB with those of the candidates before it"
            )
        else:
            total += size
    if len(left_out) == len(facts):
        raise ParameterError(
            "max_download",
            f"{max_download:g} GB is too small for any candidate: the smallest weights have about "
            f"{min(sizes.values()):.2g} GB. Use more, or smaller candidates.",
        )
    return left_out


def _too_slow(
    facts: Sequence[CandidateFacts],
    speed: Speed,
    n_first: int,
    n_iterations: int,
    max_time: float,
) -> dict[str, str]:
    """Leave out each candidate that does not fit into what is left of the first iteration."""
    seconds = [fact.seconds(n_first, speed) for fact in facts]
    seconds = [0.0 if math.isnan(second) else second for second in seconds]
    if min(seconds) > max_time:
        raise ParameterError(
            "max_time",
            f"{max_time:g} s is too short for any candidate: the fastest takes about "
            f"{min(seconds):.2g} s for the {n_first} rows of the first iteration. Use more, or "
            "smaller candidates.",
        )
    share, total = max_time / n_iterations, 0.0
    starting: list[str] = []
    for fact, second in zip(facts, seconds, strict=True):
        # One candidate starts whatever its share, as no other may fit either.
        if second <= max_time and (not starting or total + second <= share):
            starting.append(fact.name)
            total += second
    why = (
        f"left out: does not fit into the {share:.3g} s that max_time={max_time:g} leaves for the "
        "first iteration, with the candidates before it"
    )
    return {fact.name: why for fact in facts if fact.name not in starting}
