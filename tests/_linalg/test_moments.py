"""Moments against numpy's own, and features that are read in chunks."""

import subprocess
import sys

import numpy as np
import pytest
from helpers import make_problem

from sklearn_ncti import NCTIScorer
from sklearn_ncti._linalg.moments import class_moments, column_means, gram


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
def test_values_whose_squares_overflow_are_named(chunk_values, shape):
    X = np.random.default_rng(0).normal(size=shape)
    X[3, 4] = -2e160
    with pytest.raises(ValueError, match=r"X has values as large as 2e\+160"):
        gram(X)
    X[4, 4] = np.inf
    with pytest.raises(ValueError, match="infinity: the first is in row 4, column 4"):
        gram(X)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int16, ">f8"])
def test_orders_and_types(order, dtype):
    X, y = make_problem(600, 40, scale=10.0)
    X = np.asarray(X.astype(dtype), order=order)
    before = X.copy()
    expected = NCTIScorer().fit(np.ascontiguousarray(X, dtype=np.float64), y)
    found = NCTIScorer().fit(X, y).components_
    assert found == pytest.approx(expected.components_, rel=1e-9)
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_memory_mapped_features(tmp_path, mode):
    X, y = make_problem(600, 40)
    np.save(tmp_path / "features.npy", X)
    mapped = np.load(tmp_path / "features.npy", mmap_mode=mode)
    if mode != "r":
        mapped[0] += 1.0
    expected = NCTIScorer().fit(np.array(mapped), y).components_
    assert NCTIScorer().fit(mapped, y).components_ == pytest.approx(expected)
    assert NCTIScorer().fit(mapped[::-1], y[::-1]).components_ == pytest.approx(expected)
    # Pages with changes in memory were not released.
    np.testing.assert_array_equal(mapped[0], X[0] + (mode != "r"))


# VmHWM and not getrusage, whose peak includes that of the parent process.
_PEAK = """
import sys
from pathlib import Path
import numpy as np
from sklearn_ncti import NCTIScorer
X, y = np.load(sys.argv[1], mmap_mode="r"), np.arange(60000) % 50
def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
before = peak()
NCTIScorer().fit(X, y).score(X, y)
print((peak() - before) / 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_memory_mapped_features_are_never_all_in_memory(tmp_path):
    rng = np.random.default_rng(0)
    out = np.lib.format.open_memmap(
        tmp_path / "features.npy", mode="w+", dtype=np.float32, shape=(60000, 1024)
    )
    for start in range(0, 60000, 6000):
        out[start : start + 6000] = rng.standard_normal((6000, 1024), dtype=np.float32)
    size = out.nbytes / 2**20
    out.flush()
    del out
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, str(tmp_path / "features.npy")],
        capture_output=True,
        text=True,
        check=True,
    )
    # Chunk, scatter and principal coordinates need about 140 MiB for any number of rows.
    assert 1 < float(done.stdout) < 0.85 * size


@pytest.mark.parametrize("shape", [(600, 40), (40, 600)], ids=["n > d", "n < d"])
@pytest.mark.parametrize(("value", "name"), [(np.nan, "NaN"), (-np.inf, "infinity")])
def test_error_says_where_a_value_is_not_finite(shape, value, name):
    X, y = make_problem(*shape, n_classes=2)
    X[30, 7] = X[33, 2] = value
    with pytest.raises(ValueError, match=f"contains {name}: the first is in row 30, column 7"):
        NCTIScorer(4).fit(X, y)
