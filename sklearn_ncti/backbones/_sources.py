"""Images and labels of what people keep them in: data sets of torch and Hugging Face, pairs.

Images of a data set are read one by one, where they are needed, so that they are not in memory
all together. A source that could be read in two ways, or once only, is refused.
"""

import copy
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from sklearn import get_config

from ._images import BadImageError, check_images, check_item, image_of, is_image_item, n_bytes

# Keys of examples that are dicts, as data sets of torch, and tars read by webdataset, give them.
_IMAGE_KEYS = ("image", "img", "jpg", "jpeg", "png", "webp", "pixel_values")
_LABEL_KEYS = ("label", "labels", "target", "cls", "class")
_WHAT_EXAMPLES_ARE = "the examples of a data set are images or (image, label) pairs"


class ImageSource:
    """Images of a data set, each read when it is needed.

    Parameters
    ----------
    read : callable
        Takes a position, and returns an image and its label, None where it has none.

    n_images : int
        Number of images.

    is_cheap : bool, default=False
        Whether reading decodes nothing, so that images are never held.

    Notes
    -----
    Where all examples have to be read before the work begins, for their labels or for the key
    of a cache, images are held up to scikit-learn's ``working_memory``, so that they are not
    decoded again. Reading is done by one thread at a time: data sets need not allow more.
    """

    def __init__(
        self, read: Callable[[int], tuple[Any, Any]], n_images: int, *, is_cheap: bool = False
    ) -> None:
        self._read = read
        self._n_images = n_images
        self._is_cheap = is_cheap
        self._held: dict[int, Any] = {}
        self._labels: list[Any] | None = None
        self._copies = False
        self._lock = Lock()

    def __len__(self) -> int:
        return self._n_images

    def __getitem__(self, index: int) -> Any:
        """Return an image as PIL image, path or array of pixels."""
        item = image_of(self.raw(range(len(self))[index]))
        return copy.deepcopy(item) if self._copies else item

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))

    def raw(self, index: int) -> Any:
        """Return an image as the data set holds it, perhaps encoded."""
        with self._lock:
            return self._held[index] if index in self._held else self._read(index)[0]

    def is_at_hand(self, index: int) -> bool:
        """Whether an image can be had again without reading its example."""
        return self._is_cheap or index in self._held

    def labels(self) -> list[Any]:
        """Return all labels, for which all examples are read if they were not before."""
        self.hold()
        if self._labels is None:
            self._labels = [self._read(index)[1] for index in range(len(self))]
        return self._labels

    def hold(self) -> "ImageSource":
        """Read all examples, and hold as many images as `working_memory` allows."""
        if self._is_cheap or self._labels is not None:
            return self
        left = get_config()["working_memory"] * 2**20
        labels = []
        for index in range(len(self)):
            try:
                image, label = self._read(index)
                left -= n_bytes(image)
            except Exception as exc:
                # Data sets answer broken files with errors of almost any class.
                raise BadImageError(
                    f"X[{index}] cannot be read ({type(exc).__name__}: {exc}), and neither can "
                    "its label. Mend it, or leave it out."
                ) from exc
            labels.append(label)
            if left >= 0:
                self._held[index] = image
        self._labels = labels
        return self

    def take(self, rows: Iterable[int]) -> "ImageSource":
        """Return the images at some positions."""
        rows = [int(row) for row in rows]
        return ImageSource(_Taken(self, rows), len(rows), is_cheap=True)

    def __deepcopy__(self, memo: dict) -> "ImageSource":
        # What is read belongs to the data set: the reader of a copy may change it.
        copied = copy.copy(self)
        copied._copies = True
        return copied

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_lock": None, "_held": {}}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state, _lock=Lock())


@dataclass(frozen=True)
class _Taken:
    """Reads some of the images of a source."""

    source: ImageSource
    rows: list[int]

    def __call__(self, index: int) -> tuple[Any, Any]:
        return self.source.raw(self.rows[index]), None


class _Examples:
    """Reads the examples of a data set that are images, pairs, or dicts of one kind."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        try:
            self._first = dataset[0]
        except Exception as exc:
            raise TypeError(
                f"X[0] of X, a {type(dataset).__name__}, cannot be read ({type(exc).__name__}: "
                f"{exc}); {_WHAT_EXAMPLES_ARE}."
            ) from exc
        self._get = _getter_of(self._first)
        self.has_labels = self._get is not _image_alone
        check_item(0, self._get(self._first)[0])

    def __call__(self, index: int) -> tuple[Any, Any]:
        if index or self._first is None:
            example = self.dataset[index]
        else:
            # It was read already, to see what examples are.
            example, self._first = self._first, None
        try:
            return self._get(example)
        except (TypeError, ValueError, KeyError, IndexError) as exc:
            raise TypeError(f"X[{index}] is no example as X[0] is: {exc!r}") from exc


def _image_alone(example: Any) -> tuple[Any, Any]:
    return example, None


def _pair(example: Any) -> tuple[Any, Any]:
    image, label = example
    return image, label


@dataclass(frozen=True)
class _FromDict:
    """Takes the image and the label of a dict."""

    image: str
    label: str | None

    def __call__(self, example: Any) -> tuple[Any, Any]:
        return example[self.image], self.label and example[self.label]


def _getter_of(example: Any) -> Callable[[Any], tuple[Any, Any]]:
    """Return what takes the image and the label out of an example like this one."""
    if is_image_item(example):
        return _image_alone
    if isinstance(example, tuple | list) and len(example) == 2:
        return _pair
    if isinstance(example, Mapping):
        images, labels = ([key for key in keys if key in example] for keys in _KEYS)
        if len(images) == 1 and len(labels) < 2:
            return _FromDict(images[0], labels[0] if labels else None)
        raise ValueError(
            f"X[0] is a dict with the keys {list(example)}, of which {images} may be the image "
            f"and {labels} the label; {_WHAT_EXAMPLES_ARE}."
        )
    raise TypeError(f"X[0] is a {type(example).__name__} and no image; {_WHAT_EXAMPLES_ARE}.")


_KEYS = (_IMAGE_KEYS, _LABEL_KEYS)


class Source(NamedTuple):
    """What a data set holds.

    Attributes
    ----------
    images : ndarray, list or ImageSource
        The images.

    labels : callable
        Returns their labels, or None where the data set has none.
    """

    images: Any
    labels: Callable[[], Any]


def as_images(X: Any) -> Any:
    """Check that `X` holds images, as `check_images` does, and take them out of data sets.

    Parameters
    ----------
    X : array, sequence or data set
        The images.

    Returns
    -------
    images : ndarray, list or ImageSource
        The images; of a data set without the labels.

    Raises
    ------
    TypeError
        If `X` or one of its items is of a type that holds no images.
    ValueError
        If the images are none, or if a file is missing.
    """
    if isinstance(X, ImageSource):
        return X
    source = source_of(X)
    images = X if source is None else source.images
    return images if isinstance(images, ImageSource) else check_images(images)


def source_of(X: Any) -> Source | None:
    """Return what a data set holds; None if `X` is no data set.

    Raises
    ------
    TypeError or ValueError
        If `X` is a kind of data set that cannot be read here; the message says what to write.
    """
    check_sized(X)
    if is_a(X, "datasets.arrow_dataset.Column"):
        return _source_of_column(X)
    if is_a(X, "datasets.arrow_dataset.Dataset"):
        return _source_of_table(X)
    if isinstance(X, Mapping):
        keys = list(X)
        raise TypeError(
            f"X is a {type(X).__name__} with the keys {keys}. Give one of its data sets"
            + (f", such as X[{keys[0]!r}]." if keys else ".")
        )
    if isinstance(X, list | tuple):
        return _source_of_pairs(X)
    if is_torch_dataset(X) or _is_other_dataset(X):
        return _source_of_dataset(X)
    return None


def is_torch_dataset(X: Any) -> bool:
    """Return whether `X` is a data set of torch."""
    return is_a(X, "torch.utils.data.dataset.Dataset")


def check_sized(X: Any) -> None:
    """Raise a TypeError if `X` is read in one go: a generator, a stream, a loader of batches."""
    name = type(X).__name__
    if is_a(X, "torch.utils.data.dataloader.DataLoader"):
        raise TypeError(f"X is a {name}, which gives batches. Give its data set: loader.dataset.")
    if is_a(X, "webdataset.pipeline.DataPipeline"):
        raise TypeError(
            f"X is a {name}, which is a stream without a length. Read it once, as pairs of an "
            "image and a label: list(X.to_tuple('jpg;png', 'cls'))."
        )
    is_stream = is_a(X, "torch.utils.data.dataset.IterableDataset")
    if is_stream or (isinstance(X, Iterable) and not hasattr(X, "__len__")):
        raise TypeError(
            f"X is a {name}, which can be read once and has no length. Read it once: list(X)."
        )


def is_a(X: Any, name: str) -> bool:
    """Return whether `X` is of a class of this full name, without importing it."""
    return any(f"{c.__module__}.{c.__qualname__}" == name for c in type(X).__mro__)


def _is_other_dataset(X: Any) -> bool:
    """Return whether `X` has the methods of a data set, and is nothing else that has them."""
    known = isinstance(X, str | bytes | bytearray | memoryview | np.ndarray)
    others = ("shape", "columns", "to_list", "tolist")
    return (
        not known
        and hasattr(X, "__len__")
        and hasattr(X, "__getitem__")
        and not any(hasattr(X, name) for name in others)
    )


def _source_of_pairs(X: Sequence[Any]) -> Source | None:
    """Return the images and labels of a list of pairs or dicts; None for a list of images."""
    if not X or is_image_item(X[0]) or not isinstance(X[0], tuple | list | Mapping):
        return None
    examples = _Examples(X)
    images, labels = zip(*map(examples, range(len(X))), strict=True)
    return Source(list(images), lambda: list(labels) if examples.has_labels else None)


def _source_of_dataset(X: Any) -> Source:
    """Return what a data set of torch, or one of its kind, holds."""
    if len(X) == 0:
        raise ValueError(f"X, a {type(X).__name__}, holds no images: at least one is needed.")
    if is_a(X, "torch.utils.data.dataset.TensorDataset") and len(X.tensors) == 2:
        return Source(X.tensors[0], lambda: X.tensors[1])
    rows, plain = _without_subsets(X)
    named = _known_of_torchvision(plain)
    if named is not None:
        paths, labels = named
        images = _opened(X)[0] if paths is None else [paths[row] for row in rows]
        return Source(images, lambda: np.asarray(labels)[rows])
    source, has_labels = _opened(X)
    return Source(source, lambda: source.labels() if has_labels else None)


def _opened(X: Any) -> tuple[ImageSource, bool]:
    examples = _Examples(X)
    return ImageSource(examples, len(X)), examples.has_labels


def _without_subsets(X: Any) -> tuple[Sequence[int], Any]:
    """Return the data set under subsets of torch, and the positions in it."""
    rows: Sequence[int] = range(len(X))
    while is_a(X, "torch.utils.data.dataset.Subset"):
        rows, X = [X.indices[row] for row in rows], X.dataset
    return rows, X


def _known_of_torchvision(X: Any) -> tuple[list[str] | None, list[Any]] | None:
    """Return paths and class names of a data set of torchvision, where it states them.

    Raises
    ------
    ValueError
        If the data set transforms its images: every backbone prepares them in its own way.
    """
    if not is_a(X, "torchvision.datasets.vision.VisionDataset"):
        return None
    joint = getattr(X, "transforms", None)
    if X.transform is not None or (joint is not None and not hasattr(joint, "transform")):
        raise ValueError(
            f"X, a {type(X).__name__}, transforms its images, but every backbone prepares them as "
            "it was trained. Make it without `transform`, or remove that: X.transform = None."
        )
    labels = getattr(X, "targets", None)
    # A class of the user's own may change what it derives from.
    is_known = type(X).__module__.startswith("torchvision.") and X.target_transform is None
    if labels is None or not is_known or np.ndim(labels) != 1 or len(labels) != len(X):
        return None
    codes = np.asarray(labels)
    classes = list(getattr(X, "classes", None) or ())
    if codes.dtype.kind in "iu" and len(classes) > codes.max() and codes.min() >= 0:
        labels = np.asarray(classes)[codes]
    # Another loader may make other images of the files.
    by_paths = getattr(getattr(X, "loader", None), "__name__", "") == "default_loader"
    paths: list[str] | None = [path for path, _ in X.samples] if by_paths else None
    return paths, list(labels)


def _source_of_column(X: Any) -> Source | None:
    """Return the images of a column of a Hugging Face data set; None if it holds others."""
    features = getattr(X.source, "features", None) or {}
    if type(features.get(X.column_name)).__name__ != "Image":
        return None
    return Source(_images_in(X.source, X.column_name), lambda: None)


def _source_of_table(X: Any) -> Source:
    """Return the images and labels of a Hugging Face data set, found by the types of columns."""
    images = image_columns(X)
    if len(images) != 1:
        raise ValueError(
            f"X is a Hugging Face Dataset with the image columns {images} among "
            f"{X.column_names}. Give one column of images, X[name], and y."
        )
    return Source(_images_in(X, images[0]), lambda: _labels_of_table(X))


def image_columns(X: Any) -> list[str]:
    """Return the columns of images of a Hugging Face data set."""
    return [name for name, kind in X.features.items() if type(kind).__name__ == "Image"]


def _images_in(X: Any, column: str) -> ImageSource:
    """Return the images of a column, which are read without being decoded."""
    if len(X) == 0:
        raise ValueError("X, a Hugging Face Dataset, holds no images: at least one is needed.")
    if X.format["type"] == "custom":
        raise ValueError(
            "X, a Hugging Face Dataset, transforms its examples, but every backbone prepares "
            "images as it was trained. Give X.with_format(None)."
        )
    kind = type(X.features[column])
    encoded = X.with_format(None).select_columns([column]).cast_column(column, kind(decode=False))
    return ImageSource(_FromTable(encoded, column, kind()), len(X), is_cheap=True)


@dataclass(frozen=True)
class _FromTable:
    """Reads encoded images of a Hugging Face data set."""

    table: Any
    column: str
    decoder: Any

    def __call__(self, index: int) -> tuple[Any, Any]:
        item = self.table[index][self.column]
        if item is not None and item["bytes"] is None and not os.path.isfile(item["path"]):
            # An address, or a file in an archive.
            item = self.decoder.decode_example(item)
        return item, None


def label_columns(X: Any) -> list[str]:
    """Return the columns of a Hugging Face data set that may be its labels."""
    found = [name for name, kind in X.features.items() if type(kind).__name__ == "ClassLabel"]
    return found or [name for name in _LABEL_KEYS if name in X.features]


def _labels_of_table(X: Any) -> Any:
    """Return the labels of a Hugging Face data set, as names where it has them."""
    found = label_columns(X)
    if len(found) != 1:
        raise ValueError(
            f"X is a Hugging Face Dataset with the label columns {found} among {X.column_names}. "
            "Pass y, such as fit(X, X[name])."
        )
    return labels_in(X, found[0])


def labels_in(X: Any, name: str) -> Any:
    """Return the labels in a column of a Hugging Face data set, as names where it has them."""
    codes = list(X.with_format(None)[name])
    names = getattr(X.features[name], "names", None)
    if names is None:
        return codes
    # A test set that is published without its labels has -1 for them.
    if min(codes) < 0:
        raise ValueError(f"X has rows without a label, which is {min(codes)} in column {name!r}.")
    return np.asarray(names)[codes]


def images_and_labels(X: Any) -> tuple[Any, Any]:
    """Return the images and labels of a data set.

    Parameters
    ----------
    X : data set
        The data set.

    Returns
    -------
    images : ndarray, list or ImageSource
        Its images, or `X` itself if it is no data set.

    labels : array-like or None
        Their labels, with the names of classes where the data set has them. None if it has no
        labels, or `X` is no data set.
    """
    source = source_of(X)
    if source is None:
        return X, None
    labels = source.labels()
    return as_images(source.images), labels
