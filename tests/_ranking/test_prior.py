"""Priors against their definition, written out, and published figures."""

import numpy as np
import pytest
import scipy.stats
from helpers import make_pool

from sklearn_ncti import rank_features
from sklearn_ncti._ranking.rank_features import rank_results
from sklearn_ncti._scoring.scorers import check_scorers
from sklearn_ncti._scoring.scoring import score_all


@pytest.fixture(scope="module")
def pool():
    return make_pool()


NAMES = ["noise 0.2", "noise 0.0", "noise 1.0", "noise 0.5", "narrow", "undecided"]


def scaled(values):
    values = np.asarray(values, dtype=float)
    return (values - np.nanmin(values)) / (np.nanmax(values) - np.nanmin(values))


def test_a_prior_is_a_fourth_component(pool):
    features, y = pool
    prior = dict(zip(NAMES, [70.0, 60.0, 80.0, 75.0, 65.0, 62.0], strict=True))
    plain = rank_features(features, y).results
    found = rank_features(features, y, prior=prior)
    np.testing.assert_allclose(
        found.results["score"], plain["score"] + scaled(list(prior.values()))
    )
    assert not found.results["prior_imputed"].any()
    assert "\nscore = seli + ncc + vc + prior (minmax" in str(found)
    twice = rank_features(features, y, prior=prior, weights={"prior": 2}).results
    np.testing.assert_allclose(twice["score"], plain["score"] + 2 * scaled(list(prior.values())))


@pytest.mark.parametrize("normalization", ["minmax", "zscore", "rank"])
def test_missing_priors_lie_on_a_line(pool, normalization):
    features, y = pool
    prior = {"noise 0.2": 70.0, "noise 1.0": 80.0, "narrow": 65.0, "undecided": 62.0}
    plain = rank_features(features, y, normalization=normalization).results["score"]
    results = rank_features(features, y, normalization=normalization, prior=prior).results
    known = np.array([name in prior for name in NAMES])
    normalized = results["normalized_prior"]
    slope, constant = np.polyfit(plain[known], normalized[known], 1)
    expected = np.clip(
        constant + slope * plain[~known], normalized[known].min(), normalized[known].max()
    )
    np.testing.assert_allclose(normalized[~known], expected)
    np.testing.assert_array_equal(results["prior_imputed"], ~known)
    np.testing.assert_array_equal(np.isnan(results["prior"]), ~known)
    np.testing.assert_allclose(results["score"], plain + normalized)


def test_few_known_priors_give_the_others_their_mean(pool):
    features, y = pool
    results = rank_features(features, y, prior={"noise 0.2": 1.0, "narrow": 3.0}).results
    np.testing.assert_allclose(results["normalized_prior"], [0, 0.5, 0.5, 0.5, 1, 0.5])


def test_records_are_scaled_and_averaged(pool):
    features, y = pool
    first = {"noise 0.2": 10.0, "noise 0.0": 20.0, "noise 1.0": 15.0, "elsewhere": 1e6}
    second = {"noise 0.2": 0.3, "narrow": 0.1}
    results = rank_features(features, y, prior=[first, second]).results
    np.testing.assert_allclose(results["prior"], [0.5, 1.0, 0.5, np.nan, 0.0, np.nan])


def test_imputed_priors_are_marked(pool):
    features, y = pool
    ranking = rank_features(features, y, prior={n: float(i) for i, n in enumerate(NAMES[:4])})
    rows = str(ranking).splitlines()[1:7]
    assert {row.split("  ")[2].strip() for row in rows if "*" in row} == {"narrow", "undecided"}
    assert "*: no prior is known of narrow, undecided" in str(ranking)
    assert ranking.results["prior_imputed"].sum() == 2


def test_a_prior_takes_part_in_all_that_follows(pool):
    features, y = pool
    prior = {name: float(i) for i, name in enumerate(NAMES[:4])}
    ranking = rank_features(features, y, prior=prior, n_resamples=40, random_state=0)
    assert "seli + ncc + vc + prior" in ranking.ablation()["components"]
    plain = rank_features(features, y, n_resamples=40, random_state=0)
    # Known priors do not vary over the resamples: the spread is that of the others and of what
    # is imputed from them.
    known = [NAMES.index(name) for name in prior]
    for i in known:
        spread = ranking.resamples[:, i] - plain.resamples[:, i]
        np.testing.assert_allclose(spread, spread[0], atol=1e-9)
    without = ranking.leave_one_out()
    rest = {name: X for name, X in features.items() if name != without["left_out"][0]}
    again = rank_features(rest, y, prior=prior)
    assert without["names"][0] == again.names


def test_failed_candidates_have_no_prior(pool):
    features, y = pool
    bad = features | {"bad": np.full((len(y), 3), np.nan)}
    prior = dict.fromkeys(NAMES, 1.0) | {"noise 0.2": 2.0, "bad": 100.0}
    with pytest.warns(match="1 of 7 candidates failed"):
        results = rank_features(bad, y, prior=prior).results
    assert np.isnan(results["prior"][-1])
    assert not results["prior_imputed"][-1]
    # Nor does theirs decide the scale.
    assert results["normalized_prior"][0] == 1


def test_equal_priors_add_nothing(pool):
    features, y = pool
    with pytest.warns(UserWarning, match=r"\['prior'\] do not vary"):
        results = rank_features(features, y, prior=dict.fromkeys(NAMES, 5.0)).results
    np.testing.assert_allclose(results["score"], rank_features(features, y).results["score"])


def test_negative_weights_turn_a_component_round(pool):
    features, y = pool
    results = rank_features(features, y, weights={"vc": -1}).results
    expected = sum(
        results[f"normalized_{c}"] * w
        for c, w in zip(("seli", "ncc", "vc"), (1, 1, -1), strict=True)
    )
    np.testing.assert_allclose(results["score"], expected)
    ranking = rank_features(features, y, weights={"seli": -0.5, "ncc": 0, "vc": -1})
    assert "score = -0.5 seli + 0 ncc - vc (minmax" in str(ranking)
    assert ranking.ablation()["components"].tolist() == ["seli", "vc", "seli + vc"]


def test_the_published_table_with_imagenet_accuracies():
    """Totals of the public reproduction and accuracies of the authors (CIFAR-10)."""
    total = [2.000, 1.799, 1.434, 1.146, 0.757, 0.709, 0.655, 0.031, -0.251, -0.444, -0.732]
    accuracy = [97.53, 97.39, 97.02, 96.77, 96.12, 96.28, 96.45, 92.59, 95.54, 94.74, 96.18]
    assert scipy.stats.weightedtau(total, accuracy)[0] == pytest.approx(0.8426, abs=5e-5)


@pytest.mark.parametrize(
    ("prior", "error", "match"),
    [
        ({}, ValueError, "prior is empty"),
        ([], ValueError, "empty list"),
        ({"noise 0.2": np.nan}, ValueError, r"prior\['noise 0.2'\] is nan"),
        ({"elsewhere": 1.0}, ValueError, "none of the candidates"),
        ([{"noise 0.2": 1.0}, {"elsewhere": 1.0}], ValueError, r"prior\[1\] has none"),
        ([{"noise 0.2": "x"}], ValueError, r"prior\[0\]\['noise 0.2'\] is 'x'"),
        ("imagenett", TypeError, "dict of name to number"),
        (3, TypeError, "dict of name to number"),
        ([3], TypeError, r"prior\[0\] must be a dict"),
    ],
)
def test_bad_priors(pool, prior, error, match):
    features, y = pool
    with pytest.raises(error, match=match):
        rank_features(features, y, prior=prior)


def test_absolute_scores_have_no_prior(pool):
    features, y = pool
    with pytest.raises(ValueError, match="prior cannot be added under"):
        rank_features(features, y, prior={"narrow": 1.0}, normalization="absolute")
    with pytest.raises(ValueError, match="unknown components"):
        rank_features(features, y, weights={"prior": 2})


def test_priors_of_models_say_why_features_are_not_enough(pool):
    features, y = pool
    with pytest.raises(TypeError, match="prior='weights' needs the weights of networks, which"):
        rank_features(features, y, prior="weights")
    with pytest.raises(TypeError, match="prior='imagenet' needs names of timm models, which"):
        rank_features(features, y, prior="imagenet")


@pytest.mark.parametrize("n_resamples", [0, 40])
def test_a_prior_of_failed_candidates_only_adds_nothing(pool, n_resamples):
    features, y = pool
    bad = features | {"bad": np.full((len(y), 3), np.nan)}
    options = {"n_resamples": n_resamples, "random_state": 0}
    with (
        pytest.warns(match="1 of 7 candidates failed"),
        pytest.warns(match=r"\['prior'\] do not vary"),
    ):
        ranking = rank_features(bad, y, prior={"bad": 1.0}, **options)
    plain = rank_features(features, y, **options)
    np.testing.assert_allclose(ranking.results["score"][:-1], plain.results["score"])
    assert "no prior is known of any candidate that was scored; it adds 0" in str(ranking)


def test_one_known_prior_stands_leaving_it_out(pool):
    features, y = pool
    with pytest.warns(match=r"\['prior'\] do not vary"):
        ranking = rank_features(features, y, prior={"narrow": 3.0})
    without = ranking.leave_one_out()
    plain = rank_features(features, y).leave_one_out()
    assert without["names"].tolist() == plain["names"].tolist()


def scored(features, y):
    return score_all(features, y, check_scorers(None), None)


def notes_with(features, y, published, **options):
    options = {"normalization": "minmax", **options}
    return rank_results(scored(features, y), published=published, **options).notes


@pytest.mark.parametrize("normalization", ["minmax", "zscore", "rank"])
def test_a_note_says_who_would_be_first_with_published_accuracies(pool, normalization):
    features, y = pool
    published = {"noise 0.2": 70.0, "noise 1.0": 90.0, "narrow": 65.0, "undecided": 62.0}
    options = {"normalization": normalization, "weights": {"vc": 0.5}}
    first = rank_features(features, y, prior=published, **options).best
    plain = rank_features(features, y, **options).best
    (note,) = notes_with(features, y, published, **options)
    also = " as well" if first == plain else ""
    assert note == (
        "with published ImageNet accuracy as prior (known for 4 of 6 candidates), "
        f'{first} would be first{also}; see prior="imagenet"'
    )
    # For one that has no number, too, and for the best itself.
    assert "as well" in notes_with(features, y, dict.fromkeys(published, 1.0), **options)[0]


def test_a_note_on_published_accuracies_needs_three(pool):
    features, y = pool
    assert notes_with(features, y, {"noise 0.2": 70.0, "narrow": 65.0, "elsewhere": 1.0}) == []
    bad = features | {"bad": np.full((len(y), 3), np.nan)}
    with pytest.warns(match="1 of 7 candidates failed"):
        assert notes_with(bad, y, {"noise 0.2": 70.0, "narrow": 65.0, "bad": 80.0}) == []
