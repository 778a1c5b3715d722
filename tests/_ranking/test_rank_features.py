"""`rank_features`: normalizations, ties, failures, further scorers and baselines."""

import numpy as np
import pytest
import scipy.sparse
import scipy.stats
from helpers import ROUNDING, make_pool, make_problem
from sklearn.base import BaseEstimator
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import Ridge
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from sklearn_ncti import NCTIScorer, NearestCenterClassifier, Ranking, rank_features
from sklearn_ncti._scoring.normalization import normalize
from sklearn_ncti.companions import GBC, LEEP, HScore, LogME


@pytest.fixture(scope="module")
def pool():
    return make_pool()


@pytest.fixture
def candidates():
    """Features of falling quality: the same rows with more and more noise."""
    X, y = make_problem(d=40, spread=1.0, scale=3.0)
    rng = np.random.default_rng(1)
    noise = rng.normal(size=X.shape)
    return {f"noise {a}": X + 3 * a * noise for a in (0.5, 0.0, 2.0, 1.0)}, y


def test_minmax_is_the_papers_sum(candidates):
    features, y = candidates
    ranking = rank_features(features, y)
    raw = {name: NCTIScorer().fit(X, y).components_ for name, X in features.items()}
    columns = np.array([[c["seli"], c["ncc"], c["vc"]] for c in raw.values()])
    scaled = MinMaxScaler().fit_transform(columns) - [0, 0, 1]
    np.testing.assert_allclose(ranking.results["score"], scaled.sum(axis=1), **ROUNDING)
    for j, name in enumerate(("seli", "ncc", "vc")):
        np.testing.assert_allclose(ranking.results[name], columns[:, j], **ROUNDING)
        np.testing.assert_allclose(ranking.results[f"normalized_{name}"], scaled[:, j], **ROUNDING)
    assert ranking.names == ["noise 0.0", "noise 0.5", "noise 1.0", "noise 2.0"]
    assert ranking.best == "noise 0.0"
    assert ranking.results["model"].tolist() == list(features)
    assert ranking.results["rank"].tolist() == [2, 1, 4, 3]
    assert list(ranking.scores) == ranking.names
    assert -1 <= min(ranking.scores.values()) <= max(ranking.scores.values()) <= 2


def test_other_normalizations(candidates):
    features, y = candidates
    minmax = rank_features(features, y).results
    raw = np.column_stack([minmax[name] for name in ("seli", "ncc", "vc")])
    zscore = rank_features(features, y, normalization="zscore").results
    expected = StandardScaler().fit_transform(raw).sum(axis=1)
    np.testing.assert_allclose(zscore["score"], expected, **ROUNDING)
    ranks = rank_features(features, y, normalization="rank").results
    expected = (scipy.stats.rankdata(raw, axis=0) - 1) / 3 - [0, 0, 1]
    np.testing.assert_allclose(ranks["score"], expected.sum(axis=1), **ROUNDING)
    absolute = rank_features(features, y, normalization="absolute")
    for name, X in features.items():
        assert absolute.scores[name] == pytest.approx(NCTIScorer().fit(X, y).score())


def test_absolute_does_not_depend_on_the_pool(candidates):
    features, y = candidates
    pool = rank_features(features, y, normalization="absolute").scores
    alone = rank_features({"noise 1.0": features["noise 1.0"]}, y, normalization="absolute")
    assert alone.scores["noise 1.0"] == pytest.approx(pool["noise 1.0"], rel=1e-9)


def test_ties_share_a_rank_and_a_normalised_value():
    values, varies = normalize(np.array([3.0, 1.0, 3.0, 2.0]), "rank", "seli")
    assert varies
    expected = scipy.stats.rankdata([3, 1, 3, 2])
    np.testing.assert_allclose(values, (expected - 1) / (expected.max() - 1))
    ranking = Ranking.from_scores({"a": 1.0, "b": 2.0, "c": 1.0, "d": 0.0})
    assert ranking.results["rank"].tolist() == [2, 1, 2, 4]
    assert ranking.names == ["b", "a", "c", "d"]


def test_weights(candidates):
    features, y = candidates
    plain = rank_features(features, y).results
    weighted = rank_features(features, y, weights={"seli": 0.0, "vc": 2.0})
    expected = plain["normalized_ncc"] + 2 * plain["normalized_vc"]
    np.testing.assert_allclose(weighted.results["score"], expected, **ROUNDING)
    assert weighted.weights == {"seli": 0.0, "ncc": 1.0, "vc": 2.0}
    assert "0 seli + ncc + 2 vc" in str(weighted)


@pytest.mark.parametrize("normalization", ["minmax", "zscore", "rank"])
def test_a_component_without_spread_adds_nothing(normalization, candidates):
    features, y = candidates
    X = features["noise 1.0"]
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(40, 40)))[0]
    same = {"a": X, "b": X @ rotation}
    with pytest.warns(UserWarning, match=r"\['seli', 'ncc', 'vc'\] do not vary"):
        ranking = rank_features(same, y, normalization=normalization)
    assert ranking.scores == {"a": 0.0, "b": 0.0}
    assert ranking.results["rank"].tolist() == [1, 1]


def test_one_candidate_has_a_score_and_no_warning(candidates):
    features, y = candidates
    ranking = rank_features({"only": features["noise 0.5"]}, y)
    assert ranking.scores == {"only": 0.0}
    (note,) = ranking.notes
    assert note.startswith("only is the only candidate, and there is nothing to compare it with.")
    expected = NCTIScorer().fit(features["noise 0.5"], y).score()
    assert f"its absolute score is {expected:.2f} (normalization='absolute')" in note
    assert note in " ".join(str(ranking).split())
    ranking = rank_features({"only": features["noise 0.5"]}, y, normalization="absolute")
    assert ranking.scores["only"] == pytest.approx(expected)
    assert "Its score is absolute" in ranking.notes[0]
    # The same where all others have failed; two that have a score are compared.
    bad = np.full_like(features["noise 0.5"], np.nan)
    with pytest.warns(FitFailedWarning, match="1 of 2 candidates failed"):
        ranking = rank_features({"only": features["noise 0.5"], "bad": bad}, y)
    assert "only is the only candidate with a score" in ranking.notes[0]
    assert rank_features(features, y).notes == []


def test_one_bad_candidate_never_ends_a_ranking(candidates):
    features, y = candidates
    broken = features["noise 0.5"].copy()
    broken[0, 0] = np.nan
    features = {"broken": broken, "constant": 0 * broken + 1, **features}
    features["constant"][:] = 1.0
    with pytest.warns(FitFailedWarning, match="2 of 6 candidates failed") as caught:
        ranking = rank_features(features, y)
    assert len(caught) == 1
    assert "1 candidate(s) (broken) failed with:" in str(caught[0].message)
    assert ranking.names[-2:] == ["broken", "constant"]
    assert ranking.results["rank"].tolist() == [5, 5, 2, 1, 4, 3]
    assert np.isnan(ranking.results["score"][:2]).all()
    assert "contains NaN" in ranking.results["error"][0]
    assert ranking.results["error"][2:].tolist() == [""] * 4
    assert "failed: constant: ValueError: X has constant features" in str(ranking)
    # The table has a line for each; the whole message is in the results.
    assert len(str(ranking).splitlines()) == 1 + 6 + 1 + 2
    assert len(ranking.results["error"][0].splitlines()) > 1
    # The others are normalised among themselves.
    rest = {name: features[name] for name in list(features)[2:]}
    assert rank_features(rest, y).names == ranking.names[:-2]
    np.testing.assert_allclose(
        rank_features(rest, y).results["score"], ranking.results["score"][2:], **ROUNDING
    )


def test_all_failed_raises_with_grouped_tracebacks(problem):
    X, y = problem
    sparse = scipy.sparse.csr_matrix(X)
    X[0, 0] = np.nan
    message = r"(?s)All 2 candidates failed.*2 candidate\(s\) \(a, b\)"
    with pytest.raises(ValueError, match=message):
        rank_features({"a": X, "b": X.copy()}, y)
    with pytest.raises(TypeError, match="Sparse data was passed for X"):
        rank_features({"a": sparse}, y)


def test_many_failures_are_few_lines(problem):
    X, y = problem
    bad = X.copy()
    bad[0, 0] = np.nan
    # Each has its own error, as it names its own number of columns.
    flat = {f"flat {k}": np.zeros((len(y), 2, k)) for k in range(1, 9)}
    alike = {f"alike {k}": bad for k in range(8)}
    with pytest.warns(FitFailedWarning, match="16 of 17 candidates failed") as caught:
        ranking = rank_features({"good": X, **alike, **flat}, y)
    header, first, *_ = str(caught[0].message).splitlines()
    assert header.endswith("the others are ranked.")
    assert (
        "8 candidate(s) (alike 0, alike 1, alike 2, alike 3, alike 4 and 3 more) failed" in first
    )
    assert "Traceback" not in str(caught[0].message)
    assert len(str(caught[0].message).splitlines()) <= 8
    assert [bool(text) for text in ranking.results["traceback"]] == [False] + [True] * 16
    assert "Traceback" not in str(ranking)
    with pytest.raises(ValueError, match="All 16 candidates failed") as seen:
        rank_features({**alike, **flat}, y)
    assert len(str(seen.value).splitlines()) == 1
    assert any("contains NaN" in trace for trace in seen.value.tracebacks)


class Named(BaseEstimator):
    """A scorer that fails with what stands in the features."""

    def fit(self, X, y):
        raise OSError(f"no weights of {X[0, 0]!r} here\nmore")

    def score(self, X=None, y=None):
        return 0.0


def test_errors_that_differ_by_the_name_are_one_line():
    features = {name: np.full((4, 2), name, dtype=object) for name in ("a", "b", "c")}
    with pytest.raises(ValueError, match="All 3 candidates failed") as seen:
        rank_features(features, [0, 0, 1, 1], scorer=Named())
    expected = "3 candidate(s) (a, b, c) failed with: OSError: no weights of the candidate here."
    assert expected in str(seen.value)
    assert "more" not in str(seen.value)


def test_other_scorers(candidates):
    features, y = candidates
    ranking = rank_features(features, y, scorer=NearestCenterClassifier())
    assert ranking.best == "noise 0.0"
    expected = [NearestCenterClassifier().fit(X, y).score() for X in features.values()]
    np.testing.assert_allclose(ranking.results["nearestcenterclassifier"], expected)


class ZeroScorer(BaseEstimator):
    def fit(self, X, y):
        return self

    def score(self, X=None, y=None):
        return np.inf


def test_bad_arguments(problem):
    X, y = problem
    with pytest.raises(TypeError, match="features must be a dict"):
        rank_features([X], y)
    with pytest.raises(ValueError, match="features is empty"):
        rank_features({}, y)
    with pytest.raises(TypeError, match="strings as keys, got 3"):
        rank_features({3: X}, y)
    with pytest.raises(ValueError, match=r"features\['b'\] has 599 rows, but labels has 600"):
        rank_features({"a": X, "b": X[1:]}, y)
    with pytest.raises(ValueError, match="normalization must be one of"):
        rank_features({"a": X}, y, normalization="softmax")
    with pytest.raises(ValueError, match=r"unknown components \['SELI'\]"):
        rank_features({"a": X}, y, weights={"SELI": 1})
    with pytest.raises(ValueError, match="not all be 0"):
        rank_features({"a": X}, y, weights={"seli": 0, "ncc": 0, "vc": 0})
    with pytest.raises(ValueError, match=r"weights\['vc'\] is nan"):
        rank_features({"a": X}, y, weights={"vc": np.nan})
    with pytest.raises(ValueError, match=r"must be at most 1e\+100 in size, got .*1e\+308"):
        rank_features({"a": X}, y, weights={"vc": 1e308})
    for value in ("1", None, 1j, 10**400):
        with pytest.raises(ValueError, match=r"weights\['vc'\] is .*; it must be a finite number"):
            rank_features({"a": X}, y, weights={"vc": value})
    with pytest.raises(ValueError, match="y has no label in row 1: nan"):
        rank_features({"a": X}, ["a", np.nan, *["b"] * 598])
    with pytest.raises(TypeError, match=r"Ridge\(\) predicts real numbers, but y holds classes"):
        rank_features({"a": X}, y, scorer=Ridge())
    with pytest.raises(TypeError, match=r"NCTIScorer.score needs \['self'\]"):
        rank_features({"a": X}, y, scorer=NCTIScorer)
    with pytest.raises(TypeError, match="scorer must have fit"):
        rank_features({"a": X}, y, scorer=3)
    with pytest.raises(ValueError, match="component zeroscorer is inf"):
        rank_features({"a": X}, y, scorer=ZeroScorer())
    with pytest.raises(ValueError, match="at least 2 are needed"):
        rank_features({"a": X}, np.zeros(600))


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


def test_a_failed_candidate_has_no_other_values(pool):
    features, y = pool
    broken = {"broken": np.full((300, 3), np.nan), **features}
    with pytest.warns(FitFailedWarning, match="1 of 7 candidates failed"):
        ranking = rank_features(broken, y, scorer=[NCTIScorer(), LogME()])
    assert np.isnan(ranking.results["logme"][0])
    assert np.isfinite(ranking.results["logme"][1:]).all()
    assert "logme is missing" not in str(ranking)


def test_one_candidate_without_a_value(pool):
    features, y = pool
    probabilities = np.random.default_rng(0).dirichlet(np.ones(5), size=len(y))
    mixed = {"head": probabilities, **features}
    with pytest.warns(FitFailedWarning, match="leep for 6 candidate"):
        ranking = rank_features(mixed, y, scorer=[NCTIScorer(), LEEP()])
    assert np.isfinite(ranking.results["leep"]).tolist() == [True] + [False] * 6
    assert ranking.results["leep_rank"][0] == 1


def test_what_cannot_be_computed_is_missing_with_a_reason(pool):
    features, y = pool
    few = np.append(y, 9)
    one_more = {name: np.vstack([X, X[:1]]) for name, X in features.items()}
    scorers = [NCTIScorer(), GBC(), LEEP(), HScore()]
    with pytest.warns(FitFailedWarning, match="additional scorers are missing: gbc for 6"):
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
