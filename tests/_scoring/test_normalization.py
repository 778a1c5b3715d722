"""Normalisation over candidates: differences that are rounding must not decide a place."""

import numpy as np
import pytest
from helpers import make_problem

from sklearn_ncti import NCTIScorer, Ranking, rank_features
from sklearn_ncti._scoring.normalization import (
    EQUAL_SHARE,
    NORMALIZATIONS,
    merge_equal,
    summed,
)


@pytest.mark.parametrize(
    ("values", "merged"),
    [
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]),
        ([1.0, 1.0 + 1e-8, 3.0], [1.0 + 1e-8, 1.0 + 1e-8, 3.0]),
        ([3.0, 3.0 - 2e-6, 3.0 - 4e-6], [3.0, 3.0, 3.0]),
        ([-3.0, -3.0 + 1e-7, 0.0], [-3.0 + 1e-7, -3.0 + 1e-7, 0.0]),
        # Small beside the largest value: that is what another machine would change.
        ([1e-8, -1e-8, 5.0], [1e-8, 1e-8, 5.0]),
        ([1e-8, -1e-8], [1e-8, -1e-8]),
        ([np.nan, 2.0, -np.inf], [np.nan, 2.0, -np.inf]),
        ([np.nan], [np.nan]),
        ([], []),
    ],
)
def test_equal_values_become_one(values, merged):
    values = np.array(values, dtype=float)
    before = values.copy()
    np.testing.assert_array_equal(merge_equal(values), merged)
    np.testing.assert_array_equal(values, before)
    np.testing.assert_array_equal(merge_equal(values[::-1])[::-1], merged)


def test_sums_whose_parts_cancel_are_equal():
    # 0.1 + 0.2 - 0.3 is 5.6e-17 in float64, and in another order 0.
    components = {"a": [0.1, 0.0, 0.2], "b": [0.2, 0.0, -0.3], "c": [-0.3, 0.0, 0.1]}
    components = {name: np.array(values) for name, values in components.items()}
    total = summed(components, "absolute", dict.fromkeys("abc", 1.0))[0]
    assert len(set(total)) == 1


def pool_of_equals():
    """Three candidates, one of which is there in several arrangements of the same features."""
    X, y = make_problem(n=400, d=80, scale=3.0, spread=1.0, seed=0)
    rng = np.random.default_rng(0)
    X = X.astype(np.float32)
    noise = 1 + 1e-7 * rng.standard_normal(X.shape)
    equals = {
        "as they are": X,
        "columns reversed": X[:, ::-1],
        "columns permuted": X[:, rng.permutation(80)],
        "float64": X.astype(np.float64),
        "rounded": (X * noise).astype(np.float32),
    }
    others = {"noisy": X + 3 * rng.standard_normal(X.shape), "half": X[:, :40]}
    return equals, others, y


@pytest.mark.filterwarnings("ignore:n = .* rows are few:UserWarning")
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("shrinkage", ["adaptive", 0.1])
def test_equal_candidates_have_equal_scores_and_one_rank(normalization, shrinkage):
    equals, others, y = pool_of_equals()
    scorer = NCTIScorer(shrinkage=shrinkage)
    ranking = rank_features(
        equals | others,
        y,
        normalization=normalization,
        scorer=scorer,
        n_resamples=40,
        random_state=0,
    )
    for column in ("score", "rank", "score_low", "score_high", "best_probability", "group"):
        found = ranking.results[column][: len(equals)]
        np.testing.assert_allclose(found, found[0], rtol=1e-5, atol=1e-12, err_msg=column)
    assert len(set(ranking.results["rank"][: len(equals)])) == 1
    assert len(set(ranking.results["score"][: len(equals)])) == 1
    # The components are told as they were measured.
    assert len(set(ranking.results["seli"][: len(equals)])) > 1


@pytest.mark.filterwarnings("ignore:n = .* rows are few:UserWarning")
@pytest.mark.parametrize("normalization", ["minmax", "zscore", "rank"])
def test_only_equal_candidates(normalization):
    equals, _, y = pool_of_equals()
    with pytest.warns(UserWarning, match="do not vary over the 5 candidates .by more than 1e-06"):
        ranking = rank_features(equals, y, normalization=normalization)
    np.testing.assert_array_equal(ranking.results["score"], 0.0)
    np.testing.assert_array_equal(ranking.results["rank"], 1)
    # Equal candidates stay in the order given.
    assert ranking.names == list(equals)


def test_totals_that_are_known():
    ranking = Ranking.from_scores({"a": 1.0, "b": 1.0 + EQUAL_SHARE / 2, "c": 0.5})
    assert ranking.results["rank"].tolist() == [1, 1, 3]
    assert ranking.names == ["a", "b", "c"]
    assert ranking.pareto({"a": 2.0, "b": 1.0, "c": 0.5}) == ["b", "c"]
