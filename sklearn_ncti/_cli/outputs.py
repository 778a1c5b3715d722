"""The files that the command line writes, checked before the work."""

import csv
import io
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO
from uuid import uuid4

import numpy as np

from .._ranking.display import RankingDisplay
from .._ranking.ranking import Ranking
from .._report.report import ranking_report
from .._utils.optional import import_optional
from .._utils.terminal import encodable
from .._version import __version__
from ..datasets._folder import is_image

# Options that say how sure the ranking is made; the demonstration has none of them.
_SURENESS = ("resamples", "random_state", "cv")

# What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def outputs(args: Any) -> dict[str, Path]:
    """Return the files that were asked for, by option; not every command has all the options."""
    named = {name: getattr(args, name, None) for name in _MAKERS}
    return {name: path for name, path in named.items() if path is not None}


def check_outputs(paths: Mapping[str, Path], *, force: bool) -> None:
    """Refuse before the work what could not be written after it.

    Parameters
    ----------
    paths : dict of str to path
        What `outputs` returned.

    force : bool
        Whether files that exist may be overwritten.

    Raises
    ------
    ValueError
        If a file exists or cannot be written, two outputs are one file, or the name of the
        picture does not say a format.

    ImportError
        If a picture is asked for and matplotlib is not installed.
    """
    if "plot" in paths:
        _check_picture(paths["plot"])
    if "html" in paths:
        import_optional("matplotlib", extra="plot")
    for path in paths.values():
        _check_output(path, force)
    for (a, path), (b, other) in combinations(paths.items(), 2):
        if _are_one(_target(path), _target(other)):
            raise ValueError(f"--{a} {path} and --{b} {other} are one file; name another")


def check_not_inputs(paths: Mapping[str, Path], inputs: Iterable[str | os.PathLike]) -> None:
    """Refuse outputs that would overwrite what the work reads, whatever name they have."""
    inputs = list(inputs)
    for option, path in paths.items():
        if _is_among(path, inputs):
            raise ValueError(f"--{option} {path} is a file that this run reads; name another")


def check_no_new_images(paths: Mapping[str, Path], folder: str) -> None:
    """Refuse pictures inside a folder of images: the next run would take them for more."""
    for option, path in paths.items():
        if is_image(path.name) and _target(path).is_relative_to(_target(folder)):
            raise ValueError(
                f"--{option} {path} would be one more image in {folder}; name a file outside of it"
            )


def check_folder(folder: Path) -> None:
    """Make a folder where there is none, and refuse one that cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _temporary(folder):
            pass
    except (OSError, ValueError) as exc:
        raise ValueError(f"{folder} is no folder that can be written to: {exc}") from exc


def write_outputs(
    args: Any, ranking: Ranking, facts: Mapping[str, Any]
) -> Iterator[tuple[str, Path, Exception | None]]:
    """Write the files that were asked for, each on its own.

    Parameters
    ----------
    args : argparse.Namespace
        Options of the command.

    ranking : Ranking
        The results.

    facts : dict of str to object
        What else is known of the run.

    Yields
    ------
    option, path, error : str, path and Exception or None
        Each file, after it was written or, where there is an error, was not.
    """
    for option, path in outputs(args).items():
        try:
            _write(path, _MAKERS[option](args, ranking, facts), force=args.force)
        except Exception as exc:
            # What goes wrong in one of them must not cost the others.
            yield option, path, exc
        else:
            yield option, path, None


def _check_picture(path) -> None:
    backends = import_optional("matplotlib.backend_bases", extra="plot")
    known = sorted(backends.FigureCanvasBase.get_supported_filetypes())
    if path.suffix[1:].lower() not in known:
        raise ValueError(
            f"--plot {path} must end in the suffix of its format, one of .{', .'.join(known)}"
        )


def _check_output(path, force) -> None:
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
    folder = _target(path).parent
    if not folder.is_dir():
        raise ValueError(f"the folder of {path} does not exist")
    try:
        with _temporary(folder):
            pass
    except OSError as exc:
        raise ValueError(f"nothing can be written to the folder of {path}: {exc}") from exc


def _target(path) -> Path:
    """Where a file lies; a link stays one when the file that it leads to is replaced."""
    return Path(os.path.realpath(path))


def _identity(path) -> tuple[int, int] | None:
    """What two names of one file have in common; None where there is no file."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _is_among(path, others) -> bool:
    identity = _identity(path)
    return identity is not None and any(identity == _identity(other) for other in others)


def _are_one(path: Path, other: Path) -> bool:
    """Whether two files are one, be they there or not."""
    if path == other or _is_among(path, [other]):
        return True
    if path.exists() or other.exists() or not _is_among(path.parent, [other.parent]):
        return False
    # Some disks do not tell upper from lower case, or two ways to encode an accent.
    with TemporaryDirectory(prefix=".unfinished-", dir=path.parent) as folder:
        Path(folder, path.name).touch()
        return os.path.lexists(os.path.join(folder, other.name))


@contextmanager
def _temporary(folder: Path) -> Iterator[BinaryIO]:
    """Open a new file in a folder, which is removed at the end if it still has its name."""
    path = folder / f".unfinished-{uuid4().hex}"
    try:
        with path.open("xb") as file:
            yield file
    finally:
        path.unlink(missing_ok=True)


def _write(path: Path, data: bytes, *, force: bool) -> None:
    """Write a whole file or nothing: until all is written, an older one stays."""
    target = _target(path)
    if target.exists() and not target.is_file():
        # A device or a pipe: there is nothing to lose, and it must not be replaced.
        target.write_bytes(data)
        return
    with _temporary(target.parent) as file:
        file.write(data)
        file.flush()
        # The name must not reach the disk before what it stands for.
        os.fsync(file.fileno())
        file.close()
        if force and target.exists():
            shutil.copymode(target, file.name)
        elif not force:
            # Whoever takes the name first has it: nothing that has appeared is overwritten.
            target.touch(exist_ok=False)
        os.replace(file.name, target)


def _json(args, ranking, facts) -> bytes:
    report = {
        "sklearn_ncti": __version__,
        "command": args.command,
        **facts,
        "normalization": ranking.normalization,
        **{name: getattr(args, name) for name in _SURENESS if hasattr(args, name)},
        "best": _plain(ranking.best),
        "results": _rows(ranking),
    }
    return (json.dumps(report, indent=2, allow_nan=False) + "\n").encode()


def _csv(args, ranking, facts) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, fieldnames=list(ranking.results))
    writer.writeheader()
    for row in _rows(ranking):
        writer.writerow({name: _no_formula(value) for name, value in row.items()})
    return file.getvalue().encode()


def _picture(args, ranking, facts) -> bytes:
    display = RankingDisplay.from_ranking(ranking)
    file = io.BytesIO()
    display._draw_alone("components").savefig(
        file, format=args.plot.suffix[1:].lower(), dpi=150, bbox_inches="tight"
    )
    return file.getvalue()


def _html(args, ranking, facts) -> bytes:
    # Options as they were used; where things were written is no setting.
    names = set(vars(args)) - {"command", "run", "images", "force", *_MAKERS}
    text = ranking_report(
        ranking,
        *args.images,
        settings={name: getattr(args, name) for name in sorted(names)},
        n_skipped=facts["n_skipped_images"],
    )
    return encodable(text).encode()


# What is in a file, by the option that names it.
_MAKERS: dict[str, Callable[[Any, Ranking, Mapping[str, Any]], bytes]] = {
    "json": _json,
    "csv": _csv,
    "plot": _picture,
    "html": _html,
}


def _rows(ranking) -> list[dict[str, Any]]:
    """Results as plain values, candidates in the order of the ranking."""
    columns = ranking.results
    order = np.argsort(columns["rank"], kind="stable")
    return [{name: _plain(column[i]) for name, column in columns.items()} for i in order]


def _plain(value: Any) -> Any:
    """Python value of an array's item; None, which JSON has, for NaN, which it has not."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, str):
        # Names of files may hold bytes that are not valid UTF-8.
        return encodable(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _no_formula(value: Any) -> Any:
    """Return text of others so that no spreadsheet computes it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
