"""The files that the command line writes, checked before the work and written after it."""

import csv
import io
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from .._ranking.display import RankingDisplay
from .._ranking.ranking import Ranking
from .._utils.files import real_path, temporary_file, write_file
from .._utils.optional import import_optional
from .._utils.terminal import encodable, printable, say
from .._version import __version__
from ..datasets._folder import is_image
from .options import Outputs, ScoringOptions

# Scoring options that the JSON file shows: they determine the stated uncertainty.
_UNCERTAINTY_OPTIONS = ("resamples", "random_state", "cv")

# Characters at which a spreadsheet starts to read a cell as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


@dataclass(frozen=True)
class Outcome:
    """The result of a command.

    Parameters
    ----------
    command : str
        Name of the command.

    ranking : Ranking
        The ranking.

    text : str
        Table to print.

    facts : dict of str to object
        Further entries of the JSON file.

    scoring : ScoringOptions, default=None
        Options of the scores. None if the command has no such options.

    report : callable, default=None
        Function that returns the HTML report. None if the command has none.
    """

    command: str
    ranking: Ranking
    text: str
    facts: Mapping[str, Any]
    scoring: ScoringOptions | None = None
    report: Callable[[], str] | None = None


@dataclass(frozen=True)
class Listing:
    """The result of a command that ranks nothing.

    Attributes
    ----------
    command : str
        Name of the command.

    text : str
        Text to print.

    document : dict of str to object
        Entries of the JSON file.

    rows : list of dict
        Rows of the CSV file.
    """

    command: str
    text: str
    document: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]


Result = Outcome | Listing


def shortlisted(outcome: Outcome, n: int | None) -> Outcome:
    """Return a result whose text is the first `n` names; its table goes to standard error.

    Parameters
    ----------
    outcome : Outcome
        Result of the command.

    n : int or None
        Number of names. None for the result as it is.

    Returns
    -------
    outcome : Outcome
        The result that has the names, which its JSON file holds as well.
    """
    if n is None:
        return outcome
    say(outcome.text)
    names = outcome.ranking.shortlist(n)
    if len(names) < n:
        say(f"--shortlist {n}: only {len(names)} of the candidates have a score")
    facts = {**outcome.facts, "shortlist": [plain(name) for name in names]}
    return replace(outcome, text="\n".join(map(printable, names)), facts=facts)


def check_outputs(outputs: Outputs) -> None:
    """Check before the work that the files can be written after it.

    Parameters
    ----------
    outputs : Outputs
        Files to write.

    Raises
    ------
    ValueError
        If a file exists and may not be overwritten, if it cannot be written, if two outputs
        are the same file, or if the suffix of the picture is not that of a format.

    ImportError
        If a picture is wanted and matplotlib is not installed.
    """
    if outputs.plot is not None:
        _check_picture(outputs.plot)
    paths = outputs.paths()
    for path in paths.values():
        _check_output(path, force=outputs.force)
    for (a, path), (b, other) in combinations(paths.items(), 2):
        if _are_one(real_path(path), real_path(other)):
            raise ValueError(f"--{a} {path} and --{b} {other} are the same file; name another")


def check_not_inputs(outputs: Outputs, inputs: Iterable[str | os.PathLike[str]]) -> None:
    """Raise a ValueError if an output is an input file, under this or another name."""
    inputs = list(inputs)
    for option, path in outputs.paths().items():
        if _is_among(path, inputs):
            raise ValueError(f"--{option} {path} is a file that this run reads; name another")


def check_no_new_images(outputs: Outputs, folder: str) -> None:
    """Raise a ValueError if an output would be an input image of the next run."""
    for option, path in outputs.paths().items():
        if is_image(path.name) and real_path(path).is_relative_to(real_path(folder)):
            raise ValueError(
                f"--{option} {path} would become an image in {folder}; name a file elsewhere"
            )


def check_folder(folder: Path) -> None:
    """Make a folder if it does not exist, and raise a ValueError if it is not writable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary_file(folder):
            pass
    except (OSError, ValueError) as exc:
        raise ValueError(f"{folder} is not a writable folder: {exc}") from exc


def write_outputs(
    outputs: Outputs, outcome: Result
) -> Iterator[tuple[str, Path, Exception | None]]:
    """Write the files. One that cannot be written does not stop the others.

    Parameters
    ----------
    outputs : Outputs
        Files to write.

    outcome : Outcome or Listing
        Result of the command.

    Yields
    ------
    option, path, error : str, path and Exception or None
        Each file after it was written, or with the error that prevented it.
    """
    for option, path in outputs.paths().items():
        try:
            write_file(path, _MAKERS[option](outcome, path), overwrite=outputs.force)
        except Exception as exc:
            yield option, path, exc
        else:
            yield option, path, None


def _check_picture(path: Path) -> None:
    """Raise a ValueError if the suffix is not that of a format that matplotlib writes."""
    backends = import_optional("matplotlib.backend_bases", extra="plot")
    known = sorted(backends.FigureCanvasBase.get_supported_filetypes())
    if path.suffix[1:].lower() not in known:
        raise ValueError(
            f"--plot {path} must end in the suffix of its format, one of .{', .'.join(known)}"
        )


def _check_output(path: Path, *, force: bool) -> None:
    """Raise a ValueError that says why a file cannot be written."""
    exists = True
    try:
        os.stat(path)
    except FileNotFoundError:
        exists = False
    except (OSError, ValueError) as exc:
        raise ValueError(f"{path} cannot be written: {exc}") from exc
    if exists and not force:
        raise ValueError(f"{path} exists; name another file, or overwrite it with --force")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name a file")
    if exists and not os.access(path, os.W_OK):
        raise ValueError(f"{path} is write-protected; name another file")
    if exists and not path.is_file():
        return
    folder = real_path(path).parent
    if not folder.is_dir():
        raise ValueError(f"the folder of {path} does not exist")
    try:
        with temporary_file(folder):
            pass
    except OSError as exc:
        raise ValueError(f"the folder of {path} is not writable: {exc}") from exc


def _identity(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """Return the device and inode of a file, which all its names share. None without a file."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _is_among(path: Path, others: Iterable[str | os.PathLike[str]]) -> bool:
    """Return whether an existing file is the same as one of the others."""
    identity = _identity(path)
    return identity is not None and any(identity == _identity(other) for other in others)


def _are_one(path: Path, other: Path) -> bool:
    """Return whether two paths lead to the same file, which need not exist yet."""
    if path == other or _is_among(path, [other]):
        return True
    if path.exists() or other.exists() or not _is_among(path.parent, [other.parent]):
        return False
    # Some disks ignore upper and lower case, or the encoding of accents.
    with TemporaryDirectory(prefix=".unfinished-", dir=path.parent) as folder:
        Path(folder, path.name).touch()
        return os.path.lexists(os.path.join(folder, other.name))


def _json(outcome: Result, path: Path) -> bytes:
    entries = outcome.document if isinstance(outcome, Listing) else _ranking_entries(outcome)
    report = {"sklearn_ncti": __version__, "command": outcome.command, **entries}
    return (json.dumps(report, indent=2, allow_nan=False) + "\n").encode()


def _ranking_entries(outcome: Outcome) -> dict[str, Any]:
    scoring, ranking = outcome.scoring, outcome.ranking
    return {
        **outcome.facts,
        "normalization": ranking.normalization,
        **({name: getattr(scoring, name) for name in _UNCERTAINTY_OPTIONS} if scoring else {}),
        "best": plain(ranking.best),
        "results": _rows(ranking),
    }


def _csv(outcome: Result, path: Path) -> bytes:
    rows = outcome.rows if isinstance(outcome, Listing) else _rows(outcome.ranking)
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, fieldnames=list(rows[0]))
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _no_formula(value) for name, value in row.items()})
    return file.getvalue().encode()


def _picture(outcome: Outcome, path: Path) -> bytes:
    display = RankingDisplay.from_ranking(outcome.ranking)
    file = io.BytesIO()
    display._draw_alone("components").savefig(
        file, format=path.suffix[1:].lower(), dpi=150, bbox_inches="tight"
    )
    return file.getvalue()


def _html(outcome: Outcome, path: Path) -> bytes:
    if outcome.report is None:
        raise ValueError("this command has no report")
    return outcome.report().encode()


# Functions that make the content of each file, by option.
_MAKERS: dict[str, Callable[[Any, Path], bytes]] = {
    "json": _json,
    "csv": _csv,
    "plot": _picture,
    "html": _html,
}


def _rows(ranking: Ranking) -> list[dict[str, Any]]:
    """Return the results as plain values, best candidate first."""
    columns = ranking.results
    order = np.argsort(columns["rank"], kind="stable")
    return [{name: plain(column[i]) for name, column in columns.items()} for i in order]


def plain(value: Any) -> Any:
    """Return an item of an array as JSON can hold it: None in place of NaN and infinity."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, str):
        # File names may contain bytes that are not valid UTF-8.
        return encodable(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _no_formula(value: Any) -> Any:
    """Return a value so that no spreadsheet reads it as a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
