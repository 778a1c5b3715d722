"""Images to pixels of one size, once for all networks of one geometry.

What a network does to an image before it runs has two parts. The first, from the file to
8-bit pixels of a fixed size, takes nearly all of the time and is the same for most networks.
The second, scaling by mean and standard deviation, is arithmetic that any device does in
passing. Here is the first; `_network` does the second.
"""

import math
import mmap
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._utils.optional import import_optional
from ._images import BadImageError, check_n_pixels, name_image, read_image

if TYPE_CHECKING:
    from PIL.Image import Image

_MODES = {1: "L", 3: "RGB"}

# Images that are decoded ahead of the network while they are kept for others.
_CHUNK = 64


class Geometry(NamedTuple):
    """What the pixels of a network depend on: networks of one geometry share them."""

    shape: tuple[int, int, int]
    dtype: str
    config: tuple


class Preparation:
    """How one network wants its images, in two parts.

    Parameters
    ----------
    config : dict
        The arguments of timm's ``create_transform``.

    Attributes
    ----------
    geometry : Geometry
        What the first part, `pixels`, depends on.

    mode : {"RGB", "L"}
        The colour mode that it takes.

    scaling : tuple of (tuple of float, tuple of float) or None
        The second part: mean and standard deviation of each channel, for values from 0 to 1.
        None where timm's transform cannot be taken apart; the pixels are then whole tensors.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        data = import_optional("timm.data", extra="timm")
        transforms = import_optional("torchvision.transforms", extra="timm")
        channels, height, width = config["input_size"]
        if channels not in _MODES:
            raise ValueError(
                f"the network takes images of {channels} channels; "
                "only 1 (grey) and 3 (RGB) can be prepared. Wrap it in one that does."
            )
        self.mode = _MODES[channels]
        self._crop_mode = config.get("crop_mode") or "center"
        crop_pct = config.get("crop_pct") or data.DEFAULT_CROP_PCT
        # What timm resizes an image to before it crops it: its own size for "squash".
        self._scaled = (math.floor(width / crop_pct), math.floor(height / crop_pct))
        # Always timm's own transform: what it makes of a configuration is never guessed.
        transform = data.create_transform(**config, is_training=False)
        steps = list(getattr(transform, "transforms", ()))
        known = {name: value for name, value in config.items() if name not in ("mean", "std")}
        if (
            len(steps) > 2
            and isinstance(steps[-2], transforms.ToTensor)
            and isinstance(steps[-1], transforms.Normalize)
        ):
            self.scaling = (_floats(steps[-1].mean), _floats(steps[-1].std))
            self._transform: Callable = transforms.Compose(steps[:-2])
            if config.get("crop_mode") == "border":
                # The colour of the border.
                known["mean"] = config["mean"]
        else:
            self.scaling = None
            self._transform = transform
            known = dict(config)
        self.geometry = Geometry(
            (int(height), int(width), int(channels)),
            "float32" if self.scaling is None else "uint8",
            tuple((name, _frozen(known[name])) for name in sorted(known)),
        )

    def pixels(self, image: "Image") -> np.ndarray:
        """Bring an image to the size of the network.

        Parameters
        ----------
        image : PIL.Image.Image
            An image of the mode `mode`.

        Returns
        -------
        pixels : ndarray of shape (height, width, channels)
            uint8, or float32 and scaled already where `scaling` is None.

        Raises
        ------
        ValueError
            If the image is so narrow that it would be resized to more pixels than the bound.
        """
        check_n_pixels(*self._resized(*image.size))
        made = self._transform(image)
        if self.scaling is None:
            return made.permute(1, 2, 0).numpy()
        pixels = np.asarray(made)
        return pixels[..., None] if pixels.ndim == 2 else pixels

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        """Give the size of the largest image that the resizing of an image makes.

        By "center", the default, the image keeps its proportions and covers what is cropped
        from it. Pillow resizes all rows to the new width before it changes their number.
        """
        new_width, new_height = self._scaled
        if self._crop_mode not in ("squash", "border"):
            scale = max(new_width / width, new_height / height)
            new_width, new_height = round(scale * width), round(scale * height)
        return new_width, max(new_height, height)

    def blank(self, n_images: int) -> np.ndarray:
        """Give the pixels of black images."""
        return np.zeros((n_images, *self.geometry.shape), dtype=self.geometry.dtype)


class PreparedImages:
    """Images as pixels of one geometry, each decoded when it is first needed and then kept.

    Several networks, one after the other or in threads of their own, walk over the same
    images. Whoever comes first to a part decodes it; threads decode the next part meanwhile.

    Parameters
    ----------
    images : ndarray or list
        What `check_images` returned.

    preparation : Preparation
        That of any of the networks; they have one geometry.

    num_workers : int or None
        Threads that decode, as for the backbones.

    on_bad_image : {"raise", "skip"}
        What becomes of an image that cannot be read.

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
        images: np.ndarray | list,
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
        self._pixels: np.ndarray | None = None
        self._source: Iterator[np.ndarray] | None = None
        self._done = 0
        self._error: Exception | None = None
        self._lock = Lock()

    def __len__(self) -> int:
        return self._n_images

    @property
    def nbytes(self) -> int:
        """Bytes of all pixels."""
        return len(self) * math.prod(self.geometry.shape) * np.dtype(self.geometry.dtype).itemsize

    def batches(self, size: int) -> Iterator[np.ndarray]:
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
                        # Not before: of features that are all kept nobody needs the images.
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
        """Give an array in memory, or in a file without a name if it is beyond the budget."""
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


def decode(
    images: np.ndarray | list,
    preparation: Preparation,
    size: int,
    *,
    num_workers: int | None,
    unreadable: dict[int, str] | None,
    out: np.ndarray | None = None,
) -> Iterator[np.ndarray]:
    """Yield the pixels of images in batches; threads make the next during the current one.

    Parameters
    ----------
    images : ndarray or list
        What `check_images` returned.

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
        num_workers = min(os.cpu_count() or 1, 8)
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


def pixels_of(images: np.ndarray | list, index: int, preparation: Preparation) -> np.ndarray:
    """Read one image and bring it to its size; an error names it."""
    image = read_image(images, index, preparation.mode)
    try:
        return preparation.pixels(image)
    except MemoryError:
        raise
    except Exception as exc:
        raise BadImageError(
            f"X[{index}]: {name_image(images[index])}, of size {image.size}, cannot be brought "
            f"to {preparation.geometry.shape[:2]} ({type(exc).__name__}: {exc})."
        ) from exc


class Timed:
    """An iterator that adds up the seconds that its items took to come."""

    def __init__(self, items: Iterator) -> None:
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


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
