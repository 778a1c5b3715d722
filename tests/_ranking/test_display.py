"""RankingDisplay follows scikit-learn's displays, and draws what the ranking holds."""

import io
import pickle
import sys
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import pytest
from helpers import make_problem
from scipy.stats import kendalltau, weightedtau
from sklearn.decomposition import PCA
from sklearn.exceptions import FitFailedWarning, NotFittedError

from sklearn_ncti import ModelSelector, NCTIScorer, Ranking, RankingDisplay, rank_features
from sklearn_ncti.companions import GBC

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
pyplot = pytest.importorskip("matplotlib.pyplot")

KINDS = ["components", "pareto", "agreement", "geometry"]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pyplot.close("all")


@pytest.fixture
def ranking():
    X, y = make_problem(d=30, spread=1.0, scale=3.0)
    features = {"narrow": X[:, :5], "broken": np.full_like(X, np.nan), "wide": X}
    with pytest.warns(FitFailedWarning):
        return rank_features(features, y, weights={"seli": 2.0})


@pytest.fixture
def everything():
    """A display that has what every kind needs, with intervals and with missing values."""
    X, y = make_problem(d=30, spread=1.0, scale=3.0)
    names = np.array(["a", "b", "c", "d", "e"], dtype=object)
    scores = np.array([1.8, 1.1, 0.4, 0.1, np.nan])
    return RankingDisplay(
        names=list(names),
        scores=scores,
        contributions={"ncc": scores / 2, "seli": scores / 2},
        intervals=np.column_stack([scores - 0.1, scores + 0.2]),
        costs=np.array([100.0, 1.0, 30.0, np.nan, 2.0]),
        frontier=["a", "b"],
        accuracies=np.array([90.0, 92.0, np.nan, 70.0, 60.0]),
        coordinates=NCTIScorer().fit(X, y).transform(X),
        labels=y,
    )


def drawn_points(ax):
    """Rows of all scatter plots, one after the other."""
    return np.concatenate([points.get_offsets() for points in ax.collections])


def long_names(n):
    ends = ["laion2b_ft_in12k_in1k", "fcmae_ft_in22k_in1k_384", "a1_in1k"]
    return [f"vit_large_patch{i}_clip_quickgelu.{ends[i % 3]}" for i in range(n)]


def test_bars_add_up_to_the_score(ranking):
    display = ranking.plot()
    assert isinstance(display, RankingDisplay)
    assert display.figure_ is display.ax_.figure
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert labels == ranking.names == ["wide", "narrow", "broken"]
    assert display.ax_.yaxis_inverted()
    widths = np.array([[bar.get_width() for bar in bars] for bars in display.ax_.containers])
    np.testing.assert_allclose(widths.sum(axis=0)[:2], list(ranking.scores.values())[:2])
    np.testing.assert_array_equal(widths[:, 2], 0)
    assert [text.get_text().strip() for text in display.ax_.texts] == ["no score"]
    _, legend = display.ax_.get_legend_handles_labels()
    assert set(legend) == {"seli", "ncc", "vc", "score"}


def test_a_failed_candidate_has_no_score_whatever_error_score_is():
    X, y = make_problem(d=30, spread=1.0, scale=3.0)
    models = [("good", PCA(3)), ("better", PCA(9)), ("broken", PCA(900))]
    selector = ModelSelector(models, error_score=1.5)
    with pytest.warns(FitFailedWarning):
        display = RankingDisplay.from_selector(selector.fit(X, y))
    np.testing.assert_array_equal(np.isnan(display.scores), [False, False, True])


def test_components_differ_in_grey(everything):
    bars = everything.plot().ax_.containers
    grey = [
        matplotlib.colors.to_rgb(b[0].get_facecolor()) @ np.array([0.3, 0.6, 0.1]) for b in bars
    ]
    assert abs(grey[0] - grey[1]) > 0.2
    assert bars[0][0].get_hatch() != bars[1][0].get_hatch()


@pytest.mark.parametrize("kind", KINDS)
def test_axes_are_reused(everything, kind):
    figure, ax = pyplot.subplots()
    assert everything.plot(ax, kind=kind) is everything
    assert everything.ax_ is ax
    assert everything.figure_ is figure
    assert pyplot.get_fignums() == [figure.number]
    limits = ax.yaxis_inverted()
    # A second time on the same axes, as in scikit-learn's displays.
    everything.plot(ax, kind=kind)
    assert ax.yaxis_inverted() == limits == (kind == "components")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "style", [{"facecolor": "red"}, {"fc": "red"}, {"color": "red"}, {"color": "red", "lw": 3}]
)
def test_style_is_passed_on(everything, kind, style):
    ax = everything.plot(kind=kind, **style).ax_
    artists = [bar for bars in ax.containers for bar in bars] or ax.collections
    for artist in artists:
        face = np.atleast_2d(artist.get_facecolor())
        np.testing.assert_array_equal(face, np.broadcast_to([1.0, 0, 0, 1], face.shape))
        if "lw" in style:
            assert np.all(np.asarray(artist.get_linewidth()) == 3)


def test_height_of_the_bars(ranking):
    ax = RankingDisplay.from_ranking(ranking).plot(height=0.3).ax_
    assert ax.containers[0][0].get_height() == pytest.approx(0.3)


@pytest.mark.parametrize("kind", ["components", "pareto", "agreement"])
def test_intervals_are_drawn(kind):
    X, y = make_problem(d=30, spread=1.0, scale=3.0)
    features = {"5": X[:, :5], "8": X[:, :8], "30": X}
    ranking = rank_features(features, y, n_resamples=40, random_state=0)
    display = ranking.plot(kind=kind, cost="n_features", accuracies={"5": 1, "8": 2, "30": 3})
    along = 1 if kind == "pareto" else 0
    ends = [line.get_xydata()[:, along].tolist() for line in display.ax_.lines]
    columns = ranking.results["score_low"], ranking.results["score_high"]
    for pair in np.column_stack(columns).tolist():
        assert pair in ends


def test_pareto_draws_points_frontier_and_names():
    costs = {"large": 50.0, "good": 2.0, "slow": 60.0, "small": 1.0, "unknown": 3.0}
    ranking = Ranking.from_scores(
        {"large": 1.7, "good": 1.5, "slow": 0.9, "small": 0.1, "unknown": 1.0}
    )
    costs.pop("unknown")
    ax = ranking.plot(kind="pareto", cost=costs).ax_
    points = drawn_points(ax)
    expected = {(costs[name], ranking.scores[name]) for name in costs}
    assert set(map(tuple, points.tolist())) == expected
    assert {text.get_text() for text in ax.texts} == set(costs)
    assert "unknown" in ax.get_xlabel()
    assert ax.get_xscale() == "log"
    # Within a budget of 20, the best that can be had is "good": the step says so.
    (frontier,) = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert frontier.get_xydata().tolist() == [[1, 0.1], [2, 0.1], [2, 1.5], [50, 1.5], [50, 1.7]]


def test_speed_is_a_cost_of_which_more_is_better():
    ranking = Ranking({"model": ["a", "b"], "score": [2.0, 1.0], "images_per_second": [3.0, 8.0]})
    ax = ranking.plot(kind="pareto").ax_
    (frontier,) = ax.lines
    assert frontier.get_xydata().tolist() == [[3, 2], [3, 1], [8, 1]]
    assert "more is better" in ax.get_xlabel()


@pytest.mark.parametrize("n", [2, 20])
def test_names_overlap_neither_each_other_nor_points(n):
    rng = np.random.default_rng(n)
    names = long_names(n)
    ranking = Ranking.from_scores(dict(zip(names, rng.uniform(-1, 2, n), strict=True)))
    cost = dict(zip(names, rng.lognormal(4, 1, n), strict=True))
    accuracies = {name: 80 + 5 * score for name, score in ranking.scores.items()}
    for kind in ("pareto", "agreement"):
        ax = ranking.plot(kind=kind, cost=cost, accuracies=accuracies).ax_
        ax.figure.draw_without_rendering()
        assert len(ax.texts) == n
        # The box of a text alone: that of an annotation holds its line too.
        boxes = [matplotlib.text.Text.get_window_extent(text) for text in ax.texts]
        assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
        spots = ax.transData.transform(drawn_points(ax))
        assert not any(box.contains(*spot) for box in boxes for spot in spots)
        frame = ax.get_window_extent()
        for box in boxes:
            assert frame.x0 <= box.x0 < box.x1 <= frame.x1
            assert frame.y0 <= box.y0 < box.y1 <= frame.y1


def many(n):
    """A display of n candidates with long names, of which one failed and one has no cost."""
    rng = np.random.default_rng(n)
    scores = np.sort(rng.uniform(-1, 2, n))[::-1]
    costs, accuracies = rng.lognormal(16, 1, n), 80 + 5 * scores + rng.normal(size=n)
    if n > 2:
        scores[-1] = costs[2] = np.nan
    X, y = make_problem(d=30, n_classes=4 if n > 2 else 2, spread=2.0)
    return RankingDisplay(
        names=long_names(n),
        scores=scores,
        contributions={"seli": scores - 0.2, "ncc": np.full(n, 0.5), "vc": np.full(n, -0.3)},
        intervals=np.column_stack([scores - 0.1, scores + 0.1]),
        costs=costs,
        frontier=[],
        accuracies=accuracies,
        coordinates=NCTIScorer().fit(X, y).transform(X),
        labels=np.array(["a class with a long name", "b", "c", "d"])[y],
    )


def texts_of(ax):
    """All that is written in and around the axes, and the box of each in pixels."""
    around = [ax.title, ax.xaxis.label, ax.yaxis.label, *ax.get_xticklabels()]
    around += [*ax.get_yticklabels(), *(ax.get_legend().texts if ax.get_legend() else [])]
    shown = [text for text in [*around, *ax.texts] if text.get_visible() and text.get_text()]
    # Ticks beyond the limits have labels that are not drawn.
    for axis in (ax.xaxis, ax.yaxis):
        low, high = sorted(axis.get_view_interval())
        for label, place in zip(axis.get_ticklabels(), axis.get_ticklocs(), strict=True):
            if not low <= place <= high and label in shown:
                shown.remove(label)
    return [(text, matplotlib.text.Text.get_window_extent(text)) for text in shown]


@pytest.mark.parametrize("layout", [None, "constrained", "tight"])
@pytest.mark.parametrize("grid", [1, 2])
@pytest.mark.parametrize("n", [2, 20])
@pytest.mark.parametrize("kind", KINDS)
def test_all_text_fits_on_axes_of_the_caller(kind, n, grid, layout):
    figure, axes = pyplot.subplots(grid, grid, squeeze=False, layout=layout)
    ax = axes[0, -1]
    many(n).plot(ax, kind=kind)
    figure.draw_without_rendering()
    texts = texts_of(ax)
    frame = ax.get_window_extent()
    for _, box in texts:
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
        for other in set(axes.flat) - {ax}:
            assert not box.overlaps(other.get_window_extent())
    for (one, a), (two, b) in combinations(texts, 2):
        assert not a.overlaps(b), (one, two)
    # Neither is the picture squeezed to nothing, nor do the axes leave the figure's layouts.
    assert min(frame.width / figure.bbox.width, frame.height / figure.bbox.height) > 0.3 / grid
    assert ax.get_in_layout()


def test_names_follow_their_points():
    """Pictures that are drawn later make the axes smaller, and so does another resolution."""
    display = many(20)
    figure, axes = pyplot.subplots(2, 2, figsize=(12, 9), layout="constrained")
    for ax, kind in zip(axes.flat, ["pareto", "agreement", "components", "geometry"], strict=True):
        display.plot(ax, kind=kind)
    for dpi in (100, 60):
        figure.set_dpi(dpi)
        figure.draw_without_rendering()
        for ax in axes[0]:
            boxes = [box for text, box in texts_of(ax) if text in ax.texts]
            assert len(boxes) > 10
            frame = ax.get_window_extent().padded(0.5)
            for box in boxes:
                assert frame.x0 <= box.x0 < box.x1 <= frame.x1
                assert frame.y0 <= box.y0 < box.y1 <= frame.y1
            assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))


def test_names_without_room_are_left_out():
    names = long_names(20)
    ranking = Ranking.from_scores(dict(zip(names, range(20), strict=True)))
    figure, ax = pyplot.subplots(figsize=(2.5, 2.0), layout="constrained")
    ranking.plot(ax=ax, kind="pareto", cost=dict.fromkeys(names, 1.0))
    figure.draw_without_rendering()
    shown = [note.get_visible() for note in ax.texts]
    assert shown[0]
    assert not all(shown)
    boxes = [box for text, box in texts_of(ax) if text in ax.texts]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))


def test_intervals_are_seen_on_dark_bars():
    display = RankingDisplay(
        names=["a"],
        scores=np.array([0.9]),
        contributions={"ncc": np.array([0.9])},
        intervals=np.array([[0.2, 1.0]]),
    ).plot()
    ax, figure = display.ax_, display.figure_
    figure.canvas.draw()
    grey = np.asarray(figure.canvas.buffer_rgba())[..., :3] @ np.array([0.3, 0.6, 0.1]) / 255
    x, y = ax.transData.transform([0.5, 0.0]).astype(int)
    across = grey[len(grey) - y - 6 : len(grey) - y + 6, x]
    bar = grey[len(grey) - y - 10, x]
    assert across.min() < bar - 0.1
    assert across.max() > bar + 0.4


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_are_pickled(everything, kind):
    copy = pickle.loads(pickle.dumps(everything.plot(kind=kind)))
    copy.figure_.draw_without_rendering()
    everything.figure_.draw_without_rendering()
    places = [[text.get_position() for text in d.ax_.texts] for d in (everything, copy)]
    assert places[0] == places[1]


def test_very_long_names_keep_both_ends():
    name = "local-dir:" + "/folder" * 20 + "/mobilenetv2_100"
    ax = Ranking.from_scores({name: 1.0, "b": 2.0}).plot().ax_
    shown = ax.get_yticklabels()[1].get_text()
    assert len(shown) < 50
    assert shown.startswith("local-dir:")
    assert shown.endswith("mobilenetv2_100")


def test_agreement_has_the_taus_in_its_title():
    scores = {"a": 2.0, "b": 1.5, "c": 1.0, "d": 0.5, "e": 0.1}
    accuracies = {"a": 91.0, "b": 93.0, "c": 88.0, "e": 84.0}
    ax = Ranking.from_scores(scores).plot(kind="agreement", accuracies=accuracies).ax_
    pairs = np.array([[scores[name], accuracy] for name, accuracy in accuracies.items()])
    np.testing.assert_array_equal(drawn_points(ax), pairs)
    weighted, plain = (f(*pairs.T).statistic for f in (weightedtau, kendalltau))
    assert f"weighted Kendall tau {weighted:.2f}" in ax.get_title()
    assert f"Kendall tau {plain:.2f}, 4 models" in ax.get_title()
    assert ax.get_xlabel().splitlines()[2] == "d"


@pytest.mark.parametrize("classes", [["ant", "bee", "cow"], ["ant", "bee"]])
def test_geometry_draws_rows_and_class_centers(classes):
    X, y = make_problem(d=30, n_classes=len(classes), spread=2.0)
    y = np.array(classes)[y]
    scorer = NCTIScorer().fit(X, y)
    display = RankingDisplay.from_estimator(scorer, X, y, name="net").plot(kind="geometry")
    ax, coordinates = display.ax_, scorer.transform(X)
    assert ax.get_title() == "net"
    assert display.scores[0] == pytest.approx(scorer.score(X, y))
    n_axes = min(2, coordinates.shape[1])
    by_class = np.concatenate([coordinates[y == name, :n_axes] for name in classes])
    np.testing.assert_allclose(drawn_points(ax)[:, :n_axes], by_class)
    (centers,) = [line.get_xydata() for line in ax.lines if len(line.get_xydata()) == len(classes)]
    means = [coordinates[y == name, :n_axes].mean(axis=0) for name in classes]
    np.testing.assert_allclose(centers[:, :n_axes], means)
    names = ax.texts if len(classes) > 2 else ax.get_yticklabels()
    assert [text.get_text() for text in names] == classes


def test_pictures_of_two_candidates_can_share_their_axes():
    X, y = make_problem(d=30, spread=2.0)
    figure, axes = pyplot.subplots(1, 2, sharex=True, sharey=True)
    for ax, k in zip(axes, (5, 30), strict=True):
        features = X[:, :k]
        scorer = NCTIScorer().fit(features, y)
        RankingDisplay.from_estimator(scorer, features, y).plot(ax, kind="geometry")
    figure.draw_without_rendering()
    for ax in axes:
        # A step along one axis is as long as one along the other.
        step = np.diff(ax.transData.transform([[0, 0], [1, 1]]), axis=0)[0]
        assert step[0] == pytest.approx(step[1])
    assert axes[0].get_xlim() == axes[1].get_xlim()


def test_the_picture_of_a_selector_is_that_of_its_best_candidate():
    X, y = make_problem(d=30, spread=1.0, scale=3.0)
    selector = ModelSelector([("a", PCA(3)), ("b", PCA(10))], scorer=NCTIScorer(8)).fit(X, y)
    display = RankingDisplay.from_selector(selector, X, y)
    assert display.names == selector.ranking_.names
    features = selector.transform(X)
    expected = NCTIScorer(8).fit(features, y).transform(features)
    np.testing.assert_allclose(display.coordinates, expected)
    title = display.plot(kind="geometry").ax_.get_title()
    assert title == selector.best_name_


def test_what_is_missing_is_named(ranking):
    X, y = make_problem(d=30, spread=1.0, scale=3.0)
    with pytest.raises(ValueError, match=r"kind must be one of \['components', .* got 'pie'"):
        ranking.plot(kind="pie")
    display = RankingDisplay.from_ranking(ranking)
    for kind, advice in (("pareto", "cost="), ("agreement", "accuracies="), ("geometry", "X, y")):
        with pytest.raises(ValueError, match=f"kind='{kind}' needs more than scores.*{advice}"):
            display.plot(kind=kind)
    with pytest.raises(ValueError, match="no candidate has both a score and that cost"):
        ranking.plot(kind="pareto")
    with pytest.raises(NotFittedError):
        RankingDisplay.from_estimator(NCTIScorer(), X, y)
    with pytest.raises(NotFittedError):
        RankingDisplay.from_selector(ModelSelector([("a", PCA(3))]))
    with pytest.raises(TypeError, match=r"coordinates of an NCTIScorer, got GBC\(\)"):
        RankingDisplay.from_estimator(GBC().fit(X, y), X, y)
    selector = ModelSelector([("a", PCA(3)), ("b", PCA(5))], scorer=GBC()).fit(X, y)
    with pytest.raises(ValueError, match="got only X"):
        RankingDisplay.from_selector(selector, X)
    with pytest.raises(TypeError, match="coordinates of an NCTIScorer"):
        RankingDisplay.from_selector(selector, X, y)


@pytest.mark.parametrize("kind", KINDS)
def test_without_matplotlib(everything, kind, monkeypatch):
    for module in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'sklearn-ncti\[plot\]'"):
        everything.plot(kind=kind)


def test_given_axes_need_no_pyplot(ranking):
    ax = matplotlib.figure.Figure().subplots()
    assert ranking.plot(ax).ax_ is ax
    assert pyplot.get_fignums() == []


# Formulas for Matplotlib, of which one cannot be parsed, and what steers terminals.
HOSTILE = {
    r"$\frac$": r"$\frac$",
    "$$": "$$",
    "a$b$c": "a$b$c",
    r"\$1": r"\$1",
    "x\x1b[1m\n\udcff": r"x\x1b[1m\n\udcff",
}


@pytest.mark.parametrize("parse_math", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_names_are_drawn_as_they_are(everything, kind, parse_math):
    names = list(HOSTILE)
    everything.names = names
    everything.frontier = names[:2]
    everything.cost_name = "$cost$"
    everything.contributions = {names[0]: everything.scores}
    everything.labels = np.array(names)[everything.labels]
    # As text, so that it can be looked for.
    with matplotlib.rc_context({"svg.fonttype": "none", "text.parse_math": parse_math}):
        display = everything.plot(kind=kind)
        if kind == "geometry":
            display.ax_.legend()
        file = io.StringIO()
        display.figure_.savefig(file, format="svg")
    root = ElementTree.fromstring(file.getvalue())
    drawn = [
        "".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")
    ]
    for name in HOSTILE.values():
        # The lines of those without a value, and what is before the name in them.
        assert any(text.strip(",") == name for text in drawn), (name, drawn)
    if kind == "components":
        assert drawn.count(names[0]) == 2
    if kind == "pareto":
        assert "$cost$ (less is better)" in drawn


@pytest.mark.parametrize("name", HOSTILE)
def test_pictures_of_hostile_names(name):
    ranking = Ranking.from_scores({name: 1.0, "b": 0.0})
    display = ranking.plot()
    display.figure_.canvas.draw()
    assert display.names == [name, "b"]
