"""The verdict of a report: which candidates to fine-tune, and how sure that is."""

import numpy as np

from ..._scoring.columns import COLUMNS, number_text
from ..results import RankingResults
from .columns import SIZE, size_of, values_of
from .markup import escaped

# Candidates that the verdict shows, where none is ahead of all others.
_SHOWN = 3
_MOST_SHOWN = 5

_NUMBERS = ("two", "three", "four", "five")

# Facts of a candidate that its card shows.
_FACTS = ("license", "images_per_second", "texts_per_second")


def verdict_part(ranking: RankingResults) -> list[str]:
    """Return the headline, what supports it, and a card for each candidate that it names."""
    headline, sentences, shown = verdict(ranking)
    cards = "".join(f"<li>{_card(ranking, i)}</li>" for i in shown)
    return [
        f"<h1>{escaped(headline)}</h1>",
        *(f"<p>{escaped(sentence)}</p>" for sentence in sentences),
        f'<ul class="cards">{cards}</ul>',
    ]


def verdict(ranking: RankingResults) -> tuple[str, list[str], list[int]]:
    """Return what a ranking says on the candidate to fine-tune.

    Parameters
    ----------
    ranking : RankingResults
        The ranking.

    Returns
    -------
    headline : str
        The candidates to fine-tune, in a few words.

    sentences : list of str
        How sure that is.

    shown : list of int
        Positions of the candidates meant, the one to begin with first.
    """
    scored = [int(i) for i in ranking.order if ranking.results["error"][i] == ""]
    if len(scored) < 2:
        text = "There is no other candidate with a score, so nothing was compared."
        return f"The only candidate: {ranking.best}", [text], scored
    if ranking.resamples is None:
        text = (
            "How sure this order is was not measured; n_resamples=200 (on the command line "
            "--resamples 200) measures it. Fine-tune the first few candidates, not only the first."
        )
        return f"Fine-tune first: {ranking.best}", [text], scored[:_SHOWN]
    return _verdict_of_resamples(ranking, scored)


def _verdict_of_resamples(ranking, scored) -> tuple[str, list[str], list[int]]:
    """Return the verdict of a ranking whose rows were resampled."""
    names, probability = ranking.results["model"], ranking.results["best_probability"]
    first = [i for i in scored if ranking.results["group"][i] == 1]
    likely = max(scored, key=lambda i: np.nan_to_num(probability[i]))
    caution = "The order is a prediction; what fine-tuning adds is not in these probabilities."
    if probability[likely] > probability[scored[0]]:
        text = (
            f"{names[scored[0]]} has the largest score, but {names[likely]} is more often first "
            f"on other rows of the same kind: with probability {probability[likely]:.2f}, against "
            f"{probability[scored[0]]:.2f}. More labelled rows can settle it."
        )
        pair = [likely, scored[0], *(i for i in first if i not in (likely, scored[0]))]
        return "The first place is not settled", [text, caution], pair[:_SHOWN]
    chance = f"{names[scored[0]]} is first with probability {probability[scored[0]]:.2f}"
    if len(first) == 1:
        return f"Fine-tune first: {names[scored[0]]}", [f"{chance}.", caution], first
    text = f"{chance}; these rows cannot tell it from the others."
    if len(first) <= _MOST_SHOWN:
        return f"Fine-tune one of these {_NUMBERS[len(first) - 2]}", [text, caution], first
    headline = f"No clear first: {len(first)} of {len(scored)} candidates may be it"
    ahead = sorted(first, key=lambda i: -np.nan_to_num(probability[i]))
    return headline, [text, caution], ahead[:_SHOWN]


def _card(ranking, i) -> str:
    """Return a candidate with the facts that decide whether it can be used."""
    results = ranking.results
    facts = [f"score {number_text(results['score'][i], COLUMNS['score'].format)}"]
    if ranking.resamples is not None:
        facts.append(f"first with probability {results['best_probability'][i]:.2f}")
    size = size_of(results)
    if size is not None and np.isfinite(size[i]):
        facts.append(f"{number_text(size[i], SIZE.format)} {SIZE.header}")
    for name in _FACTS:
        values = values_of(results, name)
        if values is None:
            continue
        column = COLUMNS[name]
        if not column.format:
            facts.append(f"{column.header} {values[i] or 'not stated'}")
        elif np.isfinite(values[i]):
            facts.append(f"{number_text(values[i], column.format)} {column.header}")
    lines = "".join(f"<span>{escaped(fact)}</span>" for fact in facts)
    return f"<b>{escaped(results['model'][i])}</b>{lines}"
