"""What the command line reads: images, texts, features, labels, baselines and weights."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .._ranking.prior import check_prior
from .._ranking.rank_features import check_baseline
from ..backbones._text_folder import SMALL_FILES, check_text_model
from ..backbones._texts import check_texts
from ..datasets import load_images, load_text_table
from ..datasets._folder import SplitError
from ..datasets._table import TABLES, unique_names
from .feature_files import UsageError, is_file, read_features, read_labels
from .options import Options, RankOptions, ScoreOptions, ScoringOptions, SearchOptions

# Suffixes of the files that hold the weights of a model.
_WEIGHTS = (".bin", ".pt", ".pth", ".safetensors", ".tar")

# Resamples that successive halving needs to exclude a candidate.
_LEAST_RESAMPLES = 40

#: Priors that are looked up for networks, and what they need.
PRIORS = {"imagenet": "the names of timm models", "weights": "networks"}


def read_rows(options: RankOptions) -> tuple[Sequence[Any], np.ndarray]:
    """Return the images or texts to rank on, and their labels.

    Raises
    ------
    UsageError
        If the subfolders do not look like classes, or the rows of a table are of several
        splits.

    ValueError or TypeError
        If the folder or table is refused for another reason.
    """
    file = options.folder
    chosen: dict[str, Any] = {"split": options.split, "limit_per_class": options.limit_per_class}
    try:
        if options.text is not None:
            texts, labels = load_text_table(
                file, text=options.text, label=options.labels, **chosen
            )
            return check_texts(texts), labels
        return load_images(file, images=options.images, labels=options.labels, **chosen)
    except SplitError as exc:
        raise UsageError(exc.advice("--split {!r}")) from exc


def row_files(options: RankOptions, rows: Sequence[Any]) -> list[str | Path]:
    """Return the files that rows are in, but for a table, which the options name."""
    if options.text is not None:
        return []
    if isinstance(rows, list):
        return rows
    return [path for path in Path(options.folder).rglob("*") if path.is_file()]


def check_kind(options: RankOptions) -> None:
    """Raise a UsageError if an option is for images and texts are ranked on, or vice versa."""
    if options.text is None:
        if options.pooling is not None:
            raise UsageError(
                f"--pooling {options.pooling} needs --text COLUMN; add that, or leave it out"
            )
        return
    if Path(options.folder).is_dir():
        raise UsageError(
            f"--text {options.text} needs a file with a text and a label in each row, and "
            f"{options.folder} is a folder; name a {', '.join(TABLES)} file"
        )
    if Path(options.folder).suffix.lower() not in TABLES:
        raise UsageError(
            f"--text {options.text} needs a {', '.join(TABLES)} file, got {options.folder}"
        )
    for option, value in _of_images(options).items():
        if value is not None and value is not False:
            raise UsageError(
                f"--{option.replace('_', '-')} is for images and models of timm, and --text for "
                "texts; leave one of the options out"
            )


def _of_images(options: RankOptions) -> dict[str, Any]:
    """Return the options that texts do not have, by name; those not given are None or False."""
    filters = asdict(options.filters)
    return {
        "images": options.images,
        "workers": options.workers,
        "skip_bad_images": options.skip_bad_images,
        "max_download": options.search.max_download,
        "prior imagenet": options.scoring.prior == "imagenet",
        # To ask for models that were not trained on labels is to filter as well.
        **{name: None if value is None else str(value) for name, value in filters.items()},
    }


def text_model_names(names: Sequence[str]) -> list[str]:
    """Return the names of text encoders, after a check of each.

    Raises
    ------
    ValueError
        If one is no name of an encoder, is given twice, or its folder lacks a file.
    """
    for name in names:
        check_text_model(name)
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(f"the model {repeated[0]!r} is given twice: leave one out.")
    return list(names)


def named_files(options: Options) -> list[Path]:
    """Return the files of features, labels or paths that the options name."""
    if isinstance(options, ScoreOptions):
        labels = options.labels
        return [*options.files, *([Path(labels)] if labels and is_file(labels) else [])]
    if not isinstance(options, RankOptions) or not Path(options.folder).is_file():
        return []
    return [Path(options.folder)]


def load_candidates(
    paths: Sequence[Path], features_name: str | None = None, labels_name: str | None = None
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Read the features of each candidate and the labels that all of them share.

    Parameters
    ----------
    paths : sequence of path
        One file per candidate.

    features_name : str, default=None
        Name of the array or column of the features.

    labels_name : str, default=None
        Name of the array or column of the labels, or a file of them.

    Returns
    -------
    features : dict of str to ndarray of shape (n_samples, n_features)
        Features by candidate. A candidate is named by the stem of its file, or by the whole
        path if several files have that stem.

    labels : ndarray of shape (n_samples,)
        Class of each row.

    Raises
    ------
    UsageError
        If a file cannot be read or is given twice, or if the labels of two files differ.
    """
    features: dict[str, np.ndarray] = {}
    stems = Counter(path.stem for path in paths)
    shared = read_labels(Path(labels_name)) if labels_name and is_file(labels_name) else None
    labels = None
    for path in paths:
        X, y = read_features(path, features_name, labels_name, shared)
        if labels is None:
            labels = y
        elif not _are_equal(labels, y):
            raise UsageError(
                f"{path} and {paths[0]} have different labels: all candidates must be scored "
                "on the same rows"
            )
        name = path.stem if stems[path.stem] == 1 else str(path)
        if name in features:
            raise UsageError(f"{path} is given twice")
        features[name] = X
    if labels is None:
        raise UsageError("no file of features is given")
    return features, labels


def _are_equal(labels: np.ndarray, others: np.ndarray) -> bool:
    """Return whether labels are equal, where those of text files are text."""
    if {labels.dtype.kind, others.dtype.kind} <= {"i", "u", "U"}:
        return np.array_equal(labels.astype(str), others.astype(str))
    return np.array_equal(labels, others)


def check_search(search: SearchOptions, scoring: ScoringOptions) -> None:
    """Raise a UsageError if options of successive halving are given in vain, or contradicted."""
    if not search.halving:
        for name, value in search.given().items():
            option = f"--{name.replace('_', '-')} {value:g}"
            raise UsageError(f"{option} needs --halving; add that, or leave the option out")
        return
    if scoring.cv not in (None, "loo"):
        raise UsageError(
            f"--halving excludes --cv {scoring.cv}: candidates are dropped by resamples, which "
            "held-out folds do not have; use --cv loo, or leave --cv out"
        )
    if scoring.cv == "loo" and scoring.variant == "paper":
        raise UsageError(
            "--halving needs resamples, which --variant paper does not have of rows that --cv loo "
            "holds out; leave one of the options out"
        )
    if scoring.resamples < _LEAST_RESAMPLES:
        raise UsageError(
            f"--halving needs at least --resamples {_LEAST_RESAMPLES} to drop a candidate, got "
            f"{scoring.resamples}; use more, or leave --resamples out for 200"
        )


def check_rows(scoring: ScoringOptions, labels: np.ndarray, *, halving: bool = False) -> None:
    """Raise a UsageError that names the option if the classes have too few rows for it."""
    if scoring.resamples and scoring.cv and not halving:
        raise UsageError(
            f"--resamples {scoring.resamples} and --cv {scoring.cv} exclude each other: copies "
            "of a resampled row would be both held out and fitted; leave one of the options out"
        )
    if scoring.scorer == "robust":
        _check_robust(scoring, halving)
    if not scoring.resamples and scoring.cv in (None, "loo"):
        return
    option = f"--resamples {scoring.resamples}" if scoring.resamples else f"--cv {scoring.cv}"
    option = "--halving" if halving else option
    rows = Counter(labels.tolist()).most_common()
    (largest, most), (smallest, least) = rows[0], rows[-1]
    if least < 2:
        raise UsageError(
            f"{option} needs at least 2 rows of every class, but {smallest!r} has {least}; add "
            "rows or remove that class"
        )
    if isinstance(scoring.cv, int) and scoring.cv > most:
        raise UsageError(
            f"--cv {scoring.cv} needs a class of at least {scoring.cv} rows, but the largest, "
            f"{largest!r}, has {most}; use fewer folds"
        )


def _check_robust(scoring: ScoringOptions, halving: bool) -> None:
    """Raise a UsageError if an option contradicts ``--scorer robust``."""
    remedy = "; --halving uses this scorer unless --scorer ncti is given" if halving else ""
    contradictions = {
        "--cv": scoring.cv is not None,
        "--shrinkage": scoring.shrinkage != "adaptive",
        "--variant": scoring.variant != "released",
        "--n-components": scoring.n_components != 64,
        "--resamples": scoring.resamples > 0 and not halving,
    }
    for option, is_given in contradictions.items():
        if is_given:
            raise UsageError(
                f"--scorer robust excludes {option}: it is an exact leave-one-out with scale-free "
                f"shrinkage; leave one of the options out{remedy}"
            )


def read_baseline(path: Path | None, names: Iterable[str]) -> dict[str, float] | None:
    """Read the baseline of the named candidates.

    Parameters
    ----------
    path : path or None
        JSON file of one object that maps names of models to numbers.

    names : iterable of str
        Names of the candidates.

    Returns
    -------
    baseline : dict of str to float, or None
        Number by candidate, for the candidates that have one. None without a file.

    Raises
    ------
    UsageError
        If the file cannot be read, holds something else, or names none of the candidates.
    """
    if path is None:
        return None
    option = f"--baseline {path}"
    wanted = 'it must map model names to numbers, such as {"resnet18": 69.8}'
    pairs = _read_pairs(path, option, wanted)
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


def read_prior(value: str | None, names: Iterable[str], normalization: str) -> Any:
    """Return a prior from the option: one of `PRIORS`, or the records of a JSON file.

    Parameters
    ----------
    value : str or None
        One of `PRIORS`, or the path of a JSON file: an object that maps names of models to
        numbers, or a list of such objects.

    names : iterable of str
        Names of the candidates.

    normalization : str
        Normalisation of the ranking.

    Returns
    -------
    prior : str, dict, list of dict, or None
        What `ModelSelector` takes. None without the option.

    Raises
    ------
    UsageError
        If the file cannot be read or holds something else.
    """
    if value is None or value in PRIORS:
        return value
    option = f"--prior {value}"
    try:
        text = Path(value).read_text(encoding="utf-8")
        prior = json.loads(text, object_pairs_hook=unique_names)
    except (OSError, ValueError, RecursionError) as exc:
        raise UsageError(f"{option} is not a readable JSON file: {exc}") from exc
    if not isinstance(prior, dict | list):
        raise UsageError(
            f'{option} must hold an object such as {{"resnet18": 69.8}}, or a list of such objects'
        )
    try:
        check_prior(prior, list(names), normalization)
    except (TypeError, ValueError) as exc:
        raise UsageError(f"{option}: {exc}") from exc
    return prior


def _read_pairs(path: Path, option: str, wanted: str) -> list[tuple[str, Any]]:
    """Read the names and values of one JSON object, repeated names included."""
    try:
        text = path.read_text(encoding="utf-8")
        pairs: list[tuple[str, Any]] = json.loads(text, object_pairs_hook=list)
    except (OSError, ValueError, RecursionError) as exc:
        raise UsageError(f"{option} is not a readable JSON file: {exc}") from exc
    # A JSON array would look like the pairs of an object.
    if not text.lstrip().startswith("{"):
        raise UsageError(f"{option} is not a JSON object; {wanted}")
    return pairs


def weight_files(names: Iterable[str]) -> Iterator[Path]:
    """Yield the files that ``local-dir:`` models are read from."""
    for name in names:
        if name.startswith("local-dir:"):
            folder = Path(name.removeprefix("local-dir:"))
            yield from (folder / file for file in SMALL_FILES)
            yield from (file for file in folder.glob("*") if file.suffix in _WEIGHTS)
