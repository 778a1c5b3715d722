"""One ranking from those of successive iterations."""

import numpy as np
import pytest

from sklearn_ncti import Ranking, rank_features
from sklearn_ncti._ranking.iterations import join_iterations

NAMES = ["a", "b", "c", "d"]


@pytest.fixture
def rankings():
    """Rankings of four candidates on 60 rows, and of two of them on 180."""
    rng = np.random.default_rng(0)
    y = np.arange(180) % 3
    pool = {
        name: np.eye(3)[y] * size + rng.normal(size=(180, 3))
        for name, size in zip(NAMES, (2.0, 4.0, 0.5, 3.5), strict=True)
    }
    how = {"scorer": "robust", "n_resamples": 50, "random_state": 0}
    first = rank_features({name: X[:60] for name, X in pool.items()}, y[:60], **how)
    last = rank_features({name: pool[name] for name in ("b", "d")}, y, **how)
    return first, last


def test_the_order_is_by_iteration_and_then_by_score(rankings):
    first, last = rankings
    joined = join_iterations(rankings, [60, 180], NAMES, {})
    assert joined.names == [*last.names, *(n for n in first.names if n in "ac")]
    results = joined.results
    assert results["rank"].tolist() == [joined.names.index(name) + 1 for name in NAMES]
    assert results["iteration"].tolist() == [1, 2, 1, 2]
    assert results["n_samples"].tolist() == [60, 180, 60, 180]
    for i, name in enumerate(NAMES):
        source = first if name in "ac" else last
        assert results["score"][i] == source.scores[name]
    # The worst of the last iteration has score 0, and is still before all that were dropped.
    assert results["score"][joined.order].tolist() != sorted(results["score"], reverse=True)


def test_only_the_last_iteration_is_compared(rankings):
    _, last = rankings
    joined = join_iterations(rankings, [60, 180], NAMES, {})
    assert [NAMES[i] for i in joined.comparable] == last.names
    assert joined.leave_one_out()["left_out"].tolist() == last.names
    assert joined.ablation()["names"].tolist() == last.ablation()["names"].tolist()
    best = dict(zip(NAMES, joined.results["best_probability"], strict=True))
    assert np.isnan([best["a"], best["c"]]).all()
    assert best["b"] + best["d"] == pytest.approx(1.0)
    assert np.isnan(joined.resamples[:, [0, 2]]).all()
    np.testing.assert_array_equal(joined.resamples[:, [1, 3]], last.resamples)
    # Groups go on from one iteration to the next.
    group = joined.results["group"][joined.order]
    assert (np.diff(group) >= 0).all()
    assert group[1] < group[2]


def test_agreement_is_with_the_order(rankings):
    joined = join_iterations(rankings, [60, 180], NAMES, {})
    accuracies = {name: -float(place) for place, name in enumerate(joined.names)}
    assert joined.agreement(accuracies)["kendall_tau"] == pytest.approx(1.0)
    assert joined.pareto({"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0}) == [joined.best]


def test_candidates_that_were_left_out_are_last(rankings):
    first, _ = rankings
    joined = join_iterations([first], [60], ["z", *NAMES], {"z": "left out: no time"}, ["a note"])
    assert joined.names == [*first.names, "z"]
    assert joined.results["error"].tolist() == ["left out: no time", "", "", "", ""]
    assert joined.results["iteration"].tolist() == [0, 1, 1, 1, 1]
    assert joined.notes[0] == "a note"
    assert "left out: no time" in str(joined)


def test_equal_candidates_of_one_iteration_share_a_rank():
    columns = {"model": list("abc"), "score": [1.0, 1.0, 1.0], "iteration": [1, 2, 2]}
    ranking = Ranking(columns)
    assert ranking.results["rank"].tolist() == [3, 1, 1]
    assert ranking.names == ["b", "c", "a"]
