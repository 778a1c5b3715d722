"""RankingDisplay follows scikit-learn's displays."""

import numpy as np
import pytest
from helpers import make_problem
from sklearn.decomposition import PCA
from sklearn.exceptions import FitFailedWarning

from sklearn_ncti import ModelSelector, Ranking, RankingDisplay, rank_features

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
pyplot = pytest.importorskip("matplotlib.pyplot")


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
    _, legend = display.ax_.get_legend_handles_labels()
    assert set(legend) == {"seli", "ncc", "vc", "score"}


def test_axes_are_reused_and_style_is_passed_on(ranking):
    figure, ax = pyplot.subplots()
    display = RankingDisplay.from_ranking(ranking).plot(ax=ax, height=0.3)
    assert display.ax_ is ax
    assert display.figure_ is figure
    assert ax.containers[0][0].get_height() == pytest.approx(0.3)


def test_from_selector():
    X, y = make_problem(d=30, spread=1.0, scale=3.0)
    selector = ModelSelector([("a", PCA(3)), ("b", PCA(10))]).fit(X, y)
    display = RankingDisplay.from_selector(selector).plot()
    assert display.names == selector.ranking_.names


def test_totals_only():
    display = Ranking.from_scores({"a": 1.0, "b": 2.0}).plot()
    (line,) = [line for line in display.ax_.lines if line.get_label() == "score"]
    assert line.get_xdata().tolist() == [2.0, 1.0]


def test_unknown_kind(ranking):
    with pytest.raises(ValueError, match="kind must be 'components', got 'pie'"):
        ranking.plot(kind="pie")
