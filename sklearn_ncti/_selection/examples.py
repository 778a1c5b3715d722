"""A few example images of each class, which a fitted selector keeps for its report."""

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .._ranking.report.page import RankedData
from .._utils.validation import is_continuous
from ..backbones._images import BadImageError, read_image
from ..backbones._sources import ImageSource
from .context import FitContext

# Limits of the examples, which keep reports and pickles small: classes, images of each class,
# and pixels of the longer side.
_CLASSES = 24
_EXAMPLES = 4
_SIDE = 96


@dataclass(frozen=True)
class DataSummary:
    """The classes of the rows that were ranked on, and where examples of them are.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        The classes.

    counts : ndarray of shape (n_classes,)
        Number of rows of each class.

    n_skipped : int
        Number of unreadable images, which are not in `counts`.

    examples : dict of int to list of str or bytes
        A few images of classes, by position of the class: paths of files, and small JPEG
        images of what has no file.
    """

    classes: np.ndarray
    counts: np.ndarray
    n_skipped: int = 0
    examples: Mapping[int, Sequence[str | bytes]] = field(default_factory=dict)

    def for_report(self) -> RankedData:
        """Return the same with small JPEG images in place of paths."""
        read = {i: _read(examples) for i, examples in self.examples.items()}
        return RankedData(self.classes, self.counts, self.n_skipped, read)


def summarize(context: FitContext) -> DataSummary:
    """Return the classes of the rows that are scored, with examples if they are images."""
    y = context.readable_y
    # Real numbers have no classes to show.
    classes, counts = np.unique(y[:0] if is_continuous(y) else y, return_counts=True)
    examples = {}
    if context.images is not None:
        readable = set(context.rows.tolist())
        for i, name in enumerate(classes[:_CLASSES]):
            rows = [j for j in np.flatnonzero(context.y == name).tolist() if j in readable]
            if isinstance(context.images, ImageSource):
                # Examples of a data set are not read a second time for this.
                rows = [j for j in rows if context.images.is_at_hand(j)]
            if rows:
                examples[i] = _examples(context.images, _spaced(np.array(rows)))
    return DataSummary(classes, counts, len(context.unreadable), examples)


def _spaced(rows: np.ndarray) -> list[int]:
    """Return twice as many rows as are shown, because some may be unreadable later.

    Every second one comes first, then those between.
    """
    spaced = rows[np.arange(2 * _EXAMPLES) * len(rows) // (2 * _EXAMPLES)]
    return list(dict.fromkeys(np.concatenate([spaced[::2], spaced[1::2]]).tolist()))


def _examples(images: np.ndarray | list | ImageSource, rows: Sequence[int]) -> list[str | bytes]:
    """Return paths of images, and small copies of images that have no path."""
    if isinstance(images, np.ndarray) or not isinstance(images[rows[0]], str | os.PathLike):
        copies = [_thumbnail(images, row) for row in rows[:_EXAMPLES]]
        return [copy for copy in copies if copy is not None]
    return [os.fspath(images[row]) for row in rows if isinstance(images[row], str | os.PathLike)]


def _read(examples: Sequence[str | bytes]) -> list[bytes]:
    """Return small copies of the first examples that can be read."""
    found: list[bytes] = []
    for example in examples:
        copy = example if isinstance(example, bytes) else _thumbnail([example], 0)
        if copy is not None and len(found) < _EXAMPLES:
            found.append(copy)
    return found


def _thumbnail(images: np.ndarray | list | ImageSource, index: int) -> bytes | None:
    """Return a small copy of an image as JPEG, or None if the image cannot be read."""
    try:
        image = read_image(images, index, "RGB")
    except BadImageError:
        return None
    image.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return file.getvalue()
