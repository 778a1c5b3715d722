"""Beside floors 1-3: list the images of a folder that has one sub-folder for each class."""

import os
from numbers import Integral
from pathlib import Path

import numpy as np

# The common ones among those that timm and PIL read.
_EXTENSIONS = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)


def load_image_folder(
    folder: str | os.PathLike, *, limit_per_class: int | None = None
) -> tuple[list[str], np.ndarray]:
    """List the images of a folder and the labels that its sub-folders give them.

    Every direct sub-folder is a class. Its images are the files with the extension of an
    image anywhere inside it; hidden files and folders, and files of other kinds, are left out.

    Parameters
    ----------
    folder : str or path-like
        The folder whose sub-folders are the classes. Of a data set that is split into
        folders such as ``train`` and ``test``, give one of these.

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
        If `folder` is no path, or `limit_per_class` no integer.
    ValueError
        If `folder` is missing or no folder, has fewer than two classes, a class without
        images or images outside of any class, or if `limit_per_class` is less than 1.

    Notes
    -----
    Whether a file can be read as an image is found when it is read.

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
    if limit_per_class is not None:
        if not isinstance(limit_per_class, Integral) or isinstance(limit_per_class, bool):
            raise TypeError(
                f"limit_per_class must be an integer or None; got {limit_per_class!r}."
            )
        if limit_per_class < 1:
            raise ValueError(f"limit_per_class must be at least 1; got {limit_per_class}.")
    top = Path(folder)
    if not top.is_dir():
        what = "is not a folder" if top.exists() else "does not exist"
        raise ValueError(f"folder={os.fspath(folder)!r} {what}. Give the folder of the classes.")
    entries = sorted(entry for entry in top.iterdir() if not entry.name.startswith("."))
    for entry in entries:
        if entry.is_file() and _is_image(entry.name):
            raise ValueError(
                f"the image {os.fspath(entry)!r} lies in no class. Move it into the folder of "
                "its class, or out of this one."
            )
    classes = [entry for entry in entries if entry.is_dir()]
    if len(classes) < 2:
        found = f"only {classes[0].name!r}" if classes else "none"
        raise ValueError(
            f"folder={os.fspath(folder)!r} must hold a sub-folder for each of at least two "
            f"classes; it holds {found}."
        )
    paths: list[str] = []
    labels: list[str] = []
    for entry in classes:
        files = _images_below(entry)
        if not files:
            raise ValueError(
                f"the class {entry.name!r} has no images in {os.fspath(entry)!r}. Add some or "
                f"remove the folder. Images end in {', '.join(sorted(_EXTENSIONS))}."
            )
        if limit_per_class is not None and limit_per_class < len(files):
            places = np.arange(limit_per_class) * len(files) // int(limit_per_class)
            files = [files[place] for place in places]
        paths.extend(files)
        labels.extend([entry.name] * len(files))
    return paths, np.array(labels)


def _is_image(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in _EXTENSIONS


def _images_below(folder: Path) -> list[str]:
    """List the images in a folder and its sub-folders, sorted."""
    found: list[Path] = []
    seen = set()
    # Links are followed, as a folder of links is a common way to arrange data; a link that
    # leads back to where the walk has been ends there.
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found.extend(Path(parent, name) for name in files if _is_image(name))
    return [os.fspath(path) for path in sorted(found)]
