"""The rows of all batches to one array for each output; imported with torch."""

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from ._network import Network
from ._text_network import TextNetwork

# Batches that an accelerator is given before the features of the first are waited for.
_IN_FLIGHT = 2


def gather(
    parts: Iterator[torch.Tensor],
    n_rows: int,
    widths: dict[str, int],
    network: Network | TextNetwork,
    on_device: bool,
    order: np.ndarray | None = None,
) -> dict[str, Any]:
    """Put the rows of all batches together: an array for each output, or a tensor.

    `order` are the places of the rows in the order in which they come; None for 0, 1, 2, ...
    """
    on_cuda = network.device.type == "cuda"
    if on_device:
        arrays = {o: torch.empty((n_rows, k), device=network.device) for o, k in widths.items()}
    else:
        arrays = {o: np.empty((n_rows, k), dtype=np.float32) for o, k in widths.items()}
    # Work on an accelerator is only ordered here, and done later: the next batch is made
    # ready meanwhile. Waiting for an earlier one keeps what is in flight small.
    waiting: deque = deque()
    stop = 0

    def put(place: slice | np.ndarray, rows: Any) -> None:
        first = 0
        for output, width in widths.items():
            arrays[output][place] = rows[:, first : first + width]
            first += width

    def finish() -> None:
        place, rows, event = waiting.popleft()
        if event is not None:
            event.synchronize()
        if not on_device:
            put(place, rows.numpy())

    for rows in parts:
        start, stop = stop, stop + len(rows)
        place = slice(start, stop) if order is None else order[start:stop]
        if on_device:
            put(place, rows)
        else:
            rows = rows.to("cpu", non_blocking=on_cuda)
        waiting.append((place, rows, _recorded_event(network) if on_cuda else None))
        if len(waiting) > _IN_FLIGHT or not on_cuda:
            finish()
    while waiting:
        finish()
    return arrays


def _recorded_event(network: Network | TextNetwork) -> Any:
    """Return an event that comes when all that was ordered so far is done."""
    with torch.cuda.device(network.device):
        event = torch.cuda.Event()
        event.record()
    return event
