"""Validation of labels and rows that all estimators share."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_y

from .arrays import to_host


def label_array(y: Any) -> Any:
    """Return labels as an array of objects if another type would change them.

    numpy converts a list that contains a string to an array of strings. This turns NaN into a
    label, drops NUL characters at the end of a string, and makes 1 and "1" equal.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Class labels as given by the user.

    Returns
    -------
    y : array-like of shape (n_samples,)
        Same labels, on the host.

    Raises
    ------
    ValueError
        If a label is missing.

    TypeError
        If labels cannot be sorted.
    """
    y = to_host(y)
    plain = np.asarray(y)
    converted_to_text = isinstance(y, list | tuple) and plain.dtype.kind == "U"
    labels = np.array(y, dtype=object) if converted_to_text else plain
    if labels.ndim != 1 or labels.dtype.kind not in "OfmM":
        return y
    for row, label in enumerate(labels):
        if _is_missing(label):
            raise ValueError(
                f"y has no label in row {row}: {label}. Label every row, or leave out those "
                "that have no label."
            )
    if converted_to_text and len(set(labels)) == len(np.unique(plain)):
        return y
    if labels.dtype.kind == "O":
        _check_sortable(labels)
    return labels


def _is_missing(label: Any) -> bool:
    """Return whether a label is None, NaN, NaT or pandas.NA."""
    try:
        return label is None or bool(label != label)
    except TypeError:
        # A comparison with pandas.NA is NA, which has no truth value.
        return True


def _check_sortable(labels: np.ndarray) -> None:
    """Raise a TypeError if the labels cannot be sorted."""
    try:
        sorted(set(labels))
    except TypeError as exc:
        kinds = sorted({type(label).__name__ for label in labels})
        raise TypeError(
            f"y has labels of the types {kinds}, which cannot be sorted. Use strings, or whole "
            "numbers, for all classes."
        ) from exc


def encode_labels(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted classes, and the index of the class of each row.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
        Class labels of any sortable type.

    Returns
    -------
    classes : ndarray of shape (n_classes,)
        Distinct labels, sorted.

    codes : ndarray of shape (n_samples,)
        Index of each label in `classes`.

    Raises
    ------
    ValueError
        If `y` is continuous or multi-label, or has fewer than two classes.
    """
    check_classification_targets(y)
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"y has {len(classes)} class(es) {classes.tolist()}, but transferability is "
            "measured between classes: at least 2 are needed."
        )
    return classes, codes


def has_other_rows(X: Any, y: Any) -> bool:
    """Return whether rows were passed to `score`, instead of None for the fitted rows.

    Raises
    ------
    ValueError
        If only one of rows and labels was passed.
    """
    if (X is None) != (y is None):
        missing = "X" if X is None else "y"
        raise ValueError(
            f"{missing} is None: pass both X and y to score other rows, or neither to get the "
            "score of the fitted rows."
        )
    return X is not None


def check_labels(labels: ArrayLike, *, allow_numbers: bool = False) -> np.ndarray:
    """Return labels as a vector of at least two classes, or raise a ValueError.

    With `allow_numbers`, a vector of real numbers is returned as it is.
    """
    check_one_label_each(labels)
    y: np.ndarray = _check_y(label_array(labels))
    if not is_continuous(y):
        encode_labels(y)
    elif not allow_numbers:
        raise ValueError(
            "Unknown label type: continuous. y holds real numbers, but a ranking needs classes. "
            "Make classes of them, such as numpy.digitize(y, numpy.quantile(y, [0.25, 0.5, "
            "0.75])), or rank by a scorer of numbers, and no other: scorer=companions.LogME(), or "
            "a regressor."
        )
    return y


def is_continuous(labels: Any) -> bool:
    """Return whether labels are real numbers that stand for no classes."""
    return bool(type_of_target(labels) == "continuous")


def check_one_label_each(labels: Any) -> None:
    """Raise a ValueError if labels are masks, boxes, or several for a row.

    Parameters
    ----------
    labels : array-like
        Class labels as given by the user.
    """
    shape = tuple(getattr(labels, "shape", ()))
    first = labels[0] if isinstance(labels, list | tuple) and len(labels) else None
    inner = getattr(first, "shape", ())
    if len(shape) > 2 or len(inner) > 1 or hasattr(first, "getbands"):
        raise ValueError(
            "y holds masks, images of their own, but a ranking needs one class for each row: y "
            "of shape (n,). For segmentation, give a class of the whole image, such as the one "
            "that covers most of it."
        )
    if isinstance(first, Mapping):
        raise ValueError(
            f"y holds dicts with the keys {list(first)}, but a ranking needs one class for each "
            "row: y of shape (n,). For detection, give a class of the whole image, or rank on "
            "images cut out at the boxes."
        )
    several = isinstance(first, list | tuple | set | frozenset) or len(inner) == 1
    if several and all(np.size(list(label)) == 1 for label in labels):
        # A column, which is a vector of another shape.
        return
    if several or (len(shape) == 2 and shape[1] > 1):
        raise ValueError(
            "y should be a 1d array, and holds several labels for each row. A ranking needs one "
            "class for each: rank on one label at a time, such as y[:, j], and average the "
            "scores, or on the rows that have one label only."
        )
