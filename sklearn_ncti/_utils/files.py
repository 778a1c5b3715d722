"""Files that are written as a whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4


def real_path(path: str | os.PathLike[str]) -> Path:
    """Return the path without links, so that writing replaces the file and not the link."""
    return Path(os.path.realpath(path))


@contextmanager
def temporary_file(folder: Path) -> Iterator[BinaryIO]:
    """Open a new file in a folder. It is removed at the end unless it was renamed."""
    path = folder / f".unfinished-{uuid4().hex}"
    try:
        with path.open("xb") as file:
            yield file
    finally:
        path.unlink(missing_ok=True)


def write_file(path: str | os.PathLike[str], data: bytes, *, overwrite: bool) -> None:
    """Write a whole file or nothing. An older file stays until the new one is complete.

    Parameters
    ----------
    path : str or path
        The file.

    data : bytes
        Its content.

    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    FileExistsError
        If the file exists and may not be replaced.
    """
    target = real_path(path)
    if target.exists() and not target.is_file():
        # A device or a pipe must stay one, and has no content to lose.
        target.write_bytes(data)
        return
    with temporary_file(target.parent) as file:
        file.write(data)
        file.flush()
        # After a crash, the name must not lead to a file whose data never reached the disk.
        os.fsync(file.fileno())
        file.close()
        if overwrite and target.exists():
            shutil.copymode(target, file.name)
        elif not overwrite:
            # This fails if the file was made by someone else since the check.
            target.touch(exist_ok=False)
        os.replace(file.name, target)
