"""The interactive table of a report, with bars and confidence intervals in its cells."""

from typing import Any

import numpy as np

from ..._scoring.bootstrap import LEVEL
from ..._scoring.columns import COLUMNS, Column, number_text, value_format
from ..results import RankingResults
from .columns import shown_columns, values_of
from .markup import definitions, escaped

# Numbers that have no meaning as a length.
_WITHOUT_BAR = ("rank", "iteration", "n_samples")


def table_part(ranking: RankingResults) -> list[str]:
    """Return the table, what steers it, and the meanings of its columns."""
    columns = shown_columns(ranking)
    cells = {
        column.name: _cells(ranking, column)
        if column.name != "score"
        else _score_cells(ranking, column)
        for column, _ in columns
    }
    rows, above = [], None
    for i in ranking.order:
        row = [
            _with_label(cells[column.name][i], column, is_shown) for column, is_shown in columns
        ]
        group = ranking.results["group"][i] if ranking.resamples is not None else None
        # A line parts candidates that can be told apart, as in the table of text.
        is_parted = above is not None and group != above
        rows.append(f"<tr{' class=parted' if is_parted else ''}>{''.join(row)}</tr>")
        above = group
    heads = "".join(_head(column, is_shown) for column, is_shown in columns)
    return [
        '<div class="tools" hidden><label>Filter <input type="search" placeholder="name or '
        'license"></label><output></output><details><summary>Columns</summary>'
        '<div class="choices"></div></details></div>',
        f'<div class="box"><table class="ranking by-rank"><thead><tr>{heads}</tr></thead>',
        f"<tbody>{''.join(rows)}</tbody></table></div>",
        "<details><summary>What the columns mean</summary>",
        f"{definitions({column.header: column.meaning for column, _ in columns})}</details>",
    ]


def _head(column: Column, is_shown: bool) -> str:
    """Return the head of a column, with a button that sorts by it."""
    kind = "number" if column.format else "word"
    # A first click sorts numbers from large to small, but ranks from small to large.
    first = "descending" if column.format and column.name != "rank" else "ascending"
    now = ' aria-sort="ascending"' if column.name == "rank" else ""
    hidden = "" if is_shown else " hidden"
    return (
        f'<th scope="col" class="{kind}" data-kind="{kind}" data-first="{first}"{now}{hidden}>'
        f'<button type="button" title="{escaped(column.meaning)}">{escaped(column.header)}'
        "</button></th>"
    )


def _with_label(cell: tuple[str, str, str, str], column: Column, is_shown: bool) -> str:
    """Return a cell that knows its header, which a narrow screen shows next to the value."""
    kind, key, title, content = cell
    hidden = "" if is_shown else " hidden"
    return (
        f'<td class="{kind}" data-label="{escaped(column.header)}" data-key="{key}" '
        f'title="{title}"{hidden}>{content}</td>'
    )


def _cells(ranking: RankingResults, column: Column) -> list[tuple[str, str, str, str]]:
    """Return the class, sorting key, title and content of each cell of a column."""
    values = values_of(ranking.results, column.name)
    if values is None:
        return []
    if not column.format:
        return [("word", escaped(v), escaped(v), escaped(v)) for v in values]
    style = value_format(column.format, values)
    low, high = _range(values)
    has_bar = column.name not in _WITHOUT_BAR
    return [
        _number(column, value, style, _bar(value, low, high) if has_bar else "")
        for value in values
    ]


def _score_cells(ranking: RankingResults, column: Column) -> list[tuple[str, str, str, str]]:
    """Return the cells of the score, with its confidence intervals where there are any."""
    results = ranking.results
    score = results["score"]
    style = value_format(column.format, score)
    if ranking.resamples is None:
        cells = _cells(ranking, column)
    else:
        ends = [results["score_low"], results["score_high"]]
        low, high = _range(np.concatenate([score, *ends]))
        cells = [
            _number(column, value, style, _interval(results, i, low, high, style))
            for i, value in enumerate(score)
        ]
    for i in np.flatnonzero(results["error"] != ""):
        cells[i] = ("failed", "", "no score", "left out" if ranking.left_out[i] else "failed")
    return cells


def _number(column: Column, value: Any, style: str, drawn: str) -> tuple[str, str, str, str]:
    """Return a cell with a number, below which a bar or an interval is drawn."""
    if not np.isfinite(value):
        return "", "", "", "-"
    exact = f"{column.meaning}: {value:g}" if column.name != "rank" else ""
    text = number_text(value, style)
    return "", str(value), escaped(exact), f"<span>{text}</span>{drawn}"


def _range(values: np.ndarray) -> tuple[float, float]:
    """Return the ends of a scale that has all values and zero."""
    finite = values[np.isfinite(values)]
    return float(finite.min(initial=0.0)), float(finite.max(initial=0.0))


def _bar(value: float, low: float, high: float) -> str:
    """Return a bar from zero to a value."""
    if not np.isfinite(value):
        return ""
    start, end = _place(min(value, 0.0), low, high), _place(max(value, 0.0), low, high)
    return f'<span class="bar"><i style="left:{start:.1f}%;width:{end - start:.1f}%"></i></span>'


def _interval(results: Any, i: int, low: float, high: float, style: str) -> str:
    """Return a score and its confidence interval, drawn and as text."""
    ends = [results["score_low"][i], results["score_high"][i]]
    if not np.isfinite(ends).all():
        return ""
    start, end = (_place(value, low, high) for value in ends)
    at = _place(results["score"][i], low, high)
    text = f"[{', '.join(number_text(value, style) for value in ends)}]"
    title = f"{LEVEL:.0%} confidence interval of the score: {text}"
    if results["held"][i]:
        title += f"; {COLUMNS['held'].meaning}"
        text = "held"
    return (
        f'<span class="bar interval" title="{escaped(title)}">'
        f'<i style="left:{start:.1f}%;width:{end - start:.1f}%"></i>'
        f'<b style="left:{at:.1f}%"></b></span><small>{text}</small>'
    )


def _place(value: float, low: float, high: float) -> float:
    """Return where a value lies on a scale, in per cent."""
    return 100 * (value - low) / (high - low) if high > low else 0.0
