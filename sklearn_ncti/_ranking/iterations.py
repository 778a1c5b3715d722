"""One ranking from those of successive iterations, each of fewer candidates on more rows."""

from collections.abc import Mapping, Sequence

import numpy as np

from .ranking import Ranking

# What a column has for candidates that another iteration has it for. Numbers get NaN.
_MISSING = {"O": "", "b": False, "i": 0, "u": 0}


def join_iterations(
    rankings: Sequence[Ranking],
    n_samples: Sequence[int],
    names: Sequence[str],
    left_out: Mapping[str, str],
    notes: Sequence[str] = (),
) -> Ranking:
    """Return a ranking by the iteration that each candidate reached, then by its score there.

    Parameters
    ----------
    rankings : sequence of Ranking
        Ranking of each iteration. The candidates of one are among those of the one before.

    n_samples : sequence of int
        Number of rows in each iteration.

    names : sequence of str
        Names of all candidates, in the order of the columns.

    left_out : dict of str to str
        Names of candidates that are in no ranking, and why.

    notes : sequence of str
        Notes of the ranking, before those of the last iteration.

    Returns
    -------
    ranking : Ranking
        Ranking of all candidates. Its resamples are those of the last iteration.
    """
    last = rankings[-1]
    reached: dict[str, tuple[int, int]] = {}
    for iteration, ranking in enumerate(rankings):
        reached |= {str(name): (iteration, i) for i, name in enumerate(ranking.results["model"])}
    columns = {
        key: _column([ranking.results[key] for ranking in rankings], names, reached)
        for key in last.results
    }
    columns["model"] = np.array(names, dtype=object)
    for i, name in enumerate(names):
        columns["error"][i] = left_out.get(name, columns["error"][i])
    iterations = [reached[name][0] + 1 if name in reached else 0 for name in names]
    columns["iteration"] = np.array(iterations)
    columns["n_samples"] = np.array([n_samples[i - 1] if i else 0 for i in iterations])
    resamples = None
    if last.resamples is not None:
        columns |= _of_resamples(columns, len(rankings))
        resamples = np.full((len(last.resamples), len(names)), np.nan)
        places = [list(names).index(str(name)) for name in last.results["model"]]
        resamples[:, places] = last.resamples
    return Ranking(
        columns,
        normalization=last.normalization,
        weights=last.weights,
        resamples=resamples,
        scorers=last.scorers,
        notes=[*notes, *last.notes],
    )


def _column(by_iteration, names, reached) -> np.ndarray:
    """Take the value of each candidate from the iteration that it reached."""
    dtype = by_iteration[0].dtype
    found = np.full(len(names), _MISSING.get(dtype.kind, np.nan), dtype)
    for k, name in enumerate(names):
        if name in reached:
            iteration, i = reached[name]
            found[k] = by_iteration[iteration][i]
    return found


def _of_resamples(columns, n_iterations) -> dict[str, np.ndarray]:
    """Number the groups through all iterations; only the last tells who may be the best."""
    scored, group = columns["group"] > 0, columns["group"].copy()
    for iteration in range(n_iterations - 1, 0, -1):
        later = scored & (columns["iteration"] > iteration)
        of_this = scored & (columns["iteration"] == iteration)
        numbers = np.unique(group[of_this], return_inverse=True)[1]
        group[of_this] = group[later].max(initial=0) + 1 + numbers
    best = columns["best_probability"].copy()
    best[columns["iteration"] < n_iterations] = np.nan
    return {"group": group, "best_probability": best}
