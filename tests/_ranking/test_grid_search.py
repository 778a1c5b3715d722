"""GridSearchCV over pipelines that end in NCTIScorer."""

from functools import partial

import numpy as np
import pytest
from helpers import make_problem
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline

from sklearn_ncti import NCTIScorer, ncti_refit, ncti_scoring, rank_features


class Blur(TransformerMixin, BaseEstimator):
    """A backbone whose quality is a parameter: it adds a pattern that hides the classes."""

    calls = 0

    def __init__(self, noise=0.0):
        self.noise = noise

    def fit(self, X, y=None):
        if self.noise < 0:
            raise ValueError("noise is negative")
        return self

    def transform(self, X):
        type(self).calls += 1
        # The same for a row wherever it stands.
        return X + 3 * self.noise * np.sin(1e3 * X)

    def __sklearn_is_fitted__(self):
        return True


@pytest.fixture
def data():
    return make_problem(n=800, d=30, spread=1.0, scale=3.0)


def search(noises, **kwargs):
    pipeline = Pipeline([("backbone", Blur()), ("ncti", NCTIScorer())])
    kwargs = {"scoring": ncti_scoring, "refit": ncti_refit} | kwargs
    return GridSearchCV(pipeline, {"backbone__noise": noises}, **kwargs)


def test_in_sample_search_is_the_ranking(data):
    X, y = data
    noises = [1.0, 0.2, 2.0]
    rows = np.arange(len(X))
    found = search(noises, cv=[(rows, rows)]).fit(X, y)
    assert found.best_params_ == {"backbone__noise": 0.2}
    ranking = rank_features({str(a): Blur(a).transform(X) for a in noises}, y)
    assert ranking.best == "0.2"
    for name in ("seli", "ncc", "vc"):
        mean = found.cv_results_[f"mean_test_{name}"]
        np.testing.assert_allclose(mean, ranking.results[name])
    assert found.best_estimator_.score(X, y) == pytest.approx(
        found.cv_results_["mean_test_score"][1]
    )


def test_held_out_search_and_other_options(data):
    X, y = data
    for kwargs in (
        {"cv": 4},
        {"cv": StratifiedKFold(3, shuffle=True, random_state=0)},
        {"refit": "score"},
        {"scoring": None, "refit": True},
        {"refit": partial(ncti_refit, normalization="rank", weights={"vc": 0.5})},
        {"refit": partial(ncti_refit, normalization="zscore")},
    ):
        found = search([1.0, 0.2, 2.0], **kwargs).fit(X, y)
        assert found.best_params_ == {"backbone__noise": 0.2}


def test_features_are_computed_once_per_split(data):
    X, y = data
    rows = np.arange(len(X))
    Blur.calls = 0
    search([0.5], cv=[(rows, rows)], refit=False).fit(X, y)
    assert Blur.calls == 2  # in fit and in score, for four numbers


def test_failed_candidate_is_never_the_best(data):
    X, y = data
    with pytest.warns((FitFailedWarning, UserWarning)):
        found = search([-1.0, 1.0, 0.2], cv=2).fit(X, y)
    assert found.best_params_ == {"backbone__noise": 0.2}


def test_refit_normalises_and_adds():
    results = {
        "mean_test_seli": np.array([1.0, 3.0, 2.0, np.nan]),
        "mean_test_ncc": np.array([0.9, 0.1, 0.8, np.nan]),
        "mean_test_vc": np.array([-4.0, -5.0, -4.1, np.nan]),
    }
    # Sums over [0, 1], [0, 1] and [-1, 0]: 0 + 1 + 0, 1 + 0 - 1, 0.5 + 0.875 - 0.1.
    assert ncti_refit(results) == 2
    assert ncti_refit(results, weights={"seli": 5.0}) == 1
    assert ncti_refit(results, weights={"seli": 0}) == 0


def test_errors(data):
    X, y = data
    with pytest.raises(ValueError, match="pass scoring=ncti_scoring together"):
        ncti_refit({"mean_test_score": [1.0]})
    with pytest.raises(ValueError, match="All candidates of the search failed"):
        ncti_refit({f"mean_test_{name}": [np.nan] for name in ("seli", "ncc", "vc")})
    with pytest.raises(ValueError, match="normalization must be one of"):
        ncti_refit({}, normalization="absolute")
    pipeline = Pipeline([("pca", PCA()), ("clf", LogisticRegression(max_iter=1000))]).fit(X, y)
    with pytest.raises(TypeError, match="must end in an NCTIScorer, got LogisticRegression"):
        ncti_scoring(pipeline, X, y)


def test_scoring_without_a_pipeline(data):
    X, y = data
    scorer = NCTIScorer().fit(X, y)
    scores = ncti_scoring(scorer, X, y)
    assert scores == pytest.approx({**scorer.components_, "score": scorer.score_})
