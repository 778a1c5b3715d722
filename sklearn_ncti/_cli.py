"""Floor 6: the command line, ``sklearn-ncti rank``, ``score`` and ``demo``.

The table goes to standard output and everything else to standard error. The exit status is
0 for a ranking, 1 where no candidate could be scored, and 2 for wrong usage, with one line.
"""

import argparse
import csv
import json
import math
import os
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from . import __version__
from ._optional import import_optional
from ._ranking import NORMALIZATIONS, Ranking, rank_features
from ._report import ranking_report
from ._scorer import NCTIScorer
from ._selector import ModelSelector
from .backbones import TimmBackbone, expand_model_names
from .datasets import load_digit_images, load_image_folder, load_zoo, load_zoo_accuracies

# Options that name files to write.
_OUTPUTS = ("json", "csv", "plot", "html")


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
    # Read by OpenMP when torch is loaded, which comes later. Its threads otherwise spin while
    # they wait, and on a machine whose cores are busy that takes minutes instead of seconds.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        if args.command == "demo":
            _name_demo_outputs(args)
        _check_outputs(args)
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            warnings.showwarning = _show_warning
            ranking, facts, text = args.run(args)
    except UsageError as exc:
        sys.stderr.write(f"{parser.prog} {args.command}: error: {exc}\n")
        return 2
    except (ValueError, TypeError, ImportError) as exc:
        sys.stderr.write(f"{parser.prog} {args.command}: failed: {exc}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write(f"{parser.prog} {args.command}: interrupted\n")
        return 130
    sys.stdout.write(f"{text}\n")
    try:
        _write_outputs(args, ranking, facts)
    except OSError as exc:
        sys.stderr.write(f"{parser.prog} {args.command}: failed: {exc}\n")
        return 1
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
    shared.add_argument("--plot", type=Path, metavar="FILE", help="draw the ranking (.png, .svg)")
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
    rank.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
        help="what networks compute in (default: bfloat16 on GPUs that have it)",
    )
    rank.add_argument(
        "--workers",
        type=_positive,
        metavar="N",
        help="threads that read images (default: all CPUs)",
    )
    rank.add_argument(
        "--jobs",
        type=_positive,
        default=1,
        metavar="N",
        help="models that run at the same time, on several GPUs in turns (default: %(default)s)",
    )
    rank.add_argument(
        "--cache",
        type=Path,
        metavar="FOLDER",
        help="keep features there, and go on from there where a run was stopped",
    )
    rank.add_argument(
        "--skip-bad-images",
        action="store_true",
        help="leave out images that cannot be read, instead of stopping at the first",
    )
    rank.add_argument(
        "--html", type=Path, metavar="FILE", help="write a report with pictures, as one file"
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

    demo = commands.add_parser(
        "demo",
        help="rank the small models that come with the package",
        description="Rank the bundled models on handwritten digits, and compare the order with "
        "what fine-tuning each of them really gave. Needs no network.",
    )
    demo.add_argument(
        "--output",
        type=Path,
        default=Path("sklearn-ncti-demo"),
        metavar="FOLDER",
        help="where ranking.json and ranking.png go (default: %(default)s)",
    )
    demo.add_argument("--force", action="store_true", help="overwrite these files")
    demo.set_defaults(run=_demo)
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


def _rank(args) -> tuple[Ranking, dict[str, Any], str]:
    try:
        paths, labels = load_image_folder(args.folder, limit_per_class=args.limit_per_class)
        names = expand_model_names(args.models)
    except (ValueError, TypeError) as exc:
        raise UsageError(exc) from exc
    selector = ModelSelector(
        [
            TimmBackbone(
                name,
                device=args.device,
                batch_size=args.batch_size,
                precision=args.precision,
                num_workers=args.workers,
                # Bars of several models at once would overwrite each other.
                verbose=int(args.jobs == 1),
            )
            for name in names
        ],
        scorer=_scorer(args),
        normalization=args.normalization or "minmax",
        refit=False,
        n_jobs=args.jobs,
        memory=args.cache,
        on_bad_image="skip" if args.skip_bad_images else "raise",
        verbose=1,
    )
    sys.stderr.write(f"{len(names)} models on {len(paths)} images of {len(set(labels))} classes\n")
    ranking = selector.fit(paths, labels).ranking_
    args.images = paths, labels
    facts = {
        "n_rows": len(paths) - selector.n_skipped_images_,
        "n_skipped_images": selector.n_skipped_images_,
        "n_classes": len(selector.classes_),
    }
    return ranking, facts, str(ranking)


def _score(args) -> tuple[Ranking, dict[str, Any], str]:
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
    return ranking, {"n_rows": len(labels), "n_classes": len(np.unique(labels))}, str(ranking)


def _demo(args) -> tuple[Ranking, dict[str, Any], str]:
    images, labels = load_digit_images()
    zoo = load_zoo()
    sys.stderr.write(f"{len(zoo)} bundled models on {len(images)} images of handwritten digits\n")
    candidates = [(name, backbone.set_params(verbose=1)) for name, backbone in zoo]
    ranking = ModelSelector(candidates, refit=False, verbose=1).fit(images, labels).ranking_
    accuracies, deviations = load_zoo_accuracies(return_std=True)
    agreement = ranking.agreement(accuracies)
    column = {name: f"{accuracies[name]:.1f} +- {deviations[name]:.1f}" for name in accuracies}
    text = "\n".join(
        [
            ranking._text({"fine-tuned %": column}),
            f"agreement with fine-tuning: weighted Kendall tau "
            f"{agreement['weighted_kendall_tau']:.2f}, Kendall tau "
            f"{agreement['kendall_tau']:.2f}; regret {agreement['regret_at_1']:.1f} points for "
            f"the first, {agreement['regret_at_3']:.1f} for the best of the first three",
        ]
    )
    facts = {
        "n_rows": len(images),
        "n_classes": len(set(labels)),
        "fine_tuned_accuracy": accuracies,
        "agreement": agreement,
    }
    return ranking, facts, text


def _name_demo_outputs(args) -> None:
    """Set the outputs of the demonstration, in a folder that it makes."""
    try:
        args.output.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise UsageError(f"{args.output} cannot be made: {exc}") from exc
    args.json = args.output / "ranking.json"
    args.plot = args.output / "ranking.png" if find_spec("matplotlib") else None
    args.csv = None


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
    paths = _outputs(args)
    for path in paths:
        if path.exists() and not args.force:
            raise UsageError(f"{path} exists; name another file, or overwrite it with --force")
        if not path.absolute().parent.is_dir():
            raise UsageError(f"the folder of {path} does not exist")
        if paths.count(path) > 1:
            raise UsageError(f"{path} is named for more than one output")
    if args.plot is not None or getattr(args, "html", None) is not None:
        import_optional("matplotlib", extra="plot")


def _outputs(args) -> list[Path]:
    """List the files that were asked for; not every command has all the options."""
    return [path for path in (getattr(args, name, None) for name in _OUTPUTS) if path is not None]


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
    if args.plot is not None:
        figure = ranking.plot().figure_
        figure.savefig(args.plot, dpi=150, bbox_inches="tight")
    if getattr(args, "html", None) is not None:
        # Options as they were used; where things were written is no setting.
        names = set(vars(args)) - {"command", "run", "images", "force", *_OUTPUTS}
        text = ranking_report(
            ranking,
            *args.images,
            settings={name: getattr(args, name) for name in sorted(names)},
            n_skipped=facts["n_skipped_images"],
        )
        with args.html.open(mode, encoding="utf-8") as file:
            file.write(text)
    for path in _outputs(args):
        sys.stderr.write(f"wrote {path}\n")


def _plain(value: Any) -> Any:
    """Python value of an array's item; None, which JSON has, for NaN, which it has not."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    sys.stderr.write(f"warning: {str(message).splitlines()[0]}\n")
