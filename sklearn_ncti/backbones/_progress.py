"""How far an extraction has come, for people who wait for it."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Self

from .._utils.optional import import_optional
from .._utils.terminal import encodable, is_terminal, printable, say

# Seconds between two lines where no bar can be drawn.
_SECONDS = 30

_UNITS = {"images": "img", "texts": "text"}

# What is told of rows, and what they are, in place of being shown.
_LISTENER: ContextVar[Callable[[int, str], None] | None] = ContextVar("listener", default=None)


@contextmanager
def told_to(listener: Callable[[int, str], None]) -> Iterator[None]:
    """Tell a function of rows, in place of showing them, in a block of code of this thread."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def is_told() -> bool:
    """Whether progress is told to a function, and must not be shown."""
    return _LISTENER.get() is not None


class Progress:
    """Count rows on the standard error stream: a bar on a terminal, lines in a log.

    Parameters
    ----------
    total : int
        The number of rows.

    name : str
        What they go through.

    verbose : int
        0 for silence.

    what : {"images", "texts"}, default="images"
        What is counted.
    """

    def __init__(self, total: int, name: str, verbose: int, what: str = "images") -> None:
        self._total = total
        self._what = what
        # Of a folder or a hub, the last part tells one model from another.
        self._name = printable(os.path.basename(name))
        self._bar = None
        self._listener = _LISTENER.get()
        verbose = 0 if self._listener is not None else verbose
        self._silent = not verbose
        self._done = 0
        self._start = self._last = time.monotonic()
        if verbose and is_terminal(sys.stderr):
            tqdm = import_optional("tqdm", extra="timm")
            desc = encodable(self._name, sys.stderr.encoding)
            self._bar = tqdm.tqdm(total=total, unit=_UNITS[what], desc=desc)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, n_rows: int) -> None:
        """Count more rows as done."""
        self._done += n_rows
        if self._listener is not None:
            self._listener(n_rows, self._what)
        if self._bar is not None:
            self._bar.update(n_rows)
            return
        now = time.monotonic()
        if self._silent or now - self._last < _SECONDS or self._done == self._total:
            return
        self._last = now
        speed = self._done / (now - self._start)
        left = (self._total - self._done) / speed
        say(
            f"{self._name}: {self._done} of {self._total} {self._what}, "
            f"{speed:.1f} {self._what}/s, "
            f"about {left:.0f} s left"
        )
