"""The discriminant against scikit-learn's, in singular and collapsed cases, and in the limit."""

import numpy as np
import pytest
from helpers import make_problem
from reference import plain_components

from sklearn_ncti import NCTIScorer

few_rows = pytest.mark.filterwarnings("ignore:n = :UserWarning")


def test_directions_that_lda_drops_are_dropped():
    rng = np.random.default_rng(0)
    y = np.arange(300) % 3
    # All noise lies along one direction, which is not a principal component: the within-class
    # scatter of the two principal components is singular but for a part in 1e12.
    noise = rng.normal(size=300)[:, None] * [1.0, 1.0] + 1e-6 * rng.normal(size=(300, 2))
    X = 30 * np.array([[0.0, 0.0], [1.0, 0.2], [0.3, 2.0]])[y] + 30 * noise
    expected, _ = plain_components(X, y)
    scorer = NCTIScorer().fit(X, y)
    assert scorer.shrinkage_ == 1e-10
    for component in ("seli", "ncc", "vc"):
        assert scorer.components_[component] == pytest.approx(expected[component], rel=1e-6)
    assert scorer.transform(X).shape[1] == 1

    # Class means on a line, but for a part in 1e6 of their distance.
    noise = rng.normal(size=(100, 2))
    noise = np.repeat(noise - noise.mean(axis=0), 3, axis=0)
    X = 10 * (np.array([[0.0, 0.0], [1.0, 1e-6], [2.0, -1e-6]])[y] + noise)
    assert NCTIScorer().fit(X, y).transform(X).shape[1] == 1


def test_directions_without_variance_do_not_reach_other_rows():
    # The third feature is constant in the fitted rows, and must not affect other rows.
    X, y = make_problem(n=500, d=3, n_classes=5)
    X[:, 2] = 4.0
    for shrinkage in (0.0, 0.5):
        scorer = NCTIScorer(shrinkage=shrinkage).fit(X, y)
        moved = X + [0, 0, 100]
        np.testing.assert_allclose(scorer.transform(moved), scorer.transform(X), atol=1e-8)
        assert scorer.score(moved, y) == pytest.approx(scorer.score())


def one_feature(X, rng):
    return X[:, :1]


def two_features(X, rng):
    return X[:, :2]


def repeated_columns(X, rng):
    return X[:, [0, 1, *rng.integers(0, 2, size=3)]]


def constant_columns(X, rng):
    return np.column_stack([X[:, :3], np.full((len(X), 2), rng.normal())])


def mixed_columns(X, rng):
    return X[:, :3] @ rng.normal(size=(3, 8))


def all_features(X, rng):
    return X


@few_rows
@pytest.mark.filterwarnings("ignore:Variables are collinear:UserWarning")
@pytest.mark.parametrize("shrinkage", ["adaptive", 0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("rows", ["two of each class", "more rows"])
@pytest.mark.parametrize(
    "columns",
    [
        one_feature,
        two_features,
        repeated_columns,
        constant_columns,
        mixed_columns,
        all_features,
    ],
)
def test_random_problems(columns, rows, shrinkage):
    """Few features, few rows, and features of less rank than there are components."""
    for seed in range(4):
        rng = np.random.default_rng(seed)
        n_classes = rng.integers(2, 6)
        y = np.repeat(np.arange(n_classes), 2)
        if rows == "more rows":
            y = np.append(y, rng.integers(0, n_classes, size=60))
        centers = rng.choice([0.3, 2.0]) * rng.normal(size=(n_classes, 10))
        X = columns(centers[y] + rng.normal(size=(len(y), 10)), rng)
        X = rng.choice([0.05, 0.3, 1.0, 10.0]) * X + rng.choice([0.0, 30.0])
        share = None if shrinkage == "adaptive" else shrinkage
        expected, _ = plain_components(X, y, shrinkage=share)
        found = NCTIScorer(shrinkage=shrinkage).fit(X, y).components_
        assert found == pytest.approx({name: expected[name] for name in found}, rel=1e-6), seed


@few_rows
@pytest.mark.parametrize("shrinkage", [1e-3, 0.1, 0.99, 1.0])
@pytest.mark.parametrize("more", [[[1.0]], [[0.0]], [[1.0, -2.0, 0.0]]], ids=str)
def test_the_only_direction_with_variance_is_an_axis(shrinkage, more):
    # For copies of one feature and constants, lambda of the only direction with variance equals
    # that of directions without variance, which must not come first.
    rng = np.random.default_rng(0)
    y = np.r_[0, 1, rng.integers(0, 2, 40)]
    x = 2.0 * y + rng.normal(size=42)
    X = np.column_stack([x, x[:, None] @ more + 3.0])
    d = X.shape[1]
    total = X.var(axis=0).sum()
    within = sum(
        (X[y == c] - X[y == c].mean(axis=0)).var(axis=0).sum() * (y == c).mean() for c in (0, 1)
    )
    regular = (1 - shrinkage) * within + shrinkage * within / d
    scorer = NCTIScorer(shrinkage=shrinkage).fit(X, y)
    assert scorer.seli_ == pytest.approx(np.sqrt(42 * total / regular))
    assert scorer.transform(X).var() > 0


@pytest.mark.parametrize("shrinkage", [0.0, 0.01, 0.5, 0.99])
def test_fixed_shrinkage_agrees_with_sklearn(problem, shrinkage):
    X, y = problem
    expected, _ = plain_components(X, y, n_components=20, shrinkage=shrinkage)
    scorer = NCTIScorer(20, shrinkage=shrinkage).fit(X, y)
    assert scorer.shrinkage_ == max(shrinkage, 1e-10)
    for component in ("seli", "ncc", "vc"):
        assert scorer.components_[component] == pytest.approx(expected[component], rel=1e-6)


@pytest.mark.parametrize("scale", [1e3, 1.0, 1e-3])
@pytest.mark.parametrize("mean", [0.0, 100.0])
@pytest.mark.parametrize("shrinkage", ["adaptive", 0.0, 0.2, 1.0])
def test_collapsed_features_are_perfect_and_finite(scale, mean, shrinkage):
    rng = np.random.default_rng(0)
    y = np.arange(900) % 6
    collapsed = scale * (rng.normal(size=(6, 30))[y] + mean)
    perfect = NCTIScorer(shrinkage=shrinkage).fit(collapsed, y)
    assert np.isfinite(list(perfect.components_.values())).all()
    assert perfect.ncc_ == pytest.approx(1.0)
    # Equal rows in each class: every block has rank one and norm sqrt(n_c).
    assert perfect.vc_ == pytest.approx(-np.log(6 * np.sqrt(150)))
    parts = perfect.component_scores(absolute=True)
    assert parts["seli"] == pytest.approx(1.0)
    # Rounding errors do not affect the result.
    rotation = np.linalg.qr(rng.normal(size=(30, 30)))[0]
    rotated = NCTIScorer(shrinkage=shrinkage).fit(collapsed @ rotation, y)
    assert rotated.seli_ == pytest.approx(perfect.seli_, rel=1e-6)
    noisy = collapsed + scale * rng.normal(size=collapsed.shape)
    other = NCTIScorer(shrinkage=shrinkage).fit(noisy, y)
    assert perfect.seli_ > other.seli_
    assert perfect.ncc_ > other.ncc_
    assert perfect.score_ > other.score_


def test_collapse_in_some_directions_only_keeps_them():
    # Class means differ along three directions without noise. The classes are perfectly
    # separable, although the within-class scatter is zero along these directions.
    rng = np.random.default_rng(0)
    y = np.arange(400) % 4
    X = np.hstack([10 * np.eye(4)[y], rng.normal(size=(400, 5))])
    scorer = NCTIScorer(shrinkage=0.0).fit(X, y)
    assert scorer.ncc_ == pytest.approx(1.0)


def test_vanishing_scale_has_a_limit():
    # As the scale falls the shrinkage goes to 1, where the axes are those of S_b - c S_w.
    X, y = make_problem()
    tiny, tinier = (NCTIScorer().fit(X * scale, y) for scale in (1e-9, 1e-14))
    assert tiny.shrinkage_ == pytest.approx(1.0)
    for name in ("seli", "ncc", "vc"):
        assert tiny.components_[name] == pytest.approx(tinier.components_[name], rel=1e-6)
    assert NCTIScorer(shrinkage=1.0).fit(X, y).seli_ == pytest.approx(tiny.seli_, rel=1e-6)


def test_unshrunk_components_do_not_depend_on_scale_rotation_or_shift(problem):
    X, y = problem
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(100, 100)))[0]
    first = NCTIScorer(shrinkage=0.0).fit(X, y)
    second = NCTIScorer(shrinkage=0.0).fit(1e3 * X @ rotation + 5.0, y)
    for name, value in first.components_.items():
        assert second.components_[name] == pytest.approx(value, rel=1e-7)


def test_constant_and_duplicate_columns_are_harmless(problem):
    X, y = problem
    padded = np.hstack([X, np.full((len(X), 3), 7.0), X[:, :2]])
    scorer = NCTIScorer(shrinkage=0.0).fit(padded, y)
    assert np.isfinite(scorer.score())
    narrow = NCTIScorer(shrinkage=0.0).fit(np.hstack([X[:, :5], X[:, :2]]), y)
    assert narrow.ncc_ == pytest.approx(NCTIScorer(shrinkage=0.0).fit(X[:, :5], y).ncc_)
