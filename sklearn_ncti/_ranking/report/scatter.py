"""The picture of a report: the score of each candidate against its cost, as SVG."""

import numpy as np

from ..._scoring.columns import COLUMNS, number_text
from ..results import RankingResults
from ..robustness import pareto
from .columns import values_of
from .markup import escaped

# Size of the picture, and of the frame in it, in its own units. It is scaled to its place.
_WIDTH, _HEIGHT = 420, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 404, 16, 236

# Costs in the order of preference; the first that has values is shown.
_COSTS = ("images_per_second", "texts_per_second", "n_parameters")


def scatter_part(ranking: RankingResults) -> list[str]:
    """Return the picture of score and cost, or nothing if no cost is known."""
    # Scores of other iterations cannot be compared.
    scored = np.isin(np.arange(len(ranking)), ranking.comparable)
    for cost in _COSTS:
        values = values_of(ranking.results, cost)
        if values is None:
            continue
        ok = scored & np.isfinite(values) & (values > 0)
        if ok.sum() > 1:
            return _picture(ranking, cost, np.flatnonzero(ok))
    return []


def _picture(ranking: RankingResults, cost: str, rows: np.ndarray) -> list[str]:
    """Return the picture with its heading and caption."""
    results, column = ranking.results, COLUMNS[cost]
    x = _scaled(np.log10(results[cost][rows].astype(float)), _LEFT + 12, _RIGHT - 12)
    y = _scaled(-results["score"][rows], _TOP + 12, _BOTTOM - 12)
    front = set(pareto(ranking, cost))
    points = []
    for i, a, b in zip(rows, x, y, strict=True):
        name = results["model"][i]
        text = (
            f"{name}: score {number_text(results['score'][i], COLUMNS['score'].format)}, "
            f"{number_text(results[cost][i], column.format)} {column.header}"
        )
        kind = "front" if str(name) in front else "behind"
        points.append(
            f'<g class="{kind}" tabindex="0"><title>{escaped(text)}</title>'
            f'<circle cx="{a:.1f}" cy="{b:.1f}" r="5"/>'
            f'<text x="{a + 7:.1f}" y="{b - 5:.1f}">{results["rank"][i]}</text></g>'
        )
    caption = (
        f"Score against {column.header} (logarithmic). Numbers are ranks. On filled points no "
        "other candidate is better in both; hover or tap for names."
    )
    return [
        "<h2>Score and cost</h2>",
        f'<figure class="plot"><svg role="img" viewBox="0 0 {_WIDTH} {_HEIGHT}">'
        f"<title>{escaped(caption)}</title>",
        *_axes(results[cost][rows], results["score"][rows], column),
        *points,
        f"</svg><figcaption>{escaped(caption)}</figcaption></figure>",
    ]


def _axes(costs: np.ndarray, scores: np.ndarray, column) -> list[str]:
    """Return the frame, and the smallest and the largest value of both axes."""
    low, high = (number_text(value, column.format) for value in (costs.min(), costs.max()))
    style = COLUMNS["score"].format
    worst, best = (number_text(value, style) for value in (scores.min(), scores.max()))
    return [
        f'<path class="frame" d="M{_LEFT} {_TOP}V{_BOTTOM}H{_RIGHT}"/>',
        f'<text x="{_LEFT + 12}" y="{_BOTTOM + 16}" class="middle">{low}</text>',
        f'<text x="{_RIGHT - 12}" y="{_BOTTOM + 16}" class="end">{high}</text>',
        f'<text x="{(_LEFT + _RIGHT) / 2}" y="{_BOTTOM + 34}" class="middle">'
        f"{escaped(column.header)}</text>",
        f'<text x="{_LEFT - 6}" y="{_TOP + 16}" class="end">{best}</text>',
        f'<text x="{_LEFT - 6}" y="{_BOTTOM - 8}" class="end">{worst}</text>',
        f'<text x="{_LEFT - 6}" y="{(_TOP + _BOTTOM) / 2}" class="end">score</text>',
    ]


def _scaled(values: np.ndarray, start: float, end: float) -> np.ndarray:
    """Return positions between two ends; the middle if all values are equal."""
    spread = np.ptp(values)
    if spread == 0:
        return np.full(len(values), (start + end) / 2)
    return start + (end - start) * (values - values.min()) / spread
