"""Beside floors 1-3: features on disk, under a key of all that made them.

An entry is one file, written under another name and then renamed: it is there as a whole or
not at all, however the process ends, and of two processes that write it the last one wins.
Nothing in it is unpickled.
"""

import hashlib
import json
import os
import tempfile
import time
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._optional import import_optional
from ._images import load_image

if TYPE_CHECKING:
    import torch

# Goes up when a change of this package changes features or the files that hold them.
_FORMAT = 1

# Seconds after which an unfinished file belongs to a process that was killed: to write one
# takes moments.
_ABANDONED = 3600.0


class FeatureStore:
    """Features in a folder.

    Parameters
    ----------
    folder : path
        Where they lie; made when the first are saved.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = Path(folder)

    def path(self, identity: Mapping[str, Any]) -> Path:
        """Where the features of `identity`, which JSON can hold, are kept."""
        text = json.dumps({"format": _FORMAT, **identity}, sort_keys=True)
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()}.npz"

    def load(self, identity: Mapping[str, Any]) -> tuple[np.ndarray, dict[str, Any]] | None:
        """Return the features and facts that were saved, or None; warn of a damaged file."""
        path = self.path(identity)
        if not path.exists():
            return None
        try:
            # A zip archive has a checksum of every part, which reading compares.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as entry:
                features, facts = entry["features"], json.loads(str(entry["facts"]))
            if features.dtype != np.float32 or list(features.shape) != facts["shape"]:
                raise ValueError(f"it holds {features.dtype} features of shape {features.shape}")
        except Exception as exc:
            # What a damaged file makes of its reader may be almost any error.
            warnings.warn(
                f"the features kept in {os.fspath(path)!r} are damaged "
                f"({type(exc).__name__}: {exc}) and are made anew.",
                UserWarning,
                stacklevel=2,
            )
            return None
        return features, facts

    def save(
        self, identity: Mapping[str, Any], features: np.ndarray, facts: Mapping[str, Any]
    ) -> None:
        """Keep features, with facts about them that JSON can hold."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._remove_abandoned()
        facts = json.dumps({**facts, "shape": features.shape})
        handle, temporary = tempfile.mkstemp(prefix="unfinished-", dir=self.folder)
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, features=features, facts=np.array(facts))
                file.flush()
                # The name must not reach the disk before what it stands for.
                os.fsync(file.fileno())
            os.replace(temporary, self.path(identity))
        except BaseException:
            os.unlink(temporary)
            raise

    def _remove_abandoned(self) -> None:
        """Remove what killed processes left behind."""
        for left in self.folder.glob("unfinished-*"):
            # Another process may do the same at this moment.
            with suppress(FileNotFoundError):
                if time.time() - left.stat().st_mtime > _ABANDONED:
                    left.unlink()


def identify_images(images: np.ndarray | list) -> str:
    """Say which images these are: paths, sizes and times of files, pixels of the others."""
    digest = hashlib.sha256()
    if isinstance(images, np.ndarray):
        digest.update(f"{images.dtype} {images.shape}".encode())
        for image in images:
            digest.update(np.ascontiguousarray(image))
        return digest.hexdigest()
    for item in images:
        if isinstance(item, str | os.PathLike):
            stat = os.stat(item)
            digest.update(
                json.dumps(
                    [os.path.abspath(os.fspath(item)), stat.st_size, stat.st_mtime_ns]
                ).encode()
            )
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
