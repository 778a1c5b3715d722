"""Progress of a fit: one bar on a terminal and in a notebook, few lines in a log."""

import builtins
import io
import os
import pickle
import re
import sys
import time
import types
import warnings

import numpy as np
import pytest
from helpers import Broken, make_problem, running
from sklearn.decomposition import PCA
from sklearn.exceptions import FitFailedWarning
from sklearn.preprocessing import FunctionTransformer

from sklearn_ncti import HalvingModelSelector, ModelSelector, rank_features
from sklearn_ncti._scoring.candidate import CandidateResult, ExtractionFacts, Failure
from sklearn_ncti._selection import progress as _progress
from sklearn_ncti._selection.progress import FitProgress
from sklearn_ncti._utils.components import Components
from sklearn_ncti.backbones._progress import Progress

TIME = r"(\d+:)?\d\d:\d\d"

NAMED = re.compile(r"\[ModelSelector\] \d+ of \d+ candidates")


@pytest.fixture(scope="module")
def data():
    return make_problem(n=450, d=10, n_classes=5, scale=3.0, spread=1.0)


def noisy(X, level):
    return X + level * np.random.default_rng(0).normal(size=X.shape)


def cheap(n):
    """Candidates that add noise to the rows, each more than the one before."""
    return [(f"m{i}", FunctionTransformer(noisy, kw_args={"level": 0.1 * i})) for i in range(n)]


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    encoding = "utf-8"

    def isatty(self):
        return True


class Screen:
    """What a terminal shows that is given some text: its lines, and whether the cursor is seen.

    Attributes
    ----------
    states : list of str
        Each line at each time that the cursor leaves it.
    """

    def __init__(self, text):
        self.lines, self.row, self.column = [""], 0, 0
        self.states, self.cursor = [], True
        for code, kind, char in re.findall(r"\x1b\[(\??[\d;]*)([A-Za-z])|(.|\n)", text):
            self._take(code, kind, char)

    def _take(self, code, kind, char):
        line = self.lines[self.row]
        if kind == "K":
            self.lines[self.row] = "" if code == "2" else line[: self.column]
        elif kind == "A":
            self.row -= int(code or 1)
        elif code == "?25":
            self.cursor = kind == "h"
        elif char in ("\r", "\n"):
            self.states.append(line.rstrip())
            self.column = 0
            if char == "\n":
                self.row += 1
                self.lines += [""] * (self.row == len(self.lines))
        elif char:
            line = line.ljust(self.column)
            self.lines[self.row] = line[: self.column] + char + line[self.column + 1 :]
            self.column += 1

    @property
    def shown(self):
        """The lines that are not blank."""
        return [line.rstrip() for line in self.lines if line.strip()]


@pytest.fixture(params=["rich", "no rich"])
def terminal(request, monkeypatch):
    """A terminal of 120 columns, with rich and without it, for `sys.stderr`."""
    if request.param == "rich":
        pytest.importorskip("rich")
    else:
        monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm-256color")
    return Terminal()


@pytest.mark.parametrize("n", [60, 120])
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_a_log_has_few_lines_however_many_candidates(data, capfd, n, n_jobs):
    ModelSelector(cheap(n), refit=False, n_jobs=n_jobs, verbose=1).fit(*data)
    out, err = capfd.readouterr()
    assert out == ""
    *lines, last = err.splitlines()
    assert len(lines) == 10
    done = [int(re.match(r"\[ModelSelector\] (\d+) of", line)[1]) for line in lines]
    assert done == [n * (i + 1) // 10 for i in range(10)]
    for line in lines[:-1]:
        assert re.fullmatch(rf"\[ModelSelector\] \d+ of {n} candidates, {TIME} left", line)
    assert re.fullmatch(rf"\[ModelSelector\] {n} of {n} candidates in {TIME}", lines[-1])
    assert re.fullmatch(r"\[ModelSelector\] m\d+ leads \(score \d\.\d{3}\)", last)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_each_failure_has_a_line(data, capfd, n_jobs):
    pool = [("first", Broken()), *cheap(30), ("last", Broken("one-dimensional"))]
    with pytest.warns(FitFailedWarning, match="2 of 32"):
        ModelSelector(pool, refit=False, n_jobs=n_jobs, verbose=1).fit(*data)
    lines = capfd.readouterr().err.splitlines()
    assert lines.count("[ModelSelector] first: RuntimeError: no network today") == 1
    assert sum(line.startswith("[ModelSelector] last: ValueError: ") for line in lines) == 1
    assert [bool(NAMED.match(line)) for line in lines].count(True) == 10
    assert re.search(rf" 32 of 32 candidates in {TIME}, 2 failed$", lines[-2])


def test_silence(data, capfd, monkeypatch):
    with pytest.warns(FitFailedWarning):
        ModelSelector([*cheap(3), ("broken", Broken())], refit=False).fit(*data)
    HalvingModelSelector(cheap(3), min_samples=50, refit=False).fit(*data)
    assert capfd.readouterr() == ("", "")


def halving(data, **parameters):
    """Return a fitted search that shows its progress."""
    options = {"min_samples": 50, "elimination": "factor", "n_resamples": 40, **parameters}
    return HalvingModelSelector(cheap(30), refit=False, verbose=1, **options).fit(*data)


def test_halving_shows_iteration_and_candidates_left(data, capsys):
    selector = halving(data)
    lines = capsys.readouterr().err.splitlines()
    n = selector.n_possible_iterations_
    left = [*selector.n_candidates_[1:], None]
    rows = np.diff([0, *selector.n_resources_])
    for i, (n_candidates, ranking) in enumerate(
        zip(selector.n_candidates_, selector.rankings_, strict=True)
    ):
        stage = f"[HalvingModelSelector] iteration {i + 1} of {n}: "
        own = [line.removeprefix(stage) for line in lines if line.startswith(stage)]
        assert own[0] == f"{n_candidates} candidates, {rows[i]} rows more"
        assert re.fullmatch(rf"{n_candidates} of {n_candidates} candidates in {TIME}", own[-2])
        probability = ranking.results["best_probability"][ranking.best_index]
        leader = f"{ranking.best} leads (probability {probability:.2f}), "
        assert own[-1].startswith(leader)
        if left[i] is not None:
            assert own[-1] == f"{leader}{left[i]} candidates left"
        assert len(own) <= 13
        lines = lines[len(own) :]
    assert selector.n_iterations_ > 1
    assert lines == []


def test_a_terminal_has_one_line(data, terminal, monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal)
    ModelSelector(cheap(40), refit=False, verbose=1).fit(*data)
    screen = Screen(terminal.getvalue())
    (line,) = screen.shown
    assert re.search(rf"^\S+ 40/40 in {TIME}, m\d+ leads \(\d\.\d+\)$", line)
    assert screen.cursor
    assert sys.stderr is terminal


def test_halving_on_a_terminal_has_one_line(data, terminal, monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal)
    selector = halving(data, max_time=1e5)
    screen = Screen(terminal.getvalue())
    (line,) = screen.shown
    n, of, last = selector.n_iterations_, selector.n_possible_iterations_, selector.n_candidates_
    assert f" iteration {n}/{of}: {last[-1]}/{last[-1]} in " in line
    assert f"{selector.best_name_} leads (" in line
    assert line.endswith(" of max_time left")


def test_what_others_write_is_above_the_line(data, terminal, monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal)

    def warn(X):
        warnings.warn("look here", UserWarning, stacklevel=1)
        sys.stderr.write("and here\n")
        return X

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: sys.stderr.write(f"warning: {message}\n")
        pool = [("loud", FunctionTransformer(warn)), ("bad", Broken()), *cheap(3)]
        ModelSelector(pool, refit=False, verbose=1).fit(*data)
    *above, line = Screen(terminal.getvalue()).shown
    assert above[:3] == [
        "warning: look here",
        "and here",
        "[ModelSelector] bad: RuntimeError: no network today",
    ]
    assert " 5/5 in " in line
    assert line.endswith("1 failed")


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_error_leaves_the_terminal_clean(data, terminal, monkeypatch, error):
    monkeypatch.setattr(sys, "stderr", terminal)

    def stop(X):
        raise error

    pool = cheap(5)
    pool[2] = ("stop", FunctionTransformer(stop))
    with pytest.raises(error):
        ModelSelector(pool, refit=False, verbose=1, error_score="raise").fit(*data)
    screen = Screen(terminal.getvalue())
    (line,) = screen.shown
    assert " 2/5, " in line
    assert screen.cursor
    # What follows begins on a line of its own.
    assert screen.lines[screen.row] == ""
    assert sys.stderr is terminal


class Dead(Terminal):
    """A terminal that was closed."""

    def write(self, text):
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize("rich", [True, False])
def test_a_terminal_that_is_closed_costs_nothing(data, monkeypatch, rich):
    if rich:
        pytest.importorskip("rich")
    else:
        monkeypatch.setitem(sys.modules, "rich", None)
    expected = ModelSelector(cheap(4), refit=False).fit(*data).results_["score"]
    monkeypatch.setattr(sys, "stderr", Dead())
    pool = [*cheap(4), ("bad", Broken())]
    with pytest.warns(FitFailedWarning):
        found = ModelSelector(pool, refit=False, verbose=1).fit(*data).results_["score"]
    np.testing.assert_allclose(found[:4], expected)
    assert isinstance(sys.stderr, Dead)


def test_a_dumb_terminal_has_lines(data, terminal, monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "dumb")
    ModelSelector(cheap(4), refit=False, verbose=1).fit(*data)
    assert len(terminal.getvalue().splitlines()) == 5
    assert "\r" not in terminal.getvalue()


SCRIPT = """
import sys, time
import numpy as np
from sklearn.preprocessing import FunctionTransformer
if sys.argv[1] == "no rich":
    sys.modules["rich"] = None
from sklearn_ncti import ModelSelector

def slow(X, level):
    time.sleep(0.15)
    return X + level * rng.normal(size=X.shape)

rng = np.random.default_rng(0)
y = np.arange(300) % 3
X = rng.normal(size=(300, 4)) + y[:, None]
pool = [(f"m{i}", FunctionTransformer(slow, kw_args={"level": i})) for i in range(8)]
ModelSelector(pool, refit=False, verbose=1).fit(X, y)
"""


@pytest.mark.parametrize("with_rich", ["rich", "no rich"])
def test_a_real_terminal_shows_one_line_that_is_rewritten(with_rich):
    pty = pytest.importorskip("pty")
    if with_rich == "rich":
        pytest.importorskip("rich")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    with running(
        sys.executable, "-P", "-c", SCRIPT, with_rich, stderr=theirs, env=environment
    ) as child:
        os.close(theirs)
        text = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:
                # That is how the end of a terminal is told on Linux.
                part = b""
            if not part:
                break
            text += part
        assert child.wait(60) == 0
    os.close(ours)
    screen = Screen(text.decode())
    (line,) = screen.shown
    assert " 8/8 in " in line
    assert screen.cursor
    counts = [int(found[1]) for found in re.finditer(r"(\d)/8", "\n".join(screen.states))]
    assert counts == sorted(counts)
    assert len(set(counts)) > 3


@pytest.fixture
def notebook(monkeypatch):
    """A notebook with widgets, and the contents of each widget that is shown."""
    shown = []

    class Output:
        def __init__(self):
            self.contents = []

        def clear_output(self, wait):
            self.contents = []

        def __enter__(self):
            shell.current = self

        def __exit__(self, *exc_info):
            shell.current = None

    class ZMQInteractiveShell:
        kernel = object()
        current = None

    shell = ZMQInteractiveShell()

    def display(item):
        if shell.current is None:
            shown.append(item)
        else:
            shell.current.contents.append(item)

    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: shell
    ipython.display = types.ModuleType("IPython.display")
    ipython.display.display = display
    widgets = types.ModuleType("ipywidgets")
    widgets.__spec__ = types.SimpleNamespace()
    widgets.Output = Output
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython.display)
    monkeypatch.setitem(sys.modules, "ipywidgets", widgets)
    monkeypatch.setattr(builtins, "get_ipython", lambda: shell, raising=False)
    return shown


def shown_by(content):
    return content._repr_mimebundle_([], [])["text/plain"]


def test_a_notebook_has_one_display(data, notebook, capsys):
    pytest.importorskip("rich")
    ModelSelector(cheap(20), refit=False, verbose=1).fit(*data)
    widget, *others = notebook
    (content,) = widget.contents
    assert " 20/20 in " in shown_by(content)
    # At the end, rich shows an empty text.
    assert not "".join(map(shown_by, others)).strip()
    assert capsys.readouterr() == ("", "")


def test_a_notebook_without_widgets_has_one_line(data, notebook, capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "ipywidgets")
    monkeypatch.setattr(_progress, "find_spec", lambda name: None)
    ModelSelector(cheap(20), refit=False, verbose=1).fit(*data)
    out, err = capsys.readouterr()
    assert (out, notebook) == ("", [])
    (line,) = Screen(err).shown
    assert " 20/20 in " in line


def done(name="m", **facts):
    return CandidateResult(name, Components({}), facts=ExtractionFacts(**facts))


def untimed(text):
    """The parts of a line without times and speeds, which change from call to call."""
    return re.sub(rf"{TIME}|[\d.]+ images", "...", text).split(", ")


def progress_of(name, data):
    """Progress in which a candidate of some name leads, one failed and one runs."""
    X, y = data
    progress = FitProgress("Selector", 1)
    progress.start(20, "iteration 1 of 2: ", deadline=time.time() + 1e5)
    progress.lead(rank_features({name: X}, y, normalization="absolute"))
    progress.finish(done(images_per_second=3.0), 60)
    progress.finish(CandidateResult("bad", Failure("E: x", "")), 60)
    with progress.running("running", 60):
        return progress


def test_what_does_not_fit_is_left_out(data):
    progress = progress_of("名前", data)
    whole = progress.text(150)
    line = rf"iteration 1/2: 2/20, {TIME} left, 名前 leads \(\d\.\d+\), 1 failed, "
    line += rf"\d+\.\d images/s, {TIME} of max_time left, now running"
    assert re.fullmatch(line, whole)
    parts = untimed(whole)
    for width in range(35, 150):
        text = progress.text(width)
        # The two characters of the name take two columns each.
        assert len(text) + 2 * ("名前" in text) <= width
        shown = untimed(text)
        assert shown == [part for part in parts if part in shown]
        assert shown[:2] == parts[:2]
    assert progress.text(10) == whole[:10]
    assert "now" not in progress.log_line()
    assert "leads" not in progress.log_line()


def test_a_long_name_is_shortened_to_fit(data):
    name = "vit_base_patch16_224.augreg2_in21k_ft_in1k"
    progress = progress_of(name, data)
    assert f", {name} leads (" in progress.text(120)
    text = progress.text(68)
    assert len(text) == 68
    head, tail = re.search(r"left, (\S+)\.\.\.(\S+) leads \(", text).groups()
    assert len(head) > 5
    assert name.startswith(head)
    assert name.endswith(tail)
    assert "leads" not in progress.text(50)


def test_rows_of_a_candidate_that_runs_count(monkeypatch):
    now = [100.0]
    clock = types.SimpleNamespace(monotonic=lambda: now[0], time=time.time)
    monkeypatch.setattr(_progress, "time", clock)
    progress = FitProgress("Selector", 1)
    progress.start(4)
    assert progress.fraction == 0
    with progress.running("a", 80):
        with Progress(80, "a network", verbose=1) as own:
            own.advance(20)
        assert progress.fraction == pytest.approx(1 / 16)
        with progress.running("b", 80), Progress(80, "b", verbose=1) as own:
            own.advance(40)
        # With a second pass over the same rows, a candidate is not more than done.
        with Progress(80, "a", verbose=0) as own:
            own.advance(80)
        assert (0.9 + 0.5) / 4 < progress.fraction < (1 + 0.5) / 4
    progress.finish(done("a", images_per_second=1.0), 80)
    progress.finish(done("b"), 80)
    assert progress.fraction == pytest.approx(0.5)
    # 140 rows were counted as they came, and not once more with the results.
    now[0] += 10
    assert progress.log_line() == "[Selector] 2 of 4 candidates, 00:10 left, 14.0 images/s"
    # In another process they are counted with the result.
    progress.finish(done("c", images_per_second=1.0), 60)
    progress.finish(done("d"), 60)
    now[0] += 10
    assert progress.log_line() == "[Selector] 4 of 4 candidates in 00:10, 20.0 images/s"
    progress.start(2)
    assert progress.log_line() == "[Selector] 0 of 2 candidates"


def test_a_copy_in_another_process_shows_nothing(capsys):
    with FitProgress("Selector", 1) as progress:
        copy = pickle.loads(pickle.dumps(progress))
    with copy.running("a", 10), Progress(10, "a", verbose=1) as own:
        own.advance(5)
    copy.finish(done("a"), 10)
    copy.finish(CandidateResult("bad", Failure("E: x", "")), 10)
    assert capsys.readouterr() == ("", "")


def test_a_fit_within_a_candidate_has_no_lines(data, capsys):
    inner = ModelSelector([("pca", PCA(3)), ("six", PCA(6))], verbose=1)
    ModelSelector([("inner", inner), ("pca", PCA(2))], refit=False, verbose=1).fit(*data)
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" candidates")[0] for line in lines[:2]] == [
        "[ModelSelector] 1 of 2",
        "[ModelSelector] 2 of 2",
    ]
    assert len(lines) == 3
