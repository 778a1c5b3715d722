"""The argument parser: commands, options and their help texts."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np

from .._scoring.bootstrap import MAX_RESAMPLES
from .._scoring.normalization import NORMALIZATIONS
from .._utils.terminal import printable, say
from .._version import __version__
from .options import DemoOptions, Options, Outputs, RankOptions, ScoreOptions, ScoringOptions

_Record = TypeVar("_Record")


class _Parser(argparse.ArgumentParser):
    """A parser that reports an error on one line."""

    def error(self, message: str) -> NoReturn:
        say(f"{self.prog}: error: {printable(message)} (see {self.prog} --help)")
        self.exit(2)


def parse_options(argv: Sequence[str] | None = None) -> Options:
    """Return the options of the command that the arguments name.

    Parameters
    ----------
    argv : sequence of str, default=None
        Arguments. If None, those of the process are used.

    Returns
    -------
    options : RankOptions, ScoreOptions or DemoOptions
        Options of the command.

    Raises
    ------
    SystemExit
        With status 2 if the arguments are wrong, and 0 after ``--help`` or ``--version``.
    """
    values = vars(make_parser().parse_args(argv))
    options: Options = values["to_options"](values)
    return options


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = _Parser(
        prog="sklearn-ncti",
        description="Rank pre-trained backbones on labelled images before fine-tuning any.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _fill_rank(
        commands.add_parser(
            "rank",
            help="rank timm models on a folder of class folders",
            description="Rank timm models on the images in FOLDER/class/*.jpg.",
        )
    )
    _fill_score(
        commands.add_parser(
            "score",
            help="score or rank features that are there already",
            description="Score FILE.npz, which holds the arrays 'features' (n, d) and 'labels' "
            "(n,); several files with the same labels are ranked against each other.",
        )
    )
    _fill_demo(
        commands.add_parser(
            "demo",
            help="rank the small models that come with the package",
            description="Rank the bundled models on handwritten digits, and compare the order "
            "with what fine-tuning each of them really gave. Needs no network.",
        )
    )
    return parser


def _fill_rank(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command `rank`."""
    _add_scoring(parser)
    _add_outputs(parser)
    parser.add_argument("folder", metavar="FOLDER", help="folder with one sub-folder per class")
    parser.add_argument(
        "--models",
        nargs="+",
        required=True,
        metavar="NAME",
        help="timm names, wildcards ('convnext_t*'), local-dir:FOLDER or hf-hub:OWNER/NAME",
    )
    parser.add_argument(
        "--limit-per-class", type=_at_least(1), metavar="N", help="use at most N images of a class"
    )
    _add_extraction(parser)
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write a report with pictures, as one file"
    )
    parser.set_defaults(to_options=_rank_options)


def _fill_score(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command `score`."""
    _add_scoring(parser)
    _add_outputs(parser)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.npz")
    parser.set_defaults(to_options=_score_options)


def _fill_demo(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command `demo`."""
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("sklearn-ncti-demo"),
        metavar="FOLDER",
        help="where ranking.json and ranking.png go (default: %(default)s)",
    )
    parser.add_argument("--force", action="store_true", help="overwrite these files")
    parser.set_defaults(to_options=_demo_options)


def _add_scoring(parser: argparse.ArgumentParser) -> None:
    """Add the fields of `ScoringOptions`."""
    parser.add_argument(
        "--normalization",
        choices=NORMALIZATIONS,
        help="how components become comparable (default: minmax, over the candidates)",
    )
    parser.add_argument(
        "--n-components", type=_at_least(1), default=64, metavar="K", help="default: %(default)s"
    )
    parser.add_argument(
        "--variant", choices=("released", "paper"), default="released", help="default: %(default)s"
    )
    parser.add_argument(
        "--shrinkage",
        type=_shrinkage,
        default="adaptive",
        metavar="T",
        help="'adaptive', or a number in [0, 1] for all candidates (default: %(default)s)",
    )
    parser.add_argument(
        "--resamples",
        type=_within(1, MAX_RESAMPLES),
        default=0,
        metavar="N",
        help="number of bootstrap resamples for confidence intervals and groups (default: none)",
    )
    parser.add_argument(
        "--random-state",
        type=_within(0, np.iinfo(np.uint32).max),
        default=0,
        metavar="SEED",
        help="seed of the resamples (default: %(default)s)",
    )
    parser.add_argument(
        "--cv",
        type=_at_least(2),
        metavar="K",
        help="measure rows that are held out in K folds (default: the fitted rows)",
    )
    parser.add_argument(
        "--baseline",
        type=Path,
        metavar="FILE.json",
        help="show these numbers beside the scores: a JSON object of model to number",
    )


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    """Add the fields of `Outputs` that the commands `rank` and `score` share."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results as JSON")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the results as CSV")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the ranking (.png, .svg)")
    parser.add_argument("--force", action="store_true", help="overwrite these files")


def _add_extraction(parser: argparse.ArgumentParser) -> None:
    """Add the options of how images become features."""
    parser.add_argument(
        "--device", default="auto", help="such as cpu, cuda or cuda:1 (default: %(default)s)"
    )
    parser.add_argument(
        "--batch-size", type=_at_least(1), default=64, metavar="N", help="default: %(default)s"
    )
    parser.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
        help="what networks compute in (default: bfloat16 on GPUs that have it)",
    )
    parser.add_argument(
        "--workers",
        type=_at_least(1),
        metavar="N",
        help="threads that read images (default: all CPUs)",
    )
    parser.add_argument(
        "--jobs",
        type=_at_least(1),
        default=1,
        metavar="N",
        help="models that run at the same time, on several GPUs in turns (default: %(default)s)",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="FOLDER",
        help="keep features there, and go on from there where a run was stopped",
    )
    parser.add_argument(
        "--skip-bad-images",
        action="store_true",
        help="leave out images that cannot be read, instead of stopping at the first",
    )


def _rank_options(values: Mapping[str, Any]) -> RankOptions:
    return _record(
        RankOptions,
        values,
        scoring=_record(ScoringOptions, values),
        outputs=_record(Outputs, values),
    )


def _score_options(values: Mapping[str, Any]) -> ScoreOptions:
    return _record(
        ScoreOptions,
        values,
        scoring=_record(ScoringOptions, values),
        outputs=_record(Outputs, values),
    )


def _demo_options(values: Mapping[str, Any]) -> DemoOptions:
    return _record(DemoOptions, values)


def _record(kind: type[_Record], values: Mapping[str, Any], **parts: Any) -> _Record:
    """Return a dataclass made of its parts and of the values named as its other fields."""
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: values[name] for name in names & values.keys()}, **parts)


def _at_least(least: int) -> Callable[[str], int]:
    """Return a function from text to a whole number that is not smaller than `least`."""

    def parse(text: str) -> int:
        value = _whole(text)
        if value is None or value < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least {least}")
        return value

    return parse


def _within(least: int, most: int) -> Callable[[str], int]:
    """Return a function from text to a whole number from `least` to `most`, both included."""

    def parse(text: str) -> int:
        value = _whole(text)
        if value is None or not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} to {most}")
        return value

    return parse


def _whole(text: str) -> int | None:
    """Return text as a whole number, or None if it is not one."""
    try:
        return int(text)
    except ValueError:
        return None


def _shrinkage(text: str) -> float | str:
    """Return text as a number in [0, 1], or the word "adaptive" as it is."""
    if text == "adaptive":
        return text
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{value} is not in [0, 1]")
    return value
