"""How a network wants its images: their geometry, and an image to its pixels.

What a network does to an image before it runs has two parts. The first, from the file to
8-bit pixels of a fixed size, takes nearly all of the time and is the same for most networks.
The second, scaling by mean and standard deviation, is arithmetic that any device does in
passing. Here is the first; `_network` does the second.
"""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._utils.optional import import_optional
from ._images import BadImageError, check_n_pixels, item_of, name_image, read_image

if TYPE_CHECKING:
    from PIL.Image import Image

_MODES = {1: "L", 3: "RGB"}


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
            self.scaling: tuple[tuple[float, ...], tuple[float, ...]] | None = (
                _floats(steps[-1].mean),
                _floats(steps[-1].std),
            )
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
        """Return the size of the largest image that the resizing of an image makes.

        By "center", the default, the image keeps its proportions and covers what is cropped
        from it. Pillow resizes all rows to the new width before it changes their number.
        """
        new_width, new_height = self._scaled
        if self._crop_mode not in ("squash", "border"):
            scale = max(new_width / width, new_height / height)
            new_width, new_height = round(scale * width), round(scale * height)
        return new_width, max(new_height, height)

    def blank(self, n_images: int) -> np.ndarray:
        """Return the pixels of black images."""
        return np.zeros((n_images, *self.geometry.shape), dtype=self.geometry.dtype)


def pixels_of(images: Any, index: int, preparation: Preparation) -> np.ndarray:
    """Read one image and bring it to its size; an error names it."""
    image = read_image(images, index, preparation.mode)
    try:
        return preparation.pixels(image)
    except MemoryError:
        raise
    except Exception as exc:
        raise BadImageError(
            f"X[{index}]: {name_image(item_of(images, index))}, of size {image.size}, cannot be "
            f"brought to {preparation.geometry.shape[:2]} ({type(exc).__name__}: {exc})."
        ) from exc


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
