"""GBC against explicit Gaussian densities, and its limits."""

from itertools import permutations

import numpy as np
import pytest
from helpers import make_problem
from sklearn.decomposition import PCA

from sklearn_ncti.companions import GBC


@pytest.mark.parametrize("covariance_type", ["spherical", "diagonal"])
@pytest.mark.parametrize("n_components", [6, 64])
def test_gbc_by_explicit_gaussians(covariance_type, n_components):
    X, y = make_problem(n=300, d=40, counts=[100, 80, 60, 60])
    H = PCA(min(n_components, 40), svd_solver="full").fit_transform(X)
    k = H.shape[1]
    gaussians = []
    for label in range(4):
        variances = H[y == label].var(axis=0)
        if covariance_type == "spherical":
            variances = np.full(k, variances.mean())
        gaussians.append((H[y == label].mean(axis=0), np.diag(variances)))
    expected = 0.0
    for (mu, S), (nu, T) in permutations(gaussians, 2):
        middle = (S + T) / 2
        distance = (mu - nu) @ np.linalg.inv(middle) @ (mu - nu) / 8
        distance += np.linalg.slogdet(middle)[1] / 2
        distance -= (np.linalg.slogdet(S)[1] + np.linalg.slogdet(T)[1]) / 4
        expected -= np.exp(-distance)
    metric = GBC(n_components, covariance_type=covariance_type).fit(X, y)
    assert metric.score() == pytest.approx(expected)
    assert -12 <= metric.score() < 0


@pytest.mark.parametrize("covariance_type", ["spherical", "diagonal"])
def test_gbc_limits(covariance_type):
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 30)
    rows = rng.normal(size=(30, 4))
    metric = GBC(covariance_type=covariance_type)
    # Three classes of the same rows: every coefficient is 1.
    assert metric.fit(np.vstack([rows] * 3), y).score() == pytest.approx(-6)
    # Two classes at the same point and a spread class: 1 for the pair of points, else 0.
    points = np.vstack([np.ones((60, 4)), rows])
    assert metric.fit(points, y).score() == pytest.approx(-2)
    points[:30] += 1
    assert metric.fit(points, y).score() == pytest.approx(0, abs=1e-12)
    # The same point, except for the last digits of the rows of one class.
    points[:60] = 1
    points[:30] += 1e-14 * rng.normal(size=(30, 4))
    assert metric.fit(points, y).score() == pytest.approx(-2)


def test_gbc_refuses_a_class_of_one_row():
    X, _ = make_problem(n=30, d=5)
    y = np.repeat([0, 1, 2, 3], [10, 10, 9, 1])
    with pytest.raises(ValueError, match=r"1 of 4 classes with 1 row.*at least 2 rows"):
        GBC().fit(X, y)
