"""From the components of many candidates to a Ranking."""

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import FitFailedWarning
from sklearn.utils.validation import _num_samples

from .._scoring.agreement import order_agreement, regret
from .._scoring.bootstrap import check_resampling, describe_resamples, resampled_scores
from .._scoring.normalization import (
    EQUAL_SHARE,
    check_normalization,
    check_weights,
    finite_values,
    merge_equal,
    summed,
)
from .._scoring.scoring import (
    attempt,
    check_labels,
    check_scorers,
    component_names,
    score_features,
)
from .._utils.optional import import_optional
from .display import RankingDisplay
from .table import as_html, as_text

if TYPE_CHECKING:
    import pandas


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

    resamples : array-like of shape (n_resamples, n_candidates), default=None
        Score of each candidate in every resample of the rows.

    scorers : sequence of str, default=()
        Columns of `results` that are scores as well, and are shown beside the first.

    notes : sequence of str, default=()
        What a reader of the ranking must know, shown below the table and in the report.

    Attributes
    ----------
    results : dict of str to ndarray of shape (n_candidates,)
        The columns, in the order in which the candidates were given, in the manner of
        scikit-learn's ``cv_results_``.

    normalization : str or None
        How the components were normalised.

    weights : dict of str to float
        Weight of each component in the sum; empty where only totals are known.

    resamples : ndarray of shape (n_resamples, n_candidates) or None
        Score of each candidate in every resample of the rows, candidates in the order given.

    scorers : list of str
        Scores that are shown beside the first, as columns of `results`.

    notes : list of str
        What a reader of the ranking must know, for example that the rows are few.

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
        resamples: ArrayLike | None = None,
        scorers: Sequence[str] = (),
        notes: Sequence[str] = (),
    ):
        self.results = {name: np.asarray(column) for name, column in results.items()}
        self.normalization = normalization
        self.weights = dict(weights or {})
        self.resamples = None if resamples is None else np.asarray(resamples)
        self.scorers = list(scorers)
        self.notes = list(notes)
        no_errors = np.full(len(self.results["model"]), "", dtype=object)
        failed = self.results.setdefault("error", no_errors) != ""
        score = merge_equal(np.where(failed, -np.inf, self.results["score"]))
        # A stable sort keeps candidates of equal score in the order in which they came.
        self._order = np.argsort(-score, kind="stable")
        self.results["rank"] = _ranks(score)

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
        values = finite_values(scores, "scores")
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
        known = finite_values(accuracies, "accuracies")
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
        return {
            **order_agreement(score, accuracy),
            "regret_at_1": regret(score, accuracy, 1),
            "regret_at_3": regret(score, accuracy, 3),
            "n_models": len(ordered),
        }

    def leave_one_out(self) -> dict[str, np.ndarray]:
        """Rank the others without each candidate in turn.

        Where components are normalised over the pool of candidates, one that is far from
        first can decide which one is.

        Returns
        -------
        without : dict of str to ndarray of shape (n_candidates,)
            One entry for each candidate that has a score, best first: ``left_out``; the
            ``names`` of the others in their order without it; the ``best`` of them;
            ``best_before``, the first of them in the whole ranking; ``best_changes``, whether
            another now has the larger score; and ``order_changes``, whether any two of them
            have changed places.

        Raises
        ------
        ValueError
            If the ranking has totals only.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_digits
        >>> from sklearn_ncti import rank_features
        >>> X, y = load_digits(return_X_y=True)
        >>> pool = {"all": X, "left": X[:, 0::8] + X[:, 1::8], "upper half": X[:, :32]}
        >>> without = rank_features(pool, y).leave_one_out()
        >>> for left_out, names in zip(without["left_out"], without["names"]):
        ...     print(f"{left_out:10} {names}")
        all        ['upper half', 'left']
        upper half ['all', 'left']
        left       ['all', 'upper half']
        >>> bool(without["order_changes"].any())
        False
        """
        scored = [i for i in self._order if not self.results["error"][i]]
        models, score = self.results["model"][scored], merge_equal(self.results["score"][scored])
        columns = {
            name: np.empty(len(scored), dtype=object)
            for name in ("left_out", "names", "best", "best_before")
        } | {name: np.zeros(len(scored), dtype=bool) for name in ("best_changes", "order_changes")}
        columns["left_out"][:] = models
        for i in range(len(scored)):
            rest = np.delete(np.arange(len(scored)), i)
            if len(rest) == 0:
                columns["names"][i] = []
                continue
            total = self._rescored(np.take(scored, rest), self.weights)
            # Best first before; what comes later and is larger now has changed places.
            before = score[rest]
            starts = np.searchsorted(-before, -before)
            least = np.concatenate([[np.inf], np.minimum.accumulate(total)])[starts]
            columns["names"][i] = [
                str(name) for name in models[rest][np.argsort(-total, kind="stable")]
            ]
            columns["best"][i] = columns["names"][i][0]
            columns["best_before"][i] = str(models[rest][0])
            columns["best_changes"][i] = total.max() > total[starts == 0].max()
            columns["order_changes"][i] = (total > least).any()
        return columns

    def ablation(self) -> dict[str, np.ndarray]:
        """Rank by each subset of the components.

        Returns
        -------
        subsets : dict of str to ndarray of shape (n_subsets,)
            One entry for each subset, the smallest first: ``components``, as in
            ``"seli + ncc"``; the ``names`` of the candidates in the order of that sum, and the
            ``best``; and ``weighted_kendall_tau``, ``kendall_tau`` and ``spearman_rho`` with the
            whole sum. Components whose weight is 0 are left out, the others keep theirs.

        Raises
        ------
        ValueError
            If the ranking has totals only.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn_ncti import rank_features
        >>> X, y = load_digits(return_X_y=True)
        >>> pool = {"all": X, "left": X[:, 0::8] + X[:, 1::8], "upper half": X[:, :32]}
        >>> subsets = rank_features(pool, y).ablation()
        >>> for components, best in zip(subsets["components"], subsets["best"]):
        ...     print(f"{components:16} {best}")
        seli             all
        ncc              all
        vc               left
        seli + ncc       all
        seli + vc        all
        ncc + vc         all
        seli + ncc + vc  all
        """
        scored = np.array([i for i in self._order if not self.results["error"][i]])
        models, score = self.results["model"][scored], self.results["score"][scored]
        used = [name for name, weight in self.weights.items() if weight > 0]
        rows = []
        for size in range(1, len(used) + 1):
            for subset in combinations(used, size):
                kept = {name: self.weights[name] for name in subset}
                total = self._rescored(scored, kept)
                names = [str(name) for name in models[np.argsort(-total, kind="stable")]]
                rows.append(
                    {
                        "components": " + ".join(subset),
                        "names": names,
                        "best": names[0],
                        **order_agreement(total, score),
                    }
                )
        if not rows:
            self._rescored(scored, self.weights)
        return _columns(rows)

    def _rescored(self, rows, weights) -> np.ndarray:
        """Sum of the components with these weights over a part of the candidates."""
        if not self.weights:
            raise ValueError(
                "This ranking has totals only: what they would be for other candidates or "
                "components is not known. Rank with rank_features or ModelSelector."
            )
        source = "normalized_" if self.normalization == "absolute" else ""
        parts = {name: self.results[source + name][rows] for name in weights}
        return summed(parts, self.normalization, weights)[0]

    def scorer_agreement(self) -> dict[str, np.ndarray]:
        """How far the orders agree that the scorers, and the baseline, give.

        Returns
        -------
        agreement : dict of str to ndarray of shape (n_pairs,)
            One entry for each pair: ``first`` and ``second``, names of columns of `results`;
            ``weighted_kendall_tau``, ``kendall_tau`` and ``spearman_rho``, NaN where one of
            them does not vary; and ``n_models``, the candidates that have both.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn.neighbors import KNeighborsClassifier
        >>> from sklearn_ncti import NCTIScorer, rank_features
        >>> X, y = load_digits(return_X_y=True)
        >>> pool = {"all": X, "left": X[:, 0::8] + X[:, 1::8], "upper half": X[:, :32]}
        >>> scorers = [NCTIScorer(), ("kNN", KNeighborsClassifier())]
        >>> agreement = rank_features(pool, y, scorer=scorers).scorer_agreement()
        >>> str(agreement["second"][0]), round(float(agreement["kendall_tau"][0]), 3)
        ('kNN', 1.0)
        """
        ok = self.results["error"] == ""
        rows = []
        for first, second in combinations(["score", *self.scorers], 2):
            a, b = self.results[first], self.results[second]
            both = ok & np.isfinite(a) & np.isfinite(b)
            rows.append(
                {
                    "first": first,
                    "second": second,
                    **order_agreement(a[both], b[both]),
                    "n_models": int(both.sum()),
                }
            )
        return _columns(rows)

    def pareto(self, cost: str | Mapping[str, float] = "images_per_second") -> list[str]:
        """Name the candidates that no other beats in both score and cost.

        Parameters
        ----------
        cost : str or dict of str to float, default="images_per_second"
            A column of `results`, or the cost of each candidate by its name. Smaller is better,
            but for "images_per_second", where larger is.

        Returns
        -------
        names : list of str
            Best score first. A candidate is left out if another is at least as good in both
            and better in one, or if it has no score or no cost.

        Raises
        ------
        ValueError
            If there is no such column of numbers, no candidate has a value there, or a name is
            unknown.

        Examples
        --------
        >>> from sklearn_ncti import Ranking
        >>> ranking = Ranking.from_scores({"small": 0.1, "large": 1.7, "slow": 0.9})
        >>> ranking.pareto({"small": 1.0, "large": 5.0, "slow": 9.0})
        ['large', 'small']
        """
        if isinstance(cost, str):
            values = self.results.get(cost)
            if values is None or values.dtype.kind not in "iuf" or cost in ("rank", "score"):
                known = [
                    name
                    for name in ("images_per_second", "n_parameters", "n_features")
                    if name in self.results
                ]
                raise ValueError(
                    f"cost must be a column of results that holds costs, such as one of {known}, "
                    f"or a dict of name to cost; got {cost!r}."
                )
            values = values if cost == "images_per_second" else -values
        else:
            known = finite_values(cost, "cost")
            unknown = sorted(set(known) - set(self.names))
            if unknown:
                raise ValueError(
                    f"cost has names that were not ranked: {unknown}. "
                    f"The ranked ones are {self.names}."
                )
            values = -np.array([known.get(name, np.nan) for name in self.results["model"]])
        ok = (self.results["error"] == "") & np.isfinite(values)
        if not ok.any():
            raise ValueError(
                f"cost={cost!r}: no candidate has both a score and that cost. Features in hand "
                'have no speed; use cost="n_features", or a dict of name to cost.'
            )
        order = [i for i in self._order if ok[i]]
        points = np.column_stack([merge_equal(self.results["score"]), merge_equal(values)])
        return [
            str(self.results["model"][i])
            for i in order
            if not any(
                (points[j] >= points[i]).all() and (points[j] > points[i]).any() for j in order
            )
        ]

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

    def plot(
        self,
        ax: Any = None,
        *,
        kind: str = "components",
        cost: str | Mapping[str, float] | None = None,
        accuracies: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> RankingDisplay:
        """Draw the ranking.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None for a new figure.

        kind : {"components", "pareto", "agreement"}, default="components"
            What to draw, see :meth:`RankingDisplay.plot`.

        cost : str or dict of str to float, default=None
            For ``kind="pareto"``, see :meth:`pareto`; None for "images_per_second".

        accuracies : dict of str to float, default=None
            For ``kind="agreement"``, see :meth:`agreement`.

        **kwargs : dict
            Passed to :meth:`RankingDisplay.plot`.

        Returns
        -------
        display : RankingDisplay
            The display that was drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.

        ValueError
            If `kind` is unknown or needs what was not given, or if `cost` or `accuracies` do
            not fit the ranking.
        """
        if kind == "pareto" and cost is None:
            cost = "images_per_second"
        display = RankingDisplay.from_ranking(self, cost=cost, accuracies=accuracies)
        return display.plot(ax=ax, kind=kind, **kwargs)

    def __str__(self) -> str:
        return self._text()

    __repr__ = __str__

    def _text(self, beside: Mapping[str, Mapping[str, str]] | None = None) -> str:
        """Return the table as aligned text."""
        return as_text(self, beside)

    def _repr_html_(self) -> str:
        return as_html(self)


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

    scorer : estimator, or list of estimators and (name, estimator) pairs, default=None
        What scores a feature matrix: an estimator with ``fit(X, y)`` and ``score()``, such as
        those of ``sklearn_ncti.companions``, or any classifier, which is scored by
        cross-validation over up to 5 stratified folds. It is cloned for every candidate. None
        for ``NCTIScorer()``. The first of a list ranks; the others are shown beside it, and
        where one of them fails, its value is missing.

    n_resamples : int, default=0
        Number of stratified bootstrap resamples, shared by all candidates, at most 100,000.
        Used for confidence intervals of scores and ranks, the probability of being the best,
        and groups of candidates that cannot be told apart. 0 disables resampling; 100 are
        enough for a first look. Where rows are few, NCTI and its components use a Bayesian
        bootstrap.

    random_state : int, RandomState instance or None, default=None
        Controls the bootstrap resampling. Pass an int for reproducible output across calls.

    baseline : dict of str to float, default=None
        A number by the name of the candidate, larger is better, that is shown beside the
        scores: for example published ImageNet accuracies. Names that are not candidates are
        ignored.

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
    scorer, others = check_scorers(scorer)
    check_weights(weights, component_names(scorer))
    baseline = check_baseline(baseline, features)
    resampling = check_resampling(n_resamples, random_state, scorer, labels)
    records = [
        {"model": name, **attempt(score_features, X, labels, scorer, others, resampling)}
        for name, X in features.items()
    ]
    return rank_records(records, normalization=normalization, weights=weights, baseline=baseline)


def check_baseline(
    baseline: Mapping[str, float] | None, names: Iterable[str]
) -> dict[str, float] | None:
    """Return the numbers of the candidates among a baseline, or raise a ValueError."""
    if baseline is None:
        return None
    given = finite_values(baseline, "baseline")
    known = {name: given[name] for name in names if name in given}
    if not known:
        raise ValueError(
            f"baseline has none of the candidates: it has {list(given)[:5]}, and they are "
            f"{list(names)[:5]}."
        )
    return known


def rank_records(
    records: list[dict[str, Any]],
    *,
    normalization: str,
    weights: Mapping[str, float] | None = None,
    error_score: float = np.nan,
    baseline: Mapping[str, float] | None = None,
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

    baseline : dict of str to float, default=None
        What `check_baseline` returned.

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
    sources = {name: column(lambda r, name=name: r[source][name]) for name in names}
    total, normalized, idle = summed(sources, normalization, weights)
    if idle and len(scored) > 1:
        warnings.warn(
            f"The components {idle} do not vary over the {len(scored)} candidates (by more than "
            f"{EQUAL_SHARE:g} of their size, which is rounding) and add 0 to each of them; the "
            "order rests on the others.",
            UserWarning,
            stacklevel=3,
        )
    ok = np.array([not r["error"] for r in records])
    results["score"][ok] = total[ok]
    resamples = None
    if scored[0]["resamples"] is not None:
        missing = np.full_like(scored[0]["resamples"][0][names[0]], np.nan)
        drawn = {
            name: np.column_stack(
                [
                    missing if r["error"] else r["resamples"][source == "absolute"][name]
                    for r in records
                ]
            )
            for name in names
        }
        resamples, replications = resampled_scores(drawn, sources, normalization, weights)
        results |= describe_resamples(total, resamples, replications)
    results |= raw | {f"normalized_{name}": values for name, values in normalized.items()}
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
    others = list(scored[0]["others"])
    for name in others:
        results |= _beside(records, name, normalization, weights)
    _report_missing(results, others)
    if baseline is not None:
        others.append("baseline")
        known = [baseline.get(r["model"], np.nan) for r in records]
        results["baseline"], results["baseline_rank"] = np.array(known), _ranks(np.array(known))
    results["error"] = np.array([r["error"] for r in records], dtype=object)
    return Ranking(
        results,
        normalization=normalization,
        weights=weights,
        resamples=resamples,
        scorers=others,
        # Candidates of one width have the same note.
        notes=dict.fromkeys(note for r in scored for note in r["notes"]),
    )


def _beside(records, name, normalization, weights) -> dict[str, np.ndarray]:
    """Columns of a scorer that does not rank: its values, their ranks, and errors."""
    found = [{"error": "", **({} if r["error"] else r["others"][name])} for r in records]
    values = np.full(len(records), np.nan)
    source = "absolute" if normalization == "absolute" else "raw"
    components = next((list(f[source]) for f in found if source in f), [])
    if len(components) > 1:
        # Several components are comparable only after what the ranking does with its own.
        parts = {
            part: np.array([f[source][part] if source in f else np.nan for f in found])
            for part in components
        }
        values = summed(parts, normalization, {part: weights.get(part, 1.0) for part in parts})[0]
    elif components:
        (part,) = components
        values = np.array([f[source][part] if source in f else np.nan for f in found])
    return {
        name: values,
        f"{name}_rank": _ranks(values),
        f"{name}_error": np.array([f["error"] for f in found], dtype=object),
    }


def _ranks(score: np.ndarray) -> np.ndarray:
    """Ranks from 1 for the largest score; equal ones share the best, and NaN comes last."""
    score = merge_equal(np.where(np.isnan(score), -np.inf, score))
    return 1 + len(score) - np.searchsorted(np.sort(score), score, "right")


def _columns(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Turn rows to columns; numbers become arrays of numbers, everything else of objects."""
    columns = {}
    for name in rows[0] if rows else ():
        values = [row[name] for row in rows]
        columns[name] = np.empty(len(values), dtype=object)
        columns[name][:] = values
        if all(isinstance(value, int | float) for value in values):
            columns[name] = np.array(values)
    return columns


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


def _report_missing(results, others) -> None:
    """Warn once about the values that scorers beside the first do not have."""
    missing = {name: int((results[f"{name}_error"] != "").sum()) for name in others}
    parts = [
        f"{name} for {count} candidate(s), first {next(filter(None, results[f'{name}_error']))}"
        for name, count in missing.items()
        if count
    ]
    if parts:
        warnings.warn(
            f"Some values of the scorers beside the first are missing: {'; '.join(parts)}",
            FitFailedWarning,
            stacklevel=4,
        )
