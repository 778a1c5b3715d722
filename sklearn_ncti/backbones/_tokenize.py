"""Texts to tokens, once for all networks of one tokenizer."""

import time
from collections.abc import Callable, Hashable, Mapping
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from ._backbone import Extraction
from ._texts import Texts

# Texts that the tokenizer is given at a time: an interrupt comes through between two parts.
_CHUNK = 2048


class Tokenization(NamedTuple):
    """What tokens depend on: networks of one tokenization share them.

    Attributes
    ----------
    tokenizer : str
        Hash of the content of the tokenizer's files.

    max_length : int or None
        The most tokens of a text, special ones included; None for no limit.

    lower_case : bool
        Whether texts are put in lower case before.
    """

    tokenizer: str
    max_length: int | None
    lower_case: bool = False


class Tokens(NamedTuple):
    """The tokens of all texts, one after the other.

    Attributes
    ----------
    columns : dict of str to ndarray of shape (n_tokens + 1,)
        ``input_ids``, and what else the tokenizer gives of each token. The last one is what
        stands where a text is shorter than others of its batch. It is masked, and changes no
        feature.

    starts : ndarray of shape (n_texts + 1,)
        Where each text starts; the last number is that of all tokens.

    n_truncated : int
        Number of texts that are longer than the limit.
    """

    columns: dict[str, np.ndarray]
    starts: np.ndarray
    n_truncated: int

    @property
    def lengths(self) -> np.ndarray:
        """Number of tokens of each text."""
        return np.diff(self.starts)

    def batch(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the tokens of some texts, padded at their end, with the attention mask."""
        starts = self.starts[rows]
        lengths = self.starts[rows + 1] - starts
        offsets = np.arange(lengths.max())
        mask = offsets < lengths[:, None]
        places = np.where(mask, starts[:, None] + offsets, self.starts[-1])
        batch = {
            name: column.take(places).astype(np.int64) for name, column in self.columns.items()
        }
        return {**batch, "attention_mask": mask.astype(np.int64)}


class PreparedTexts:
    """Texts that are tokenized when the tokens are first needed, and then kept.

    Parameters
    ----------
    texts : Texts
        What `check_texts` returned.

    tokenizer : callable
        Returns the tokenizer of transformers.

    tokenization : Tokenization
        What the tokens depend on.

    shared : SharedLayers, default=None
        Layers of which several are wanted of one network, and which come from one pass.

    Attributes
    ----------
    geometry : Tokenization
        The same.

    seconds : float
        How long the tokens took.
    """

    def __init__(
        self,
        texts: Texts,
        tokenizer: Callable[[], Any],
        tokenization: Tokenization,
        shared: "SharedLayers | None" = None,
    ) -> None:
        self.geometry = tokenization
        self.shared = shared
        self.seconds = 0.0
        self._texts: Texts | None = texts
        self._n_texts = len(texts)
        self._tokenizer = tokenizer
        self._tokens: Tokens | None = None
        self._error: Exception | None = None
        self._lock: Any = Lock()

    def __len__(self) -> int:
        return self._n_texts

    @property
    def nbytes(self) -> int:
        """Bytes of all tokens."""
        tokens = self.tokens()
        return tokens.starts.nbytes + sum(column.nbytes for column in tokens.columns.values())

    def tokens(self) -> Tokens:
        """Return the tokens of all texts."""
        with self._lock:
            if self._error is not None:
                raise self._error
            if self._tokens is None and self._texts is not None:
                start = time.perf_counter()
                try:
                    texts, limit = self._texts, self.geometry.max_length
                    if self.geometry.lower_case:
                        texts = Texts(text.lower() for text in texts)
                    self._tokens = tokenize(texts, self._tokenizer(), limit)
                except Exception as exc:
                    # The others of this tokenizer must hear of it as well.
                    self._error = exc
                    raise
                self.seconds = time.perf_counter() - start
                self._texts = None
            assert self._tokens is not None
            return self._tokens

    def complete(self) -> "PreparedTexts":
        """Tokenize what is left."""
        self.tokens()
        return self

    def close(self) -> None:
        """Do nothing: the memory goes with the object."""

    def __getstate__(self) -> dict:
        # For worker processes.
        left_behind = dict.fromkeys(["_tokenizer", "_texts", "_lock", "shared"])
        return {**self.complete().__dict__, **left_behind}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state, _lock=Lock())


class SharedLayers:
    """Features of several layers of one network, computed in one pass and each taken once.

    Parameters
    ----------
    wanted : dict of hashable to list of int
        The layers that are wanted of each network.

    budget : int
        Bytes that may wait in memory to be taken.
    """

    def __init__(self, wanted: Mapping[Hashable, list[int]], budget: int) -> None:
        self._wanted = {key: list(layers) for key, layers in wanted.items()}
        self._budget = budget
        self._found: dict[tuple[Hashable, int], Extraction] = {}
        self._locks = {key: Lock() for key in self._wanted}

    def holds(self, key: Hashable) -> bool:
        """Whether several layers are wanted of a network."""
        return key in self._wanted

    def take(
        self,
        key: Hashable,
        layer: int,
        row_bytes: int,
        compute: Callable[[list[int]], dict[int, Extraction]],
    ) -> Extraction:
        """Return what a layer gives, computed together with others that are wanted.

        Parameters
        ----------
        key : hashable
            The network.

        layer : int
            The layer.

        row_bytes : int
            Bytes of the features of one layer.

        compute : callable
            Takes layers, and returns what each of them gives.

        Returns
        -------
        extraction : Extraction
            What the layer gives.
        """
        with self._locks[key]:
            if (key, layer) not in self._found:
                others = [other for other in self._wanted[key] if other != layer]
                # As many as may wait; the next of them is computed with the rest.
                others = others[: self._budget // max(row_bytes, 1)]
                self._found |= {
                    (key, made): what for made, what in compute([layer, *others]).items()
                }
                self._wanted[key] = [k for k in self._wanted[key] if k not in others]
            if layer in self._wanted[key]:
                self._wanted[key].remove(layer)
            return self._found.pop((key, layer))


def tokenize(texts: Texts, tokenizer: Any, max_length: int | None) -> Tokens:
    """Tokenize texts with a tokenizer of transformers, in their order.

    A text that gives no token at all, as an empty one does where there are no special tokens,
    gets the token that begins or ends a text.
    """
    limit: dict[str, Any] = {"truncation": max_length is not None, "max_length": max_length}
    columns: dict[str, list[list[int]]] = {}
    n_truncated = 0
    for start in range(0, len(texts), _CHUNK):
        part = list(texts[start : start + _CHUNK])
        found = _call(tokenizer, part, **limit)
        if max_length is not None:
            n_truncated += _count_truncated(tokenizer, part, found["input_ids"], max_length)
        for name, rows in found.items():
            columns.setdefault(name, []).extend(rows)
    filler = _filler(tokenizer)
    ids = columns["input_ids"]
    for row in (row for row, tokens in enumerate(ids) if not len(tokens)):
        for name, rows in columns.items():
            rows[row] = [filler[name]]
    starts = np.zeros(len(ids) + 1, dtype=np.int64)
    np.cumsum([len(tokens) for tokens in ids], out=starts[1:])
    padding = _padding(tokenizer)
    flat = {
        name: _flat([*rows, [padding[name]]], int(starts[-1]) + 1)
        for name, rows in columns.items()
    }
    return Tokens(flat, starts, n_truncated)


def _call(tokenizer: Any, texts: list[str], **options: Any) -> Mapping[str, list[list[int]]]:
    """Return the columns of a tokenizer but for the mask, which padding makes."""
    found = tokenizer(texts, padding=False, verbose=False, **options)
    return {
        name: found[name]
        for name in ("input_ids", "token_type_ids")
        if name in found and name in tokenizer.model_input_names
    }


def _count_truncated(
    tokenizer: Any, texts: list[str], ids: list[list[int]], max_length: int
) -> int:
    """Count the texts that lost tokens, by another look at those as long as the limit."""
    full = [text for text, tokens in zip(texts, ids, strict=True) if len(tokens) >= max_length]
    if not full:
        return 0
    whole = _call(tokenizer, full, truncation=False)["input_ids"]
    return sum(len(tokens) > max_length for tokens in whole)


def _filler(tokenizer: Any) -> dict[str, int]:
    """Return the token of a text that has none."""
    known = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, 0)
    token = next(number for number in known if number is not None)
    return {"input_ids": token, "token_type_ids": 0}


def _padding(tokenizer: Any) -> dict[str, int]:
    """Return the token that fills up short texts."""
    return {
        # Some tokenizers have none: any token will do behind the mask.
        "input_ids": _filler(tokenizer)["input_ids"]
        if tokenizer.pad_token_id is None
        else tokenizer.pad_token_id,
        "token_type_ids": getattr(tokenizer, "pad_token_type_id", 0),
    }


def _flat(rows: list[list[int]], n_tokens: int) -> np.ndarray:
    return np.fromiter((token for row in rows for token in row), dtype=np.int32, count=n_tokens)
