"""Features that are large, memory-mapped, float32, or of an awkward scale."""

import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
from helpers import make_problem
from threadpoolctl import threadpool_info, threadpool_limits

from sklearn_ncti import NCTIScorer
from sklearn_ncti._linalg import moments as _moments
from sklearn_ncti._linalg import nuclear as _nuclear
from sklearn_ncti._linalg import pca
from sklearn_ncti._linalg.eigen import leading_eigenpairs
from sklearn_ncti._linalg.pca import principal_basis, working_dtype
from sklearn_ncti._linalg.threads import one_blas_thread, shared_work
from sklearn_ncti._ncti import projection


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


def test_coordinates_of_float32_products_are_centred():
    # The mean itself, rounded to float32, is off by more than that.
    X, _ = make_problem(2000, 300)
    X = (X + 3e4).astype(np.float32)
    H = principal_basis(X, 10, np.float32).project(X)
    assert np.abs(H.mean(axis=0) / H.std(axis=0)).max() < 1e-6


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
    # Float32 tells the vectors at the edge of the basis from those beyond it by the gap.
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.normal(size=(300, 300)))[0]
    values = np.r_[np.linspace(2.0, 1.0 + gap, 40), np.full(260, 1.0)]
    squares, vectors = leading_eigenpairs((rotation * values) @ rotation.T, 40, np.float32)
    np.testing.assert_allclose(squares, values[:40], rtol=1e-10)
    if gap:
        inside = np.linalg.norm(rotation[:, :40].T @ vectors, axis=0)
        np.testing.assert_allclose(inside, 1.0, atol=1e-10)


def test_float32_products_are_for_large_float32_features_only():
    large = np.zeros((2000, 1000), np.float32)
    assert working_dtype(large, 64) == np.float32
    assert working_dtype(large.astype(np.float16), 64) == np.float32
    assert working_dtype(large.astype(np.float64), 64) == np.float64
    assert working_dtype(large[:, :100], 64) == np.float64
    assert working_dtype(large, 1000) == np.float64


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


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int16, ">f8"])
def test_orders_and_types(order, dtype):
    X, y = make_problem(600, 40, scale=10.0)
    X = np.asarray(X.astype(dtype), order=order)
    before = X.copy()
    expected = NCTIScorer().fit(np.ascontiguousarray(X, dtype=np.float64), y)
    assert _worst(NCTIScorer().fit(X, y), expected) < 1e-9
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
    # What was changed in memory only has not been let go.
    np.testing.assert_array_equal(mapped[0], X[0] + (mode != "r"))


# VmHWM and not getrusage, whose peak a process has from the one that started it.
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
    # Chunk, scatter and principal coordinates take some 140 MiB whatever the length.
    assert 1 < float(done.stdout) < 0.85 * size


def _blas_threads():
    return [lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"]


@contextmanager
def _held_by_another_thread():
    entered, leave, seen = threading.Event(), threading.Event(), []

    def hold():
        with one_blas_thread:
            seen.extend(_blas_threads())
            entered.set()
            leave.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait()
    try:
        yield seen
    finally:
        leave.set()
        thread.join()


@pytest.fixture
def two_blas_threads():
    with threadpool_limits(limits=2, user_api="blas"):
        yield


@pytest.mark.usefixtures("two_blas_threads")
def test_blas_has_its_threads_back():
    with ExitStack() as other:
        other.enter_context(_held_by_another_thread())
        with one_blas_thread:
            other.close()
            assert set(_blas_threads()) == {1}
        assert set(_blas_threads()) == {2}
    with pytest.raises(ZeroDivisionError), one_blas_thread:
        raise ZeroDivisionError
    assert set(_blas_threads()) == {2}


@pytest.mark.usefixtures("two_blas_threads")
def test_any_thread_takes_the_threads_of_blas_and_gives_them_back():
    # threadpoolctl leaves them to the first thread that has set them, from 3.8 on.
    with one_blas_thread:
        pass
    with _held_by_another_thread() as seen:
        with one_blas_thread:
            pass
        assert set(seen) == set(_blas_threads()) == {1}
    assert set(_blas_threads()) == {2}
    with ExitStack() as other:
        with one_blas_thread:
            other.enter_context(_held_by_another_thread())
        assert set(_blas_threads()) == {1}
    assert set(_blas_threads()) == {2}
    # Nor is it kept from others.
    with threadpool_limits(limits=3, user_api="blas"):
        assert set(_blas_threads()) == {3}


@pytest.mark.parametrize(("d", "threads"), [(20, 1), (1100, 2)], ids=["small", "large"])
def test_only_large_fits_are_shared_among_threads(monkeypatch, d, threads):
    seen, sharing = [], set()

    def noting(*args):
        seen.extend(_blas_threads())
        with shared_work() as run:
            sharing.update(run(lambda _: time.sleep(0.05) or threading.get_ident(), range(6)))
        return principal_basis(*args)

    monkeypatch.setattr(projection, "principal_basis", noting)
    X, y = make_problem(1100, d, n_classes=2)
    with threadpool_limits(limits=2, user_api="blas"):
        NCTIScorer(4).fit(X, y)
        # Threads of BLAS itself would wait for each other.
        assert set(seen) == {1}
        assert len(sharing) == threads
        assert set(_blas_threads()) == {2}


@pytest.mark.parametrize("shape", [(600, 40), (40, 600)], ids=["n > d", "n < d"])
@pytest.mark.parametrize(("value", "name"), [(np.nan, "NaN"), (-np.inf, "infinity")])
def test_error_says_where_a_value_is_not_finite(shape, value, name):
    X, y = make_problem(*shape, n_classes=2)
    X[30, 7] = X[33, 2] = value
    with pytest.raises(ValueError, match=f"contains {name}: the first is in row 30, column 7"):
        NCTIScorer(4).fit(X, y)
