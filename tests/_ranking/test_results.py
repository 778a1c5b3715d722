"""The data that rankings are made of."""

import numpy as np
import pytest

from sklearn_ncti._ranking.results import RankingResults, as_columns, ranks


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
