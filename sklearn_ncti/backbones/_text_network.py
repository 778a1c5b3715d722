"""A text encoder on its device, from batches of tokens to rows; imported with torch."""

import inspect
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from ._network import is_out_of_memory, precision_of, run_in_parts, warn_of_memory
from ._pooling import Pooling


class TextNetwork:
    """A text encoder that is ready to run.

    Parameters
    ----------
    module : torch.nn.Module
        The encoder of transformers, frozen and on `device`.

    pooling : Pooling
        How token vectors become one of the text.

    device : torch.device
        Where it runs.

    bfloat16 : bool
        Whether it runs under autocast to bfloat16.
    """

    def __init__(
        self, module: torch.nn.Module, pooling: Pooling, device: torch.device, *, bfloat16: bool
    ) -> None:
        self.module = module
        self.pooling = pooling
        self.device = device
        self.bfloat16 = bfloat16
        self.n_parameters = sum(weight.numel() for weight in module.parameters())
        self.n_embeddings = _n_embeddings(module)
        # The most texts at once for which there was memory, once there was too little.
        self.limit: int | None = None
        self._widths: dict[int, int] = {}
        self._accepted = set(inspect.signature(module.forward).parameters)

    def rows(self, batch: dict[str, np.ndarray], layers: Sequence[int] = (-1,)) -> torch.Tensor:
        """Compute the pooled features of some texts.

        Where memory runs out, the texts go through the network in halves, quarters and so on,
        and later ones in parts of the size that went well.

        Parameters
        ----------
        batch : dict of str to ndarray of shape (n, n_tokens)
            What `Tokens.batch` returned.

        layers : sequence of int, default=(-1,)
            The layers whose token vectors are pooled.

        Returns
        -------
        rows : torch.Tensor of shape (n, n_layers * width) and dtype float32
            The features of the layers side by side, on the device.

        Raises
        ------
        MemoryError
            If a single text is too much.
        """
        n_texts, n_tokens = batch["attention_mask"].shape
        first = min(n_texts, self.limit or n_texts)
        try:
            rows, step = run_in_parts(partial(self._in_parts, batch, layers), first, self.device)
        except Exception as exc:
            if not is_out_of_memory(exc):
                raise
            raise MemoryError(
                f"one text of {n_tokens} tokens is too much for the memory of {self.device} "
                f"next to this network ({exc}). Free some, use max_length, "
                "precision='bfloat16', or another device."
            ) from exc
        if step < first:
            self.limit = step
            warn_of_memory(self.device, first, step, "texts")
        return rows

    def widths(self, layers: Sequence[int]) -> dict[str, int]:
        """Return the number of features of each layer by its name, found by running one token."""
        unknown = [layer for layer in layers if layer not in self._widths]
        if unknown:
            one = np.ones((1, 1), dtype=np.int64)
            rows = self.rows({"input_ids": 0 * one, "attention_mask": one}, unknown)
            self._widths |= dict.fromkeys(unknown, rows.shape[1] // len(unknown))
        return {f"layer {layer}": self._widths[layer] for layer in layers}

    def check_tokens(self, ids: np.ndarray) -> None:
        """Raise a ValueError if the network has no embedding for a token.

        On a CUDA device that would end every later computation of the process.
        """
        largest = int(ids.max())
        if self.n_embeddings is not None and largest >= self.n_embeddings:
            raise ValueError(
                f"the tokenizer gives the token {largest}, and the network embeds only 0 to "
                f"{self.n_embeddings - 1}: the two do not belong together. Check that the files "
                "of the tokenizer are those of this model."
            )

    def _in_parts(
        self, batch: dict[str, np.ndarray], layers: Sequence[int], step: int
    ) -> torch.Tensor:
        """Compute the features of texts of which at most `step` go through at once."""
        mask = self._to_device(batch["attention_mask"])
        tensors = {
            name: mask if name == "attention_mask" else self._to_device(column)
            for name, column in batch.items()
            if name in self._accepted
        }
        if step >= len(mask):
            return self._run(tensors, mask, layers)
        n_parts = -(-len(mask) // step)
        parts = zip(
            mask.tensor_split(n_parts),
            *(tensor.tensor_split(n_parts) for tensor in tensors.values()),
            strict=True,
        )
        return torch.cat(
            [
                self._run(dict(zip(tensors, columns, strict=True)), mask_part, layers)
                for mask_part, *columns in parts
            ]
        )

    def _to_device(self, column: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(column, dtype=np.int64))
        if self.device.type == "cuda":
            # From pinned memory the copy runs while the device works.
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    def _run(
        self, tensors: dict[str, torch.Tensor], mask: torch.Tensor, layers: Sequence[int]
    ) -> torch.Tensor:
        options = {} if tuple(layers) == (-1,) else {"output_hidden_states": True}
        with torch.inference_mode():
            with precision_of(self.device, self.bfloat16):
                output = self.module(**tensors, return_dict=True, **options)
            hidden = [self._hidden(output, layer) for layer in layers]
            with precision_of(self.device, False):
                return torch.cat([pooled(of.float(), mask, self.pooling) for of in hidden], dim=1)

    def _hidden(self, output: Any, layer: int) -> torch.Tensor:
        """Return the token vectors of a layer."""
        vectors = output.last_hidden_state if layer == -1 else output.hidden_states[layer]
        if not isinstance(vectors, torch.Tensor) or vectors.ndim != 3:
            raise TypeError(
                f"the network returns {type(vectors).__name__} as its token vectors; text "
                "encoders return a tensor of shape (n_texts, n_tokens, width)."
            )
        return vectors


def pooled(vectors: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """Pool the vectors of tokens that are padded at their end.

    Parameters
    ----------
    vectors : torch.Tensor of shape (n, n_tokens, width)
        The vectors.

    mask : torch.Tensor of shape (n, n_tokens)
        1 where there is a token, 0 for padding.

    pooling : Pooling
        How to pool.

    Returns
    -------
    rows : torch.Tensor of shape (n, n_modes * width)
        One row for each text.
    """
    rows = torch.cat([_POOLED[mode](vectors, mask) for mode in pooling.modes], dim=1)
    return torch.nn.functional.normalize(rows, dim=1) if pooling.normalize else rows


def _mean(vectors: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    # As a product of matrices: no masked copy of all vectors is made.
    weights = mask.to(vectors.dtype)
    sums = torch.bmm(weights[:, None], vectors)[:, 0]
    return sums.div_(weights.sum(dim=1, keepdim=True))


def _first(vectors: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return vectors[:, 0]


def _max(vectors: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return vectors.masked_fill(mask[..., None] == 0, -torch.inf).amax(dim=1)


def _last(vectors: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return vectors[torch.arange(len(mask), device=mask.device), mask.sum(dim=1) - 1]


_POOLED = {"mean": _mean, "cls": _first, "max": _max, "last": _last}


def _n_embeddings(module: torch.nn.Module) -> int | None:
    """Return the number of tokens that a network embeds, None if it does not say."""
    try:
        return int(module.get_input_embeddings().num_embeddings)
    except (AttributeError, NotImplementedError):
        return None
