"""The work of a network that no catalogue has, counted as it runs; imported with torch."""

from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ._network import Network
from ._work import work_of


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
