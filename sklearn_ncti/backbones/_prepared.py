"""Images decoded to pixels once, and shared by all networks of one input geometry."""

import math
import mmap
import os
import tempfile
import time
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from ._images import BadImageError
from ._preparation import Preparation, pixels_of

if TYPE_CHECKING:
    pass

# Images that are decoded ahead of the network while they are kept for others.
_CHUNK = 64


class PreparedImages:
    """Images as pixels of one geometry, each decoded when it is first needed and then kept.

    Several networks, one after the other or in threads of their own, walk over the same
    images. The first that needs a part decodes it; threads decode the next part meanwhile.

    Parameters
    ----------
    images : ndarray, list or ImageSource
        What `as_images` returned.

    preparation : Preparation
        That of any of the networks; they have one geometry.

    num_workers : int or None
        Threads that decode, as for the backbones.

    on_bad_image : {"raise", "skip"}
        How to handle unreadable images.

    budget : int
        Bytes that are kept in memory. More lie in a temporary file, which has no name any
        longer once it is open: it goes with the process, however that ends.

    Attributes
    ----------
    geometry : Geometry
        Of all pixels.

    unreadable : dict of int to str
        Places of the images that could not be read so far, and why. Their pixels are 0.
    """

    def __init__(
        self,
        images: Any,
        preparation: Preparation,
        *,
        num_workers: int | None,
        on_bad_image: str,
        budget: int,
    ) -> None:
        self.geometry = preparation.geometry
        self.unreadable: dict[int, str] = {}
        self._n_images = len(images)
        self._budget = budget
        # What decodes, once it is known where to.
        self._start = partial(
            decode,
            images,
            preparation,
            _CHUNK,
            num_workers=num_workers,
            unreadable=self.unreadable if on_bad_image == "skip" else None,
        )
        self._pixels: Any = None
        self._source: Generator[np.ndarray, None, None] | None = None
        self._done = 0
        self._error: Exception | None = None
        self._lock = Lock()

    def __len__(self) -> int:
        return self._n_images

    @property
    def nbytes(self) -> int:
        """Bytes of all pixels."""
        return len(self) * math.prod(self.geometry.shape) * np.dtype(self.geometry.dtype).itemsize

    def batches(self, size: int) -> Generator[np.ndarray, None, None]:
        """Yield the pixels in parts of `size` rows, which must not be written to."""
        for start in range(0, len(self), size):
            stop = min(start + size, len(self))
            self._decode_up_to(stop)
            yield self._pixels[start:stop]

    def complete(self) -> "PreparedImages":
        """Decode what is left."""
        self._decode_up_to(len(self))
        return self

    def close(self) -> None:
        """Stop decoding; the memory goes with the object."""
        with self._lock:
            if self._source is not None:
                self._source.close()

    def _decode_up_to(self, stop: int) -> None:
        with self._lock:
            while self._done < stop:
                if self._error is not None:
                    raise self._error
                try:
                    if self._source is None:
                        # Not before: if all features are cached, no image is needed.
                        self._pixels = self._allocate()
                        self._source = self._start(out=self._pixels)
                    self._done += len(next(self._source))
                    if self._done == len(self):
                        # Its threads have nothing left to do.
                        self._source.close()
                except Exception as exc:
                    # The source is finished by it, and the others must hear of it as well.
                    self._error = exc
                    raise

    def _allocate(self) -> np.ndarray:
        """Return an array in memory, or in a file without a name if it exceeds the budget."""
        shape = (len(self), *self.geometry.shape)
        if self.nbytes <= self._budget:
            return np.empty(shape, dtype=self.geometry.dtype)
        try:
            with tempfile.TemporaryFile(prefix="sklearn_ncti-") as file:
                if hasattr(os, "posix_fallocate"):
                    # A full disk is an error here, and a killed process when pages are written.
                    os.posix_fallocate(file.fileno(), 0, self.nbytes)
                else:
                    file.truncate(self.nbytes)
                mapped = mmap.mmap(file.fileno(), self.nbytes)
        except OSError as exc:
            raise OSError(
                exc.errno,
                f"the prepared images take {self.nbytes / 2**30:.1f} GiB, and the folder for "
                f"temporary files, {tempfile.gettempdir()!r}, has no room for them "
                f"({exc.strerror}). Name another with the environment variable TMPDIR, or keep "
                "more in memory with "
                f"sklearn.set_config(working_memory={-(-self.nbytes // 2**20)})",
            ) from exc
        return np.frombuffer(mapped, dtype=self.geometry.dtype).reshape(shape)

    def __getstate__(self) -> dict:
        # For worker processes; joblib hands the array over as a file that they map.
        left_behind = dict.fromkeys(["_start", "_source", "_lock"])
        return {**self.complete().__dict__, **left_behind}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state, _lock=Lock())


def default_workers() -> int:
    """Return the number of threads that read images if nothing else is asked for."""
    return min(os.cpu_count() or 1, 8)


def decode(
    images: Any,
    preparation: Preparation,
    size: int,
    *,
    num_workers: int | None,
    unreadable: dict[int, str] | None,
    out: np.ndarray | None = None,
) -> Generator[np.ndarray, None, None]:
    """Yield the pixels of images in batches; threads make the next during the current one.

    Parameters
    ----------
    images : ndarray, list or ImageSource
        What `as_images` returned.

    preparation : Preparation
        What makes pixels of an image.

    size : int
        Images of a batch.

    num_workers : int or None
        Threads; None for one for each CPU, at most 8; 0 to work in the calling thread.

    unreadable : dict of int to str or None
        Gets the place of each image that cannot be read, and the reason; its pixels are 0.
        None to raise instead.

    out : ndarray, default=None
        Where all pixels are kept; None to forget those of a batch after it.

    Yields
    ------
    pixels : ndarray of shape (batch, height, width, channels)
        The batches, in order.

    Raises
    ------
    BadImageError
        If an image cannot be read, the first of them, and `unreadable` is None.
    """
    geometry = preparation.geometry

    def fill(row: np.ndarray, index: int) -> str:
        try:
            row[...] = pixels_of(images, index, preparation)
        except BadImageError as exc:
            if unreadable is None:
                raise
            row[...] = 0
            return str(exc)
        return ""

    def note(start: int, outcomes: list[str]) -> None:
        if unreadable is not None:
            unreadable.update({start + i: reason for i, reason in enumerate(outcomes) if reason})

    def room(start: int) -> np.ndarray:
        stop = min(start + size, len(images))
        if out is not None:
            return out[start:stop]
        return np.empty((stop - start, *geometry.shape), dtype=geometry.dtype)

    if num_workers is None:
        num_workers = default_workers()
    starts = range(0, len(images), size)
    if num_workers == 0:
        for start in starts:
            batch = room(start)
            note(start, [fill(row, start + i) for i, row in enumerate(batch)])
            yield batch
        return
    pool = ThreadPoolExecutor(min(num_workers, len(images)))
    try:
        # At most two batches are held: the one that is given out and the one behind it.
        waiting: deque[tuple[int, np.ndarray, list[Future]]] = deque()
        for start in [*starts, None]:
            if start is not None:
                batch = room(start)
                futures = [pool.submit(fill, row, start + i) for i, row in enumerate(batch)]
                waiting.append((start, batch, futures))
            if len(waiting) == 2 or start is None:
                first, batch, futures = waiting.popleft()
                note(first, [future.result() for future in futures])
                yield batch
    finally:
        pool.shutdown(cancel_futures=True)


class Timed:
    """An iterator that adds up the seconds that its items took to come."""

    def __init__(self, items: Generator) -> None:
        self._items = items
        self.seconds = 0.0

    def __iter__(self) -> "Timed":
        return self

    def __next__(self) -> Any:
        start = time.perf_counter()
        try:
            return next(self._items)
        finally:
            self.seconds += time.perf_counter() - start

    def close(self) -> None:
        """Close what is iterated over: its threads would else stay at work."""
        self._items.close()
