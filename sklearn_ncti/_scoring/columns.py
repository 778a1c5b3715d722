"""Registry of the columns of results: names, headers, formats and meaning, in one place."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .normalization import EQUAL_SHARE

#: Format of scores, components and other measures. Resamples of a few hundred rows move them by
#: more than the second decimal. `value_format` gives more decimals where the values need them.
MEASURE = ".2f"

# Decimals of a measure at most.
_MAX_DECIMALS = 6


@dataclass(frozen=True)
class Column:
    """A column of ``Ranking.results``.

    Attributes
    ----------
    name : str
        Its key.

    header : str
        What the report shows above it.

    format : str
        Format specification of a value, empty for text.

    meaning : str
        What it holds, with its unit.

    larger_is_better : bool or None
        Whether larger values are better; None where neither direction is.

    is_cost : bool
        Whether it can stand against the score in a Pareto front.
    """

    name: str
    header: str
    format: str
    meaning: str
    larger_is_better: bool | None = None
    is_cost: bool = False


#: Columns that do not come from components or additional scorers.
COLUMNS = {
    column.name: column
    for column in (
        Column("model", "model", "", "name of the candidate"),
        Column(
            "rank",
            "rank",
            "d",
            "1 is the candidate to fine-tune first; equal scores share a rank",
            False,
        ),
        Column(
            "score",
            "score",
            MEASURE,
            "sum of the normalised components; larger is better",
            True,
        ),
        Column(
            "score_low",
            "from",
            MEASURE,
            "lower end of the bootstrap confidence interval of the score",
        ),
        Column(
            "score_high",
            "to",
            MEASURE,
            "upper end of the bootstrap confidence interval of the score",
        ),
        Column("rank_low", "rank from", ".0f", "lower end of the confidence interval of the rank"),
        Column("rank_high", "rank to", ".0f", "upper end of the confidence interval of the rank"),
        Column(
            "held",
            "held",
            "",
            "whether a bound of the normalisation holds the score in at least half of the "
            "resamples",
        ),
        Column(
            "best_probability",
            "best",
            ".2f",
            "probability of being the best on other rows of the same kind",
            True,
        ),
        Column("group", "group", "d", "1 for the first group that cannot be told apart", False),
        Column(
            "iteration",
            "iteration",
            "d",
            "iteration of successive halving that the candidate reached, from 1; 0 if left out",
            True,
        ),
        Column("n_samples", "rows", "d", "number of rows on which the candidate was scored last"),
        Column("n_features", "features", ".0f", "number of features", False, is_cost=True),
        Column("shrinkage", "shrinkage", ".2g", "share of the isotropic target, in [1e-10, 1]"),
        Column("extract_time", "extraction", ".1f", "seconds until the features were available"),
        Column("score_time", "scoring", ".2f", "seconds of the ranking scorer"),
        Column(
            "images_per_second",
            "images/s",
            ".1f",
            "speed of feature extraction in this run; missing if the features were cached",
            True,
            is_cost=True,
        ),
        Column(
            "texts_per_second",
            "texts/s",
            ".1f",
            "speed of the network on texts in this run; missing if the features were cached",
            True,
            is_cost=True,
        ),
        Column(
            "tokens_per_second",
            "tokens/s",
            ".0f",
            "the same in tokens, without padding",
            True,
        ),
        Column(
            "n_truncated",
            "truncated",
            ".0f",
            "number of texts that are longer than the network takes",
            False,
        ),
        Column("decode_time", "decoding", ".1f", "seconds of waiting for images or tokens"),
        Column("device_time", "network", ".1f", "seconds of the network"),
        Column(
            "n_parameters",
            "parameters",
            ",.0f",
            "parameters of the network without its classifier",
            False,
            is_cost=True,
        ),
        Column("license", "license", "", "license of the weights, as stated by timm"),
        Column("prior", "raw prior", MEASURE, "prior before normalisation", True),
        Column("normalized_prior", "prior", MEASURE, "prior, normalised", True),
        Column(
            "prior_imputed",
            "prior imputed",
            "",
            "whether the normalised prior is the one that the other components suggest",
        ),
        Column("baseline", "baseline", MEASURE, "number that was given for comparison", True),
        Column("baseline_rank", "rank by baseline", "d", "rank by that number", False),
        Column("error", "error", "", "why the candidate has no score; empty if it has one"),
        Column("traceback", "traceback", "", "where that error was raised; empty without one"),
    )
}

# Formats and meanings of NCTI's own components, those of others are general.
_MEANINGS = {
    "seli": (".1f", "separation of the classes", "seli before normalisation"),
    "ncc": (
        MEASURE,
        "mean probability of the true class under the nearest class center",
        "ncc before normalisation, in [0, 1]",
    ),
    "vc": (MEASURE, "collapse of each class towards one point", "vc before normalisation"),
}


def component_columns(name: str) -> tuple[Column, Column]:
    """Return the columns of a component: as it is, and normalised."""
    own = (MEASURE, f"component {name}", f"{name} before normalisation")
    style, meaning, raw_meaning = _MEANINGS.get(name, own)
    return (
        Column(name, f"raw {name}", style, raw_meaning, True),
        Column(f"normalized_{name}", name, MEASURE, f"{meaning}, normalised", True),
    )


def scorer_columns(name: str) -> tuple[Column, Column, Column]:
    """Return the columns of an additional scorer: its value, rank and error."""
    return (
        Column(name, name, MEASURE, "score of another scorer", True),
        Column(f"{name}_rank", f"rank by {name}", "d", f"rank by {name}", False),
        Column(f"{name}_error", f"{name} error", "", f"why {name} has no value"),
    )


def check_columns(components: Iterable[str], own: Iterable[str], scorers: Iterable[str]) -> None:
    """Raise a ValueError if a column of the results would be written twice.

    Parameters
    ----------
    components : iterable of str
        Components of the ranking scorer.

    own : iterable of str
        Those of them that are named after the scorer's class.

    scorers : iterable of str
        Names of the additional scorers.
    """
    own = set(own)
    taken = set(COLUMNS)
    for name in components:
        remedy = "a class of another name" if name in own else "another name of the component"
        _take(taken, name, component_columns(name), remedy)
    for name in scorers:
        _take(taken, name, scorer_columns(name), "another name with a (name, scorer) pair")


def _take(taken: set[str], name: str, columns: tuple[Column, ...], remedy: str) -> None:
    """Add columns to those that are taken, or raise a ValueError."""
    names = {column.name for column in columns}
    if taken & names:
        raise ValueError(
            f"scorer {name!r} would overwrite the columns {sorted(taken & names)} of the "
            f"results; choose {remedy}."
        )
    taken |= names


def value_format(style: str, values: ArrayLike) -> str:
    """Return the format of a column, with the decimals that its values need.

    Parameters
    ----------
    style : str
        Format of the column.

    values : array-like of shape (n_values,)
        Its values.

    Returns
    -------
    style : str
        For `MEASURE`, so many decimals that the range of the values has two digits; at least
        2 and at most 6. Other formats are returned as they are.
    """
    if style != MEASURE:
        return style
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    spread = np.ptp(finite) if len(finite) else 0.0
    if not spread > EQUAL_SHARE * np.abs(finite).max(initial=0.0):
        return MEASURE
    return f".{min(max(2, 1 - math.floor(math.log10(spread))), _MAX_DECIMALS)}f"


def number_text(value: float, style: str) -> str:
    """Return a number as text: "-" for a missing one, and no sign before a rounded zero."""
    if not np.isfinite(value):
        return "-"
    return f"{value:{style}}" if style.endswith("d") else f"{value:z{style}}"
