"""How token vectors become one vector of a text, as a name or a folder says it."""

import json
from pathlib import Path
from typing import Any, NamedTuple

# What `pooling_of` takes.
POOLINGS = ("mean", "cls", "max", "last", "auto")

# What each word of sentence-transformers stands for here. Its configurations of before and
# after release 5.5 spell them in two ways.
_MODES = {
    "cls": "cls",
    "cls_token": "cls",
    "max": "max",
    "max_tokens": "max",
    "mean": "mean",
    "mean_tokens": "mean",
    "lasttoken": "last",
}

# Those of older releases, in the order in which their vectors are put side by side.
_ORDER = (
    *("cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens"),
    "lasttoken",
)


class Pooling(NamedTuple):
    """How the vectors of the tokens of a text are pooled.

    Attributes
    ----------
    modes : tuple of {"cls", "last", "max", "mean"}
        What is computed, and put side by side.

    normalize : bool
        Whether each row is divided by its Euclidean norm.

    max_length : int or None
        The most tokens of a text that the folder asks for; None where it says nothing.

    lower_case : bool
        Whether the folder asks for texts in lower case.
    """

    modes: tuple[str, ...]
    normalize: bool = False
    max_length: int | None = None
    lower_case: bool = False


def pooling_of(name: str, folder: Path) -> Pooling:
    """Return the pooling of a name.

    Parameters
    ----------
    name : {"mean", "cls", "max", "last", "auto"}
        Its name. "auto" is what the modules of a sentence-transformers folder say, and the mean
        in other folders.

    folder : Path
        The folder of the model.

    Returns
    -------
    pooling : Pooling
        The pooling.

    Raises
    ------
    ValueError
        If the folder asks for something that is not supported.
    """
    if name != "auto":
        return Pooling((name,))
    if not (folder / "modules.json").is_file():
        return Pooling(("mean",))
    modes: tuple[str, ...] = ()
    normalize = False
    for place, module in enumerate(_read(folder / "modules.json")):
        kind = str(module["type"]).rpartition(".")[2]
        if kind == "Pooling" and not modes:
            modes = _modes(_read(folder / module["path"] / "config.json"), folder)
        elif kind == "Normalize" and modes:
            normalize = True
        elif kind != "Transformer" or place:
            raise ValueError(
                f"pooling='auto': the folder {str(folder)!r} has a module {kind!r} in place "
                f"{place}, which is not supported. Name a pooling, such as 'mean', or give the "
                "SentenceTransformer itself to ModelSelector."
            )
    if not modes:
        raise ValueError(
            f"pooling='auto': modules.json in {str(folder)!r} names no pooling; name one, such "
            "as 'mean'."
        )
    limits = _limits(folder)
    return Pooling(
        modes, normalize, limits.get("max_seq_length"), bool(limits.get("do_lower_case"))
    )


def _modes(config: dict[str, Any], folder: Path) -> tuple[str, ...]:
    """Return what a configuration of a pooling module asks for, in its order."""
    word = config.get("pooling_mode")
    if word is not None:
        words = word if isinstance(word, list) else [word]
    else:
        prefix = "pooling_mode_"
        words = [name for name in _ORDER if config.get(prefix + name)]
    unknown = [name for name in words if name not in _MODES]
    if unknown or not words:
        raise ValueError(
            f"pooling='auto': the folder {str(folder)!r} asks for the pooling {unknown}, and "
            f"supported are {sorted(set(_MODES.values()))}. Name one of these."
        )
    return tuple(_MODES[name] for name in words)


def _limits(folder: Path) -> dict[str, Any]:
    """Return what the folder says of the texts."""
    file = folder / "sentence_bert_config.json"
    return _read(file) if file.is_file() else {}


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise ValueError(
            f"pooling='auto': {str(file)!r} cannot be read ({type(exc).__name__}: {exc}). Name "
            "a pooling, such as 'mean'."
        ) from exc
