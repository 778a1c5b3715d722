"""From the parameters that messages of the package name to the options of the command line.

Errors, warnings and notes write a parameter as it is passed in Python: ``cv=5``, or
``NCTIScorer(shrinkage=0.1)``. On the command line they are shown as ``--cv 5`` and
``--shrinkage 0.1``, in one place for all of them.
"""

import ast
import re
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from ..datasets._filters import Filters
from .feature_files import UsageError
from .options import RankOptions, ScoringOptions, SearchOptions

# Parameters whose option has another name.
_RENAMED = {
    "n_resamples": "--resamples",
    "memory": "--cache",
    "n_jobs": "--jobs",
    "num_workers": "--workers",
}

# Values that are options of their own, or none.
_OF_VALUES = {
    ("n_resamples", 0): "no --resamples",
    ("on_bad_image", "skip"): "--skip-bad-images",
    ("on_bad_image", "raise"): "no --skip-bad-images",
    ("self_supervised", True): "--self-supervised",
    ("self_supervised", False): "--no-self-supervised",
}

# Parameters that the option counts in millions.
_IN_MILLIONS = ("min_parameters", "max_parameters")

_OPTIONS = {
    **{
        field.name: f"--{field.name.replace('_', '-')}"
        for kind in (RankOptions, SearchOptions, ScoringOptions, Filters)
        for field in fields(kind)
        if field.name not in ("folder", "filters", "search", "scoring", "outputs", "names")
    },
    **dict.fromkeys(("on_bad_image", "self_supervised"), ""),
    **_RENAMED,
}

_VALUE = r"""'[^']*'|"[^"]*"|\[[^\]]*\]|-?\d+(?:\.\d+)?(?:e[+-]?\d+)?|None|True|False"""
_SETTING = rf"({'|'.join(_OPTIONS)})=({_VALUE})"

# Only where a word begins, and up to its end: paths may contain such text as well.
_ALONE = rf"(?<![^\s(]){_SETTING}(?![\w/=]|\.\w)"

# What is passed to other objects than these describes them, and is no option.
_CALL = r"\w+\([^()]*\)"
_OURS = re.compile(rf"(?:NCTIScorer|\w+Backbone)\(({_SETTING}(?:, {_SETTING})*)\)")

# A name without a value, where it cannot be a word of English.
_BARE = "|".join(name for name, option in _OPTIONS.items() if "_" in name and option)

_PLACES = re.compile(rf"{_CALL}|{_ALONE}|(?<![^\s(])(?P<bare>{_BARE})(?![\w=/]|\.\w)")


def in_options(text: object) -> str:
    """Return a message with options in the place of parameters.

    Parameters
    ----------
    text : object
        The message, or an exception.

    Returns
    -------
    text : str
        The message for the command line.

    Examples
    --------
    >>> from sklearn_ncti._cli.words import in_options
    >>> in_options("n_resamples=10 are few. Use cv='loo' with variant='released', or cv=None.")
    '--resamples 10 are few. Use --cv loo with --variant released, or no --cv.'
    >>> in_options("NCTIScorer(cv=5, shrinkage=0.1) treats all alike")
    '--cv 5 --shrinkage 0.1 treats all alike'
    """
    return _PLACES.sub(_translated, str(text))


def _translated(found: re.Match[str]) -> str:
    """Return what stands for a setting, or for the arguments of an object."""
    if found["bare"] is not None:
        return _OPTIONS[found["bare"]]
    if found[1] is not None:
        return _option(found[1], ast.literal_eval(found[2]))
    ours = _OURS.fullmatch(found[0])
    return found[0] if ours is None else in_options(ours[1].replace(", ", " "))


@contextmanager
def usage_checked() -> Iterator[None]:
    """Turn errors of what the user gave into a UsageError in the words of the command line."""
    try:
        yield
    except (ValueError, TypeError, OSError) as exc:
        raise UsageError(in_options(exc)) from exc


def _option(parameter: str, value: Any) -> str:
    """Return an option and its value."""
    option = _OPTIONS[parameter]
    if value is None:
        return f"no {option}"
    if not isinstance(value, list) and (parameter, value) in _OF_VALUES:
        return _OF_VALUES[parameter, value]
    if parameter in _IN_MILLIONS:
        value /= 1e6
    return f"{option} {_joined(value if isinstance(value, list) else [value])}"


def _joined(values: Iterable[Any]) -> str:
    texts = [f"{value:g}" if isinstance(value, float) else str(value) for value in values]
    return " ".join(map(shlex.quote, texts))
