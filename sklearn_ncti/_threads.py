"""Floor 0: threads: process-wide settings of BLAS and torch, and work shared among threads.

Both settings belong to the whole process, so that two threads which each put back what they
found could leave the wrong one behind. The first to come takes, the last to go gives back.
"""

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
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


def threads_for_features(n: int, d: int) -> AbstractContextManager:
    """Return the context for a fit to `n` rows of `d` features: one thread for few of them.

    To wake the others takes longer there than what they would save.
    """
    small = float(n) * d * min(n, d) < _SHARED_PRODUCTS
    return one_blas_thread if small else nullcontext()


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
        As `map`, results in the order of the items. Work on the items has begun when it
        returns; not more of them are ahead of the results than the threads need.
    """
    n_threads = min(blas_threads(), most or sys.maxsize)
    with one_blas_thread:
        if n_threads == 1:
            yield map
            return
        with ThreadPoolExecutor(n_threads) as pool:

            def run(function, items):
                # A setting of the thread that asks.
                quiet = np.errstate(**np.geterr())
                items = iter(items)
                start = partial(pool.submit, quiet(function))
                waiting = deque(map(start, islice(items, 2 * n_threads)))
                while waiting:
                    yield waiting.popleft().result()
                    waiting.extend(map(start, islice(items, 1)))

            yield run
