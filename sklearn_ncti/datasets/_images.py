"""Labelled images from what a path names: a folder, a table, or a saved Hugging Face data set."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from .._utils.optional import import_optional
from ..backbones._sources import image_columns, label_columns, labels_in
from ._folder import SplitError, check_limit, listed, load_image_folder, spaced
from ._table import TABLES, load_image_table

# What `save_to_disk` writes next to the rows of a data set, and of one with splits.
_OF_DATASET = "state.json"
_OF_SPLITS = "dataset_dict.json"


def load_images(
    source: str | os.PathLike,
    *,
    images: str | None = None,
    labels: str | None = None,
    split: str | None = None,
    limit_per_class: int | None = None,
) -> tuple[Any, np.ndarray]:
    """Load labelled images from a folder, a table, or a saved data set of Hugging Face.

    Parameters
    ----------
    source : str or path-like
        A folder with one sub-folder for each class, as for :func:`load_image_folder`; a table
        of paths and labels, as for :func:`load_image_table`; or a folder that ``save_to_disk``
        of a Hugging Face ``Dataset`` or ``DatasetDict`` has written.

    images, labels : str, default=None
        Columns of the images and the labels, of a table or data set. None finds them by their
        names, in a data set by their types.

    split : str, default=None
        Sub-folder, value of the column ``split``, or split of a ``DatasetDict``, to take. ``"."``
        takes all.

    limit_per_class : int, default=None
        The largest number of images of a class, evenly spaced. ``None`` takes all.

    Returns
    -------
    images : list of str or column of images
        Paths, class by class, or a column of the data set, in the order of its rows. Both are
        taken by `ModelSelector`, and no image is decoded here.

    labels : ndarray of shape (n,)
        The label of each image, as the name of its class where the source has names.

    Raises
    ------
    ValueError
        If `source` is none of these, is divided into splits and `split` is None, or
        `limit_per_class` is less than 1; and in the cases that the functions above list.
    TypeError
        If `source` or `split` is no path, or `limit_per_class` is no integer.
    ImportError
        If a data set of Hugging Face is to be read and datasets is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn_ncti.datasets import load_images
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for file in ("cat/1.jpg", "dog/1.png"):
    ...         path = Path(folder, file)
    ...         path.parent.mkdir()
    ...         path.touch()
    ...     paths, labels = load_images(folder)
    >>> [Path(path).name for path in paths], labels.tolist()
    (['1.jpg', '1.png'], ['cat', 'dog'])
    """
    chosen: dict[str, Any] = {"split": split, "limit_per_class": limit_per_class}
    path = Path(source)
    if path.suffix.lower() in TABLES and path.is_file():
        return load_image_table(path, images=images, labels=labels, **chosen)
    if is_saved_dataset(path):
        return _load_saved(path, images=images, labels=labels, **chosen)
    for name, value in (("images", images), ("labels", labels)):
        if value is not None:
            raise ValueError(
                f"{name}={value!r} is a column of a table or data set, and "
                f"{os.fspath(source)!r} is neither. Leave {name} out."
            )
    return load_image_folder(source, **chosen)


def is_saved_dataset(folder: str | os.PathLike) -> bool:
    """Whether a folder is one that `save_to_disk` of Hugging Face has written."""
    return any(Path(folder, name).is_file() for name in (_OF_DATASET, _OF_SPLITS))


def _load_saved(folder, *, images, labels, split, limit_per_class) -> tuple[Any, np.ndarray]:
    """Return a column of images, and labels, of a saved data set."""
    check_limit(limit_per_class)
    hub = import_optional("datasets", extra="huggingface")
    try:
        loaded = hub.load_from_disk(os.fspath(folder))
    except Exception as exc:
        raise ValueError(f"the data set {os.fspath(folder)!r} cannot be read: {exc}") from exc
    table = _split_of(loaded, split, folder, hub.concatenate_datasets)
    column = _column(table, images, image_columns(table), "images", folder)
    if column not in image_columns(table):
        raise ValueError(
            f"images={images!r} of {os.fspath(folder)!r} has the type "
            f"{type(table.features[column]).__name__}, not Image. Cast it, or name another column."
        )
    named = _column(table, labels, label_columns(table), "labels", folder)
    y = np.asarray(labels_in(table, named))
    if len(np.unique(y)) < 2:
        raise ValueError(f"{os.fspath(folder)!r} must hold at least two classes.")
    if limit_per_class is not None:
        of_class = (np.flatnonzero(y == label).tolist() for label in np.unique(y))
        rows = sorted(row for found in of_class for row in spaced(found, limit_per_class))
        table, y = table.select(rows), y[rows]
    return table[column], y


def _split_of(loaded, split, folder, join):
    """Return one split of a data set, or all of them together."""
    splits = loaded if isinstance(loaded, dict) else {}
    if not splits:
        if split not in (None, "."):
            raise ValueError(f"split={split!r}, but {os.fspath(folder)!r} has no splits.")
        return loaded
    if split is None and len(splits) > 1:
        choice = next((name for name in splits if name.startswith("train")), next(iter(splits)))
        raise SplitError(
            f"{os.fspath(folder)!r} holds the splits {listed(list(splits))}.",
            choice,
            "all of them are taken together",
        )
    if split in (None, "."):
        return join(list(splits.values()))
    if split not in splits:
        raise ValueError(
            f"split={split!r} is no split of {os.fspath(folder)!r}, which holds "
            f"{listed(list(splits))}."
        )
    return splits[split]


def _column(table, name, found, argument, folder) -> str:
    """Return the column that was asked for, or the only one that was found."""
    columns = table.column_names
    if name is None and len(found) == 1:
        return found[0]
    if name in columns:
        return name
    seen = f"may be any of {listed(found)}" if name is None and found else "is not known"
    raise ValueError(
        f"the column of the {argument} in {os.fspath(folder)!r} "
        + (seen if name is None else f"is none named {name!r}")
        + f"; its columns are {listed(columns)}. Name one with {argument}=."
    )
