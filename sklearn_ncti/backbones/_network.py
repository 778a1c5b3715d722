"""A network on its device, from pixels to rows of features; imported with torch."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from threading import Lock, local
from typing import Any

import numpy as np
import torch
from torch import nn

from .._linalg.threads import one_torch_thread
from .._utils.errors import ParameterError
from .._utils.stacklevel import find_stack_level
from ._preparation import Preparation

# The largest result of a layer on the CPU, for all images that go through it at once. The C
# library does not keep memory of 32 MiB and more, nor as much as two or three results of 25 MiB
# at its end: it is mapped again for every layer, by which 64 images of 224 x 224 took 1.2 to
# 1.8 times as long (benchmarks/cpu_batches.py). Smaller parts than need be are slow as well:
# threads wait for each other more often.
_CPU_BYTES = 20 * 2**20

# Networks draw their first weights from torch's global generator, which is seeded and put
# back around it; two builds at once would draw from each other.
_BUILD_LOCK = Lock()

# Of an exported graph, which has no layers to measure, the pixels that go through it at once.
_CPU_PIXELS = 8 * 224 * 224


class Network:
    """A network that is ready to run, and how it wants its images.

    Parameters
    ----------
    module : torch.nn.Module
        The network, frozen and on `device`.

    preparation : Preparation
        How images are prepared.

    device : torch.device
        Where it runs.

    bfloat16 : bool
        Whether it runs under autocast to bfloat16.

    channels_last : bool
        Whether images go in with their channels last in memory.

    outputs : tuple of str, default=("features",)
        What a row holds, side by side.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        preparation: Preparation,
        device: torch.device,
        *,
        bfloat16: bool,
        channels_last: bool,
        outputs: tuple[str, ...] = ("features",),
    ) -> None:
        self.module = module
        self.preparation = preparation
        self.device = device
        self.bfloat16 = bfloat16
        self.channels_last = channels_last
        self.outputs = outputs
        self.n_parameters = sum(weight.numel() for weight in module.parameters())
        # Of a network with a head, see `WithHead`.
        self.n_classes = getattr(module, "n_classes", 0)
        self.n_head_parameters = getattr(module, "n_head_parameters", 0)
        config = getattr(module, "pretrained_cfg", None)
        self.license = str((config or {}).get("license") or "")
        self._widths: dict[str, int] | None = None
        # The most images at once for which there was memory, once there was too little.
        self.limit: int | None = None
        # The most images at once for which the CPU is fast, once that is known.
        self._cpu_part: int | None = None
        self._scratch = local()
        if preparation.scaling is not None:
            self._mean, self._std = (
                torch.tensor(values, device=device) for values in preparation.scaling
            )

    def compile(self) -> None:
        """Let torch compile the module; if it cannot, warn and leave the module as it is."""
        plain = self.module
        blank = self.preparation.blank(2)
        # What fails here is no fault of the compiler.
        self.features(blank)
        try:
            self.module = torch.compile(plain)
            # Compilation happens at the first call, and here a failure still has a way out.
            self.features(blank)
        except Exception as exc:
            self.module = plain
            warnings.warn(
                f"torch cannot compile this network here ({type(exc).__name__}: "
                f"{str(exc).strip().partition(chr(10))[0]}); it runs uncompiled.",
                UserWarning,
                stacklevel=find_stack_level(),
            )

    def features(self, pixels: np.ndarray) -> torch.Tensor:
        """Compute the features of some images.

        Where memory runs out, the images go through the network in halves, quarters and so
        on, and later ones in parts of the size that went well.

        Parameters
        ----------
        pixels : ndarray of shape (n, height, width, channels)
            What `Preparation.pixels` makes, for n images.

        Returns
        -------
        features : torch.Tensor of shape (n, width) and dtype float32
            The features, on the device.

        Raises
        ------
        MemoryError
            If a single image is too much.
        """
        try:
            if self.device.type == "cpu" and self._cpu_part is None:
                self._find_cpu_part(pixels[:1])
            first = self._images_at_once(pixels)
            rows, step = run_in_parts(partial(self._in_parts, pixels), first, self.device)
        except Exception as exc:
            if not is_out_of_memory(exc):
                raise
            raise self._too_much(pixels, exc) from exc
        if step < first:
            self.limit = step
            warn_of_memory(self.device, first, step, "images")
        return rows

    def _in_parts(self, pixels: np.ndarray, step: int) -> torch.Tensor:
        """Compute the features of images of which at most `step` go through at once."""
        batch = self._to_device(pixels)
        # Of one size: a short part at the end costs nearly as much as a whole one.
        parts = batch.tensor_split(-(-len(batch) // step))
        return torch.cat([self._run(part) for part in parts])

    def widths(self) -> dict[str, int]:
        """Return the number of columns of each output, found by running a blank image."""
        if self._widths is None:
            width = self.find_width()
            both = len(self.outputs) > 1
            n_features = width - self.n_classes if both else width
            self._widths = dict(zip(self.outputs, (n_features, self.n_classes), strict=False))
        return self._widths

    def parameters_for(self, output: str) -> int:
        """Return the number of parameters that an output needs: features do without the head."""
        return self.n_parameters - (self.n_head_parameters if output == "features" else 0)

    def weight_matrices(self) -> Iterator[np.ndarray]:
        """Yield the weights of the layers as matrices, see `weight_matrices`."""
        return weight_matrices(self.module)

    def find_width(self) -> int:
        """Run a blank image, and give the number of its features.

        Raises
        ------
        MemoryError
            If it is too much.
        """
        blank = self.preparation.blank(1)
        if self.device.type != "cpu":
            return self.features(blank).shape[1]
        try:
            return self._find_cpu_part(blank).shape[1]
        except Exception as exc:
            if not is_out_of_memory(exc):
                raise
            raise self._too_much(blank, exc) from exc

    def _too_much(self, pixels: np.ndarray, exc: Exception) -> MemoryError:
        """Return the error of an image that does not fit into memory."""
        return MemoryError(
            f"one image of {pixels.shape[1]} x {pixels.shape[2]} pixels is too much for the "
            f"memory of {self.device} next to this network ({exc}). Free some, use "
            "precision='bfloat16', or another device."
        )

    def _images_at_once(self, pixels: np.ndarray) -> int:
        """Return the number of images that go through the network at once."""
        return min(len(pixels), self.limit or len(pixels), self._cpu_part or len(pixels))

    def _find_cpu_part(self, pixels: np.ndarray) -> torch.Tensor:
        """Find the most images for which no layer gives too large a result; run one image.

        By sizes, not by times: the same images go through the network together in every run,
        and features are the same to the last bit.
        """
        sizes = [1]

        def note(layer: Any, inputs: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor):
                sizes.append(output.nbytes)

        # The nodes of an exported graph are no layers.
        exported = is_exported(self.module)
        layers = [] if exported else self.module.modules()
        hooks = [layer.register_forward_hook(note) for layer in layers]
        try:
            with one_torch_thread:
                rows = self._run(self._to_device(pixels))
        finally:
            for hook in hooks:
                hook.remove()
        if exported:
            self._cpu_part = max(1, _CPU_PIXELS // (pixels.shape[1] * pixels.shape[2]))
        else:
            self._cpu_part = max(1, _CPU_BYTES // max(sizes))
        return rows

    def _to_device(self, pixels: np.ndarray) -> torch.Tensor:
        """Return the pixels on the device."""
        if not pixels.flags.writeable:
            # torch has no tensors that cannot be written to, and warns of them.
            pixels = pixels.copy()
        batch = torch.from_numpy(pixels)
        if self.device.type == "cuda":
            # From pinned memory the copy runs while the device works.
            batch = batch.pin_memory()
        return batch.to(self.device, non_blocking=True)

    def _scaled(self, part: torch.Tensor) -> torch.Tensor:
        """Return pixels as (n, channels, height, width), scaled as timm does, to the last bit.

        On the CPU they are overwritten by the next ones of the same thread: memory that comes
        and goes with every part is mapped again each time, as that of large layers is.
        """
        images = None if self.device.type != "cpu" else getattr(self._scratch, "images", None)
        if images is None or images.shape[1:] != part.shape[1:] or len(images) < len(part):
            images = torch.empty(part.shape, dtype=torch.float32, device=self.device)
            self._scratch.images = images if self.device.type == "cpu" else None
        # Copied even if float32 already: pixels are shared, and networks work in place.
        images = images[: len(part)].copy_(part)
        if self.preparation.scaling is not None:
            # Whole rows of pixels at once, three times as fast as channel by channel.
            n, height, width, _ = images.shape
            rows = images.view(n * height, -1)
            rows.div_(255).sub_(self._mean.repeat(width)).div_(self._std.repeat(width))
        images = images.permute(0, 3, 1, 2)
        return images if self.channels_last else images.contiguous()

    def _run(self, part: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode(), precision_of(self.device, self.bfloat16):
            images = self._scaled(part)
            features = check_features(self.module(images), len(part)).float()
            # A module may give back what it was given, which the next part overwrites.
            owner = features.untyped_storage().data_ptr()
            return features.clone() if owner == images.untyped_storage().data_ptr() else features


def precision_of(device: torch.device, bfloat16: bool) -> AbstractContextManager:
    """Return the context of bfloat16, or of float32 whatever autocast the caller is in."""
    # Entering autocast takes as long as a layer of a tiny network: only where it does something.
    if bfloat16 or torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16)
    return nullcontext()


def weight_matrices(module: nn.Module) -> Iterator[np.ndarray]:
    """Yield the weights of the layers as matrices, those of embeddings and heads left out.

    A two-dimensional weight is one matrix. The kernel of a convolution is a matrix of
    (output channels, input channels) for each of its positions.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Embedding)]
    layers += getattr(module, "classification_heads", [])
    left_out = {id(weight) for layer in layers for weight in layer.parameters()}
    for weight in module.parameters():
        if weight.ndim < 2 or not weight.is_floating_point() or id(weight) in left_out:
            continue
        # numpy has no bfloat16.
        dtype = torch.promote_types(weight.dtype, torch.float32)
        kernel = weight.detach().to("cpu", dtype).reshape(*weight.shape[:2], -1)
        yield from kernel.movedim(2, 0).numpy()


def run_in_parts(
    run: Callable[[int], torch.Tensor], step: int, device: torch.device
) -> tuple[torch.Tensor, int]:
    """Call `run` with the most rows at once for which there is memory.

    Parameters
    ----------
    run : callable
        Takes the number of rows that go through the network at once, and returns all.

    step : int
        The number to begin with, which is halved as long as memory runs out.

    device : torch.device
        Where it runs.

    Returns
    -------
    rows : torch.Tensor
        What `run` returned.

    step : int
        The number that it was called with.
    """
    while True:
        try:
            return run(step), step
        except Exception as exc:
            if step == 1 or not is_out_of_memory(exc):
                raise
        # Not in the handler: the traceback still holds what filled the memory there.
        step = (step + 1) // 2
        empty_cache(device)


def warn_of_memory(device: torch.device, first: int, step: int, what: str) -> None:
    """Warn that fewer rows than `first` go through the network at once from here on."""
    warnings.warn(
        f"{device} has too little memory for {first} {what} at once; they go "
        f"through the network {step} at a time from here on. batch_size={step} saves "
        "the attempt.",
        UserWarning,
        stacklevel=find_stack_level(),
    )


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's generator for a block that builds a network, and put it back afterwards."""
    with _BUILD_LOCK, torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would also seed the generators of accelerators.
        torch.default_generator.manual_seed(int(seed))
        yield


def is_exported(module: torch.nn.Module) -> bool:
    """Whether a module is the graph of an exported program."""
    return isinstance(module, torch.fx.GraphModule)


def frozen(module: torch.nn.Module) -> torch.nn.Module:
    """Return the module in evaluation mode, with weights that need no gradient."""
    try:
        module.eval()
    except NotImplementedError:
        # The module of an exported program has no modes to switch.
        if not is_exported(module):
            raise
    return module.requires_grad_(False)


def resolve_device(device: Any) -> torch.device:
    """Return the torch device that `device` asks for; a ParameterError if it cannot be used."""
    if isinstance(device, str) and device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        if torch.backends.mps.is_available():
            return torch.device("mps")
        return torch.device("cpu")
    if not isinstance(device, str | torch.device):
        raise TypeError(
            f"device must be 'auto', the name of a torch device or a torch.device; got {device!r}."
        )
    try:
        found = torch.device(device)
        if found.type == "meta":
            raise RuntimeError("it computes nothing")
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as exc:
        reason = str(exc).strip().partition("\n")[0]
        raise ParameterError(
            "device",
            f"{str(device)!r} cannot be used here: {reason.rstrip('.')}. Use device='auto' for "
            "the best device that is available, or device='cpu'.",
        ) from exc
    return found


def use_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether the network runs under autocast to bfloat16."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type != "cuda":
        return False
    # Older GPUs imitate bfloat16, slower than they compute in float32.
    return torch.cuda.get_device_capability(device) >= (8, 0)


def empty_cache(device: torch.device) -> None:
    """Free the memory of a device that torch holds without using it."""
    if device.type in ("cuda", "mps"):
        getattr(torch, device.type).empty_cache()


def is_out_of_memory(exc: Exception) -> bool:
    if isinstance(exc, torch.OutOfMemoryError):
        return True
    # Only CUDA has a class of its own for it.
    text = str(exc)
    return isinstance(exc, RuntimeError) and (
        "out of memory" in text or "can't allocate memory" in text
    )


def check_features(output: Any, n_images: int) -> torch.Tensor:
    """Return the output of a network as a matrix, or say why it is none."""
    if not isinstance(output, torch.Tensor):
        raise TypeError(
            f"the network returns a {type(output).__name__}, not one tensor. Wrap it in a "
            "module that returns the pooled features alone."
        )
    if output.ndim == 4 and output.shape[2:] == (1, 1):
        output = output.flatten(1)
    if output.ndim != 2 or len(output) != n_images:
        raise ValueError(
            f"the network returns a tensor of shape {tuple(output.shape)} for {n_images} "
            "image(s); features have shape (n, width). Pool it, for example with "
            "torch.nn.AdaptiveAvgPool2d(1) and torch.nn.Flatten()."
        )
    if output.is_complex():
        raise TypeError(
            f"the network returns a tensor of dtype {output.dtype}; features are real numbers. "
            "Wrap it in a module that returns, for example, output.abs() or "
            "torch.view_as_real(output).flatten(1)."
        )
    return output
