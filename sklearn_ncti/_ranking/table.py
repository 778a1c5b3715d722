"""A ranking as aligned text and as HTML."""

import html
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .._ncti.discriminant import SHRINKAGE_FLOOR
from .._scoring.bootstrap import LEVEL
from .._scoring.normalization import PRIOR
from .._utils.terminal import printable
from .results import RankingResults
from .robustness import leave_one_out, scorer_agreement

# Columns of text that a table with more than the plain columns should fit into.
_WIDTH = 100

# Candidates that a note names before it only counts the others.
_NAMED = 3

# Between rows where the candidates above are told apart from those below.
_MARK = None


def as_text(
    ranking: RankingResults, extra_columns: Mapping[str, Mapping[str, str]] | None = None
) -> str:
    """Return a ranking as aligned text.

    Parameters
    ----------
    ranking : Ranking
        The ranking.

    extra_columns : dict of str to dict of str to str, default=None
        Further columns, ``{header: {name: text}}``.

    Returns
    -------
    text : str
        The table, best candidate first, and below it what there is to say about it.
    """
    header, rows = _table(ranking, extra_columns or {})
    cells = [row for row in [header, *rows] if row is not _MARK]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    whole = sum(widths) + 2 * (len(widths) - 1)
    lines = [
        "-" * whole
        if row is _MARK
        # Only the names are words; everything else is a number and aligned as such.
        else "  ".join(
            cell.ljust(width) if i == 1 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [header, *rows]
    ]
    return "\n".join([*lines, *(line for note in notes(ranking) for line in _wrapped(note))])


def as_html(ranking: RankingResults) -> str:
    """Return a ranking as an HTML table, and below it what there is to say about it."""
    header, rows = _table(ranking, {})

    def line(cells, tag):
        if cells is _MARK:
            return f'<tr><td colspan="{len(header)}"><hr></td></tr>'
        return "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells) + "</tr>"

    body = "".join(line(row, "td") for row in rows)
    foot = "".join(f"<p>{html.escape(note.text)}</p>" for note in notes(ranking))
    return f"<table><thead>{line(header, 'th')}</thead><tbody>{body}</tbody></table>{foot}"


def _table(ranking, extra_columns):
    """Header and rows, best first, with marks between groups."""
    results, components = ranking.results, list(ranking.weights)
    models = results["model"]
    columns = {
        "rank": [str(rank) for rank in results["rank"]],
        "model": [printable(name) for name in models],
        "score": _numbers(results["score"]),
    }
    if ranking.resamples is not None:
        ends = zip(*(_numbers(results[f"score_{end}"]) for end in ("low", "high")), strict=True)
        columns[f"{LEVEL:.0%}"] = [
            "held" if held else f"[{low}, {high}]" if low != "-" else "-"
            for (low, high), held in zip(ends, results["held"], strict=True)
        ]
    normalized = {name: _numbers(results[f"normalized_{name}"]) for name in components}
    if PRIOR in normalized:
        normalized[PRIOR] = [
            f"{text}*" if imputed else text
            for text, imputed in zip(normalized[PRIOR], results["prior_imputed"], strict=True)
        ]
    raw = {f"raw {name}": _numbers(results[name]) for name in components}
    further = {name: _with_ranks(results, name) for name in ranking.scorers}
    further |= {name: [texts.get(m, "-") for m in models] for name, texts in extra_columns.items()}
    # What was asked for stays; the parts of the score, which `results` has, make room.
    for parts in (normalized | raw, normalized, {}):
        shown = columns | parts | further
        width = sum(2 + max(map(len, [name, *column])) for name, column in shown.items()) - 2
        if width <= _WIDTH or not (ranking.scorers or ranking.resamples is not None):
            break

    rows, above = [], None
    for i in ranking.order:
        group = results["group"][i] if ranking.resamples is not None else None
        if above is not None and group != above:
            rows.append(_MARK)
        above = group
        rows.append([column[i] for column in shown.values()])
    return [printable(name) for name in shown], rows


def _numbers(values) -> list[str]:
    return ["-" if np.isnan(x) else f"{x:.3f}" for x in values]


def _with_ranks(results, name) -> list[str]:
    """Values of a further scorer, with the ranks that it gives."""
    texts = _numbers(results[name])
    ranks = results[f"{name}_rank"]
    return [
        text if text == "-" else f"{text} ({rank})"
        for text, rank in zip(texts, ranks, strict=True)
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
        Whether it is about a candidate that failed.
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
        if results["error"][i]
    ]
    return [
        *([Note(printable(_formula(ranking)), is_whole=True)] if ranking.weights else []),
        *(Note(printable(text)) for text in found),
        *(Note(printable(text), is_whole=True, is_failure=True) for text in failures),
    ]


def _wrapped(note: Note) -> list[str]:
    if note.is_whole:
        return [note.text]
    return textwrap.wrap(note.text, _WIDTH, subsequent_indent="  ", break_long_words=False)


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
        for i in np.flatnonzero(results["held"])
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
