"""Check what a user calls texts. Nothing doubtful is guessed; an error names the row."""

import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import numpy as np

from .._utils.stacklevel import find_stack_level

_WHAT_TEXTS_ARE = (
    "texts are a list of strings, or a column of strings of NumPy, pandas, polars or Arrow"
)
_TO_IMAGE_BACKBONES = "Images go to a TimmBackbone or a TorchBackbone."


class Texts(list):
    """A list of strings that `check_texts` has accepted, and need not check again."""


def check_texts(X: Any) -> Texts:
    """Check that `X` holds texts, and return them.

    Parameters
    ----------
    X : sequence of str
        A list or tuple, a one-dimensional array of NumPy, or a column of pandas, polars or
        Arrow.

    Returns
    -------
    texts : Texts
        The strings, in their order. Empty ones are accepted.

    Raises
    ------
    TypeError
        If `X` or one of its items is no text; the message names the row.

    ValueError
        If a text is missing, there are none, or an item cannot be encoded.
    """
    if isinstance(X, Texts):
        return X
    texts = _as_list(X)
    if not texts:
        raise ValueError("X holds no texts: at least one is needed.")
    for row, text in enumerate(texts):
        # Nearly all are, and a check of each is what a long list costs.
        if not isinstance(text, str) or not text.isascii():
            _check_item(row, text)
    if all(map(os.path.isfile, texts)):
        raise TypeError(
            f"X holds paths of files, the first of which is {texts[0]!r}; {_WHAT_TEXTS_ARE}. "
            f"{_TO_IMAGE_BACKBONES} Read files of text first."
        )
    return Texts(texts)


def warn_of_empty(texts: Texts) -> None:
    """Warn of texts without any character, which all have the same features."""
    empty = [row for row, text in enumerate(texts) if not text.strip()]
    if empty:
        warnings.warn(
            f"{len(empty)} of {len(texts)} texts are empty or blank, the first at X[{empty[0]}]. "
            "They get the features of the special tokens alone; leave them out if they are "
            "missing values.",
            UserWarning,
            stacklevel=find_stack_level(),
        )


def _as_list(X: Any) -> list:
    """Return the items of a sequence or a column."""
    if isinstance(X, str | bytes | bytearray | memoryview):
        raise TypeError(f"X is a single {type(X).__name__}; {_WHAT_TEXTS_ARE}: use [X].")
    shape = getattr(X, "shape", None)
    if shape is not None and len(shape) != 1:
        advice = "Select the column that holds the texts."
        if len(shape) > 2:
            advice = f"It looks like images. {_TO_IMAGE_BACKBONES}"
        elif _is_numeric(X):
            advice = "It looks like a feature matrix, which needs no backbone."
        raise TypeError(f"X is of shape {tuple(shape)}; {_WHAT_TEXTS_ARE}. {advice}")
    # The names in Arrow, in pandas and polars, and in numpy.
    for method in ("to_pylist", "to_list", "tolist"):
        if hasattr(X, method):
            return list(getattr(X, method)())
    if not isinstance(X, Sequence):
        raise TypeError(f"X is of type {type(X).__name__}; {_WHAT_TEXTS_ARE}.")
    return list(X)


def _is_numeric(X: Any) -> bool:
    return getattr(getattr(X, "dtype", None), "kind", "") in tuple("biufc")


def _check_item(row: int, item: Any) -> None:
    """Raise an error if an item is no text."""
    if isinstance(item, str):
        try:
            item.encode()
        except UnicodeEncodeError as exc:
            raise ValueError(
                f"X[{row}] holds a part of a character ({exc.reason}) and cannot be encoded as "
                "UTF-8: decode its bytes again, with errors='replace'."
            ) from exc
        return
    if _is_missing(item):
        raise ValueError(
            f"X[{row}] is {item!r}, a missing text. Leave its row out, or put '' in its place."
        )
    advice = ""
    if _is_image(item):
        advice = f" {_TO_IMAGE_BACKBONES}"
    elif isinstance(item, bytes | bytearray):
        advice = " Decode it first: item.decode('utf-8')."
    elif isinstance(item, list | tuple):
        advice = " Join its parts to one string, or give each a row of its own."
    raise TypeError(f"X[{row}] is of type {type(item).__name__}; {_WHAT_TEXTS_ARE}.{advice}")


def _is_missing(item: Any) -> bool:
    """Whether an item is None, NaN or pandas.NA."""
    if item is None:
        return True
    if isinstance(item, float | np.floating):
        return bool(np.isnan(item))
    return type(item).__name__ in ("NAType", "NaTType")


def _is_image(item: Any) -> bool:
    # An image of PIL can only have been made where PIL is imported already.
    pil = sys.modules.get("PIL.Image")
    is_pil = pil is not None and isinstance(item, pil.Image)
    return is_pil or isinstance(item, PurePath) or len(getattr(item, "shape", ())) > 0
