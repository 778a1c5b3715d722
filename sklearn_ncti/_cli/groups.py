"""Groups of options of the command line, with their help texts."""

import argparse
from pathlib import Path

import numpy as np

from .._scoring.normalization import NORMALIZATIONS
from .._utils.resampling import MAX_RESAMPLES
from ..backbones._pooling import POOLINGS
from .values import at_least, between, folds, not_negative, shrinkage, within


def add_plan(parser: argparse.ArgumentParser) -> None:
    """Add the options of what is said and asked before the work."""
    group = parser.add_argument_group("plan")
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="print what the run would download and how long it would take, and do nothing else; "
        "--json and --csv write the plan",
    )
    group.add_argument(
        "--ask-above",
        type=not_negative,
        default=5.0,
        metavar="GB",
        help="ask before a download of more than this many gigabytes; without a terminal the run "
        "stops with the plan and status 2 (default: %(default)g)",
    )
    group.add_argument("--yes", action="store_true", help="download without asking")


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Add the fields of `Filters` but the names, for every command that chooses models."""
    group = parser.add_argument_group(
        "filters", "Models must meet all of these. A value that is unknown meets no bound."
    )
    group.add_argument(
        "--license",
        nargs="+",
        metavar="NAME",
        help="licenses of the weights: permissive (any use, with attribution), unknown, or names "
        "such as apache-2.0",
    )
    group.add_argument(
        "--pretrained-on",
        nargs="+",
        metavar="DATA",
        help="data sets of the first training, such as in1k, in22k or laion2b; or unknown",
    )
    group.add_argument(
        "--self-supervised",
        action=argparse.BooleanOptionalAction,
        help="only models whose last training was self-supervised, or only the others",
    )
    for option, unit, text in (
        ("--min-parameters", "MILLIONS", "least number of parameters in millions"),
        ("--max-parameters", "MILLIONS", "largest number of parameters in millions"),
        ("--min-gmacs", "N", "least billions of operations for one image"),
        ("--max-gmacs", "N", "most billions of operations for one image"),
        ("--min-input-size", "PIXELS", "least height and width of the input"),
        ("--max-input-size", "PIXELS", "largest height and width of the input"),
        ("--min-top1", "PERCENT", "least ImageNet top-1 accuracy"),
        ("--max-top1", "PERCENT", "largest ImageNet top-1 accuracy"),
        ("--min-cpu-throughput", "N", "least images per second on the CPU of the catalogue"),
        ("--min-gpu-throughput", "N", "least images per second on the GPU of the catalogue"),
    ):
        group.add_argument(option, type=not_negative, metavar=unit, help=text)


def add_search(parser: argparse.ArgumentParser) -> None:
    """Add the fields of `SearchOptions`."""
    group = parser.add_argument_group(
        "successive halving", "The other options of this group need --halving."
    )
    group.add_argument(
        "--halving",
        action="store_true",
        help="start all models on few images, and go on with more images for those that may be "
        "the best",
    )
    group.add_argument(
        "--max-time",
        type=between(0),
        metavar="SECONDS",
        help="time after which no further model starts; the ranking so far is the result "
        "(default: no limit)",
    )
    group.add_argument(
        "--max-download",
        type=not_negative,
        metavar="GB",
        help="gigabytes that may be downloaded; the best by prior or ImageNet accuracy start "
        "(default: no limit)",
    )
    group.add_argument(
        "--n-best",
        type=at_least(1),
        metavar="N",
        help="number of first models that are wanted (default: 1)",
    )
    group.add_argument(
        "--confidence",
        type=between(0, 1),
        metavar="P",
        help="probability with which the wanted models are kept, as far as the resamples can tell "
        "(default: 0.95)",
    )
    group.add_argument(
        "--factor",
        type=between(1),
        metavar="F",
        help="ratio of the numbers of images of successive iterations (default: 3)",
    )


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add the options of which images or texts are taken, and where their labels are."""
    parser.add_argument(
        "--split",
        metavar="NAME",
        help="subfolder of FOLDER that contains the classes, such as train, or value of the "
        "column 'split' of a file; '.' takes all subfolders as classes, or all rows",
    )
    parser.add_argument(
        "--images",
        metavar="COLUMN",
        help="column of the paths in a file (default: one named path, file or similar)",
    )
    parser.add_argument(
        "--text",
        metavar="COLUMN",
        help="rank text encoders on the texts in this column of a file",
    )
    parser.add_argument(
        "--labels",
        "--label",
        metavar="COLUMN",
        help="column of the labels in a file (default: one named label, class or similar)",
    )


def add_extraction(parser: argparse.ArgumentParser) -> None:
    """Add the options of how images or texts become features."""
    group = parser.add_argument_group("feature extraction")
    group.add_argument(
        "--limit-per-class",
        type=at_least(1),
        metavar="N",
        help="maximum number of images or texts per class (default: all of them)",
    )
    group.add_argument(
        "--pooling",
        choices=POOLINGS,
        help="with --text: how the vectors of tokens become one of a text; auto is what the "
        "modules of a sentence-transformers folder say (default: mean)",
    )
    group.add_argument(
        "--device",
        default="auto",
        help="device of the networks, such as cpu, cuda or cuda:1 (default: a GPU if available)",
    )
    group.add_argument(
        "--batch-size",
        type=at_least(1),
        default=64,
        metavar="N",
        help="maximum number of images or texts in one forward pass (default: %(default)s)",
    )
    group.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
        help="number format of the networks; auto is bfloat16 on GPUs that support it and "
        "float32 elsewhere (default: %(default)s)",
    )
    group.add_argument(
        "--workers",
        type=at_least(1),
        metavar="N",
        help="number of threads that read images (default: one per CPU, at most 8)",
    )
    group.add_argument(
        "--jobs",
        type=at_least(1),
        default=1,
        metavar="N",
        help="number of models that run at the same time, distributed over the GPUs (default: "
        "%(default)s)",
    )
    group.add_argument(
        "--cache",
        type=Path,
        metavar="FOLDER",
        help="folder that caches features, so that an interrupted run can be resumed",
    )
    group.add_argument(
        "--skip-bad-images",
        action="store_true",
        help="leave out unreadable images (default: stop at the first one)",
    )


def add_scoring(parser: argparse.ArgumentParser) -> None:
    """Add the fields of `ScoringOptions`."""
    group = parser.add_argument_group("scoring")
    _add_measure(group)
    group.add_argument(
        "--resamples",
        type=within(1, MAX_RESAMPLES),
        metavar="N",
        help="number of bootstrap resamples for confidence intervals, ties and the probability "
        "of being the best (default: no resampling, or 200 with --halving)",
    )
    group.add_argument(
        "--random-state",
        type=within(0, np.iinfo(np.uint32).max),
        default=0,
        metavar="SEED",
        help="seed of the bootstrap resamples (default: %(default)s)",
    )
    group.add_argument(
        "--cv",
        type=folds,
        metavar="K",
        help="score held-out rows with K-fold cross-validation, or with an exact leave-one-out "
        "('loo'); recommended for small data sets (default: score the fitted rows)",
    )
    group.add_argument(
        "--baseline",
        type=Path,
        metavar="FILE.json",
        help="numbers to show next to the scores, larger is better, such as published "
        "accuracies: a JSON object that maps model names to numbers",
    )
    group.add_argument(
        "--prior",
        metavar="imagenet|weights|FILE.json",
        help="what is known of the models without these images, as one more component of the "
        "score: published ImageNet accuracies of timm models, the spectra of their weight "
        "matrices, or a JSON object that maps model names to numbers, or a list of such objects",
    )


def _add_measure(group: argparse._ArgumentGroup) -> None:
    """Add the normalisation and the parameters of the scorer."""
    group.add_argument(
        "--normalization",
        choices=NORMALIZATIONS,
        help="how the components are made comparable before they are added (default: minmax; "
        "absolute for a single candidate)",
    )
    group.add_argument(
        "--n-components",
        type=at_least(1),
        default=64,
        metavar="K",
        help="number of principal components (default: %(default)s)",
    )
    group.add_argument(
        "--scorer",
        choices=("ncti", "robust"),
        help="what ranks: the sum of the three components, or the careful choice for few images: "
        "the nearest-center component of an exact leave-one-out with scale-free shrinkage "
        "(default: ncti, or robust with --halving)",
    )
    group.add_argument(
        "--variant",
        choices=("released", "paper"),
        default="released",
        help="formulas of the authors' released code or of the paper (default: %(default)s)",
    )
    group.add_argument(
        "--shrinkage",
        type=shrinkage,
        default="adaptive",
        metavar="T",
        help="regularisation of the scatter matrices: 'adaptive', 'scale-free' (the same for "
        "features in any units), or a number in [0, 1] for all candidates (default: %(default)s)",
    )


def add_verbose(parser: argparse.ArgumentParser) -> None:
    """Add the option of the commands whose candidates can fail."""
    parser.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="show the tracebacks of candidates that fail, which are one line each otherwise",
    )


def add_outputs(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add what the commands `rank` and `score` print and write."""
    parser.add_argument(
        "--shortlist",
        type=at_least(1),
        metavar="N",
        help="print the names of the first N candidates, one a line, best first, and nothing else "
        "to standard output; the table goes to standard error",
    )
    group = parser.add_argument_group("output files")
    add_tables(group)
    group.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="draw the ranking; the suffix sets the format (.png, .svg, .pdf, ...)",
    )
    return group


def add_tables(group: argparse._ArgumentGroup) -> None:
    """Add the files that every command with a table writes."""
    group.add_argument("--json", type=Path, metavar="FILE", help="write the results as JSON")
    group.add_argument("--csv", type=Path, metavar="FILE", help="write the results as CSV")
    group.add_argument("--force", action="store_true", help="overwrite existing files")
