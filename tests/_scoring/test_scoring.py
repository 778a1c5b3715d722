"""Components of one candidate from several scorers."""

import numpy as np
import pytest
import scipy.stats
from helpers import ROUNDING, make_pool, make_problem
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ncti import NCTIScorer, NearestCenterClassifier, rank_features
from sklearn_ncti._linalg import pca
from sklearn_ncti._linalg.moments import raw_moments
from sklearn_ncti._linalg.pca import principal_basis, shared_moments
from sklearn_ncti.companions import GBC, NLEEP, SFDA, FaCe, HScore, LogME, TransRate


@pytest.fixture(scope="module")
def pool():
    return make_pool()


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


def test_additional_scorers(pool):
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
    assert f"{results['logme'][1]:.2f} ({results['logme_rank'][1]})" in first
    assert "agreement of the orders (Kendall tau): score and logme" in str(ranking)


@pytest.mark.parametrize("shape", [(300, 40), (150, 200)], ids=["n > d", "n < d"])
def test_additional_scorers_share_the_moments(monkeypatch, shape):
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
