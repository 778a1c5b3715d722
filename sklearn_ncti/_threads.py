"""Floor 0: process-wide settings of BLAS and torch, taken for a moment and given back.

Both settings belong to the whole process, so that two threads which each put back what they
found could leave the wrong one behind. The first to come takes, the last to go gives back.
"""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
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


def _one_thread() -> Callable[[], Any]:
    return _controller().limit(limits=1, user_api="blas").restore_original_limits


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
