"""Wrong arguments, reported on one line that says what to write."""

import argparse
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import NoReturn

from .._utils.terminal import printable, say


class WrongArgumentsError(Exception):
    """The arguments are wrong; `prog` is the command whose help describes them."""

    def __init__(self, prog: str, message: str) -> None:
        super().__init__(message)
        self.prog = prog


class Parser(argparse.ArgumentParser):
    """A parser that raises its errors, for `arguments_reported`."""

    def error(self, message: str) -> NoReturn:
        raise WrongArgumentsError(self.prog, message)


@contextmanager
def arguments_reported(argv: Sequence[str]) -> Iterator[None]:
    """Report wrong arguments on one line of standard error, and exit with status 2."""
    try:
        yield
    except WrongArgumentsError as exc:
        message = _on_a_missing_folder(argv, str(exc)) or f"{exc} (see {exc.prog} --help)"
        say(f"{exc.prog}: error: {printable(message)}")
        sys.exit(2)


def _on_a_missing_folder(argv: Sequence[str], message: str) -> str | None:
    """Say how to write a command whose folder an option took; None if that is not the error."""
    if not message.endswith("arguments are required: FOLDER"):
        return None
    starts = [i for i, argument in enumerate(argv) if argument.startswith("-")]
    # Each option with its values, of which the last may be the folder if there are several.
    for start, end in pairwise([*starts, len(argv)]):
        taken = argv[end - 1]
        if end - start > 2 and os.path.exists(taken):
            others = [*argv[1 : end - 1], *argv[end:]]
            corrected = shlex.join(["sklearn-ncti", argv[0], taken, *others])
            return (
                f"FOLDER is missing: {argv[start]} takes all values behind it, {taken!r} as well; "
                f"write the folder first: {corrected}"
            )
    return f"FOLDER is missing: write it first, sklearn-ncti {argv[0]} FOLDER --models MODEL"
