"""Checks of labels and rows that all estimators share."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_y

from .arrays import to_host


def label_array(y: Any) -> Any:
    """Return `y`, as an array of objects where another would make two labels equal.

    numpy turns a list that has a string into an array of strings of one length, which makes a
    label of NaN, drops NUL at the end of a string, and does not tell 1 from "1".

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Class labels as a user gives them.

    Returns
    -------
    y : array-like of shape (n_samples,)
        The same labels, on the host.

    Raises
    ------
    ValueError
        If a label is missing.

    TypeError
        If labels cannot be sorted.
    """
    y = to_host(y)
    plain = np.asarray(y)
    turned_to_text = isinstance(y, list | tuple) and plain.dtype.kind == "U"
    labels = np.array(y, dtype=object) if turned_to_text else plain
    if labels.ndim != 1 or labels.dtype.kind not in "OfmM":
        return y
    for row, label in enumerate(labels):
        if _is_missing(label):
            raise ValueError(
                f"y has no label in row {row}: {label}. Label every row, or leave out those "
                "that have no label."
            )
    if turned_to_text and len(set(labels)) == len(np.unique(plain)):
        return y
    if labels.dtype.kind == "O":
        _check_sortable(labels)
    return labels


def _is_missing(label) -> bool:
    """Whether a label is None, NaN, NaT or pandas.NA."""
    try:
        return label is None or bool(label != label)
    except TypeError:
        # What pandas.NA is compared with is NA, which is neither true nor false.
        return True


def _check_sortable(labels: np.ndarray) -> None:
    """Raise a TypeError if labels have no order among each other."""
    try:
        sorted(set(labels))
    except TypeError as exc:
        kinds = sorted({type(label).__name__ for label in labels})
        raise TypeError(
            f"y has labels of the types {kinds}, which cannot be sorted. Use strings, or whole "
            "numbers, for all classes."
        ) from exc


def encode_labels(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted classes and each row's index among them.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
        Class labels of any sortable type.

    Returns
    -------
    classes : ndarray of shape (n_classes,)
        The distinct labels.

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
    """Whether `score` was given other rows than the fitted ones.

    Raises
    ------
    ValueError
        If only one of rows and labels was given.
    """
    if (X is None) != (y is None):
        missing = "X" if X is None else "y"
        raise ValueError(
            f"{missing} is None: pass both X and y to score other rows, or neither to get the "
            "score of the fitted rows."
        )
    return X is not None


def check_labels(labels: ArrayLike) -> np.ndarray:
    """Return `labels` as a vector of at least two classes, or raise a ValueError."""
    labels = _check_y(label_array(labels))
    encode_labels(labels)
    return labels
