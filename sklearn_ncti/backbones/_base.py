"""What all backbones share, from the images to the rows of features.

The way of the data is images -> pixels of one size -> batches -> network -> rows. A backbone
of its own kind says two things: the geometry of its input, which needs no network, and how
its network is made.
"""

import time
import warnings
from abc import ABCMeta, abstractmethod
from collections import deque
from collections.abc import Iterator
from contextlib import closing
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

from .._utils.optional import import_optional
from ._images import check_images
from ._network import Network, empty_cache, resolve_device, use_bfloat16
from ._prepared import Geometry, Preparation, PreparedImages, Timed, decode
from ._progress import Progress

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

# Networks draw their first weights from torch's global generator, which is seeded and put
# back around it; two builds at once would draw from each other.
_BUILD_LOCK = Lock()

# Batches that an accelerator is given before the features of the first are waited for.
_IN_FLIGHT = 2


class NoHeadError(ValueError):
    """A network has no classification head, and its probabilities were asked for."""


class Extraction(NamedTuple):
    """The features of images, and what it took to make them."""

    features: "np.ndarray | torch.Tensor"
    bad: dict[int, str]
    decode_time: float
    device_time: float


class _BaseBackbone(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator, metaclass=ABCMeta
):
    """Images to features with a frozen network; see the classes that add the network."""

    _parameter_constraints: ClassVar[dict] = {
        # A torch device would need torch to be named here; `resolve_device` checks it.
        "device": "no_validation",
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "precision": [StrOptions({"auto", "float32", "bfloat16"})],
        "num_workers": [Interval(Integral, 0, None, closed="left"), None],
        "compile": ["boolean"],
        "on_bad_image": [StrOptions({"raise", "skip"})],
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

    @abstractmethod
    def _data_config(self) -> dict[str, Any] | None:
        """Give the arguments of `create_transform` without the network, or None if unknown."""

    @abstractmethod
    def _weights_identity(self) -> dict[str, Any] | None:
        """Say in terms of JSON which weights these are; None where that cannot be known."""

    def _geometry(self) -> Geometry | None:
        """Foretell the geometry of the network, without building it; None if unknown."""
        try:
            return Preparation(self._data_config() or {}).geometry
        except Exception:
            # What is wrong shows when the network is built, with a better error.
            return None

    def _identity(self) -> dict[str, Any] | None:
        """Say in terms of JSON what makes the features but the images; None if unknown.

        Of the parameters only those count that change the features.
        """
        weights = self._weights_identity()
        config = None if weights is None else self._data_config()
        if config is None:
            return None
        device = resolve_device(self.device)
        # Exported programs take "auto" in a way of their own.
        precision = self.precision if use_bfloat16(self.precision, device) else "float32"
        return {
            "weights": weights,
            "preparation": {name: repr(value) for name, value in sorted(config.items())},
            "device": device.type,
            "precision": precision,
            "compile": bool(self.compile),
        }

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
        # One that was built to be identified has not served yet, and is that of these parameters.
        self.__dict__.pop("_network", None)
        network = self._load_network()
        self.n_features_out_ = network.find_width()
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
            makes NaN or infinite are left as they are. With ``on_bad_image="skip"`` the row
            of an image that cannot be read is NaN, and a warning names it.

        Raises
        ------
        TypeError or ValueError
            If `X` holds no images, a file is missing, or an image cannot be read; the message
            names the image.
        """
        check_is_fitted(self)
        extraction = self._extract(check_images(X), on_bad_image=self.on_bad_image)
        if extraction.bad:
            warnings.warn(
                f"{bad_images_text(extraction.bad, len(extraction.features))} Their rows are NaN.",
                UserWarning,
                stacklevel=2,
            )
        return extraction.features

    def _extract(
        self,
        images: np.ndarray | list | PreparedImages,
        *,
        on_bad_image: str,
        keep: bool = False,
    ) -> Extraction:
        """Compute features, as an array or, to `keep` them there, as a tensor on the device.

        `images` are what `check_images` returned, decoded on the way and then forgotten, or
        images that are prepared for several networks. The row of a bad image is NaN.
        """
        network = self._load_network()
        bad: dict[int, str] = {}
        if isinstance(images, PreparedImages):
            bad = images.bad
            source = images.batches(self.batch_size)
        else:
            source = decode(
                images,
                network.preparation,
                self.batch_size,
                num_workers=self.num_workers,
                bad=bad if on_bad_image == "skip" else None,
            )
        name = getattr(self, "model", type(self).__name__)
        begin = time.perf_counter()
        # Closed by name: an error of the network would else leave the threads at work.
        with (
            closing(Timed(source)) as batches,
            Progress(len(images), name, self.verbose) as progress,
        ):
            rows = self._rows(network, batches, progress)
            features = _gather(rows, len(images), self.n_features_out_, network, keep)
        seconds = time.perf_counter() - begin
        if bad:
            features[list(bad)] = np.nan
        return Extraction(features, dict(bad), batches.seconds, seconds - batches.seconds)

    def _rows(
        self, network: Network, batches: Iterator[np.ndarray], progress: Progress
    ) -> Iterator["torch.Tensor"]:
        """Yield the features of each batch, on the device."""
        for batch in batches:
            rows = network.features(batch)
            if rows.shape[1] != self.n_features_out_:
                raise ValueError(
                    f"the network gives {rows.shape[1]} features, but gave "
                    f"{self.n_features_out_} when this {type(self).__name__} was fitted. "
                    "Fit it again after a change of its parameters."
                )
            yield rows
            progress.advance(len(batch))

    def _load_network(self) -> Network:
        """Give the network, which is built where it is not there: a pickle leaves it behind."""
        network = self.__dict__.get("_network")
        if network is None:
            network = self.__dict__.pop("_identified", None) or self._build_network()
            if self.compile:
                network.compile()
            self._network = network
        return network

    def _new_module(self, device: "torch.device") -> tuple["torch.nn.Module", dict[str, Any]]:
        """Do what `_build` does, with weights that only `random_state` decides."""
        torch = import_optional("torch", extra="timm")
        with _BUILD_LOCK, torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed, which would also seed the generators of accelerators.
            torch.default_generator.manual_seed(int(self.random_state))
            return self._build(device)

    def _build_network(self) -> Network:
        torch = import_optional("torch", extra="timm")
        device = resolve_device(self.device)
        module, config = self._new_module(device)
        preparation = Preparation(config)
        # A graph that was exported says itself which types it computes in.
        exported = isinstance(module, torch.fx.GraphModule)
        try:
            module.eval()
        except NotImplementedError:
            # The module of an exported program has no modes to switch.
            if not exported:
                raise
        return Network(
            module.requires_grad_(False).to(device),
            preparation,
            device,
            bfloat16=use_bfloat16(self.precision, device)
            and not (exported and self.precision == "auto"),
            channels_last=self._channels_last,
        )

    def _drop_network(self) -> None:
        """Let go of the network and of the memory that it holds on its device."""
        networks = [self.__dict__.pop(name, None) for name in ("_network", "_identified")]
        devices = {network.device for network in networks if network is not None}
        del networks
        for device in devices:
            empty_cache(device)

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
        state.pop("_identified", None)
        return state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        return tags


def bad_images_text(bad: dict[int, str], total: int) -> str:
    """Say how many images cannot be read, and name the first."""
    first = [bad[index] for index in sorted(bad)[:3]]
    return f"{len(bad)} of {total} images cannot be read: {' '.join(first)}" + (
        " ..." if len(bad) > 3 else ""
    )


def _gather(
    parts: Iterator["torch.Tensor"], n_images: int, width: int, network: Network, keep: bool
) -> "np.ndarray | torch.Tensor":
    """Put the features of all batches together, as an array or a tensor on the device."""
    torch = import_optional("torch", extra="timm")
    on_cuda = network.device.type == "cuda"
    if keep:
        features = torch.empty((n_images, width), device=network.device)
    else:
        features = np.empty((n_images, width), dtype=np.float32)
    # Work on an accelerator is only ordered here, and done later: the next batch is made
    # ready meanwhile. Waiting for an earlier one keeps what is in flight small.
    waiting: deque = deque()
    stop = 0

    def finish() -> None:
        place, rows, event = waiting.popleft()
        if event is not None:
            event.synchronize()
        if not keep:
            features[place] = rows.numpy()

    for rows in parts:
        start, stop = stop, stop + len(rows)
        if keep:
            features[start:stop] = rows
        else:
            rows = rows.to("cpu", non_blocking=on_cuda)
        waiting.append((slice(start, stop), rows, _recorded_event(network) if on_cuda else None))
        if len(waiting) > _IN_FLIGHT or not on_cuda:
            finish()
    while waiting:
        finish()
    return features


def _recorded_event(network: Network) -> Any:
    """Give an event that comes when all that was ordered so far is done."""
    torch = import_optional("torch", extra="timm")
    with torch.cuda.device(network.device):
        event = torch.cuda.Event()
        event.record()
    return event
