"""Work that is shared among threads."""

import threading
import time

import numpy as np
import pytest

from sklearn_ncti import _threads
from sklearn_ncti._threads import blas_threads, one_blas_thread, shared_work


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
        # Only as many threads as were promised get past this.
        meet.wait()
        return threading.get_ident(), blas_threads()

    with shared_work() as run:
        threads, of_blas = zip(*run(work, range(n_threads)), strict=True)
    assert len(set(threads)) == n_threads
    assert set(of_blas) == {1}


def test_most_threads(monkeypatch):
    monkeypatch.setattr(_threads, "blas_threads", lambda: 8)
    with shared_work(1) as run:
        assert set(run(lambda _: threading.get_ident(), range(4))) == {threading.get_ident()}


def test_inside_of_one_blas_thread_nothing_is_shared():
    with one_blas_thread, shared_work() as run:
        assert run is map


def test_few_items_are_ahead_of_the_results(n_threads):
    taken = []
    with shared_work() as run:
        results = run(lambda i: i, (taken.append(i) or i for i in range(100)))
        for i in results:
            # What is drawn from the items waits in memory.
            assert len(taken) <= i + 1 + 2 * n_threads


def test_an_error_reaches_the_caller(n_threads):
    with shared_work() as run, pytest.raises(ZeroDivisionError):
        list(run(lambda i: 1 / i, [1, 0, 2]))


def test_floating_point_errors_are_handled_as_the_caller_asked(n_threads):
    with shared_work() as run, np.errstate(divide="ignore"):
        assert np.isinf(list(run(lambda x: x / np.zeros(1), [np.ones(1)]))).all()
    with shared_work() as run, np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        list(run(lambda x: x / np.zeros(1), [np.ones(1)]))
