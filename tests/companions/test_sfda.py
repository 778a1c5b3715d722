"""SFDA against discriminants of scikit-learn."""

import numpy as np
import pytest
from helpers import make_problem
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from sklearn_ncti.companions import SFDA

SHAPES = pytest.mark.parametrize(("n", "d"), [(300, 15), (60, 150)])


class RegularizedCovariance:
    """Covariance estimator for scikit-learn's LDA."""

    def __init__(self, share):
        self.share = share

    def get_params(self, deep=True):
        return {"share": self.share}

    def fit(self, X):
        S = np.cov(X.T, bias=True)
        self.covariance_ = (1 - self.share) * S + self.share * np.eye(X.shape[1])
        return self


@pytest.mark.parametrize("scale", [0.3, 3.0])
@SHAPES
def test_sfda_by_discriminants_of_scikit_learn(n, d, scale):
    X, y = make_problem(n=n, d=d, scale=scale, counts=[n // 2, n // 4, n // 4])
    within = sum(np.mean(y == c) * np.cov(X[y == c].T, bias=True) for c in range(3))
    share = max(np.exp(-5 * np.linalg.eigvalsh(within)[-1]), 1e-10)

    def own_probability(X):
        lda = LinearDiscriminantAnalysis(
            solver="lsqr", covariance_estimator=RegularizedCovariance(share)
        )
        return lda.fit(X, y).predict_proba(X)[np.arange(n), y]

    sure = own_probability(X)[:, None]
    centers = np.array([X[y == c].mean(axis=0) for c in range(3)])
    others = np.array([centers[[1, 2]], centers[[0, 2]], centers[[0, 1]]]).mean(axis=1)
    moved = sure * X + (1 - sure) * others[y]
    metric = SFDA().fit(X, y)
    assert metric.shrinkage_ == pytest.approx(share)
    assert metric.score() == pytest.approx(np.log(own_probability(moved)).mean(), rel=1e-6)
    given = SFDA(shrinkage=share).fit(X, y)
    assert given.score() == pytest.approx(metric.score())
