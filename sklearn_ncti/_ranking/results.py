"""`RankingResults`: the data that the table, display, report and robustness of a ranking read."""

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._scoring.normalization import merge_equal


class RankingResults:
    """Columns of results and the order of the candidates.

    The parameters and attributes are those of :class:`~sklearn_ncti.Ranking`.

    Attributes
    ----------
    order : ndarray of int of shape (n_candidates,)
        Positions of the candidates in the columns, best first. Candidates of equal score keep
        the order in which they were given. With a column "iteration", those of a later iteration
        come first: scores of different iterations are never compared.

    standing : ndarray of shape (n_candidates,)
        A number for each candidate that orders them all; larger is better, equal for equal ones.
    """

    def __init__(
        self,
        results: Mapping[str, ArrayLike],
        *,
        normalization: str | None = None,
        weights: Mapping[str, float] | None = None,
        resamples: ArrayLike | None = None,
        scorers: Sequence[str] = (),
        notes: Sequence[str] = (),
    ):
        self.results = {name: np.asarray(column) for name, column in results.items()}
        self.normalization = normalization
        self.weights = dict(weights or {})
        self.resamples = None if resamples is None else np.asarray(resamples)
        self.scorers = list(scorers)
        self.notes = list(notes)
        no_errors = np.full(len(self.results["model"]), "", dtype=object)
        failed = self.results.setdefault("error", no_errors) != ""
        score = np.where(failed, -np.inf, self.results["score"])
        reached = np.where(failed, -1, self.results.get("iteration", 0))
        for iteration in np.unique(reached):
            score[reached == iteration] = merge_equal(score[reached == iteration])
        # A stable sort keeps candidates of equal score in the order in which they came.
        self.order = np.lexsort((-score, -reached))
        new = (np.diff(reached[self.order]) != 0) | (
            score[self.order][1:] != score[self.order][:-1]
        )
        self.standing = np.zeros(len(score))
        self.standing[self.order[1:]] = -np.cumsum(new)
        self.results["rank"] = ranks(self.standing)

    @property
    def comparable(self) -> np.ndarray:
        """Positions of the candidates whose scores can be compared, best first.

        They have a score, and are of the last iteration if there are several.
        """
        reached = np.asarray(self.results.get("iteration", np.zeros(len(self))))[self.order]
        scored = self.results["error"][self.order] == ""
        last = reached == reached.max(where=scored, initial=0)
        return np.asarray(self.order[scored & last])

    @property
    def left_out(self) -> np.ndarray:
        """Whether each candidate was not started: no failure, but it has no score either."""
        iteration = np.asarray(self.results.get("iteration", np.ones(len(self))))
        return np.asarray((iteration == 0) & (self.results["error"] != ""))

    @property
    def names(self) -> list[str]:
        """Names of the candidates, best first, failed ones last."""
        return [str(name) for name in self.results["model"][self.order]]

    @property
    def best(self) -> str:
        """Name of the candidate with the largest score."""
        return self.names[0]

    @property
    def best_index(self) -> int:
        """Position of the best candidate in the order given."""
        return int(self.order[0])

    @property
    def scores(self) -> dict[str, float]:
        """Summed normalised score by name, best first; larger is better."""
        return dict(zip(self.names, self.results["score"][self.order].tolist(), strict=True))

    def __len__(self) -> int:
        return len(self.order)


def shortlist(results: RankingResults, n: int) -> list[str]:
    """Names of the first `n` candidates that have a score, see `Ranking.shortlist`."""
    if isinstance(n, bool) or not isinstance(n, Integral) or n < 1:
        raise ValueError(f"n must be an integer of at least 1, got {n!r}.")
    scored = results.order[results.results["error"][results.order] == ""]
    return [str(name) for name in results.results["model"][scored[: int(n)]]]


def left_out_by_reason(results: RankingResults) -> dict[str, list[str]]:
    """Return why candidates were not started, and the names of these in their order."""
    found: dict[str, list[str]] = {}
    for i in results.order[results.left_out[results.order]]:
        reason = str(results.results["error"][i]).removeprefix("left out: ")
        found.setdefault(reason, []).append(str(results.results["model"][i]))
    return found


def ranks(score: np.ndarray) -> np.ndarray:
    """Ranks from 1 for the largest score; equal ones share the best, and NaN comes last."""
    score = merge_equal(np.where(np.isnan(score), -np.inf, score))
    return 1 + len(score) - np.searchsorted(np.sort(score), score, "right")


def as_columns(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Turn rows to columns; numbers become arrays of numbers, everything else of objects."""
    columns = {}
    for name in rows[0] if rows else ():
        values = [row[name] for row in rows]
        columns[name] = np.empty(len(values), dtype=object)
        columns[name][:] = values
        if all(isinstance(value, int | float) for value in values):
            columns[name] = np.array(values)
    return columns
