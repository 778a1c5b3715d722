"""TransRate against log-determinants."""

import numpy as np
import pytest
from helpers import make_problem

from sklearn_ncti.companions import TransRate

SHAPES = pytest.mark.parametrize(("n", "d"), [(300, 15), (60, 150)])


@SHAPES
def test_transrate_by_log_determinants(n, d):
    X, y = make_problem(n=n, d=d, counts=[n // 2, n // 4, n // 4])
    Z = X - X.mean(axis=0)

    def rate(Z):
        return np.linalg.slogdet(np.eye(d) + Z.T @ Z / (len(Z) * 1e-3))[1] / 2

    expected = rate(Z) - sum(np.mean(y == c) * rate(Z[y == c]) for c in range(3))
    assert TransRate(eps=1e-3).fit(X, y).score() == pytest.approx(expected)


def test_transrate_is_not_negative_where_classes_are_unbalanced():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [190, 10])
    # The rare class has the larger variance. Equal weights would give a negative score.
    X = rng.normal(size=(200, 5)) * np.where(y == 0, 1.0, 10.0)[:, None]
    Z = X - X.mean(axis=0)
    rates = [
        np.linalg.slogdet(np.eye(5) + W.T @ W / (len(W) * 1e-4))[1] / 2
        for W in (Z, Z[y == 0], Z[y == 1])
    ]
    assert rates[0] - (rates[1] + rates[2]) / 2 < 0
    assert TransRate().fit(X, y).score() >= 0
    # Classes with equal rows have no mutual information with the features.
    rows = rng.normal(size=(50, 5))
    score = TransRate().fit(np.vstack([rows, rows]), np.repeat([0, 1], 50)).score()
    assert score == pytest.approx(0, abs=1e-12)
