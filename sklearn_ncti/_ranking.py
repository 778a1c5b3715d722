"""Floor 4: from the components of many candidates to a Ranking; the GridSearchCV glue."""

import html
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.utils.validation import _check_y, _num_samples

from ._base import COMPONENTS, encode_labels
from ._discriminant import SHRINKAGE_FLOOR
from ._display import RankingDisplay
from ._optional import import_optional
from ._scorer import NCTIScorer

if TYPE_CHECKING:
    import pandas

NORMALIZATIONS = ("minmax", "zscore", "rank", "absolute")

# The paper scales the variability to [-1, 0] and the other two to [0, 1]. The shift is the
# same for all candidates and so never changes the order.
_MINMAX_SHIFT = {"vc": -1.0}

# A spread this small beside the values themselves is rounding, not a difference.
_NO_SPREAD = 1e-9


class Ranking:
    """Candidates ordered by the sum of their normalised components.

    Made by :func:`rank_features`, by :class:`~sklearn_ncti.ModelSelector` or by
    :meth:`Ranking.from_scores`. Prints as a table, best candidate first.

    Parameters
    ----------
    results : dict of str to array-like of shape (n_candidates,)
        One entry per column, candidates in the order given. Needs "model" and "score".
        "error", where given, is the empty string for a candidate that has a score.

    normalization : str, default=None
        How the components were normalised.

    weights : dict of str to float, default=None
        Weight of each component in the sum.

    Attributes
    ----------
    results : dict of str to ndarray of shape (n_candidates,)
        The columns, in the order in which the candidates were given, in the manner of
        scikit-learn's ``cv_results_``.

    normalization : str or None
        How the components were normalised.

    weights : dict of str to float
        Weight of each component in the sum; empty where only totals are known.

    Examples
    --------
    >>> from sklearn_ncti import Ranking
    >>> ranking = Ranking.from_scores({"small": 0.1, "large": 1.7, "medium": 0.9})
    >>> ranking.best
    'large'
    >>> print(ranking)
    rank  model   score
       1  large   1.700
       2  medium  0.900
       3  small   0.100
    """

    def __init__(
        self,
        results: Mapping[str, ArrayLike],
        *,
        normalization: str | None = None,
        weights: Mapping[str, float] | None = None,
    ):
        self.results = {name: np.asarray(column) for name, column in results.items()}
        self.normalization = normalization
        self.weights = dict(weights or {})
        no_errors = np.full(len(self.results["model"]), "", dtype=object)
        failed = self.results.setdefault("error", no_errors) != ""
        score = np.where(failed, -np.inf, self.results["score"])
        # A stable sort keeps candidates of equal score in the order in which they came.
        self._order = np.argsort(-score, kind="stable")
        self.results["rank"] = np.array([1 + int((score > s).sum()) for s in score])

    @classmethod
    def from_scores(cls, scores: Mapping[str, float]) -> Self:
        """Ranking of totals that are known already, for example published ones.

        Parameters
        ----------
        scores : dict of str to float
            Total of each candidate; larger is better.

        Returns
        -------
        ranking : Ranking
            A ranking without components.

        Raises
        ------
        ValueError
            If `scores` is empty or has a value that is not finite.
        """
        values = _finite_values(scores, "scores")
        models = np.array(list(values), dtype=object)
        return cls({"model": models, "score": list(values.values())})

    @property
    def names(self) -> list[str]:
        """Names of the candidates, best first, failed ones last."""
        return [str(name) for name in self.results["model"][self._order]]

    @property
    def best(self) -> str:
        """Name of the candidate with the largest score."""
        return self.names[0]

    @property
    def best_index(self) -> int:
        """Position of the best candidate in the order given."""
        return int(self._order[0])

    @property
    def scores(self) -> dict[str, float]:
        """Summed normalised score by name, best first; larger is better."""
        return dict(zip(self.names, self.results["score"][self._order].tolist(), strict=True))

    def __len__(self) -> int:
        return len(self._order)

    def agreement(self, accuracies: Mapping[str, float]) -> dict[str, float]:
        """How well the ranking agrees with accuracies that fine-tuning really gave.

        Parameters
        ----------
        accuracies : dict of str to float
            Accuracy by name, larger is better, in any unit. Candidates without one are left
            out.

        Returns
        -------
        agreement : dict of str to float
            ``weighted_kendall_tau`` (hyperbolic weights: the top counts most),
            ``kendall_tau`` and ``spearman_rho``, all in [-1, 1], larger is better, NaN where
            all scores or all accuracies are equal; ``regret_at_1`` and ``regret_at_3``, the
            accuracy that is given up by fine-tuning only the first, or the first three, of
            the ranking, in the unit of `accuracies`, smaller is better; and ``n_models``,
            the candidates that were compared.

        Raises
        ------
        ValueError
            If `accuracies` has an unknown name or a value that is not finite, or if fewer
            than two candidates have both a score and an accuracy.

        Examples
        --------
        >>> from sklearn_ncti import Ranking
        >>> ranking = Ranking.from_scores({"a": 1.2, "b": 0.7, "c": 0.1})
        >>> agreement = ranking.agreement({"a": 90.0, "b": 91.5, "c": 80.0})
        >>> round(agreement["kendall_tau"], 3), agreement["regret_at_1"]
        (0.333, 1.5)
        """
        from scipy.stats import kendalltau, spearmanr, weightedtau

        known = _finite_values(accuracies, "accuracies")
        unknown = sorted(set(known) - set(self.names))
        if unknown:
            raise ValueError(
                f"accuracies has names that were not ranked: {unknown}. "
                f"The ranked ones are {self.names}."
            )
        failed = set(self.results["model"][self.results["error"] != ""])
        ordered = [name for name in self.names if name in known and name not in failed]
        if len(ordered) < 2:
            raise ValueError(
                f"accuracies has {len(ordered)} of the candidates that have a score; at least "
                "2 are needed to compare two orders."
            )
        score = np.array([self.scores[name] for name in ordered])
        accuracy = np.array([known[name] for name in ordered])
        if np.ptp(score) == 0 or np.ptp(accuracy) == 0:
            taus = [np.nan] * 3
        else:
            taus = [f(score, accuracy).statistic for f in (weightedtau, kendalltau, spearmanr)]
        return {
            "weighted_kendall_tau": float(taus[0]),
            "kendall_tau": float(taus[1]),
            "spearman_rho": float(taus[2]),
            "regret_at_1": float(accuracy.max() - accuracy[0]),
            "regret_at_3": float(accuracy.max() - accuracy[:3].max()),
            "n_models": len(ordered),
        }

    def to_frame(self) -> "pandas.DataFrame":
        """Return the results as a pandas DataFrame, best candidate first.

        Returns
        -------
        frame : pandas.DataFrame
            One row per candidate, one column per entry of `results`, index "rank".

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        frames = import_optional("pandas", extra="all")
        columns = {name: column[self._order] for name, column in self.results.items()}
        return frames.DataFrame(columns).set_index("rank")

    def plot(self, ax: Any = None, *, kind: str = "components", **kwargs: Any) -> RankingDisplay:
        """Draw the ranking.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None for a new figure.

        kind : {"components"}, default="components"
            What to draw, see :meth:`RankingDisplay.plot`.

        **kwargs : dict
            Passed to :meth:`RankingDisplay.plot`.

        Returns
        -------
        display : RankingDisplay
            The display that was drawn.
        """
        return RankingDisplay.from_ranking(self).plot(ax=ax, kind=kind, **kwargs)

    def _table(
        self, beside: Mapping[str, Mapping[str, str]] | None = None
    ) -> tuple[list[str], list[list[str]], list[str]]:
        """Header, rows (best first) and notes of the printed table.

        `beside` has further columns, {header: {name: text}}.
        """
        beside = beside or {}
        results, components = self.results, list(self.weights)
        normalized = [f"normalized_{name}" for name in components]
        header = ["rank", "model", "score", *components, *(f"raw {c}" for c in components)]
        header += beside
        rows, notes = [], []
        for i in self._order:
            numbers = [results[name][i] for name in ("score", *normalized, *components)]
            rows.append(
                [
                    str(results["rank"][i]),
                    str(results["model"][i]),
                    *("-" if np.isnan(x) else f"{x:.3f}" for x in numbers),
                    *(column.get(results["model"][i], "-") for column in beside.values()),
                ]
            )
            if results["error"][i]:
                first_line = results["error"][i].splitlines()[0]
                notes.append(f"failed: {results['model'][i]}: {first_line}")
        if components:
            terms = (
                name if self.weights[name] == 1 else f"{self.weights[name]:g} {name}"
                for name in components
            )
            notes.insert(
                0,
                f"score = {' + '.join(terms)} ({self.normalization} over the candidates; "
                "larger is better)"
                if self.normalization != "absolute"
                else f"score = {' + '.join(terms)} (absolute; larger is better)",
            )
        return header, rows, notes

    def __str__(self) -> str:
        return self._text()

    __repr__ = __str__

    def _text(self, beside: Mapping[str, Mapping[str, str]] | None = None) -> str:
        """Return the table as aligned text."""
        header, rows, notes = self._table(beside)
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        lines = [
            # Only the names are words; everything else is a number and aligned as such.
            "  ".join(
                cell.ljust(width) if i == 1 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in [header, *rows]
        ]
        return "\n".join([*lines, *notes])

    def _repr_html_(self) -> str:
        header, rows, notes = self._table()

        def line(cells, tag):
            return "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells) + "</tr>"

        body = "".join(line(row, "td") for row in rows)
        foot = "".join(f"<p>{html.escape(note)}</p>" for note in notes)
        return f"<table><thead>{line(header, 'th')}</thead><tbody>{body}</tbody></table>{foot}"


def rank_features(
    features: Mapping[str, ArrayLike],
    labels: ArrayLike,
    *,
    normalization: str = "minmax",
    weights: Mapping[str, float] | None = None,
    scorer: Any = None,
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
        Weight of components in the sum, by name ("seli", "ncc", "vc"); 1 for those that are
        not named.

    scorer : estimator, default=None
        What scores a feature matrix: an estimator with ``fit(X, y)`` and ``score()``, which
        is cloned for every candidate. None for ``NCTIScorer()``.

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
        parameter is out of bounds, or no candidate can be scored.

    Warns
    -----
    UserWarning
        If a component does not vary over the candidates (it then adds 0 to all), or if the
        shrinkage was at its floor for some candidates and above it for others, whose
        "seli" are not on one scale.

    FitFailedWarning
        If a candidate could not be scored.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ncti import rank_features
    >>> X, y = load_digits(return_X_y=True)
    >>> ranking = rank_features({"all pixels": X, "upper half": X[:, :32]}, y)
    >>> print(ranking)
    rank  model        score   seli    ncc      vc  raw seli  raw ncc  raw vc
       1  all pixels   2.000  1.000  1.000   0.000   727.098    0.961  -5.107
       2  upper half  -1.000  0.000  0.000  -1.000   564.327    0.810  -5.320
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
    labels = check_labels(labels)
    for name, X in features.items():
        if _num_samples(X) != len(labels):
            raise ValueError(
                f"features[{name!r}] has {_num_samples(X)} rows, but labels has "
                f"{len(labels)}: all candidates must be scored on the same rows."
            )
    check_normalization(normalization)
    scorer = check_scorer(scorer)
    check_weights(weights, component_names(scorer))
    records = [
        {"model": name, **attempt(score_features, X, labels, scorer)}
        for name, X in features.items()
    ]
    return rank_records(records, normalization=normalization, weights=weights)


def check_labels(labels: ArrayLike) -> np.ndarray:
    """Return `labels` as a vector of at least two classes, or raise a ValueError."""
    labels = _check_y(labels)
    encode_labels(labels)
    return labels


def check_normalization(normalization: str) -> None:
    """Raise a ValueError unless `normalization` is a known one."""
    if normalization not in NORMALIZATIONS:
        raise ValueError(
            f"normalization must be one of {list(NORMALIZATIONS)}, got {normalization!r}."
        )


def check_scorer(scorer: Any) -> Any:
    """Return an estimator with ``fit(X, y)`` and ``score()``, NCTIScorer() for None."""
    if scorer is None:
        return NCTIScorer()
    if not (hasattr(scorer, "fit") and hasattr(scorer, "score")):
        raise TypeError(f"scorer must have fit(X, y) and score(), got {scorer!r}.")
    needed = [
        name
        for name, parameter in signature(scorer.score).parameters.items()
        if parameter.default is Parameter.empty
        and parameter.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    ]
    if needed:
        raise TypeError(
            f"scorer must have a score() that works without arguments on the fitted rows; "
            f"{type(scorer).__name__}.score needs {needed}. Use NCTIScorer, one of its "
            "components, or an estimator with the same contract."
        )
    return scorer


def component_names(scorer: Any) -> tuple[str, ...]:
    """Names of the components that a scorer will give."""
    return COMPONENTS if isinstance(scorer, NCTIScorer) else (type(scorer).__name__.lower(),)


def check_weights(weights: Mapping[str, float] | None, names: Sequence[str]) -> dict[str, float]:
    """Return the weight of every component in `names`, 1 where `weights` names none."""
    given = {} if weights is None else _finite_values(weights, "weights")
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise ValueError(f"weights has unknown components {unknown}; known are {list(names)}.")
    out = {name: given.get(name, 1.0) for name in names}
    if min(out.values()) < 0 or max(out.values()) == 0:
        raise ValueError(f"weights must be at least 0 and not all 0, got {out}.")
    return out


def attempt(function, *args) -> dict[str, Any]:
    """Call `function`, which returns a record; a failure becomes a record of its error."""
    try:
        return {"error": "", **function(*args)}
    except Exception as exc:
        return {
            "error": f"{type(exc).__name__}: {exc}",
            "error_type": type(exc),
            "traceback": traceback.format_exc(),
        }


def score_features(X: ArrayLike, y: np.ndarray, scorer: Any) -> dict[str, Any]:
    """Score one feature matrix and return the record that `rank_records` takes."""
    start = time.perf_counter()
    fitted = clone(scorer).fit(X, y)
    if isinstance(fitted, NCTIScorer):
        raw = fitted.component_scores()
        absolute = fitted.component_scores(absolute=True)
    else:
        (name,) = component_names(fitted)
        raw = absolute = {name: float(fitted.score())}
    score_time = time.perf_counter() - start
    for name, value in raw.items():
        if not np.isfinite(value):
            raise ValueError(f"component {name} is {value}.")
    return {
        "raw": raw,
        "absolute": absolute,
        "n_features": np.shape(X)[1],
        "shrinkage": getattr(fitted, "shrinkage_", np.nan),
        "score_time": score_time,
    }


def rank_records(
    records: list[dict[str, Any]],
    *,
    normalization: str,
    weights: Mapping[str, float] | None = None,
    error_score: float = np.nan,
) -> Ranking:
    """Normalise and add the components of all candidates that have them.

    Parameters
    ----------
    records : list of dict
        One per candidate: "model", and what `attempt` returned.

    normalization : {"minmax", "zscore", "rank", "absolute"}
        How the components are normalised.

    weights : dict of str to float, default=None
        Weights of the components, 1 where not named.

    error_score : float, default=nan
        What a failed candidate shows as its score.

    Returns
    -------
    ranking : Ranking
        The ranking.

    Raises
    ------
    ValueError
        If all candidates failed, or `weights` has an unknown name.
    """
    scored = [record for record in records if not record["error"]]
    _report_failures(records)
    names = list(scored[0]["raw"])
    weights = check_weights(weights, names)

    def column(value, default=np.nan):
        return np.array([default if r["error"] else value(r) for r in records])

    results: dict[str, np.ndarray] = {
        "model": np.array([r["model"] for r in records], dtype=object),
        "rank": np.zeros(len(records), dtype=int),
        "score": np.full(len(records), float(error_score)),
    }
    source = "absolute" if normalization == "absolute" else "raw"
    raw = {name: column(lambda r, name=name: r["raw"][name]) for name in names}
    normalized, idle = {}, []
    for name in names:
        values = column(lambda r, name=name: r[source][name])
        if normalization != "absolute":
            values, varies = normalize(values, normalization, name)
            idle += [] if varies or len(scored) == 1 else [name]
        normalized[name] = values
    if idle:
        warnings.warn(
            f"The components {idle} do not vary over the {len(scored)} candidates and add 0 to "
            "each of them; the order rests on the others.",
            UserWarning,
            stacklevel=3,
        )
    results |= raw | {f"normalized_{name}": values for name, values in normalized.items()}
    ok = np.array([not r["error"] for r in records])
    total = sum(weights[name] * normalized[name] for name in names)
    results["score"][ok] = total[ok]
    results["n_features"] = column(lambda r: r["n_features"])
    results["shrinkage"] = column(lambda r: r["shrinkage"])
    for name in (
        "extract_time",
        "score_time",
        "images_per_second",
        "decode_time",
        "device_time",
        "n_parameters",
    ):
        results[name] = column(lambda r, name=name: r.get(name, np.nan))
    results["license"] = np.array([r.get("license", "") for r in records], dtype=object)
    results["error"] = np.array([r["error"] for r in records], dtype=object)

    at_floor = results["shrinkage"][ok] <= SHRINKAGE_FLOOR
    if at_floor.any() and (~at_floor).any() and normalization != "absolute":
        warnings.warn(
            "The candidates took different branches of the shrinkage rule: "
            f"{at_floor.sum()} of {len(at_floor)} have features of so large a scale that their "
            "scatter is not shrunk, the others have not, and their seli are not on one scale. "
            "Score all with one value, such as NCTIScorer(shrinkage=0.1), or use "
            'normalization="absolute".',
            UserWarning,
            stacklevel=3,
        )
    return Ranking(results, normalization=normalization, weights=weights)


def normalize(values: np.ndarray, normalization: str, name: str) -> tuple[np.ndarray, bool]:
    """Normalise one component over the candidates; NaN marks those that have none.

    Parameters
    ----------
    values : ndarray of shape (n_candidates,)
        Raw values; larger is better.

    normalization : {"minmax", "zscore", "rank"}
        The rule.

    name : str
        Name of the component; "vc" goes to [-1, 0] where others go to [0, 1].

    Returns
    -------
    normalized : ndarray of shape (n_candidates,)
        Zero for all where the component does not vary.

    varies : bool
        Whether it does.
    """
    ok = np.isfinite(values)
    out = np.full(len(values), np.nan)
    valid = values[ok]
    spread = np.ptp(valid)
    if spread <= _NO_SPREAD * np.abs(valid).max():
        out[ok] = 0.0
        return out, False
    if normalization == "zscore":
        out[ok] = (valid - valid.mean()) / valid.std()
        return out, True
    if normalization == "rank":
        # Mean of the ranks that ties share.
        valid = (valid[:, None] > valid).sum(axis=1) + (valid[:, None] >= valid).sum(axis=1)
        spread = np.ptp(valid)
    out[ok] = (valid - valid.min()) / spread + _MINMAX_SHIFT.get(name, 0.0)
    return out, True


def ncti_scoring(estimator: Any, X: Any, y: ArrayLike) -> dict[str, float]:
    """Components of a fitted pipeline that ends in NCTIScorer, for ``GridSearchCV``.

    To be given as ``scoring``, together with ``refit=ncti_refit``. The features are computed
    once for all components.

    Parameters
    ----------
    estimator : Pipeline or NCTIScorer
        A fitted pipeline whose last step is an :class:`NCTIScorer`, or that step alone.

    X : array-like
        Rows to score, as the first step of the pipeline takes them.

    y : array-like of shape (n_samples,)
        Their classes.

    Returns
    -------
    components : dict of str to float
        "seli", "ncc" and "vc", and "score", the score that needs no other candidate. Larger
        is better for each.

    Raises
    ------
    TypeError
        If the last step is no NCTIScorer.

    See Also
    --------
    ncti_refit : Picks the candidate with the largest summed normalised score.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn.pipeline import Pipeline
    >>> from sklearn_ncti import NCTIScorer, ncti_refit, ncti_scoring
    >>> X, y = load_digits(return_X_y=True)
    >>> search = GridSearchCV(
    ...     Pipeline([("backbone", PCA()), ("ncti", NCTIScorer())]),
    ...     {"backbone__n_components": [2, 8, 32]},
    ...     scoring=ncti_scoring,
    ...     refit=ncti_refit,
    ...     cv=3,
    ... )
    >>> search.fit(X, y).best_params_
    {'backbone__n_components': 32}
    """
    steps = getattr(estimator, "steps", None)
    scorer = estimator if steps is None else estimator[-1]
    if not isinstance(scorer, NCTIScorer):
        raise TypeError(
            f"estimator must end in an NCTIScorer, got {type(scorer).__name__}: use "
            "Pipeline([..., ('ncti', NCTIScorer())])."
        )
    features = X if steps is None or len(steps) == 1 else estimator[:-1].transform(X)
    raw, absolute = scorer._measure_rows(features, y)
    return {**raw, "score": sum(absolute.values())}


def ncti_refit(
    cv_results: Mapping[str, ArrayLike],
    *,
    normalization: str = "minmax",
    weights: Mapping[str, float] | None = None,
) -> int:
    """Index of the candidate with the largest summed normalised score, for ``GridSearchCV``.

    To be given as ``refit``, together with ``scoring=ncti_scoring``. The mean of each
    component over the splits is normalised over the candidates, and the sum decides.

    Parameters
    ----------
    cv_results : dict of str to array-like of shape (n_candidates,)
        The ``cv_results_`` of a search that was scored with :func:`ncti_scoring`.

    normalization : {"minmax", "zscore", "rank"}, default="minmax"
        As in :func:`rank_features`; change it with :func:`functools.partial`. The sum of
        the absolute parts needs no callable: it is ``refit="score"``.

    weights : dict of str to float, default=None
        As in :func:`rank_features`.

    Returns
    -------
    best_index : int
        Position of the best candidate. One whose fit or score failed is never the best.

    Raises
    ------
    ValueError
        If the results were not scored with :func:`ncti_scoring`, or all candidates failed.
    """
    allowed = tuple(name for name in NORMALIZATIONS if name != "absolute")
    if normalization not in allowed:
        raise ValueError(f"normalization must be one of {list(allowed)}, got {normalization!r}.")
    columns = {name: cv_results.get(f"mean_test_{name}") for name in COMPONENTS}
    if any(column is None for column in columns.values()):
        raise ValueError(
            "cv_results has no mean_test_seli, mean_test_ncc and mean_test_vc: pass "
            "scoring=ncti_scoring together with refit=ncti_refit."
        )
    weights = check_weights(weights, COMPONENTS)
    values = np.array([columns[name] for name in COMPONENTS], dtype=float)
    ok = np.isfinite(values).all(axis=0)
    if not ok.any():
        raise ValueError("All candidates of the search failed: there is none to refit.")
    values[:, ~ok] = np.nan
    total = sum(
        weights[name] * normalize(row, normalization, name)[0]
        for name, row in zip(COMPONENTS, values, strict=True)
    )
    return int(np.nanargmax(total))


def _finite_values(mapping, argument: str) -> dict[str, float]:
    """`mapping` as a non-empty dict of finite floats, or an error that names `argument`."""
    if not isinstance(mapping, Mapping):
        raise TypeError(
            f"{argument} must be a dict of name to number, got {type(mapping).__name__}."
        )
    if not mapping:
        raise ValueError(f"{argument} is empty.")
    for name, value in mapping.items():
        if not np.isfinite(value):
            raise ValueError(f"{argument}[{name!r}] is {value}; it must be a finite number.")
    return {name: float(value) for name, value in mapping.items()}


def _report_failures(records) -> None:
    """Warn once about all failures, equal tracebacks together; raise if nothing is left."""
    failed = [record for record in records if record["error"]]
    if not failed:
        return
    details = "\n".join(
        f"{count} candidate(s) ({_listed(failed, text)}) failed with:\n{text}"
        for text, count in Counter(record["traceback"] for record in failed).items()
    )
    if len(failed) == len(records):
        wrong_type = all(issubclass(record["error_type"], TypeError) for record in failed)
        error = TypeError if wrong_type else ValueError
        raise error(f"All {len(records)} candidates failed.\n{details}")
    warnings.warn(
        f"{len(failed)} of {len(records)} candidates failed and are ranked last; the others "
        f"are ranked.\n{details}",
        FitFailedWarning,
        stacklevel=4,
    )


def _listed(failed, text) -> str:
    return ", ".join(record["model"] for record in failed if record["traceback"] == text)
