"""List the images of a folder that has one sub-folder for each class."""

import os
import warnings
from collections import Counter
from numbers import Integral
from pathlib import Path
from typing import TypeVar

import numpy as np

T = TypeVar("T")

# Of the formats that every supported pillow reads by itself, the common ones.
_EXTENSIONS = frozenset(
    [".apng", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm"]
    + [".ppm", ".tif", ".tiff", ".webp"]
)

# Images as well, but of formats that are rare, or need a newer pillow or another program.
_NOT_READ = frozenset(
    [".arw", ".avif", ".avifs", ".cr2", ".cr3", ".dcm", ".dng", ".eps", ".exr", ".heic", ".heif"]
    + [".hif", ".ico", ".j2k", ".jp2", ".jxl", ".nef", ".orf", ".pcx", ".psd", ".rw2", ".svg"]
    + [".tga"]
)

# Names that folders of one part of a data set usually have.
_SPLITS = frozenset(
    ["dev", "eval", "test", "testing", "train", "training", "val", "valid", "validation"]
)


class SplitError(ValueError):
    """The sub-folders of a folder do not look like classes.

    Parameters
    ----------
    seen : str
        What was seen, as a sentence.

    choice : str
        The sub-folder to suggest.

    otherwise : str, default="all of them are taken as classes"
        What ``"."`` does.
    """

    def __init__(
        self, seen: str, choice: str, otherwise: str = "all of them are taken as classes"
    ) -> None:
        self.seen = seen
        self.choice = choice
        self.otherwise = otherwise
        super().__init__(self.advice("split={!r}"))

    def advice(self, option: str) -> str:
        """Return the message, with a format of the option that chooses a sub-folder."""
        return (
            f"{self.seen} Choose one of them with {option.format(self.choice)}; "
            f"with {option.format('.')} {self.otherwise}."
        )

    def __reduce__(self) -> tuple:
        return type(self), (self.seen, self.choice, self.otherwise)


def load_image_folder(
    folder: str | os.PathLike, *, split: str | None = None, limit_per_class: int | None = None
) -> tuple[list[str], np.ndarray]:
    """List the images of a folder and the labels that its sub-folders give them.

    Every direct sub-folder is a class. Its images are the files with the extension of an
    image anywhere inside it; hidden files and folders, and files of other kinds, are left out.
    Links to files and folders are followed.

    Parameters
    ----------
    folder : str or path-like
        The folder whose sub-folders are the classes, or with `split` a folder above it.

    split : str, default=None
        Sub-folder that holds the classes, such as ``"train"`` or ``"flowers/train"``. ``"."``
        takes the sub-folders of `folder` as classes whatever they look like. With None,
        sub-folders that look like parts of a data set are refused.

    limit_per_class : int, default=None
        The largest number of images of a class. They are taken evenly spaced from the sorted
        files, since neighbours are often pictures of one thing. ``None`` takes all.

    Returns
    -------
    paths : list of str
        The files, class by class, sorted.

    labels : ndarray of shape (n,) and dtype str
        The name of the class of each file.

    Raises
    ------
    TypeError
        If `folder` or `split` is no path, or `limit_per_class` no integer.
    ValueError
        If the sub-folders do not look like classes and `split` is None: two of them have
        names such as ``train`` and ``test``, or one has such a name and holds folders only, or
        each of them holds several folders and no image.
        If `folder` is missing or no folder, has fewer than two classes, a class without
        images or images outside of any class, or if `limit_per_class` is less than 1. Also if
        a folder inside cannot be read, a link leads to nothing, an image is no regular file,
        or a link takes the images of one class into another.

    Warns
    -----
    UserWarning
        If images are left out because their format, such as HEIC or AVIF, is none that every
        supported version of pillow reads. It says how many there are of each extension.

    Notes
    -----
    The extensions are .bmp, .gif, .jpg, .jpeg, .jpe, .jfif, .pbm, .pgm, .pnm, .ppm, .png,
    .apng, .tif, .tiff and .webp, in any case. Whether a file can be read as an image is found
    when it is read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn_ncti.datasets import load_image_folder
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for file in ("cat/1.jpg", "cat/2.jpg", "dog/old/1.png"):
    ...         path = Path(folder, file)
    ...         path.parent.mkdir(parents=True, exist_ok=True)
    ...         path.touch()
    ...     paths, labels = load_image_folder(folder)
    >>> [Path(path).name for path in paths]
    ['1.jpg', '2.jpg', '1.png']
    >>> labels.tolist()
    ['cat', 'cat', 'dog']
    """
    check_limit(limit_per_class)
    top = _top_folder(folder, split)
    entries = _entries(top)
    for entry in entries:
        if is_image(entry.name) and not _is_folder(entry):
            raise ValueError(
                f"the image {entry.path!r} lies in no class. Move it into the folder of its "
                "class, or out of this one."
            )
    classes = [entry for entry in entries if _is_folder(entry)]
    if split is None or Path(split) != Path("."):
        _check_no_splits(top, classes, split)
    if len(classes) < 2:
        found = f"only {classes[0].name!r}" if classes else "none"
        raise ValueError(
            f"folder={os.fspath(top)!r} must hold a sub-folder for each of at least two "
            f"classes; it holds {found}."
        )
    walk = _Walk(top, classes)
    paths: list[str] = []
    labels: list[str] = []
    for entry in classes:
        files = spaced(walk.images(entry), limit_per_class)
        paths.extend(files)
        labels.extend([entry.name] * len(files))
    if walk.left_out:
        warnings.warn(
            f"left out images of formats that are not read: {_counted(walk.left_out)}. Convert "
            "them to one that is, such as PNG, or remove them.",
            UserWarning,
            stacklevel=2,
        )
    return paths, np.array(labels)


def check_limit(limit_per_class: int | None) -> None:
    """Raise a TypeError or ValueError if this is no number of images."""
    if limit_per_class is not None:
        if not isinstance(limit_per_class, Integral) or isinstance(limit_per_class, bool):
            raise TypeError(
                f"limit_per_class must be an integer or None; got {limit_per_class!r}."
            )
        if limit_per_class < 1:
            raise ValueError(f"limit_per_class must be at least 1; got {limit_per_class}.")


def spaced(files: list[T], limit: int | None) -> list[T]:
    """Return files, or rows, that are evenly spaced among all, at most so many."""
    if limit is None or limit >= len(files):
        return files
    return [files[place] for place in np.arange(limit) * len(files) // int(limit)]


def _top_folder(folder: str | os.PathLike, split: str | None) -> Path:
    """Return the folder of the classes, or raise a ValueError if it is none."""
    top = Path(folder)
    if not top.is_dir():
        what = "is not a folder" if top.exists() else "does not exist"
        raise ValueError(f"folder={os.fspath(folder)!r} {what}. Give the folder of the classes.")
    if split is None:
        return top
    if not isinstance(split, str):
        raise TypeError(f"split must be the name of a sub-folder or None; got {split!r}.")
    inner = Path(split)
    if split and not inner.is_absolute() and ".." not in inner.parts and (top / inner).is_dir():
        return top / inner
    names = [entry.name for entry in _entries(top) if _is_folder(entry)]
    raise ValueError(
        f"split={split!r} is no sub-folder of {os.fspath(folder)!r}, which holds {listed(names)}."
    )


def _check_no_splits(top: Path, folders: list[os.DirEntry], split: str | None) -> None:
    """Raise a SplitError if folders look like parts of a data set, and not like classes."""
    names = [entry.name for entry in folders]
    parts = [entry for entry in folders if entry.name.lower() in _SPLITS]
    if len(parts) > 1 or any(map(_holds_classes, parts)):
        names = [entry.name for entry in parts]
        seen = f"holds {listed(names)}, which look like splits of a data set."
    elif folders and all(map(_holds_classes, folders)):
        seen = (
            f"holds {listed(names)}: each holds folders and no image, so that these look like "
            "data sets or splits, not like classes."
        )
    else:
        return
    choice = next((name for name in names if name.lower().startswith("train")), names[0])
    raise SplitError(f"folder={os.fspath(top)!r} {seen}", Path(split or ".", choice).as_posix())


def _holds_classes(folder: os.DirEntry) -> bool:
    """Return whether a folder holds several folders, and no image next to them."""
    n_folders = 0
    for entry in _entries(folder.path):
        if _is_folder(entry):
            n_folders += 1
        elif is_image(entry.name):
            return False
    return n_folders > 1


def listed(names: list[str]) -> str:
    """Return names in quotes, the first five of many."""
    shown = ", ".join(map(repr, names[:5]))
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown or "none"


def is_image(name: str) -> bool:
    """Whether a file of this name is taken for an image that can be read."""
    return not name.startswith(".") and _suffix(name) in _EXTENSIONS


def _suffix(name) -> str:
    return os.path.splitext(name)[1].lower()


def _counted(suffixes) -> str:
    return ", ".join(f"{count} {suffix}" for suffix, count in sorted(suffixes.items()))


def _entries(folder: str | os.PathLike) -> list[os.DirEntry]:
    """List what is in a folder and not hidden, sorted."""
    try:
        with os.scandir(os.fspath(folder)) as found:
            return sorted(
                (entry for entry in found if not entry.name.startswith(".")),
                key=lambda entry: entry.name,
            )
    except OSError as exc:
        raise ValueError(
            f"the folder {os.fspath(folder)!r} cannot be read ({exc.strerror}). Get access to "
            "it, or move it away."
        ) from exc


def _is_folder(entry: os.DirEntry) -> bool:
    """Whether this is a folder or a link to one; refuse a link that leads to nothing."""
    try:
        if entry.is_symlink():
            entry.stat()
        return entry.is_dir()
    except OSError as exc:
        raise ValueError(
            f"{entry.path!r} is a broken link ({exc.strerror}). Mend or remove it."
        ) from exc


class _Walk:
    """Lists images class by class, and refuses folders that belong to two classes.

    Links are followed, as a folder of links is a common way to arrange data. One that leads
    back to where the walk has been ends there.

    Parameters
    ----------
    top : path
        The folder of the classes.

    classes : list of os.DirEntry
        The folders of the classes.
    """

    def __init__(self, top, classes):
        self.left_out = Counter()
        self._top = Path(os.path.realpath(top))
        # Each folder, without links, with the class that it belongs to and its name there.
        self._owners = {}
        for entry in classes:
            self._claim(entry.path, entry.name)
        self._seen = set()

    def images(self, entry: os.DirEntry) -> list[str]:
        """List the images in the folder of a class and its sub-folders, sorted."""
        found: list[str] = []
        left_out: Counter[str] = Counter()
        folders = [entry.path]
        # It grows on the way.
        for folder in folders:
            real = self._claim(folder, entry.name)
            if real in self._seen:
                continue
            self._seen.add(real)
            for inner in _entries(folder):
                if _is_folder(inner):
                    folders.append(inner.path)
                elif is_image(inner.name):
                    found.append(_checked(inner).path)
                elif _suffix(inner.name) in _NOT_READ:
                    left_out[_suffix(inner.name)] += 1
        if not found:
            others = f" Not read: {_counted(left_out)}." if left_out else ""
            raise ValueError(
                f"the class {entry.name!r} has no images in {entry.path!r}. Add some or remove "
                f"the folder. Images end in {', '.join(sorted(_EXTENSIONS))}.{others}"
            )
        self.left_out += left_out
        return [os.fspath(path) for path in sorted(map(Path, found))]

    def _claim(self, folder: str, name: str) -> str:
        """Return where a folder really lies; refuse one that is not of this class alone."""
        real = os.path.realpath(folder)
        if self._top.is_relative_to(real):
            raise ValueError(
                f"{folder!r} in the class {name!r} is a link to {real!r}, which holds all the "
                "classes. Remove it."
            )
        owner, first = self._owners.setdefault(real, (name, folder))
        if owner != name:
            raise ValueError(
                f"{folder!r} in the class {name!r} is the same folder as {first!r} in the class "
                f"{owner!r}. An image has one class: remove one of the two."
            )
        return real


def _checked(entry: os.DirEntry) -> os.DirEntry:
    if not entry.is_file():
        raise ValueError(
            f"{entry.path!r} is no regular file, but a pipe, socket or device. Remove it."
        )
    return entry
