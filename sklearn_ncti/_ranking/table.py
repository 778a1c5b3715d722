"""A ranking as aligned text and as HTML."""

import html
import shutil
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .._ncti.discriminant import SHRINKAGE_FLOOR
from .._scoring.bootstrap import LEVEL
from .._scoring.columns import (
    COLUMNS,
    component_columns,
    number_text,
    scorer_columns,
    value_format,
)
from .._scoring.normalization import PRIOR
from .._utils.terminal import is_terminal, printable
from .results import RankingResults, left_out_by_reason
from .robustness import leave_one_out, scorer_agreement

# Width of text that no terminal limits, and of paragraphs on a wide one.
_WIDTH = 100

# Header of the confidence intervals of the score.
_INTERVAL = f"{LEVEL:.0%}"

# Columns that a table always has.
_KEPT = ("rank", "model", "score")

# Columns that only successive halving has.
_OF_HALVING = ("iteration", "n_samples")

# Characters that a shortened name keeps at least.
_MIN_NAME = 8

# Candidates that a note names before it only counts the others.
_NAMED = 3

# Between rows where the candidates above are told apart from those below.
_MARK = None


def as_text(
    ranking: RankingResults,
    extra_columns: Mapping[str, Mapping[str, str]] | None = None,
    *,
    elsewhere: str = "`results` and `to_frame()`",
) -> str:
    """Return a ranking as aligned text that is no wider than the terminal.

    Parameters
    ----------
    ranking : Ranking
        The ranking.

    extra_columns : dict of str to dict of str to str, default=None
        Further columns, ``{header: {name: text}}``.

    elsewhere : str
        Where the columns are that do not fit, for the line that names them.

    Returns
    -------
    text : str
        The table, best candidate first, and below it what there is to say about it.
    """
    columns = _columns(ranking, extra_columns or {})
    parts, others = _removable(ranking, columns)
    if is_terminal(sys.stdout):
        width = shutil.get_terminal_size().columns
        shown = _fitting_names(_fitting(columns, [*parts, *others], width), width)
    else:
        # A file or a pipe does not wrap lines, so what was asked for stays.
        width = _WIDTH
        shown = _fitting(columns, parts, width)
    left_out = [name for name in columns if name not in shown]
    found = notes(ranking)
    if left_out:
        text = f"left out to fit {width} characters: {', '.join(left_out)}; {elsewhere} have them"
        found.insert(0, Note(printable(text)))
    lines = _aligned(list(shown), _rows(ranking, shown))
    return "\n".join([*lines, *(line for note in found for line in _wrapped(note, width))])


def as_html(ranking: RankingResults) -> str:
    """Return a ranking as an HTML table, and below it what there is to say about it."""
    columns = _columns(ranking, {})

    def line(cells, tag):
        if cells is _MARK:
            return f'<tr><td colspan="{len(columns)}"><hr></td></tr>'
        return "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells) + "</tr>"

    body = "".join(line(row, "td") for row in _rows(ranking, columns))
    foot = "".join(f"<p>{html.escape(note.text)}</p>" for note in notes(ranking))
    return f"<table><thead>{line(columns, 'th')}</thead><tbody>{body}</tbody></table>{foot}"


def _columns(ranking, extra_columns) -> dict[str, list[str]]:
    """Texts of all columns by header, candidates in the order given."""
    results, components = ranking.results, list(ranking.weights)
    columns = {
        "rank": [str(rank) for rank in results["rank"]],
        "model": [printable(name) for name in results["model"]],
        "score": _numbers(results, COLUMNS["score"]),
    }
    if ranking.resamples is not None:
        columns[_INTERVAL] = _intervals(results)
    columns |= {
        COLUMNS[name].header: _numbers(results, COLUMNS[name])
        for name in _OF_HALVING
        if name in results
    }
    pairs = {name: component_columns(name) for name in components}
    columns |= {name: _numbers(results, normalized) for name, (_, normalized) in pairs.items()}
    if PRIOR in columns:
        columns[PRIOR] = [
            f"{text}*" if imputed else text
            for text, imputed in zip(columns[PRIOR], results["prior_imputed"], strict=True)
        ]
    columns |= {raw.header: _numbers(results, raw) for raw, _ in pairs.values()}
    columns |= {name: _with_ranks(results, name) for name in ranking.scorers}
    for name, texts in extra_columns.items():
        columns[name] = [texts.get(model, "-") for model in results["model"]]
    return {printable(name): column for name, column in columns.items()}


def _removable(ranking, columns) -> tuple[list[list[str]], list[list[str]]]:
    """Headers of the columns that make room for others, least important first.

    The parts of the score come before what was asked for.
    """
    pairs = [component_columns(name) for name in ranking.weights]
    groups = [[raw.header for raw, _ in pairs], [normalized.header for _, normalized in pairs]]
    parts = [[printable(header) for header in group] for group in groups]
    others = [name for name in columns if name not in {*_KEPT, _INTERVAL, *parts[0], *parts[1]}]
    return parts, [[name] for name in [*reversed(others), _INTERVAL]]


def _fitting(columns, removable, width) -> dict[str, list[str]]:
    """Columns that fit a width."""
    shown = dict(columns)
    for group in removable:
        if _width_of(shown) <= width:
            break
        for name in group:
            shown.pop(name, None)
    return shown


def _fitting_names(columns, width) -> dict[str, list[str]]:
    """The same columns, with shortened names if the width is too small for whole ones."""
    excess = max(_width_of(columns) - width, 0)
    length = max(max(map(len, columns["model"])) - excess, _MIN_NAME)
    return columns | {"model": [_shortened(name, length) for name in columns["model"]]}


def _width_of(columns) -> int:
    widths = [max(map(len, [name, *texts])) for name, texts in columns.items()]
    return sum(widths) + 2 * (len(widths) - 1)


def _shortened(name, length) -> str:
    """Return a name without its middle: both ends tell variants of one network apart."""
    if len(name) <= length:
        return name
    head = (length - 3) // 2
    return f"{name[:head]}...{name[head + 3 - length :]}"


def _rows(ranking, columns) -> list[list[str] | None]:
    """Rows of a table, best first, with marks between groups."""
    rows: list[list[str] | None] = []
    above = None
    for i in ranking.order:
        group = ranking.results["group"][i] if ranking.resamples is not None else None
        if above is not None and group != above:
            rows.append(_MARK)
        above = group
        rows.append([column[i] for column in columns.values()])
    return rows


def _aligned(header, rows) -> list[str]:
    """Return the lines of a table of text."""
    cells = [row for row in [header, *rows] if row is not _MARK]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "-" * (sum(widths) + 2 * (len(widths) - 1))
        if row is _MARK
        # Only the names are words; everything else is a number and aligned as such.
        else "  ".join(
            cell.ljust(width) if i == 1 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [header, *rows]
    ]


def _numbers(results, column) -> list[str]:
    """Values of a column as text."""
    style = value_format(column.format, results[column.name])
    return [number_text(value, style) for value in results[column.name]]


def _intervals(results) -> list[str]:
    """Confidence intervals of the score, with as many decimals as the score has."""
    style = value_format(COLUMNS["score"].format, results["score"])
    ends = zip(results["score_low"], results["score_high"], results["held"], strict=True)
    return [
        "held"
        if held
        else f"[{number_text(low, style)}, {number_text(high, style)}]"
        if np.isfinite(low)
        else "-"
        for low, high, held in ends
    ]


def _with_ranks(results, name) -> list[str]:
    """Values of a further scorer, with the ranks that it gives."""
    value, rank, _ = scorer_columns(name)
    return [
        text if text == "-" else f"{text} ({place})"
        for text, place in zip(_numbers(results, value), results[rank.name], strict=True)
    ]


@dataclass(frozen=True)
class Note:
    """A paragraph below the table of a ranking.

    Attributes
    ----------
    text : str
        The paragraph, without characters that steer a terminal.

    is_whole : bool
        Whether it stays on one line, so that it can be searched for.

    is_failure : bool
        Whether it is about candidates that failed or were left out.
    """

    text: str
    is_whole: bool = False
    is_failure: bool = False


def notes(ranking: RankingResults) -> list[Note]:
    """Return the paragraphs below the table of a ranking."""
    found = []
    if ranking.resamples is not None:
        found += _of_resamples(ranking)
    found += ranking.notes
    found += _prior_notes(ranking)
    found += _pool_notes(ranking)
    if ranking.scorers:
        found += _of_scorers(ranking)
    results = ranking.results
    failures = [
        f"failed: {results['model'][i]}: {results['error'][i].partition(chr(10))[0]}"
        for i in ranking.order
        if results["error"][i] and not ranking.left_out[i]
    ]
    failures += [
        f"left out: {_listed(names, ', ')}: {reason}"
        for reason, names in left_out_by_reason(ranking).items()
    ]
    return [
        *([Note(printable(_formula(ranking)), is_whole=True)] if ranking.weights else []),
        *(Note(printable(text)) for text in found),
        *(Note(printable(text), is_whole=True, is_failure=True) for text in failures),
    ]


def _wrapped(note: Note, width: int) -> list[str]:
    if note.is_whole:
        return [note.text]
    width = min(width, _WIDTH)
    return textwrap.wrap(note.text, width, subsequent_indent="  ", break_long_words=False)


def _formula(ranking) -> str:
    terms = [
        f"{'-' if weight < 0 else '+'} {'' if abs(weight) == 1 else f'{abs(weight):g} '}{name}"
        for name, weight in ranking.weights.items()
    ]
    formula = " ".join(terms)
    formula = formula.removeprefix("+ ") if formula.startswith("+") else f"-{formula[2:]}"
    if ranking.normalization == "absolute":
        how = "absolute"
    else:
        how = f"{ranking.normalization} over the candidates"
    return f"score = {formula} ({how}; larger is better)"


def _of_resamples(ranking) -> list[str]:
    results = ranking.results
    best = [
        f"{results['model'][i]} {results['best_probability'][i]:.2f}"
        for i in np.argsort(-np.nan_to_num(results["best_probability"]), kind="stable")[:_NAMED]
        if results["best_probability"][i] >= (1 - LEVEL) / 2
    ]
    held = [
        f"{results['model'][i]} (rank {_span(results['rank_low'][i], results['rank_high'][i])})"
        for i in np.flatnonzero(results["held"] & np.isfinite(results["best_probability"]))
    ]
    n_groups = results["group"].max()
    groups = (
        "lines part what can be told apart at that level"
        if n_groups > 1
        else "no part of the list can be told apart from the rest at that level"
    )
    return [
        f"{LEVEL:.0%}: intervals of the score from {len(ranking.resamples)} resamples of the "
        f"rows; {groups}. What fine-tuning adds is not in them.",
        f"probability of being the best: {', '.join(best)}",
        *(
            [
                f"held: at a bound of the {ranking.normalization} normalisation in at least half "
                f"of the resamples, where an interval of the score says little; {LEVEL:.0%} "
                f"intervals of the rank instead: {_listed(held, ', ')}"
            ]
            if held
            else []
        ),
    ]


def _span(low, high) -> str:
    return f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"


def _prior_notes(ranking) -> list[str]:
    """Return a note on the candidates whose prior is imputed."""
    imputed = ranking.results.get("prior_imputed", np.array([], dtype=bool))
    if not imputed.any():
        return []
    if not np.isfinite(ranking.results["prior"]).any():
        return ["*: no prior is known of any candidate that was scored; it adds 0 to each"]
    names = _listed(list(ranking.results["model"][imputed]), ", ")
    return [f"*: no prior is known of {names}; the other components suggest this one"]


def _pool_notes(ranking) -> list[str]:
    """Return notes on how the order depends on single candidates and on feature scale."""
    if not ranking.weights or ranking.normalization == "absolute":
        return []
    notes = []
    without = leave_one_out(ranking)
    turned = [
        f"without {left_out!r}, {best!r} comes before {was!r}"
        for left_out, best, was, changes in zip(
            without["left_out"],
            without["best"],
            without["best_before"],
            without["best_changes"],
            strict=True,
        )
        if changes
    ]
    if turned:
        notes.append(f"the first place depends on the pool: {_listed(turned, '; ')}")
    shrinkage = ranking.results.get("shrinkage", np.array([]))
    shrinkage = shrinkage[np.isfinite(shrinkage)]
    plain = int((shrinkage <= SHRINKAGE_FLOOR).sum())
    if 0 < plain < len(shrinkage):
        notes.append(
            f"mixed shrinkage: {plain} of {len(shrinkage)} candidates have features of so large a "
            "scale that their scatter is not shrunk, and their seli is on another scale than that "
            "of the others; NCTIScorer(shrinkage=0.1) treats all alike"
        )
    return notes


def _of_scorers(ranking) -> list[str]:
    results = ranking.results
    agreement = scorer_agreement(ranking)
    pairs = [
        f"{a} and {b} {tau:.2f}"
        for a, b, tau in zip(
            agreement["first"], agreement["second"], agreement["kendall_tau"], strict=True
        )
        if np.isfinite(tau)
    ]
    notes = [f"agreement of the orders (Kendall tau): {', '.join(pairs)}"] if pairs else []
    for name in ranking.scorers:
        missing = np.isnan(results[name]) & (results["error"] == "")
        if not missing.any():
            continue
        note = f"{name} is missing for {_listed(list(results['model'][missing]), ', ')}"
        if f"{name}_error" in results:
            error = results[f"{name}_error"][missing][0].partition("\n")[0]
            note += f": {error}"
        notes.append(textwrap.shorten(note, 2 * _WIDTH, placeholder=" ..."))
    return notes


def _listed(items, separator) -> str:
    more = len(items) - _NAMED
    text = separator.join(map(str, items[:_NAMED]))
    return text if more <= 0 else f"{text}{separator}and {more} more"
