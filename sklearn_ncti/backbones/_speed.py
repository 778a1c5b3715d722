"""How fast this machine runs networks, and the work of one that is not published; with torch."""

import time
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ._network import Network, empty_cache, resolve_device, use_bfloat16
from ._work import work_of

# Images that the network of the calibration takes at once, and how often it is run.
_IMAGES = 4
_RUNS = 3


class _Counter(TorchDispatchMode):
    """Counts operations and results of convolutions and matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0
        self.activations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None and isinstance(out, torch.Tensor):
            # Two for each multiplication with addition.
            self.macs += count(*args, **(kwargs or {}), out_val=out) // 2
            self.activations += out.numel()
        return out


def count_work(module: nn.Module, images: torch.Tensor) -> float:
    """Return the work of a network for one image, found by running it."""
    with torch.no_grad(), _Counter() as counter:
        module(images)
    return work_of(counter.macs / 1e9, counter.activations) / len(images)


def work_of_network(network: Network) -> float:
    """Return the work of a loaded network for one image."""
    height, width, channels = network.preparation.geometry.shape
    return count_work(
        network.module, torch.zeros(1, channels, height, width, device=network.device)
    )


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
    images = torch.zeros(_IMAGES, 3, 224, 224, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    work = _IMAGES * count_work(module, images[:1])
    autocast = torch.autocast(
        device.type, dtype=torch.bfloat16, enabled=use_bfloat16(precision, device)
    )
    with torch.inference_mode(), autocast:
        # The first run chooses kernels and maps memory.
        _timed(module, images)
        seconds = median(_timed(module, images) for _ in range(_RUNS))
    del module, images
    empty_cache(device)
    return seconds / work


def _timed(module: nn.Module, images: torch.Tensor) -> float:
    begin = time.perf_counter()
    # What is copied to the host has been computed.
    module(images).sum().item()
    return time.perf_counter() - begin


def _network() -> nn.Sequential:
    layers: list[nn.Module] = []
    # Channels in and out, width of the kernel, stride, groups.
    for n_in, n_out, width, stride, groups in (
        (3, 32, 3, 2, 1),
        (32, 96, 1, 1, 1),
        (96, 96, 3, 2, 96),
        (96, 64, 1, 1, 1),
        (64, 128, 3, 2, 1),
        (128, 256, 3, 1, 1),
        (256, 256, 3, 2, 1),
        (256, 512, 1, 1, 1),
    ):
        layers += [
            nn.Conv2d(n_in, n_out, width, stride, width // 2, groups=groups, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1))
