"""One candidate's features to the record that a ranking is made of."""

import copy
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from inspect import Parameter, signature
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone, is_classifier
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _check_y

from .._linalg.arrays import to_host
from .._ncti.base import COMPONENTS, BaseNCTI, encode_labels, label_array
from .._ncti.discriminant import shared_moments
from .._ncti.scorer import NCTIScorer
from ..companions._base import BaseCompanion
from .bootstrap import (
    Resampling,
    can_resample_projection,
    resampled_projection,
    stacked,
)

# Columns of results that do not come from scorers beside the first.
_RESERVED = {
    *COMPONENTS,
    *(f"normalized_{name}" for name in COMPONENTS),
    *("model", "rank", "score", "score_low", "score_high", "rank_low", "rank_high"),
    *("held", "best_probability", "group", "n_features", "shrinkage"),
    *("extract_time", "score_time"),
    *("images_per_second", "decode_time", "device_time", "n_parameters", "license"),
    *("baseline", "baseline_rank", "error"),
}

#: Folds in which a classifier is scored.
_N_FOLDS = 5


def check_labels(labels: ArrayLike) -> np.ndarray:
    """Return `labels` as a vector of at least two classes, or raise a ValueError."""
    labels = _check_y(label_array(labels))
    encode_labels(labels)
    return labels


def check_scorer(scorer: Any) -> Any:
    """Return what scores a feature matrix, NCTIScorer() for None, or raise a TypeError.

    That is an estimator with ``fit(X, y)`` and ``score()``, or any classifier.
    """
    if scorer is None:
        return NCTIScorer()
    if not (hasattr(scorer, "fit") and hasattr(scorer, "score")):
        raise TypeError(f"scorer must have fit(X, y) and score(), got {scorer!r}.")
    needed = _needed(scorer)
    if needed and (isinstance(scorer, type) or not is_classifier(scorer)):
        raise TypeError(
            f"scorer must be a classifier, or have a score() that works without arguments on "
            f"the fitted rows; {getattr(scorer, '__name__', type(scorer).__name__)}.score needs "
            f"{needed}. Use an instance of NCTIScorer, of one of its components or of a "
            "companion, or an estimator with the same contract."
        )
    return scorer


def _needed(scorer) -> list[str]:
    """Arguments without which ``scorer.score`` does not work."""
    return [
        name
        for name, parameter in signature(scorer.score).parameters.items()
        if parameter.default is Parameter.empty
        and parameter.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    ]


def check_scorers(scorer: Any) -> tuple[Any, dict[str, Any]]:
    """Return the scorer that ranks, and by name those that are shown beside it.

    Parameters
    ----------
    scorer : None, estimator, or list of estimators and (name, estimator) pairs
        The first of a list ranks.

    Returns
    -------
    first : estimator
        What ranks.

    others : dict of str to estimator
        The others. One without a name gets that of its class in lower case, numbered where
        there are several.

    Raises
    ------
    TypeError
        If one of them cannot score.

    ValueError
        If the list is empty, two have one name, or columns of one would overwrite others.
    """
    if not isinstance(scorer, list | tuple):
        scorer = [scorer]
    if not scorer:
        raise ValueError("scorer is an empty list: give at least 1, or None for NCTIScorer().")
    pairs = [item if _is_pair(item) else (None, item) for item in scorer]
    checked = [(name, check_scorer(item)) for name, item in pairs]
    total = Counter(_class_name(item) for name, item in checked if name is None)
    seen: Counter[str] = Counter()
    named = []
    for name, item in checked:
        if name is None:
            name = _class_name(item)
            seen[name] += 1
            name += f"-{seen[name]}" if total[name] > 1 else ""
        named.append((name, item))
    (_, first), *others = named
    repeated = [name for name, count in Counter(name for name, _ in named).items() if count > 1]
    if repeated:
        raise ValueError(
            f"scorer has more than one named {repeated}; give each a name of its own with a "
            "(name, scorer) pair."
        )
    _check_columns(first, [name for name, _ in others])
    return first, dict(others)


def _check_columns(first, others) -> None:
    """Check that no column of the results would be written twice."""
    taken = set(_RESERVED)
    if not isinstance(first, NCTIScorer):
        name = _class_name(first)
        _take(taken, name, {name, f"normalized_{name}"}, "a class of another name")
    for name in others:
        columns = {name, f"{name}_rank", f"{name}_error"}
        _take(taken, name, columns, "another name with a (name, scorer) pair")


def _take(taken, name, columns, remedy) -> None:
    """Add columns to those that are taken, or raise a ValueError."""
    if taken & columns:
        raise ValueError(
            f"scorer {name!r} would overwrite the columns {sorted(taken & columns)} of the "
            f"results; choose {remedy}."
        )
    taken |= columns


def _is_pair(item) -> bool:
    return isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str)


def _class_name(scorer) -> str:
    return type(scorer).__name__.lower()


def component_names(scorer: Any) -> tuple[str, ...]:
    """Names of the components that a scorer will give."""
    return COMPONENTS if isinstance(scorer, NCTIScorer) else (_class_name(scorer),)


def looks_at(scorer: Any) -> str:
    """Say what of a network a scorer is about: "features", or "probabilities" of its head."""
    return getattr(scorer, "_looks_at", "features")


def attempt(function, *args) -> dict[str, Any]:
    """Call `function`, which returns a record; a failure becomes a record of its error."""
    try:
        return {"error": "", **function(*args)}
    except (Exception, SystemExit, GeneratorExit) as exc:
        # Of the exceptions that are not errors only an interrupt is meant for the whole run.
        return {
            "error": f"{type(exc).__name__}: {_message(exc)}",
            "error_type": type(exc),
            "traceback": traceback.format_exc(),
        }


def _message(exc) -> str:
    try:
        return str(exc)
    except Exception:
        return "its message cannot be shown"


def score_features(
    X: ArrayLike,
    y: np.ndarray,
    scorer: Any,
    others: Mapping[str, Any] | None = None,
    resampling: Resampling | None = None,
    probabilities: ArrayLike | str | None = None,
) -> dict[str, Any]:
    """Score one feature matrix and return the record that `rank_records` takes.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Features.

    y : ndarray of shape (n_samples,)
        Class of each row.

    scorer : estimator
        What ranks, as `check_scorer` returned it.

    others : dict of str to estimator, default=None
        What is shown beside it. Where one of them fails, its value is missing.

    resampling : Resampling, default=None
        How the rows are drawn anew for `scorer`; None for not at all.

    probabilities : array-like of shape (n_samples, n_source_classes) or str, default=None
        What scorers that look at source-class probabilities are given, or why it is not
        there. None where `X` is for all.

    Returns
    -------
    record : dict
        "raw" and "absolute" components, "n_features", "shrinkage" and "score_time" of
        `scorer`; its "resamples", raw and absolute, or None; "notes" about its result; and in
        "others" the same components, or an error, of each of the others.

    Raises
    ------
    ValueError
        If `scorer` fails, or a component is not finite.
    """
    with shared_moments() if others else nullcontext():
        return _record(X, y, scorer, others or {}, resampling, probabilities)


def _record(X, y, scorer, others, resampling, probabilities) -> dict[str, Any]:
    """Record of one feature matrix, as `score_features` returns it."""
    start = time.perf_counter()
    features, X = X, _seen_by(scorer, X, probabilities)
    in_basis = resampling is not None and can_resample_projection(scorer)
    fitted, raw, absolute = _scored(X, y, scorer, keeps_projection=in_basis)
    score_time = time.perf_counter() - start
    resamples = None
    if in_basis:
        resamples = resampled_projection(fitted, resampling)
        if not isinstance(scorer, NCTIScorer):
            (values,) = resamples[0].values()
            resamples = ({_class_name(scorer): values},) * 2
    elif resampling is not None:
        resamples = _resampled_fits(X, y, scorer, resampling)
    return {
        "raw": raw,
        "absolute": absolute,
        "n_features": np.shape(X)[1],
        "shrinkage": getattr(fitted, "shrinkage_", np.nan),
        "score_time": score_time,
        "resamples": resamples,
        "notes": [note for note in [getattr(fitted, "_few_rows", "")] if note],
        "others": {
            name: attempt(_score_beside, features, y, other, probabilities)
            for name, other in others.items()
        },
    }


def _seen_by(scorer, X, probabilities):
    """What of features and probabilities a scorer is given."""
    if probabilities is None or looks_at(scorer) != "probabilities":
        return X
    if isinstance(probabilities, str):
        raise ValueError(probabilities)
    return probabilities


def _resampled_fits(X, y, scorer, resampling):
    """Raw and absolute components of any scorer, fitted to every draw of rows anew."""
    X, codes = to_host(X), encode_labels(y)[1]
    order = np.argsort(codes, kind="stable")
    found = []
    with warnings.catch_warnings():
        # What there is to warn of was said when all rows were fitted.
        warnings.simplefilter("ignore")
        for weights in resampling.draws(codes):
            rows = np.repeat(order, weights)
            found.append(_scored(_safe_indexing(X, rows), y[rows], scorer)[1:])
    return stacked(found)


def _score_beside(X, y, scorer, probabilities):
    X = _seen_by(scorer, X, probabilities)
    _, raw, absolute = _scored(to_host(X), y, scorer)
    return {"raw": raw, "absolute": absolute}


def _scored(X, y, scorer, keeps_projection=False):
    """Fitted clone of a scorer, and its components, raw and absolute."""
    fitted = clone(scorer)
    if _needed(scorer):
        raw = absolute = {_class_name(scorer): _cross_validated(fitted, to_host(X), y)}
    else:
        if keeps_projection:
            fitted._keeps_projection = True
        fitted.fit(*_safe_data(fitted, X, y))
        if isinstance(fitted, NCTIScorer):
            raw = fitted.component_scores()
            absolute = fitted.component_scores(absolute=True)
        else:
            raw = absolute = {_class_name(scorer): float(fitted.score())}
    for name, value in raw.items():
        if not np.isfinite(value):
            raise ValueError(f"component {name} is {value}.")
    return fitted, raw, absolute


def _safe_data(scorer, X, y):
    """Return data that the scorer may write to; those of this package never do."""
    if isinstance(scorer, BaseNCTI | BaseCompanion):
        return X, y
    return copy.deepcopy((X, y))


def _cross_validated(classifier, X, y) -> float:
    """Mean score of a classifier over stratified folds, as many as the classes have rows for."""
    least = int(np.unique(y, return_counts=True)[1].min())
    if least < 2:
        raise ValueError(
            f"{type(classifier).__name__} is scored by cross-validation, but a class has 1 row: "
            "at least 2 of every class are needed."
        )
    folds = StratifiedKFold(min(_N_FOLDS, least))
    scores = cross_val_score(classifier, X, y, cv=folds, error_score="raise")
    return float(scores.mean())
