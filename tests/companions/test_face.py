"""FaCe against explicit covariances and pairs of classes, and its limits."""

from itertools import permutations

import numpy as np
import pytest
from helpers import make_problem
from sklearn.covariance import EmpiricalCovariance
from sklearn.decomposition import PCA

from sklearn_ncti.companions import FaCe

SHAPES = pytest.mark.parametrize(("n", "d"), [(300, 15), (60, 150)])


@SHAPES
def test_face_by_explicit_covariances_and_pairs(n, d):
    X, y = make_problem(n=n, d=d, counts=[n // 2, n // 4, n // 4])
    groups = [X[y == c] for c in range(3)]
    within = np.mean([EmpiricalCovariance().fit(rows).covariance_ for rows in groups], axis=0)
    between = EmpiricalCovariance().fit([rows.mean(axis=0) for rows in groups]).covariance_
    collapse = -np.trace(within @ np.linalg.pinv(between, rcond=1e-10)) / 3
    # GBC of two classes only, in components of all rows, is -2 times their coefficient.
    H = PCA(min(n, d), svd_solver="full").fit_transform(X)[:, : min(n - 1, d)]
    overlaps = np.zeros(3)
    for i, j in permutations(range(3), 2):
        mu, nu = H[y == i].mean(axis=0), H[y == j].mean(axis=0)
        s, t = H[y == i].var(axis=0), H[y == j].var(axis=0)
        m = (s + t) / 2
        distance = ((mu - nu) ** 2 / m).sum() / 8 + (np.log(m) - np.log(s * t) / 2).sum() / 2
        overlaps[i] += np.exp(-distance)
    shares = np.exp(overlaps / 0.1)
    shares /= shares.sum()
    metric = FaCe(0.1, n_components=min(n, d), covariance_type="diagonal").fit(X, y)
    assert metric.variance_collapse_ == pytest.approx(collapse)
    assert metric.class_fairness_ == pytest.approx(-(shares * np.log(shares)).sum())
    both = metric.variance_collapse_ + metric.class_fairness_
    assert metric.score() == pytest.approx(both)


def test_face_limits():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 30)
    # Collapsed classes have no variance within classes, and no overlap.
    assert FaCe().fit(np.eye(3)[y], y).score() == pytest.approx(np.log(3))
    # Classes at the corners of an equilateral triangle overlap equally.
    noise = np.tile(rng.normal(size=(30, 3)), (3, 1))
    even = FaCe().fit(np.eye(3)[y] + noise, y)
    assert even.class_fairness_ == pytest.approx(np.log(3), abs=0.01)
    # Two equal classes and a distant one have the probabilities 1/2, 1/2 and 0.
    apart = noise.copy()
    apart[y == 2] += 100
    uneven = FaCe(0.01).fit(apart, y)
    assert uneven.class_fairness_ == pytest.approx(np.log(2))
    # The first term ignores directions along which these two classes do not differ.
    assert uneven.variance_collapse_ > even.variance_collapse_
    # For high temperatures, the overlaps do not matter.
    assert FaCe(1e9).fit(apart, y).class_fairness_ == pytest.approx(np.log(3))


@pytest.mark.parametrize("d", [3, 90])
def test_face_of_rotated_and_shifted_features_is_the_same(d):
    X, y = make_problem(n=60, d=d, counts=[30, 15, 15])
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(d, d)))[0]
    expected = FaCe().fit(X, y)
    found = FaCe().fit(X @ rotation + 5, y)
    assert found.variance_collapse_ == pytest.approx(expected.variance_collapse_)
    assert found.class_fairness_ == pytest.approx(expected.class_fairness_)


def test_face_refuses_what_has_no_value():
    X, _ = make_problem(n=30, d=5)
    with pytest.raises(ValueError, match=r"1 of 4 classes with 1 row.*at least 2 rows"):
        FaCe().fit(X, np.repeat([0, 1, 2, 3], [10, 10, 9, 1]))
    with pytest.raises(ValueError, match="all 2 classes of y have the same mean"):
        FaCe().fit(np.array([[-1.0], [1.0], [-2.0], [2.0]]), [0, 0, 1, 1])
