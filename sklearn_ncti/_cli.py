"""Floor 6: the command line, ``sklearn-ncti rank`` and ``sklearn-ncti score``.

The table goes to standard output and everything else to standard error. The exit status is
0 for a ranking, 1 where no candidate could be scored, and 2 for wrong usage, with one line.
"""

import argparse
import csv
import json
import math
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from . import __version__
from ._ranking import NORMALIZATIONS, Ranking, rank_features
from ._scorer import NCTIScorer
from ._selector import ModelSelector
from .backbones import TimmBackbone, expand_model_names
from .datasets import load_image_folder


class UsageError(Exception):
    """What the user typed cannot be carried out as it is."""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, default=None
        Arguments; None for those of the process.

    Returns
    -------
    status : int
        Exit status.
    """
    parser = _make_parser()
    args = parser.parse_args(argv)
    try:
        _check_outputs(args)
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            warnings.showwarning = _show_warning
            ranking, facts = args.run(args)
    except UsageError as exc:
        sys.stderr.write(f"{parser.prog} {args.command}: error: {exc}\n")
        return 2
    except (ValueError, TypeError, ImportError) as exc:
        sys.stderr.write(f"{parser.prog} {args.command}: failed: {exc}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write(f"{parser.prog} {args.command}: interrupted\n")
        return 130
    _write_outputs(args, ranking, facts)
    sys.stdout.write(f"{ranking}\n")
    return 0


def _make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="sklearn-ncti",
        description="Rank pre-trained backbones on labelled images before fine-tuning any.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--normalization",
        choices=NORMALIZATIONS,
        help="how components become comparable (default: minmax, over the candidates)",
    )
    shared.add_argument(
        "--n-components", type=_positive, default=64, metavar="K", help="default: %(default)s"
    )
    shared.add_argument(
        "--variant", choices=("released", "paper"), default="released", help="default: %(default)s"
    )
    shared.add_argument(
        "--shrinkage",
        type=_shrinkage,
        default="adaptive",
        metavar="T",
        help="'adaptive', or a number in [0, 1] for all candidates (default: %(default)s)",
    )
    shared.add_argument("--json", type=Path, metavar="FILE", help="write the results as JSON")
    shared.add_argument("--csv", type=Path, metavar="FILE", help="write the results as CSV")
    shared.add_argument("--force", action="store_true", help="overwrite these files")

    rank = commands.add_parser(
        "rank",
        parents=[shared],
        help="rank timm models on a folder of class folders",
        description="Rank timm models on the images in FOLDER/class/*.jpg.",
    )
    rank.add_argument("folder", metavar="FOLDER", help="folder with one sub-folder per class")
    rank.add_argument(
        "--models",
        nargs="+",
        required=True,
        metavar="NAME",
        help="timm names, wildcards ('convnext_t*'), local-dir:FOLDER or hf-hub:OWNER/NAME",
    )
    rank.add_argument(
        "--limit-per-class", type=_positive, metavar="N", help="use at most N images of a class"
    )
    rank.add_argument(
        "--device", default="auto", help="such as cpu, cuda or cuda:1 (default: %(default)s)"
    )
    rank.add_argument(
        "--batch-size", type=_positive, default=64, metavar="N", help="default: %(default)s"
    )
    rank.set_defaults(run=_rank)

    score = commands.add_parser(
        "score",
        parents=[shared],
        help="score or rank features that are there already",
        description="Score FILE.npz, which holds the arrays 'features' (n, d) and 'labels' (n,); "
        "several files with the same labels are ranked against each other.",
    )
    score.add_argument("files", nargs="+", type=Path, metavar="FILE.npz")
    score.set_defaults(run=_score)
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is less than 1")
    return value


def _shrinkage(text: str) -> float | str:
    if text == "adaptive":
        return text
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{value} is not in [0, 1]")
    return value


def _rank(args) -> tuple[Ranking, dict[str, Any]]:
    try:
        paths, labels = load_image_folder(args.folder, limit_per_class=args.limit_per_class)
        names = expand_model_names(args.models)
    except (ValueError, TypeError) as exc:
        raise UsageError(exc) from exc
    # A bar is drawn over and over on one line, which only a terminal can show.
    bar = int(sys.stderr.isatty())
    selector = ModelSelector(
        [
            TimmBackbone(name, device=args.device, batch_size=args.batch_size, verbose=bar)
            for name in names
        ],
        scorer=_scorer(args),
        normalization=args.normalization or "minmax",
        refit=False,
        verbose=1,
    )
    sys.stderr.write(f"{len(names)} models on {len(paths)} images of {len(set(labels))} classes\n")
    selector.fit(paths, labels)
    return selector.ranking_, {"n_rows": len(paths), "n_classes": len(selector.classes_)}


def _score(args) -> tuple[Ranking, dict[str, Any]]:
    features, labels = {}, None
    stems = Counter(path.stem for path in args.files)
    for path in args.files:
        X, y = _load_features(path)
        if labels is not None and not np.array_equal(labels, y):
            raise UsageError(
                f"{path} has other labels than {args.files[0]}: candidates must be scored on "
                "the same rows"
            )
        labels = y
        name = path.stem if stems[path.stem] == 1 else str(path)
        if name in features:
            raise UsageError(f"{path} is given twice")
        features[name] = X
    # One file has nothing to be compared with.
    normalization = args.normalization or ("minmax" if len(features) > 1 else "absolute")
    ranking = rank_features(features, labels, normalization=normalization, scorer=_scorer(args))
    return ranking, {"n_rows": len(labels), "n_classes": len(np.unique(labels))}


def _scorer(args) -> NCTIScorer:
    return NCTIScorer(args.n_components, shrinkage=args.shrinkage, variant=args.variant)


def _load_features(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            X, y = arrays["features"], arrays["labels"]
    except FileNotFoundError as exc:
        raise UsageError(f"{path} does not exist") from exc
    except Exception as exc:
        raise UsageError(
            f"{path} is no .npz file with the arrays 'features' and 'labels' ({exc}); write one "
            "with numpy.savez(file, features=X, labels=y)"
        ) from exc
    if X.ndim != 2 or y.shape != X.shape[:1]:
        raise UsageError(
            f"{path} has features of shape {X.shape} and labels of shape {y.shape}; they must "
            "be (n, d) and (n,)"
        )
    return X, y


def _check_outputs(args) -> None:
    """Refuse before the work what could not be written after it."""
    for path in (args.json, args.csv):
        if path is not None and path.exists() and not args.force:
            raise UsageError(f"{path} exists; name another file, or overwrite it with --force")
        if path is not None and not path.absolute().parent.is_dir():
            raise UsageError(f"the folder of {path} does not exist")
    if args.json is not None and args.json == args.csv:
        raise UsageError(f"--json and --csv name the same file {args.json}")


def _write_outputs(args, ranking: Ranking, facts: dict[str, Any]) -> None:
    columns = ranking.results
    order = np.argsort(columns["rank"], kind="stable")
    rows = [{name: _plain(column[i]) for name, column in columns.items()} for i in order]
    mode = "w" if args.force else "x"
    if args.json is not None:
        report = {
            "sklearn_ncti": __version__,
            "command": args.command,
            **facts,
            "normalization": ranking.normalization,
            "best": ranking.best,
            "results": rows,
        }
        with args.json.open(mode, encoding="utf-8") as file:
            json.dump(report, file, indent=2, allow_nan=False)
            file.write("\n")
    if args.csv is not None:
        with args.csv.open(mode, encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(columns))
            writer.writeheader()
            writer.writerows(rows)


def _plain(value: Any) -> Any:
    """Python value of an array's item; None, which JSON has, for NaN, which it has not."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    sys.stderr.write(f"warning: {str(message).splitlines()[0]}\n")
