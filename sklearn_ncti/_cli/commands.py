"""The command line, ``sklearn-ncti rank``, ``score`` and ``demo``.

The table goes to standard output and everything else to standard error. The exit status is
0 for a ranking, 1 where no candidate could be scored or something could not be written, and
2 for wrong usage, each with one line.
"""

import argparse
import json
import os
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from .._ncti.scorer import NCTIScorer
from .._ranking.rank_features import check_baseline, rank_features
from .._ranking.ranking import Ranking
from .._ranking.table import as_text
from .._scoring.bootstrap import MAX_RESAMPLES
from .._scoring.normalization import NORMALIZATIONS
from .._selection.selector import ModelSelector
from .._utils.terminal import printable, say, settle, write_to
from .._version import __version__
from ..backbones import TimmBackbone, expand_model_names
from ..datasets import load_digit_images, load_image_folder, load_zoo, load_zoo_accuracies
from .outputs import (
    check_folder,
    check_no_new_images,
    check_not_inputs,
    check_outputs,
    outputs,
    write_outputs,
)

# Suffixes of files that hold the weights of a model.
_WEIGHTS = (".bin", ".pt", ".pth", ".safetensors", ".tar")

# A variable of the environment; where it is set, failures come with their tracebacks.
_TRACEBACK = "SKLEARN_NCTI_TRACEBACK"

# Failures that say themselves what is wrong; any other is a fault of this package.
_EXPECTED = (ValueError, TypeError, ImportError, OSError, MemoryError)


class UsageError(Exception):
    """What the user typed cannot be carried out as it is."""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        say(f"{self.prog}: error: {printable(message)} (see {self.prog} --help)")
        self.exit(2)


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
    with _streams():
        return _run(_make_parser().parse_args(argv))


@contextmanager
def _streams() -> Iterator[None]:
    """Leave no stream behind that the interpreter complains of when it ends."""
    try:
        # What others write, such as bars of downloads, needs a stream; closed, there is none.
        if sys.stderr is not None:
            yield
        else:
            with open(os.devnull, "w", encoding="utf-8") as nothing, redirect_stderr(nothing):
                yield
    finally:
        settle(sys.stdout)
        settle(sys.stderr)


def _run(args) -> int:
    # Read by OpenMP when torch is loaded, which comes later. Its threads otherwise spin while
    # they wait, and on a machine whose cores are busy that takes minutes instead of seconds.
    # Between the layers of a light network they wait too short a time to be put to sleep.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        _check_files(args)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = _show_each_once()
            ranking, facts, text = args.run(args)
            return _give_out(args, ranking, facts, text)
    except UsageError as exc:
        say(f"sklearn-ncti {args.command}: error: {printable(exc)}")
        return 2
    except KeyboardInterrupt:
        say(f"sklearn-ncti {args.command}: interrupted")
        return 130
    except Exception as exc:
        return _failed(args, exc)


def _give_out(args, ranking, facts, text) -> int:
    """Write the files, then the table: the files are there whatever happens to the table."""
    status = 0
    try:
        for option, path, error in write_outputs(args, ranking, facts):
            if error is None:
                say(f"wrote {printable(path)}")
            else:
                status = _failed(args, error, f"--{option} {path} could not be written: ")
    finally:
        status = max(status, _print_table(args, text))
    return status


def _print_table(args, text: str) -> int:
    try:
        if sys.stdout is None:
            raise OSError("it is closed")
        write_to(sys.stdout, f"{text}\n")
    except BrokenPipeError:
        # Whoever read it has read enough.
        return 0
    except (OSError, ValueError) as exc:
        say(text)
        return _failed(args, exc, "the table went here, as standard output cannot be written: ")
    return 0


def _failed(args, exc: Exception, what: str = "") -> int:
    """Say in one line why something failed, and return the exit status."""
    if os.environ.get(_TRACEBACK):
        say("".join(traceback.format_exception(exc)).rstrip())
    if isinstance(exc, _EXPECTED):
        reason = _in_one_line(str(exc)) or type(exc).__name__
    else:
        reason = (
            f"unexpected {type(exc).__name__}: {exc}; please report it with its traceback, "
            f"which is shown where {_TRACEBACK}=1 is set"
        )
    say(f"sklearn-ncti {args.command}: failed: {printable(what + reason)}")
    return 1


def _in_one_line(text: str) -> str:
    """Join lines; of a traceback, which is there for each of the candidates, only the error."""
    lines = text.split("\n")
    if "Traceback (most recent call last):" in lines:
        lines = [line for line in lines if not line.startswith(("Traceback (", " "))]
    return " ".join(filter(None, lines))


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
        "--n-components", type=_at_least(1), default=64, metavar="K", help="default: %(default)s"
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
    shared.add_argument(
        "--resamples",
        type=_within(1, MAX_RESAMPLES),
        default=0,
        metavar="N",
        help="number of bootstrap resamples for confidence intervals and groups (default: none)",
    )
    shared.add_argument(
        "--random-state",
        type=_within(0, np.iinfo(np.uint32).max),
        default=0,
        metavar="SEED",
        help="seed of the resamples (default: %(default)s)",
    )
    shared.add_argument(
        "--cv",
        type=_at_least(2),
        metavar="K",
        help="measure rows that are held out in K folds (default: the fitted rows)",
    )
    shared.add_argument(
        "--baseline",
        type=Path,
        metavar="FILE.json",
        help="show these numbers beside the scores: a JSON object of model to number",
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
        "--limit-per-class", type=_at_least(1), metavar="N", help="use at most N images of a class"
    )
    rank.add_argument(
        "--device", default="auto", help="such as cpu, cuda or cuda:1 (default: %(default)s)"
    )
    rank.add_argument(
        "--batch-size", type=_at_least(1), default=64, metavar="N", help="default: %(default)s"
    )
    rank.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
        help="what networks compute in (default: bfloat16 on GPUs that have it)",
    )
    rank.add_argument(
        "--workers",
        type=_at_least(1),
        metavar="N",
        help="threads that read images (default: all CPUs)",
    )
    rank.add_argument(
        "--jobs",
        type=_at_least(1),
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


def _at_least(least: int) -> Callable[[str], int]:
    """Return what turns text to a whole number that is not smaller."""

    def parse(text: str) -> int:
        value = _whole(text)
        if value is None or value < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least {least}")
        return value

    return parse


def _within(least: int, most: int) -> Callable[[str], int]:
    """Return what turns text to a whole number between two others, or one of them."""

    def parse(text: str) -> int:
        value = _whole(text)
        if value is None or not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} to {most}")
        return value

    return parse


def _whole(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


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
        _check_rows(args, labels)
        baseline = _baseline(args, names)
        check_not_inputs(outputs(args), [*paths, *_weights(names)])
        check_no_new_images(outputs(args), args.folder)
        if args.cache is not None:
            check_folder(args.cache)
    except (ValueError, TypeError, OSError) as exc:
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
        n_resamples=args.resamples,
        random_state=args.random_state,
        baseline=baseline,
        verbose=1,
    )
    say(f"{len(names)} models on {len(paths)} images of {len(set(labels))} classes")
    ranking = selector.fit(paths, labels).ranking_
    args.images = paths, labels
    facts = {
        "n_rows": len(paths) - selector.n_skipped_images_,
        "n_skipped_images": selector.n_skipped_images_,
        "n_classes": len(selector.classes_),
    }
    return ranking, facts, str(ranking)


def _weights(names: Iterable[str]) -> Iterator[Path]:
    """List the files that models in folders are read from."""
    for name in names:
        if name.startswith("local-dir:"):
            files = Path(name.removeprefix("local-dir:")).glob("*")
            yield from (f for f in files if f.name == "config.json" or f.suffix in _WEIGHTS)


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
    _check_rows(args, labels)
    # One file has nothing to be compared with.
    normalization = args.normalization or ("minmax" if len(features) > 1 else "absolute")
    ranking = rank_features(
        features,
        labels,
        normalization=normalization,
        scorer=_scorer(args),
        n_resamples=args.resamples,
        random_state=args.random_state,
        baseline=_baseline(args, features),
    )
    return ranking, {"n_rows": len(labels), "n_classes": len(np.unique(labels))}, str(ranking)


def _demo(args) -> tuple[Ranking, dict[str, Any], str]:
    images, labels = load_digit_images()
    zoo = load_zoo()
    say(f"{len(zoo)} bundled models on {len(images)} images of handwritten digits")
    candidates = [(name, backbone.set_params(verbose=1)) for name, backbone in zoo]
    ranking = ModelSelector(candidates, refit=False, verbose=1).fit(images, labels).ranking_
    accuracies, deviations = load_zoo_accuracies(return_std=True)
    agreement = ranking.agreement(accuracies)
    column = {name: f"{accuracies[name]:.1f} +- {deviations[name]:.1f}" for name in accuracies}
    text = "\n".join(
        [
            as_text(ranking, {"fine-tuned %": column}),
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


def _check_files(args) -> None:
    """Refuse files and folders that could not be written; those of `rank` are known later."""
    try:
        if args.command == "demo":
            _name_demo_outputs(args)
        check_outputs(outputs(args), force=args.force)
        inputs = [*getattr(args, "files", []), *filter(None, [getattr(args, "baseline", None)])]
        check_not_inputs(outputs(args), inputs)
    except ValueError as exc:
        raise UsageError(exc) from exc


def _name_demo_outputs(args) -> None:
    """Set the outputs of the demonstration, in a folder that it makes."""
    check_folder(args.output)
    args.json = args.output / "ranking.json"
    args.plot = args.output / "ranking.png" if find_spec("matplotlib") else None


def _scorer(args) -> NCTIScorer:
    return NCTIScorer(
        args.n_components, shrinkage=args.shrinkage, variant=args.variant, cv=args.cv
    )


def _check_rows(args, labels) -> None:
    """Refuse what these labels have too few rows for, by the names of the options."""
    if args.resamples and args.cv:
        raise UsageError(
            f"--resamples {args.resamples} and --cv {args.cv} exclude each other: a row that is "
            "drawn twice would be held out and fitted at once; leave one of them out"
        )
    if not (args.resamples or args.cv):
        return
    option = f"--resamples {args.resamples}" if args.resamples else f"--cv {args.cv}"
    rows = Counter(np.asarray(labels).tolist()).most_common()
    (largest, most), (smallest, least) = rows[0], rows[-1]
    if least < 2:
        raise UsageError(
            f"{option} needs at least 2 rows of every class, but {smallest!r} has {least}; add "
            "rows, or leave that class out"
        )
    if args.cv and args.cv > most:
        raise UsageError(
            f"--cv {args.cv} needs a class of at least {args.cv} rows, but the largest, "
            f"{largest!r}, has {most}; use fewer folds"
        )


def _baseline(args, names: Iterable[str]) -> dict[str, float] | None:
    """Read the numbers that are shown beside the scores of these candidates."""
    if args.baseline is None:
        return None
    option = f"--baseline {args.baseline}"
    try:
        text = args.baseline.read_text(encoding="utf-8")
        pairs = json.loads(text, object_pairs_hook=lambda pairs: pairs)
    except (OSError, ValueError, RecursionError) as exc:
        raise UsageError(f"{option} is no JSON file that can be read: {exc}") from exc
    wanted = 'it must be one JSON object of model to number, such as {"resnet18": 69.8}'
    if not text.lstrip().startswith("{"):
        raise UsageError(f"{option} holds no object; {wanted}")
    repeated = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if repeated:
        raise UsageError(f"{option} has {repeated} more than once; {wanted}")
    for name, value in pairs:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UsageError(f"{option} has {value!r} for {name!r}; {wanted}")
    try:
        return check_baseline({name: float(value) for name, value in pairs}, list(names))
    except (ValueError, OverflowError) as exc:
        raise UsageError(f"{option}: {exc}") from exc


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


def _show_each_once() -> Callable[..., None]:
    """Return what shows warnings on one line, each of them once.

    The interpreter forgets what it has shown whenever filters change, for every candidate.
    """
    shown = set()

    def show(message, category, filename, lineno, file=None, line=None) -> None:
        text = str(message).partition("\n")[0]
        if text not in shown:
            shown.add(text)
            say(f"warning: {printable(text)}")

    return show
