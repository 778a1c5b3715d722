"""The bridge over versions of scikit-learn."""

from importlib.util import find_spec

from sklearn.base import BaseEstimator

from sklearn_ncti._utils.sklearn_compat import CallbackSupportMixin


class Estimator(CallbackSupportMixin, BaseEstimator):
    pass


def test_contexts_of_callbacks_can_be_made_and_nested_in_every_version():
    """scikit-learn has callbacks since 1.9; before, the same calls do nothing."""
    estimator = Estimator()
    context = estimator._init_callback_context(max_subtasks=1)
    context.call_on_fit_task_begin(estimator=estimator, X=None, y=None)
    inner = context.subcontext(task_name="part")
    inner.call_on_fit_task_begin(estimator=estimator, X=None, y=None)
    inner.call_on_fit_task_end(estimator=estimator, X=None, y=None)
    context.call_on_fit_task_end(estimator=estimator, X=None, y=None)


def test_callbacks_are_those_of_scikit_learn_where_it_has_them():
    own = CallbackSupportMixin.__module__.startswith("sklearn_ncti")
    assert own == (find_spec("sklearn.callback") is None)
