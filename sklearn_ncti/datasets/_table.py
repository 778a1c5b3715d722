"""Read tables (CSV, TSV, Parquet, JSON lines) of labelled images, named by paths, or of texts."""

import csv
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from .._utils.optional import import_optional
from ._folder import SplitError, check_limit, listed, spaced

TABLES = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson")

# Those that cannot tell a missing value from an empty text.
_OF_TEXT = (".csv", ".tsv")

# Names that the columns usually have.
_PATHS = ("path", "file", "filename", "file_name", "filepath", "image", "image_path")
_TEXTS = ("text", "texts", "sentence", "utterance", "document")
_LABELS = ("label", "labels", "class", "target")


def load_image_table(
    file: str | os.PathLike,
    *,
    images: str | None = None,
    labels: str | None = None,
    split: str | None = None,
    limit_per_class: int | None = None,
) -> tuple[list[str], np.ndarray]:
    r"""List the images of a table that holds a path and a label in each row.

    Parameters
    ----------
    file : str or path-like
        A CSV file with a header (.csv, or .tsv with tabs), a Parquet file, or a file with a JSON
        object in each line (.jsonl or .ndjson). Relative paths in it start from its folder.

    images : str, default=None
        Column of the paths. None for the one that is named path, file, filename, file_name,
        filepath, image or image_path.

    labels : str, default=None
        Column of the labels. None for the one that is named label, labels, class or target.

    split : str, default=None
        Value of the column ``split`` of the rows to take. ``"."`` takes all. None if there is
        no such column, or it has one value.

    limit_per_class : int, default=None
        The largest number of images of a class, evenly spaced over its rows. ``None`` takes all.

    Returns
    -------
    paths : list of str
        The files, class by class, in the order of the rows.

    labels : ndarray of shape (n,)
        The label of each file: text from a CSV file.

    Raises
    ------
    ValueError
        If the file cannot be read, a column is missing or could be one of several, a row has no
        path or label, labels are of several types, there are fewer than two classes, the rows
        are of several splits and `split` is None, or `limit_per_class` is less than 1.
    TypeError
        If `limit_per_class` is no integer.
    ImportError
        If a Parquet file is to be read and pyarrow is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn_ncti.datasets import load_image_table
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table = Path(folder, "photos.csv")
    ...     _ = table.write_text("path,label\n1.jpg,cat\n2.jpg,dog\n3.jpg,cat\n")
    ...     paths, labels = load_image_table(table)
    >>> [Path(path).name for path in paths]
    ['1.jpg', '3.jpg', '2.jpg']
    >>> labels.tolist()
    ['cat', 'cat', 'dog']
    """
    check_limit(limit_per_class)
    columns = read_table(file)
    path_column = column_of(columns, images, _PATHS, "images", file)
    label_column = column_of(columns, labels, _LABELS, "labels", file)
    rows = _rows_of(columns, split, file)
    _check_items(columns[path_column], rows, "path", file)
    files, names = _by_class(
        columns[path_column], columns[label_column], rows, limit_per_class, file
    )
    folder = os.path.dirname(os.fspath(file))
    return [os.path.join(folder, os.fspath(path)) for path in files], names


def load_text_table(
    file: str | os.PathLike,
    *,
    text: str | None = None,
    label: str | None = None,
    split: str | None = None,
    limit_per_class: int | None = None,
) -> tuple[list[str], np.ndarray]:
    r"""List the texts of a table that holds a text and a label in each row.

    Parameters
    ----------
    file : str or path-like
        A CSV file with a header (.csv, or .tsv with tabs), a Parquet file, or a file with a JSON
        object in each line (.jsonl or .ndjson).

    text : str, default=None
        Column of the texts. None for the one that is named text, texts, sentence, utterance or
        document.

    label : str, default=None
        Column of the labels. None for the one that is named label, labels, class or target.

    split : str, default=None
        Value of the column ``split`` of the rows to take. ``"."`` takes all. None if there is
        no such column, or it has one value.

    limit_per_class : int, default=None
        The largest number of texts of a class, evenly spaced over its rows. ``None`` takes all.

    Returns
    -------
    texts : list of str
        The texts, class by class, in the order of the rows.

    labels : ndarray of shape (n,)
        The label of each text: text from a CSV file.

    Raises
    ------
    ValueError
        If the file cannot be read, a column is missing or could be one of several, a row has no
        text or label, labels are of several types, there are fewer than two classes, the rows
        are of several splits and `split` is None, or `limit_per_class` is less than 1. An empty
        cell of a CSV file is a missing text; an empty text of the other formats is a text.
    TypeError
        If `limit_per_class` is no integer.
    ImportError
        If a Parquet file is to be read and pyarrow is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn_ncti.datasets import load_text_table
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table = Path(folder, "reviews.jsonl")
    ...     _ = table.write_text(
    ...         '{"text": "well made", "label": "good"}\n{"text": "it broke", "label": "bad"}\n'
    ...     )
    ...     load_text_table(table)
    (['it broke', 'well made'], array(['bad', 'good'], dtype='<U4'))
    """
    check_limit(limit_per_class)
    columns = read_table(file)
    text_column = column_of(columns, text, _TEXTS, "texts", file)
    label_column = column_of(columns, label, _LABELS, "labels", file)
    rows = _rows_of(columns, split, file)
    _check_items(columns[text_column], rows, "text", file)
    return _by_class(columns[text_column], columns[label_column], rows, limit_per_class, file)


def read_table(file: str | os.PathLike) -> dict[str, list[Any]]:
    """Return the columns of a table by name; those of a CSV file hold text.

    A value that a line of JSON lacks is None.

    Raises
    ------
    ValueError
        If the file cannot be read as its suffix says.
    """
    path = Path(file)
    try:
        if path.suffix.lower() == ".parquet":
            table = import_optional("pyarrow.parquet", extra="parquet").read_table(path)
            columns: dict[str, list[Any]] = table.to_pydict()
            # Where pandas keeps the index of a frame.
            return {
                name: values
                for name, values in columns.items()
                if not name.startswith("__index_level_")
            }
        with path.open(encoding="utf-8-sig", newline="") as lines:
            if path.suffix.lower() in (".jsonl", ".ndjson"):
                return _columns_of_objects(lines)
            return _columns_of_text(lines, "\t" if path.suffix.lower() == ".tsv" else ",")
    except ImportError:
        raise
    except Exception as exc:
        raise ValueError(f"{os.fspath(file)!r} cannot be read as a table: {exc}") from exc


def _columns_of_text(lines: Any, delimiter: str) -> dict[str, list[Any]]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header = next(reader, [])
    repeated = [name for name, count in Counter(header).items() if count > 1]
    if not header or repeated:
        raise ValueError(
            f"its first line has {repeated} more than once" if repeated else "it is empty"
        )
    rows = []
    for row in reader:
        if len(row) not in (0, len(header)):
            raise ValueError(
                f"line {reader.line_num} has {len(row)} cells and the header {len(header)}"
            )
        if row:
            rows.append(row)
    return {name: [row[i] for row in rows] for i, name in enumerate(header)}


def _columns_of_objects(lines: Any) -> dict[str, list[Any]]:
    """Return the columns of lines of JSON."""
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=unique_names)
        except ValueError as exc:
            raise ValueError(f"line {number} is no JSON ({exc})") from exc
        if not isinstance(row, dict):
            raise ValueError(f"line {number} is no JSON object, but {row!r:.60}")
        rows.append(row)
    if not rows:
        raise ValueError("it is empty")
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object as a dict, or raise a ValueError if it has a name twice."""
    repeated = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if repeated:
        raise ValueError(f"it has {repeated} more than once")
    return dict(pairs)


def column_of(
    columns: dict[str, list[Any]],
    name: str | None,
    usual: tuple[str, ...],
    argument: str,
    file: str | os.PathLike,
) -> str:
    """Return the name of a column that is given, or of the only one with a usual name."""
    found = [name] if name is not None else [key for key in columns if key.lower() in usual]
    if len(found) == 1 and found[0] in columns:
        return found[0]
    why = f"no column {name!r}" if name is not None else f"the columns {found} for {argument}"
    raise ValueError(
        f"{os.fspath(file)!r} has {why}; its columns are {listed(list(columns))}. Name the one "
        f"of the {argument}."
    )


def _rows_of(
    columns: dict[str, list[Any]], split: str | None, file: str | os.PathLike
) -> list[int]:
    """Return the positions of the rows of a split."""
    n_rows = len(next(iter(columns.values())))
    values = columns.get("split", [])
    names = sorted(set(map(str, values)))
    if split == "." or (split is None and len(names) < 2):
        return list(range(n_rows))
    if split is None:
        choice = next((name for name in names if name.lower().startswith("train")), names[0])
        raise SplitError(
            f"{os.fspath(file)!r} holds rows of the splits {listed(names)}.",
            choice,
            "all rows are taken",
        )
    if split not in names:
        raise ValueError(
            f"split={split!r} is no value of the column 'split' of {os.fspath(file)!r}, which has "
            f"{listed(names)}."
        )
    return [row for row, value in enumerate(values) if str(value) == split]


def _check_items(items: list[Any], rows: list[int], what: str, file: str | os.PathLike) -> None:
    """Raise a ValueError if a row has no path, or no text."""
    may_be_empty = what == "text" and Path(file).suffix.lower() not in _OF_TEXT
    for row in rows:
        item = items[row]
        if not isinstance(item, str) or not (item or may_be_empty) or not _is_whole(item):
            raise ValueError(
                f"{os.fspath(file)!r} has no {what} in row {row + 1}, but {item!r:.60}. "
                "Complete that row, or leave it out."
            )


def _is_whole(text: str) -> bool:
    """Whether a text has whole characters only; an escape of JSON can be half of one."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _by_class(
    items: list[str],
    classes: list[Any],
    rows: list[int],
    limit: int | None,
    file: str | os.PathLike,
) -> tuple[list[str], np.ndarray]:
    """Return the items of some rows class by class, and their labels."""
    _check_labels(classes, rows, file)
    found: dict[Any, list[str]] = {}
    for row in rows:
        found.setdefault(classes[row], []).append(items[row])
    if len(found) < 2:
        raise ValueError(
            f"{os.fspath(file)!r} must hold at least two classes; it holds {listed(list(found))}."
        )
    found = {name: spaced(found[name], limit) for name in sorted(found)}
    names = [name for name, of_class in found.items() for _ in of_class]
    return [item for of_class in found.values() for item in of_class], np.array(names)


def _check_labels(classes: list[Any], rows: list[int], file: str | os.PathLike) -> None:
    """Raise a ValueError if a row has no label, or the labels are not of one simple type."""
    for row in rows:
        label = classes[row]
        if label is None or label == "" or label != label:
            raise ValueError(f"{os.fspath(file)!r} has no label in row {row + 1}: {label!r}.")
        if isinstance(label, list | dict) or type(label) is not type(classes[rows[0]]):
            raise ValueError(
                f"{os.fspath(file)!r} has the label {label!r:.60} of type {type(label).__name__} "
                f"in row {row + 1}; give all labels one type, such as text."
            )
