"""Process-wide settings of BLAS and torch, and work that threads share.

The settings belong to the whole process. If two threads each restored the value that they
found, the wrong value could remain. Entry is therefore counted: the first thread to enter
changes the setting, and the last thread to leave restores it.
"""

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import cache, partial
from itertools import islice
from threading import Lock
from typing import Any, Self

import numpy as np
from threadpoolctl import ThreadpoolController


class _ProcessSetting:
    """Context manager of a process-wide setting, for any number of threads at once.

    Parameters
    ----------
    change : callable
        Changes the setting, and returns a callable that restores it.
    """

    def __init__(self, change: Callable[[], Callable[[], Any]]) -> None:
        self._change = change
        self._lock = Lock()
        self._n_inside = 0

    def __enter__(self) -> Self:
        with self._lock:
            if self._n_inside == 0:
                self._restore = self._change()
            self._n_inside += 1
        return self

    def __exit__(self, *exc_info: object) -> None:
        with self._lock:
            self._n_inside -= 1
            if self._n_inside == 0:
                self._restore()


@cache
def _controller() -> ThreadpoolController:
    # The search for libraries takes milliseconds. Those of numpy and scipy are loaded by now.
    return ThreadpoolController()


@contextmanager
def _limits_from_any_thread() -> Iterator[ThreadpoolController]:
    """Allow this thread to set limits, and afterwards any other thread.

    Since release 3.8, threadpoolctl accepts limits of OpenBLAS only from the first thread that
    set one. The thread that leaves `_ProcessSetting` last can be another one.
    """
    controller = _controller()

    def release() -> None:
        for library in controller.lib_controllers:
            if hasattr(library, "clear_controlling_thread"):
                library.clear_controlling_thread(force=True)

    release()
    try:
        yield controller
    finally:
        release()


def _limit_blas() -> Callable[[], Any]:
    with _limits_from_any_thread() as controller:
        limited = controller.limit(limits=1, user_api="blas")

    def restore() -> None:
        with _limits_from_any_thread():
            limited.restore_original_limits()

    return restore


def blas_threads() -> int:
    """Return the number of threads that BLAS may use now, 1 if it is not known."""
    libraries = _controller().select(user_api="blas").lib_controllers
    return max((library.num_threads for library in libraries), default=1)


def _disable_tf32() -> Callable[[], Any]:
    torch = sys.modules["torch"]
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    return lambda: torch.set_float32_matmul_precision(before)


def _limit_torch() -> Callable[[], Any]:
    torch = sys.modules["torch"]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    return lambda: torch.set_num_threads(before)


#: BLAS on one thread. The threads of BLAS wait for each other in every call: many calls on small
#: matrices are fifty times slower while another process uses the cores.
one_blas_thread = _ProcessSetting(_limit_blas)

#: Products of float32 tensors without TF32, which has 10 bits and may be enabled by the user.
exact_float32_products = _ProcessSetting(_disable_tf32)

#: torch on one thread, for a single image. Waking the other threads for every layer takes up to
#: four times as long as the layers of a light network.
one_torch_thread = _ProcessSetting(_limit_torch)

# Multiplications in the second moments of features above which several threads are faster.
_SHARED_PRODUCTS = 1e9


class _ThreadTeam:
    """Threads that share the work of one fit. They start with the first work.

    Parameters
    ----------
    n_threads : int
        Number of threads. With 1, the calling thread does the work.
    """

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads
        self._pool: ThreadPoolExecutor | None = None

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()

    def run(self, function: Callable, items: Iterable) -> Iterator:
        """Map a function over items as `map` does, see `shared_work`."""
        if self.n_threads == 1:
            return map(function, items)
        if self._pool is None:
            # A thread of the pool that waited for other threads of the pool could wait forever.
            self._pool = ThreadPoolExecutor(
                self.n_threads, initializer=_team.set, initargs=(None,)
            )
        # numpy's handling of floating-point errors is a setting of the calling thread.
        return self._results(np.errstate(**np.geterr())(function), iter(items), self._pool)

    def _results(self, function: Callable, items: Iterator, pool: ThreadPoolExecutor) -> Iterator:
        start = partial(pool.submit, function)
        waiting = deque(map(start, islice(items, 2 * self.n_threads)))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(map(start, islice(items, 1)))


_team: ContextVar[_ThreadTeam | None] = ContextVar("team", default=None)


@contextmanager
def _new_team(n_threads: int) -> Iterator[_ThreadTeam]:
    team = _ThreadTeam(n_threads)
    token = _team.set(team)
    try:
        with one_blas_thread:
            yield team
    finally:
        _team.reset(token)
        team.close()


def fit_threads(n: int, d: int) -> AbstractContextManager[object]:
    """Return the context that sets the threads of a fit to `n` rows of `d` features.

    In the context, BLAS uses one thread, and `shared_work` as many as BLAS used before. Setting
    this once per fit is cheaper than once per step. Small fits use one thread altogether,
    because waking other threads takes longer than their work.
    """
    small = float(n) * d * min(n, d) < _SHARED_PRODUCTS
    return _new_team(1 if small else blas_threads())


@contextmanager
def shared_work(
    max_threads: int | None = None,
) -> Iterator[Callable[[Callable, Iterable], Iterator]]:
    """Yield a function like `map` that uses as many threads as BLAS may use.

    Each thread calls BLAS on one thread. The threads of BLAS itself wait for each other in every
    call, and spin while they wait: if another process takes the core of one thread, all threads
    lose time. The threads here work independently, and sleep while they wait.

    Parameters
    ----------
    max_threads : int, default=None
        Maximal number of threads. If None, the number is not limited further.

    Yields
    ------
    run : callable
        Called as ``run(function, items)``. Results are in the order of the items. Work starts
        when the first result is requested. The number of items that are read ahead of the
        results is limited.
    """
    team = _team.get()
    if team is not None and (max_threads is None or team.n_threads <= max_threads):
        yield team.run
        return
    n_threads = blas_threads() if team is None else team.n_threads
    with _new_team(min(n_threads, max_threads or sys.maxsize)) as team:
        yield team.run
