"""Work that threads share, and process-wide settings that threads change and restore."""

import threading
import time
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
from helpers import make_problem
from threadpoolctl import threadpool_info, threadpool_limits

from sklearn_ncti import (
    NCTIScorer,
)
from sklearn_ncti._linalg import threads as _threads
from sklearn_ncti._linalg.pca import principal_basis
from sklearn_ncti._linalg.threads import (
    blas_threads,
    exact_float32_products,
    fit_threads,
    one_blas_thread,
    shared_work,
)
from sklearn_ncti._ncti import projection


@pytest.fixture(params=[1, 3])
def n_threads(request, monkeypatch):
    monkeypatch.setattr(_threads, "blas_threads", lambda: request.param)
    return request.param


def test_results_come_in_the_order_of_the_items(n_threads):
    def slow_first(i):
        time.sleep(0.02 if i == 0 else 0)
        return i

    with shared_work() as run:
        assert list(run(slow_first, range(20))) == list(range(20))


def test_items_are_shared_and_each_thread_has_one_of_blas(n_threads):
    meet = threading.Barrier(n_threads, timeout=10)

    def work(_):
        # The barrier opens only for the expected number of threads.
        meet.wait()
        return threading.get_ident(), blas_threads()

    with shared_work() as run:
        threads, of_blas = zip(*run(work, range(n_threads)), strict=True)
    assert len(set(threads)) == n_threads
    assert set(of_blas) == {1}


def test_number_of_threads_is_limited(monkeypatch):
    monkeypatch.setattr(_threads, "blas_threads", lambda: 8)
    with shared_work(1) as run:
        assert set(run(lambda _: threading.get_ident(), range(4))) == {threading.get_ident()}


def test_work_is_not_shared_inside_of_one_blas_thread():
    with one_blas_thread, shared_work() as run:
        assert set(run(lambda _: threading.get_ident(), range(4))) == {threading.get_ident()}


def test_few_items_are_read_ahead_of_the_results(n_threads):
    taken = []
    with shared_work() as run:
        results = run(lambda i: i, (taken.append(i) or i for i in range(100)))
        for i in results:
            # Items that are read ahead occupy memory.
            assert len(taken) <= i + 1 + 2 * n_threads


def test_an_error_reaches_the_caller(n_threads):
    with shared_work() as run, pytest.raises(ZeroDivisionError):
        list(run(lambda i: 1 / i, [1, 0, 2]))


def test_floating_point_errors_are_handled_as_the_caller_asked(n_threads):
    with shared_work() as run, np.errstate(divide="ignore"):
        assert np.isinf(list(run(lambda x: x / np.zeros(1), [np.ones(1)]))).all()
    with shared_work() as run, np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        list(run(lambda x: x / np.zeros(1), [np.ones(1)]))


def test_a_fit_sets_its_threads_once(n_threads):
    # All steps of a fit share its threads. BLAS has one thread during the fit, and the previous
    # number afterwards.
    used = []

    def work(_):
        time.sleep(0.02)
        used.append(blas_threads())
        return threading.get_ident()

    before = _threads._controller().select(user_api="blas").lib_controllers[0].num_threads
    with fit_threads(10_000, 768):
        with shared_work() as run:
            first = set(run(work, range(12)))
        with shared_work() as run:
            second = set(run(work, range(12)))
        with shared_work(1) as run:
            assert set(run(work, range(2))) == {threading.get_ident()}
    assert len(first) == n_threads
    assert first == second
    after = _threads._controller().select(user_api="blas").lib_controllers[0].num_threads
    assert after == before


def test_small_fits_have_one_thread(n_threads):
    with fit_threads(100, 16), shared_work() as run:
        assert set(run(lambda _: threading.get_ident(), range(4))) == {threading.get_ident()}


def test_work_within_work_does_not_wait_for_its_own_threads(n_threads):
    def work(i):
        with shared_work() as run:
            return sum(run(lambda j: i + j, range(10)))

    with fit_threads(10_000, 768), shared_work() as run:
        assert list(run(work, range(10))) == [10 * i + 45 for i in range(10)]


def test_no_thread_is_left_after_a_fit(n_threads):
    X = np.random.default_rng(0).normal(size=(3000, 600))
    before = threading.active_count()
    NCTIScorer(n_components=4).fit(X, np.arange(3000) % 3)
    assert threading.active_count() == before


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
def test_threads_of_blas_are_restored():
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
def test_any_thread_limits_and_restores_the_threads_of_blas():
    # Since 3.8, threadpoolctl accepts limits only from the first thread that set one.
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
    # Other code can set limits as well.
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
        # BLAS has one thread, because its threads would wait for each other.
        assert set(seen) == {1}
        assert len(sharing) == threads
        assert set(_blas_threads()) == {2}


def test_products_are_exact_and_the_setting_is_restored():
    torch = pytest.importorskip("torch")
    torch.set_float32_matmul_precision("medium")
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with exact_float32_products:
            entered.set()
            leave.wait()

    thread = threading.Thread(target=hold)
    try:
        thread.start()
        entered.wait()
        with exact_float32_products:
            leave.set()
            thread.join()
            # The first thread has left, and this one still relies on the setting.
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        leave.set()
        torch.set_float32_matmul_precision("highest")
