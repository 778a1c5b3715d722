"""Threads: process-wide settings of BLAS and torch, and work shared among threads.

Both settings belong to the whole process, so that two threads which each put back what they
found could leave the wrong one behind. The first to come takes, the last to go gives back.
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


class _Shared:
    """Context that many threads may be in at once, around one setting.

    Parameters
    ----------
    take : callable
        Changes the setting and returns a callable that gives it back.
    """

    def __init__(self, take: Callable[[], Callable[[], Any]]):
        self._take = take
        self._lock = Lock()
        self._inside = 0

    def __enter__(self) -> Self:
        with self._lock:
            if self._inside == 0:
                self._give_back = self._take()
            self._inside += 1
        return self

    def __exit__(self, *exc_info: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._give_back()


@cache
def _controller() -> ThreadpoolController:
    # To find the libraries takes milliseconds; those of numpy and scipy are there by now.
    return ThreadpoolController()


@contextmanager
def _from_any_thread() -> Iterator[ThreadpoolController]:
    """Let this thread set limits, and leave it to any thread to set the next.

    From 3.8 on, threadpoolctl leaves the limits of OpenBLAS to the thread that was the first to
    set one, and those of all others without effect, to the last of `_Shared` as well.
    """
    controller = _controller()

    def free():
        for library in controller.lib_controllers:
            if hasattr(library, "clear_controlling_thread"):
                library.clear_controlling_thread(force=True)

    free()
    try:
        yield controller
    finally:
        free()


def _one_thread() -> Callable[[], Any]:
    with _from_any_thread() as controller:
        limited = controller.limit(limits=1, user_api="blas")

    def give_back():
        with _from_any_thread():
            limited.restore_original_limits()

    return give_back


def blas_threads() -> int:
    """Threads that BLAS may use at this moment, 1 where that is not known."""
    libraries = _controller().select(user_api="blas").lib_controllers
    return max((library.num_threads for library in libraries), default=1)


def _exact_float32() -> Callable[[], Any]:
    torch = sys.modules["torch"]
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    return lambda: torch.set_float32_matmul_precision(before)


def _one_torch_thread() -> Callable[[], Any]:
    torch = sys.modules["torch"]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    return lambda: torch.set_num_threads(before)


#: BLAS on one thread. Its threads wait for each other in every call: many calls on small
#: matrices become fifty times slower where another process keeps the cores busy.
one_blas_thread = _Shared(_one_thread)

#: Products of float32 tensors without TF32, whose 10 bits a user may have asked for elsewhere.
exact_float32_products = _Shared(_exact_float32)

#: torch on one thread, for one image: to wake the others for every layer takes longer than
#: the layer, up to four times as long for a light network.
one_torch_thread = _Shared(_one_torch_thread)

# Products in the second moments of features from which on a fit is faster with several.
_SHARED_PRODUCTS = 1e9


class _Team:
    """Threads that share the work of one fit, started when there is some.

    Parameters
    ----------
    n_threads : int
        Number of threads, 1 for that of the caller.
    """

    def __init__(self, n_threads: int):
        self.n_threads = n_threads
        self._pool: ThreadPoolExecutor | None = None

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()

    def run(self, function: Callable, items: Iterable) -> Iterator:
        """Map as `map` does; see `shared_work`."""
        if self.n_threads == 1:
            return map(function, items)
        if self._pool is None:
            # A thread of the pool that waited for others of it could wait for ever.
            self._pool = ThreadPoolExecutor(
                self.n_threads, initializer=_team.set, initargs=(None,)
            )
        # A setting of the thread that asks.
        return self._results(np.errstate(**np.geterr())(function), iter(items), self._pool)

    def _results(self, function, items, pool):
        start = partial(pool.submit, function)
        waiting = deque(map(start, islice(items, 2 * self.n_threads)))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(map(start, islice(items, 1)))


_team: ContextVar[_Team | None] = ContextVar("team", default=None)


@contextmanager
def _new_team(n_threads: int) -> Iterator[None]:
    team = _Team(n_threads)
    token = _team.set(team)
    try:
        with one_blas_thread:
            yield
    finally:
        _team.reset(token)
        team.close()


def threads_for_features(n: int, d: int) -> AbstractContextManager:
    """Return the context for a fit to `n` rows of `d` features.

    BLAS has one thread in it, and `shared_work` those that BLAS had: setting this once is
    cheaper than for every step. For few rows there is one thread in all: to wake the others
    takes longer than what they would save.
    """
    small = float(n) * d * min(n, d) < _SHARED_PRODUCTS
    return _new_team(1 if small else blas_threads())


@contextmanager
def shared_work(most: int | None = None) -> Iterator[Callable[[Callable, Iterable], Iterator]]:
    """Give what maps a function over items on as many threads as BLAS may use.

    Each of them has one thread of BLAS. Threads of BLAS itself wait for each other in every
    call, and spin while they wait: where another process takes the core of one, all lose their
    time. These take the next item when they are done with one, and wait asleep.

    Parameters
    ----------
    most : int, default=None
        Threads at most.

    Yields
    ------
    run : callable
        As `map`, results in the order of the items. Work on the items begins when the first
        result is asked for; not more of them are ahead of the results than the threads need.
    """
    team = _team.get()
    if team is not None and (most is None or team.n_threads <= most):
        yield team.run
        return
    n_threads = blas_threads() if team is None else team.n_threads
    with _new_team(min(n_threads, most or sys.maxsize)):
        yield _team.get().run
