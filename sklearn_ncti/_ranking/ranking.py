"""`Ranking`: the public face of the results of a ranking."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from .._scoring.normalization import finite_values
from .._utils.optional import import_optional
from . import robustness
from .display import RankingDisplay
from .report.page import ranking_report, write_report
from .results import RankingResults, shortlist
from .table import as_html, as_text

if TYPE_CHECKING:
    import pandas


class Ranking(RankingResults):
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
        Columns of `results` that hold the values of additional scorers.

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
        Columns of `results` that hold the values of additional scorers.

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
       1  large    1.70
       2  medium   0.90
       3  small    0.10
    """

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
        return robustness.agreement(self, accuracies)

    def leave_one_out(self) -> dict[str, np.ndarray]:
        """Rank the pool without each candidate in turn (leave-one-out).

        Where components are normalised over the pool of candidates, one that is far from
        first can decide which one is.

        Returns
        -------
        without : dict of str to ndarray of shape (n_candidates,)
            One entry for each candidate that has a score, best first: ``left_out``; the
            ``names`` of the remaining candidates in their new order; the ``best`` of them;
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
        return robustness.leave_one_out(self)

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
        return robustness.ablation(self)

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
        return robustness.scorer_agreement(self)

    def shortlist(self, n: int) -> list[str]:
        """Return the first candidates, which are the ones to fine-tune.

        Parameters
        ----------
        n : int
            Number of candidates, at least 1.

        Returns
        -------
        names : list of str
            Best score first. Candidates without a score are left out, so that there are fewer
            names where fewer candidates have one.

        Raises
        ------
        ValueError
            If `n` is no integer of at least 1.

        Examples
        --------
        >>> from sklearn_ncti import Ranking
        >>> Ranking.from_scores({"small": 0.1, "large": 1.7, "medium": 0.9}).shortlist(2)
        ['large', 'medium']
        """
        return shortlist(self, n)

    def pareto(self, cost: str | Mapping[str, float] = "images_per_second") -> list[str]:
        """Return the candidates on the Pareto front of score and cost.

        Parameters
        ----------
        cost : str or dict of str to float, default="images_per_second"
            A column of `results`, or the cost of each candidate by its name. Smaller is better,
            but for "images_per_second" and "texts_per_second", where larger is.

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
        return robustness.pareto(self, cost)

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
        columns = {name: column[self.order] for name, column in self.results.items()}
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

    def report(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write a report as one HTML file, which loads nothing from the network.

        It begins with the candidates to fine-tune and how sure that is. The table can be
        sorted and filtered, its columns can be chosen, and confidence intervals are drawn in
        its cells. :meth:`ModelSelector.report <sklearn_ncti.ModelSelector.report>` adds the
        data set with example images.

        Parameters
        ----------
        path : str or path
            The file.

        overwrite : bool, default=False
            Whether an existing file may be replaced.

        Raises
        ------
        FileExistsError
            If the file exists and `overwrite` is False.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> from sklearn_ncti import Ranking
        >>> ranking = Ranking.from_scores({"small": 0.1, "large": 1.7, "medium": 0.9})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "report.html")
        ...     ranking.report(file)
        ...     "Fine-tune first: large" in file.read_text(encoding="utf-8")
        True
        """
        write_report(path, lambda: ranking_report(self), overwrite=overwrite)

    def __str__(self) -> str:
        return as_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return as_html(self)
