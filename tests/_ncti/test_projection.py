"""Projections in float32 and float64, and scores of rows that were held out of the fit."""

import numpy as np
import pytest
import sklearn
from helpers import ROUNDING, make_problem
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    LeaveOneOut,
    ShuffleSplit,
    StratifiedKFold,
    cross_val_predict,
)
from sklearn.pipeline import make_pipeline
from sklearn.utils.fixes import parse_version

from sklearn_ncti import (
    NCTIScorer,
    NearestCenterClassifier,
    SELIGeometry,
    WithinClassVariability,
    rank_features,
)
from sklearn_ncti._linalg import moments as _moments
from sklearn_ncti._linalg import nuclear as _nuclear
from sklearn_ncti._linalg import pca


def by_hand(X, y, cv, n_components, shrinkage):
    """Return components from scikit-learn's own classes, fitted for every fold."""
    if shrinkage:
        lda = LinearDiscriminantAnalysis(solver="eigen", shrinkage=shrinkage)
    else:
        lda = LinearDiscriminantAnalysis(solver="svd")
    model = make_pipeline(PCA(n_components, svd_solver="full"), lda)
    P = cross_val_predict(model, X, y, cv=cv, method="predict_proba")
    codes = np.unique(y, return_inverse=True)[1]
    norms = [np.linalg.norm(P[codes == c], "nuc") for c in np.unique(codes)]
    within = total = plain = 0.0
    for train, test in cv.split(X, y):
        fitted = clone(model).fit(X[train], y[train])
        pca, lda = fitted[0], fitted[1]
        H = pca.transform(X[test])
        H_train = pca.transform(X[train])
        centers = np.array([H_train[codes[train] == c].mean(axis=0) for c in np.unique(codes)])
        E = lda.scalings_[:, : len(centers) - 1]
        deviations = H - centers[codes[test]]
        W, T = deviations.T @ deviations, H.T @ H
        plain = plain + np.diag(E.T @ T @ E)
        k = H.shape[1]
        for S in (W, T):
            S[:] = (1 - shrinkage) * S + shrinkage * np.trace(S) / k * np.eye(k)
        within = within + np.diag(E.T @ W @ E)
        total = total + np.diag(E.T @ T @ E)
    return {
        "seli": np.sqrt(len(X) * plain / within).sum(),
        "ncc": P[np.arange(len(P)), codes].mean(),
        "vc": -np.log(np.sum(norms)),
    }, np.sqrt(np.clip(1 - within / total, 0, 1)).mean()


@pytest.mark.parametrize("shrinkage", [0.0, 0.3])
@pytest.mark.parametrize(
    "shape", [(600, 40), (200, 300), (260, 220)], ids=["n >> d", "n < d", "folds leave n < d"]
)
@pytest.mark.parametrize(
    "cv", [StratifiedKFold(5), KFold(3, shuffle=True, random_state=0)], ids=["5", "3"]
)
def test_agrees_with_cross_val_predict(shrinkage, shape, cv):
    if not shrinkage and parse_version(sklearn.__version__) < parse_version("1.9"):
        pytest.skip("solver='svd' divides the scatter by n - C in this release")
    X, y = make_problem(*shape, spread=0.5)
    names = np.array(["d", "a", "c", "b", "e"])[y]
    scorer = NCTIScorer(20, shrinkage=shrinkage, cv=cv).fit(X, names)
    expected, correlation = by_hand(X, names, cv, 20, shrinkage)
    assert scorer.components_ == pytest.approx(expected, rel=1e-6)
    assert scorer.component_scores(absolute=True)["seli"] == pytest.approx(correlation, rel=1e-6)
    for name, estimator in [
        ("seli", SELIGeometry),
        ("ncc", NearestCenterClassifier),
        ("vc", WithinClassVariability),
    ]:
        fitted = estimator(20, shrinkage=shrinkage, cv=cv).fit(X, names)
        assert fitted.score() == pytest.approx(expected[name], rel=1e-6)


def test_adaptive_shrinkage_is_that_of_the_fitted_rows():
    X, y = make_problem(300, 30, scale=0.8)
    cv = StratifiedKFold(2)
    scorer = NCTIScorer(cv=cv).fit(X, y)
    true = np.zeros(len(X))
    for train, test in cv.split(X, y):
        with pytest.warns(UserWarning, match="rows are few"):
            fitted = NCTIScorer().fit(X[train], y[train])
        assert fitted.shrinkage_ != scorer.shrinkage_ > 1e-10
        true[test] = fitted.predict_proba(X[test])[np.arange(len(test)), y[test]]
    assert scorer.ncc_ == pytest.approx(true.mean(), rel=1e-9)


@pytest.mark.parametrize("shrinkage", ["adaptive", 0.0])
def test_noise_is_near_chance_with_few_rows(shrinkage):
    X = np.random.default_rng(0).normal(size=(150, 512))
    y = np.arange(150) % 5
    with pytest.warns(UserWarning, match="with cv=5"):
        assert NCTIScorer(shrinkage=shrinkage).fit(X, y).ncc_ > 0.7
    scorer = NCTIScorer(shrinkage=shrinkage, cv=5).fit(X, y)
    assert scorer.ncc_ == pytest.approx(0.2, abs=0.1)
    assert scorer.component_scores(absolute=True)["seli"] < 0.1


def test_many_rows_leave_little_to_cross_fitting():
    # If n is much larger than k + C, both estimate the same quantity.
    X, y = make_problem(20000, 10)
    inside = NCTIScorer(shrinkage=0.0).fit(X, y)
    outside = NCTIScorer(shrinkage=0.0, cv=5).fit(X, y)
    assert outside.components_ == pytest.approx(inside.components_, rel=5e-3)
    assert outside.seli_ < inside.seli_
    assert outside.ncc_ < inside.ncc_


def test_projection_is_that_of_all_rows():
    X, y = make_problem()
    plain, crossed = NCTIScorer().fit(X, y), NCTIScorer(cv=5).fit(X, y)
    np.testing.assert_allclose(plain.predict_proba(X), crossed.predict_proba(X), **ROUNDING)
    np.testing.assert_allclose(plain.transform(X), crossed.transform(X), **ROUNDING)
    assert crossed.score(X, y) == pytest.approx(plain.score_, rel=1e-9)
    # The score of held-out rows differs by much more than rounding.
    assert crossed.score() == crossed.score_ < plain.score_ - 0.01


def test_paper_variant_and_ranking():
    X, y = make_problem(400, 30, spread=1.0)
    noisy = X + np.random.default_rng(0).normal(size=X.shape)
    scorer = NCTIScorer(variant="paper", cv=5)
    assert scorer.fit(X, y).seli_ == pytest.approx(np.linalg.norm(X, "nuc"))
    ranking = rank_features(
        {"noisy": noisy, "clean": X}, y, scorer=NCTIScorer(shrinkage=0.0, cv=5)
    )
    assert ranking.best == "clean"


def test_collapsed_features_stay_perfect():
    y = np.arange(300) % 6
    X = np.random.default_rng(0).normal(size=(6, 30))[y]
    for shrinkage in ("adaptive", 0.0, 0.5):
        scorer = NCTIScorer(shrinkage=shrinkage, cv=5).fit(X, y)
        assert scorer.ncc_ == pytest.approx(1.0, rel=1e-6)
        assert np.isfinite(scorer.seli_)
        noisy = NCTIScorer(shrinkage=shrinkage, cv=5)
        noisy.fit(X + np.random.default_rng(1).normal(size=X.shape), y)
        assert scorer.seli_ > noisy.seli_


def test_float32_products(monkeypatch):
    X, y = make_problem(1000, 300, spread=0.5)
    exact = NCTIScorer(cv=3).fit(X, y)
    monkeypatch.setattr(pca, "_FLOAT32_PRODUCTS", 0)
    rounded = NCTIScorer(cv=3).fit(X.astype(np.float32), y)
    assert rounded._discriminant.basis.dtype == np.float32
    assert rounded.components_ == pytest.approx(exact.components_, rel=1e-4)


def test_splits_that_are_no_partition_are_refused():
    X, y = make_problem(60, 10)
    with pytest.raises(ValueError, match="exactly once"):
        NCTIScorer(cv=ShuffleSplit(3, random_state=0)).fit(X, y)
    with pytest.raises(ValueError, match=r"holds out all 12 row\(s\) of a class"):
        NCTIScorer(cv=KFold(5)).fit(X, np.repeat(np.arange(5), 12))
    with pytest.raises(ValueError, match=r"holds out all 1 row\(s\)"):
        NCTIScorer(cv=LeaveOneOut()).fit(X, np.r_[0, np.ones(59)])
    with pytest.raises(ValueError, match="groups"):
        NCTIScorer(cv=GroupKFold(3)).fit(X, y)
    splits = [(np.arange(30), np.arange(30, 60)), (np.arange(30, 60), np.arange(30))]
    NCTIScorer(cv=splits).fit(X, y)
    with pytest.raises(ValueError, match="holds out row 30 0 times"):
        NCTIScorer(cv=splits[1:]).fit(X, y)


def _worst(fitted, other):
    return max(abs(fitted.components_[k] / v - 1) for k, v in other.components_.items())


@pytest.fixture
def float32_products(monkeypatch):
    monkeypatch.setattr(pca, "_FLOAT32_PRODUCTS", 0.0)


@pytest.mark.parametrize("shape", [(3000, 400), (500, 900)], ids=["n > d", "n < d"])
@pytest.mark.parametrize("shrinkage", ["adaptive", 0.0, 0.3])
@pytest.mark.parametrize("mean", [0.0, 100.0])
@pytest.mark.filterwarnings("ignore:n = .* rows are few:UserWarning")
def test_float32_products_agree_with_float64(float32_products, shape, shrinkage, mean):
    X, y = make_problem(*shape, n_classes=10)
    X = (X + mean * X.std(axis=0)).astype(np.float32)
    scorer = NCTIScorer(32, shrinkage=shrinkage)
    rounded = scorer.fit(X, y)
    assert rounded._discriminant.basis.dtype == np.float32
    exact = NCTIScorer(32, shrinkage=shrinkage).fit(X.astype(np.float64), y)
    assert _worst(rounded, exact) < 1e-5
    expected = exact.predict_proba(X)
    np.testing.assert_allclose(rounded.predict_proba(X), expected, atol=1e-4)


@pytest.mark.parametrize("within", [0.0, 1e-6, 1e-3])
def test_what_float32_does_not_resolve_is_left_to_float64(float32_products, within):
    rng = np.random.default_rng(0)
    y = np.arange(1200) % 6
    X = rng.normal(size=(6, 300))[y] + within * rng.normal(size=(1200, 300))
    X = X.astype(np.float32)
    ours = NCTIScorer(32).fit(X, y)
    assert ours._discriminant.basis.dtype == np.float64
    assert _worst(ours, NCTIScorer(32).fit(X.astype(np.float64), y)) < 1e-6


@pytest.mark.parametrize("scale", [1e-22, 1e22])
def test_squares_beyond_float32(float32_products, scale):
    X, y = make_problem(600, 300)
    X = (scale * X).astype(np.float32)
    ours = NCTIScorer(32, shrinkage=0.0).fit(X, y)
    assert _worst(ours, NCTIScorer(32, shrinkage=0.0).fit(X.astype(np.float64), y)) < 1e-6


@pytest.mark.parametrize("params", [{}, {"cv": 3}, {"variant": "paper"}, {"shrinkage": 0.5}])
@pytest.mark.parametrize("shape", [(900, 70), (100, 300)])
@pytest.mark.filterwarnings("ignore:n = .* rows are few:UserWarning")
def test_chunks_change_nothing(monkeypatch, params, shape):
    X, y = make_problem(*shape, counts=[shape[0] // 2, shape[0] // 4, shape[0] // 4])
    whole = NCTIScorer(16, **params).fit(X, y)
    for module, name, values in [
        (_moments, "_CHUNK_VALUES", 700),
        (_moments, "_CACHED_VALUES", 300),
        (_moments, "_TILE_COLUMNS", 7),
        (_moments, "_TILE_PRODUCTS", 500),
        (_nuclear, "_BATCH_VALUES", 20),
    ]:
        monkeypatch.setattr(module, name, values)
    assert _worst(NCTIScorer(16, **params).fit(X, y), whole) < 1e-8
    monkeypatch.setattr(pca, "_FLOAT32_PRODUCTS", 0.0)
    ours = NCTIScorer(16, **params).fit(X.astype(np.float32), y)
    if "variant" not in params:
        assert ours._discriminant.basis.dtype == np.float32
    assert _worst(ours, whole) < 1e-5
