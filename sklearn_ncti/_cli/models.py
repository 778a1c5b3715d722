"""The values of ``--models``: models, the names that they were given, and those shown."""

from collections import Counter
from collections.abc import Mapping, Sequence

from .._selection.halving import HalvingModelSelector
from ..backbones._names import is_local, is_wildcard, names_of_folders
from ..backbones._text_folder import check_text_model
from .feature_files import UsageError

# Characters of models, not of names: a "=" behind one of them is part of a path.
_OF_MODELS = (":", "/")


def split_models(values: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Split ``NAME=MODEL``.

    A NAME has neither ``:`` nor ``/``, so that a path may contain ``=``.

    Parameters
    ----------
    values : sequence of str
        Models and ``NAME=MODEL``.

    Returns
    -------
    models : list of str
        The models.

    given : dict of str to str
        The names that were given, by model.

    Raises
    ------
    UsageError
        If a name or its model is empty, a name cannot be one, two models have one name, or a
        wildcard has a name.
    """
    models: list[str] = []
    given: dict[str, str] = {}
    for value in values:
        name, equals, model = value.partition("=")
        if not equals or any(character in name for character in _OF_MODELS):
            models.append(value)
            continue
        _check_name(value, name, model)
        if name in given.values():
            raise UsageError(f"--models has two models named {name!r}; choose another name")
        models.append(model)
        given[model] = name
    return models, given


def _check_name(value: str, name: str, model: str) -> None:
    """Raise a UsageError if ``NAME=MODEL`` is not well formed."""
    option = f"--models {value}"
    if not name.strip() or not model.strip():
        raise UsageError(f"{option} is not of the form NAME=MODEL: one of the two is empty")
    if is_wildcard(model):
        raise UsageError(
            f"{option}: {model!r} is a wildcard, and a name is that of one model; leave it out"
        )
    if "__" in name or name in HalvingModelSelector([]).get_params(deep=False):
        raise UsageError(f"{option}: the name {name!r} is reserved; choose another")


def shown_names(models: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """Return the name of each model: the one given, or that of `ModelSelector`.

    Parameters
    ----------
    models : sequence of str
        The models.

    given : dict of str to str
        Names that were given, by model.

    Returns
    -------
    names : dict of str to str
        Names by model, in the order of the models.

    Raises
    ------
    UsageError
        If a name that was given is that of another model.
    """
    names = {model: given.get(model, model) for model in models}
    folders = [model for model in models if is_local(model) and model not in given]
    names |= names_of_folders(folders, {names[m] for m in models if m not in set(folders)})
    name, count = Counter(names.values()).most_common(1)[0]
    if count > 1:
        raise UsageError(
            f"--models has {count} models named {name!r}; give one another name, as NAME=MODEL, "
            "or leave it out"
        )
    return names


def text_model_names(models: Sequence[str]) -> list[str]:
    """Return the names of text encoders, after a check of each.

    Raises
    ------
    ValueError
        If one is no name of an encoder, is given twice, or its folder lacks a file.
    """
    for model in models:
        check_text_model(model)
    repeated = [model for model, count in Counter(models).items() if count > 1]
    if repeated:
        raise ValueError(f"the model {repeated[0]!r} is given twice: leave one out.")
    return list(models)
