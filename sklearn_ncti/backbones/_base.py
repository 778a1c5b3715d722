"""What all backbones share, from the images to the rows of features.

The way of the data is images -> pixels of one size -> batches -> network -> rows. A backbone
of its own kind says two things: the geometry of its input, which needs no network, and how
its network is made.
"""

import time
import warnings
from abc import ABCMeta, abstractmethod
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import closing
from numbers import Integral
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

from .._linalg.spectrum import weighted_alpha
from .._utils.optional import import_optional
from .._utils.stacklevel import find_stack_level
from ._preparation import Geometry, Preparation
from ._prepared import PreparedImages, Timed, decode
from ._progress import Progress
from ._sources import as_images

if TYPE_CHECKING:
    from types import ModuleType

    import torch
    from numpy.typing import NDArray

    from ._network import Network


class NoHeadError(ValueError):
    """A network has no classification head, and its probabilities were asked for."""


class Extraction(NamedTuple):
    """What one pass over images gives, and what it took.

    Attributes
    ----------
    arrays : dict of str to ndarray or tensor of shape (n_images, width)
        One contiguous array for each output. Rows of unreadable images are NaN.

    unreadable : dict of int to str
        Positions of images that cannot be read, and why.

    decode_time, device_time : float
        Seconds of waiting for images, and of the network.

    n_parameters : dict of str to int
        Number of the network's parameters that each output needs.

    license : str
        License of the weights, empty if it is not known.
    """

    arrays: dict[str, "np.ndarray | torch.Tensor"]
    unreadable: dict[int, str]
    decode_time: float
    device_time: float
    n_parameters: dict[str, int]
    license: str


class NetworkFacts(NamedTuple):
    """Work for one image, number of parameters, input size and license of a network."""

    work: float
    n_parameters: int
    input_size: int
    license: str


class BaseBackbone(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator, metaclass=ABCMeta
):
    """Images to features with a frozen network.

    Besides the methods of a transformer, a backbone has members for `ModelSelector`, which
    shares images between candidates and caches what they give: `outputs_for`, `geometry`,
    `preparation`, `identity`, `runs_on_cuda`, `extract`, `weighted_alpha`, `restore`, `release`,
    `lacks_files`, `fetch` and `hub_repository`. A class that derives from this one adds `_build`,
    `_data_config` and `_weights_identity`.
    """

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

    # What `transform` gives; a parameter where there is a choice.
    output: str = "features"

    # What `extract` can give.
    _outputs: ClassVar[tuple[str, ...]] = ("features",)

    # Whether images go in with their channels last in memory. Convolutions are faster so, but
    # a module that uses `Tensor.view` on what comes out of them would fail.
    _channels_last: ClassVar[bool] = False

    # The loaded network, and one that was built to be identified and has not run for a user.
    _network: "Network | None" = None
    _identified: "Network | None" = None

    @abstractmethod
    def _build(
        self, device: "torch.device", outputs: tuple[str, ...]
    ) -> tuple["torch.nn.Module", dict[str, Any]]:
        """Return a new network and the arguments of timm's `create_transform`.

        The network gives the outputs side by side, in that order. It may lie on any device: it
        is moved to `device` afterwards. Networks that cannot simply be moved use `device` here.
        """

    @abstractmethod
    def _data_config(self) -> dict[str, Any] | None:
        """Return the arguments of `create_transform` without the network; None if unknown."""

    @abstractmethod
    def _weights_identity(self) -> dict[str, Any] | None:
        """Return in terms of JSON which weights these are; None if that cannot be known."""

    def outputs_for(self, responses: Collection[str]) -> tuple[str, ...]:
        """Return the outputs that scorers with these responses measure.

        Where `output` was set to something else than features, all scorers get that.
        """
        if self.output != "features":
            return (self.output,)
        wanted = tuple(name for name in self._outputs if name in responses)
        return wanted or (self.output,)

    def lacks_files(self) -> bool:
        """Whether files must be downloaded before the network can be built."""
        return False

    def fetch(self, outputs: tuple[str, ...] | None = None) -> None:
        """Download the weights if they are not on this machine.

        Parameters
        ----------
        outputs : tuple of {"features", "probabilities"}, default=None
            The outputs that they are needed for; that of `transform` if None.
        """

    def hub_repository(self) -> str | None:
        """Return owner and name of the hub's repository of the weights; None without one."""
        return None

    def geometry(self) -> Geometry | None:
        """Return the input geometry of the network without building it; None if unknown."""
        try:
            return self.preparation().geometry
        except Exception:
            # What is wrong shows when the network is built, with a better error.
            return None

    def preparation(self) -> Preparation:
        """Return how images are prepared, without building the network."""
        return Preparation(self._data_config() or {})

    def identity(self, output: str | None = None) -> dict[str, Any] | None:
        """Return in terms of JSON what determines an output besides the images.

        Only parameters that change the values are part of it.

        Parameters
        ----------
        output : str, default=None
            The output; that of `transform` if None.

        Returns
        -------
        identity : dict or None
            The identity, under which the output is cached; None if it is not known.
        """
        weights = self._weights_identity()
        config = None if weights is None else self._data_config()
        if config is None:
            return None
        networks = _networks()
        device = networks.resolve_device(self.device)
        # Exported programs take "auto" in a way of their own.
        precision = self.precision if networks.use_bfloat16(self.precision, device) else "float32"
        identity = {
            "weights": weights,
            "preparation": {name: repr(value) for name, value in sorted(config.items())},
            "device": device.type,
            "precision": precision,
            "compile": bool(self.compile),
        }
        # Without an entry for features: caches from before there were other outputs stay valid.
        output = output or self.output
        return identity if output == "features" else {**identity, "output": output}

    def runs_on_cuda(self) -> bool:
        """Whether the network runs on a CUDA device."""
        return _networks().resolve_device(self.device).type == "cuda"

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Load the network and find the number of its features.

        No image is decoded: one blank image goes through the network. `X` must hold images, and
        its files must exist.

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
        as_images(X)
        # One that was built to be identified has not served yet, and is that of these parameters.
        self._network = None
        self.n_features_out_ = sum(self._load_network((self.output,)).widths().values())
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
            The features, one row for each image in the order given. NaN and infinite values of
            the network are returned unchanged. With ``on_bad_image="skip"`` the rows of
            unreadable images are NaN, and a warning names them.

        Raises
        ------
        TypeError or ValueError
            If `X` holds no images, a file is missing, or an image cannot be read; the message
            names the image.
        """
        check_is_fitted(self)
        images = as_images(X)
        network = self._load_network((self.output,))
        extraction = self._compute(
            network, images, {self.output: self.n_features_out_}, on_bad_image=self.on_bad_image
        )
        features = extraction.arrays[self.output]
        if extraction.unreadable:
            warnings.warn(
                f"{bad_images_text(extraction.unreadable, len(features))} Their rows are NaN.",
                UserWarning,
                stacklevel=find_stack_level(),
            )
        return features

    @_fit_context(prefer_skip_nested_validation=True)
    def extract(
        self,
        images: Any,
        outputs: tuple[str, ...] = ("features",),
        *,
        on_bad_image: str,
        on_device: bool = False,
        prepared: PreparedImages | None = None,
    ) -> Extraction:
        """Compute several outputs in one pass.

        The backbone need not be fitted, and is fitted afterwards if `outputs` holds that of
        `transform`. The network stays loaded until `release`.

        Parameters
        ----------
        images : ndarray or sequence of path or PIL image
            The images, as for `transform`.

        outputs : tuple of {"features", "probabilities"}, default=("features",)
            What to compute.

        on_bad_image : {"raise", "skip"}
            How to handle unreadable images; see the parameter of this name.

        on_device : bool, default=False
            Whether to return tensors on the device of the network instead of arrays.

        prepared : PreparedImages, default=None
            The same images, prepared for several networks. Ignored if the network has another
            input geometry.

        Returns
        -------
        extraction : Extraction
            One array for each output, and what it took.

        Raises
        ------
        NoHeadError
            If probabilities are asked of a network without a classification head.
        """
        images = as_images(images)
        if not outputs or set(outputs) - set(self._outputs):
            raise ValueError(f"outputs must be some of {self._outputs}, got {outputs!r}.")
        network = self._load_network(tuple(name for name in self._outputs if name in outputs))
        widths = network.widths()
        if self.output in widths:
            self.n_features_out_ = widths[self.output]
        if prepared is not None and prepared.geometry == network.preparation.geometry:
            images = prepared
        return self._compute(
            network, images, widths, on_bad_image=on_bad_image, on_device=on_device
        )

    def weighted_alpha(self) -> float:
        """Return the weighted alpha of the network's weights; smaller is better.

        The network is that which is loaded, or is loaded for this. See
        `_linalg.spectrum.weighted_alpha` for the definition; NaN if no weight matrix is large
        enough.
        """
        network = self._network or self._identified or self._build_network((self.output,))
        return weighted_alpha(network.weight_matrices())

    def count_work(self) -> "NetworkFacts":
        """Build the network and count its work for one image, which is a blank one."""
        network = self._load_network((self.output,))
        # Its file needs torch to be read.
        from ._count import work_of_network

        size = network.preparation.geometry.shape[0]
        work = work_of_network(network)
        return NetworkFacts(work, network.n_parameters, size, network.license)

    def restore(self, n_features_out: int) -> Self:
        """Become fitted with a known number of features, without loading the network."""
        self.n_features_out_ = n_features_out
        return self

    def release(self) -> None:
        """Let go of the network and of the memory that it holds on its device."""
        networks = [self._network, self._identified]
        self._network = self._identified = None
        devices = {network.device for network in networks if network is not None}
        del networks
        for device in devices:
            _networks().empty_cache(device)

    def _compute(
        self,
        network: "Network",
        images: np.ndarray | list | PreparedImages,
        widths: dict[str, int],
        *,
        on_bad_image: str,
        on_device: bool = False,
    ) -> Extraction:
        """Run a network over images, and give each output an array of its width.

        `images` are what `as_images` returned, decoded on the way and then forgotten, or
        images that are prepared for several networks.
        """
        source, unreadable = self._batches(network, images, on_bad_image)
        # Its file needs torch to be read.
        from ._gather import gather

        name = getattr(self, "model", type(self).__name__)
        begin = time.perf_counter()
        # Closed by name: an error of the network would else leave the threads at work.
        with (
            closing(Timed(source)) as batches,
            Progress(len(images), name, self.verbose) as progress,
        ):
            rows = self._rows(network, batches, sum(widths.values()), progress)
            arrays = gather(rows, len(images), widths, network, on_device)
        seconds = time.perf_counter() - begin
        if unreadable:
            for array in arrays.values():
                array[list(unreadable)] = np.nan
        return Extraction(
            arrays,
            dict(unreadable),
            batches.seconds,
            seconds - batches.seconds,
            {output: network.parameters_for(output) for output in widths},
            network.license,
        )

    def _batches(
        self,
        network: "Network",
        images: np.ndarray | list | PreparedImages,
        on_bad_image: str,
    ) -> tuple[Generator[np.ndarray, None, None], dict[int, str]]:
        """Return the batches, and the dict that will hold the unreadable images."""
        if isinstance(images, PreparedImages):
            return images.batches(self.batch_size), images.unreadable
        unreadable: dict[int, str] = {}
        batches = decode(
            images,
            network.preparation,
            self.batch_size,
            num_workers=self.num_workers,
            unreadable=unreadable if on_bad_image == "skip" else None,
        )
        return batches, unreadable

    def _rows(
        self, network: "Network", batches: Iterator[np.ndarray], width: int, progress: Progress
    ) -> Iterator["torch.Tensor"]:
        """Yield the rows of each batch, on the device."""
        for batch in batches:
            rows = network.features(batch)
            if rows.shape[1] != width:
                raise ValueError(
                    f"the network gives {rows.shape[1]} features, but gave "
                    f"{width} when this {type(self).__name__} was fitted. "
                    "Fit it again after a change of its parameters."
                )
            yield rows
            progress.advance(len(batch))

    def _load_network(self, outputs: tuple[str, ...]) -> "Network":
        """Return the network, built if there is none for these outputs: pickles have none."""
        network = self._network
        if network is None or network.outputs != outputs:
            network, self._identified = self._identified or self._build_network(outputs), None
            if self.compile:
                network.compile()
            self._network = network
        return network

    def _new_module(
        self, device: "torch.device", outputs: tuple[str, ...]
    ) -> tuple["torch.nn.Module", dict[str, Any]]:
        """Do what `_build` does, with weights that only `random_state` decides."""
        with _networks().seeded(self.random_state):
            return self._build(device, outputs)

    def _build_network(self, outputs: tuple[str, ...]) -> "Network":
        networks = _networks()
        device = networks.resolve_device(self.device)
        module, config = self._new_module(device, outputs)
        preparation = Preparation(config)
        # A graph that was exported says itself which types it computes in.
        keeps_types = networks.is_exported(module) and self.precision == "auto"
        return networks.Network(
            networks.frozen(module).to(device),
            preparation,
            device,
            bfloat16=networks.use_bfloat16(self.precision, device) and not keeps_types,
            channels_last=self._channels_last,
            outputs=outputs,
        )

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


def bad_images_text(unreadable: Mapping[int, str], total: int) -> str:
    """Say how many images cannot be read, and name the first."""
    first = [unreadable[index] for index in sorted(unreadable)[:3]]
    return f"{len(unreadable)} of {total} images cannot be read: {' '.join(first)}" + (
        " ..." if len(unreadable) > 3 else ""
    )


def _networks() -> "ModuleType":
    """Import the module of networks; an error names the extra to install."""
    import_optional("torch", extra="timm")
    # Its file needs torch to be read.
    from . import _network

    return _network
