"""The items of `ModelSelector.models` to named transformers."""

import os
import sys
import warnings
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

from sklearn.base import clone

from .._ranking.report.fine_tuning import Pretrained
from .._scoring.scorers import is_pair
from .._utils.errors import ParameterError
from .._utils.optional import import_optional
from .._utils.stacklevel import find_stack_level
from ..backbones import (
    TextBackbone,
    TimmBackbone,
    TorchBackbone,
    check_model_name,
    expand_model_names,
)
from ..backbones._backbone import Backbone
from ..backbones._names import is_local, is_wildcard, names_of_folders
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
    reserved: Collection[str] = (),
    may_download: bool = True,
) -> list[tuple[str, Any]]:
    """Return (name, transformer) of every candidate; all names are checked, none is fitted.

    Parameters
    ----------
    models : list
        Names of timm, wildcards, torch modules, transformers, SentenceTransformers, or (name,
        model) pairs. A text backbone of several layers is a candidate for each. A model of a
        local folder without a name of its own has that of the folder, see `names_of_folders`.

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
    found = _with_short_names(_found(without_dropped(models)))
    candidates = _numbered(_of_each_layer(found, may_download))
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


@dataclass(frozen=True)
class _Named:
    """A candidate and its name.

    Attributes
    ----------
    name : str
        Its name.

    transformer : transformer
        What gives the features.

    is_chosen : bool
        Whether two candidates of this name are an error; they are numbered otherwise.

    is_given : bool
        Whether the user gave the name with a (name, model) pair.
    """

    name: str
    transformer: Any
    is_chosen: bool = True
    is_given: bool = False


def _found(models) -> list[_Named]:
    """Return every item with its name, that of a local folder with its whole path."""
    found: list[_Named] = []
    from_wildcards: set[str] = set()
    for item in models:
        if isinstance(item, str) and is_wildcard(item):
            known = {named.name for named in found}
            names = [name for name in expand_model_names([item]) if name not in known]
            from_wildcards.update(names)
            found += [_Named(name, as_transformer(name)) for name in names]
        elif isinstance(item, str) and item in from_wildcards:
            continue
        elif is_pair(item):
            found.append(_Named(item[0], as_transformer(item[1]), is_given=True))
        else:
            transformer = as_transformer(item)
            chosen = isinstance(transformer, TimmBackbone)
            found.append(_Named(_default_name(transformer), transformer, chosen))
    return found


def _with_short_names(found: list[_Named]) -> list[_Named]:
    """Name the models of local folders by their folder, unless they were given a name."""
    folders = {named.name for named in found if is_local(named.name) and not named.is_given}
    short = names_of_folders(folders, {named.name for named in found} - folders)
    return [
        named if named.is_given else replace(named, name=short.get(named.name, named.name))
        for named in found
    ]


def _of_each_layer(found: list[_Named], may_download: bool) -> list[_Named]:
    """Put a candidate for each layer in the place of a text backbone of several."""
    return [of_layer for named in found for of_layer in _layers_of(named, may_download)]


def _layers_of(named: _Named, may_download: bool) -> list[_Named]:
    transformer = named.transformer
    if not isinstance(transformer, TextBackbone) or isinstance(transformer.layer, Integral):
        return [named]
    if not may_download and not is_at_hand(transformer.model, transformer.revision):
        return [named]
    try:
        layers = transformer.layers()
    except Exception:
        # It fails again, and alone, when the candidate runs.
        return [named]
    return [
        replace(
            named,
            name=f"{named.name} layer {layer}",
            transformer=clone(transformer).set_params(layer=layer),
        )
        for layer in layers
    ]


def _numbered(found: list[_Named]) -> list[tuple[str, Any]]:
    """Number the names that nobody chose where several are equal, as make_pipeline does."""
    total = Counter(named.name for named in found if not named.is_chosen)
    seen: Counter[str] = Counter()
    candidates = []
    for named in found:
        seen[named.name] += not named.is_chosen
        numbered = not named.is_chosen and total[named.name] > 1
        name = f"{named.name}-{seen[named.name]}" if numbered else named.name
        candidates.append((name, named.transformer))
    return candidates


def by_name(numbers: Any, candidates: Sequence[tuple[str, Any]]) -> Any:
    """Return numbers of candidates by the names that these are shown with.

    Parameters
    ----------
    numbers : dict of str to float, list of such dicts, or any other object
        Numbers by the name of a candidate or by its model, such as "local-dir:folder". A model
        that several candidates have, or one that has a number under the name of its candidate
        already, is left as it is. What is neither a dict nor a list is returned as it is.

    candidates : sequence of (str, transformer)
        Names and transformers.

    Returns
    -------
    numbers : dict of str to float, list of such dicts, or object
        The same numbers.
    """
    if isinstance(numbers, list | tuple):
        return [by_name(record, candidates) for record in numbers]
    if not isinstance(numbers, Mapping):
        return numbers
    models = [
        (name, model.model)
        for name, model in candidates
        if isinstance(model, TimmBackbone | TextBackbone)
    ]
    count = Counter(model for _, model in models)
    taken = {name for name, _ in candidates if name in numbers}
    shown = {model: name for name, model in models if count[model] == 1 and name not in taken}
    return {key if key in taken else shown.get(key, key): numbers[key] for key in numbers}


def as_transformer(model: Any) -> Any:
    """Return the transformer for a model in any of its forms."""
    if isinstance(model, str):
        model = TimmBackbone(model)
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


def check_devices(models: Sequence[Any]) -> None:
    """Check before the work that networks have a device to run on.

    One network among several candidates that has none is a failed candidate, and no error here.

    Parameters
    ----------
    models : sequence of transformer
        The candidates.

    Raises
    ------
    ParameterError
        If no network has one; it is the error of the first.
    """
    networks = [model for model in models if isinstance(model, Backbone)]
    errors = [error for error in map(_device_error, networks) if error is not None]
    is_one_of_several = len(networks) == 1 < len(models)
    if errors and len(errors) == len(networks) and not is_one_of_several:
        raise errors[0]


def _device_error(backbone: Backbone) -> ParameterError | None:
    try:
        backbone.check_device()
    except ParameterError as exc:
        return exc
    except Exception:
        # It fails again, with its reason, when the candidate runs.
        return None
    return None


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
