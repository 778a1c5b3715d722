"""One ranking from those of successive iterations."""

import numpy as np
import pytest

from sklearn_ncti import Ranking, rank_features
from sklearn_ncti._ranking.iterations import join_iterations
from sklearn_ncti._ranking.report.page import RankedData, ranking_report
from sklearn_ncti._ranking.report.scatter import scatter_part

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


def test_only_scores_of_the_last_iteration_are_called_held(rankings):
    """The worst of the first iteration is held there, and has no rank in the last."""
    first, _ = rankings
    joined = join_iterations(rankings, [60, 180], NAMES, {})
    assert first.results["held"][2]
    assert joined.results["held"][2]
    held = [" ".join(str(r).split()).partition("held: ")[2] for r in (first, joined)]
    assert "c (rank 4)" in held[0]
    assert "c (rank" not in held[1]


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
    assert joined.left_out.tolist() == [True, False, False, False, False]


def test_candidates_that_were_left_out_did_not_fail(rankings):
    """A failure is called a failure, and what did not start is named with its reason."""
    first, _ = rankings
    left_out = {"x": "left out: no time", "z": "left out: no time", "w": "left out: too large"}
    joined = join_iterations([first], [60], ["w", "x", *NAMES, "z"], left_out)
    lines = str(joined).splitlines()
    assert {"left out: x, z: no time", "left out: w: too large"} <= set(lines)
    assert "failed" not in str(joined)
    page = ranking_report(joined)
    assert page.count(">left out</td>") == 3
    assert "<h2>Candidates left out</h2><dl><dt>too large</dt><dd>w</dd>" in page.replace("\n", "")
    assert "<dt>no time</dt><dd>x, z</dd>" in page
    assert "Candidates that failed" not in page
    assert "4 candidates ranked, 3 left out, " in page


def test_failures_of_an_iteration_stay_failures(rankings):
    first, _ = rankings
    columns = {name: column.copy() for name, column in first.results.items()}
    columns["error"][0] = "ValueError: broken"
    failed = Ranking(columns, weights=first.weights, normalization=first.normalization)
    joined = join_iterations([failed], [60], [*NAMES, "z"], {"z": "left out: no time"})
    assert "failed: a: ValueError: broken" in str(joined).splitlines()
    assert "left out: z: no time" in str(joined).splitlines()
    page = ranking_report(joined)
    assert page.count(">failed</td>") == 1
    assert page.count(">left out</td>") == 1
    assert "<dt>a</dt><dd>ValueError: broken</dd>" in page


def test_the_table_has_iterations_and_rows(rankings):
    joined = join_iterations(rankings, [60, 180], NAMES, {})
    header, *lines = str(joined).splitlines()
    assert "iteration  rows" in header
    end = header.index("rows") + 4
    cells = [line[:end].split()[-2:] for line in lines if line.split()[1:2] and line[0] != "-"]
    assert cells[:4] == [["2", "180"], ["2", "180"], ["1", "60"], ["1", "60"]]
    # A ranking of all rows has no iterations.
    assert "iteration" not in str(rankings[0])


def test_scores_of_iterations_share_no_picture(rankings):
    joined = join_iterations(rankings, [60, 180], NAMES, {})
    joined.results["n_parameters"] = np.array([1e6, 2e6, 3e6, 4e6])
    picture = "".join(scatter_part(joined))
    assert picture.count("<circle") == 2
    assert all(f"<title>{name}: score" in picture for name in "bd")


def test_the_summary_says_how_many_rows_were_used(rankings):
    data = RankedData(np.arange(3), np.full(3, 100))
    joined = join_iterations(rankings, [60, 180], NAMES, {})
    assert "4 candidates ranked on up to 180 of 300 rows of 3 classes" in ranking_report(
        joined, data
    )
    assert "4 candidates ranked on 300 rows of 3 classes" in ranking_report(rankings[0], data)


def test_equal_candidates_of_one_iteration_share_a_rank():
    columns = {"model": list("abc"), "score": [1.0, 1.0, 1.0], "iteration": [1, 2, 2]}
    ranking = Ranking(columns)
    assert ranking.results["rank"].tolist() == [3, 1, 1]
    assert ranking.names == ["b", "c", "a"]
