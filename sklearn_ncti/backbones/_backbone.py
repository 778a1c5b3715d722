"""What backbones of images and of texts have in common: the members that a selector needs."""

from abc import ABCMeta, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils._param_validation import Interval, StrOptions

from .._utils.optional import import_optional

if TYPE_CHECKING:
    from types import ModuleType

    import numpy as np
    import torch


class Extraction(NamedTuple):
    """What one pass over images or texts gives, and what it took.

    Attributes
    ----------
    arrays : dict of str to ndarray or tensor of shape (n_rows, width)
        One contiguous array for each output. Rows of unreadable images are NaN.

    unreadable : dict of int to str
        Positions of images that cannot be read, and why.

    decode_time, device_time : float
        Seconds of waiting for images or tokens, and of the network.

    n_parameters : dict of str to int
        Number of the network's parameters that each output needs.

    license : str
        License of the weights, empty if it is not known.

    n_tokens : int or None
        Number of tokens of all texts, without padding; None for images.

    n_truncated : int or None
        Number of texts that were longer than the network takes; None for images.
    """

    arrays: dict[str, "np.ndarray | torch.Tensor"]
    unreadable: Mapping[int, str]
    decode_time: float
    device_time: float
    n_parameters: dict[str, int]
    license: str
    n_tokens: int | None = None
    n_truncated: int | None = None


class Backbone(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator, metaclass=ABCMeta
):
    """Rows of one kind, images or texts, to features with a frozen network.

    In addition to the methods of a transformer, a backbone has members for `ModelSelector`,
    which shares prepared rows between candidates and caches what they give: `takes`,
    `outputs_for`, `geometry`, `check_rows`, `prepare`, `identity`, `runs_on_cuda`, `extract`,
    `weighted_alpha`, `restore`, `release`, `lacks_files`, `fetch` and `hub_repository`.
    """

    _parameter_constraints: ClassVar[dict] = {
        # A torch device would need torch to be named here; `resolve_device` checks it.
        "device": "no_validation",
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "precision": [StrOptions({"auto", "float32", "bfloat16"})],
        "verbose": ["verbose"],
    }

    # What goes in: "images" or "texts".
    takes: ClassVar[str]

    # The extra of this package that installs what the network needs.
    _extra: ClassVar[str] = "timm"

    # What `transform` gives; a parameter where there is a choice.
    output: str = "features"

    # What `extract` can give.
    _outputs: ClassVar[tuple[str, ...]] = ("features",)

    # The loaded network, and one that was built to be identified and has not run for a user.
    _network: Any = None
    _identified: Any = None

    @staticmethod
    @abstractmethod
    def check_rows(X: Any) -> Any:
        """Return `X` as rows of the kind that goes in, or raise an error that says why not."""

    @abstractmethod
    def geometry(self) -> Any:
        """Return what prepared rows depend on, hashable; None if it is not known."""

    @abstractmethod
    def prepare(
        self, rows: Any, *, on_bad_image: str, budget: int, models: Sequence[Any] = ()
    ) -> Any:
        """Return rows that are prepared once for all backbones of this geometry.

        `budget` are the bytes that may be kept in memory, and `models` those backbones.
        """

    @abstractmethod
    def identity(self, output: str | None = None) -> dict[str, Any] | None:
        """Return in terms of JSON what determines an output besides the rows."""

    @abstractmethod
    def extract(self, rows: Any, outputs: tuple[str, ...] = ("features",), **options: Any) -> Any:
        """Compute several outputs in one pass, as an `Extraction`."""

    @abstractmethod
    def weighted_alpha(self) -> float:
        """Return the weighted alpha of the network's weights; smaller is better."""

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

    def runs_on_cuda(self) -> bool:
        """Whether the network runs on a CUDA device."""
        return network_module(self._extra).resolve_device(self.device).type == "cuda"

    def check_device(self) -> None:
        """Raise a ParameterError if the device cannot be used here."""
        if self.device not in ("auto", "cpu"):
            network_module(self._extra).resolve_device(self.device)

    def restore(self, n_features_out: int) -> Self:
        """Become fitted with a known number of features, without loading the network."""
        self.n_features_out_ = n_features_out
        return self

    def release(self) -> None:
        """Let go of the network and of the memory that it holds on its device."""
        loaded = [self._network, self._identified]
        self._network = self._identified = None
        devices = {network.device for network in loaded if network is not None}
        del loaded
        for device in devices:
            network_module(self._extra).empty_cache(device)

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
        tags.input_tags.string = True
        return tags


def network_module(extra: str = "timm") -> "ModuleType":
    """Import the module of networks; an error names the extra to install."""
    import_optional("torch", extra=extra)
    # Its file needs torch to be read.
    from . import _network

    return _network
