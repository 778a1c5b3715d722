"""Texts to features of an encoder of transformers."""

import time
import warnings
from collections.abc import Hashable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from .._linalg.spectrum import weighted_alpha
from .._utils.optional import import_optional
from .._utils.stacklevel import find_stack_level
from ._backbone import Backbone, Extraction, network_module
from ._pooling import POOLINGS, Pooling, pooling_of
from ._progress import Progress
from ._text_folder import (
    folder_of,
    identify_tokenizer,
    identify_weights,
    is_at_hand,
    load_config,
    load_module,
    load_tokenizer,
    most_tokens,
    repository_of,
)
from ._texts import Texts, check_texts, warn_of_empty
from ._tokenize import PreparedTexts, SharedLayers, Tokenization, Tokens

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from ._text_network import TextNetwork

# Batches that are padded at a time: done by turns with a tiny network, each takes longer, for
# the caches of the processor (benchmarks/text_extraction.py).
_AHEAD = 8


class TextBackbone(Backbone):
    """Texts to the pooled features of an encoder of Hugging Face ``transformers``.

    The network is frozen. Texts are cut into tokens by the model's own tokenizer, go through
    the network in batches of similar length, and the vectors of their tokens are pooled. Rows
    keep the order of the texts.

    Parameters
    ----------
    model : str
        Name of the model: ``"local-dir:folder"`` for a folder with ``config.json``, the
        weights and the tokenizer, or ``"owner/name"`` or ``"hf-hub:owner/name"`` for a model
        on the Hugging Face hub. Any encoder or decoder that ``transformers.AutoModel`` loads
        will do; of encoder-decoder models the encoder is used.

    pooling : {"mean", "cls", "max", "last", "auto"}, default="mean"
        How the vectors of the tokens become one of the text: their mean or maximum, special
        tokens included and padding left out; the vector of the first token, as BERT is
        trained; or that of the last, which in decoders is the only one that has seen the whole
        text. ``"auto"`` is what the modules of a sentence-transformers folder say, with their
        normalisation and their maximal length, and the mean in other folders.

    layer : int, list of int or "all", default=-1
        Layer whose token vectors are pooled. 0 is the embedding of the tokens, 1 the first
        layer, and negative numbers count from the last. Several layers are candidates of a
        :class:`~sklearn_ncti.ModelSelector`, which computes them in one pass; a backbone on
        its own takes one.

    max_length : int, default=None
        Maximal number of tokens of a text, special ones included; the rest of the text is
        left out. None for as many as the model takes.

    device : str or torch.device, default="auto"
        Device of the network. ``"auto"`` is a CUDA device if one is available, else Apple's
        ``"mps"``, else the CPU.

    batch_size : int, default=64
        Number of texts that go through the network together. If they do not fit into the
        memory of the device, a warning says how many do.

    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Precision of the network. ``"bfloat16"`` uses torch's autocast. ``"auto"`` is bfloat16
        on CUDA devices that support it, and float32 elsewhere. Pooling is in float32.

    revision : str, default=None
        Branch, tag or commit of a repository on the hub. None for its main branch.

    trust_remote_code : bool, default=False
        Whether a model may run Python code from its folder. Such models are refused
        otherwise.

    output : {"features"}, default="features"
        What `transform` returns.

    verbose : int, default=0
        If 1 or more, show progress on the standard error stream.

    Attributes
    ----------
    n_features_out_ : int
        Number of features.

    n_truncated_ : int
        Number of texts of the last `transform` that were longer than `max_length`.

    See Also
    --------
    TimmBackbone : The same for images, with models of timm.

    Notes
    -----
    Weights are read from safetensors files, or from older files with torch's
    ``weights_only``: a model that needs no `trust_remote_code` runs no code of its own.

    Batches are padded at the end of the texts whatever the tokenizer prefers, and padding is
    masked, so that the features of a text do not depend on the other texts. A tokenizer
    without a padding token, as those of many decoders, gets its end-of-text token for it, and
    a warning says so.

    A text without any token, such as an empty one where the tokenizer adds none, is
    represented by the token that begins or ends texts.

    A pickle does not contain the network, which is loaded again at the first `transform`.

    Examples
    --------
    >>> from sklearn_ncti import TextBackbone
    >>> backbone = TextBackbone("sentence-transformers/all-MiniLM-L6-v2", pooling="auto")
    >>> backbone.fit_transform(["a first text", "a second one"]).shape  # doctest: +SKIP
    (2, 384)
    """

    _parameter_constraints: ClassVar[dict] = {
        "model": [str],
        "pooling": [StrOptions(set(POOLINGS))],
        "layer": [Integral, list, tuple, StrOptions({"all"})],
        "max_length": [Interval(Integral, 1, None, closed="left"), None],
        **Backbone._parameter_constraints,
        "revision": [str, None],
        "trust_remote_code": ["boolean"],
        "output": [StrOptions({"features"})],
    }

    takes: ClassVar[str] = "texts"

    _extra: ClassVar[str] = "text"

    check_rows = staticmethod(check_texts)

    def __init__(
        self,
        model: str,
        *,
        pooling: str = "mean",
        layer: int | list[int] | str = -1,
        max_length: int | None = None,
        device: "str | torch.device" = "auto",
        batch_size: int = 64,
        precision: str = "auto",
        revision: str | None = None,
        trust_remote_code: bool = False,
        output: str = "features",
        verbose: int = 0,
    ) -> None:
        self.model = model
        self.pooling = pooling
        self.layer = layer
        self.max_length = max_length
        self.device = device
        self.batch_size = batch_size
        self.precision = precision
        self.revision = revision
        self.trust_remote_code = trust_remote_code
        self.output = output
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Load the network and find the number of its features.

        No text is tokenized: one token goes through the network. `X` must hold texts.

        Parameters
        ----------
        X : sequence of str
            The texts. See `transform`.

        y : None
            Ignored, present for API consistency.

        Returns
        -------
        self : object
            The fitted backbone.

        Raises
        ------
        TypeError or ValueError
            If a parameter is out of its bounds, `X` holds no texts, or the folder of the model
            lacks a file; the message says what to do.
        """
        check_texts(X)
        self._network = None
        self.n_features_out_ = sum(self._load_network().widths([-1]).values())
        return self

    def transform(self, X: Any) -> "NDArray[np.float32]":
        """Compute the features of texts.

        Parameters
        ----------
        X : sequence of str
            The texts: a list or tuple, a one-dimensional array of NumPy, or a column of
            pandas, polars or Arrow. Empty texts are accepted, and a warning counts them.

        Returns
        -------
        features : ndarray of shape (n, n_features_out_) and dtype float32
            The features, one row for each text in the order given.

        Raises
        ------
        TypeError or ValueError
            If `X` holds no texts, or one is missing; the message names its row.
        """
        check_is_fitted(self)
        texts = check_texts(X)
        warn_of_empty(texts)
        layer = self._layer_number()
        extraction = self._compute(self.prepare(texts), [layer])[layer]
        features = extraction.arrays["features"]
        if features.shape[1] != self.n_features_out_:
            raise ValueError(
                f"the network gives {features.shape[1]} features, but gave "
                f"{self.n_features_out_} when this TextBackbone was fitted. Fit it again after a "
                "change of its parameters."
            )
        self.n_truncated_ = extraction.n_truncated
        return features

    def geometry(self) -> Tokenization | None:
        """Return what the tokens depend on; None if it is not known."""
        try:
            return self._tokenization()
        except Exception:
            # What is wrong shows when the network is built, with a better error.
            return None

    def prepare(
        self,
        rows: Texts,
        *,
        on_bad_image: str = "raise",
        budget: int = 0,
        models: Sequence[Any] = (),
    ) -> PreparedTexts:
        """Return texts that are tokenized once for all backbones of this tokenization."""
        wanted: dict[Hashable, list[int]] = {}
        for model in models:
            # One that has no such layer fails when it runs, and alone.
            with suppress(ValueError):
                wanted.setdefault(model._pass(), []).append(model._layer_number())
        several = {key: layers for key, layers in wanted.items() if len(layers) > 1}
        shared = SharedLayers(several, budget) if several else None
        return PreparedTexts(rows, self._tokenizer, self._tokenization(), shared)

    def identity(self, output: str | None = None) -> dict[str, Any] | None:
        """Return in terms of JSON what determines the features besides the texts.

        Only what changes the values is part of it: the content of the files, not their names.
        """
        networks = network_module(self._extra)
        device = networks.resolve_device(self.device)
        tokenization = self._tokenization()
        pooling = self._pooling()
        return {
            "weights": identify_weights(self._folder_of_weights()),
            "tokenization": list(tokenization),
            "pooling": [list(pooling.modes), pooling.normalize],
            "layer": self._layer_number(),
            "device": device.type,
            "precision": (
                "bfloat16" if networks.use_bfloat16(self.precision, device) else "float32"
            ),
        }

    @_fit_context(prefer_skip_nested_validation=True)
    def extract(
        self,
        rows: Any,
        outputs: tuple[str, ...] = ("features",),
        *,
        on_bad_image: str = "raise",
        on_device: bool = False,
        prepared: PreparedTexts | None = None,
    ) -> Extraction:
        """Compute the features as `transform` does, and tell what it took.

        The backbone need not be fitted, and is fitted afterwards. The network stays loaded
        until `release`.

        Parameters
        ----------
        rows : sequence of str
            The texts, as for `transform`.

        outputs : tuple of {"features"}, default=("features",)
            What to compute.

        on_bad_image : str, default="raise"
            Ignored: texts cannot be unreadable.

        on_device : bool, default=False
            Whether to return tensors on the device of the network instead of arrays.

        prepared : PreparedTexts, default=None
            The same texts, tokenized for several networks. Ignored if this one has another
            tokenization.

        Returns
        -------
        extraction : Extraction
            The features, and what they took.
        """
        texts = check_texts(rows)
        if tuple(outputs) != self._outputs:
            raise ValueError(f"outputs must be {self._outputs}, got {outputs!r}.")
        if prepared is None or prepared.geometry != self._tokenization():
            prepared = self.prepare(texts)
        layer = self._layer_number()
        run = partial(self._compute, prepared, on_device=on_device)
        if prepared.shared is None or not prepared.shared.holds(self._pass()):
            extraction = run([layer])[layer]
        else:
            extraction = prepared.shared.take(self._pass(), layer, self._bytes(texts), run)
        self.n_features_out_ = extraction.arrays["features"].shape[1]
        return extraction

    def _compute(
        self, prepared: PreparedTexts, layers: list[int], *, on_device: bool = False
    ) -> dict[int, Extraction]:
        """Run the network over the tokens of all texts, for several layers in one pass."""
        network = self._load_network()
        start = time.perf_counter()
        tokens = prepared.tokens()
        begin = time.perf_counter()
        network.check_tokens(tokens.columns["input_ids"])
        # Its file needs torch to be read.
        from ._gather import gather

        # Longest first: if memory runs out, it does so with the first batch.
        order = np.argsort(-tokens.lengths, kind="stable")
        widths = network.widths(layers)
        with Progress(len(order), self.model, self.verbose, "texts") as progress:
            rows = self._rows(network, tokens, order, layers, progress)
            arrays = gather(rows, len(order), widths, network, on_device, order=order)
        seconds = time.perf_counter() - begin
        return {
            layer: Extraction(
                {"features": arrays[name]},
                {},
                begin - start,
                seconds,
                {"features": network.n_parameters},
                "",
                n_tokens=int(tokens.starts[-1]),
                n_truncated=tokens.n_truncated,
            )
            for layer, name in zip(layers, widths, strict=True)
        }

    def _rows(
        self,
        network: "TextNetwork",
        tokens: Tokens,
        order: np.ndarray,
        layers: list[int],
        progress: Progress,
    ) -> Iterator["torch.Tensor"]:
        """Yield the rows of each batch, on the device."""
        starts = range(0, len(order), self.batch_size)
        batches = (tokens.batch(order[start : start + self.batch_size]) for start in starts)
        while ahead := list(islice(batches, _AHEAD)):
            for batch in ahead:
                yield network.rows(batch, layers)
                progress.advance(len(batch["attention_mask"]))

    def _pass(self) -> Hashable:
        """Return what a pass depends on but for the layer: equal ones give all layers together."""
        known = (str(self._folder()), self.pooling, str(self.device), self.precision)
        return (*known, self.batch_size, self._tokenization())

    def _bytes(self, texts: Texts) -> int:
        """Return the bytes of the features of one layer."""
        config = load_config(self._folder(), self.trust_remote_code)
        width = getattr(config, "hidden_size", 0) * len(self._pooling().modes)
        return 4 * width * len(texts)

    def lacks_files(self) -> bool:
        """Whether weights must be downloaded before the network can be loaded."""
        return not is_at_hand(self.model, self.revision)

    def fetch(self, outputs: tuple[str, ...] | None = None) -> None:
        """Download the weights if they are not on this machine.

        Parameters
        ----------
        outputs : tuple of str, default=None
            Ignored: the weights are those of all outputs.

        Raises
        ------
        TypeError or ValueError
            If `model` is no name of an encoder, or its folder lacks a file.
        RuntimeError
            If the download fails; the message says why.
        """
        self._folder_of_weights()

    def hub_repository(self) -> str | None:
        """Return owner and name of the hub's repository of the weights; None without one."""
        return None if self.model.startswith("local-dir:") else repository_of(self.model)

    def weighted_alpha(self) -> float:
        """Return the weighted alpha of the network's weights; smaller is better."""
        module = self._load_network().module
        return weighted_alpha(network_module(self._extra).weight_matrices(module))

    def _load_network(self) -> "TextNetwork":
        """Return the network, built if there is none: pickles have none."""
        if self._network is None:
            import_optional("transformers", extra="text")
            networks = network_module(self._extra)
            device = networks.resolve_device(self.device)
            self._layer_number()
            module = load_module(self._folder_of_weights(), self.trust_remote_code)
            # Its file needs torch to be read.
            from ._text_network import TextNetwork

            self._network = TextNetwork(
                networks.frozen(module).to(device),
                self._pooling(),
                device,
                bfloat16=networks.use_bfloat16(self.precision, device),
            )
        return self._network

    def layers(self) -> list[int]:
        """Return the layers that `layer` names, counted from 0."""
        n_layers = self._n_layers()
        if isinstance(self.layer, str):
            named = list(range(n_layers + 1))
        else:
            named = list(self.layer) if isinstance(self.layer, list | tuple) else [self.layer]
        for layer in named:
            if not isinstance(layer, Integral) or not -n_layers - 1 <= layer <= n_layers:
                raise ValueError(
                    f"layer must be from 0 (embeddings) to {n_layers}, or from -1 (the last) to "
                    f"{-n_layers - 1}, for a model of {n_layers} layers; got {layer!r}."
                )
        counted = [int(layer) % (n_layers + 1) for layer in named]
        if not counted or len(set(counted)) < len(counted):
            raise ValueError(f"layer must name different layers, at least one; got {self.layer!r}")
        return counted

    def _layer_number(self) -> int:
        """Return the one layer, counted from 0; the last one is -1, which needs no others."""
        layers = self.layers()
        if not isinstance(self.layer, Integral):
            raise ValueError(
                f"layer={self.layer!r} names several layers, which are candidates of a "
                "ModelSelector. A TextBackbone on its own takes one."
            )
        return -1 if layers[0] == self._n_layers() else layers[0]

    def _n_layers(self) -> int:
        config = load_config(self._folder(), self.trust_remote_code)
        n_layers = getattr(config, "num_hidden_layers", None)
        if n_layers is None:
            raise ValueError(
                f"model {self.model!r} does not say in num_hidden_layers how many layers it has; "
                "multimodal models are not supported."
            )
        return int(n_layers)

    def _folder(self) -> Path:
        """Return the folder of the small files."""
        return folder_of(self.model, self.revision, weights=False)

    def _folder_of_weights(self) -> Path:
        return folder_of(self.model, self.revision)

    def _tokenizer(self) -> Any:
        tokenizer = load_tokenizer(self._folder(), self.trust_remote_code)
        if tokenizer.pad_token_id is None:
            warnings.warn(
                f"the tokenizer of {self.model!r} has no padding token: "
                f"{tokenizer.eos_token or tokenizer.bos_token or 'token 0'!r} is used. Padding "
                "is masked, so that no feature depends on it.",
                UserWarning,
                stacklevel=find_stack_level(),
            )
        return tokenizer

    def _pooling(self) -> Pooling:
        return pooling_of(self.pooling, self._folder())

    def _tokenization(self) -> Tokenization:
        folder = self._folder()
        most = most_tokens(folder, load_config(folder, self.trust_remote_code))
        pooling = self._pooling()
        limits = [limit for limit in (most, pooling.max_length) if limit is not None]
        length = min(limits, default=None) if self.max_length is None else int(self.max_length)
        if length is not None and most is not None and length > most:
            raise ValueError(
                f"max_length={length} is more than the {most} tokens that model "
                f"{self.model!r} takes; use at most {most}, or None."
            )
        return Tokenization(identify_tokenizer(folder), length, pooling.lower_case)
