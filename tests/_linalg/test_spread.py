"""Class means and variances in one pass over chunks, against numpy."""

import numpy as np
import pytest
from helpers import ROUNDING, make_problem
from sklearn.preprocessing import normalize

from sklearn_ncti._linalg.moments import centered_chunks
from sklearn_ncti._linalg.spread import class_means, class_variances, projected, unit_rows


def blocks(X, size=17):
    """The rows of `X`, `size` at a time."""
    return [(slice(i, i + size), X[i : i + size]) for i in range(0, len(X), size)]


def test_means_and_variances_of_classes():
    X, y = make_problem(d=9, counts=[1, 30, 50])
    means = class_means(blocks(X), y, 3)
    expected = [X[y == c].mean(axis=0) for c in range(3)]
    np.testing.assert_allclose(means, expected, **ROUNDING)
    variances = [X[y == c].var(axis=0).sum() for c in range(3)]
    np.testing.assert_allclose(class_variances(blocks(X), y, means), variances, **ROUNDING)


def test_projected_rows():
    X, _ = make_problem(n=50, d=9)
    axes = np.random.default_rng(0).normal(size=(9, 2))
    rows = np.concatenate([block for _, block in projected(blocks(X), axes)])
    np.testing.assert_allclose(rows, X @ axes, **ROUNDING)


@pytest.mark.parametrize("scale", [1.0, 1e-200, 1e200], ids=str)
@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_unit_rows(scale, dtype):
    X, _ = make_problem(n=50, d=9)
    X[3] = 0.0
    given = X.astype(dtype) if dtype == np.float16 else scale * X
    rows = np.concatenate([block for _, block in unit_rows(given)])
    assert rows.dtype == np.float64
    np.testing.assert_allclose(rows, normalize(X.astype(dtype).astype(float)), **ROUNDING)
    np.testing.assert_array_equal(rows[3], 0.0)


def test_tensors_of_a_device():
    torch = pytest.importorskip("torch")
    X, y = make_problem(n=50, d=9)
    given = torch.tensor(X, device="cuda" if torch.cuda.is_available() else "cpu")
    means = class_means(unit_rows(given), y, 5)
    np.testing.assert_allclose(means, class_means(unit_rows(X), y, 5), **ROUNDING)
    chunks = centered_chunks(given, np.zeros(9), np.float64)
    expected = [((X[y == c] - means[c]) ** 2).sum(axis=1).mean() for c in range(5)]
    np.testing.assert_allclose(class_variances(chunks, y, means), expected, **ROUNDING)
