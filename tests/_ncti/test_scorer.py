"""NCTIScorer against golden values, scikit-learn, analytic limits and invariances."""

import json
import pickle

import numpy as np
import pytest
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


@pytest.mark.parametrize("scale", [1.0, 1e-4])
def test_noise_is_near_chance(scale):
    rng = np.random.default_rng(0)
    X, y = scale * rng.normal(size=(20000, 30)), np.arange(20000) % 10
    scorer = NCTIScorer().fit(X, y)
    assert scorer.ncc_ == pytest.approx(0.1, abs=0.01)
    assert scorer.component_scores(absolute=True)["seli"] < 0.1


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


@pytest.mark.parametrize("scale", [1.0, 0.05])
def test_float32_agrees_where_the_mean_dominates(scale):
    X, y = make_problem(n=2000)
    X = (X / X.std() + 100.0) * scale
    single = X.astype(np.float32)
    expected = NCTIScorer().fit(single.astype(np.float64), y)
    scorer = NCTIScorer().fit(single, y)
    for name, value in expected.components_.items():
        assert scorer.components_[name] == pytest.approx(value, rel=1e-4)
    # Only the rounding of the input itself remains.
    exact = NCTIScorer().fit(X, y)
    for name, value in exact.components_.items():
        assert scorer.components_[name] == pytest.approx(value, rel=1e-4)


def test_chunks_do_not_change_the_result(problem, monkeypatch):
    X, y = problem
    whole = NCTIScorer().fit(X, y).components_
    monkeypatch.setattr("sklearn_ncti._linalg.moments._CHUNK_VALUES", 700)
    chunked = NCTIScorer().fit(X, y).components_
    assert chunked == pytest.approx(whole, rel=1e-10)


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
