"""Nuclear norms against numpy's own."""

import numpy as np
import pytest

from sklearn_ncti._linalg.nuclear import class_nuclear_norms, nuclear_norm


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
