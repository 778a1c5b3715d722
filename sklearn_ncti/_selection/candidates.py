"""The items of `ModelSelector.models` to named transformers."""

import os
import sys
import warnings
from collections import Counter
from collections.abc import Collection, Sequence
from numbers import Integral
from typing import Any

from sklearn.base import clone

from .._ranking.report.fine_tuning import Pretrained
from .._scoring.scorers import is_pair
from .._utils.optional import import_optional
from .._utils.stacklevel import find_stack_level
from ..backbones import (
    TextBackbone,
    TimmBackbone,
    TorchBackbone,
    check_model_name,
    expand_model_names,
)
from ..backbones._names import is_wildcard
from ..backbones._sentence import SentenceEncoder, is_sentence_transformer
from ..backbones._text_folder import check_text_model, is_at_hand, repository_of
from ..datasets import load_catalogue


def named_pairs(models: Any) -> dict[str, Any]:
    """Return the (name, model) pairs among the items as a dict; nothing is looked up."""
    if not isinstance(models, list | tuple):
        return {}
    return {item[0]: item[1] for item in models if is_pair(item)}


def named_transformers(
    models: Sequence[Any],
    *,
    verbose: int = 0,
    reserved: Collection[str] = (),
    may_download: bool = True,
) -> list[tuple[str, Any]]:
    """Return (name, transformer) of every candidate; all names are checked, none is fitted.

    Parameters
    ----------
    models : list
        Names of timm, wildcards, torch modules, transformers, SentenceTransformers, or (name,
        model) pairs. A text backbone of several layers is a candidate for each.

    verbose : int, default=0
        What the backbones of names get.

    reserved : collection of str, default=()
        Names that no pair may have.

    may_download : bool, default=True
        Whether the configuration of a text backbone may be downloaded that names several layers.
        It stays one candidate otherwise.

    Returns
    -------
    candidates : list of (str, transformer)
        The candidates in order.

    Raises
    ------
    ValueError
        If there are none, two have one name, or a name is unknown or reserved.

    TypeError
        If an item is no candidate.

    Warns
    -----
    UserWarning
        If the installed timm has dropped models of the catalogue; see `without_dropped`.
    """
    if not models:
        raise ValueError("models is empty: at least 1 candidate is needed.")
    candidates = _numbered(_found(without_dropped(models), verbose, may_download))
    repeated = [name for name, k in Counter(n for n, _ in candidates).items() if k > 1]
    if repeated:
        raise ValueError(
            f"models has more than one candidate named {repeated}; give each a name of "
            "its own with a (name, model) pair."
        )
    taken = [name for name in named_pairs(models) if "__" in name or name in reserved]
    if taken:
        raise ValueError(
            f"models has the names {taken}, which contain '__' or are parameters of "
            "ModelSelector; choose others, so that set_params can tell them apart."
        )
    return candidates


def without_dropped(models: Sequence[Any]) -> list[Any]:
    """Leave out names of the catalogue that the installed timm does not know.

    Other unknown names are kept, and raise an error later.

    Parameters
    ----------
    models : sequence
        Items of `ModelSelector.models`.

    Returns
    -------
    known : list
        The other items, in the same order.

    Raises
    ------
    ValueError
        If none is left.

    Warns
    -----
    UserWarning
        If names are left out; it says how many.
    """
    dropped = {item for item in models if isinstance(item, str) and _is_dropped(item)}
    if not dropped:
        return list(models)
    known = [item for item in models if not (isinstance(item, str) and item in dropped)]
    timm = import_optional("timm", extra="timm")
    text = (
        f"{len(dropped)} of {len(models)} models are in the catalogue but unknown to the "
        f"installed timm {timm.__version__}"
    )
    names = ", ".join(sorted(dropped)[:3]) + (", ..." if len(dropped) > 3 else "")
    if not known:
        raise ValueError(
            f"{text}: {names}. The catalogue was made with another release of timm; install that, "
            "or take names of timm.list_models(pretrained=True)."
        )
    warnings.warn(f"{text} and are left out: {names}.", UserWarning, stacklevel=find_stack_level())
    return known


def _is_dropped(name) -> bool:
    """Whether a model of the catalogue is none of the installed timm's."""
    # Names of other kinds need no timm here.
    if not (load_catalogue()["name"] == name).any():
        return False
    try:
        check_model_name(name)
    except ValueError:
        return True
    return False


def _found(models, verbose, may_download) -> list[tuple[str, Any, bool]]:
    """Return the name and transformer of every item, and whether the user chose the name."""
    found: list[tuple[str, Any, bool]] = []
    from_wildcards: set[str] = set()
    for item in models:
        if isinstance(item, str) and is_wildcard(item):
            known = {name for name, _, _ in found}
            names = [name for name in expand_model_names([item]) if name not in known]
            from_wildcards.update(names)
            found += [(name, as_transformer(name, verbose), True) for name in names]
        elif isinstance(item, str) and item in from_wildcards:
            continue
        elif is_pair(item):
            transformer = as_transformer(item[1], verbose)
            found += _of_each_layer(item[0], transformer, True, may_download)
        else:
            transformer = as_transformer(item, verbose)
            chosen = isinstance(transformer, TimmBackbone)
            name = _default_name(transformer)
            found += _of_each_layer(name, transformer, chosen, may_download)
    return found


def _of_each_layer(name, transformer, chosen, may_download) -> list[tuple[str, Any, bool]]:
    """Return a candidate, or one for each layer of a text backbone of several."""
    if not isinstance(transformer, TextBackbone) or isinstance(transformer.layer, Integral):
        return [(name, transformer, chosen)]
    if not may_download and not is_at_hand(transformer.model, transformer.revision):
        return [(name, transformer, chosen)]
    try:
        layers = transformer.layers()
    except Exception:
        # It fails again, and alone, when the candidate runs.
        return [(name, transformer, chosen)]
    return [
        (f"{name} layer {layer}", clone(transformer).set_params(layer=layer), chosen)
        for layer in layers
    ]


def _numbered(found) -> list[tuple[str, Any]]:
    """Number the names that nobody chose where several are equal, as make_pipeline does."""
    total = Counter(name for name, _, chosen in found if not chosen)
    seen: Counter[str] = Counter()
    candidates = []
    for name, transformer, chosen in found:
        seen[name] += not chosen
        numbered = not chosen and total[name] > 1
        candidates.append((f"{name}-{seen[name]}" if numbered else name, transformer))
    return candidates


def as_transformer(model: Any, verbose: int = 0) -> Any:
    """Return the transformer for a model in any of its forms."""
    if isinstance(model, str):
        model = TimmBackbone(model, verbose=max(0, int(verbose) - 1))
    elif is_sentence_transformer(model):
        model = SentenceEncoder(model)
    elif _is_torch_module(model):
        model = TorchBackbone(model)
    if isinstance(model, type) or not (hasattr(model, "fit") and hasattr(model, "transform")):
        raise TypeError(
            f"models must hold timm names, torch modules, transformers or (name, model) "
            f"pairs, got {model!r}."
        )
    if isinstance(model, TimmBackbone):
        check_model_name(model.model, model.pretrained)
    if isinstance(model, TextBackbone):
        check_text_model(model.model)
    return model


def pretrained_of(model: Any) -> Pretrained | None:
    """Return where the weights of a candidate come from, None if that is not known."""
    if isinstance(model, TimmBackbone):
        return Pretrained(model.model)
    if not isinstance(model, TextBackbone):
        return None
    name = model.model.removeprefix("local-dir:")
    return Pretrained(repository_of(name), "transformers", model.revision, model.trust_remote_code)


def _is_torch_module(model) -> bool:
    # A module can only have been made where torch is imported already.
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)


def _default_name(transformer) -> str:
    """Return the name of a candidate that was given without one."""
    if isinstance(transformer, TimmBackbone | TextBackbone):
        return transformer.model
    named = transformer
    if isinstance(transformer, TorchBackbone):
        named = transformer.module
        if isinstance(named, str | os.PathLike):
            return os.fspath(named)
    if isinstance(transformer, SentenceEncoder):
        named = transformer.model
    return getattr(named, "__name__", type(named).__name__).lower()
