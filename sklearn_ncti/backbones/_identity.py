"""What determines features: keys of the cache, from images, files and networks."""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._utils.optional import import_optional
from ._images import load_image

if TYPE_CHECKING:
    import torch

    from ._network import Network

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


def identify_images(
    images: np.ndarray | list, stamps: Mapping[str, list[int]] | None = None
) -> str:
    """Say which images these are: paths, sizes and times of files, pixels of the others.

    `stamps` are what `stamp_files` returned, where that is known already.
    """
    digest = hashlib.sha256()
    if isinstance(images, np.ndarray):
        digest.update(f"{images.dtype} {images.shape}".encode())
        for image in images:
            digest.update(np.ascontiguousarray(image))
        return digest.hexdigest()
    if stamps is None:
        stamps = stamp_files(images)
    for item in images:
        if isinstance(item, str | os.PathLike):
            path = os.fspath(item)
            digest.update(json.dumps([os.path.abspath(path), stamps.get(path)]).encode())
        else:
            load_image(item)
            digest.update(f"{item.mode} {item.size} {item.getpalette()} ".encode())
            digest.update(item.tobytes())
    return digest.hexdigest()


def identify_files(paths: Iterable[Path]) -> dict[str, list]:
    """Say what files hold, by their names without the folder: their sizes and hashes."""
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


def identify_module(module: "torch.nn.Module") -> str:
    """Say which network this is: its class, its layers as they print, its weights."""
    torch = import_optional("torch", extra="timm")
    digest = hashlib.sha256()
    kind = type(module)
    digest.update(f"{kind.__module__}.{kind.__qualname__} {module!r}".encode())
    # The parts of an exported program print alike, and its graph is what tells them apart.
    digest.update(str(getattr(module, "code", "")).encode())
    for name, value in module.state_dict().items():
        digest.update(f"{name} {getattr(value, 'dtype', '')} {np.shape(value)}".encode())
        if hasattr(value, "detach"):
            # As bytes: numpy lacks some of torch's types.
            flat = value.detach().cpu().contiguous().flatten()
            digest.update(flat.view(torch.uint8).numpy() if flat.numel() else b"")
        else:
            digest.update(repr(value).encode())
    return digest.hexdigest()


def identify_network(network: "Network") -> dict[str, str] | None:
    """Say which network this is by what it holds and what it computes.

    None where that cannot be said: its output is random, or the fixed images are nothing for it.
    """
    try:
        known = {"module": identify_module(network.module), "output": _checksum(network)}
        again = _checksum(network)
    except Exception:
        # What is wrong with it shows when it runs on the images of the user.
        return None
    return known if known["output"] == again else None


def _checksum(network) -> str:
    """Return a hash of what a network makes of fixed images.

    On one thread of torch, and one image at a time: the last bits depend on both.
    """
    torch = import_optional("torch", extra="timm")
    digest = hashlib.sha256()
    generators = [network.device] if network.device.type == "cuda" else []
    # Not `one_torch_thread`, which leaves the setting of a second thread as it is: torch has
    # one for each.
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(generators):
            for image in _fixed_images(network.preparation.geometry):
                rows = network.features(image[None]).cpu().numpy()
                digest.update(f"{rows.shape}".encode())
                digest.update(np.ascontiguousarray(rows))
    finally:
        torch.set_num_threads(n_threads)
    return digest.hexdigest()


def _fixed_images(geometry) -> np.ndarray:
    """Make pixels of two images: noise, and large areas under weaker noise."""
    rng = np.random.default_rng(0)
    height, width, channels = geometry.shape
    noise = rng.random((2, height, width, channels))
    areas = rng.random((4, 4, channels))
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
    noise[1] = 0.2 * noise[1] + 0.8 * areas[rows][:, columns]
    if geometry.dtype == "uint8":
        noise *= 255
    return noise.astype(geometry.dtype)
