"""The data that rankings are made of."""

import numpy as np
import pytest

from sklearn_ncti._ranking.results import RankingResults, as_columns, ranks, shortlist


def test_order_is_by_score_and_then_as_given():
    results = RankingResults(
        {
            "model": ["low", "first of two", "failed", "second of two"],
            "score": [0.5, 2.0, 9.0, 2.0 + 1e-9],
            "error": ["", "", "ValueError: no", ""],
        }
    )
    assert results.names == ["first of two", "second of two", "low", "failed"]
    assert results.order.tolist() == [1, 3, 0, 2]
    assert (results.best, results.best_index, len(results)) == ("first of two", 1, 4)
    assert results.results["rank"].tolist() == [3, 1, 4, 1]
    assert list(results.scores) == results.names


def test_what_was_given_is_not_changed():
    columns = {"model": np.array(["a", "b"], dtype=object), "score": np.array([1.0, 2.0])}
    RankingResults(columns)
    assert set(columns) == {"model", "score"}


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        ([1.0, 3.0, 2.0], [3, 1, 2]),
        ([1.0, 1.0, 2.0], [2, 2, 1]),
        ([np.nan, 1.0, np.nan], [2, 1, 2]),
        ([5.0], [1]),
    ],
)
def test_equal_scores_share_the_best_rank(score, expected):
    assert ranks(np.array(score)).tolist() == expected


def test_rows_become_columns_of_numbers_or_of_objects():
    columns = as_columns([{"n": 1, "names": ["a"]}, {"n": 2, "names": ["a", "b"]}])
    assert columns["n"].dtype.kind == "i"
    assert columns["names"].tolist() == [["a"], ["a", "b"]]
    assert as_columns([]) == {}


def test_the_shortlist_holds_the_first_that_have_a_score():
    results = RankingResults(
        {
            "model": ["low", "best", "failed", "second"],
            "score": [0.5, 2.0, 9.0, 1.0],
            "error": ["", "", "ValueError: no", ""],
        }
    )
    assert shortlist(results, 1) == ["best"]
    assert shortlist(results, np.int64(2)) == ["best", "second"]
    assert shortlist(results, 9) == ["best", "second", "low"]


def test_the_shortlist_of_several_iterations_starts_with_the_last():
    results = RankingResults(
        {
            "model": ["dropped", "best", "not started", "second"],
            "score": [9.0, 2.0, np.nan, 1.0],
            "error": ["", "", "left out: max_time", ""],
            "iteration": [1, 2, 0, 2],
        }
    )
    assert shortlist(results, 4) == ["best", "second", "dropped"]


@pytest.mark.parametrize("n", [0, -1, 1.5, True, None])
def test_the_length_of_a_shortlist_is_checked(n):
    results = RankingResults({"model": ["a", "b"], "score": [0.0, 1.0]})
    with pytest.raises(ValueError, match=f"n must be an integer of at least 1, got {n!r}"):
        shortlist(results, n)
