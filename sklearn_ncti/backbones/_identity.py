"""Keys of the cache: what features were made of, images and files."""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ._images import as_pixels, item_of, load_image
from ._sources import ImageSource

# Goes up when a change of this package changes features or the files that hold them.
_FORMAT = 2


def key_of(identity: Mapping[str, Any]) -> str:
    """Return the name of the entry of an identity, which JSON can hold."""
    text = json.dumps({"format": _FORMAT, **identity}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def stamp_files(X: Any) -> dict[str, list[int]]:
    """Return size and time of change of every file among `X`, by its path."""
    if not isinstance(X, Sequence) and getattr(X, "ndim", 0) != 1:
        return {}
    stamps = {}
    for path in (os.fspath(x) for x in X if isinstance(x, str | os.PathLike)):
        # A string that is no path has no stamp.
        with suppress(OSError, ValueError):
            stat = os.stat(path)
            stamps[path] = [stat.st_size, stat.st_mtime_ns]
    return stamps


def identify_images(images: Any, stamps: Mapping[str, list[int]] | None = None) -> str:
    """Return a hash of which images these are.

    Paths, sizes and times of files; pixels of arrays and PIL images; bytes of encoded images.
    `stamps` are what `stamp_files` returned, where that is known already.
    """
    digest = hashlib.sha256()
    if isinstance(images, np.ndarray):
        _add_pixels(digest, images, list(images))
        return digest.hexdigest()
    if isinstance(images, ImageSource):
        # The images are needed again, and not to be decoded again.
        images.hold()
    elif stamps is None:
        stamps = stamp_files(images)
    for index in range(len(images)):
        _add_image(digest, item_of(images, index), stamps or {})
    return digest.hexdigest()


def _add_pixels(digest: Any, whole: np.ndarray, parts: Iterable[np.ndarray]) -> None:
    digest.update(f"{whole.dtype} {whole.shape}".encode())
    for part in parts:
        digest.update(np.ascontiguousarray(part).data)


def _add_image(digest: Any, item: Any, stamps: Mapping[str, list[int]]) -> None:
    """Add to a hash one image of a list or of a data set."""
    if isinstance(item, Mapping):
        # Of Hugging Face; its path says nothing if the bytes are known.
        item = item["path"] if item["bytes"] is None else item["bytes"]
    pixels = as_pixels(item)
    if isinstance(item, str | os.PathLike):
        path = os.fspath(item)
        stamp = stamps.get(path) or stamp_files([path]).get(path)
        digest.update(json.dumps([os.path.abspath(path), stamp]).encode())
    elif pixels is not None:
        _add_pixels(digest, pixels, [pixels])
    elif isinstance(item, bytes | bytearray | memoryview):
        digest.update(f"bytes {len(item)} ".encode())
        digest.update(item)
    else:
        load_image(item)
        digest.update(f"{item.mode} {item.size} {item.getpalette()} ".encode())
        digest.update(item.tobytes())


def identify_files(paths: Iterable[Path]) -> dict[str, list]:
    """Return sizes and hashes of files, by their names without the folder."""
    found = {}
    for path in paths:
        with path.open("rb") as file:
            found[path.name] = [
                path.stat().st_size,
                hashlib.file_digest(file, "sha256").hexdigest(),
            ]
    return found


def check_download(file: Path) -> None:
    """Check a file of the cache of the Hugging Face hub, if its checksum is known.

    Large files lie there under their SHA-256. The hub's client compares their size only.

    Raises
    ------
    ValueError
        If the file does not hold what was published.
    """
    stored = file.resolve()
    if not re.fullmatch("[0-9a-f]{64}", stored.name):
        return
    stat = stored.stat()
    if _sha256(stored, stat.st_size, stat.st_mtime_ns) != stored.name:
        raise ValueError(
            f"the downloaded file {os.fspath(stored)!r} is damaged: its SHA-256 is not the one "
            "that it was published with. Delete it; the next run downloads it again."
        )


@lru_cache(maxsize=1024)
def _sha256(path: Path, size: int, mtime: int) -> str:
    """Hash a file, once for each size and time of change."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
