"""`rank_features`, and from the results of candidates to a `Ranking`."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import FitFailedWarning
from sklearn.utils.validation import _num_samples

from .._scoring.bootstrap import check_resampling, describe_resamples, resampled_scores
from .._scoring.candidate import CandidateResult, Failure
from .._scoring.normalization import (
    EQUAL_SHARE,
    PRIOR,
    check_normalization,
    check_weights,
    summed,
)
from .._scoring.scorers import check_scorers, component_names
from .._scoring.scoring import score_all
from .._utils.components import Components
from .._utils.errors import AllFailedError, AllFailedTypeError
from .._utils.stacklevel import find_stack_level
from .prior import check_prior, numbers_of, published_notes
from .ranking import Ranking
from .results import ranks

# Errors, and candidates of one error, that a message names.
_SHOWN = 5


def rank_features(
    features: Mapping[str, ArrayLike],
    labels: ArrayLike,
    *,
    normalization: str = "minmax",
    weights: Mapping[str, float] | None = None,
    scorer: Any = None,
    n_resamples: int = 0,
    random_state: Any = None,
    baseline: Mapping[str, float] | None = None,
    prior: Mapping[str, float] | Sequence[Mapping[str, float]] | None = None,
) -> Ranking:
    """Rank candidates by the features that each of them gives on the same rows.

    Parameters
    ----------
    features : dict of str to array-like of shape (n_samples, n_features)
        Feature matrix of each candidate. All have the same rows in the same order; the
        number of features may differ.

    labels : array-like of shape (n_samples,)
        Class of each row.

    normalization : {"minmax", "zscore", "rank", "absolute"}, default="minmax"
        How components become comparable before they are added. "minmax" is the paper's:
        over the candidates, to [0, 1], and "vc" to [-1, 0]. "zscore" subtracts the mean and
        divides by the standard deviation over the candidates; "rank" is "minmax" of the
        ranks. "absolute" does not look at the other candidates: it adds the parts of
        :meth:`NCTIScorer.score`, each in [0, 1]. With all but "absolute" the score of a
        candidate depends on which others it is compared with.

    weights : dict of str to float, default=None
        Weight of components in the sum, by name ("seli", "ncc", "vc", and "prior" if there is
        one); 1 for those that are not named. A negative weight turns a component round.

    scorer : "ncti", "robust", estimator, or list of these, default=None
        What scores a feature matrix: an estimator with ``fit(X, y)`` and ``score()``, such as
        those of ``sklearn_ncti.companions`` (see :class:`FeatureScorer`), or any classifier or
        regressor, which is scored by cross-validation over up to 5 folds (stratified for
        classifiers, shuffled for regressors). It is cloned for every candidate. With regressors
        and ``companions.LogME`` alone, the labels may be real numbers. "ncti" is
        ``NCTIScorer()``, as None is. "robust" is
        ``NearestCenterClassifier(cv="loo", shrinkage="scale-free")``: one component, measured on
        rows that are left out, whatever the scale of the features. The first of a list ranks; the
        additional scorers, which may be (name, estimator) pairs, become columns of the results.
        The value of one that fails is missing.

    n_resamples : int, default=0
        Number of stratified bootstrap resamples, shared by all candidates, at most 100,000.
        Used for confidence intervals of scores and ranks, the probability of being the best,
        and groups of candidates that cannot be told apart. 0 disables resampling; 100 are
        enough for a first look. Where rows are few, NCTI and its components use a Bayesian
        bootstrap.

    random_state : int, RandomState instance or None, default=None
        Controls the bootstrap resampling. Pass an int for reproducible output across calls.

    baseline : dict of str to float, default=None
        Number of each candidate by its name, larger is better, to compare the scores with: for
        example published ImageNet accuracies. Names that are not candidates are ignored.

    prior : dict of str to float, or list of dict, default=None
        What is known of candidates without the target data; larger is better: published
        ImageNet accuracies, or accuracies of earlier fine-tunings on other data sets. It is
        normalised like the other components and added, see :ref:`prior`. A list holds one
        record for each earlier data set; records are min-max scaled and averaged. Candidates
        without a number get the one that their other components suggest, and are marked.

    Returns
    -------
    ranking : Ranking
        The candidates, best first. One whose features cannot be scored is ranked last, with
        its error, and warned about.

    Raises
    ------
    TypeError
        If `features` is not a dict with names as keys, or `scorer` has no ``score()`` that
        works without arguments.

    ValueError
        If `features` is empty, a candidate has another number of rows than `labels`, a
        parameter is out of bounds, or no candidate can be scored; with `n_resamples`, if a
        class has one row only or the scorer holds rows out.

    Warns
    -----
    UserWarning
        If a component does not vary over the candidates (it then adds 0 to all), or if
        `n_resamples` are too few to tell candidates apart.

    FitFailedWarning
        If a candidate could not be scored, or has no value of one of the other scorers.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ncti import rank_features
    >>> X, y = load_digits(return_X_y=True)
    >>> ranking = rank_features({"all pixels": X, "upper half": X[:, :32]}, y)
    >>> print(ranking)
    rank  model       score  seli   ncc     vc  raw seli  raw ncc  raw vc
       1  all pixels   2.00  1.00  1.00   0.00     727.1     0.96   -5.11
       2  upper half  -1.00  0.00  0.00  -1.00     564.3     0.81   -5.32
    score = seli + ncc + vc (minmax over the candidates; larger is better)
    """
    if not isinstance(features, Mapping):
        raise TypeError(
            f"features must be a dict of name to feature matrix, got {type(features).__name__}."
        )
    if not features:
        raise ValueError("features is empty: at least 1 candidate is needed.")
    for name in features:
        if not isinstance(name, str):
            raise TypeError(f"features must have strings as keys, got {name!r}.")
    scorers = check_scorers(scorer)
    labels = scorers.check_labels(labels)
    for name, X in features.items():
        if _num_samples(X) != len(labels):
            raise ValueError(
                f"features[{name!r}] has {_num_samples(X)} rows, but labels has "
                f"{len(labels)}: all candidates must be scored on the same rows."
            )
    check_normalization(normalization)
    prior = check_prior(prior, features, normalization)
    check_weights(weights, summand_names(scorers.ranking, prior))
    baseline = check_baseline(baseline, features)
    resampling = check_resampling(n_resamples, random_state, scorers.ranking, labels)
    return rank_results(
        score_all(features, labels, scorers, resampling),
        normalization=normalization,
        weights=weights,
        baseline=baseline,
        prior=prior,
        notes=scorers.notes,
    )


def summand_names(scorer: Any, prior: Mapping[str, float] | None) -> tuple[str, ...]:
    """Return the names of all that is normalised and added."""
    return (*component_names(scorer), *(() if prior is None else (PRIOR,)))


def check_baseline(
    baseline: Mapping[str, float] | None, names: Iterable[str]
) -> dict[str, float] | None:
    """Return the numbers of the candidates among a baseline, or raise a ValueError."""
    return None if baseline is None else numbers_of(baseline, list(names), "baseline")


def rank_results(
    candidates: Sequence[CandidateResult],
    *,
    normalization: str,
    weights: Mapping[str, float] | None = None,
    error_score: float = np.nan,
    baseline: Mapping[str, float] | None = None,
    prior: Mapping[str, float] | None = None,
    published: Mapping[str, float] | None = None,
    notes: Sequence[str] = (),
) -> Ranking:
    """Normalise and add the components of all candidates that have them.

    Parameters
    ----------
    candidates : sequence of CandidateResult
        One per candidate.

    normalization : {"minmax", "zscore", "rank", "absolute"}
        How the components are normalised.

    weights : dict of str to float, default=None
        Weights of the components, 1 where not named.

    error_score : float, default=nan
        What a failed candidate shows as its score.

    baseline : dict of str to float, default=None
        What `check_baseline` returned.

    prior : dict of str to float, default=None
        What `check_prior` returned.

    published : dict of str to float, default=None
        Published ImageNet accuracies. They are no part of the scores; a note says which
        candidate would be first with them.

    notes : sequence of str, default=()
        Notes of the ranking, before those of its candidates.

    Returns
    -------
    ranking : Ranking
        The ranking.

    Raises
    ------
    ValueError
        If all candidates failed, or `weights` has an unknown name.
    """
    report_failures(candidates)
    scored = [candidate for candidate in candidates if candidate.failure is None]
    components = _aligned([candidate.components for candidate in candidates])
    if prior is not None:
        components = _with_prior(components, candidates, prior)
    weights = check_weights(weights, components.names)
    sources = components.of(normalization)
    total, normalized, constant = summed(sources, normalization, weights)
    _report_constant(constant, len(scored))
    failed = np.array([candidate.failure is not None for candidate in candidates])
    columns = {
        "model": _texts(candidate.name for candidate in candidates),
        "rank": np.zeros(len(candidates), dtype=int),
        "score": np.where(failed, float(error_score), total),
    }
    resamples = None
    if scored[0].resamples is not None:
        drawn = _aligned([candidate.resamples for candidate in candidates], axis=1)
        if prior is not None:
            drawn = _with_prior(drawn, candidates, prior)
        resamples, replications = resampled_scores(
            drawn.of(normalization), sources, normalization, weights
        )
        columns |= describe_resamples(total, resamples, replications, normalization)
    columns |= components.raw
    columns |= {f"normalized_{name}": values for name, values in normalized.items()}
    if prior is not None:
        columns["prior_imputed"] = np.isnan(components.raw[PRIOR]) & ~failed
    columns |= _facts_columns(candidates)
    additional = list(scored[0].additional)
    for name in additional:
        columns |= _additional_columns(candidates, name, normalization, weights)
    _report_missing(columns, additional)
    if baseline is not None:
        additional.append("baseline")
        columns |= _baseline_columns(candidates, baseline)
    columns["error"] = _texts(candidate.error for candidate in candidates)
    columns["traceback"] = _texts(candidate.traceback for candidate in candidates)
    notes = [*notes, *(note for candidate in scored for note in candidate.notes)]
    if len(scored) == 1:
        notes.append(_note_on_one(scored[0], len(candidates), normalization, weights))
    if published:
        names = [candidate.name for candidate in candidates]
        notes += published_notes(published, names, sources, normalization, weights)
    return Ranking(
        columns,
        normalization=normalization,
        weights=weights,
        resamples=resamples,
        scorers=additional,
        # Candidates of one width have the same note.
        notes=list(dict.fromkeys(notes)),
    )


def _note_on_one(
    candidate: CandidateResult, n_candidates: int, normalization: str, weights: Mapping[str, float]
) -> str:
    """Say that the only candidate with a score is compared with nothing, and what it has."""
    what = "candidate" if n_candidates == 1 else "candidate with a score"
    text = f"{candidate.name} is the only {what}, and there is nothing to compare it with. "
    if normalization == "absolute":
        text += "Its score is absolute: it needs no other candidate."
    else:
        measured = candidate.components
        parts = measured.absolute if isinstance(measured, Components) else {}
        score = sum(weights[name] * value for name, value in parts.items())
        text += (
            f"Its score is 0 whatever its features are; its absolute score is {score:.2f} "
            "(normalization='absolute')."
        )
    return f"{text} Rank it with other candidates to see which is better."


def _aligned(found: Sequence[Components | Failure | None], axis: int = 0) -> Components:
    """Stack components of all candidates along an axis, NaN for those that have none."""
    known = next(item for item in found if isinstance(item, Components))
    missing = {name: np.full_like(value, np.nan, dtype=float) for name, value in known.raw.items()}
    items = [item if isinstance(item, Components) else Components(missing) for item in found]
    return Components.stack(items, axis=axis)


def _with_prior(
    components: Components, candidates: Sequence[CandidateResult], prior: Mapping[str, float]
) -> Components:
    """Components with the prior of the candidates along their last axis."""
    known = np.array(
        [prior.get(c.name, np.nan) if c.failure is None else np.nan for c in candidates]
    )
    shape = np.shape(next(iter(components.raw.values())))
    column = {PRIOR: np.broadcast_to(known, shape)}
    return Components({**components.raw, **column}, {**components.absolute, **column})


def _texts(texts: Iterable[str]) -> np.ndarray:
    return np.array(list(texts), dtype=object)


def _facts_columns(candidates: Sequence[CandidateResult]) -> dict[str, np.ndarray]:
    """Columns of the candidates' facts."""
    facts = [candidate.facts for candidate in candidates]
    of_texts = {
        "texts_per_second": np.array([of.texts_per_second for of in facts]),
        "tokens_per_second": np.array([of.tokens_per_second for of in facts]),
        "n_truncated": np.array([of.n_truncated for of in facts], dtype=float),
    }
    return {
        "n_features": np.array([candidate.n_features for candidate in candidates]),
        "shrinkage": np.array([candidate.shrinkage for candidate in candidates]),
        "extract_time": np.array([of.extract_time for of in facts]),
        "score_time": np.array([candidate.score_time for candidate in candidates]),
        "images_per_second": np.array([of.images_per_second for of in facts]),
        "decode_time": np.array([of.decode_time for of in facts]),
        "device_time": np.array([of.device_time for of in facts]),
        "n_parameters": np.array([of.n_parameters for of in facts]),
        "license": _texts(of.license for of in facts),
        # Columns that rankings of images and of feature matrices do without.
        **(of_texts if np.isfinite(list(of_texts.values())).any() else {}),
    }


def _additional_columns(
    candidates: Sequence[CandidateResult],
    name: str,
    normalization: str,
    weights: Mapping[str, float],
) -> dict[str, np.ndarray]:
    """Columns of an additional scorer: its values, their ranks, and errors."""
    found = [candidate.additional.get(name) for candidate in candidates]
    values = np.full(len(candidates), np.nan)
    if any(isinstance(item, Components) for item in found):
        parts = _aligned(found).of(normalization)
        if len(parts) > 1:
            # Several components are comparable only after what the ranking does with its own.
            own = {part: weights.get(part, 1.0) for part in parts}
            values = summed(parts, normalization, own)[0]
        else:
            (values,) = parts.values()
    errors = _texts(item.error if isinstance(item, Failure) else "" for item in found)
    return {name: values, f"{name}_rank": ranks(values), f"{name}_error": errors}


def _baseline_columns(
    candidates: Sequence[CandidateResult], baseline: Mapping[str, float]
) -> dict[str, np.ndarray]:
    """Columns of the numbers that are compared with the scores."""
    known = np.array([baseline.get(candidate.name, np.nan) for candidate in candidates])
    return {"baseline": known, "baseline_rank": ranks(known)}


def _report_constant(constant: list[str], n_scored: int) -> None:
    """Warn of components that do not vary over the candidates."""
    if constant and n_scored > 1:
        warnings.warn(
            f"The components {constant} do not vary over the {n_scored} candidates (by more than "
            f"{EQUAL_SHARE:g} of their size, which is rounding) and add 0 to each of them; the "
            "order rests on the others.",
            UserWarning,
            stacklevel=find_stack_level(),
        )


def report_failures(
    candidates: Sequence[CandidateResult],
    outcome: str = "and are ranked last; the others are ranked",
) -> None:
    """Warn once about all failures, equal errors together; raise if nothing is left.

    `outcome` says what failed candidates are to the caller.
    """
    failed = {c.name: c.failure for c in candidates if c.failure is not None}
    if not failed:
        return
    lines = _of_failures(failed)
    if len(failed) == len(candidates):
        wrong_type = all(failure.is_type_error for failure in failed.values())
        error = AllFailedTypeError if wrong_type else AllFailedError
        tracebacks = dict.fromkeys(failure.traceback for failure in failed.values())
        raise error(f"All {len(candidates)} candidates failed. {' '.join(lines)}", [*tracebacks])
    lines.append("The column 'traceback' of the results says where.")
    warnings.warn(
        "\n".join([f"{len(failed)} of {len(candidates)} candidates failed {outcome}.", *lines]),
        FitFailedWarning,
        stacklevel=find_stack_level(),
    )


def _of_failures(failed: Mapping[str, Failure]) -> list[str]:
    """Return a line for each error, without its traceback, and one for those that are many."""
    names: dict[str, list[str]] = {}
    for name, failure in failed.items():
        error = _first_line(failure.error).rstrip(".")
        # Errors that differ by the name alone have one cause.
        names.setdefault(error.replace(repr(name), "the candidate"), []).append(name)
    lines = [
        f"{len(of_error)} candidate(s) ({_first_of(of_error)}) failed with: {error}."
        for error, of_error in list(names.items())[:_SHOWN]
    ]
    more = [name for of_error in list(names.values())[_SHOWN:] for name in of_error]
    return lines + ([f"{len(more)} more failed with other errors."] if more else [])


def _first_line(error: str) -> str:
    return error.partition("\n")[0]


def _first_of(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _report_missing(columns: Mapping[str, np.ndarray], additional: Iterable[str]) -> None:
    """Warn once about the values that additional scorers do not have."""
    errors = {name: [*filter(None, columns[f"{name}_error"])] for name in additional}
    parts = [
        f"{name} for {len(found)} candidate(s), first {_first_line(found[0])}"
        for name, found in errors.items()
        if found
    ]
    if parts:
        warnings.warn(
            f"Some values of additional scorers are missing: {'; '.join(parts)}",
            FitFailedWarning,
            stacklevel=find_stack_level(),
        )
