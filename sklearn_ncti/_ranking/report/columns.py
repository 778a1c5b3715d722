"""The columns of the table of a report, which are those of the results that have values."""

from collections.abc import Mapping

import numpy as np

from ..._scoring.columns import COLUMNS, Column, component_columns, scorer_columns
from ..results import RankingResults

#: Size of the weights, which follows from the number of parameters.
SIZE = Column(
    "size",
    "MB",
    ",.1f",
    "size of the weights in float32, without the classifier, in millions of bytes",
    False,
)

_BYTES = 4

# Columns of the registry that are shown from the start, around those of components and scorers,
# and those that a reader can switch on.
_FIRST = ("rank", "model", "score", "best_probability", "iteration", "n_samples")
_LAST = ("images_per_second", "texts_per_second", "size", "license")
_OPTIONAL = (
    *("n_features", "n_parameters", "shrinkage"),
    *("tokens_per_second", "n_truncated", "extract_time", "score_time"),
)


def shown_columns(ranking: RankingResults) -> list[tuple[Column, bool]]:
    """Return the columns that have values, each with whether it is shown from the start."""
    components = [component_columns(name) for name in ranking.weights]
    own = COLUMNS | {SIZE.name: SIZE}
    columns = [
        *((own[name], True) for name in _FIRST),
        *((normalized, True) for _, normalized in components),
        *((scorer_columns(name)[0], True) for name in ranking.scorers),
        *((own[name], True) for name in _LAST),
        *((raw, False) for raw, _ in components),
        *((own[name], False) for name in _OPTIONAL),
    ]
    return [(c, shown) for c, shown in columns if values_of(ranking.results, c.name) is not None]


def values_of(results: Mapping[str, np.ndarray], name: str) -> np.ndarray | None:
    """Return a column, or None if no candidate has a value in it."""
    column = size_of(results) if name == SIZE.name else results.get(name)
    if column is None:
        return None
    has = (column != "").any() if column.dtype.kind in "OUT" else np.isfinite(column).any()
    return column if has else None


def size_of(results: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Return the size of the weights of each candidate in MB, or None if it is not known."""
    parameters = results.get("n_parameters")
    return None if parameters is None else parameters.astype(float) * _BYTES / 1e6
