"""Safe output of foreign text, such as names of files and errors of other packages."""

import os
import re
import sys
from contextlib import suppress
from typing import TextIO

# Characters that are not printed as they are: control characters (C0, C1, DEL), which a
# terminal obeys; line separators and characters that change the direction of text, which can
# make one text look like another; and surrogates, which represent bytes of file names that are
# not valid UTF-8.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: object, keep: str = "") -> str:
    r"""Return text with an escape, such as ``\x1b``, for each unprintable character.

    Parameters
    ----------
    text : object
        The text, or an object that `str` converts to it.

    keep : str, default=""
        Characters that are not escaped, such as the newline in text of several lines.

    Returns
    -------
    text : str
        Text that a terminal shows as it is, and that UTF-8 can encode.
    """

    def escaped(match: re.Match[str]) -> str:
        char = match[0]
        return char if char in keep else char.encode("unicode_escape").decode("ascii")

    return _UNPRINTABLE.sub(escaped, str(text))


def encodable(text: str, encoding: str | None = None) -> str:
    """Return text with escapes for characters that an encoding lacks. None means UTF-8."""
    encoding = encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def write_to(stream: TextIO, text: str) -> None:
    """Write text to a stream and flush it, with escapes for characters that it lacks."""
    stream.write(encodable(text, getattr(stream, "encoding", None)))
    stream.flush()


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is an open terminal, not a file, a pipe or None."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        # The stream is closed.
        return False


def say(text: str) -> None:
    """Write one or more lines to the standard error stream, if that is possible.

    A stream that is closed or full is ignored: a lost message must not stop the work.
    """
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            write_to(sys.stderr, f"{printable(text, keep=chr(10))}\n")


def flush_or_discard(stream: TextIO | None) -> None:
    """Flush a stream. If that fails, discard the text that is left in its buffer.

    Otherwise the interpreter flushes it again at exit, prints an error, and exits with
    status 120.
    """
    if stream is None:
        return
    try:
        stream.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError), open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), stream.fileno())
