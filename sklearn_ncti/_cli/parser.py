"""The argument parser: the commands, and the options that one command alone has."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .._version import __version__
from ..datasets import load_catalogue
from .arguments import Parser, arguments_reported
from .completion import complete, with_model_names
from .groups import (
    add_extraction,
    add_filters,
    add_outputs,
    add_plan,
    add_scoring,
    add_search,
    add_source,
    add_tables,
    add_verbose,
)
from .help import improve_help
from .options import Options
from .values import (
    demo_options,
    models_options,
    rank_options,
    score_options,
)


def parse_options(argv: Sequence[str] | None = None) -> Options:
    """Return the options of the command that the arguments name.

    Parameters
    ----------
    argv : sequence of str, default=None
        Arguments. If None, those of the process are used.

    Returns
    -------
    options : RankOptions, ScoreOptions, ModelsOptions or DemoOptions
        Options of the command.

    Raises
    ------
    SystemExit
        With status 2 if the arguments are wrong, and 0 after ``--help`` or ``--version``.
    """
    parser = make_parser()
    complete(parser)
    with arguments_reported(sys.argv[1:] if argv is None else argv):
        values = vars(parser.parse_args(argv))
    options: Options = values["to_options"](values)
    return options


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = Parser(
        prog="sklearn-ncti",
        description="Rank pre-trained backbones on labelled images or texts before fine-tuning "
        "any of them.",
        epilog="%(prog)s COMMAND --help has the options of a command, and examples.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _fill_rank(
        commands.add_parser(
            "rank",
            help="rank timm models on a folder of images, or text encoders on a table of texts",
            description="Rank timm models on the images in FOLDER/CLASS/*.jpg (or another image "
            "format), or with --text, text encoders on the texts of a table. The ranking is "
            "printed, best model first.",
        )
    )
    _fill_score(
        commands.add_parser(
            "score",
            help="score or rank features that were extracted before",
            description="Score the features of one file, or rank the features of several files "
            "with the same labels. Each FILE holds features of shape (n, d) and labels of shape "
            "(n,).",
        )
    )
    _fill_models(
        commands.add_parser(
            "models",
            help="list pre-trained timm models by published facts",
            description="List the pre-trained models of timm that meet all the conditions given. "
            "The facts come with the package: nothing is downloaded.",
        )
    )
    _fill_demo(
        commands.add_parser(
            "demo",
            help="rank the small models that are bundled with the package",
            description="Rank the bundled models on handwritten digits, and compare the order "
            "with their accuracies after fine-tuning. Needs no network connection.",
        )
    )
    for command, its_parser in commands.choices.items():
        improve_help(command, its_parser)
    return parser


def _fill_rank(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command `rank`."""
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        help="folder with one subfolder per class, or a file (.csv, .tsv, .parquet, .jsonl) with "
        "a path, or with --text a text, and a label in each row, or a saved data set of Hugging "
        "Face",
    )
    add_source(parser)
    models = parser.add_argument(
        "--models",
        nargs="+",
        required=True,
        metavar="MODEL",
        help="models to rank: names of timm models, wildcards in quotes ('convnext_t*'), "
        "local-dir:FOLDER or hf-hub:OWNER/NAME; with --text, encoders of transformers: "
        "local-dir:FOLDER or OWNER/NAME. NAME=MODEL gives a model a name of your choice",
    )
    with_model_names(models)
    add_plan(parser)
    add_filters(parser)
    add_search(parser)
    add_extraction(parser)
    add_scoring(parser)
    outputs = add_outputs(parser)
    outputs.add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        help="write an interactive report as a single HTML file",
    )
    add_verbose(parser)
    parser.set_defaults(to_options=rank_options)


def _fill_score(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command `score`."""
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="features and labels of one candidate: .npz, as saved by numpy.savez(file, "
        "features=X, labels=y), .npy, .safetensors, .csv, .tsv, .parquet or .jsonl",
    )
    parser.add_argument(
        "--features",
        metavar="NAME",
        help="name of the array of features, or of a column that holds a list in each row "
        "(default: features; in a table, all columns but that of the labels)",
    )
    parser.add_argument(
        "--labels",
        metavar="NAME|FILE",
        help="name of the array or column of the labels, or a .npy or .txt file that holds them "
        "for all candidates (default: labels or label)",
    )
    add_scoring(parser)
    add_outputs(parser)
    add_verbose(parser)
    parser.set_defaults(to_options=score_options)


def _fill_models(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command `models`."""
    names = parser.add_argument(
        "names",
        nargs="*",
        metavar="PATTERN",
        help="names and wildcards in quotes ('convnext_t*'); a model that matches one of them is "
        "listed (default: all models)",
    )
    with_model_names(names)
    add_filters(parser)
    columns = list(load_catalogue())
    parser.add_argument(
        "--sort",
        choices=columns,
        default="name",
        metavar="COLUMN",
        help="column that sets the order, smallest first, unknown values last: one of "
        f"{', '.join(columns)} (default: %(default)s)",
    )
    parser.add_argument("--descending", action="store_true", help="sort largest first")
    add_tables(parser.add_argument_group("output files"))
    parser.set_defaults(to_options=models_options)


def _fill_demo(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command `demo`."""
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("sklearn-ncti-demo"),
        metavar="FOLDER",
        help="folder for ranking.json and ranking.png (default: %(default)s)",
    )
    parser.add_argument("--force", action="store_true", help="overwrite existing files")
    add_verbose(parser)
    parser.set_defaults(to_options=demo_options)
