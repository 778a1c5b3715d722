"""HScore against explicit covariances."""

import numpy as np
import pytest
from helpers import make_problem
from sklearn.covariance import EmpiricalCovariance, LedoitWolf

from sklearn_ncti.companions import HScore

SHAPES = pytest.mark.parametrize(("n", "d"), [(300, 15), (60, 150)])


def replaced_by_class_means(X, y):
    return np.array([X[y == label].mean(axis=0) for label in y])


def test_h_score_by_explicit_covariances():
    X, y = make_problem(n=300, d=15)
    X[:, 3] = X[:, 2] - X[:, 1]  # singular
    between = np.cov(replaced_by_class_means(X, y).T)
    expected = np.trace(np.linalg.pinv(np.cov(X.T), rcond=1e-10) @ between)
    assert HScore(shrinkage=None).fit(X, y).score() == pytest.approx(expected)


@SHAPES
def test_shrunk_h_score_by_explicit_covariances(n, d):
    X, y = make_problem(n=n, d=d)
    ledoit_wolf = LedoitWolf().fit(X)
    between = EmpiricalCovariance().fit(replaced_by_class_means(X, y)).covariance_
    shrunk = np.trace(np.linalg.solve(ledoit_wolf.covariance_, between))
    metric = HScore().fit(X, y)
    assert metric.shrinkage_ == pytest.approx(ledoit_wolf.shrinkage_)
    assert metric.score() == pytest.approx((1 - ledoit_wolf.shrinkage_) * shrunk)
    fixed = HScore(shrinkage=metric.shrinkage_).fit(X, y)
    assert fixed.score() == pytest.approx(metric.score())


def test_plain_h_score_does_not_see_linear_maps():
    X, y = make_problem(n=300, d=15)
    mixed = X @ np.random.default_rng(0).normal(size=(15, 15)) + 7
    plain = HScore(shrinkage=None).fit(X, y).score()
    assert HScore(shrinkage=None).fit(mixed, y).score() == pytest.approx(plain)
    assert 0 <= plain <= 4
    assert HScore(shrinkage=0.0).fit(X, y).score() == pytest.approx(plain)
