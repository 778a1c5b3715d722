"""Names of timm's models: which there are, and what wildcards stand for."""

import difflib
import json
import os
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path, PurePath

from .._utils.optional import import_optional

# What timm takes for a file of weights in a local folder.
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pth", ".pth.tar")


def check_model_name(name: str, pretrained: bool = True) -> None:
    """Check that timm knows a model, before anything is downloaded.

    Parameters
    ----------
    name : str
        One of timm's names with or without a tag, ``"hf-hub:owner/name"`` or
        ``"local-dir:folder"``. What lies on the hub is not looked up.

    pretrained : bool, default=True
        Whether weights are needed.

    Raises
    ------
    TypeError
        If `name` is no string.
    ValueError
        If there is no such model, or no weights for it; the message gives the closest names.

    Examples
    --------
    >>> from sklearn_ncti.backbones import check_model_name
    >>> check_model_name("resnet50.a1_in1k")
    >>> check_model_name("resnet51")
    Traceback (most recent call last):
        ...
    ValueError: unknown model 'resnet51': timm has no architecture of that name. ...
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a model must be a string; got {name!r}.")
    source, colon, rest = name.partition(":")
    if colon and source == "local-dir":
        _check_local_folder(name, Path(rest), pretrained)
    elif colon and source in ("hf-hub", "hf_hub"):
        if not re.fullmatch(r"[\w.-]+/[\w.-]+(@[^@\s]+)?", rest):
            raise ValueError(
                f"model name {name!r} is not of the form 'hf-hub:owner/name' "
                "(a revision may follow as '@revision')."
            )
    elif any(character in name for character in ":/\\"):
        _refuse_folder(name)
        raise ValueError(
            f"model name {name!r} is none of timm's names. Write 'hf-hub:owner/name' for a "
            "model on the Hugging Face hub, or 'local-dir:folder' for a local folder."
        )
    elif is_wildcard(name):
        raise ValueError(
            f"{name!r} is a wildcard, and one model is asked for. Give it to ModelSelector, "
            "or expand it with expand_model_names."
        )
    else:
        _check_registered(name, pretrained)


def expand_model_names(patterns: Sequence[str], pretrained: bool = True) -> list[str]:
    """Expand wildcards to the names of timm's models.

    Parameters
    ----------
    patterns : sequence of str
        Names of models, checked by `check_model_name`, and wildcards of timm's names
        (``*``, ``?`` and ``[...]``).

    pretrained : bool, default=True
        Whether wildcards stand for the models with pre-trained weights only, each name with
        the tag of its weights.

    Returns
    -------
    names : list of str
        The names in the order of `patterns`, those of one wildcard in timm's order. A name
        that comes from a wildcard and from elsewhere stands at its first place only.

    Raises
    ------
    TypeError
        If `patterns` is one string or an item is no string.
    ValueError
        If there are no names, a name is unknown or written out twice, or a wildcard matches
        nothing.

    Examples
    --------
    >>> from sklearn_ncti.backbones import expand_model_names
    >>> expand_model_names(["resnet18.a1_in1k", "test_resnet*"])
    ['resnet18.a1_in1k', 'test_resnet.r160_in1k']
    """
    if isinstance(patterns, str) or not isinstance(patterns, Sequence):
        raise TypeError(f"the names of models must be a list of strings; got {patterns!r}.")
    if not patterns:
        raise ValueError("no name of a model was given: at least one is needed.")
    timm = import_optional("timm", extra="timm")
    names: list[str] = []
    written = set()
    for pattern in patterns:
        if isinstance(pattern, str) and is_wildcard(pattern):
            # Without weights timm lists bare architectures, which no tag would match.
            found = timm.list_models(
                pattern, pretrained=pretrained, include_tags=pretrained or "." in pattern
            )
            if not found:
                what = "model with pre-trained weights" if pretrained else "model"
                raise ValueError(
                    f"no {what} of timm matches {pattern!r}."
                    + _closest(re.sub(r"[*?\[\]]", "", pattern), timm.list_models())
                )
            names.extend(found)
        else:
            check_model_name(pattern, pretrained)
            if pattern in written:
                raise ValueError(f"the model {pattern!r} is given twice: leave one out.")
            written.add(pattern)
            names.append(pattern)
    return list(dict.fromkeys(names))


def is_wildcard(name: str) -> bool:
    """Whether a name stands for several of timm's; those of folders never do."""
    return ":" not in name and any(character in name for character in "*?[")


def is_of_hub(name: str) -> bool:
    """Whether a name is that of a model on the Hugging Face hub."""
    return name.startswith(("hf-hub:", "hf_hub:"))


def is_registered(name: str) -> bool:
    """Whether a name is one of timm's own."""
    return not (is_of_hub(name) or is_local(name))


def local_folder(name: str) -> Path:
    """Return the folder of a "local-dir:" name."""
    return Path(name.removeprefix("local-dir:"))


def is_local(name: str) -> bool:
    """Whether a name is that of a local folder."""
    return name.startswith("local-dir:")


def names_of_folders(models: Iterable[str], taken: Collection[str] = ()) -> dict[str, str]:
    """Return a short name for every "local-dir:" name.

    That is the name of the folder, with as many of the folders above it as tell it apart from the
    other folders and from names that are taken. Two names of one folder have one short name.

    Parameters
    ----------
    models : iterable of str
        The "local-dir:" names.

    taken : collection of str, default=()
        Names that other models have.

    Returns
    -------
    names : dict of str to str
        The short names, with "/" between folders, by "local-dir:" name.

    Examples
    --------
    >>> from sklearn_ncti.backbones._names import names_of_folders
    >>> names = names_of_folders(["local-dir:zoo/a/net", "local-dir:zoo/b/net", "local-dir:mine"])
    >>> list(names.values())
    ['a/net', 'b/net', 'mine']
    """
    parts = {model: Path(os.path.abspath(local_folder(model))).parts for model in models}
    folders = set(parts.values())
    return {model: _short_name(own, folders - {own}, taken) for model, own in parts.items()}


def _short_name(
    own: tuple[str, ...], others: Collection[tuple[str, ...]], taken: Collection[str]
) -> str:
    """Return the last parts of a path, as few as no other path ends in."""
    name = ""
    for count in range(1, len(own) + 1):
        name = PurePath(*own[-count:]).as_posix()
        if name not in taken and all(other[-count:] != own[-count:] for other in others):
            break
    return name


def _closest(word: str, known: Sequence[str]) -> str:
    """Return a sentence with the known names that are close to `word`, if any are."""
    close = difflib.get_close_matches(word, known, n=5, cutoff=0.5)
    return f" The closest names: {', '.join(close)}." if close else ""


def _check_registered(name: str, pretrained: bool) -> None:
    """Check a name of timm's own registry."""
    timm = import_optional("timm", extra="timm")
    models = import_optional("timm.models", extra="timm")
    architecture, _, tag = name.partition(".")
    renamed = models.get_deprecated_models()
    if architecture in renamed:
        now = renamed[architecture]
        raise ValueError(
            f"{name!r} is an old name of timm's. "
            + (f"Use {now!r}." if now else "The model was removed, with nothing in its place.")
        )
    if not timm.is_model(architecture):
        _refuse_folder(name)
        raise ValueError(
            f"unknown model {name!r}: timm has no architecture of that name."
            + _closest(architecture, timm.list_models())
        )
    if timm.is_model_pretrained(name) or not (pretrained or tag):
        return
    # All names of the architecture, and those of them that have weights; the name itself
    # counts as a pattern for both.
    tagged = timm.list_models(architecture, include_tags=True)
    with_weights = timm.list_models(architecture, pretrained=True)
    if tag and name not in tagged:
        known = with_weights if pretrained else tagged
        known = [other for other in known if other != architecture]
        raise ValueError(
            f"unknown model {name!r}: timm knows {architecture!r}, but not the tag {tag!r}. "
            + (f"Its names: {', '.join(known)}." if known else "It has no tags.")
        )
    if pretrained:
        others = [other for other in with_weights if other != name]
        raise ValueError(
            f"timm has no pre-trained weights for {name!r}. "
            + (f"It has some for: {', '.join(others)}. Or use" if others else "Use")
            + " pretrained=False for random weights."
        )


def _refuse_folder(name: str) -> None:
    """Raise a ValueError that says what to write if a name is that of a folder."""
    if os.path.isdir(name):
        raise ValueError(
            f"unknown model {name!r}, which is a folder: write 'local-dir:{name}' for the model "
            "in it."
        )


def _check_local_folder(name: str, folder: Path, pretrained: bool) -> None:
    """Check that a folder holds what timm loads from it."""
    timm = import_optional("timm", extra="timm")
    if not name.partition(":")[2] or not folder.is_dir():
        raise ValueError(
            f"model {name!r}: there is no folder {os.fspath(folder)!r}. "
            "Relative paths are looked up from the current folder."
        )
    file = folder / "config.json"
    if not file.is_file():
        raise ValueError(
            f"model {name!r}: the folder {os.fspath(folder)!r} holds no config.json, which "
            "tells timm the architecture (timm.models.save_for_hf writes one)."
        )
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        architecture = config["architecture"]
    except (ValueError, KeyError, TypeError) as exc:
        raise ValueError(
            f"model {name!r}: {os.fspath(file)!r} is not a configuration that timm reads: it "
            f"must be JSON with the key 'architecture' ({type(exc).__name__}: {exc})."
        ) from exc
    if not timm.is_model(str(architecture)):
        raise ValueError(
            f"model {name!r}: the architecture {architecture!r} of {os.fspath(file)!r} is "
            "unknown to timm." + _closest(str(architecture), timm.list_models())
        )
    if pretrained and not any(path.name.endswith(WEIGHT_SUFFIXES) for path in folder.iterdir()):
        raise ValueError(
            f"model {name!r}: the folder {os.fspath(folder)!r} holds no weights, such as "
            "model.safetensors. Add them, or use pretrained=False for random weights."
        )
