"""`FitProgress`: one bar, or a few lines, for all candidates of a fit."""

import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from importlib.util import find_spec
from threading import RLock
from typing import Any, Self, TextIO
from unicodedata import east_asian_width

from .._scoring.candidate import CandidateResult
from .._utils.terminal import is_terminal, printable, say, write_to
from ..backbones._progress import is_told, told_to

# Seconds between two lines of a log while no candidate ends, and between two states of a line
# that is rewritten.
_LOG_SECONDS, _LINE_SECONDS = 30, 0.1

# Characters of the bar itself, and of the shortest name that still tells something.
_BAR, _NAME = 10, 12


class FitProgress:
    """Show on the standard error stream how far a fit has come.

    It is one bar on a terminal and in a notebook. Elsewhere it is a line for each tenth of the
    candidates, or of those of an iteration. A failed candidate has a line of its own. Nothing
    is shown outside the ``with`` block, and by copies in other processes.

    Parameters
    ----------
    name : str, default=""
        What lines begin with: the name of a class.

    verbose : int, default=0
        0 for silence.
    """

    def __init__(self, name: str = "", verbose: int = 0) -> None:
        self._name = name
        self._verbose = verbose
        self._display = _Silent()
        self._lock = RLock()
        self._leader: tuple[str, str] | None = None
        self.start(0)

    def __reduce__(self) -> tuple[Any, ...]:
        return FitProgress, (self._name, self._verbose)

    def __enter__(self) -> Self:
        # A fit within a candidate of another one has no bar of its own.
        if self._verbose and not is_told():
            self._display = _display(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        display, self._display = self._display, _Silent()
        display.close()

    def start(self, n_candidates: int, stage: str = "", deadline: float = math.inf) -> None:
        """Count candidates from 0 on.

        Parameters
        ----------
        n_candidates : int
            Number of candidates.

        stage : str, default=""
            What they are in, such as an iteration; empty if they are all there are.

        deadline : float, default=inf
            Time, as `time.time` gives it, at which the time for the fit is over.
        """
        with self._lock:
            self._total, self._stage, self._deadline = n_candidates, stage, deadline
            self._done = self._failed = self._rows = 0
            self._what = ""
            # How much of its rows each running candidate of this process has seen.
            self._shares: dict[str, float] = {}
            self._begin = time.monotonic()
            self._end = math.nan
        self._display.changed(True)

    def tell(self, text: str) -> None:
        """Write a line to a log; a bar only shows the new state."""
        self._display.news(f"[{self._name}] {self._stage}{text}")

    @contextmanager
    def running(self, name: str, n_rows: int) -> Iterator[None]:
        """Count the rows that go through a candidate, which shows no bar of its own."""

        def count(n_new: int, what: str) -> None:
            with self._lock:
                self._rows, self._what = self._rows + n_new, what
                # Scores come after the last row.
                self._shares[name] = min(0.99, self._shares[name] + n_new / n_rows)
            self._display.changed(False)

        with self._lock:
            self._shares[name] = 0.0
        with self.without_bars(count):
            yield

    @contextmanager
    def without_bars(self, tell: Callable[[int, str], None] = lambda *_: None) -> Iterator[None]:
        """Tell a function what backbones would show, unless the fit is silent."""
        with told_to(tell) if self._verbose else nullcontext():
            yield

    def finish(self, result: CandidateResult, n_rows: int) -> None:
        """Count a candidate as done, with the rows that were given to it."""
        facts = result.facts
        with self._lock:
            self._done += 1
            self._failed += result.failure is not None
            # Rows are counted as they go through the network, but not in other processes.
            if self._shares.pop(result.name, None) is None:
                for what in ("images", "texts"):
                    if not math.isnan(getattr(facts, f"{what}_per_second")):
                        self._rows, self._what = self._rows + n_rows, what
            if self._done == self._total:
                self._end = time.monotonic()
        if result.failure is not None:
            first_line = result.error.partition("\n")[0]
            self._display.line(f"[{self._name}] {printable(result.name)}: {first_line}")
        self._display.changed(True)

    def lead(self, ranking: Any, more: str = "") -> None:
        """Show the first of a ranking, with its probability or score."""
        name, results, best = printable(ranking.best), ranking.results, ranking.best_index
        kind, value = "score", f"{results['score'][best]:.3f}"
        if "best_probability" in results:
            kind, value = "probability", f"{results['best_probability'][best]:.2f}"
        self._leader = name, value
        self.tell(f"{name} leads ({kind} {value}){more}")

    @property
    def step(self) -> tuple[str, int]:
        """The stage, and the number of tenths that are done."""
        with self._lock:
            return self._stage, int(10 * self.fraction + 1e-9)

    @property
    def fraction(self) -> float:
        """How much is done, from 0 to 1."""
        with self._lock:
            return (self._done + sum(self._shares.values())) / max(1, self._total)

    def log_line(self) -> str:
        """Return the state as a line of a log."""
        with self._lock:
            return f"[{self._name}] {', '.join(self._parts())}"

    def text(self, width: int) -> str:
        """Return the state as a line to be rewritten, without what does not fit into a width."""
        with self._lock:
            if not self._total:
                return "starting"[:width]
            text, *more = self._parts()
            text = text.replace(" of ", "/").replace(" candidates", "")
            if self._leader is not None:
                name, value = self._leader
                room = width - _n_cells(f"{text},  leads ({value})")
                more.insert(0, f"{_shortened(name, room)} leads ({value})")
            more += [f"now {printable(name)}" for name in list(self._shares)[:1]]
        for part in more:
            if _n_cells(f"{text}, {part}") <= width:
                text += f", {part}"
        return text[:width]

    def _parts(self) -> list[str]:
        """Return what there is to say, the most important first."""
        ended = not math.isnan(self._end)
        seconds = (self._end if ended else time.monotonic()) - self._begin
        parts = [f"{self._stage}{self._done} of {self._total} candidates"]
        if ended:
            parts[0] += f" in {_clock(seconds)}"
        elif self.fraction:
            parts[0] += f", {_clock(seconds / self.fraction - seconds)} left"
        if self._failed:
            parts.append(f"{self._failed} failed")
        if self._rows:
            parts.append(f"{self._rows / max(seconds, 1e-9):.1f} {self._what}/s")
        if self._deadline < math.inf:
            left = _clock(max(0, self._deadline - time.time()))
            parts.append(f"{left} of max_time left")
        return parts


class _Silent:
    """A display of nothing, and what the others have in common."""

    def line(self, text: str) -> None:
        """Write a line that stays."""

    def news(self, text: str) -> None:
        """Tell of a new state."""

    def changed(self, much: bool) -> None:
        """Show the new state. Rows of a candidate that runs are no large change."""

    def close(self) -> None:
        """Leave the stream as it was."""


class _Log(_Silent):
    """Lines, where nothing can be rewritten."""

    def __init__(self, progress: FitProgress) -> None:
        self._progress = progress
        self._lock = RLock()
        self._last = ("", 0)
        self._time = time.monotonic()

    def line(self, text: str) -> None:
        say(text)

    news = line

    def changed(self, much: bool) -> None:
        with self._lock:
            step, now = self._progress.step, time.monotonic()
            if step[1] == 0 or step == self._last:
                return
            if much or now - self._time >= _LOG_SECONDS:
                self._last, self._time = step, now
                say(self._progress.log_line())


class _Line(_Silent):
    """A line that is rewritten. In the meantime it stands for the standard error stream.

    What others write there comes above it.
    """

    def __init__(self, progress: FitProgress) -> None:
        self._progress = progress
        self._lock = RLock()
        self._stream = sys.stderr
        self._safe = _Safe(sys.stderr)
        self._next = 0.0
        sys.stderr = self
        self._draw()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._lock:
            self._safe.write(f"\r{' ' * self._width()}\r")
            return self._stream.write(text)

    def line(self, text: str) -> None:
        say(text)
        self._draw()

    def news(self, text: str) -> None:
        self._draw()

    def changed(self, much: bool) -> None:
        if much or time.monotonic() >= self._next:
            self._draw()

    def close(self) -> None:
        self._draw()
        self._safe.write("\n")
        if sys.stderr is self:
            sys.stderr = self._stream

    def _draw(self) -> None:
        with self._lock:
            done, width = int(_BAR * self._progress.fraction), self._width()
            line = f"[{'#' * done:<{_BAR}}] {self._progress.text(width - _BAR - 3)}"
            self._safe.write(f"\r{line}{' ' * (width - _n_cells(line))}")
            self._next = time.monotonic() + _LINE_SECONDS

    def _width(self) -> int:
        """Return the columns but the last: some terminals go to the next line after that."""
        columns = 0
        with suppress(OSError, ValueError):
            columns = os.get_terminal_size(self._stream.fileno()).columns
        return (columns or shutil.get_terminal_size().columns) - 1


class _Bar(_Silent):
    """A bar of rich, which writes above it what others write to the standard error stream."""

    def __init__(self, progress: FitProgress) -> None:
        from rich.console import Console
        from rich.live import Live

        self._progress = progress
        self._console = Console(
            file=_Safe(sys.stderr), force_terminal=is_terminal(sys.stderr) or None
        )
        # It asks for the state by itself, several times a second. The standard output may be a
        # file, and stays what it is.
        self._live = Live(
            console=self._console, redirect_stdout=False, get_renderable=self._renderable
        )
        self._live.start(refresh=True)

    def line(self, text: str) -> None:
        say(text)

    def close(self) -> None:
        # In a notebook, to stop shows no last state.
        self._live.refresh()
        self._live.stop()

    def _renderable(self) -> Any:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        text = self._progress.text(self._console.width - _BAR - 2)
        line = Table.grid(padding=(0, 1))
        bar = ProgressBar(
            1, self._progress.fraction, _BAR, complete_style="green", finished_style="green"
        )
        line.add_row(bar, Text(text, no_wrap=True, overflow="crop"))
        return line


class _Safe:
    """A stream without errors: a bar that is lost must not stop the work."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            write_to(self._stream, text)
        return len(text)

    def flush(self) -> None:
        """Do nothing: what is written is flushed."""


def _display(progress: FitProgress) -> _Silent:
    """Return the display for the standard error stream."""
    in_notebook = _in_notebook()
    is_dumb = os.environ.get("TERM") in ("dumb", "unknown")
    if not in_notebook and (is_dumb or not is_terminal(sys.stderr)):
        return _Log(progress)
    return _Bar(progress) if _has_rich(in_notebook) else _Line(progress)


def _has_rich(in_notebook: bool) -> bool:
    """Whether rich is installed, and in a notebook the widgets that it needs there."""
    if find_spec("rich") is None:
        return False
    from rich.console import Console

    return not in_notebook or (Console().is_jupyter and find_spec("ipywidgets") is not None)


def _in_notebook() -> bool:
    """Whether the standard error stream is shown in a notebook."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def _clock(seconds: float) -> str:
    """Return a duration as minutes and seconds, with hours where there are some."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes:02}:{seconds:02}"


def _shortened(name: str, width: int) -> str:
    """Return a name without its middle if it is too long: both ends tell networks apart."""
    if len(name) <= width or width < _NAME:
        return name
    head = (width - 3) // 2
    return f"{name[:head]}...{name[head + 3 - width :]}"


def _n_cells(text: str) -> int:
    """Return the width of a text on a terminal, where some characters take two columns."""
    return sum(2 if east_asian_width(char) in "WF" else 1 for char in text)
