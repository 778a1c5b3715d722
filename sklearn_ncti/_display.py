"""Floor 4: RankingDisplay, the picture of a ranking."""

from typing import Any, Self

import numpy as np

from ._optional import import_optional


class RankingDisplay:
    """Picture of a ranking, in the manner of scikit-learn's displays.

    Use :meth:`from_ranking` or :meth:`from_selector` to make one; everything that is drawn
    is kept as an attribute.

    Parameters
    ----------
    names : list of str
        Candidates, best first.

    scores : ndarray of shape (n_candidates,)
        Summed score of each; NaN for a candidate that failed.

    contributions : dict of str to ndarray of shape (n_candidates,)
        What each component adds to the score; empty where only totals are known.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes that were drawn on.

    figure_ : matplotlib.figure.Figure
        Figure of the axes.

    Examples
    --------
    >>> from sklearn_ncti import Ranking, RankingDisplay
    >>> ranking = Ranking.from_scores({"a": 0.5, "b": 1.5})
    >>> display = RankingDisplay.from_ranking(ranking)
    >>> display.names
    ['b', 'a']
    """

    def __init__(
        self,
        *,
        names: list[str],
        scores: np.ndarray,
        contributions: dict[str, np.ndarray],
    ):
        self.names = names
        self.scores = scores
        self.contributions = contributions

    @classmethod
    def from_ranking(cls, ranking: Any) -> Self:
        """Display of a ranking.

        Parameters
        ----------
        ranking : Ranking
            The ranking.

        Returns
        -------
        display : RankingDisplay
            Not drawn yet: call `plot`.
        """
        order = [list(ranking.results["model"]).index(name) for name in ranking.names]
        return cls(
            names=ranking.names,
            scores=ranking.results["score"][order],
            contributions={
                name: weight * ranking.results[f"normalized_{name}"][order]
                for name, weight in ranking.weights.items()
            },
        )

    @classmethod
    def from_selector(cls, selector: Any) -> Self:
        """Display of the ranking of a fitted selector.

        Parameters
        ----------
        selector : ModelSelector
            A fitted selector.

        Returns
        -------
        display : RankingDisplay
            Not drawn yet: call `plot`.
        """
        return cls.from_ranking(selector.ranking_)

    def plot(self, ax: Any = None, *, kind: str = "components", **kwargs: Any) -> Self:
        """Draw the ranking, best candidate on top.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None for a new figure.

        kind : {"components"}, default="components"
            "components" stacks what each component adds to the score, with a mark at the
            score itself.

        **kwargs : dict
            Passed to ``ax.barh``.

        Returns
        -------
        self : RankingDisplay
            With `ax_` and `figure_`.

        Raises
        ------
        ImportError
            If matplotlib is not installed.

        ValueError
            If `kind` is unknown.
        """
        if kind != "components":
            raise ValueError(f"kind must be 'components', got {kind!r}.")
        pyplot = import_optional("matplotlib.pyplot", extra="plot")
        if ax is None:
            _, ax = pyplot.subplots(figsize=(7, 1.2 + 0.35 * len(self.names)))
        rows = np.arange(len(self.names))
        style = {"height": 0.7} | kwargs
        # Components below zero (vc under "minmax") stack to the left of zero on their own.
        left = {True: np.zeros(len(rows)), False: np.zeros(len(rows))}
        for name, values in self.contributions.items():
            values = np.nan_to_num(values)
            bars = np.where(values < 0, left[True], left[False])
            ax.barh(rows, values, left=bars, label=name, **style)
            left[True] += np.minimum(values, 0)
            left[False] += np.maximum(values, 0)
        ax.plot(self.scores, rows, "D", color="black", markersize=5, label="score", clip_on=False)
        ax.axvline(0.0, color="black", linewidth=0.8)
        ax.set_yticks(rows, labels=self.names)
        ax.invert_yaxis()
        ax.set_xlabel("summed normalised score (larger is better)")
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
        self.ax_ = ax
        self.figure_ = ax.figure
        return self
