"""Files of features and labels that the command `score` reads."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .._utils.optional import import_optional
from ..datasets._table import TABLES, read_table

# Names that arrays and columns of labels have where none is given.
_LABELS = ("labels", "label")

# Suffixes of files that hold labels alone.
_LABEL_FILES = (".npy", ".txt")


class UsageError(Exception):
    """The arguments or the files that they name are wrong."""


def is_file(labels: str) -> bool:
    """Return whether the option of the labels names a file of them, and not an array."""
    return Path(labels).suffix.lower() in _LABEL_FILES


def read_features(
    path: Path, features: str | None, labels: str | None, shared: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Read the features and labels of one file.

    Parameters
    ----------
    path : path
        The file, whose suffix says what it is.

    features, labels : str or None
        Names of the arrays or columns.

    shared : ndarray of shape (n_samples,) or None
        Labels from a file of their own.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        The features.

    y : ndarray of shape (n_samples,)
        Their labels.

    Raises
    ------
    UsageError
        If the file cannot be read or holds something else.
    """
    if not path.exists():
        raise UsageError(f"{path} does not exist")
    suffix = path.suffix.lower()
    if suffix in TABLES:
        X, y = _from_table(path, features, labels, shared)
    else:
        X, y = _from_arrays(path, _arrays_of(path), features, labels, shared)
    if X.ndim != 2 or y.shape != X.shape[:1]:
        raise UsageError(
            f"{path} has features of shape {X.shape} and labels of shape {y.shape}; they must "
            "be (n, d) and (n,)"
        )
    return X, y


def read_labels(path: Path) -> np.ndarray:
    """Read labels from a file of their own: an array, or text with one label in each line."""
    try:
        if path.suffix.lower() == ".npy":
            y: np.ndarray = np.load(path, allow_pickle=False)
            return y
        return np.array(path.read_text(encoding="utf-8-sig").splitlines())
    except (OSError, ValueError) as exc:
        raise UsageError(f"--labels {path} cannot be read: {exc}") from exc


def _arrays_of(path: Path) -> Mapping[str, np.ndarray]:
    """Return the arrays of a file by name; the only one of an .npy file has none."""
    readers: dict[str, Callable[[Path], Mapping[str, np.ndarray]]] = {
        ".npz": _from_npz,
        ".npy": lambda file: {"": np.load(file, allow_pickle=False)},
        ".safetensors": _from_safetensors,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UsageError(
            f"{path} is of no kind that is read: {', '.join([*readers, *TABLES])}; write one with "
            "numpy.savez('features.npz', features=X, labels=y)"
        )
    try:
        return reader(path)
    except ImportError:
        raise
    except Exception as exc:
        # What a broken archive raises is of many classes.
        reason = f"{exc}".partition("\n")[0]
        if "pickle" in reason:
            reason = "it holds Python objects, or is no such file"
        raise UsageError(f"{path} cannot be read as {path.suffix} file: {reason}") from exc


def _from_npz(path: Path) -> Mapping[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        if not isinstance(arrays, np.lib.npyio.NpzFile):
            raise ValueError("it holds one array")
        return {name: arrays[name] for name in arrays.files}


def _from_safetensors(path: Path) -> Mapping[str, np.ndarray]:
    arrays: Mapping[str, np.ndarray] = import_optional(
        "safetensors.numpy", extra="timm"
    ).load_file(path)
    return arrays


def _from_arrays(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    features: str | None,
    labels: str | None,
    shared: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    if set(arrays) == {""}:
        if shared is None:
            raise UsageError(
                f"{path} holds features alone; give the file of the labels: --labels FILE.npy"
            )
        return arrays[""], shared
    X = arrays[_name_in(arrays, features, ("features",), "--features", path)]
    if shared is not None:
        return X, shared
    return X, arrays[_name_in(arrays, labels, _LABELS, "--labels", path)]


def _name_in(
    named: Mapping[str, Any], given: str | None, usual: tuple[str, ...], option: str, path: Path
) -> str:
    """Return the name of an array or column that is given, or the only usual one."""
    found = [name for name in (usual if given is None else (given,)) if name in named]
    if len(found) == 1:
        return found[0]
    wanted = " or ".join(map(repr, usual)) if given is None else repr(given)
    raise UsageError(
        f"{path} has {'no' if not found else 'more than one of'} {wanted}; it has "
        f"{', '.join(map(repr, list(named)[:20])) or 'nothing'}; choose with {option} NAME"
    )


def _from_table(
    path: Path, features: str | None, labels: str | None, shared: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Read a table that has a column of labels, and one for each feature or one of lists."""
    try:
        columns = read_table(path)
    except ValueError as exc:
        raise UsageError(exc) from exc
    y = shared
    if y is None:
        name = _name_in(columns, labels, _LABELS, "--labels", path)
        y = np.array(columns.pop(name))
    if features is None and "features" in columns:
        features = "features"
    if features is not None:
        lists = columns[_name_in(columns, features, (), "--features", path)]
        return _as_matrix(path, features, lists), y
    numbers = [_as_numbers(path, name, values) for name, values in columns.items()]
    if not numbers:
        raise UsageError(f"{path} has no column of features next to that of the labels")
    return np.stack(numbers, axis=1), y


def _as_matrix(path: Path, name: str, lists: list[Any]) -> np.ndarray:
    try:
        return np.array(lists, dtype=float)
    except (TypeError, ValueError) as exc:
        raise UsageError(
            f"{path} has no list of numbers of one length in each row of the column {name!r}"
        ) from exc


def _as_numbers(path: Path, name: str, values: list[Any]) -> np.ndarray:
    try:
        numbers = np.array(values, dtype=float)
    except (TypeError, ValueError):
        numbers = np.empty((0, 0))
    if numbers.ndim == 1:
        return numbers
    raise UsageError(
        f"{path} has a column {name!r} that holds other things than numbers; remove it, or choose "
        "a column that holds the features as lists with --features NAME"
    )
