"""Leading eigenpairs against the dense solver and known spectra."""

import numpy as np
import pytest
from helpers import make_problem
from threadpoolctl import threadpool_limits

from sklearn_ncti._linalg import eigen as _eigen
from sklearn_ncti._linalg.eigen import leading_eigenpairs
from sklearn_ncti._linalg.threads import blas_threads

M, K = 400, 8


@pytest.fixture
def dense_calls(monkeypatch):
    """Arguments of the calls of the dense solver."""
    calls, dense = [], _eigen._dense
    monkeypatch.setattr(_eigen, "_dense", lambda *args: calls.append(args) or dense(*args))
    return calls


def make_matrix(values):
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(len(values),) * 2))[0]
    return np.asfortranarray((rotation * values) @ rotation.T), rotation


def assert_leading(S, rotation, values, dtype, k=K, atol=None):
    found, vectors = leading_eigenpairs(S, k, dtype)
    np.testing.assert_allclose(found, np.sort(values)[::-1][:k], rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(k), atol=1e-10)
    # Vectors of the wanted eigenvalues span what the exact ones span.
    wanted = rotation[:, np.argsort(-values, kind="stable")[:k]]
    inside = np.linalg.norm(wanted.T @ vectors, axis=0)
    np.testing.assert_allclose(inside, 1.0, atol=atol or (1e-7 if dtype == np.float32 else 1e-12))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("power", [1.0, 3.0])
def test_falling_spectrum_needs_products_only(dense_calls, dtype, power):
    values = np.arange(1.0, M + 1) ** -power
    assert_leading(*make_matrix(values), values, dtype)
    assert not dense_calls


@pytest.mark.parametrize("ratio", [1, 30, 1e3])
def test_large_leading_eigenvalues_leave_the_others_exact(dense_calls, ratio):
    # Rounding errors of products in float32 are relative to the largest eigenvalue.
    values = np.arange(1.0, M + 1) ** -1.0
    values[:3] *= ratio
    assert_leading(*make_matrix(values), values, np.float32)
    assert not dense_calls


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_more_equal_eigenvalues_than_a_block_has_columns(dtype):
    # The first start finds only 16 of the equal eigenvalues.
    values = np.r_[np.full(40, 5.0), 0.5 ** np.arange(360)]
    S, rotation = make_matrix(values)
    found, vectors = leading_eigenpairs(S, 20, dtype)
    np.testing.assert_allclose(found, 5.0, rtol=1e-10)
    np.testing.assert_allclose(np.linalg.norm(rotation[:, :40].T @ vectors, axis=0), 1, atol=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_flat_spectrum_is_left_to_the_dense_solver(dense_calls, dtype):
    values = np.linspace(1.02, 1.0, M)
    assert_leading(*make_matrix(values), values, dtype)
    assert dense_calls


def test_one_eigenvalue_beyond_the_digits_of_float32():
    values = np.r_[1e9, np.arange(1.0, M) ** -1.0]
    S, rotation = make_matrix(values)
    found, vectors = leading_eigenpairs(S, K, np.float32)
    np.testing.assert_allclose(found, values[:K], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(rotation[:, :K].T @ vectors, axis=0), 1, atol=1e-6)


@pytest.mark.parametrize("rank", [3, 30])
def test_low_rank(rank):
    values = np.r_[np.arange(1.0, rank + 1)[::-1], np.zeros(M - rank)]
    found, vectors = leading_eigenpairs(make_matrix(values)[0], K)
    np.testing.assert_allclose(found, values[:K], atol=1e-10)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(K), atol=1e-10)


def test_equal_matrices_have_equal_eigenpairs():
    # The start is fixed: nothing depends on the generator of numpy or on earlier calls.
    values = np.arange(1.0, M + 1) ** -1.0
    S, _ = make_matrix(values)
    first, second = leading_eigenpairs(S, K), leading_eigenpairs(S, K)
    np.testing.assert_allclose(first[1], second[1], atol=1e-10)


@pytest.mark.parametrize("values", [np.arange(1.0, M + 1) ** -1.0, np.linspace(1.02, 1.0, M)])
def test_threads_of_blas_do_not_wait_for_each_other(monkeypatch, values):
    # Otherwise, each of many small steps would wait for the slowest thread.
    used = []
    for name in ("eigh", "_image"):
        function = getattr(_eigen, name)
        monkeypatch.setattr(
            _eigen,
            name,
            lambda *args, function=function, **kwargs: (
                used.append(blas_threads()) or function(*args, **kwargs)
            ),
        )
    with threadpool_limits(limits=2, user_api="blas"):
        leading_eigenpairs(make_matrix(values)[0], K, np.float32)
        assert blas_threads() == 2
    assert set(used) == {1}


def test_eigenpairs_in_float32_are_as_right_as_in_float64():
    X, _ = make_problem(3000, 400)
    S = np.cov(X.T)
    squares, vectors = leading_eigenpairs(S, 40, np.float32)
    expected, exact = np.linalg.eigh(S)
    np.testing.assert_allclose(squares, expected[::-1][:40], rtol=1e-10)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(40), atol=1e-12)
    assert np.abs(np.sum(vectors * exact[:, ::-1][:, :40], axis=0)).min() > 1 - 1e-6


@pytest.mark.parametrize("gap", [0.0, 1e-7, 1e-3])
def test_flat_spectrum_is_factorized_exactly(gap):
    # In float32, only a large gap separates the last wanted vectors from the next ones.
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.normal(size=(300, 300)))[0]
    values = np.r_[np.linspace(2.0, 1.0 + gap, 40), np.full(260, 1.0)]
    squares, vectors = leading_eigenpairs((rotation * values) @ rotation.T, 40, np.float32)
    np.testing.assert_allclose(squares, values[:40], rtol=1e-10)
    if gap:
        inside = np.linalg.norm(rotation[:, :40].T @ vectors, axis=0)
        np.testing.assert_allclose(inside, 1.0, atol=1e-10)
