"""Principal components from products in float32 and in float64."""

import numpy as np
import pytest
from helpers import make_problem

from sklearn_ncti._linalg import pca
from sklearn_ncti._linalg.pca import principal_basis, working_dtype


@pytest.fixture
def float32_products(monkeypatch):
    monkeypatch.setattr(pca, "_FLOAT32_PRODUCTS", 0.0)


def test_coordinates_of_float32_products_are_centred():
    # The rounding error of the mean in float32 is larger than this.
    X, _ = make_problem(2000, 300)
    X = (X + 3e4).astype(np.float32)
    H = principal_basis(X, 10, np.float32).project(X)
    assert np.abs(H.mean(axis=0) / H.std(axis=0)).max() < 1e-6


def test_float32_products_are_for_large_float32_features_only():
    large = np.zeros((2000, 1000), np.float32)
    assert working_dtype(large, 64) == np.float32
    assert working_dtype(large.astype(np.float16), 64) == np.float32
    assert working_dtype(large.astype(np.float64), 64) == np.float64
    assert working_dtype(large[:, :100], 64) == np.float64
    assert working_dtype(large, 1000) == np.float64
