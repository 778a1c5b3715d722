"""Floor 0: process-wide settings of BLAS and torch, taken for a moment and given back.

Both settings belong to the whole process, so that two threads which each put back what they
found could leave the wrong one behind. The first to come takes, the last to go gives back.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from threading import Lock
from typing import Any, Self

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

# Side of a square matrix from which on a factorization is faster with several threads.
_SHARED_SIDE = 640

# Products in the second moments of features from which on a fit is faster with several.
_SHARED_PRODUCTS = 1e9


def threads_for(side: int) -> AbstractContextManager:
    """Return the context for factorizations of square matrices: one thread for small ones."""
    return one_blas_thread if side < _SHARED_SIDE else nullcontext()


def threads_for_features(n: int, d: int) -> AbstractContextManager:
    """Return the context for a fit to `n` rows of `d` features: one thread for few of them.

    To wake the others takes longer there than what they would save.
    """
    small = float(n) * d * min(n, d) < _SHARED_PRODUCTS
    return one_blas_thread if small else nullcontext()
