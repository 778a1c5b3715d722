"""Source attributes of all candidates: their features of labelled source data, measured."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.utils.validation import check_consistent_length

from .._ncti.source_attributes import ATTRIBUTES, SourceAttributes
from .._ranking.rank_features import report_failures
from .._scoring.candidate import CandidateResult, ExtractionFacts
from .._scoring.normalization import summed
from .._scoring.scorers import Scorers, projection_parameters, response_of
from .._utils.components import Components
from .._utils.validation import check_labels
from .context import FitContext, with_images
from .jobs import FitTask, run_candidates

# Attributes whose min-max scaled values add up to the score of the pool.
_SUMMANDS = ("compactness", "diversity")


def check_source(X: Any, y: ArrayLike) -> np.ndarray:
    """Return the source labels as a vector, or raise an error that names `y_source`."""
    if y is None:
        raise ValueError("y_source is None: source_attributes needs the class of each source row.")
    try:
        labels = check_labels(y)
    except (TypeError, ValueError) as exc:
        kind = TypeError if isinstance(exc, TypeError) else ValueError
        raise kind(f"y_source is no vector of source classes: {exc}") from exc
    check_consistent_length(X, labels)
    return labels


def target_widths(results: Mapping[str, np.ndarray] | None, scorer: Any) -> dict[str, int]:
    """Return the number of target features of every candidate that has some.

    Parameters
    ----------
    results : dict of str to ndarray, default=None
        Columns of a ranking; None before there is one.

    scorer : estimator
        The scorer that ranked. One of probabilities has not seen the features.

    Returns
    -------
    widths : dict of str to int
        Number of features by the name of the candidate.
    """
    if results is None or response_of(scorer) != "features":
        return {}
    pairs = zip(results["model"], results["n_features"], strict=True)
    return {name: int(width) for name, width in pairs if np.isfinite(width)}


def measure_candidates(
    candidates: list[tuple[str, Any]],
    context: FitContext,
    n_jobs: int | None,
    widths: Mapping[str, int],
) -> dict[str, np.ndarray]:
    """Measure the source attributes of all candidates.

    Parameters
    ----------
    candidates : list of (str, transformer)
        The candidates.

    context : FitContext
        Source rows, their labels, and settings. The parameters of the projection are those of
        the scorer that ranks.

    n_jobs : int or None
        Number of candidates that run at the same time.

    widths : dict of str to int
        Numbers of features that candidates must give.

    Returns
    -------
    columns : dict of str to ndarray of shape (n_candidates,)
        Names, attributes, score of the pool, errors and tracebacks.
    """
    ranking = SourceAttributes(**projection_parameters(context.scorers.ranking))
    context = replace(
        context,
        scorers=Scorers(ranking),
        measure=partial(_measure, widths=widths),
    )
    context = with_images(context, [model for _, model in candidates])
    tasks: list[FitTask] = [_SilentTask()] * len(candidates)
    with context.progress as progress:
        progress.start(len(candidates))
        results, _ = run_candidates(candidates, context, tasks, n_jobs)
    report_failures(results, "and have no source attributes")
    return _columns(results)


@dataclass(frozen=True)
class _SilentTask(FitTask):
    """A task that callbacks are not told of, because it is no part of a fit."""

    callbacks: Any = None
    estimator: Any = None

    @contextmanager
    def running(self, X: Any, y: Any) -> Iterator[None]:
        yield

    def without_candidates(self) -> FitTask:
        return self


def _measure(
    name: str,
    X: Any,
    y: np.ndarray,
    scorers: Scorers,
    resampling: None,
    probabilities: None,
    facts: ExtractionFacts,
    *,
    widths: Mapping[str, int],
) -> CandidateResult:
    """Return the source attributes of one candidate in the place of its components."""
    width = np.shape(X)[1:]
    if name in widths and width != (widths[name],):
        raise ValueError(
            f"the candidate gave {' x '.join(map(str, width))} features for the source rows, but "
            f"{widths[name]} for the target rows (n_features in results_). Give it parameters "
            "with which the number of features does not depend on the rows, and fit again."
        )
    fitted = clone(scorers.ranking).fit(X, y)
    components = Components(fitted.attributes_)
    return CandidateResult(name, components, n_features=fitted.n_features_in_, facts=facts)


def _columns(results: list[CandidateResult]) -> dict[str, np.ndarray]:
    """Return the attributes as columns, NaN for candidates that failed."""
    nothing = dict.fromkeys(ATTRIBUTES, np.nan)
    found = [
        result.components.raw if isinstance(result.components, Components) else nothing
        for result in results
    ]
    columns = {name: np.array([values[name] for values in found]) for name in ATTRIBUTES}
    total, _, _ = summed(
        {name: columns[name] for name in _SUMMANDS}, "minmax", dict.fromkeys(_SUMMANDS, 1.0)
    )
    return {
        "model": np.array([result.name for result in results], dtype=object),
        **columns,
        "source_score": total,
        "error": np.array([result.error for result in results], dtype=object),
        "traceback": np.array([result.traceback for result in results], dtype=object),
    }
