"""Intervals, ranks, ties and groups from resampled rows."""

import pickle

import numpy as np
import pytest
from helpers import ROUNDING, make_problem
from sklearn.exceptions import FitFailedWarning
from sklearn.neighbors import KNeighborsClassifier

from sklearn_ncti import NCTIScorer, NearestCenterClassifier, Ranking, SELIGeometry, rank_features
from sklearn_ncti._scoring.bootstrap import (
    Resampling,
    describe_resamples,
    resampled_scores,
    surely_behind,
)
from sklearn_ncti._utils.validation import encode_labels
from sklearn_ncti.companions import LogME


def resample(fitted, n_resamples, seed):
    """Raw and absolute components of resamples of the rows of a fitted scorer."""
    codes = fitted._projection[1]
    found = fitted.resample(Resampling(n_resamples, seed).of(codes))
    return found.raw, found.absolute


def noisy_views(n=300, n_classes=4, d=20, seed=0):
    """Candidates of falling quality, and the labels."""
    X, y = make_problem(n=n, d=d, n_classes=n_classes, spread=1.0, scale=3.0, seed=seed)
    noise = np.random.default_rng(seed + 1).normal(size=X.shape)
    return {f"noise {a}": X + 3 * a * noise for a in (0.2, 0.0, 1.0, 0.5)}, y


def test_columns_of_the_results():
    features, y = noisy_views()
    ranking = rank_features(features, y, n_resamples=100, random_state=0)
    results = ranking.results
    assert ranking.resamples.shape == (100, 4)
    assert (results["score_low"] <= results["score"]).all()
    assert (results["score"] <= results["score_high"]).all()
    assert results["best_probability"].sum() == pytest.approx(1)
    assert results["rank_low"].tolist() == results["rank_high"].tolist() == [2, 1, 4, 3]
    assert results["group"].tolist() == [2, 1, 4, 3]
    # The scores themselves are those without resampling.
    plain = rank_features(features, y)
    np.testing.assert_allclose(results["score"], plain.results["score"], **ROUNDING)
    assert plain.resamples is None
    np.testing.assert_allclose(
        results["score_low"], np.quantile(ranking.resamples, 0.025, axis=0), atol=1e-12
    )


def test_random_state():
    features, y = noisy_views()

    def drawn(random_state):
        return rank_features(features, y, n_resamples=50, random_state=random_state).resamples

    first = drawn(0)
    np.testing.assert_allclose(drawn(0), first, **ROUNDING)
    np.testing.assert_allclose(drawn(np.random.RandomState(0)), first, **ROUNDING)
    # Other rows move the scores by far more than rounding.
    assert np.abs(drawn(1) - first).max() > 1e-3


def test_the_same_rows_are_drawn_for_all_candidates():
    """Another pool, another order: the candidate's own components move alike."""
    features, y = noisy_views()
    two = {name: features[name] for name in ("noise 0.5", "noise 0.0")}
    options = {"n_resamples": 50, "random_state": 0, "normalization": "absolute"}
    all_, some = (rank_features(f, y, **options).resamples for f in (features, two))
    np.testing.assert_allclose(all_[:, [3, 1]], some, **ROUNDING)


def test_spread_is_that_of_rows_drawn_from_the_population():
    def scores(seed, **options):
        whole, labels = noisy_views(n=40_000, d=10, seed=0)
        chosen = np.random.default_rng(seed).choice(len(labels), 400, replace=False)
        return rank_features(
            {name: X[chosen] for name, X in whole.items()},
            labels[chosen],
            normalization="absolute",
            **options,
        )

    truth = np.std([scores(seed).results["score"] for seed in range(40)], axis=0)
    found = scores(99, n_resamples=100, random_state=0).resamples.std(axis=0)
    np.testing.assert_allclose(found, truth, rtol=0.45)


def test_resamples_are_centred_at_what_was_observed():
    rng = np.random.default_rng(0)
    drawn = {"a": rng.normal(size=(500, 3)) + 7.0, "b": rng.normal(size=(500, 3))}
    observed = {"a": np.array([1.0, 2.0, 3.0]), "b": np.array([0.0, 0.0, np.nan])}
    weights = {"a": 1.0, "b": 2.0}
    scores, replications = resampled_scores(drawn, observed, "absolute", weights)
    np.testing.assert_allclose(scores.mean(axis=0), [1, 2, np.nan])
    errors = drawn["a"] - drawn["a"].mean(axis=0) + 2 * (drawn["b"] - drawn["b"].mean(axis=0))
    np.testing.assert_allclose(scores[:, 0], 1 + errors[:, 0])
    # Two independent errors instead of one.
    ratio = replications[:, :2].var(axis=0) / scores[:, :2].var(axis=0)
    np.testing.assert_allclose(ratio, 2, rtol=0.2)


def test_identical_candidates_are_tied():
    features, y = noisy_views()
    X = features["noise 0.2"]
    order = np.random.default_rng(0).permutation(X.shape[1])
    pool = {"a": X, "same": X.copy(), "columns in another order": X[:, order]}
    pool |= {"worse": features["noise 1.0"]}
    for normalization in ("minmax", "zscore", "rank", "absolute"):
        options = {"normalization": normalization, "n_resamples": 50, "random_state": 0}
        results = rank_features(pool, y, **options).results
        np.testing.assert_allclose(results["best_probability"], [1 / 3] * 3 + [0])
        assert results["group"].tolist() == [1, 1, 1, 2]
        assert results["rank_high"].tolist() == [1, 1, 1, 4]


def test_a_pool_of_identical_candidates():
    features, y = noisy_views()
    X = features["noise 0.2"]
    with pytest.warns(UserWarning, match="do not vary"):
        ranking = rank_features({"a": X, "b": X[:, ::-1]}, y, n_resamples=50, random_state=0)
    assert ranking.results["best_probability"].tolist() == [0.5, 0.5]
    assert ranking.results["group"].tolist() == [1, 1]
    assert (ranking.resamples == 0).all()
    absolute = {"normalization": "absolute", "n_resamples": 50, "random_state": 0}
    tied = rank_features({"a": X, "b": X[:, ::-1]}, y, **absolute)
    assert tied.results["best_probability"].tolist() == [0.5, 0.5]
    assert tied.results["group"].tolist() == [1, 1]


@pytest.mark.parametrize("normalization", ["minmax", "absolute"])
def test_a_noisy_copy_is_not_called_the_best(normalization):
    features, y = noisy_views()
    rng = np.random.default_rng(5)
    X = features["noise 0.0"]
    for noise in (1e-6, 1e-3, 0.05):
        pool = {"copy": X + noise * rng.normal(size=X.shape), **features}
        options = {"normalization": normalization, "n_resamples": 60, "random_state": 0}
        results = rank_features(pool, y, **options).results
        assert results["best_probability"][0] <= 0.9


def test_groups_have_all_pairs_apart_across_a_mark():
    """A is above B by a hair, B above C by a hair, A above C always; D is far below."""
    rng = np.random.default_rng(0)
    common = rng.normal(size=(200, 1))
    resamples = common + np.array([3.0, 2.0, 1.0, -9.0]) + 0.55 * rng.normal(size=(200, 4))
    scores = np.array([3.0, 2.0, 1.0, -9.0])
    found = describe_resamples(scores, resamples, resamples, "zscore")
    ahead = (resamples[:, :3, None] > resamples[:, None, :3]).mean(axis=0)
    assert ahead[0, 1] < 0.97
    assert ahead[1, 2] < 0.97
    assert ahead[0, 2] > 0.98
    assert found["group"].tolist() == [1, 1, 1, 2]
    # Two of three that are apart, when the one between them is not there.
    kept = [0, 2, 3]
    found = describe_resamples(scores[kept], resamples[:, kept], resamples[:, kept], "minmax")
    assert found["group"].tolist() == [1, 2, 3]


def test_few_resamples_tell_nothing_apart():
    features, y = noisy_views()
    with pytest.warns(UserWarning, match="n_resamples=10 are few: with less than 39"):
        few = rank_features(features, y, n_resamples=10, random_state=0)
    assert few.results["group"].tolist() == [1, 1, 1, 1]
    assert "no part of the list can be told apart" in str(few)
    enough = rank_features(features, y, n_resamples=39, random_state=0)
    assert enough.results["group"].max() == 4


def test_a_failed_candidate_has_no_interval():
    features, y = noisy_views()
    pool = {"broken": np.full_like(features["noise 0.0"], np.nan), **features}
    options = {"n_resamples": 50, "random_state": 0}
    with pytest.warns(FitFailedWarning):
        ranking = rank_features(pool, y, **options)
    without = rank_features(features, y, **options)
    for name in ("score_low", "score_high", "best_probability", "rank_low", "group"):
        found = ranking.results[name][1:]
        np.testing.assert_allclose(found, without.results[name], **ROUNDING)
    assert ranking.results["group"][0] == 0
    assert np.isnan(ranking.results["score_low"][0])
    assert np.isnan(ranking.resamples[:, 0]).all()


def test_one_component_and_other_scorers():
    features, y = noisy_views()
    options = {"n_resamples": 50, "random_state": 0}
    seli = rank_features(features, y, scorer=SELIGeometry(), **options)
    # Nothing but a change of scale: the raw values under "absolute" are the component.
    raw = rank_features(features, y, scorer=SELIGeometry(), normalization="absolute", **options)
    fitted = SELIGeometry().fit(features["noise 0.5"], y)
    np.testing.assert_allclose(raw.resamples[:, 3].mean(), fitted.seli_)
    assert seli.best == "noise 0.0"
    # A companion is fitted again to the rows that were drawn.
    logme = rank_features(features, y, scorer=LogME(), normalization="absolute", **options)
    codes = encode_labels(y)[1]
    seed = np.random.RandomState(0).randint(np.iinfo(np.int32).max)
    order = np.argsort(codes, kind="stable")
    by_hand = []
    for weights in Resampling(50, seed).of(codes).by_class():
        rows = np.repeat(order, weights)
        by_hand.append(LogME().fit(features["noise 0.5"][rows], y[rows]).score())
    centred = by_hand - np.mean(by_hand) + logme.results["logme"][3]
    np.testing.assert_allclose(logme.resamples[:, 3], centred, **ROUNDING)


def test_the_papers_variant_is_fitted_again():
    features, y = noisy_views(d=8)
    scorer = NCTIScorer(variant="paper")
    options = {"n_resamples": 40, "random_state": 0, "normalization": "absolute"}
    paper = rank_features(features, y, scorer=scorer, **options)
    assert paper.resamples.std(axis=0).min() > 0
    assert paper.best == "noise 0.0"


def test_labels_and_order_of_columns_do_not_matter():
    features, y = noisy_views()
    options = {"n_resamples": 40, "random_state": 0}
    plain = rank_features(features, y, **options)
    named = rank_features(features, np.array(["a", "b", "c", "d"])[y], **options)
    np.testing.assert_allclose(plain.resamples, named.resamples, **ROUNDING)


def test_refused():
    features, y = noisy_views()
    lonely = y.copy()
    lonely[0] = 9
    with pytest.raises(ValueError, match=r"the class 9 has 1 row: at least 2 of every class"):
        rank_features(features, lonely, n_resamples=50)
    with pytest.raises(ValueError, match=r"the class 'c9' has 1 row: at least 2 of every class"):
        rank_features(features, np.array([f"c{c}" for c in lonely], dtype=object), n_resamples=50)
    for wrong in (-1, 2.5, "many", True, 100_001):
        with pytest.raises(ValueError, match="n_resamples must be an integer from 0 to 100000"):
            rank_features(features, y, n_resamples=wrong)
    with pytest.raises(ValueError, match=r"NCTIScorer has cv=3\. Use cv='loo' with"):
        rank_features(features, y, n_resamples=50, scorer=NCTIScorer(cv=3))
    with pytest.raises(ValueError, match=r"NCTIScorer has cv='loo'\. Use .* variant='released'"):
        rank_features(features, y, n_resamples=50, scorer=NCTIScorer(cv="loo", variant="paper"))
    with pytest.raises(ValueError, match="KNeighborsClassifier is scored by cross-validation"):
        rank_features(features, y, n_resamples=50, scorer=KNeighborsClassifier())
    with pytest.raises(ValueError, match="'nope' cannot be used to seed"):
        rank_features(features, y, n_resamples=50, random_state="nope")
    # Without resampling none of that matters.
    rank_features(features, y, scorer=NearestCenterClassifier(cv=3), n_resamples=0)


def test_training_rows_are_no_part_of_a_pickle():
    X, y = make_problem(d=10)
    scorer = NCTIScorer().fit(X, y)
    assert len(pickle.dumps(scorer)) < 20_000
    loaded = pickle.loads(pickle.dumps(scorer))
    assert loaded.score() == scorer.score()
    with pytest.raises(ValueError, match=r"loaded from a file\. Fit it again"):
        loaded.resample(Resampling(2, 0).of(np.zeros(len(y), dtype=int)))
    # The scorer itself still has them.
    assert len(resample(scorer, 2, 0)[0]["seli"]) == 2


@pytest.mark.parametrize("options", [{"variant": "paper"}, {"cv": 3}])
def test_scorers_that_cannot_resample_do_not_claim_to(options):
    assert hasattr(NCTIScorer(), "resample")
    assert not hasattr(NCTIScorer(**options), "resample")
    assert not hasattr(SELIGeometry(**options), "resample")


def test_table_marks_groups_and_says_what_the_intervals_are():
    features, y = noisy_views()
    ranking = rank_features(features, y, n_resamples=100, random_state=0)
    lines = str(ranking).splitlines()
    assert "95%" in lines[0].split()
    marks = [i for i, line in enumerate(lines) if set(line) == {"-"}]
    assert marks == [2, 4, 6]
    assert "95%: intervals of the score from 100 resamples of the rows" in str(ranking)
    assert "probability of being the best: noise 0.0 1.00" in str(ranking)
    assert max(map(len, lines)) <= 100
    html = ranking._repr_html_()
    assert html.count("<hr>") == 3
    assert html.count("<tr>") == 1 + 4 + 3


def test_a_ranking_of_totals_has_no_intervals():
    assert Ranking.from_scores({"a": 1.0, "b": 0.0}).resamples is None


def ten_rows_of_ten_classes(seed, d=64):
    rng = np.random.default_rng(seed)
    y = np.arange(100) % 10
    hidden = 0.5 * rng.normal(size=(10, d))[y] + rng.normal(size=(100, d))
    return {f"noise {a}": 3 * (hidden + a * rng.normal(size=(100, d))) for a in (0.9, 0.3, 0.6)}, y


@pytest.mark.filterwarnings("ignore:n = 100 rows are few:UserWarning")
@pytest.mark.filterwarnings("ignore:The components .* do not vary:UserWarning")
@pytest.mark.parametrize("normalization", ["minmax", "zscore", "absolute"])
@pytest.mark.parametrize("seed", range(4))
def test_a_ranking_of_few_rows_does_not_contradict_itself(seed, normalization):
    features, y = ten_rows_of_ten_classes(seed)
    options = {"normalization": normalization, "n_resamples": 50, "random_state": 0}
    results = rank_features(features, y, **options).results
    assert (results["score_low"] <= results["score"]).all()
    assert (results["score"] <= results["score_high"]).all()
    assert (results["rank_low"] <= results["rank"]).all()
    assert (results["rank"] <= results["rank_high"]).all()
    first = results["rank"] == 1
    assert results["best_probability"][first] > 0
    assert results["group"][results["best_probability"].argmax()] == 1


def test_few_rows_are_said_below_the_table_and_in_the_frame_of_the_warning():
    features, y = ten_rows_of_ten_classes(0)
    with pytest.warns(UserWarning, match="n = 100 rows are few for k = 64") as caught:
        ranking = rank_features(features, y)
    # All candidates have the same width: they are warned about one by one, and told once.
    assert ranking.notes == [str(caught[0].message)]
    told = " ".join(str(ranking).split())
    assert told.count("n = 100 rows are few for k = 64 components and C = 10 classes") == 1
    assert ranking._repr_html_().count("rows are few") == 1
    assert rank_features(features, y, scorer=NCTIScorer(cv=5)).notes == []


def test_a_score_that_the_normalisation_holds_is_told_by_its_rank():
    """The best of four has 2 in nearly all resamples: that interval says nothing."""
    features, y = noisy_views(n=600)
    pool = {name: features[name] for name in ("noise 0.0", "noise 0.2", "noise 0.5", "noise 1.0")}
    ranking = rank_features(pool, y, n_resamples=60, random_state=0)
    results = ranking.results
    assert results["held"].tolist() == [True, False, False, False]
    assert results["rank_low"][0] == results["rank_high"][0] == 1
    line = next(line for line in str(ranking).splitlines() if "noise 0.0 " in line)
    assert line.split()[3:5] == ["2.00", "held"]
    assert "noise 0.0 (rank 1)" in " ".join(str(ranking).split())
    # Without other candidates nothing bounds a score.
    absolute = rank_features(pool, y, normalization="absolute", n_resamples=60, random_state=0)
    assert not absolute.results["held"].any()


def test_a_held_score_is_one_that_half_of_the_resamples_give():
    rng = np.random.default_rng(0)
    resamples = np.column_stack([np.full(100, 2.0), rng.normal(size=100), rng.normal(size=100)])
    scores = np.array([2.0, 0.0, np.nan])
    for n_free, held in ((50, True), (51, False)):
        resamples[:n_free, 0] = 1.5
        assert describe_resamples(scores, resamples, resamples, "minmax")["held"].tolist() == [
            held,
            False,
            False,
        ]


def test_intervals_of_zscores_move_half_way_back():
    """Noise in all candidates makes z-scores smaller; the interval moves towards the score."""
    rng = np.random.default_rng(0)
    scores = np.array([2.0, 0.5, -2.5])
    resamples = 0.7 * scores + 0.2 * rng.normal(size=(400, 3))
    plain, moved = (
        describe_resamples(scores, resamples, resamples, how) for how in ("absolute", "zscore")
    )
    half = 0.5 * (scores - np.median(resamples, axis=0))
    low, high = np.quantile(resamples, [0.025, 0.975], axis=0)
    np.testing.assert_allclose(moved["score_low"], np.minimum(low + half, scores))
    np.testing.assert_allclose(moved["score_high"], np.maximum(high + half, scores))
    np.testing.assert_allclose(plain["score_low"], np.minimum(low, scores))
    for end in ("rank_low", "rank_high"):
        np.testing.assert_array_equal(plain[end], moved[end])


def test_who_is_behind():
    rng = np.random.default_rng(0)
    scores = np.array([3.0, 2.9, 1.0, 0.0])
    resamples = scores + 0.3 * rng.normal(size=(200, 4))
    assert surely_behind(scores, resamples, 1, 0.05).tolist() == [False, False, True, True]
    # Two are wanted: the third is far from the second.
    assert surely_behind(scores, resamples, 2, 0.05).tolist() == [False, False, True, True]
    assert not surely_behind(scores, resamples, 3, 0.05)[2]
    assert not surely_behind(scores, resamples, 4, 0.05).any()
    # No resample can carry so small a risk.
    assert not surely_behind(scores, resamples, 1, 1 / 202).any()


def test_a_candidate_is_behind_where_errors_do_not_explain_its_gap():
    """One candidate without error, one with normal errors: the bound is a normal quantile."""
    errors = np.random.default_rng(0).normal(size=20_000)
    for gap, behind in ((1.6, False), (1.7, True)):
        resamples = np.column_stack([np.full_like(errors, gap), errors])
        assert surely_behind(np.array([gap, 0.0]), resamples, 1, 0.05)[1] == behind


def test_a_bound_that_holds_the_first_score_is_no_evidence():
    """Of two candidates, minmax gives 1 to one and 0 to the other, however close they are."""
    scores = np.array([1.0, 0.0])
    resamples = np.tile([1.0, 0.0], (100, 1))
    assert surely_behind(scores, resamples, 1, 0.05).tolist() == [False, True]
    resamples[:10] = resamples[:10, ::-1]
    assert not surely_behind(scores, resamples, 1, 0.05).any()


@pytest.mark.parametrize("n_best", [1, 3])
def test_the_first_of_many_equal_candidates_is_seldom_behind(n_best):
    """Forty candidates that differ by chance only: any of them may be the first."""
    rng = np.random.default_rng(0)
    lost = []
    for _ in range(300):
        scores = rng.normal(size=40)
        resamples = scores + rng.normal(size=(200, 40))
        lost.append(surely_behind(scores, resamples, n_best, 0.1)[:n_best].any())
    # Three standard errors of the share.
    assert np.mean(lost) <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / 300)


def test_equal_candidates_are_behind_together():
    rng = np.random.default_rng(0)
    scores = np.array([1.0, 0.5, 0.2, -5.0])
    resamples = scores + 0.3 * rng.normal(size=(300, 4))
    scores_twice, doubled = np.repeat(scores, 2), np.repeat(resamples, 2, axis=1)
    scores_twice[::2] *= 1 + 1e-9
    doubled[:, ::2] *= 1 + 1e-9
    for risk in (0.01, 0.05, 0.1, 0.2, 0.5):
        behind = surely_behind(scores_twice, doubled, 1, risk)
        np.testing.assert_array_equal(behind[::2], behind[1::2])
        np.testing.assert_array_equal(behind[::2], surely_behind(scores, resamples, 1, risk))
