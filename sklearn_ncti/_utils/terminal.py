"""Text that holds names and errors of others, for terminals, logs and files."""

import os
import re
import sys
from contextlib import suppress
from typing import TextIO

# Control characters (C0, C1, DEL), which steer terminals; separators of lines and characters
# that change the direction of text, which make it look like another; and surrogates, which
# stand for the bytes of file names that are not valid UTF-8.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: object, keep: str = "") -> str:
    r"""Return text with an escape, such as ``\x1b``, for everything that is not to be printed.

    Parameters
    ----------
    text : object
        The text, or what is turned to it.

    keep : str, default=""
        Characters that stay, such as the newline in text of several lines.

    Returns
    -------
    text : str
        What a terminal shows as it is, and UTF-8 can encode.
    """

    def escaped(match):
        char = match[0]
        return char if char in keep else char.encode("unicode_escape").decode("ascii")

    return _UNPRINTABLE.sub(escaped, str(text))


def encodable(text: str, encoding: str | None = None) -> str:
    """Return text with escapes for the characters that an encoding lacks; None is UTF-8."""
    encoding = encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def write_to(stream: TextIO, text: str) -> None:
    """Write text to a stream and flush it, with escapes for what it cannot encode."""
    stream.write(encodable(text, getattr(stream, "encoding", None)))
    stream.flush()


def is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody watches a stream, as opposed to a file, a pipe or nobody."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        # It was closed.
        return False


def say(text: str) -> None:
    """Write a line, or several, to the standard error stream, if it takes them.

    Where it is closed or full nobody reads them, and that must not end the work.
    """
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            write_to(sys.stderr, f"{printable(text, keep=chr(10))}\n")


def settle(stream: TextIO | None) -> None:
    """Flush a stream; where that fails, drop what is left in it.

    The interpreter would otherwise try again when it ends, complain, and end with status 120.
    """
    if stream is None:
        return
    try:
        stream.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError), open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), stream.fileno())
