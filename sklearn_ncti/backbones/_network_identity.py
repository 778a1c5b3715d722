"""Keys of the cache for networks that have no name; imported with torch."""

import hashlib

import numpy as np
import torch

from ._network import Network
from ._preparation import Geometry


def identify_module(module: torch.nn.Module) -> str:
    """Return a hash of a network: its class, its layers as they print, its weights."""
    digest = hashlib.sha256()
    kind = type(module)
    digest.update(f"{kind.__module__}.{kind.__qualname__} {module!r}".encode())
    # The parts of an exported program print alike, and its graph is what tells them apart.
    digest.update(str(getattr(module, "code", "")).encode())
    for name, value in module.state_dict().items():
        digest.update(f"{name} {getattr(value, 'dtype', '')} {np.shape(value)}".encode())
        if hasattr(value, "detach"):
            # As bytes: numpy lacks some of torch's types.
            flat = value.detach().cpu().contiguous().flatten()
            digest.update(flat.view(torch.uint8).numpy() if flat.numel() else b"")
        else:
            digest.update(repr(value).encode())
    return digest.hexdigest()


def identify_network(network: Network) -> dict[str, str] | None:
    """Return hashes of what a network holds and of what it computes.

    None if its output is random, or it cannot run on the fixed images.
    """
    try:
        known = {"module": identify_module(network.module), "output": _checksum(network)}
        again = _checksum(network)
    except Exception:
        # What is wrong with it shows when it runs on the images of the user.
        return None
    return known if known["output"] == again else None


def _checksum(network: Network) -> str:
    """Return a hash of what a network makes of fixed images.

    On one thread of torch, and one image at a time: the last bits depend on both.
    """
    digest = hashlib.sha256()
    generators = [network.device] if network.device.type == "cuda" else []
    # Not `one_torch_thread`, which leaves the setting of a second thread as it is: torch has
    # one for each.
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(generators):
            for image in _fixed_images(network.preparation.geometry):
                rows = network.features(image[None]).cpu().numpy()
                digest.update(f"{rows.shape}".encode())
                digest.update(np.ascontiguousarray(rows).data)
    finally:
        torch.set_num_threads(n_threads)
    return digest.hexdigest()


def _fixed_images(geometry: Geometry) -> np.ndarray:
    """Make pixels of two images: noise, and large areas under weaker noise."""
    rng = np.random.default_rng(0)
    height, width, channels = geometry.shape
    noise = rng.random((2, height, width, channels))
    areas = rng.random((4, 4, channels))
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
    noise[1] = 0.2 * noise[1] + 0.8 * areas[rows][:, columns]
    if geometry.dtype == "uint8":
        noise *= 255
    return noise.astype(geometry.dtype)
