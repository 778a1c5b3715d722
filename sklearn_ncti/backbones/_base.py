"""Beside floors 1-3: what all backbones share, from the device to the rows of features.

The way of the data is images -> PIL images -> prepared tensors -> batches -> network -> rows.
A backbone of its own kind adds one method, `_build`, which gives the network and the geometry
of its input.
"""

import os
from abc import ABCMeta, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext
from numbers import Integral
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from .._optional import import_optional
from ._images import check_images, read_image

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

_MODES = {1: "L", 3: "RGB"}

# Pixels that go through the network at once on the CPU. What a larger batch computes in
# between no longer fits the caches and is mapped anew for every layer: 64 images of 224 x 224
# took 1.2 to 1.6 times as long as eight times 8 (benchmarks/cpu_batches.py).
_CPU_PIXELS = 8 * 224 * 224

# Networks draw their first weights from torch's global generator, which is seeded and put
# back around it; two builds at once would draw from each other.
_BUILD_LOCK = Lock()


class _Network(NamedTuple):
    """A network that is ready to run, and what prepares images for it."""

    module: "torch.nn.Module"
    transform: Callable
    mode: str
    device: "torch.device"
    bfloat16: bool
    channels_last: bool


class _BaseBackbone(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator, metaclass=ABCMeta
):
    """Images to features with a frozen network; see the classes that add `_build`."""

    _parameter_constraints: ClassVar[dict] = {
        # A torch device would need torch to be named here; `_resolve_device` checks it.
        "device": "no_validation",
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "precision": [StrOptions({"auto", "float32", "bfloat16"})],
        "num_workers": [Interval(Integral, 0, None, closed="left"), None],
        "random_state": [Interval(Integral, 0, 2**32 - 1, closed="both")],
        "verbose": ["verbose"],
    }

    # Whether images go in with their channels last in memory. Convolutions are faster so, but
    # a module that uses `Tensor.view` on what comes out of them would fail.
    _channels_last: ClassVar[bool] = False

    @abstractmethod
    def _build(self, device: "torch.device") -> tuple["torch.nn.Module", dict[str, Any]]:
        """Give a network of one's own and the arguments of timm's `create_transform`.

        The network may lie on any device: it is moved to `device` afterwards, which is told
        here for the sake of those that cannot simply be moved.
        """

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Load the network and learn the width of its features.

        No image is decoded: one blank image goes through the network. `X` is checked to hold
        images, and its files to be there.

        Parameters
        ----------
        X : ndarray of shape (n, h, w) or (n, h, w, channels), or sequence of path or PIL image
            The images. See `transform`.

        y : None
            Ignored, present for API consistency.

        Returns
        -------
        self : object
            The fitted backbone.

        Raises
        ------
        TypeError or ValueError
            If a parameter is out of its bounds or `X` holds no images; the message says what
            to do.
        """
        check_images(X)
        self._drop_network()
        network = self._load_network()
        pil = import_optional("PIL.Image", extra="timm")
        # The size does not matter, the transform makes it the network's own.
        blank = network.transform(pil.new(network.mode, (64, 64)))
        self.n_features_out_ = _forward(network, blank[None]).shape[1]
        return self

    def transform(self, X: Any) -> "NDArray[np.float32]":
        """Compute the features of images.

        Parameters
        ----------
        X : ndarray of shape (n, h, w) or (n, h, w, channels), or sequence of path or PIL image
            The images: an array of dtype uint8, or floating with values in [0, 1], of 1, 3 or
            4 channels; or a list, tuple, one-dimensional array or pandas Series of file paths
            and PIL images.

        Returns
        -------
        features : ndarray of shape (n, n_features_out_) and dtype float32
            The features, one row for each image in the order given. Values that the network
            makes NaN or infinite are left as they are.

        Raises
        ------
        TypeError or ValueError
            If `X` holds no images, a file is missing, or an image cannot be read; the message
            names the image.
        """
        check_is_fitted(self)
        images = check_images(X)
        network = self._load_network()
        features = np.empty((len(images), self.n_features_out_), dtype=np.float32)
        stop = 0
        # Closed by name: an error of the network would else leave the threads at work.
        batches = closing(self._prepared_batches(images, network))
        with batches as prepared, self._progress(len(images)) as advance:
            for batch in prepared:
                rows = _forward(network, batch)
                if rows.shape[1] != self.n_features_out_:
                    raise ValueError(
                        f"the network gives {rows.shape[1]} features, but gave "
                        f"{self.n_features_out_} when this {type(self).__name__} was fitted. "
                        "Fit it again after a change of its parameters."
                    )
                start, stop = stop, stop + len(rows)
                features[start:stop] = rows
                advance(len(rows))
        return features

    def _prepared_batches(
        self, images: np.ndarray | list, network: _Network
    ) -> Iterator["torch.Tensor"]:
        """Yield batches of prepared images; threads prepare the next during the current one."""
        torch = import_optional("torch", extra="timm")

        def prepare(index: int) -> "torch.Tensor":
            return network.transform(read_image(images, index, network.mode))

        n_threads = self.num_workers
        if n_threads is None:
            n_threads = min(os.cpu_count() or 1, 8)
        places = [
            range(start, min(start + self.batch_size, len(images)))
            for start in range(0, len(images), self.batch_size)
        ]
        if n_threads == 0:
            for batch in places:
                yield torch.stack([prepare(index) for index in batch])
            return
        pool = ThreadPoolExecutor(min(n_threads, len(images)))
        try:
            # At most two batches are held: the one that is given out and the one behind it.
            waiting: deque[list[Future]] = deque()
            for batch in places:
                waiting.append([pool.submit(prepare, index) for index in batch])
                if len(waiting) == 2:
                    yield torch.stack([future.result() for future in waiting.popleft()])
            yield torch.stack([future.result() for future in waiting.popleft()])
        finally:
            pool.shutdown(cancel_futures=True)

    def _progress(self, total: int) -> Any:
        """Give a context whose value is called with the number of images that are done."""
        if not self.verbose:
            return nullcontext(lambda n: None)
        tqdm = import_optional("tqdm", extra="timm")
        # Of a folder or a hub, the last part tells one model from another.
        name = os.path.basename(getattr(self, "model", type(self).__name__))
        return _Bar(tqdm.tqdm(total=total, unit="img", desc=name))

    def _load_network(self) -> _Network:
        """Give the network, which is built where it is not there: a pickle leaves it behind."""
        network = self.__dict__.get("_network")
        if network is None:
            network = self._network = self._build_network()
        return network

    def _build_network(self) -> _Network:
        torch = import_optional("torch", extra="timm")
        data = import_optional("timm.data", extra="timm")
        device = _resolve_device(self.device)
        with _BUILD_LOCK, torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed, which would also seed the generators of accelerators.
            torch.default_generator.manual_seed(int(self.random_state))
            module, geometry = self._build(device)
        channels = geometry["input_size"][0]
        if channels not in _MODES:
            raise ValueError(
                f"the network takes images of {channels} channels; "
                "only 1 (grey) and 3 (RGB) can be prepared. Wrap it in one that does."
            )
        # A graph that was exported says itself which types it computes in.
        exported = isinstance(module, torch.fx.GraphModule)
        try:
            module.eval()
        except NotImplementedError:
            # The module of an exported program has no modes to switch.
            if not exported:
                raise
        return _Network(
            module.requires_grad_(False).to(device),
            data.create_transform(**geometry, is_training=False),
            _MODES[channels],
            device,
            _use_bfloat16(self.precision, device) and not (exported and self.precision == "auto"),
            self._channels_last,
        )

    def _drop_network(self) -> None:
        """Let go of the network and of the memory that it holds on its device."""
        network = self.__dict__.pop("_network", None)
        if network is not None and network.device.type in ("cuda", "mps"):
            torch = import_optional("torch", extra="timm")
            kind = network.device.type
            del network
            getattr(torch, kind).empty_cache()

    @property
    def _n_features_out(self) -> int:
        return self.n_features_out_

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "n_features_out_")

    def __getstate__(self) -> dict:
        # The weights are found again where they came from, so neither pickles nor the keys of
        # joblib caches carry them. The copy keeps this object's own network in place.
        state = dict(super().__getstate__())
        state.pop("_network", None)
        return state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        return tags


class _Bar:
    """A progress bar as a context whose value advances it."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def __enter__(self) -> Callable:
        return self._bar.update

    def __exit__(self, *exc_info: object) -> None:
        self._bar.close()


def _resolve_device(device: Any) -> "torch.device":
    """Find the torch device that `device` asks for, and that it can be used."""
    torch = import_optional("torch", extra="timm")
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
        raise ValueError(
            f"device={str(device)!r} cannot be used here: {reason}. "
            "Use device='auto' for the best device that is there, or 'cpu'."
        ) from exc
    return found


def _use_bfloat16(precision: str, device: "torch.device") -> bool:
    """Say whether the network runs under autocast to bfloat16."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type != "cuda":
        return False
    # Older GPUs imitate bfloat16, slower than they compute in float32.
    torch = import_optional("torch", extra="timm")
    return torch.cuda.get_device_capability(device) >= (8, 0)


def _forward(network: _Network, batch: "torch.Tensor") -> np.ndarray:
    """Run the network on one batch of prepared images."""
    torch = import_optional("torch", extra="timm")
    step = len(batch)
    if network.device.type == "cpu":
        step = max(1, _CPU_PIXELS // (batch.shape[2] * batch.shape[3]))
    layout = torch.channels_last if network.channels_last else torch.preserve_format
    autocast = (
        torch.autocast(network.device.type, dtype=torch.bfloat16)
        if network.bfloat16
        else nullcontext()
    )
    rows = []
    with torch.inference_mode(), autocast:
        for part in batch.split(step):
            output = network.module(part.to(network.device, memory_format=layout))
            rows.append(_check_features(output, len(part)).float().cpu().numpy())
    return np.concatenate(rows)


def _check_features(output: Any, n_images: int) -> "torch.Tensor":
    """Return the output of a network as a matrix, or say why it is none."""
    torch = import_optional("torch", extra="timm")
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
    return output
