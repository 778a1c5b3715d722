"""One feature matrix to the `CandidateResult` that a ranking is made of."""

import copy
import time
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone, is_regressor
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
from sklearn.utils import _safe_indexing

from .._linalg.pca import shared_moments
from .._ncti.base import BaseNCTI
from .._utils.arrays import to_host
from .._utils.components import Components
from .._utils.resampling import Draws
from .._utils.validation import encode_labels
from ..companions._base import BaseCompanion
from .bootstrap import Resampling
from .candidate import CandidateResult, ExtractionFacts, Failure, capture_errors
from .scorers import (
    Scorers,
    can_resample,
    class_name,
    component_names,
    is_cross_validated,
    response_of,
)

#: Folds in which a classifier is scored.
_N_FOLDS = 5


def score_candidate(
    name: str,
    X: ArrayLike,
    y: np.ndarray,
    scorers: Scorers,
    resampling: Resampling | None = None,
    probabilities: ArrayLike | str | None = None,
    facts: ExtractionFacts | None = None,
) -> CandidateResult:
    """Score the features of one candidate.

    Parameters
    ----------
    name : str
        Name of the candidate.

    X : array-like of shape (n_samples, n_features)
        Features.

    y : ndarray of shape (n_samples,)
        Class of each row.

    scorers : Scorers
        The ranking scorer and the additional ones. The value of an additional scorer that fails
        is missing.

    resampling : Resampling, default=None
        Bootstrap of the rows for the ranking scorer; None disables it.

    probabilities : array-like of shape (n_samples, n_source_classes) or str, default=None
        Source-class probabilities for the scorers that need them, or a message saying why they
        are unavailable. If None, all scorers receive `X`.

    facts : ExtractionFacts, default=None
        Facts about the extraction of the features.

    Returns
    -------
    result : CandidateResult
        Components and resamples of the ranking scorer, and those of the additional ones.

    Raises
    ------
    ValueError
        If the ranking scorer fails, or a component is not finite.
    """
    with shared_moments() if scorers.additional else nullcontext():
        start = time.perf_counter()
        rows = _rows_for(scorers.ranking, X, probabilities)
        fitted, components = _measured(scorers.ranking, rows, y)
        score_time = time.perf_counter() - start
        resamples = None
        if resampling is not None:
            resamples = _resampled(scorers.ranking, fitted, rows, y, resampling)
        return CandidateResult(
            name,
            components,
            n_features=np.shape(rows)[1],
            shrinkage=getattr(fitted, "shrinkage_", np.nan),
            score_time=score_time,
            resamples=resamples,
            additional={
                other: capture_errors(_score_additional, scorer, X, y, probabilities)
                for other, scorer in scorers.additional.items()
            },
            notes=tuple(getattr(fitted, "notes_", ())),
            facts=facts or ExtractionFacts(),
        )


def score_all(
    features: Mapping[str, ArrayLike],
    y: np.ndarray,
    scorers: Scorers,
    resampling: Resampling | None = None,
) -> list[CandidateResult]:
    """Score many feature matrices; one that fails becomes a result with its failure."""
    return [
        result_of(name, capture_errors(score_candidate, name, X, y, scorers, resampling))
        for name, X in features.items()
    ]


def result_of(name: str, outcome: CandidateResult | Failure) -> CandidateResult:
    """Return the result of a candidate whose work may have failed."""
    return CandidateResult(name, outcome) if isinstance(outcome, Failure) else outcome


def _rows_for(scorer, X, probabilities):
    """Features, or source-class probabilities for a scorer that needs these."""
    if probabilities is None or response_of(scorer) != "probabilities":
        return X
    if isinstance(probabilities, str):
        raise ValueError(probabilities)
    return probabilities


def _score_additional(scorer, X, y, probabilities) -> Components:
    rows = _rows_for(scorer, X, probabilities)
    return _measured(scorer, to_host(rows), y)[1]


def _measured(scorer, X, y) -> tuple[Any, Components]:
    """Return a fitted clone of a scorer, and its components."""
    fitted = clone(scorer)
    if is_cross_validated(scorer):
        components = _named(scorer, _cross_validated(fitted, to_host(X), y))
    else:
        fitted.fit(*_safe_data(fitted, X, y))
        has_components = callable(getattr(fitted, "components", None))
        measured = fitted.components() if has_components else float(fitted.score())
        components = _named(scorer, measured)
    for name, value in components.raw.items():
        if not np.isfinite(value):
            raise ValueError(f"component {name} is {value}.")
    return fitted, components


def _named(scorer, measured) -> Components:
    """Components from what a scorer returned: numbers by name, or one number."""
    if isinstance(measured, Components):
        return measured
    return Components(
        measured if isinstance(measured, Mapping) else {class_name(scorer): measured}
    )


def _resampled(scorer, fitted, X, y, resampling) -> Components:
    """Components of every resample: by the scorer itself, or by fitting it again."""
    draws = resampling.of(encode_labels(y)[1])
    if not can_resample(fitted):
        return Components.stack(_fits(scorer, to_host(X), y, draws))
    return _checked(scorer, _named(scorer, fitted.resample(draws)), draws)


def _checked(scorer, resamples, draws) -> Components:
    """Check the shapes of what a scorer gave for the resamples."""
    names = component_names(scorer)
    if tuple(resamples.names) != names:
        raise ValueError(
            f"{type(scorer).__name__}.resample returned the components {resamples.names}, but "
            f"the scorer has {list(names)}."
        )
    for values in (*resamples.raw.values(), *resamples.absolute.values()):
        if np.shape(values) != (len(draws),):
            raise ValueError(
                f"{type(scorer).__name__}.resample returned values of shape {np.shape(values)} "
                f"for {len(draws)} resamples: one number for each is needed."
            )
    return resamples


def _fits(scorer, X, y, draws: Draws):
    """Yield the components of a scorer that is fitted to every resample."""
    with warnings.catch_warnings():
        # What there is to warn of was said when all rows were fitted.
        warnings.simplefilter("ignore")
        for weights in draws.by_class():
            rows = np.repeat(np.argsort(draws.codes, kind="stable"), weights)
            yield _measured(scorer, _safe_indexing(X, rows), y[rows])[1]


def _safe_data(scorer, X, y):
    """Return data that the scorer may write to; those of this package never do."""
    if isinstance(scorer, BaseNCTI | BaseCompanion):
        return X, y
    return copy.deepcopy((X, y))


def _cross_validated(predictor, X, y) -> float:
    """Mean score of a classifier or regressor over folds of the rows."""
    folds = _shuffled_folds(y) if is_regressor(predictor) else _stratified_folds(predictor, y)
    scores = cross_val_score(predictor, X, y, cv=folds, error_score="raise")
    return float(scores.mean())


def _shuffled_folds(y) -> KFold:
    """Folds of real numbers, shuffled since rows are often in their order; the same each time."""
    return KFold(min(_N_FOLDS, len(y)), shuffle=True, random_state=0)


def _stratified_folds(classifier, y) -> StratifiedKFold:
    """Folds with rows of every class, as many as the classes have rows for."""
    least = int(np.unique(y, return_counts=True)[1].min())
    if least < 2:
        raise ValueError(
            f"{type(classifier).__name__} is scored by cross-validation, but a class has 1 row: "
            "at least 2 of every class are needed."
        )
    return StratifiedKFold(min(_N_FOLDS, least))
