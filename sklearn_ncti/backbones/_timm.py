"""Images to features or probabilities of a timm model."""

import json
import math
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast
from urllib.parse import urlparse

from sklearn.utils._param_validation import StrOptions

from .._utils.optional import import_optional
from ._backbone import network_module
from ._base import BaseBackbone, NoHeadError
from ._hub import (
    download_from_address,
    download_from_hub,
    file_in_cache,
    from_cache,
    time_limit,
)
from ._identity import check_download, identify_files
from ._names import WEIGHT_SUFFIXES, check_model_name, is_of_hub, is_registered, local_folder
from ._preparation import Geometry

if TYPE_CHECKING:
    import torch

# Seconds to wait for the configuration of a model on the hub while candidates are grouped by the
# geometry of their images. One that takes longer is not grouped: it is waited for when it runs.
_GEOMETRY_SECONDS = 5


class TimmBackbone(BaseBackbone):
    """Images to the pooled features of a model of timm, or to the probabilities of its classes.

    The network is frozen, and loaded without its classifier unless probabilities are wanted.
    Every image is prepared by the model's own evaluation transform, as timm defines it:
    resizing, cropping and normalisation differ between models, and a model needs the
    preparation that it was trained with.

    Parameters
    ----------
    model : str
        Name of the model: one of timm's names with or without the tag of its weights
        (``"resnet50"``, ``"resnet50.a1_in1k"``), ``"hf-hub:owner/name"`` for a model on the
        Hugging Face hub, or ``"local-dir:folder"`` for a folder that holds ``config.json``
        and the weights.

    pretrained : bool, default=True
        Whether to load the pre-trained weights. If False, the weights are random.

    output : {"features", "probabilities"}, default="features"
        What `transform` returns: pooled features, or the probabilities of the classes that
        the network was trained on (the softmax of the logits of its classification head, in
        float32). A model without a head then raises an error; the head is assumed to be a
        classifier. A :class:`~sklearn_ncti.ModelSelector` gets the probabilities for scorers
        that need them from a backbone of features as well, in the same pass.

    device : str or torch.device, default="auto"
        Device of the network. ``"auto"`` is a CUDA device if one is available, else Apple's
        ``"mps"``, else the CPU.

    batch_size : int, default=64
        Number of images that are prepared together, and the upper limit of those that go
        through the network at once. On the CPU they go through it in smaller parts, which is
        faster. If they do not fit into the memory of the device, a warning says how many do.

    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Precision of the network. ``"bfloat16"`` uses torch's autocast. ``"auto"`` is bfloat16
        on CUDA devices that support it, and float32 elsewhere.

    num_workers : int, default=None
        Number of threads that read and prepare images. ``None`` is one for each CPU, at most
        8. 0 uses the calling thread.

    compile : bool, default=False
        Whether to call `torch.compile`. Compilation takes about a minute and pays off for
        large image sets. If it fails, a warning says why and the network runs uncompiled.

    on_bad_image : {"raise", "skip"}, default="raise"
        How to handle unreadable images. ``"raise"`` raises an error that names the first.
        ``"skip"`` continues: `transform` still returns one row per image, and the rows of
        unreadable images are NaN. In a :class:`~sklearn_ncti.ModelSelector` the selector's
        parameter of the same name is used instead.

    random_state : int, default=0
        Seed of weights that are not loaded.

    verbose : int, default=0
        If 1 or more, show progress on the standard error stream: a bar on a terminal,
        occasional lines in a log.

    Attributes
    ----------
    n_features_out_ : int
        Number of features, or of source classes.

    See Also
    --------
    TorchBackbone : The same for any torch module.

    Notes
    -----
    Images are converted to RGB (to grey for a model with one input channel). 16-bit grey
    images are scaled to 8 bits. Transparency is dropped and the EXIF orientation is not
    applied, as in timm. Only the first frame of an animated image is used.

    A pickle does not contain the network, which is loaded again at the first `transform`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ncti.backbones import TimmBackbone
    >>> images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    >>> backbone = TimmBackbone("test_resnet", pretrained=False).fit(images)
    >>> backbone.transform(images).shape
    (4, 96)
    """

    _parameter_constraints: ClassVar[dict] = {
        "model": [str],
        "pretrained": ["boolean"],
        "output": [StrOptions({"features", "probabilities"})],
        **BaseBackbone._parameter_constraints,
    }

    _channels_last: ClassVar[bool] = True

    _outputs: ClassVar[tuple[str, ...]] = ("features", "probabilities")

    def __init__(
        self,
        model: str,
        *,
        pretrained: bool = True,
        output: str = "features",
        device: "str | torch.device" = "auto",
        batch_size: int = 64,
        precision: str = "auto",
        num_workers: int | None = None,
        compile: bool = False,
        on_bad_image: str = "raise",
        random_state: int = 0,
        verbose: int = 0,
    ) -> None:
        self.model = model
        self.pretrained = pretrained
        self.output = output
        self.device = device
        self.batch_size = batch_size
        self.precision = precision
        self.num_workers = num_workers
        self.compile = compile
        self.on_bad_image = on_bad_image
        self.random_state = random_state
        self.verbose = verbose

    def _new_module(
        self, device: "torch.device", outputs: tuple[str, ...]
    ) -> tuple["torch.nn.Module", dict[str, Any]]:
        # Here, and not where networks are built, which is done one at a time.
        self.fetch(outputs)
        return super()._new_module(device, outputs)

    def _build(
        self, device: "torch.device", outputs: tuple[str, ...]
    ) -> tuple["torch.nn.Module", dict[str, Any]]:
        timm = import_optional("timm", extra="timm")
        # A head is loaded only if probabilities are asked for.
        if "probabilities" not in outputs:
            module = self._load(num_classes=0)
            return module, timm.data.resolve_model_data_config(module)
        both = "features" in outputs
        module = self._load_with_head(both)
        config = timm.data.resolve_model_data_config(module)
        # Its file needs torch to be read.
        from ._head import WithHead

        return WithHead(module, gives_features=both), config

    def _load_with_head(self, both: bool) -> "torch.nn.Module":
        """Return the network with its head; with `both`, one that gives features as well."""
        if not self.pretrained:
            headless = self._load(num_classes=0)
            module = self._load()
        else:
            try:
                module = self._load()
            except Exception as exc:
                self._seed()
                # Raises by itself where it is not only the head.
                self._load(num_classes=0)
                reason = f"{exc}".strip().partition("\n")[0]
                raise self._no_head(f"without it the weights load, with it not: {reason}") from exc
        if not getattr(module, "num_classes", 0):
            raise self._no_head("its num_classes is 0.")
        if both and not hasattr(module, "forward_head"):
            raise self._no_head("it has no forward_head, as models of timm have.")
        if not self.pretrained:
            # With a head, the same seed gives other random weights.
            _put_under_head(headless, module)
        return module

    def _check_head(self) -> None:
        """Check of the head what needs no download to be known."""
        config = self._pretrained_config() if is_registered(self.model) else None
        if (config or {}).get("num_classes") == 0:
            raise self._no_head("it was trained without one.")

    def _no_head(self, why: str) -> NoHeadError:
        return NoHeadError(
            f"model {self.model!r} has no classification head that gives probabilities of source "
            f"classes: {why} Use output='features' and scorers of features, or leave it out."
        )

    def _seed(self) -> None:
        torch = import_optional("torch", extra="timm")
        torch.default_generator.manual_seed(int(self.random_state))

    def _load(self, pretrained: bool | None = None, **arguments: Any) -> "torch.nn.Module":
        """Let timm make the network, with the weights that it is to have."""
        timm = import_optional("timm", extra="timm")
        pretrained = self.pretrained if pretrained is None else pretrained
        with self._from_cache():
            try:
                module = timm.create_model(self.model, pretrained=pretrained, **arguments)
            except Exception as exc:
                if not pretrained:
                    raise
                raise self._not_loaded(exc) from exc
        if pretrained and self.model.startswith("local-dir:"):
            self._check_loaded(module, **arguments)
        return module

    def _not_loaded(self, exc: Exception) -> RuntimeError:
        return RuntimeError(
            f"could not load the weights of {self.model!r}: {exc}.\n"
            "Without a network, use a 'local-dir:' folder, pretrained=False, or fill "
            "the cache where there is one (fit once there) and take it along: the "
            "environment variable HF_HOME names its folder."
        )

    def to_timm(self, num_classes: int) -> tuple["torch.nn.Module", dict[str, Any]]:
        """Return the network with a new head, ready for fine-tuning, and its preparation.

        The weights under the head are those that `transform` uses. The head is new as a whole,
        also where the network was trained on as many classes. The backbone need not be fitted,
        and keeps no part of the network.

        Parameters
        ----------
        num_classes : int
            Number of outputs of the head. 0 for no head: the network then returns the features
            that were ranked.

        Returns
        -------
        network : torch.nn.Module
            The network on the CPU, in training mode, in float32, with all weights trainable. The
            weights of the head are random; `random_state` decides them.

        data_config : dict of str to object
            How images are prepared for it (input size, interpolation, crop, mean and standard
            deviation), as the arguments of ``timm.data.create_transform``.

        Raises
        ------
        ValueError
            If `num_classes` is no integer of at least 0, or there is no such model.
        RuntimeError
            If the weights cannot be loaded; the message says why.

        See Also
        --------
        ModelSelector.to_timm : The same for the best of several candidates.

        Examples
        --------
        >>> import timm
        >>> from sklearn_ncti.backbones import TimmBackbone
        >>> network, config = TimmBackbone("test_resnet", pretrained=False).to_timm(3)
        >>> network.get_classifier()
        Linear(in_features=96, out_features=3, bias=True)
        >>> augmented = timm.data.create_transform(**config, is_training=True)
        >>> plain = timm.data.create_transform(**config)
        """
        self._validate_params()
        if isinstance(num_classes, bool) or not isinstance(num_classes, Integral):
            raise ValueError(f"num_classes must be an integer, got {num_classes!r}.")
        if num_classes < 0:
            raise ValueError(f"num_classes must be at least 0, got {num_classes!r}.")
        self.fetch(("features",))
        with network_module().seeded(self.random_state):
            network = self._load(num_classes=0)
            # Before there is a head, as for the features that were ranked.
            config = import_optional("timm.data", extra="timm").resolve_model_data_config(network)
            if num_classes:
                headless, network = network, self._load(False, num_classes=int(num_classes))
                _put_under_head(headless, network)
        return network, config

    def lacks_files(self) -> bool:
        """Whether files must be downloaded before timm loads the network."""
        if not self._is_fetched():
            return False
        if is_of_hub(self.model) and file_in_cache(self._repository(), ["config.json"]) is None:
            return True
        return self.pretrained and not _is_local(*self._source())

    def fetch(self, outputs: tuple[str, ...] | None = None) -> None:
        """Download the weights if they are not on this machine.

        Parameters
        ----------
        outputs : tuple of {"features", "probabilities"}, default=None
            The outputs that they are needed for; that of `transform` if None.

        Raises
        ------
        ValueError
            If there is no such model, or no classification head for probabilities.
        RuntimeError
            If the download fails; the message says why.
        """
        check_model_name(self.model, self.pretrained)
        if "probabilities" in (outputs or (self.output,)):
            self._check_head()
        try:
            if self.lacks_files():
                self._download()
        except OSError as exc:
            raise self._not_loaded(exc) from exc

    def _download(self) -> None:
        """Download what timm is going to load, where it is not in the cache."""
        if is_of_hub(self.model):
            self._hub_config_file()
        if not self.pretrained:
            return
        name, files = self._source()
        if _is_local(name, files):
            return
        if files:
            download_from_hub(name, files)
        else:
            _fetch_address(name)

    def hub_repository(self) -> str | None:
        """Return owner and name of the hub's repository of the weights; None without one."""
        if is_of_hub(self.model):
            return self._repository().partition("@")[0]
        name, files = self._source() if self.pretrained and is_registered(self.model) else ("", [])
        return name.partition("@")[0] if files else None

    def _repository(self) -> str:
        """Return the repository of a "hf-hub:" name, with its revision if it has one."""
        return self.model.partition(":")[2]

    def _is_fetched(self) -> bool:
        """Whether files are downloaded before timm loads them; else timm downloads them."""
        downloads = is_of_hub(self.model) or (self.pretrained and is_registered(self.model))
        return downloads and find_spec("huggingface_hub") is not None and time_limit() > 0

    def _source(self) -> tuple[str, list[str]]:
        """Return where timm downloads the weights from, if it does.

        That is a repository of the hub and its possible files, the first of which that exists
        is used; or another address without files; or neither if nothing is downloaded.
        """
        config = self._pretrained_config() or {}
        name = config.get("hf_hub_id")
        if is_of_hub(self.model):
            name = self._repository()
        elif config.get("file") or config.get("state_dict"):
            return "", []
        if name:
            return name, _hub_files(config.get("hf_hub_filename"))
        return config.get("url") or "", []

    def _from_cache(self) -> AbstractContextManager[None]:
        """Return a context in which timm loads fetched files of the hub from the cache alone."""
        if self._is_fetched() and (is_of_hub(self.model) or self._source()[1]):
            return from_cache()
        return nullcontext()

    def geometry(self) -> Geometry | None:
        """Return the input geometry of the network without building it; None if unknown."""
        try:
            if is_of_hub(self.model) and self._is_fetched():
                self._hub_config_file(at_most=_GEOMETRY_SECONDS)
        except Exception:
            return None
        return super().geometry()

    def _data_config(self) -> dict[str, Any] | None:
        data = import_optional("timm.data", extra="timm")
        config = self._pretrained_config()
        return data.resolve_data_config(pretrained_cfg=config) if config else None

    def _pretrained_config(self) -> dict[str, Any] | None:
        """Return what timm knows about the weights, without building the network."""
        models = import_optional("timm.models", extra="timm")
        if self.model.startswith("local-dir:"):
            file = local_folder(self.model) / "config.json"
        elif is_of_hub(self.model):
            file = self._hub_config_file()
        else:
            config = models.get_pretrained_cfg(self.model)
            return None if config is None else config.to_dict()
        config = json.loads(file.read_text(encoding="utf-8"))
        return config.get("pretrained_cfg", config)

    def _hub_config_file(self, at_most: float = math.inf) -> Path:
        """Return the configuration of a model on the hub, downloaded if it is not cached."""
        hub = import_optional("huggingface_hub", extra="timm")
        repository = self._repository()
        if not self._is_fetched():
            name, _, revision = repository.partition("@")
            return Path(hub.hf_hub_download(name, "config.json", revision=revision or None))
        found = file_in_cache(repository, ["config.json"])
        if found is None:
            download_from_hub(repository, ["config.json"], at_most=at_most)
            found = file_in_cache(repository, ["config.json"])
        return cast(Path, found)

    def _weights_identity(self) -> dict[str, Any] | None:
        timm = import_optional("timm", extra="timm")
        identity: dict[str, Any] = {"timm": timm.__version__}
        if self.model.startswith("local-dir:"):
            folder = local_folder(self.model)
            suffixes = WEIGHT_SUFFIXES if self.pretrained else ()
            files = [path for path in folder.iterdir() if path.name.endswith(suffixes)]
            identity["files"] = identify_files([folder / "config.json", *sorted(files)])
        elif self.pretrained or is_of_hub(self.model):
            source = self._hub_source()
            if source is None:
                return None
            identity["hub"] = source
        else:
            identity["architecture"] = self.model
        if not self.pretrained:
            torch = import_optional("torch", extra="timm")
            identity |= {"random_state": int(self.random_state), "torch": torch.__version__}
        return identity

    def _hub_source(self) -> list[str] | None:
        """Name and revision of downloaded weights; None where they are not there."""
        if is_of_hub(self.model):
            # The weights come from the same revision as the configuration.
            name, files = self._repository(), ["config.json"]
        else:
            name, files = self._source()
            if not files:
                return [self.model, name] if name else None
        file = file_in_cache(name, files)
        if file is None:
            return None
        check_download(file)
        return [name, file.name, file.parent.name]

    def _check_loaded(self, module: "torch.nn.Module", **arguments: Any) -> None:
        """Check that the weights of a local folder are those of its architecture.

        timm leaves out the classifier, and for its sake overlooks every other weight that the
        file lacks: a file of another model gives a random network without any error.
        """
        timm = import_optional("timm", extra="timm")
        torch = import_optional("torch", extra="timm")
        # Drawn as the network was before its weights were loaded: what is still the same was
        # not loaded. Constants (the biases and scales) tell nothing.
        self._seed()
        drawn = dict(timm.create_model(self.model, **arguments).named_parameters())
        missing = [
            name
            for name, weight in module.named_parameters()
            if weight.requires_grad
            and weight.ndim > 1
            and torch.equal(weight, drawn[name])
            and weight.min() < weight.max()
        ]
        if missing:
            raise ValueError(
                f"model {self.model!r}: the weights in the folder hold nothing for "
                f"{len(missing)} of the network's own, which are left random: "
                f"{', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}. Check that "
                "config.json names the architecture of the weights; pretrained=False gives a "
                "network that is random throughout."
            )


def _put_under_head(headless: "torch.nn.Module", network: "torch.nn.Module") -> None:
    """Give a network with a head the weights of the same network without one."""
    network.load_state_dict(headless.state_dict(), strict=False)


def _hub_files(own: str | None) -> list[str]:
    """List the files in which timm looks for weights on the hub, in its order.

    The name of timm's own is that of a configuration, or the usual one. Before a file that is
    a pickle comes one that is none.
    """
    own = own or "pytorch_model.bin"
    if own in ("pytorch_model.bin", "open_clip_pytorch_model.bin"):
        return [own.replace("pytorch_model.bin", "model.safetensors"), own]
    return [f"{own[:-4]}.safetensors", own] if own.endswith(".bin") else [own]


def _fetch_address(url: str) -> None:
    """Download weights that are not on the hub to where timm looks for them."""
    file = _file_of(url)
    file.parent.mkdir(parents=True, exist_ok=True)
    download_from_address(url, file)


def _file_of(url: str) -> Path:
    """Return where timm looks for weights from another address than the hub's."""
    torch = import_optional("torch", extra="timm")
    return Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(url).path).name)


def _is_local(name: str, files: list[str]) -> bool:
    """Whether weights from a source, as `_source` gives it, need no download."""
    if not name:
        return True
    return file_in_cache(name, files) is not None if files else _file_of(name).exists()
