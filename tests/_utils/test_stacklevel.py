"""Warnings name the file and the line of the caller, however deep in the package they arise."""

import inspect
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from joblib import Parallel, delayed
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

# A module of the package, as far as its frames can tell.
PLANTED = """
import warnings
from contextlib import contextmanager
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn_ncti._utils.stacklevel import find_stack_level


def warn(depth):
    if depth:
        return warn(depth - 1)
    warnings.warn("planted", UserWarning, stacklevel=find_stack_level())


@contextmanager
def silence():
    yield


decorated = silence()(warn)


def on_jobs(**options):
    Parallel(**options)(delayed(warn)(1) for _ in range(2))


class Planted(TransformerMixin, BaseEstimator):
    _parameter_constraints = {}

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        warn(2)
        self.fitted_ = True
        return self

    def transform(self, X):
        warn(0)
        return X

    def score(self, X, y=None):
        return 0.0
"""


@pytest.fixture
def planted():
    namespace = {"__name__": "sklearn_ncti._planted"}
    exec(compile(PLANTED, "<planted>", "exec"), namespace)
    return namespace


def places(call):
    """File and line of every warning of a call."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return {(warning.filename, warning.lineno) for warning in caught}


def here():
    return inspect.currentframe().f_back.f_lineno


@pytest.mark.parametrize("depth", [0, 1, 5])
def test_the_caller_of_a_function_is_named(planted, depth):
    assert places(lambda: planted["warn"](depth)) == {(__file__, here())}


def test_frames_of_contextlib_are_skipped(planted):
    assert places(lambda: planted["decorated"](1)) == {(__file__, here())}


def test_frames_of_scikit_learn_are_skipped(planted):
    X = np.zeros((6, 2))
    estimator = planted["Planted"]()
    assert places(lambda: estimator.fit(X)) == {(__file__, here())}
    assert places(lambda: estimator.fit_transform(X)) == {(__file__, here())}
    assert places(lambda: make_pipeline(estimator).fit_transform(X)) == {(__file__, here())}
    assert places(lambda: cross_val_score(estimator, X, cv=2)) == {(__file__, here())}


def test_frames_of_joblib_are_skipped(planted):
    assert places(lambda: planted["on_jobs"]()) == {(__file__, here())}
    assert places(lambda: Parallel()([delayed(planted["warn"])(1)])) == {(__file__, here())}


def test_threads_have_no_caller(planted):
    def threads():
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(planted["warn"], [0, 3]))

    def jobs():
        planted["on_jobs"](n_jobs=2, prefer="threads")

    line = next(i for i, text in enumerate(PLANTED.splitlines(), 1) if "warnings.warn" in text)
    for run in (threads, jobs):
        found = places(run)
        assert {file for file, _ in found} == {"<planted>"}
        assert found <= {("<planted>", line), ("<planted>", line - 1)}
