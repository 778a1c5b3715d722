"""A ranking as text and as an HTML table."""

import io
import os
import shutil
from contextlib import redirect_stdout

import numpy as np
import pytest
from helpers import make_problem
from sklearn.neighbors import NearestCentroid

from sklearn_ncti import NCTIScorer, Ranking, rank_features
from sklearn_ncti._ranking.table import as_text


@pytest.fixture
def candidates():
    """Features of falling quality: the same rows with more and more noise."""
    X, y = make_problem(d=40, spread=1.0, scale=3.0)
    rng = np.random.default_rng(1)
    noise = rng.normal(size=X.shape)
    return {f"noise {a}": X + 3 * a * noise for a in (0.5, 0.0, 2.0, 1.0)}, y


def test_table_is_aligned_and_complete(candidates):
    features, y = candidates
    ranking = rank_features(features, y)
    lines = str(ranking).splitlines()
    assert len(lines) == 1 + 4 + 1
    assert lines[0].split() == [
        "rank",
        "model",
        "score",
        "seli",
        "ncc",
        "vc",
        "raw",
        "seli",
        "raw",
        "ncc",
        "raw",
        "vc",
    ]
    assert len({len(line) for line in lines[:-1]}) == 1
    assert [line.split()[0] for line in lines[1:5]] == ["1", "2", "3", "4"]
    assert repr(ranking) == str(ranking)
    assert len(ranking) == 4


def test_html_escapes_names():
    ranking = Ranking.from_scores({"<script>alert(1)</script>": 1.0, "b": 0.0})
    html = ranking._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert html.count("<tr>") == 3


def test_mixed_shrinkage_is_noted_below_the_table(candidates):
    features, y = candidates
    X = features["noise 0.5"]
    mixed = {"large": 1e3 * X, "small": 1e-2 * X}
    ranking = rank_features(mixed, y)
    assert "mixed shrinkage: 1 of 2 candidates" in str(ranking)
    assert "mixed shrinkage" in ranking._repr_html_()
    assert "mixed shrinkage" not in str(rank_features(mixed, y, normalization="absolute"))
    with pytest.warns(UserWarning, match="do not vary"):
        # One shrinkage for both, and scale no longer matters.
        alike = rank_features(mixed, y, scorer=NCTIScorer(shrinkage=0.1))
    assert "mixed shrinkage" not in str(alike)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def on_terminal(monkeypatch):
    """Return a ranking as text, as a terminal of a given width gets it."""

    def show(ranking, width, **options):
        size = os.terminal_size((width, 24))
        monkeypatch.setattr(shutil, "get_terminal_size", lambda: size)
        with redirect_stdout(Terminal()):
            return as_text(ranking, **options).splitlines()

    return show


@pytest.fixture
def wide(candidates):
    """A ranking whose table has columns of all kinds."""
    features, y = candidates
    scorer = [NCTIScorer(), ("centroid", NearestCentroid())]
    return rank_features(features, y, scorer=scorer, n_resamples=40, random_state=0)


EVERY_COLUMN = ["rank", "model", "score", "95%", "seli", "ncc", "vc"]
EVERY_COLUMN += ["raw seli", "raw ncc", "raw vc", "centroid"]


def test_a_wide_terminal_shows_all_columns(wide, on_terminal):
    lines = on_terminal(wide, 200)
    header, *rest = lines
    assert header.split() == " ".join(EVERY_COLUMN).split()
    assert not any("left out" in line for line in rest)


@pytest.mark.parametrize("width", [90, 80, 60, 50, 40, 30])
def test_no_line_of_the_table_is_wider_than_the_terminal(wide, on_terminal, width):
    lines = on_terminal(wide, width)
    end = next(i for i, line in enumerate(lines) if line.startswith("left out"))
    assert max(map(len, lines[:end])) <= width
    # Each column is either in the table or named below it.
    note = " ".join(" ".join(lines[end:]).split())
    left_out = note.partition("characters: ")[2].partition(";")[0].split(", ")
    shown = [name for name in EVERY_COLUMN if name not in left_out]
    assert lines[0].split() == " ".join(shown).split()
    assert {"rank", "model", "score"} <= set(shown)
    assert "`to_frame()` have them" in note


def test_the_least_important_columns_make_room_first(wide, on_terminal):
    kept = [len(on_terminal(wide, width)[0].split()) for width in range(120, 20, -10)]
    assert kept == sorted(kept, reverse=True)
    parts_gone = on_terminal(wide, 55)[0]
    assert "centroid" in parts_gone
    assert "95%" in parts_gone
    assert "ncc" not in parts_gone


def test_the_note_says_where_the_other_columns_are(wide, on_terminal):
    lines = on_terminal(wide, 60, elsewhere="the files of --csv")
    assert "the files of --csv have them" in " ".join(" ".join(lines).split())


def test_long_names_lose_their_middle_on_a_terminal_only(on_terminal):
    names = [f"{end}{'-very-long' * 8}.{end}" for end in "ab"]
    ranking = Ranking.from_scores({names[0]: 1.0, names[1]: 0.0})
    lines = on_terminal(ranking, 40)
    assert all(len(line) <= 40 for line in lines)
    for line, end in zip(lines[1:], "ab", strict=True):
        shown = line.split()[1]
        assert shown.startswith(end)
        assert shown.endswith(f".{end}")
        assert "..." in shown
    # A pipe does not wrap: there the names, and what was asked for, stay.
    assert all(name in str(ranking) for name in names)


def test_what_was_asked_for_stays_in_a_file(candidates):
    features, y = candidates
    long = {name * 12: X for name, X in features.items()}
    scorer = [NCTIScorer(), ("centroid", NearestCentroid())]
    text = str(rank_features(long, y, scorer=scorer))
    assert text.splitlines()[0].split() == ["rank", "model", "score", "centroid"]
    assert "left out" in text


def test_a_rounded_zero_has_no_sign():
    text = str(Ranking.from_scores({"a": 1.0, "b": -1e-9}))
    assert "0.00" in text
    assert "-0.00" not in text


def test_scores_that_are_close_are_told_apart():
    lines = str(Ranking.from_scores({"a": 0.5021, "b": 0.5013})).splitlines()
    assert len({line.split()[2] for line in lines[1:]}) == 2
