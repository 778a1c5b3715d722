"""Where the command line begins: arguments are read before anything heavy is imported."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr

from .._utils.terminal import flush_or_discard
from .parser import parse_options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, default=None
        Arguments. If None, those of the process are used.

    Returns
    -------
    status : int
        Exit status.
    """
    with _usable_streams():
        options = parse_options(argv)
        # The commands import scikit-learn, which takes ten times as long as a help text.
        from .commands import run

        return run(options)


@contextmanager
def _usable_streams() -> Iterator[None]:
    """Provide a standard error stream, and leave both streams as the interpreter wants them."""
    try:
        # Other packages write to the stream, for example progress bars of downloads, and
        # fail if it is closed.
        if sys.stderr is not None:
            yield
        else:
            with open(os.devnull, "w", encoding="utf-8") as nothing, redirect_stderr(nothing):
                yield
    finally:
        flush_or_discard(sys.stdout)
        flush_or_discard(sys.stderr)
