"""Features on disk, under a key of all that made them.

An entry is one file, written under another name and then renamed: it is there as a whole or
not at all, however the process ends, and of two processes that write it the last one wins.
Nothing in it is unpickled.
"""

import json
import os
import time
import uuid
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from .._utils.stacklevel import find_stack_level
from ._identity import key_of

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
        self._warned: set[str] = set()

    def path(self, identity: Mapping[str, Any]) -> Path:
        """Return the file of the features of `identity`, which JSON can hold."""
        return self.folder / f"{key_of(identity)}.npz"

    def holds(self, identity: Mapping[str, Any]) -> bool:
        """Whether there is an entry, be it good or not; False where the folder is closed."""
        return os.path.exists(self.path(identity))

    def load(
        self,
        identity: Mapping[str, Any],
        check: Callable[[np.ndarray, dict[str, Any]], None] | None = None,
    ) -> tuple[np.ndarray, dict[str, Any]] | None:
        """Return the features and facts that were saved, or None; warn of a damaged file.

        `check` is called with them, and raises an exception where they do not fit.
        """
        path = self.path(identity)
        try:
            # A zip archive has a checksum of every part, which reading compares.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as entry:
                features, facts = entry["features"], json.loads(str(entry["facts"]))
            if features.dtype != np.float32 or list(features.shape) != facts["shape"]:
                raise ValueError(f"it holds {features.dtype} features of shape {features.shape}")
            if facts["key"] != path.stem:
                raise ValueError("it was written under another name")
            if check is not None:
                check(features, facts)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as exc:
            self._warn_once(
                "read",
                f"the cached features in {os.fspath(path)!r} cannot be read ({exc}) and are "
                "extracted again, as are others for which that is so.",
            )
            return None
        except Exception as exc:
            # What a damaged file makes of its reader may be almost any error.
            warnings.warn(
                f"the cached features in {os.fspath(path)!r} are damaged "
                f"({type(exc).__name__}: {exc}) and are extracted again.",
                UserWarning,
                stacklevel=find_stack_level(),
            )
            return None
        return features, facts

    def save(
        self, identity: Mapping[str, Any], features: np.ndarray, facts: Mapping[str, Any]
    ) -> None:
        """Keep features, with facts about them that JSON can hold; warn where that fails."""
        try:
            self._save(identity, features, facts)
        except (OSError, MemoryError) as exc:
            self._warn_once(
                "save", f"the features cannot be kept in {os.fspath(self.folder)!r}: {exc}"
            )

    def _save(self, identity, features, facts) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._remove_abandoned()
        facts = json.dumps({**facts, "shape": features.shape, "key": key_of(identity)})
        # Not by tempfile, whose files nobody else may read.
        temporary = self.folder / f"unfinished-{uuid.uuid4().hex}"
        try:
            with temporary.open("xb") as file:
                np.savez(file, features=features, facts=np.array(facts))
                file.flush()
                # The name must not reach the disk before what it stands for.
                os.fsync(file.fileno())
            os.replace(temporary, self.path(identity))
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise

    def _remove_abandoned(self) -> None:
        """Remove what killed processes left behind."""
        for left in self.folder.glob("unfinished-*"):
            # Another process may do the same at this moment; others may own it; and it may be
            # a folder.
            with suppress(OSError):
                if time.time() - left.stat().st_mtime > _ABANDONED:
                    left.unlink()

    def _warn_once(self, what: str, message: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            warnings.warn(message, UserWarning, stacklevel=find_stack_level())
