"""How robust a ranking is: agreement with accuracies, leave-one-out, ablation, Pareto front."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from .._scoring.agreement import order_agreement, regret
from .._scoring.columns import COLUMNS
from .._scoring.normalization import finite_values, merge_equal, summed
from .results import RankingResults, as_columns


def agreement(results: RankingResults, accuracies: Mapping[str, float]) -> dict[str, float]:
    """Agreement of a ranking with accuracies, see `Ranking.agreement`."""
    columns = results.results
    known = finite_values(accuracies, "accuracies")
    unknown = sorted(set(known) - set(results.names))
    if unknown:
        raise ValueError(
            f"accuracies has names that were not ranked: {unknown}. "
            f"The ranked ones are {results.names}."
        )
    failed = set(columns["model"][columns["error"] != ""])
    ordered = [name for name in results.names if name in known and name not in failed]
    if len(ordered) < 2:
        raise ValueError(
            f"accuracies has {len(ordered)} of the candidates that have a score; at least "
            "2 are needed to compare two orders."
        )
    standing = dict(zip(columns["model"], results.standing, strict=True))
    score = np.array([standing[name] for name in ordered])
    accuracy = np.array([known[name] for name in ordered])
    return {
        **order_agreement(score, accuracy),
        "regret_at_1": regret(score, accuracy, 1),
        "regret_at_3": regret(score, accuracy, 3),
        "n_models": len(ordered),
    }


def leave_one_out(results: RankingResults) -> dict[str, np.ndarray]:
    """Rankings of the pool without each candidate, see `Ranking.leave_one_out`."""
    columns = results.results
    scored = results.comparable
    models, score = columns["model"][scored], merge_equal(columns["score"][scored])
    without = {
        name: np.empty(len(scored), dtype=object)
        for name in ("left_out", "names", "best", "best_before")
    } | {name: np.zeros(len(scored), dtype=bool) for name in ("best_changes", "order_changes")}
    without["left_out"][:] = models
    for i in range(len(scored)):
        rest = np.delete(np.arange(len(scored)), i)
        if len(rest) == 0:
            without["names"][i] = []
            continue
        total = _rescored(results, np.take(scored, rest), results.weights)
        # Best first before; what comes later and is larger now has changed places.
        before = score[rest]
        starts = np.searchsorted(-before, -before)
        least = np.concatenate([[np.inf], np.minimum.accumulate(total)])[starts]
        without["names"][i] = [
            str(name) for name in models[rest][np.argsort(-total, kind="stable")]
        ]
        without["best"][i] = without["names"][i][0]
        without["best_before"][i] = str(models[rest][0])
        without["best_changes"][i] = total.max() > total[starts == 0].max()
        without["order_changes"][i] = (total > least).any()
    return without


def ablation(results: RankingResults) -> dict[str, np.ndarray]:
    """Rankings by each subset of the components, see `Ranking.ablation`."""
    columns = results.results
    scored = results.comparable
    models, score = columns["model"][scored], columns["score"][scored]
    used = [name for name, weight in results.weights.items() if weight != 0]
    rows = []
    for size in range(1, len(used) + 1):
        for subset in combinations(used, size):
            own_weights = {name: results.weights[name] for name in subset}
            total = _rescored(results, scored, own_weights)
            names = [str(name) for name in models[np.argsort(-total, kind="stable")]]
            rows.append(
                {
                    "components": " + ".join(subset),
                    "names": names,
                    "best": names[0],
                    **order_agreement(total, score),
                }
            )
    if not rows:
        _rescored(results, scored, results.weights)
    return as_columns(rows)


def _rescored(
    results: RankingResults, rows: np.ndarray, weights: Mapping[str, float]
) -> np.ndarray:
    """Sum of the components with these weights over a part of the candidates."""
    columns = results.results
    if not results.weights or results.normalization is None:
        raise ValueError(
            "This ranking has totals only: what they would be for other candidates or "
            "components is not known. Rank with rank_features or ModelSelector."
        )
    source = "normalized_" if results.normalization == "absolute" else ""
    parts = {name: columns[source + name][rows] for name in weights}
    return summed(parts, results.normalization, weights)[0]


def scorer_agreement(results: RankingResults) -> dict[str, np.ndarray]:
    """Agreement of the scorers with each other, see `Ranking.scorer_agreement`."""
    columns = results.results
    rows = []
    for first, second in combinations(["score", *results.scorers], 2):
        a, b = columns[first][results.comparable], columns[second][results.comparable]
        both = np.isfinite(a) & np.isfinite(b)
        rows.append(
            {
                "first": first,
                "second": second,
                **order_agreement(a[both], b[both]),
                "n_models": int(both.sum()),
            }
        )
    return as_columns(rows)


def pareto(results: RankingResults, cost: str | Mapping[str, float]) -> list[str]:
    """Candidates on the Pareto front, see `Ranking.pareto`."""
    columns = results.results
    values = _gains(results, cost)
    ok = (columns["error"] == "") & np.isfinite(values)
    if not ok.any():
        raise ValueError(
            f"cost={cost!r}: no candidate has both a score and that cost. Features in hand "
            'have no speed; use cost="n_features", or a dict of name to cost.'
        )
    order = [i for i in results.order if ok[i]]
    points = np.column_stack([results.standing, merge_equal(values)])
    return [
        str(columns["model"][i])
        for i in order
        if not any((points[j] >= points[i]).all() and (points[j] > points[i]).any() for j in order)
    ]


def _gains(results: RankingResults, cost: str | Mapping[str, float]) -> np.ndarray:
    """Costs of the candidates, turned round where smaller ones are better."""
    columns = results.results
    if isinstance(cost, str):
        values = columns.get(cost)
        if values is None or values.dtype.kind not in "iuf" or cost in ("rank", "score"):
            costs = tuple(name for name, known in COLUMNS.items() if known.is_cost)
            raise ValueError(
                "cost must be a column of results that holds costs, such as one of "
                f"{[name for name in costs if name in columns]}, or a dict of name to cost; got "
                f"{cost!r}."
            )
        column = COLUMNS.get(cost)
        return values if column is not None and column.larger_is_better else -values
    known = finite_values(cost, "cost")
    unknown = sorted(set(known) - set(results.names))
    if unknown:
        raise ValueError(
            f"cost has names that were not ranked: {unknown}. The ranked ones are {results.names}."
        )
    return -np.array([known.get(name, np.nan) for name in columns["model"]])
