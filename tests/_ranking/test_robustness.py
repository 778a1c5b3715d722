"""Leave-one-out, ablation and Pareto front of a ranking."""

from itertools import combinations

import numpy as np
import pytest
import scipy.stats
from helpers import make_pool
from sklearn.exceptions import FitFailedWarning

from sklearn_ncti import Ranking, rank_features
from sklearn_ncti.companions import HScore


@pytest.fixture(scope="module")
def pool():
    return make_pool()


def of_components(**columns):
    """A ranking from raw components, min-max scaled by hand."""
    columns = {name: np.array(values, dtype=float) for name, values in columns.items()}
    scaled = {name: (v - v.min()) / np.ptp(v) for name, v in columns.items()}
    models = np.array(list("abcdefgh")[: len(next(iter(columns.values())))], dtype=object)
    return Ranking(
        {
            "model": models,
            "score": sum(scaled.values()),
            **columns,
            **{f"normalized_{name}": v for name, v in scaled.items()},
        },
        normalization="minmax",
        weights=dict.fromkeys(columns, 1.0),
    )


@pytest.mark.parametrize("normalization", ["minmax", "zscore", "rank", "absolute"])
def test_leave_one_out_is_a_ranking_of_the_others(pool, normalization):
    features, y = pool
    ranking = rank_features(features, y, normalization=normalization)
    without = ranking.leave_one_out()
    assert without["left_out"].tolist() == ranking.names
    for i, left_out in enumerate(ranking.names):
        rest = {name: X for name, X in features.items() if name != left_out}
        expected = rank_features(rest, y, normalization=normalization)
        scores = [expected.scores[name] for name in without["names"][i]]
        np.testing.assert_allclose(scores, sorted(scores, reverse=True), atol=1e-9)
        assert sorted(without["names"][i]) == sorted(rest)
        before = [name for name in ranking.names if name != left_out]
        assert without["best"][i] == without["names"][i][0]
        assert without["best_before"][i] == before[0]
        turned = [
            expected.scores[a] < expected.scores[b] - 1e-9
            for a, b in combinations(before, 2)
            if ranking.scores[a] > ranking.scores[b] + 1e-9
        ]
        assert without["order_changes"][i] == any(turned)
    if normalization == "absolute":
        assert not without["order_changes"].any()


def test_the_first_place_without_each_candidate_written_out():
    """The range of a component is that of the candidates that are left."""
    n_changes = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        ranking = of_components(**dict(zip("stu", rng.normal(size=(3, 5)), strict=True)))
        without = ranking.leave_one_out()
        changed = dict(zip(without["left_out"], without["best_changes"], strict=True))
        for left_out in "abcde":
            kept = np.flatnonzero(ranking.results["model"] != left_out)
            columns = [ranking.results[name][kept] for name in "stu"]
            total = sum((v - v.min()) / np.ptp(v) for v in columns)
            rest = [name for name in ranking.names if name != left_out]
            best = "abcde"[kept[total.argmax()]]
            assert changed[left_out] == (best != rest[0])
        n_changes += sum(changed.values())
        assert ("depends on the pool" in str(ranking)) == any(changed.values())
    assert 0 < n_changes < 150


def test_a_note_names_what_the_first_place_depends_on():
    # Without c the range of s falls from 10 to 1, and a's lead in s counts for all of it.
    ranking = of_components(s=[10.0, 9.0, 0.0], t=[0.0, 0.2, 1.0], u=[0.4, 0.5, 0.4])
    assert ranking.names == ["b", "a", "c"]
    assert not ranking.leave_one_out()["best_changes"].any()
    ranking = of_components(s=[10.0, 9.5, 0.0], t=[0.9, 1.0, 0.95], u=[1.0, 0.9, 0.0])
    assert ranking.names[0] == "b"
    without = ranking.leave_one_out()
    assert without["left_out"][without["best_changes"]].tolist() == ["c"]
    note = "the first place depends on the pool: without 'c', 'a' comes before 'b'"
    assert note in str(ranking)
    assert "the first place depends on the pool" in ranking._repr_html_()


def test_equal_candidates_do_not_change_places(pool):
    features, y = pool
    X = features["noise 0.2"]
    order = np.random.default_rng(0).permutation(X.shape[1])
    same = {"a": X, "b": X[:, order], "c": features["noise 1.0"]}
    without = rank_features(same, y).leave_one_out()
    assert not without["order_changes"].any()


def test_leave_one_out_of_few_and_of_totals():
    only = of_components(s=[1.0, 2.0])
    without = only.leave_one_out()
    assert without["names"].tolist() == [["a"], ["b"]]
    assert not without["best_changes"].any()
    totals = Ranking.from_scores({"a": 1.0, "b": 0.5})
    for method in (totals.leave_one_out, totals.ablation):
        with pytest.raises(ValueError, match="has totals only"):
            method()


def test_a_failed_candidate_is_not_left_out(pool):
    features, y = pool
    with pytest.warns(FitFailedWarning):
        ranking = rank_features({"broken": np.full((300, 3), np.nan), **features}, y)
    without = rank_features(features, y).leave_one_out()
    for name, column in ranking.leave_one_out().items():
        assert column.tolist() == without[name].tolist()
    assert (
        ranking.ablation()["best"].tolist()
        == rank_features(features, y).ablation()["best"].tolist()
    )


@pytest.mark.parametrize("normalization", ["minmax", "zscore", "rank", "absolute"])
def test_ablation_is_a_ranking_with_other_weights(pool, normalization):
    features, y = pool
    weights = {"seli": 2.0, "vc": 0.5}
    ranking = rank_features(features, y, normalization=normalization, weights=weights)
    subsets = ranking.ablation()
    names = ("seli", "ncc", "vc")
    expected = [subset for size in (1, 2, 3) for subset in combinations(names, size)]
    assert subsets["components"].tolist() == [" + ".join(subset) for subset in expected]
    for i, subset in enumerate(expected):
        part = {name: weights.get(name, 1.0) * (name in subset) for name in names}
        other = rank_features(features, y, normalization=normalization, weights=part)
        assert subsets["names"][i] == other.names
        assert subsets["best"][i] == other.best
        tau = scipy.stats.kendalltau(other.results["score"], ranking.results["score"]).statistic
        assert subsets["kendall_tau"][i] == pytest.approx(tau)
        agreement = other.agreement(ranking.scores)["weighted_kendall_tau"]
        assert subsets["weighted_kendall_tau"][i] == pytest.approx(agreement)
    assert subsets["kendall_tau"][-1] == pytest.approx(1)


def test_ablation_leaves_out_what_has_no_weight(pool):
    features, y = pool
    subsets = rank_features(features, y, weights={"vc": 0}).ablation()
    assert subsets["components"].tolist() == ["seli", "ncc", "seli + ncc"]


def test_ablation_looks_at_the_scorer_that_ranks(pool):
    features, y = pool
    weak, strong = HScore(shrinkage=0.9), HScore(shrinkage=None)
    ranking = rank_features(features, y, scorer=[("weak", weak), ("strong", strong)])
    alone = rank_features(features, y, scorer=weak)
    np.testing.assert_array_equal(ranking.results["hscore"], alone.results["hscore"])
    assert ranking.ablation()["best"][0] == ranking.best == alone.best


def test_pareto_has_what_nothing_dominates():
    rng = np.random.default_rng(0)
    scores = {f"m{i}": float(x) for i, x in enumerate(rng.normal(size=30))}
    costs = {f"m{i}": float(x) for i, x in enumerate(rng.integers(1, 8, size=30))}
    ranking = Ranking.from_scores(scores)
    found = ranking.pareto(costs)
    assert found == [name for name in ranking.names if name in found]
    for name in scores:
        beaten = any(
            scores[other] > scores[name] and costs[other] <= costs[name] for other in scores
        )
        assert (name in found) == (not beaten)
    assert found[0] == ranking.best


def test_pareto_by_columns():
    columns = {
        "model": ["a", "b", "c", "d"],
        "score": [4.0, 3.0, 2.0, 1.0],
        "images_per_second": [10.0, np.nan, 50.0, 20.0],
        "n_parameters": [100, 50, 50, 60],
        "license": ["mit"] * 4,
    }
    ranking = Ranking(columns)
    # Faster is better, fewer parameters are, and what is not known does not take part.
    assert ranking.pareto() == ["a", "c"]
    assert ranking.pareto("n_parameters") == ["a", "b"]
    assert ranking.pareto({"b": 1.0, "d": 0.5}) == ["b", "d"]
    for wrong in ("license", "score", "seconds"):
        with pytest.raises(ValueError, match=f"cost must be a column .* got '{wrong}'"):
            ranking.pareto(wrong)
    with pytest.raises(ValueError, match=r"cost has names that were not ranked: \['z'\]"):
        ranking.pareto({"z": 1.0})


def test_features_in_hand_have_no_speed(pool):
    features, y = pool
    ranking = rank_features(features, y)
    with pytest.raises(ValueError, match="no candidate has both a score and that cost"):
        ranking.pareto()
    assert "narrow" in ranking.pareto("n_features")
    assert ranking.pareto("n_features")[0] == ranking.best
