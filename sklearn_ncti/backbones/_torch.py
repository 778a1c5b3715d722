"""Images to the features of any torch module."""

import math
import os
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sklearn.utils._param_validation import Interval, StrOptions

from ._base import BaseBackbone
from ._identity import identify_files
from ._trained import is_hugging_face, preparation_of, to_features

if TYPE_CHECKING:
    import torch

# How most networks were trained to have their images.
_DEFAULTS: dict[str, Any] = {
    "input_size": (3, 224, 224),
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "interpolation": "bicubic",
    "crop_pct": 0.875,
    "crop_mode": "center",
}


class TorchBackbone(BaseBackbone):
    """Images to the features of a torch module.

    The module returns features of shape (n, width), or (n, width, 1, 1). A network of timm or
    torchvision, or a Hugging Face vision model, may have its classification head: its copy
    then gives what goes into the head. Images must be prepared as the module was trained with: see
    the parameters from `input_size` to `crop_mode`. A network of timm and an image tower of
    open_clip say how themselves.

    Parameters
    ----------
    module : torch.nn.Module, callable, path or torch.export.ExportedProgram
        One of four:

        * a module. `fit` copies it, and neither changes nor runs the module itself;
        * a factory: a function or class that returns a new module when called without
          arguments;
        * the path of a ``.pt2`` file that `torch.export.save` wrote;
        * an exported program.

    input_size : tuple of 3 int, default=None
        Channels, height and width of the prepared images. The channels are 3 (RGB) or 1
        (grey). None is what the module says, or else (3, 224, 224).

    mean : tuple of float, default=None
        Mean of each channel, for values in [0, 1], which is subtracted. None is what the
        module says, or else that of ImageNet, (0.485, 0.456, 0.406).

    std : tuple of float, default=None
        Standard deviation of each channel, for values in [0, 1], by which it is divided. None
        is what the module says, or else that of ImageNet, (0.229, 0.224, 0.225).

    interpolation : {"nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"}, \
            default=None
        How images are resized. None is what the module says, or else "bicubic".

    crop_pct : float, default=None
        Share of the resized image's edge that the crop keeps, in (0, 1]. None is what the
        module says, or else 0.875.

    crop_mode : {"center", "squash", "border"}, default=None
        How images are brought to `input_size`: the centre is cut out, the image is first
        squashed to these proportions, or borders in the colour of `mean` are added. None is
        what the module says, or else "center".

    device : str or torch.device, default="auto"
        Device of the network. ``"auto"`` is a CUDA device if one is available, else Apple's
        ``"mps"``, else the CPU.

    batch_size : int, default=64
        Number of images that are prepared together, and the upper limit of those that go
        through the network at once. On the CPU they go through it in smaller parts, which is
        faster. If they do not fit into the memory of the device, a warning says how many do.

    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Precision of the network. ``"bfloat16"`` uses torch's autocast. ``"auto"`` is bfloat16
        on CUDA devices that support it, except for exported programs, and float32 elsewhere.

    num_workers : int, default=None
        Number of threads that read and prepare images. ``None`` is one for each CPU, at most
        8. 0 uses the calling thread.

    compile : bool, default=False
        Whether to call `torch.compile`. Compilation takes about a minute and pays off for
        large image sets. If it fails, a warning says why and the network runs uncompiled.

    on_bad_image : {"raise", "skip"}, default="raise"
        How to handle unreadable images. ``"raise"`` raises an error that names the first.
        ``"skip"`` continues: `transform` still returns one row per image, and the rows of
        unreadable images are NaN. In a :class:`~sklearn_ncti.ModelSelector` the selector's
        parameter of the same name is used instead.

    random_state : int, default=0
        Seed of weights that are not loaded: the random ones that a factory makes.

    verbose : int, default=0
        If 1 or more, show progress on the standard error stream: a bar on a terminal,
        occasional lines in a log.

    Attributes
    ----------
    n_features_out_ : int
        Number of features.

    See Also
    --------
    TimmBackbone : The same for a model of timm, which brings its own preparation of images.

    Notes
    -----
    A head is taken off where the last layer of the network is linear. To rank by what a network
    with its head gives, wrap it: ``torch.nn.Sequential(model)``.

    Images are converted to RGB, or to grey for a module with one input channel. 16-bit grey
    images are scaled to 8 bits. Transparency is dropped and the EXIF orientation is not
    applied, as in timm. Only the first frame of an animated image is used.

    A pickle does not contain the network that `fit` loads. It does contain a module or an
    exported program that was given as the parameter `module`: pickles are smaller with a
    factory or a path. Load ``.pt2`` files only from people whom you trust.

    Examples
    --------
    >>> import numpy as np
    >>> from torch import nn
    >>> from sklearn_ncti.backbones import TorchBackbone
    >>> def network():
    ...     return nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    >>> backbone = TorchBackbone(network, input_size=(3, 32, 32), crop_pct=1.0)
    >>> backbone.fit_transform(images).shape
    (4, 8)
    """

    _parameter_constraints: ClassVar[dict] = {
        # Checking them needs torch, or several parameters at once: see `_build`.
        "module": "no_validation",
        "input_size": "no_validation",
        "mean": "no_validation",
        "std": "no_validation",
        "interpolation": [
            StrOptions({"nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"}),
            None,
        ],
        "crop_pct": [Interval(Real, 0, 1, closed="right"), None],
        "crop_mode": [StrOptions({"center", "squash", "border"}), None],
        **BaseBackbone._parameter_constraints,
    }

    def __init__(
        self,
        module: "torch.nn.Module | Callable | str | os.PathLike | torch.export.ExportedProgram",
        *,
        input_size: tuple[int, int, int] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        interpolation: str | None = None,
        crop_pct: float | None = None,
        crop_mode: str | None = None,
        device: "str | torch.device" = "auto",
        batch_size: int = 64,
        precision: str = "auto",
        num_workers: int | None = None,
        compile: bool = False,
        on_bad_image: str = "raise",
        random_state: int = 0,
        verbose: int = 0,
    ) -> None:
        self.module = module
        self.input_size = input_size
        self.mean = mean
        self.std = std
        self.interpolation = interpolation
        self.crop_pct = crop_pct
        self.crop_mode = crop_mode
        self.device = device
        self.batch_size = batch_size
        self.precision = precision
        self.num_workers = num_workers
        self.compile = compile
        self.on_bad_image = on_bad_image
        self.random_state = random_state
        self.verbose = verbose

    def _build(
        self, device: "torch.device", outputs: tuple[str, ...]
    ) -> tuple["torch.nn.Module", dict[str, Any]]:
        # The configuration first: it is checked at once, and a large file is not read in vain.
        config = self._data_config()
        # Its file needs torch to be read.
        from ._modules import own_module

        module = own_module(self.module, device)
        self._check_prepared_so(module, config)
        return to_features(module), config

    def _weights_identity(self) -> dict[str, Any] | None:
        module = self.module
        if isinstance(module, str | os.PathLike):
            path = Path(module)
            return {"program": identify_files([path])[path.name]} if path.is_file() else None
        # Only what it computes tells what it is: its code may do more than its layers print.
        network = self._identified = self._build_network((self.output,))
        # Its file needs torch to be read.
        from ._network_identity import identify_network

        identity = identify_network(network)
        if identity is None:
            # What has run may have changed a network of that kind.
            del network
            self.release()
        return identity

    def _data_config(self) -> dict[str, Any]:
        """Check the parameters that say how images are prepared, and name them as timm does."""
        self._check_is_stated(self.module)
        return self._config_for(self.module)

    def _config_for(self, module: Any) -> dict[str, Any]:
        """Return what is given, what a module says, and for the rest the defaults."""
        given = {name: getattr(self, name) for name in _DEFAULTS}
        given = {name: value for name, value in given.items() if value is not None}
        known = {**_DEFAULTS, **preparation_of(module), **given}
        return self._checked_config(known)

    def _check_is_stated(self, module: Any) -> None:
        """Refuse a model of transformers whose preparation is not given."""
        if is_hugging_face(module) and any(
            getattr(self, name) is None for name in ("input_size", "mean", "std")
        ):
            raise ValueError(
                f"module: a {type(module).__name__} does not say how its images are prepared, but "
                "its image processor does. Give TorchBackbone(model, input_size=(3, height, "
                "width), mean=processor.image_mean, std=processor.image_std) with processor = "
                "transformers.AutoImageProcessor.from_pretrained(name)."
            )

    def _check_prepared_so(self, made: "torch.nn.Module", config: dict[str, Any]) -> None:
        """Refuse a module of a factory that says something else than what was assumed of it."""
        self._check_is_stated(made)
        stated = self._config_for(made)
        other = [f"{name}={value!r}" for name, value in stated.items() if value != config[name]]
        if other:
            name = getattr(self.module, "__name__", type(self.module).__name__)
            raise ValueError(
                f"module: {name} makes a {type(made).__name__} that was trained with "
                f"{', '.join(other)}. Give these parameters to TorchBackbone, or the network "
                "itself."
            )

    def _checked_config(self, config: dict[str, Any]) -> dict[str, Any]:
        """Return arguments of `create_transform` in one form, or say what is wrong."""
        size: Any = config["input_size"]
        mean, std = config["mean"], config["std"]
        if (
            not isinstance(size, tuple | list)
            or len(size) != 3
            or not all(isinstance(edge, Integral) and int(edge) >= 1 for edge in size)
            or size[0] not in (1, 3)
        ):
            raise ValueError(
                "input_size must be three positive integers: channels (1 or 3), height and "
                f"width; got {size!r}."
            )
        for name, values in (("mean", mean), ("std", std)):
            if (
                not isinstance(values, Sequence)
                or isinstance(values, str)
                or not all(isinstance(value, Real) and math.isfinite(value) for value in values)
            ):
                raise TypeError(f"{name} must be a tuple of finite numbers; got {values!r}.")
            if len(values) != size[0]:
                raise ValueError(
                    f"{name} must have one value for each channel of input_size={size!r}, "
                    f"which are {size[0]}; got {values!r}."
                )
        if not all(value > 0 for value in std):
            raise ValueError(f"std must hold positive numbers; got {std!r}.")
        return {
            "input_size": tuple(int(edge) for edge in size),
            "mean": tuple(float(value) for value in mean),
            "std": tuple(float(value) for value in std),
            "interpolation": config["interpolation"],
            "crop_pct": float(config["crop_pct"]),
            "crop_mode": config["crop_mode"],
        }
