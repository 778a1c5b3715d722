"""How fast this machine runs networks; imported with torch."""

import time
from statistics import median
from typing import Any

import torch
from torch import nn

from ._network import empty_cache, precision_of, resolve_device, use_bfloat16
from ._work import work_of

# Convolutions of the network of the calibration, dense, depthwise and pointwise: channels in and
# out, width of the kernel, stride, groups. The last of them are small: on a busy machine, threads
# wait for each other in every layer, however little work it has.
_LAYERS = (
    (3, 32, 3, 2, 1),
    (32, 96, 1, 1, 1),
    (96, 96, 3, 2, 96),
    (96, 64, 1, 1, 1),
    (64, 128, 3, 2, 1),
    (128, 256, 3, 1, 1),
    (256, 256, 3, 2, 1),
    *(((256, 256, 3, 1, 256), (256, 256, 1, 1, 1)) * 4),
)
_SIZE = 224

# Images that the network of the calibration takes at once: a CPU gets few, a GPU as many as fit.
_IMAGES_CPU = 4
_IMAGES_GPU = 64
_RUNS = 3


def seconds_per_work(device: Any = "auto", precision: str = "auto") -> float:
    """Run a small network and return how long this machine takes for a unit of work.

    Dense, depthwise and pointwise convolutions share its time. It takes some tenths of a second.

    Parameters
    ----------
    device : str or torch.device, default="auto"
        Where networks run.

    precision : {"auto", "float32", "bfloat16"}, default="auto"
        In which precision.

    Returns
    -------
    seconds : float
        Seconds for one unit of work.
    """
    device = resolve_device(device)
    with torch.random.fork_rng(devices=[]):
        module = _network()
    module = module.eval().to(device, memory_format=torch.channels_last)
    n_images = _IMAGES_CPU if device.type == "cpu" else _IMAGES_GPU
    images = torch.zeros(n_images, 3, _SIZE, _SIZE, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), precision_of(device, use_bfloat16(precision, device)):
        # The first run chooses kernels and maps memory.
        _timed(module, images)
        seconds = median(_timed(module, images) for _ in range(_RUNS))
    del module, images
    empty_cache(device)
    return seconds / (n_images * _work())


def _timed(module: nn.Module, images: torch.Tensor) -> float:
    begin = time.perf_counter()
    # What is copied to the host has been computed.
    module(images).sum().item()
    return time.perf_counter() - begin


def _network() -> nn.Sequential:
    layers: list[nn.Module] = []
    for n_in, n_out, width, stride, groups in _LAYERS:
        layers += [
            nn.Conv2d(n_in, n_out, width, stride, width // 2, groups=groups, bias=False),
            nn.BatchNorm2d(n_out),
            nn.SiLU(),
        ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1))


def _work() -> float:
    """Return the work of that network for one image; to count it by running takes a second."""
    macs, activations, size = 0, 0, _SIZE
    for n_in, n_out, width, stride, groups in _LAYERS:
        size = -(-size // stride)
        results = n_out * size**2
        activations += results
        macs += results * n_in // groups * width**2
    return work_of(macs / 1e9, activations)
