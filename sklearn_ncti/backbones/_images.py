"""Turn what a user calls images into PIL images, one by one.

Nothing is decoded before it is needed, and nothing doubtful is guessed: an input that could
be read in two ways, or that is no image at all, is refused with a message that says what to
do instead.
"""

import io
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from .._utils.arrays import to_host
from .._utils.optional import import_optional

if TYPE_CHECKING:
    from PIL.Image import Image

_CHANNELS = (1, 3, 4)
_WHAT_IMAGES_ARE = (
    "images are an array of shape (n, height, width) or (n, height, width, 1, 3 or 4), "
    "or a list of file paths, PIL images, arrays and encoded images (bytes)"
)

# The raster formats that Pillow decodes within the process. Left out are EPS, which starts
# Ghostscript, and IPTC, which may hold EPS; WMF, which is no raster; BUFR, GRIB and HDF5, which
# have no decoder, and MPEG, of which only the size is read.
FORMATS = (
    *("AVIF", "BLP", "BMP", "CUR", "DCX", "DDS", "DIB", "FITS", "FLI", "FPX", "FTEX", "GBR"),
    *("GIF", "ICNS", "ICO", "IM", "IMT", "JPEG", "JPEG2000", "MCIDAS", "MIC", "MPO", "MSP"),
    *("PCD", "PCX", "PIXAR", "PNG", "PPM", "PSD", "QOI", "SGI", "SPIDER", "SUN", "TGA", "TIFF"),
    *("WEBP", "XBM", "XPM", "XVTHUMB"),
)

# An image that PIL has opened but not yet read shares its file position between all who read
# it, and the same image may stand in a list twice.
_LOAD_LOCK = Lock()


class BadImageError(ValueError):
    """One image among many cannot be read; the message names it."""


def check_images(X: Any) -> np.ndarray | list:
    """Check that `X` holds images, without decoding any of them.

    Parameters
    ----------
    X : ndarray of shape (n, h, w) or (n, h, w, channels), tensor of shape (n, channels, h, w), \
            or sequence of path, PIL image, array, tensor or bytes
        The images. Arrays are ``uint8``, or floating with values in [0, 1]; channels are
        1, 3 or 4. Bytes are encoded images.

    Returns
    -------
    images : ndarray or list
        `X` itself if it is an array of pixels, a view of it if it is a tensor on the CPU,
        otherwise a list of its items. `X` is not copied and not changed.

    Raises
    ------
    TypeError
        If `X` or one of its items is of a type that holds no images.
    ValueError
        If the shape, the dtype or the values are not those of images, if there are none, or
        if a file is missing.
    """
    if _is_torch_tensor(X):
        X = _as_array(X)
    if isinstance(X, np.ndarray) and X.dtype.kind not in "OUT":
        _check_pixels(X)
        return X
    items = _as_list(X)
    if not items:
        raise ValueError("X holds no images: at least one is needed.")
    for index, item in enumerate(items):
        check_item(index, item)
    return items


def read_image(images: Any, index: int, mode: str) -> "Image":
    """Read one image as a PIL image of a given mode.

    Parameters
    ----------
    images : ndarray, list or ImageSource
        What `as_images` returned.

    index : int
        The place of the image.

    mode : {"RGB", "L"}
        The colour mode to convert to.

    Returns
    -------
    image : PIL.Image.Image
        An image of its own: to change it changes nothing in `images`.

    Raises
    ------
    BadImageError
        If the image cannot be read or cannot be converted; the message names it.
    """
    item: Any = None
    try:
        item = item_of(images, index)
        if isinstance(images, np.ndarray):
            return _convert(_from_pixels(item), mode)
        if _is_path(item):
            with open(item, "rb") as file:
                return _convert(_open(file, os.fspath(item)), mode)
        return _convert(_opened(item), mode)
    except MemoryError:
        raise
    except Exception as exc:
        # Decoders answer broken files with errors of almost any class. What is wrong is the
        # image in every case, and only its name helps to find it among thousands.
        raise BadImageError(
            f"X[{index}]: {name_image(item)} cannot be read as an image "
            f"({type(exc).__name__}: {exc}). Mend it, or leave it out; "
            "on_bad_image='skip' does that."
        ) from exc


def item_of(images: Any, index: int) -> Any:
    """Return one of the images as they are held: encoded, if those of a data set are."""
    return images.raw(index) if hasattr(images, "raw") else images[index]


def image_of(item: Any) -> Any:
    """Return an item of a list of images, decoded if it is an encoded image."""
    return _opened(item) if _encoded(item) is not None else item


def n_bytes(item: Any) -> int:
    """Return the memory that an item of a list of images takes; PIL images are loaded."""
    if _is_pil_image(item):
        load_image(item)
        return item.width * item.height * len(item.getbands())
    return 0 if _is_path(item) else getattr(item, "nbytes", None) or len(_encoded(item) or b"")


def is_image_item(item: Any) -> bool:
    """Return whether an item of a sequence is one image, as far as its type says."""
    is_array = isinstance(item, np.ndarray) or _is_torch_tensor(item)
    return is_array or _is_path(item) or _is_pil_image(item) or _is_encoded(item)


def as_pixels(item: Any) -> np.ndarray | None:
    """Return an array or tensor as pixels with their channels last; None for other items."""
    if isinstance(item, np.ndarray):
        return item
    return _as_array(item[None])[0] if _is_torch_tensor(item) else None


def _is_encoded(item: Any) -> bool:
    """Return whether this is a file's content, or a dict that Hugging Face has for an image."""
    if isinstance(item, Mapping):
        return set(item) == {"bytes", "path"}
    return isinstance(item, bytes | bytearray | memoryview)


def _encoded(item: Any) -> bytes | None:
    """Return the content of an image file that an item holds or names; None if it does not."""
    if not _is_encoded(item):
        return None
    if not isinstance(item, Mapping):
        return bytes(item)
    if item["bytes"] is not None:
        return bytes(item["bytes"])
    with open(item["path"], "rb") as file:
        return file.read()


def _opened(item: Any) -> "Image":
    """Return a PIL image of an item that is no path."""
    if _is_pil_image(item):
        load_image(item)
        return item
    content = _encoded(item)
    if content is not None:
        image = _open(io.BytesIO(content), "")
        load_image(image)
        return image
    pixels = as_pixels(item)
    if pixels is None:
        raise TypeError(_wrong_type(item))
    _check_values(_with_channels(pixels)[None], "it")
    return _from_pixels(pixels)


def _from_pixels(pixels: np.ndarray) -> "Image":
    return import_optional("PIL.Image", extra="timm").fromarray(_as_uint8(pixels))


def _as_array(images: Any) -> np.ndarray:
    """Return a tensor of images as an array with the channels last, a view where it can be one."""
    shape = tuple(images.shape)
    if len(shape) == 4 and shape[1] not in _CHANNELS:
        raise ValueError(
            f"X is a tensor of shape {shape}; tensors of images have shape (n, channels, height, "
            "width) with 1, 3 or 4 channels. Use X.permute(0, 3, 1, 2) if they are last."
        )
    if len(shape) == 4 and shape[3] in _CHANNELS and shape[2] not in _CHANNELS:
        raise ValueError(
            f"X is a tensor of shape {shape}: images that are {shape[3]} pixels wide, or channels "
            "in the last place? Use X.permute(0, 3, 1, 2) if they are last, or give an array."
        )
    if len(shape) == 3 and shape[0] in _CHANNELS:
        raise ValueError(
            f"X is a tensor of shape {shape}, which looks like one image with {shape[0]} "
            "channels. For one image use X[None]; for grey images use X[:, None]."
        )
    values = to_host(images)
    return values.transpose(0, 2, 3, 1) if len(shape) == 4 else values


def name_image(item: Any) -> str:
    """Name an item of a list of images for a message."""
    return f"the file {os.fspath(item)!r}" if _is_path(item) else "this image"


def check_n_pixels(width: int, height: int) -> None:
    """Check that an image of some size is within the bound, before memory is taken for it.

    The bound is where Pillow itself refuses to open an image: twice its ``MAX_IMAGE_PIXELS``.
    Without that (None) there is no bound.

    Parameters
    ----------
    width, height : int
        The size of the image as its file declares it, or as it is resized.

    Raises
    ------
    ValueError
        If the image has more pixels than the bound.
    """
    limit = import_optional("PIL.Image", extra="timm").MAX_IMAGE_PIXELS
    if limit is not None and width * height > 2 * limit:
        raise ValueError(
            f"{width} x {height} pixels are more than {2 * limit}, twice "
            "PIL.Image.MAX_IMAGE_PIXELS; raise that for images that you trust"
        )


def load_image(image: "Image") -> None:
    """Read the pixels of an image that PIL has opened, if that is still to be done."""
    with _LOAD_LOCK:
        image.load()


def _open(file: BinaryIO, name: str | bytes) -> "Image":
    """Identify an image file, as `PIL.Image.open` does, in the formats that are read here.

    `PIL.Image.open` warns of images of more than ``MAX_IMAGE_PIXELS``. Filters of warnings
    belong to the process, not to a thread: whether the image is read would depend on them.
    """
    pil = import_optional("PIL.Image", extra="timm")
    # In this order the usual formats are tried first.
    pil.preinit()
    pil.init()
    start = file.read(16)
    reasons = []
    for name_of_format in pil.ID:
        make, accepts = pil.OPEN[name_of_format]
        accepted = accepts is None or accepts(start)
        if accepted and not _is_read(name_of_format, make):
            accepted = f"{name_of_format} is not read" if accepts else False
        if isinstance(accepted, str):
            # Pillow gives a text as well, where it was built without the decoder.
            reasons.append(accepted)
        elif accepted:
            file.seek(0)
            try:
                image = make(file, name)
            except (SyntaxError, IndexError, TypeError, struct.error):
                # This is how Pillow's formats say that a file is none of theirs.
                continue
            check_n_pixels(*image.size)
            return image
    raise import_optional("PIL", extra="timm").UnidentifiedImageError(
        "; ".join(reasons or ["it is in none of the formats that are read"])
        + f". Read are {', '.join(filter(pil.OPEN.__contains__, FORMATS))}"
    )


def _is_read(name_of_format: str, make: Callable) -> bool:
    """Whether a format is one of ours, or was registered by the user's own plugin."""
    return name_of_format in FORMATS or not getattr(make, "__module__", "").startswith("PIL.")


def _is_path(item: Any) -> bool:
    return isinstance(item, str | os.PathLike)


def _is_torch_tensor(item: Any) -> bool:
    # By name, so that nothing needs torch to answer the question.
    return any(f"{c.__module__}.{c.__qualname__}" == "torch.Tensor" for c in type(item).__mro__)


def _is_pil_image(item: Any) -> bool:
    # By name, so that a list of paths is checked where PIL is not installed.
    return any(c.__module__ == "PIL.Image" and c.__name__ == "Image" for c in type(item).__mro__)


def _as_list(X: Any) -> list:
    """List the items of a sequence of paths and PIL images."""
    if _is_path(X):
        raise TypeError(
            f"X is a single path, {os.fspath(X)!r}. Give a list of file paths; those of a "
            "folder come from sklearn_ncti.datasets.load_image_folder."
        )
    if _is_pil_image(X):
        raise TypeError("X is a single PIL image. Give a list of images: [image].")
    if hasattr(X, "columns") or (hasattr(X, "tocsr") and hasattr(X, "nnz")):
        raise ValueError(
            f"X is a {type(X).__name__} of shape {X.shape}, which looks like a feature matrix; "
            f"{_WHAT_IMAGES_ARE}. Of a table of paths, give the column that holds them."
        )
    if isinstance(X, np.ndarray) and X.ndim != 1:
        raise ValueError(
            f"X is an array of dtype {X.dtype} and shape {X.shape}. File paths and PIL images "
            "come in one dimension; arrays of pixels need a numeric dtype."
        )
    # Series of pandas and polars have to_list; that of numpy is called tolist.
    to_list = getattr(X, "to_list", None) or (X.tolist if isinstance(X, np.ndarray) else None)
    if to_list is not None:
        return to_list()
    if not isinstance(X, Sequence) or isinstance(X, bytes | bytearray | memoryview):
        raise TypeError(f"X is of type {type(X).__name__}; {_WHAT_IMAGES_ARE}.")
    return list(X)


def check_item(index: int, item: Any) -> None:
    """Check that an item of a sequence is an image, without decoding it.

    Raises
    ------
    TypeError
        If it is of a type that holds no image.
    ValueError
        If it is a path that leads to no file, or an image without pixels or of other values.
    """
    if isinstance(item, Mapping) and _is_encoded(item):
        item = item["path"] if item["bytes"] is None else item["bytes"]
    if _is_path(item):
        path = os.fspath(item)
        if os.path.isfile(path):
            return
        if os.path.isdir(path):
            raise ValueError(
                f"X[{index}]: {path!r} is a folder. Give the files in it; "
                "sklearn_ncti.datasets.load_image_folder lists them."
            )
        if os.path.exists(path):
            raise ValueError(
                f"X[{index}]: {path!r} is neither a file nor a folder, but a named pipe, a socket "
                "or a device. Give image files only."
            )
        if os.path.islink(path):
            raise ValueError(
                f"X[{index}]: {path!r} is a broken link: there is no file "
                f"{os.readlink(path)!r}. Mend the link, or leave it out."
            )
        raise ValueError(
            f"X[{index}]: there is no file {path!r}. "
            "Relative paths are looked up from the current folder."
        )
    if _is_pil_image(item):
        if 0 in item.size:
            raise ValueError(f"X[{index}]: the image is of size {item.size}, without any pixel.")
        return
    if _is_encoded(item):
        if not len(item):
            raise ValueError(f"X[{index}]: the bytes of the image are empty.")
        return
    pixels = as_pixels(item)
    if pixels is None:
        raise TypeError(f"X[{index}] {_wrong_type(item)}")
    _check_values(_with_channels(pixels, f"X[{index}]")[None], f"X[{index}]")


def _wrong_type(item: Any) -> str:
    return (
        f"is of type {type(item).__name__}; the items of a sequence of images are file paths, "
        "PIL images, arrays of pixels, tensors and encoded images (bytes)."
    )


def _with_channels(pixels: np.ndarray, name: str = "it") -> np.ndarray:
    """Return the pixels of one image as (height, width, channels), or say what is wrong."""
    if pixels.ndim == 2:
        return pixels[..., None]
    if pixels.ndim == 3 and pixels.shape[2] in _CHANNELS:
        return pixels
    hint = ""
    if pixels.ndim == 3 and pixels.shape[0] in _CHANNELS:
        hint = " It looks like the order (channels, height, width): use transpose(1, 2, 0)."
    raise ValueError(
        f"{name} is an array of shape {pixels.shape}; one image has shape (height, width) or "
        f"(height, width, 1, 3 or 4).{hint}"
    )


def _check_pixels(X: np.ndarray) -> None:
    """Check shape, dtype and range of an array of pixels."""
    if X.ndim == 2:
        raise ValueError(
            f"X is a matrix of shape {X.shape}, which looks like a feature matrix; "
            f"{_WHAT_IMAGES_ARE}. One grey image is X[None]; for features that are already "
            "there no backbone is needed."
        )
    if X.ndim not in (3, 4):
        raise ValueError(f"X is an array of shape {X.shape}; {_WHAT_IMAGES_ARE}.")
    if X.ndim == 4 and X.shape[3] not in _CHANNELS:
        hint = ""
        if X.shape[1] in _CHANNELS:
            hint = (
                " It looks like the order (n, channels, height, width): "
                "use X.transpose(0, 2, 3, 1)."
            )
        raise ValueError(
            f"X is an array of shape {X.shape}, with {X.shape[3]} channels in the last place; "
            f"{_WHAT_IMAGES_ARE}.{hint}"
        )
    if X.ndim == 3 and X.shape[2] in _CHANNELS and X.shape[0] > 0:
        # One colour image and a batch of very narrow grey ones look the same.
        raise ValueError(
            f"X is an array of shape {X.shape}, which looks like one image with "
            f"{X.shape[2]} channels; {_WHAT_IMAGES_ARE}. For one image use X[None]; for grey "
            f"images that are {X.shape[2]} pixels wide use X[..., None]."
        )
    if X.shape[0] == 0:
        raise ValueError(f"X, of shape {X.shape}, holds no images: at least one is needed.")
    _check_values(X, "X")


def _check_values(X: np.ndarray, name: str) -> None:
    """Check dtype and range of an array of pixels, which messages call by a name."""
    if X.size == 0:
        raise ValueError(f"{name}, of shape {X.shape}, holds images without any pixel.")
    if X.dtype == np.uint8:
        return
    if X.dtype.kind != "f":
        remedy = (
            "Use X.astype('float32')."
            if X.dtype.kind == "b"
            else "Use X.astype('uint8') if the values lie in 0..255, or divide by the largest "
            "possible value."
        )
        raise ValueError(
            f"{name} has dtype {X.dtype}; arrays of images are uint8 (0 to 255) or floating (0 to "
            f"1). {remedy}"
        )
    # Both are NaN if any value is, so that no mask as large as X is needed.
    low, high = float(X.min()), float(X.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(
            f"{name} holds NaN or infinite values; pixels of floating images lie in [0, 1]. "
            "Replace these values or leave out their images."
        )
    if low < 0 or high > 1:
        raise ValueError(
            f"{name} has floating values from {low:g} to {high:g}; pixels of floating images lie "
            "in [0, 1]. Divide values in 0..255 by 255, and undo a normalisation: the backbone "
            "applies its own."
        )


def _as_uint8(pixels: np.ndarray) -> np.ndarray:
    """Return one image of an array as uint8, without a last axis of one channel."""
    if pixels.dtype != np.uint8:
        wide = pixels.astype(np.result_type(pixels.dtype, np.float32), copy=False)
        pixels = np.rint(wide * 255).astype(np.uint8)
    return pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels


def _convert(image: "Image", mode: str) -> "Image":
    """Convert as PIL does, save for the modes whose range PIL would cut off."""
    pil = import_optional("PIL.Image", extra="timm")
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(
                f"its integers run from {values.min()} to {values.max()}; "
                "16-bit grey lies in 0..65535"
            )
        # 257 = 65535 / 255 takes white to white; PIL would cut everything above 255 off.
        image = pil.fromarray(((values + 128) // 257).astype(np.uint8))
    elif image.mode == "F":
        values = np.asarray(image)
        # Written so that NaN fails it too.
        if not (values.min() >= 0 and values.max() <= 1):
            raise ValueError(
                f"its floats run from {values.min():g} to {values.max():g}; "
                "those of an image lie in [0, 1]"
            )
        image = pil.fromarray(_as_uint8(values))
    elif image.mode == "P" and "transparency" in image.info:
        # The colours stay what they are, and PIL has nothing to warn about on this way.
        image = image.convert("RGBA")
    return image.convert(mode)
