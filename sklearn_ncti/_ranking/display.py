"""RankingDisplay, the plots of a ranking."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from .._scoring.agreement import order_agreement
from .._scoring.columns import COLUMNS
from .._scoring.scorers import check_scorers, is_ncti
from .._utils.optional import import_optional
from .labels import LabelPlacer
from .layout import (
    fit_rows,
    fit_text,
    legend_above,
    literal,
    max_chars,
    shorten,
    text_scale,
    text_size,
)
from .results import RankingResults
from .robustness import agreement, pareto

# From dark to light, so that they differ in grey print and for colour-blind readers.
# The numbers of fills and hatches have no common factor, so that twelve components all differ.
_FILLS = ("#22577a", "#4fb0ae", "#f7e0a3")
_EDGES = ("white", "white", "#8a6d1f")
_HATCHES = ("", "..", "///", "xx")

# Colours and markers of classes; their numbers have no common factor either.
_COLORS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#333333")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")


class RankingDisplay:
    """Plots of a ranking, in the manner of scikit-learn's displays.

    Use :meth:`from_ranking`, :meth:`from_selector` or :meth:`from_estimator` to create one.
    All parameters are stored as attributes.

    Parameters
    ----------
    names : list of str
        Candidates, best first.

    scores : ndarray of shape (n_candidates,)
        Summed score of each candidate; NaN for one that failed.

    contributions : dict of str to ndarray of shape (n_candidates,)
        Weighted value of each component in the score. Empty if only the scores are known.

    intervals : ndarray of shape (n_candidates, 2), default=None
        Lower and upper bounds of the confidence intervals of the scores.

    costs : ndarray of shape (n_candidates,), default=None
        Cost of each candidate; NaN where it is unknown.

    cost_name : str, default="cost"
        Name of the cost, for the axis label.

    frontier : sequence of str, default=()
        Candidates on the Pareto front of score and cost.

    accuracies : ndarray of shape (n_candidates,), default=None
        Known accuracy of each candidate, for example after fine-tuning; NaN where it is unknown.

    coordinates : ndarray of shape (n_samples, n_axes), default=None
        Discriminant coordinates of the samples under the first candidate.

    labels : ndarray of shape (n_samples,), default=None
        Class labels of these samples.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes of the plot.

    figure_ : matplotlib.figure.Figure
        Figure of the axes.

    See Also
    --------
    Ranking.plot : Create a display and draw it in one call.

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
        intervals: np.ndarray | None = None,
        costs: np.ndarray | None = None,
        cost_name: str = "cost",
        frontier: Sequence[str] = (),
        accuracies: np.ndarray | None = None,
        coordinates: np.ndarray | None = None,
        labels: np.ndarray | None = None,
    ):
        self.names = names
        self.scores = scores
        self.contributions = contributions
        self.intervals = intervals
        self.costs = costs
        self.cost_name = cost_name
        self.frontier = frontier
        self.accuracies = accuracies
        self.coordinates = coordinates
        self.labels = labels

    @classmethod
    def from_ranking(
        cls,
        ranking: RankingResults,
        *,
        cost: str | Mapping[str, float] | None = None,
        accuracies: Mapping[str, float] | None = None,
    ) -> Self:
        """Create a display from a ranking.

        Parameters
        ----------
        ranking : Ranking
            The ranking.

        cost : str or dict of str to float, default=None
            Costs for ``kind="pareto"``: the name of a column of the results, such as
            "images_per_second" or "n_parameters", or the cost of each candidate by name.

        accuracies : dict of str to float, default=None
            Known accuracies for ``kind="agreement"``, by name of the candidate.

        Returns
        -------
        display : RankingDisplay
            Display that is not drawn yet: call `plot`.

        Raises
        ------
        ValueError
            If `cost` or `accuracies` do not match the ranking, see :meth:`Ranking.pareto` and
            :meth:`Ranking.agreement`.
        """
        results, order = ranking.results, ranking.order
        names = ranking.names
        shown: dict[str, Any] = {}
        if ranking.resamples is not None:
            ends = [results[f"score_{end}"][order] for end in ("low", "high")]
            shown["intervals"] = np.column_stack(ends)
        if cost is not None:
            shown["frontier"] = pareto(ranking, cost)
            if isinstance(cost, str):
                shown["cost_name"] = cost
                shown["costs"] = results[cost][order].astype(float)
            else:
                shown["costs"] = np.array([cost.get(name, np.nan) for name in names])
        if accuracies is not None:
            agreement(ranking, accuracies)
            shown["accuracies"] = np.array([accuracies.get(name, np.nan) for name in names])
        # The score of a failed candidate is `error_score`, which may be any number.
        scores = np.where(results["error"] == "", results["score"], np.nan)
        return cls(
            names=names,
            scores=scores[order],
            contributions={
                name: weight * results[f"normalized_{name}"][order]
                for name, weight in ranking.weights.items()
            },
            **shown,
        )

    @classmethod
    def from_selector(
        cls,
        selector: Any,
        X: Any = None,
        y: ArrayLike | None = None,
        *,
        cost: str | Mapping[str, float] | None = None,
        accuracies: Mapping[str, float] | None = None,
    ) -> Self:
        """Create a display from a fitted selector.

        Parameters
        ----------
        selector : ModelSelector
            Fitted selector.

        X : array-like or sequence of length n_samples, default=None
            Data for ``kind="geometry"``: the data that the selector was fitted to, or a part
            of it. The best candidate extracts its features again.

        y : array-like of shape (n_samples,), default=None
            Class labels of `X`.

        cost : str or dict of str to float, default=None
            See :meth:`from_ranking`.

        accuracies : dict of str to float, default=None
            See :meth:`from_ranking`.

        Returns
        -------
        display : RankingDisplay
            Display that is not drawn yet: call `plot`.

        Raises
        ------
        TypeError
            If `X` is given and the scorer of the selector is not an :class:`NCTIScorer`.

        ValueError
            If only one of `X` and `y` is given, or for the reasons of :meth:`from_ranking`.
        """
        check_is_fitted(selector)
        display = cls.from_ranking(selector.ranking_, cost=cost, accuracies=accuracies)
        if (X is None) != (y is None):
            raise ValueError(
                "X and y must be given together or not at all; got only "
                f"{'X' if y is None else 'y'}. Both are needed for kind='geometry'."
            )
        if X is not None:
            scorer = check_scorers(selector.scorer).ranking
            _check_scorer(scorer)
            features = selector.transform(X)
            display.labels = np.asarray(y)
            display.coordinates = clone(scorer).fit(features, y).transform(features)
        return display

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: ArrayLike, y: ArrayLike, *, name: str | None = None
    ) -> Self:
        """Create a display of one feature matrix from a fitted scorer.

        Parameters
        ----------
        estimator : NCTIScorer
            Fitted scorer.

        X : array-like of shape (n_samples, n_features)
            Features.

        y : array-like of shape (n_samples,)
            Class labels of `X`.

        name : str, default=None
            Name of the candidate. If None, the name of the scorer's class is used.

        Returns
        -------
        display : RankingDisplay
            Display that is not drawn yet: call `plot` with ``kind="geometry"``, or with
            ``kind="components"`` for the parts of the single-model score of `X`.

        Raises
        ------
        TypeError
            If `estimator` is not an :class:`NCTIScorer`.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn_ncti import NCTIScorer, RankingDisplay
        >>> X, y = load_iris(return_X_y=True)
        >>> display = RankingDisplay.from_estimator(NCTIScorer().fit(X, y), X, y, name="iris")
        >>> display.coordinates.shape
        (150, 2)
        """
        _check_scorer(estimator)
        check_is_fitted(estimator)
        check_consistent_length(X, y)
        parts = estimator.component_scores(X, y, absolute=True)
        return cls(
            names=[type(estimator).__name__ if name is None else name],
            scores=np.array([sum(parts.values())]),
            contributions={part: np.array([value]) for part, value in parts.items()},
            coordinates=estimator.transform(X),
            labels=np.asarray(y),
        )

    def plot(self, ax: Any = None, *, kind: str = "components", **kwargs: Any) -> Self:
        """Draw the ranking.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on. If None, a new figure is created. On small axes, text is smaller
            and long names are shortened. If the figure has no layout engine, the axes shrink
            until their text is inside of their part of the figure.

        kind : {"components", "pareto", "agreement", "geometry"}, default="components"
            Kind of plot.

            - "components" stacks the weighted components of each score, best candidate on
              top. A marker shows the score, and a line its confidence interval if there are
              bootstrap resamples.
            - "pareto" draws scores against costs, and the Pareto front.
            - "agreement" draws known accuracies against scores, with the rank correlations
              in the title.
            - "geometry" draws samples and class means in the first two discriminant
              coordinates. Their unit is the (shrunk) standard deviation within the classes.
              The smaller the classes are relative to the distances of their means, the
              closer the features are to neural collapse.

            Names for which there is no room are left out; better candidates take precedence.

        **kwargs : dict
            Style options, passed to ``ax.barh`` for "components" and to ``ax.scatter`` for
            the other kinds.

        Returns
        -------
        self : RankingDisplay
            The display, with `ax_` and `figure_`.

        Raises
        ------
        ImportError
            If matplotlib is not installed.

        ValueError
            If `kind` is unknown, or if the display lacks the data for it.
        """
        kinds = {
            "components": self._plot_components,
            "pareto": self._plot_pareto,
            "agreement": self._plot_agreement,
            "geometry": self._plot_geometry,
        }
        if kind not in kinds:
            raise ValueError(f"kind must be one of {list(kinds)}, got {kind!r}.")
        needed, how = {
            "pareto": (self.costs, "from_ranking(ranking, cost='n_parameters')"),
            "agreement": (self.accuracies, "from_ranking(ranking, accuracies={name: value})"),
            "geometry": (self.coordinates, "from_estimator(scorer, X, y)"),
        }.get(kind, (self.names, ""))
        if needed is None:
            raise ValueError(f"kind={kind!r} needs more than scores: create it with {how}.")
        import_optional("matplotlib", extra="plot")
        if ax is None:
            pyplot = import_optional("matplotlib.pyplot", extra="plot")
            _, ax = pyplot.subplots(figsize=self._size(kind), layout="constrained")
        kinds[kind](ax, kwargs)
        fit_text(ax)
        self.ax_ = ax
        self.figure_ = ax.figure
        return self

    def _draw_alone(self, kind: str) -> Any:
        """Draw on a new figure that has no window, and return the figure."""
        # pyplot would keep a reference to the figure and search for a display.
        figure = import_optional("matplotlib.figure", extra="plot").Figure(
            figsize=self._size(kind), layout="constrained"
        )
        return self.plot(figure.subplots(), kind=kind).figure_

    def _size(self, kind: str) -> tuple[float, float]:
        """Return the width and height of a new figure, in inches."""
        if kind == "geometry" and self.coordinates is not None:
            return 7.0, 6.5 if self.coordinates.shape[1] > 1 else 3.5
        n = len(self.names)
        if kind == "components":
            longest = max(len(shorten(name)) for name in self.names)
            return 5.5 + 0.075 * longest, 1.3 + 0.32 * n
        return 8.0, 4.6 + 0.1 * n

    def _plot_components(self, ax, kwargs):
        rows = np.arange(len(self.names))
        # With sticky edges, bars and the markers at their ends would touch the frame.
        ax.use_sticky_edges = False
        self._stack_bars(ax, rows, kwargs)
        self._draw_intervals(ax, "x", rows)
        mark = {"color": "white", "markeredgecolor": "black", "markersize": 6 * text_scale(ax)}
        ax.plot(self.scores, rows, "D", label="score", clip_on=False, **mark)
        for row in rows[np.isnan(self.scores)]:
            ax.text(0, row, " no score", va="center", style="italic", color="0.35")
        ax.axvline(0.0, color="black", linewidth=0.8)
        size, longest = fit_rows(ax, len(rows))
        names = [shorten(name, longest) for name in self.names]
        ax.set_yticks(rows, labels=names, fontsize=size)
        # Not `invert_yaxis`, which would undo itself when the same axes are drawn on again.
        ax.set_ylim(len(rows) - 0.4, -0.6)
        ax.set_xlabel("score (larger is better)")
        legend_above(ax, len(self.contributions) + 1)

    def _stack_bars(self, ax, rows, kwargs):
        patches = import_optional("matplotlib.patches", extra="plot")
        # Components below zero (vc under "minmax") form a stack of their own, left of zero.
        below, above = np.zeros(len(rows)), np.zeros(len(rows))
        for i, (name, values) in enumerate(self.contributions.items()):
            values = np.nan_to_num(values)
            fill = {
                "height": 0.7,
                "facecolor": _FILLS[i % len(_FILLS)],
                "hatch": _HATCHES[i % len(_HATCHES)],
                "edgecolor": _EDGES[i % len(_FILLS)],
                "linewidth": 0.5,
            }
            style = _styled(fill, kwargs, patches.Rectangle)
            left = np.where(values < 0, below, above)
            ax.barh(rows, values, left=left, label=literal(name), **style)
            below += np.minimum(values, 0)
            above += np.maximum(values, 0)

    def _plot_pareto(self, ax, kwargs):
        column = COLUMNS.get(self.cost_name)
        faster = column is not None and bool(column.larger_is_better)
        shown = np.isfinite(self.scores) & np.isfinite(self.costs)
        ahead = shown & np.isin(self.names, list(self.frontier))
        _draw_front(ax, self.costs[ahead], self.scores[ahead], more_is_better=faster)
        self._draw_intervals(ax, "y", self.costs)
        for which, label, fill in (
            (shown & ~ahead, "dominated", "white"),
            (ahead, "Pareto front", _FILLS[0]),
        ):
            x, y = self.costs[which], self.scores[which]
            self._scatter(ax, x, y, kwargs, facecolor=fill, label=label)
        _scale_costs(ax, self.costs[shown])
        name = literal(self.cost_name.removeprefix("n_").replace("_", " "))
        better = "more is better" if faster else "less is better"
        ax.set_xlabel(f"{name} ({better}){self._left_out(ax, shown)}")
        ax.set_ylabel("score (larger is better)")
        legend_above(ax, 1 if text_scale(ax) < 1 else 2)
        self._draw_names(ax, self.costs, self.scores, shown)

    def _plot_agreement(self, ax, kwargs):
        shown = np.isfinite(self.scores) & np.isfinite(self.accuracies)
        self._draw_intervals(ax, "x", self.accuracies)
        self._scatter(ax, self.scores[shown], self.accuracies[shown], kwargs)
        taus = order_agreement(self.scores[shown], self.accuracies[shown])
        parts = (
            f"weighted Kendall tau {taus['weighted_kendall_tau']:.2f},",
            f"Kendall tau {taus['kendall_tau']:.2f}, {shown.sum()} models",
        )
        ax.set_title(("\n" if text_scale(ax) < 1 else " ").join(parts))
        ax.set_xlabel(f"score (larger is better){self._left_out(ax, shown)}")
        ax.set_ylabel("known accuracy")
        self._draw_names(ax, self.scores, self.accuracies, shown)

    def _plot_geometry(self, ax, kwargs):
        classes, codes = np.unique(self.labels, return_inverse=True)
        first = self.coordinates[:, 0]
        flat = self.coordinates.shape[1] == 1
        centers = np.column_stack([_class_means(first, codes), np.arange(float(len(classes)))])
        if flat:
            # Two classes have one axis; the other one only spreads the samples.
            second = codes + 0.6 * (np.arange(len(codes)) * 0.618034 % 1 - 0.5)
        else:
            second = self.coordinates[:, 1]
            centers[:, 1] = _class_means(second, codes)
        for c, name in enumerate(classes):
            style = {
                "marker": _MARKERS[c % len(_MARKERS)],
                "facecolor": _COLORS[c % len(_COLORS)],
                "s": 14 * text_scale(ax) ** 2,
                "linewidth": 0.3,
                "edgecolor": "white",
                "label": literal(name),
            }
            rows = codes == c
            self._scatter(ax, first[rows], second[rows], kwargs, **style)
        mark = {"color": "white", "markeredgecolor": "black", "markersize": 8 * text_scale(ax)}
        ax.plot(*centers.T, "o", zorder=4, **mark)
        ax.set_title(shorten(self.names[0], max_chars(ax)))
        ax.set_xlabel("first discriminant coordinate")
        if flat:
            names = [shorten(str(name), max_chars(ax) // 2) for name in classes]
            ax.set_yticks(centers[:, 1], labels=names, fontsize=text_size(ax))
        else:
            ax.set_ylabel("second discriminant coordinate")
            # The limits of shared axes cannot be adapted to the aspect ratio.
            shared = len(ax.get_shared_x_axes().get_siblings(ax)) > 1
            ax.set_aspect("equal", adjustable="box" if shared else "datalim")
            LabelPlacer(ax, centers, [str(name) for name in classes], halo=True)

    def _scatter(self, ax, x, y, kwargs, **style):
        collections = import_optional("matplotlib.collections", extra="plot")
        default = {"facecolor": _FILLS[0], "edgecolor": "black", "linewidth": 0.8}
        default |= {"s": 42 * text_scale(ax) ** 2, "zorder": 3} | style
        ax.scatter(x, y, **_styled(default, kwargs, collections.PathCollection))

    def _draw_intervals(self, ax, along, across):
        """Draw the confidence intervals of the scores along "x" or "y"."""
        if self.intervals is None:
            return
        shown = np.isfinite(self.scores) & np.isfinite(across)
        effects = import_optional("matplotlib.patheffects", extra="plot")
        style = {"color": "black", "linewidth": 1.2, "markersize": 6, "zorder": 2}
        # A white rim makes black lines visible on dark bars.
        style["path_effects"] = [effects.withStroke(linewidth=3.0, foreground="white")]
        ends, across = self.intervals[shown].T, np.tile(across[shown], (2, 1))
        if along == "x":
            ax.plot(ends, across, "|-", **style)
        else:
            ax.plot(across, ends, "_-", **style)

    def _left_out(self, ax, shown) -> str:
        names = np.array(self.names, dtype=object)[~shown]
        if not names.size:
            return ""
        lines = [shorten(name, max_chars(ax)) for name in names[:2]]
        more = [f"and {len(names) - 2} more"] if len(names) > 2 else []
        return "\nnot shown (value missing):\n" + ",\n".join(lines + more)

    def _draw_names(self, ax, x, y, shown):
        names = [name for name, is_shown in zip(self.names, shown, strict=True) if is_shown]
        LabelPlacer(ax, np.column_stack([x, y])[shown], names)


def _class_means(values, codes):
    return np.array([values[codes == c].mean() for c in range(codes.max() + 1)])


def _draw_front(ax, costs, scores, *, more_is_better):
    """Draw the Pareto front as a step line."""
    order = np.argsort(costs, kind="stable")
    x, y = np.repeat(costs[order], 2), np.repeat(scores[order], 2)
    # The best score within a budget is constant until the next candidate of the front.
    x, y = (x[:-1], y[1:]) if more_is_better else (x[1:], y[:-1])
    ax.plot(x, y, color="0.45", linewidth=1.2, linestyle="--", zorder=1)


def _scale_costs(ax, costs):
    if costs.min() > 0 and costs.max() > 10 * costs.min():
        ax.set_xscale("log")
    elif costs.max() >= 1e6:
        ticker = import_optional("matplotlib.ticker", extra="plot")
        ax.xaxis.set_major_formatter(ticker.EngFormatter())


def _check_scorer(scorer) -> None:
    if not is_ncti(scorer):
        raise TypeError(
            f"The geometry is drawn in the coordinates of an NCTIScorer, got {scorer!r}. Fit one "
            "to the features and use RankingDisplay.from_estimator(scorer, X, y)."
        )


def _styled(default, kwargs, artist) -> dict[str, Any]:
    """Return the style of an artist; options of the caller, under any alias, take precedence."""
    cbook = import_optional("matplotlib.cbook", extra="plot")
    given = cbook.normalize_kwargs(kwargs, artist)
    if "color" in given or "c" in given:
        default = {k: v for k, v in default.items() if k not in ("facecolor", "edgecolor")}
    return default | given
