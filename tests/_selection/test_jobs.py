"""Which candidate runs where: jobs, processes that die, progress."""

import io
import os
import re
import signal
import sys
from concurrent.futures import BrokenExecutor

import joblib
import numpy as np
import pytest
from helpers import ROUNDING, Broken, make_problem
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.exceptions import FitFailedWarning
from sklearn.random_projection import GaussianRandomProjection

from sklearn_ncti import ModelSelector, NCTIScorer
from sklearn_ncti._scoring.candidate import CandidateResult
from sklearn_ncti._scoring.scorers import Scorers
from sklearn_ncti._selection.context import FitContext
from sklearn_ncti._selection.jobs import FitTask, Job, Workers
from sklearn_ncti._utils.components import Components


@pytest.fixture
def data():
    return make_problem(n=400, d=30, spread=1.0, scale=3.0)


class Hostile(TransformerMixin, BaseEstimator):
    """A candidate that fails in a way that is no ordinary exception."""

    def __init__(self, how="killed"):
        self.how = how

    def fit(self, X, y=None):
        if self.how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "exit":
            sys.exit(3)
        if self.how == "interrupt":
            raise KeyboardInterrupt
        if self.how == "mute":
            raise Mute
        return self

    def transform(self, X):
        return X


class Mute(Exception):
    """An exception that cannot say what it is."""

    def __str__(self):
        raise RuntimeError("no words")


class Full(io.RawIOBase):
    """A stream without room."""

    def writable(self):
        return True

    def write(self, data):
        raise OSError(28, "No space left on device")


class Unsendable(TransformerMixin, BaseEstimator):
    """A candidate that no other process can be given."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X

    def __getstate__(self):
        raise TypeError("it holds a lock")


CANDIDATES = [
    ("random", GaussianRandomProjection(n_components=5, random_state=0)),
    ("pca", PCA(n_components=20)),
    ("svd", TruncatedSVD(n_components=4, random_state=0)),
]


@pytest.mark.parametrize("n_jobs", [2, -1])
def test_jobs_change_nothing(data, n_jobs):
    X, y = data
    one = ModelSelector(CANDIDATES).fit(X, y)
    with joblib.parallel_backend("threading"):
        many = ModelSelector(CANDIDATES, n_jobs=n_jobs).fit(X, y)
    np.testing.assert_allclose(one.results_["score"], many.results_["score"], **ROUNDING)


def test_processes_change_nothing(data):
    X, y = data
    one = ModelSelector(CANDIDATES).fit(X, y)
    two = ModelSelector(CANDIDATES, n_jobs=2).fit(X, y)
    np.testing.assert_allclose(one.results_["score"], two.results_["score"], **ROUNDING)


@pytest.mark.parametrize("how", ["exit", "mute"])
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_what_is_no_ordinary_exception_fails_one_candidate(data, how, n_jobs):
    X, y = data
    candidates = [CANDIDATES[0], ("hostile", Hostile(how)), CANDIDATES[1]]
    with pytest.warns(FitFailedWarning, match="1 of 3 candidates failed"):
        results = ModelSelector(candidates, refit=False, n_jobs=n_jobs).fit(X, y).results_
    expected = {"exit": "SystemExit: 3", "mute": "Mute: "}[how]
    assert results["error"][1].startswith(expected)
    assert [bool(error) for error in results["error"]] == [False, True, False]


def test_an_interrupt_stops_everything(data):
    with pytest.raises(KeyboardInterrupt):
        ModelSelector([("interrupt", Hostile("interrupt")), *CANDIDATES]).fit(*data)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_worker_that_dies_fails_one_candidate(data, capfd):
    X, y = data
    candidates = [*CANDIDATES[:2], ("killed", Hostile("killed"))]
    with pytest.warns(FitFailedWarning, match="1 of 3 candidates failed"):
        selector = ModelSelector(candidates, refit=False, n_jobs=2, verbose=1).fit(X, y)
    results = selector.results_
    assert "the worker process died" in results["error"][2]
    assert "SIGKILL" in results["error"][2]
    expected = ModelSelector(CANDIDATES[:2], refit=False).fit(X, y).results_
    np.testing.assert_allclose(results["score"][:2], expected["score"], rtol=1e-9)
    assert "[ModelSelector] killed: RuntimeError: the worker" in capfd.readouterr().err


def test_what_was_finished_when_a_worker_died_is_not_run_again(data):
    started = []

    def parallel(tasks):
        jobs = [args[0] for _, args, _ in tasks]
        started.append([job.index for job in jobs])
        for job in jobs:
            if job.index == 2:
                raise BrokenExecutor
            yield job.index, CandidateResult(job.name, Components({}))

    jobs = [Job(i, f"m{i}", None, FitTask(None, None)) for i in range(4)]
    context = FitContext(*data, Scorers(NCTIScorer()))
    context.progress.start(4)
    results = Workers(parallel).run(jobs, context)
    assert started == [[0, 1, 2, 3], [2], [3]]
    assert "the worker process died" in results.pop(2).error
    assert {i: result.name for i, result in results.items()} == {0: "m0", 1: "m1", 3: "m3"}
    # Each counts once.
    assert context.progress.text(80).startswith("4/4 in ")
    assert context.progress.text(80).endswith(", 1 failed")


def test_a_candidate_that_cannot_be_sent_fails_alone(data):
    X, y = data
    candidates = [CANDIDATES[0], ("unsendable", Unsendable()), CANDIDATES[1]]
    with pytest.warns(FitFailedWarning, match="1 of 3 candidates failed"):
        results = ModelSelector(candidates, refit=False, n_jobs=2).fit(X, y).results_
    assert "cannot be sent to a worker process" in results["error"][1]
    assert (results["error"][[0, 2]] == "").all()


@pytest.mark.parametrize("stream", [None, "closed", "full"])
def test_progress_that_cannot_be_written_costs_nothing(data, monkeypatch, stream):
    if stream == "closed":
        stream = io.StringIO()
        stream.close()
    elif stream == "full":
        stream = io.TextIOWrapper(Full(), write_through=True)
    monkeypatch.setattr(sys, "stderr", stream)
    selector = ModelSelector(CANDIDATES, refit=False, verbose=1, error_score="raise")
    assert selector.fit(*data).best_name_ == "pca"


def test_verbose_writes_to_standard_error_only(data, capsys):
    X, y = data
    with pytest.warns(FitFailedWarning):
        ModelSelector([*CANDIDATES, ("broken", Broken())], verbose=1).fit(X, y)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 6
    assert re.fullmatch(r"\[ModelSelector\] 2 of 4 candidates, \d\d:\d\d left", lines[1])
    assert lines[3] == "[ModelSelector] broken: RuntimeError: no network today"
    assert re.fullmatch(r"\[ModelSelector\] 4 of 4 candidates in \d\d:\d\d, 1 failed", lines[4])
    assert re.fullmatch(r"\[ModelSelector\] pca leads \(score \d\.\d{3}\)", lines[5])
    ModelSelector(CANDIDATES).fit(X, y)
    assert capsys.readouterr() == ("", "")
