"""What stands beside a ranking: other pools, other sums, other scorers, a baseline, costs."""

from itertools import combinations

import numpy as np
import pytest
import scipy.stats
from helpers import ROUNDING, make_problem
from sklearn.base import BaseEstimator
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ncti import NCTIScorer, NearestCenterClassifier, Ranking, rank_features
from sklearn_ncti._linalg import pca
from sklearn_ncti._linalg.moments import raw_moments
from sklearn_ncti._linalg.pca import principal_basis, shared_moments
from sklearn_ncti._scoring.scorers import check_scorers
from sklearn_ncti.companions import GBC, LEEP, NLEEP, SFDA, FaCe, HScore, LogME, TransRate


@pytest.fixture(scope="module")
def pool():
    """Candidates that differ in more than one way, so that components disagree."""
    X, y = make_problem(n=300, d=20, n_classes=4, spread=1.0, scale=3.0)
    noise = np.random.default_rng(1).normal(size=X.shape)
    features = {f"noise {a}": X + 3 * a * noise for a in (0.2, 0.0, 1.0, 0.5)}
    return features | {"narrow": X[:, :4], "undecided": noise + 0.2 * X}, y


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


# Leaving one out --------------------------------------------------------------------------


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


# Ablation ---------------------------------------------------------------------------------


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


# Several scorers --------------------------------------------------------------------------


def test_a_classifier_is_scored_by_cross_validation(pool):
    features, y = pool
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    for classifier in (KNeighborsClassifier(), probe):
        ranking = rank_features(features, y, scorer=classifier)
        name = type(classifier).__name__.lower()
        expected = [
            cross_val_score(classifier, X, y, cv=StratifiedKFold(5)).mean()
            for X in features.values()
        ]
        np.testing.assert_allclose(ranking.results[name], expected)
        assert ranking.results["score"].max() == pytest.approx(1)
    # It has a score() of its own, and is a classifier all the same.
    own = rank_features(features, y, scorer=NearestCenterClassifier()).results
    fitted = NearestCenterClassifier().fit(features["narrow"], y)
    assert own["nearestcenterclassifier"][4] == pytest.approx(fitted.score())


def test_few_rows_of_a_class_make_fewer_folds(pool):
    features, y = pool
    kept = np.r_[np.flatnonzero(y == 0)[:3], np.flatnonzero(y > 0)]
    X, labels = features["narrow"][kept], y[kept]
    found = rank_features({"a": X}, labels, scorer=KNeighborsClassifier()).results
    expected = cross_val_score(KNeighborsClassifier(), X, labels, cv=StratifiedKFold(3)).mean()
    assert found["kneighborsclassifier"][0] == pytest.approx(expected)
    with pytest.raises(ValueError, match="scored by cross-validation, but a class has 1 row"):
        rank_features({"a": X[2:]}, labels[2:], scorer=KNeighborsClassifier())


def test_scorers_beside_the_first(pool):
    features, y = pool
    scorers = [
        NCTIScorer(),
        LogME(),
        ("kNN", KNeighborsClassifier()),
        ("fewer", NCTIScorer(n_components=5)),
        NCTIScorer(shrinkage=0.5),
    ]
    ranking = rank_features(features, y, scorer=scorers)
    plain = rank_features(features, y)
    results = ranking.results
    np.testing.assert_allclose(results["score"], plain.results["score"], **ROUNDING)
    assert ranking.scorers == ["logme", "kNN", "fewer", "nctiscorer-2"]
    expected = [LogME().fit(X, y).score() for X in features.values()]
    np.testing.assert_allclose(results["logme"], expected, **ROUNDING)
    ranks = scipy.stats.rankdata(-results["logme"], method="min")
    np.testing.assert_array_equal(results["logme_rank"], ranks)
    for name, scorer in (("fewer", scorers[3][1]), ("nctiscorer-2", scorers[4])):
        # Several components are normalised over the pool and added, as those of the first.
        alone = rank_features(features, y, scorer=scorer)
        np.testing.assert_allclose(results[name], alone.results["score"], **ROUNDING)
    assert (results["kNN_error"] == "").all()

    agreement = ranking.scorer_agreement()
    assert len(agreement["first"]) == 10
    for i, (a, b) in enumerate(zip(agreement["first"], agreement["second"], strict=True)):
        tau = scipy.stats.kendalltau(results[a], results[b]).statistic
        assert agreement["kendall_tau"][i] == pytest.approx(tau)
        weighted = scipy.stats.weightedtau(results[a], results[b]).statistic
        assert agreement["weighted_kendall_tau"][i] == pytest.approx(weighted)
        assert agreement["n_models"][i] == len(features)
    header, first = str(ranking).splitlines()[:2]
    assert header.split()[-4:] == ["logme", "kNN", "fewer", "nctiscorer-2"]
    assert f"{results['logme'][1]:.3f} ({results['logme_rank'][1]})" in first
    assert "agreement of the orders (Kendall tau): score and logme" in str(ranking)


@pytest.mark.parametrize("shape", [(300, 40), (150, 200)], ids=["n > d", "n < d"])
def test_scorers_beside_the_first_share_its_moments(monkeypatch, shape):
    features = {}
    for seed, name in enumerate("ab"):
        features[name], y = make_problem(*shape, n_classes=4, spread=2.0, seed=seed)
    first = NCTIScorer(n_components=12)
    others = [HScore(), GBC(), FaCe(), TransRate(), SFDA(), NLEEP(components_per_class=1)]
    alone = rank_features(features, y, scorer=first).results
    expected = {
        type(other).__name__.lower(): [other.fit(X, y).score() for X in features.values()]
        for other in others
    }
    taken, found = [], []
    for name in ("raw_moments", "row_products", "basis_of_scatter"):
        function = getattr(pca, name)

        def noting(*args, function=function, name=name):
            if name == "basis_of_scatter":
                found.append(args[3])
            else:
                taken.append(name)
            return function(*args)

        monkeypatch.setattr(pca, name, noting)
    results = rank_features(features, y, scorer=[first, *others]).results
    # Once for a candidate; the leading components first, then all, and never again.
    assert len(taken) == 2
    assert found == [12, min(features["a"].shape)] * 2
    for name in ("seli", "ncc", "vc", "score"):
        np.testing.assert_allclose(results[name], alone[name], **ROUNDING)
    for name, values in expected.items():
        np.testing.assert_allclose(results[name], values, rtol=1e-8, atol=1e-8)
    # Nothing is kept beyond a candidate.
    HScore().fit(features["a"], y)
    HScore().fit(features["a"], y)
    assert len(taken) == 4


def test_what_is_kept_of_two_arrays_is_not_mixed(monkeypatch):
    """One array is looked at while moments of the other are taken, as two threads may do."""
    first, second = (np.random.default_rng(seed).normal(size=(60, 8)) for seed in (0, 1))
    expected = [principal_basis(X, 8).variances for X in (first, second)]

    def interrupted(*args):
        monkeypatch.setattr(pca, "raw_moments", raw_moments)
        principal_basis(second, 8)
        return raw_moments(*args)

    monkeypatch.setattr(pca, "raw_moments", interrupted)
    with shared_moments():
        for X, variances in zip((first, second), expected, strict=True):
            np.testing.assert_allclose(principal_basis(X, 8).variances, variances)


def test_scorers_under_the_absolute_normalization(pool):
    features, y = pool
    scorers = [LogME(), NCTIScorer()]
    results = rank_features(features, y, scorer=scorers, normalization="absolute").results
    expected = [NCTIScorer().fit(X, y).score() for X in features.values()]
    np.testing.assert_allclose(results["nctiscorer"], expected)


def test_weights_are_those_of_the_components_wherever_they_are(pool):
    features, y = pool
    weights = {"seli": 2.0}
    scorers = [NCTIScorer(), ("again", NCTIScorer())]
    results = rank_features(features, y, scorer=scorers, weights=weights).results
    np.testing.assert_allclose(results["again"], results["score"], **ROUNDING)


def test_what_cannot_be_computed_is_missing_with_a_reason(pool):
    features, y = pool
    few = np.append(y, 9)
    one_more = {name: np.vstack([X, X[:1]]) for name, X in features.items()}
    scorers = [NCTIScorer(), GBC(), LEEP(), HScore()]
    with pytest.warns(FitFailedWarning, match="scorers beside the first are missing: gbc for 6"):
        ranking = rank_features(one_more, few, scorer=scorers)
    results = ranking.results
    assert (results["error"] == "").all()
    assert np.isfinite(results["score"]).all()
    assert np.isnan(results["gbc"]).all()
    assert np.isnan(results["leep"]).all()
    assert np.isfinite(results["hscore"]).all()
    assert results["gbc_error"][0].startswith("ValueError: ")
    text = str(ranking)
    assert "gbc is missing for noise 0.2, noise 0.0, noise 1.0, and 3 more: ValueError" in text
    assert "probabilities" in results["leep_error"][0]
    agreement = ranking.scorer_agreement()
    assert np.isfinite(agreement["kendall_tau"]).sum() == 1
    assert agreement["n_models"].max() == 6


def test_one_candidate_without_a_value(pool):
    features, y = pool
    probabilities = np.random.default_rng(0).dirichlet(np.ones(5), size=len(y))
    mixed = {"head": probabilities, **features}
    with pytest.warns(FitFailedWarning, match="leep for 6 candidate"):
        ranking = rank_features(mixed, y, scorer=[NCTIScorer(), LEEP()])
    assert np.isfinite(ranking.results["leep"]).tolist() == [True] + [False] * 6
    assert ranking.results["leep_rank"][0] == 1


def test_a_failed_candidate_has_no_other_values(pool):
    features, y = pool
    broken = {"broken": np.full((300, 3), np.nan), **features}
    with pytest.warns(FitFailedWarning, match="1 of 7 candidates failed"):
        ranking = rank_features(broken, y, scorer=[NCTIScorer(), LogME()])
    assert np.isnan(ranking.results["logme"][0])
    assert np.isfinite(ranking.results["logme"][1:]).all()
    assert "logme is missing" not in str(ranking)


def test_bad_lists_of_scorers(pool):
    features, y = pool

    def rank(scorer):
        return rank_features(features, y, scorer=scorer)

    with pytest.raises(ValueError, match="scorer is an empty list"):
        rank([])
    with pytest.raises(ValueError, match=r"more than one named \['a'\]"):
        rank([("a", NCTIScorer()), ("a", LogME())])
    with pytest.raises(ValueError, match=r"scorer 'seli' .*\['seli'\] of the results"):
        rank([NCTIScorer(), ("seli", LogME())])
    with pytest.raises(TypeError, match="scorer must have fit"):
        rank([NCTIScorer(), "logme"])


# A baseline -------------------------------------------------------------------------------


def test_baseline(pool):
    features, y = pool
    numbers = {name: 70.0 + i for i, name in enumerate(features)}
    missing = numbers.pop("narrow")
    ranking = rank_features(features, y, baseline={**numbers, "resnet50": missing})
    results = ranking.results
    assert results["baseline"][:4].tolist() == [70, 71, 72, 73]
    assert np.isnan(results["baseline"][4])
    assert results["baseline_rank"].tolist() == [5, 4, 3, 2, 6, 1]
    assert ranking.scorers == ["baseline"]
    agreement = ranking.scorer_agreement()
    expected = ranking.agreement(numbers)
    for name in ("weighted_kendall_tau", "kendall_tau", "spearman_rho", "n_models"):
        assert agreement[name][0] == pytest.approx(expected[name])
    assert "baseline is missing for narrow" in str(ranking)
    assert str(ranking).splitlines()[0].split()[-1] == "baseline"


def test_bad_baselines(pool):
    features, y = pool
    with pytest.raises(ValueError, match=r"baseline has none of the candidates: it has \['x'\]"):
        rank_features(features, y, baseline={"x": 1.0})
    with pytest.raises(ValueError, match=r"baseline\['narrow'\] is nan"):
        rank_features(features, y, baseline={"narrow": np.nan})
    with pytest.raises(TypeError, match="baseline must be a dict"):
        rank_features(features, y, baseline=[1.0] * 6)
    one = rank_features(features, y, baseline={"narrow": 1.0})
    assert np.isnan(one.scorer_agreement()["kendall_tau"][0])
    assert "agreement of the orders" not in str(one)


# Costs ------------------------------------------------------------------------------------


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


# Names ------------------------------------------------------------------------------------


def test_columns_of_scorers_cannot_overwrite_each_other(pool):
    features, y = pool
    weak, strong = HScore(shrinkage=0.9), HScore(shrinkage=None)
    for scorers, name, column in (
        # The component of the scorer that ranks has a column as well, named by its class.
        ([("weak", weak), strong], "hscore", "hscore"),
        ([weak, ("normalized_hscore", strong)], "normalized_hscore", "normalized_hscore"),
        ([NCTIScorer(), ("a", weak), ("a_rank", strong)], "a_rank", "a_rank"),
        ([NCTIScorer(), ("a_error", weak), ("a", strong)], "a", "a_error"),
        ([NCTIScorer(), ("ncc", weak)], "ncc", "ncc"),
        ([NCTIScorer(), ("baseline_rank", weak)], "baseline_rank", "baseline_rank"),
    ):
        with pytest.raises(ValueError, match="choose another name") as caught:
            rank_features(features, y, scorer=scorers)
        assert f"scorer {name!r} " in str(caught.value)
        assert f"['{column}']" in str(caught.value)

    class Score(HScore):
        """Its component would have the column of the sum."""

    with pytest.raises(ValueError, match=r"scorer 'score' .*\['score'\]"):
        rank_features(features, y, scorer=Score())


def test_ablation_looks_at_the_scorer_that_ranks(pool):
    features, y = pool
    weak, strong = HScore(shrinkage=0.9), HScore(shrinkage=None)
    ranking = rank_features(features, y, scorer=[("weak", weak), ("strong", strong)])
    alone = rank_features(features, y, scorer=weak)
    np.testing.assert_array_equal(ranking.results["hscore"], alone.results["hscore"])
    assert ranking.ablation()["best"][0] == ranking.best == alone.best


def test_all_columns_of_a_ranking_are_reserved(pool):
    """A column that is new must be refused as a name of a scorer."""
    features, y = pool
    scorers = [NCTIScorer(), ("mine", HScore())]
    numbers = dict.fromkeys(features, 1.0)
    results = rank_features(
        features, y, scorer=scorers, baseline=numbers, n_resamples=100, random_state=0
    ).results
    fixed = set(results) - {"mine", "mine_rank", "mine_error"}
    for name in fixed:
        with pytest.raises(ValueError, match="choose another name"):
            check_scorers([NCTIScorer(), (name, HScore())])


# Scorers that change what they are given --------------------------------------------------


class Greedy(BaseEstimator):
    """A scorer that works in place."""

    def fit(self, X, y):
        self.score_ = float(X.mean())
        X[:] = 0
        y[:] = 0
        return self

    def score(self):
        return self.score_


def test_a_scorer_that_writes_into_its_data_changes_nobody_elses(pool):
    features, y = pool
    X, labels = features["narrow"].copy(), y.copy()
    scorers = [("first", Greedy()), ("again", Greedy()), NCTIScorer()]
    results = rank_features({"narrow": X}, labels, scorer=scorers).results
    np.testing.assert_array_equal(X, features["narrow"])
    np.testing.assert_array_equal(labels, y)
    assert results["greedy"] == results["again"] == X.mean()
    assert results["nctiscorer_error"].tolist() == [""]
