"""Scikit-learn's callback protocol, with a substitute for releases that lack it.

Scikit-learn 1.9 introduced the protocol, which is experimental. Everything that depends on it
is in this module. On older releases there is no ``set_callbacks``, and the hooks do nothing.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:

    class _NoContext:
        """Callback context without callbacks."""

        def subcontext(self, **kwargs: Any) -> Self:
            return self

        def call_on_fit_task_begin(self, **kwargs: Any) -> Self:
            return self

        def call_on_fit_task_end(self, **kwargs: Any) -> bool:
            return False

        def propagate_callback_context(self, sub_estimator: Any) -> AbstractContextManager[None]:
            return nullcontext()

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Substitute without ``set_callbacks``."""

        def _init_callback_context(self, **kwargs: Any) -> _NoContext:
            return _NoContext()


__all__ = ["CallbackSupportMixin"]
