"""NCTIScorer against golden values, scikit-learn, analytic limits and invariances."""

import json
import pickle

import numpy as np
import pytest
import scipy.sparse
import sklearn.datasets
from helpers import ROUNDING, SHARED, make_problem
from reference import plain_components
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

from sklearn_ncti import NCTIScorer

few_rows = pytest.mark.filterwarnings("ignore:n = :UserWarning")


def golden_cases():
    file = SHARED / "golden" / "sklearn_datasets.json"
    return json.loads(file.read_text())["cases"] if file.is_file() else {}


@pytest.mark.parametrize("name", list(golden_cases()) or ["absent"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-6), (np.float32, 1e-4)])
def test_golden_values(shared, name, dtype, tolerance):
    case = golden_cases()[name]
    X, y = getattr(sklearn.datasets, case["loader"].rpartition(".")[2])(return_X_y=True)
    scorer = NCTIScorer().fit((X * case["scale"]).astype(dtype), y)
    for component in ("seli", "ncc", "vc", "shrinkage", "score"):
        value = getattr(scorer, f"{component}_")
        assert value == pytest.approx(case[component], rel=tolerance), component


PROBLEMS = {
    "plain": {},
    "many classes": {"n": 2000, "n_classes": 80, "spread": 0.6},
    "long-tailed": {"counts": [400, 150, 60, 25, 10, 4, 2, 1], "scale": 5.0},
    "long-tailed, shrunk": {"counts": [400, 150, 60, 25, 10, 4, 2], "scale": 0.3},
    "n < d": {"n": 60, "d": 200, "n_classes": 4},
    "n < k": {"n": 40, "d": 300, "n_classes": 3},
    "d < 64": {"d": 7, "spread": 1.0},
    "d < C": {"n": 804, "d": 5, "n_classes": 12, "spread": 1.0},
    "two classes": {"n_classes": 2},
    "one feature": {"d": 1, "n_classes": 3, "spread": 2.0},
    "moderate shrinkage": {"scale": 0.2},
    "heavy shrinkage": {"scale": 1e-2},
    "heavy shrinkage, n < d": {"n": 60, "d": 200, "n_classes": 4, "scale": 1e-2},
    "heavy shrinkage, many classes": {"n": 1000, "n_classes": 80, "scale": 2e-2},
    "large scale": {"scale": 1e4},
}


@few_rows
@pytest.mark.parametrize("name", PROBLEMS)
def test_agrees_with_sklearn_pca_and_lda(name):
    X, y = make_problem(**PROBLEMS[name])
    expected, P = plain_components(X, y)
    scorer = NCTIScorer().fit(X, y)
    for component in ("seli", "ncc", "vc", "shrinkage"):
        assert getattr(scorer, f"{component}_") == pytest.approx(expected[component], rel=1e-6)
    np.testing.assert_allclose(scorer.predict_proba(X), P, atol=1e-6)
    assert scorer.components_ == scorer.component_scores()
    assert scorer.ncc_ < 0.999, "a saturated posterior would hide differences"
    parts = scorer.component_scores(absolute=True)
    assert all(0 <= part <= 1 for part in parts.values())
    counts = np.bincount(y)
    low = np.log(np.sqrt(counts / len(counts)).sum())
    high = np.log(np.sqrt(counts * np.minimum(counts, len(counts))).sum())
    assert parts["vc"] == pytest.approx(1 - (-expected["vc"] - low) / (high - low))


def test_directions_that_lda_drops_are_dropped():
    rng = np.random.default_rng(0)
    y = np.arange(300) % 3
    # All noise lies along one direction, which is no principal component: the within-class
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
    # The third feature is constant in the fitted rows and says nothing about others.
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
    # Copies of one feature and constants: along the line, lambda is exactly what it is in the
    # directions in which nothing varies, and these must not come first.
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


def test_score_is_the_sum_of_its_published_parts(problem):
    X, y = problem
    scorer = NCTIScorer(20, shrinkage=0.3).fit(X, y)
    # Canonical correlations from the coordinates themselves, by one-way ANOVA with the
    # shrunken scatters of the definition.
    H = scorer._discriminant.basis.project(X)
    means = np.stack([H[y == c].mean(axis=0) for c in range(5)])
    W = (H - means[y]).T @ (H - means[y]) / len(X)
    T = H.T @ H / len(X)
    W = 0.7 * W + 0.3 * np.trace(W) / 20 * np.eye(20)
    T = 0.7 * T + 0.3 * np.trace(T) / 20 * np.eye(20)
    E = scorer._discriminant.axes
    np.testing.assert_allclose(E.T @ W @ E, np.eye(4), atol=1e-8)
    correlations = np.sqrt(1 - 1 / np.diag(E.T @ T @ E))
    counts = np.bincount(y)
    low, high = np.sqrt(counts / 5).sum(), np.sqrt(counts * np.minimum(counts, 5)).sum()
    variability = 1 - (-scorer.vc_ - np.log(low)) / (np.log(high) - np.log(low))
    assert scorer.score() == pytest.approx(scorer.ncc_ + correlations.mean() + variability)


def test_axes_are_ordered_and_transform_is_centred(problem):
    X, y = problem
    scorer = NCTIScorer().fit(X, y)
    Z = scorer.transform(X)
    np.testing.assert_allclose(Z.mean(axis=0), 0, atol=1e-9)
    between = [np.var([Z[y == c, j].mean() for c in range(5)]) for j in range(4)]
    assert between == sorted(between, reverse=True)
    assert np.linalg.norm(Z, "nuc") == pytest.approx(scorer.seli_)
    assert scorer.get_feature_names_out().tolist() == [f"nctiscorer{i}" for i in range(4)]


@few_rows
@pytest.mark.parametrize("scale", [1.0, 0.1, 1e-2])
@pytest.mark.parametrize("shape", [(300, 40), (50, 120)])
def test_paper_variant_follows_the_printed_equations(shape, scale):
    X, y = make_problem(*shape, n_classes=3, scale=scale)
    n, d = X.shape
    scorer = NCTIScorer(variant="paper").fit(X, y)
    assert scorer.seli_ == pytest.approx(np.linalg.norm(X, "nuc"), rel=1e-6)

    centered = X - X.mean(axis=0)
    variances = np.linalg.svd(centered, compute_uv=False) ** 2 / (n - 1)
    t = max(np.exp(-variances[:32].sum()), 1e-10)
    assert scorer.shrinkage_ == pytest.approx(t)
    means = np.stack([X[y == c].mean(axis=0) for c in range(3)])
    W = (X - means[y]).T @ (X - means[y]) / n
    if t > 1e-10:
        precision = np.linalg.inv((1 - t) * W + t * np.trace(W) / d * np.eye(d))
    elif n > d:
        precision = np.linalg.inv(W)
    else:
        return  # without shrinkage and with n < d, W has no inverse to compare with
    shift = means - X.mean(axis=0)
    logits = centered @ precision @ shift.T
    logits += np.log(np.bincount(y) / n) - 0.5 * np.diag(shift @ precision @ shift.T)
    P = np.exp(logits - logits.max(axis=1, keepdims=True))
    P /= P.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scorer.predict_proba(X), P, atol=1e-7)
    assert scorer.ncc_ == pytest.approx(P[np.arange(n), y].mean())
    assert scorer.vc_ == pytest.approx(-sum(np.linalg.norm(P[y == c], "nuc") for c in range(3)))


# Limits -----------------------------------------------------------------------------------


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
    # What is left of the arithmetic's rounding has no say.
    rotation = np.linalg.qr(rng.normal(size=(30, 30)))[0]
    rotated = NCTIScorer(shrinkage=shrinkage).fit(collapsed @ rotation, y)
    assert rotated.seli_ == pytest.approx(perfect.seli_, rel=1e-6)
    noisy = collapsed + scale * rng.normal(size=collapsed.shape)
    other = NCTIScorer(shrinkage=shrinkage).fit(noisy, y)
    assert perfect.seli_ > other.seli_
    assert perfect.ncc_ > other.ncc_
    assert perfect.score_ > other.score_


def test_collapse_in_some_directions_only_keeps_them():
    # Class means in three directions without any noise, noise in others: as separable as
    # it gets, although the within-class scatter vanishes where the classes differ.
    rng = np.random.default_rng(0)
    y = np.arange(400) % 4
    X = np.hstack([10 * np.eye(4)[y], rng.normal(size=(400, 5))])
    scorer = NCTIScorer(shrinkage=0.0).fit(X, y)
    assert scorer.ncc_ == pytest.approx(1.0)


@pytest.mark.parametrize("scale", [1.0, 1e-4])
def test_noise_is_near_chance(scale):
    rng = np.random.default_rng(0)
    X, y = scale * rng.normal(size=(20000, 30)), np.arange(20000) % 10
    scorer = NCTIScorer().fit(X, y)
    assert scorer.ncc_ == pytest.approx(0.1, abs=0.01)
    assert scorer.component_scores(absolute=True)["seli"] < 0.1


def test_few_rows_warn_with_the_numbers():
    X, y = make_problem(n=99, d=30, n_classes=3)
    with pytest.warns(UserWarning, match=r"n = 99 rows .* k = 30 .* C = 3 .* 165"):
        NCTIScorer().fit(X, y)


def test_the_advice_fits_the_variant():
    X, y = make_problem(n=99, d=30, n_classes=3)
    with pytest.warns(UserWarning, match="lower n_components"):
        NCTIScorer().fit(X, y)
    with pytest.warns(UserWarning, match="use variant='released'"):
        NCTIScorer(variant="paper").fit(X, y)


def test_vanishing_scale_has_a_limit():
    # As the scale falls the shrinkage goes to 1, where the axes are those of S_b - c S_w.
    X, y = make_problem()
    tiny, tinier = (NCTIScorer().fit(X * scale, y) for scale in (1e-9, 1e-14))
    assert tiny.shrinkage_ == pytest.approx(1.0)
    for name in ("seli", "ncc", "vc"):
        assert tiny.components_[name] == pytest.approx(tinier.components_[name], rel=1e-6)
    assert NCTIScorer(shrinkage=1.0).fit(X, y).seli_ == pytest.approx(tiny.seli_, rel=1e-6)


# Invariances ------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["released", "paper"])
@pytest.mark.parametrize("scale", [1.0, 0.02])
def test_row_order_and_label_names_change_nothing(variant, scale):
    X, y = make_problem(d=40, scale=scale)
    first = NCTIScorer(variant=variant).fit(X, y)
    order = np.random.default_rng(1).permutation(len(X))
    renamed = np.array(["zebra", "ant", "cow", "bee", "yak"])[y]
    second = NCTIScorer(variant=variant).fit(X[order], renamed[order])
    for name, value in first.components_.items():
        assert second.components_[name] == pytest.approx(value, rel=1e-9)
    assert second.score_ == pytest.approx(first.score_, rel=1e-9)


def test_unshrunk_components_do_not_depend_on_scale_rotation_or_shift(problem):
    X, y = problem
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(100, 100)))[0]
    first = NCTIScorer(shrinkage=0.0).fit(X, y)
    second = NCTIScorer(shrinkage=0.0).fit(1e3 * X @ rotation + 5.0, y)
    for name, value in first.components_.items():
        assert second.components_[name] == pytest.approx(value, rel=1e-7)


@pytest.mark.parametrize("scale", [1.0, 0.05])
def test_float32_agrees_where_the_mean_dominates(scale):
    X, y = make_problem(n=2000)
    X = (X / X.std() + 100.0) * scale
    single = X.astype(np.float32)
    expected = NCTIScorer().fit(single.astype(np.float64), y)
    scorer = NCTIScorer().fit(single, y)
    for name, value in expected.components_.items():
        assert scorer.components_[name] == pytest.approx(value, rel=1e-4)
    # The rounding of the input itself is all that is lost.
    exact = NCTIScorer().fit(X, y)
    for name, value in exact.components_.items():
        assert scorer.components_[name] == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_input_is_not_written_to(problem, dtype, order):
    X, y = problem
    X = np.array(X, dtype=dtype, order=order)
    kept = X.copy()
    X.flags.writeable = y.flags.writeable = False
    scorer = NCTIScorer().fit(X, y)
    scorer.transform(X)
    scorer.score(X, y)
    np.testing.assert_array_equal(X, kept)


def test_chunks_do_not_change_the_result(problem, monkeypatch):
    X, y = problem
    whole = NCTIScorer().fit(X, y).components_
    monkeypatch.setattr("sklearn_ncti._linalg.moments._CHUNK_VALUES", 700)
    chunked = NCTIScorer().fit(X, y).components_
    assert chunked == pytest.approx(whole, rel=1e-10)


@pytest.mark.parametrize(
    "labels",
    [
        lambda y: y.astype(str),
        lambda y: y * 1000 - 7,
        lambda y: y.astype(np.uint8),
        lambda y: y > 1,
        lambda y: y.astype(float),
        lambda y: [f"class {c}" for c in y],
    ],
    ids=["str", "int", "uint8", "bool", "whole floats", "list"],
)
def test_labels_of_any_kind(problem, labels):
    X, y = problem
    y = labels(y)
    scorer = NCTIScorer().fit(X, y)
    np.testing.assert_array_equal(scorer.classes_, np.unique(y))
    assert set(scorer.predict(X)) <= set(np.unique(y))
    assert scorer.score(X, y) == pytest.approx(scorer.score())


@pytest.mark.parametrize("kind", [list, tuple, lambda y: np.array(y, dtype=object)])
def test_labels_that_differ_by_what_numpy_drops(problem, kind):
    X, y = problem
    names = kind([("a", "a\0", "b", "b\0\0", "c")[c] for c in y])
    scorer = NCTIScorer().fit(X, names)
    assert scorer.classes_.tolist() == ["a", "a\0", "b", "b\0\0", "c"]
    assert scorer.components_ == NCTIScorer().fit(X, y).components_
    assert scorer.score(X, names) == pytest.approx(scorer.score())
    assert set(scorer.predict(X)) <= set(names)


# Other rows -------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["released", "paper"])
def test_fitted_rows_given_again_have_the_fitted_score(variant):
    X, y = make_problem(d=40)
    scorer = NCTIScorer(variant=variant).fit(X, y)
    assert scorer.score(X, y) == pytest.approx(scorer.score_)
    assert scorer.component_scores(X, y) == pytest.approx(scorer.components_)


@few_rows
def test_held_out_noise_does_not_look_good():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(400, 64)), np.arange(400) % 10
    scorer = NCTIScorer().fit(X[:200], y[:200])
    assert scorer.ncc_ > 0.5
    held_out = scorer.component_scores(X[200:], y[200:], absolute=True)
    assert held_out["ncc"] < 0.2
    assert held_out["seli"] < 0.05


def test_other_rows_may_lack_a_class(problem):
    X, y = problem
    scorer = NCTIScorer().fit(X, y)
    parts = scorer.component_scores(X[y < 3], y[y < 3], absolute=True)
    assert all(0 <= part <= 1 for part in parts.values())


def test_single_score_serves_cross_validation(problem):
    X, y = problem
    scores = cross_val_score(NCTIScorer(), X, y, cv=3)
    assert scores.shape == (3,)
    assert ((scores > 0) & (scores < 3)).all()


def test_clone_and_pickle(problem):
    X, y = problem
    scorer = NCTIScorer(8, shrinkage=0.1, variant="paper").fit(X, y)
    copy = pickle.loads(pickle.dumps(scorer))
    assert copy.score() == scorer.score()
    np.testing.assert_allclose(copy.transform(X), scorer.transform(X), **ROUNDING)
    assert clone(scorer).get_params() == scorer.get_params()


def test_set_output(problem):
    pandas = pytest.importorskip("pandas")
    X, y = problem
    frame = NCTIScorer().set_output(transform="pandas").fit_transform(X, y)
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == [f"nctiscorer{i}" for i in range(4)]


def test_constant_and_duplicate_columns_are_harmless(problem):
    X, y = problem
    padded = np.hstack([X, np.full((len(X), 3), 7.0), X[:, :2]])
    scorer = NCTIScorer(shrinkage=0.0).fit(padded, y)
    assert np.isfinite(scorer.score())
    narrow = NCTIScorer(shrinkage=0.0).fit(np.hstack([X[:, :5], X[:, :2]]), y)
    assert narrow.ncc_ == pytest.approx(NCTIScorer(shrinkage=0.0).fit(X[:, :5], y).ncc_)


# Bad input --------------------------------------------------------------------------------


def nan(X, y):
    X[3, 2] = np.nan
    return X, y


def infinity(X, y):
    X[3, 2] = np.inf
    return X, y


def whole(dtype):
    return lambda X, y: (np.rint(100 * X).astype(dtype) + dtype(2**60), y)


def missing(label):
    return lambda X, y: (X, [label if i == 3 else f"class {c}" for i, c in enumerate(y)])


BAD = {
    "NaN": (nan, ValueError, "X contains NaN"),
    "infinity": (infinity, ValueError, "X contains infinity"),
    "one class": (lambda X, y: (X, 0 * y), ValueError, r"y has 1 class.*at least 2"),
    "one row": (lambda X, y: (X[:1], y[:1]), ValueError, "1 sample.*minimum of 2"),
    "no row": (lambda X, y: (X[:0], y[:0]), ValueError, "0 sample"),
    "lengths": (lambda X, y: (X, y[:-1]), ValueError, "inconsistent numbers of samples"),
    "constant": (lambda X, y: (0 * X + 0.1, y), ValueError, "X has constant features"),
    "regression": (lambda X, y: (X, X[:, 0]), ValueError, "Unknown label type: .*continuous"),
    "multi-label": (lambda X, y: (X, np.eye(5)[y]), ValueError, "y should be a 1d array"),
    "sparse": (lambda X, y: (scipy.sparse.csr_matrix(X), y), TypeError, "[Ss]parse"),
    "complex": (lambda X, y: (X + 1j, y), ValueError, "Complex data not supported"),
    "one-dimensional": (lambda X, y: (X[:, 0], y), ValueError, "Expected 2D array"),
    "images": (lambda X, y: (X.reshape(600, 10, 10), y), ValueError, "dim 3"),
    "no labels": (lambda X, y: (X, None), ValueError, "requires y"),
    "too large": (lambda X, y: (X * 1e160, y), ValueError, r"X has values as large as .*e\+160"),
    "overflow": (lambda X, y: (X * 1e307, y), ValueError, r"X has values as large as .*e\+30"),
    "too small": (lambda X, y: (X * 1e-160, y), ValueError, r"X has a variance of .*e-3"),
    "nearly 0": (lambda X, y: (X * 1e-200, y), ValueError, r"X has a variance of 0"),
    "int64": (whole(np.int64), ValueError, r"X has whole numbers as large as 1.15e\+18"),
    "uint64": (whole(np.uint64), ValueError, r"X has whole numbers as large as 1.15e\+18"),
    "large list": (lambda X, y: (whole(int)(X, y)[0].tolist(), y), ValueError, "X has whole"),
    "label types": (
        lambda X, y: (X, np.array(["a", 1], dtype=object)[y % 2]),
        TypeError,
        r"y has labels of the types \['int', 'str'\], which cannot be sorted",
    ),
    "label None": (missing(None), ValueError, "y has no label in row 3: None"),
    "label NaN": (missing(np.nan), ValueError, "y has no label in row 3: nan"),
    "label NaT": (missing(np.datetime64("NaT")), ValueError, "y has no label in row 3: .*NaT"),
    "label NaN, array": (
        lambda X, y: (X, np.where(y == 1, np.nan, y)),
        ValueError,
        "y has no label in row",
    ),
    "label 1 and '1'": (
        lambda X, y: (X, [1, *np.where(y[1:] == 1, "1", "b").tolist()]),
        TypeError,
        r"y has labels of the types \['int', 'str'\], which cannot be sorted",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    make, error, message = BAD[name]
    X, y = make(*make_problem())
    with pytest.raises(error, match=message):
        NCTIScorer().fit(X, y)


@pytest.mark.parametrize("name", ["too large", "too small"])
@pytest.mark.parametrize("parameters", [{"variant": "paper"}, {"cv": 3}, {"n_components": 2}])
@pytest.mark.parametrize("shape", [(200, 30), (30, 200)])
@few_rows
def test_range_of_the_features(name, parameters, shape):
    # The bounds are those of the arithmetic: nothing within them changes a score.
    make, error, message = BAD[name]
    X, y = make_problem(*shape, n_classes=2)
    with pytest.raises(error, match=message):
        NCTIScorer(**parameters).fit(*make(X, y))
    for shrinkage in (0.0, 0.1):
        scorer = NCTIScorer(**parameters, shrinkage=shrinkage).fit(X, y)
        for factor in (1e145, 1e-135):
            other = NCTIScorer(**parameters, shrinkage=shrinkage).fit(X * factor, y)
            assert other.score_ == pytest.approx(scorer.score_, rel=1e-7)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_components": 0}, r"'n_components'.*range \[1, inf\).*Got 0"),
        ({"n_components": 2.5}, "'n_components'.*Got 2.5"),
        ({"shrinkage": 1.5}, r"'shrinkage'.*range \[0.0, 1.0\].*Got 1.5"),
        ({"shrinkage": "auto"}, "'shrinkage'.*'adaptive'.*Got 'auto'"),
        ({"variant": "other"}, "'variant'.*Got 'other'"),
    ],
)
def test_bad_parameters(problem, parameters, message):
    with pytest.raises(ValueError, match=message):
        NCTIScorer(**parameters).fit(*problem)


def test_bad_rows_to_score(problem):
    X, y = problem
    scorer = NCTIScorer().fit(X, y)
    with pytest.raises(ValueError, match=r"not in the fitted y: \[7\]"):
        scorer.score(X[:2], [0, 7])
    for factor in (1e160, 1e307):
        with pytest.raises(ValueError, match="X has values as large as"):
            scorer.score(X * factor, y)
    with pytest.raises(ValueError, match="X has values as large as"):
        scorer.predict(X * 1e307)
    with pytest.raises(ValueError, match="y has no label in row 1: None"):
        scorer.score(X[:2], [0, None])
    with pytest.raises(ValueError, match="y is None: pass both"):
        scorer.score(X)
    with pytest.raises(ValueError, match="X is None: pass both"):
        scorer.component_scores(y=y)


@few_rows
def test_small_n_and_d_are_clipped():
    X, y = make_problem(n=10, d=3, n_classes=2)
    scorer = NCTIScorer(n_components=64).fit(X, y)
    assert scorer.n_components_ == 3
    assert scorer.explained_variance_ratio_.sum() == pytest.approx(1.0)
    assert NCTIScorer().fit(X[:2], [0, 1]).n_components_ == 2
