"""A ranking as text and as an HTML table."""

import numpy as np
import pytest
from helpers import make_problem

from sklearn_ncti import NCTIScorer, Ranking, rank_features


@pytest.fixture
def candidates():
    """Features of falling quality: the same rows with more and more noise."""
    X, y = make_problem(d=40, spread=1.0, scale=3.0)
    rng = np.random.default_rng(1)
    noise = rng.normal(size=X.shape)
    return {f"noise {a}": X + 3 * a * noise for a in (0.5, 0.0, 2.0, 1.0)}, y


def test_table_is_aligned_and_complete(candidates):
    features, y = candidates
    ranking = rank_features(features, y)
    lines = str(ranking).splitlines()
    assert len(lines) == 1 + 4 + 1
    assert lines[0].split() == [
        "rank",
        "model",
        "score",
        "seli",
        "ncc",
        "vc",
        "raw",
        "seli",
        "raw",
        "ncc",
        "raw",
        "vc",
    ]
    assert len({len(line) for line in lines[:-1]}) == 1
    assert [line.split()[0] for line in lines[1:5]] == ["1", "2", "3", "4"]
    assert repr(ranking) == str(ranking)
    assert len(ranking) == 4


def test_html_escapes_names():
    ranking = Ranking.from_scores({"<script>alert(1)</script>": 1.0, "b": 0.0})
    html = ranking._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert html.count("<tr>") == 3


def test_mixed_shrinkage_is_noted_below_the_table(candidates):
    features, y = candidates
    X = features["noise 0.5"]
    mixed = {"large": 1e3 * X, "small": 1e-2 * X}
    ranking = rank_features(mixed, y)
    assert "mixed shrinkage: 1 of 2 candidates" in str(ranking)
    assert "mixed shrinkage" in ranking._repr_html_()
    assert "mixed shrinkage" not in str(rank_features(mixed, y, normalization="absolute"))
    with pytest.warns(UserWarning, match="do not vary"):
        # One shrinkage for both, and scale no longer matters.
        alike = rank_features(mixed, y, scorer=NCTIScorer(shrinkage=0.1))
    assert "mixed shrinkage" not in str(alike)
