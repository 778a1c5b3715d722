"""From the arguments of the command line to values, and to the options of each command."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np

from ..datasets._filters import Filters
from .options import (
    DemoOptions,
    ModelsOptions,
    Outputs,
    RankOptions,
    ScoreOptions,
    ScoringOptions,
    SearchOptions,
)

_Record = TypeVar("_Record")

# Defaults with and without successive halving; the former are those of `HalvingModelSelector`.
_OF_HALVING = {"scorer": "robust", "resamples": 200}
_OF_ALL_ROWS = {"scorer": "ncti", "resamples": 0}


def rank_options(values: Mapping[str, Any]) -> RankOptions:
    """Return the options of the command `rank`."""
    return _record(
        RankOptions,
        values,
        filters=_filters(values),
        search=_record(SearchOptions, values),
        scoring=_scoring(values),
        outputs=_record(Outputs, values),
    )


def score_options(values: Mapping[str, Any]) -> ScoreOptions:
    """Return the options of the command `score`."""
    return _record(
        ScoreOptions,
        values,
        scoring=_scoring(values),
        outputs=_record(Outputs, values),
    )


def models_options(values: Mapping[str, Any]) -> ModelsOptions:
    """Return the options of the command `models`."""
    return _record(
        ModelsOptions, values, filters=_filters(values), outputs=_record(Outputs, values)
    )


def _scoring(values: Mapping[str, Any]) -> ScoringOptions:
    """Return the scoring options, with defaults that depend on successive halving."""
    defaults = _OF_HALVING if values.get("halving") else _OF_ALL_ROWS
    given = {name: values[name] for name in defaults if values[name] is not None}
    return _record(ScoringOptions, {**values, **defaults, **given})


def _filters(values: Mapping[str, Any]) -> Filters:
    """Return the filters, with parameters counted in ones and without an empty list of names."""
    counted = {
        name: None if values[name] is None else 1e6 * values[name]
        for name in ("min_parameters", "max_parameters")
    }
    return _record(Filters, {**values, **counted, "names": values.get("names") or None})


def demo_options(values: Mapping[str, Any]) -> DemoOptions:
    """Return the options of the command `demo`."""
    return _record(DemoOptions, values)


def _record(kind: type[_Record], values: Mapping[str, Any], **parts: Any) -> _Record:
    """Return a dataclass made of its parts and of the values named as its other fields."""
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: values[name] for name in names & values.keys()}, **parts)


def at_least(least: int) -> Callable[[str], int]:
    """Return a function from text to a whole number that is not smaller than `least`."""

    def parse(text: str) -> int:
        value = _whole(text)
        if value is None or value < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
        return value

    return parse


def not_negative(text: str) -> float:
    """Return text as a finite number of at least 0."""
    value = float(text)
    if not 0 <= value < np.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 0")
    return value


def between(low: float, high: float = np.inf) -> Callable[[str], float]:
    """Return a function from text to a finite number between two others, both excluded."""

    def parse(text: str) -> float:
        value = _number(text)
        if not low < value < high:
            bounds = f"above {low:g}" + (f" and below {high:g}" if high < np.inf else "")
            raise argparse.ArgumentTypeError(f"{text!r} is not a finite number {bounds}")
        return value

    return parse


def _number(text: str) -> float:
    """Return text as a number, or NaN if it is not one."""
    try:
        return float(text)
    except ValueError:
        return np.nan


def within(least: int, most: int) -> Callable[[str], int]:
    """Return a function from text to a whole number from `least` to `most`, both included."""

    def parse(text: str) -> int:
        value = _whole(text)
        if value is None or not least <= value <= most:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not a whole number from {least} to {most}"
            )
        return value

    return parse


def _whole(text: str) -> int | None:
    """Return text as a whole number, or None if it is not one."""
    try:
        return int(text)
    except ValueError:
        return None


def folds(text: str) -> int | str:
    """Return text as a number of folds, or the word "loo" as it is."""
    return text if text == "loo" else at_least(2)(text)


def shrinkage(text: str) -> float | str:
    """Return text as a number in [0, 1], or a word that names a rule as it is."""
    if text in ("adaptive", "scale-free"):
        return text
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{value} is not in [0, 1]")
    return value
