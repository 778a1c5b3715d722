"""Scikit-learn's callback protocol, or nothing where the release has none.

The protocol came with scikit-learn 1.9 and is experimental, so that everything that depends
on it is here. On older releases there is no ``set_callbacks``, and the hooks do nothing.
"""

from contextlib import nullcontext

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:

    class _NoContext:
        """A callback context that nobody listens to."""

        def subcontext(self, **kwargs):
            return self

        def call_on_fit_task_begin(self, **kwargs):
            return self

        def call_on_fit_task_end(self, **kwargs):
            return False

        def propagate_callback_context(self, sub_estimator):
            return nullcontext()

    class CallbackSupportMixin:
        """Stand-in without ``set_callbacks``."""

        def _init_callback_context(self, **kwargs):
            return _NoContext()


__all__ = ["CallbackSupportMixin"]
