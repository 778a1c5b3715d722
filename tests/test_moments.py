"""Moments and nuclear norms against numpy's own."""

import numpy as np
import pytest

from sklearn_ncti._linalg import moments as _moments
from sklearn_ncti._linalg.moments import class_moments, column_means, gram
from sklearn_ncti._linalg.nuclear import class_nuclear_norms, nuclear_norm


@pytest.fixture(params=[10, 1 << 21], ids=["small chunks", "one chunk"])
def chunk_values(request, monkeypatch):
    monkeypatch.setattr(_moments, "_CHUNK_VALUES", request.param)
    monkeypatch.setattr(_moments, "_CACHED_VALUES", request.param)


@pytest.mark.parametrize("shape", [(50, 7), (7, 50), (1, 3), (3, 3)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_gram_is_the_smaller_product(chunk_values, shape, order):
    X = np.asarray(np.random.default_rng(0).normal(size=shape), order=order)
    center = X.mean(axis=0)
    Xc = X - center
    expected = Xc.T @ Xc if shape[0] >= shape[1] else Xc @ Xc.T
    np.testing.assert_allclose(gram(X, center), expected, atol=1e-12)
    np.testing.assert_allclose(column_means(X), center, atol=1e-12)


def test_float32_with_a_dominating_mean_keeps_its_digits(chunk_values):
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(4000, 3)) + 1e4).astype(np.float32)
    exact = X.astype(np.longdouble)
    exact = exact - exact.mean(axis=0)
    expected = (exact.T @ exact).astype(float)
    np.testing.assert_allclose(gram(X, column_means(X)), expected, rtol=1e-9, atol=1e-6)


def test_class_moments_add_up_to_the_total():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 6)), rng.integers(0, 4, size=200)
    moments = class_moments(X, y, n_classes=5)
    assert moments.counts.tolist() == [*np.bincount(y), 0]
    for c in range(4):
        np.testing.assert_allclose(moments.means[c], X[y == c].mean(axis=0))
    np.testing.assert_allclose(moments.within + moments.between, np.cov(X.T, bias=True))


def test_within_scatter_of_collapsed_classes_is_zero():
    # A difference of total and between-class scatter would leave rounding of size 1e-8.
    X = np.array([[1e4, 3.0], [2e4, 5.0]])[np.arange(100) % 2]
    moments = class_moments(X, np.arange(100) % 2, n_classes=2)
    assert np.abs(moments.within).max() == 0


@pytest.mark.parametrize("shape", [(40, 5), (5, 40)])
def test_nuclear_norm(chunk_values, shape):
    X = np.random.default_rng(0).normal(size=shape) + 3.0
    assert nuclear_norm(X) == pytest.approx(np.linalg.norm(X, "nuc"))


def test_class_nuclear_norms():
    rng = np.random.default_rng(0)
    P, y = rng.random((30, 4)), rng.integers(0, 3, size=30)
    expected = [np.linalg.norm(P[y == c], "nuc") for c in range(3)]
    np.testing.assert_allclose(
        class_nuclear_norms(lambda rows: rows, P, y, 4, 4)[0], [*expected, 0.0]
    )


@pytest.mark.parametrize("shape", [(40, 5), (5, 40)])
def test_values_whose_squares_overflow_are_named(chunk_values, shape):
    X = np.random.default_rng(0).normal(size=shape)
    X[3, 4] = -2e160
    with pytest.raises(ValueError, match=r"X has values as large as 2e\+160"):
        gram(X)
    X[4, 4] = np.inf
    with pytest.raises(ValueError, match="infinity: the first is in row 4, column 4"):
        gram(X)
