"""Foreign text on a terminal, and streams that cannot be written to."""

import io
import os
import sys

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.exceptions import FitFailedWarning
from sklearn.preprocessing import FunctionTransformer

from sklearn_ncti import ModelSelector, rank_features
from sklearn_ncti._utils.terminal import encodable, flush_or_discard, printable, say

HOSTILE = "\x1b]0;title\x07\x1b[31mred\x7f\x9b1m\u202eabc\u2066\r\n\udcff"
SHOWN = r"\x1b]0;title\x07\x1b[31mred\x7f\x9b1m\u202eabc\u2066\r\n\udcff"
UNPRINTABLE = set("\x1b\x07\x7f\x9b\u202e\u2066\r\udcff")


class Refusing(io.StringIO):
    """A stream that refuses to be written to."""

    def write(self, text):
        raise BrokenPipeError(32, "Broken pipe")


@pytest.fixture(params=["refusing", "closed", None])
def broken(request):
    if request.param is None:
        return None
    stream = Refusing()
    if request.param == "closed":
        stream.close()
    return stream


def test_printable():
    assert printable(HOSTILE) == SHOWN
    # Text in any script is not escaped.
    plain = "modèle 日本 \N{GRINNING FACE} 50 % $x$ \\n עברית"
    assert printable(plain) == plain
    assert printable("a\nb\x1b", keep="\n") == "a\nb\\x1b"
    assert printable(ValueError("\x00")) == r"\x00"


def test_encodable():
    assert encodable("modèle", "ascii") == r"mod\xe8le"
    assert encodable("modèle\udcff") == r"modèle\udcff"


def test_say_reaches_the_stream_that_is_there(capsys):
    say(f"one {HOSTILE}\ntwo")
    lines = SHOWN.replace(r"\n", "\n")
    assert capsys.readouterr() == ("", f"one {lines}\ntwo\n")


def test_say_writes_what_the_stream_can_encode(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, encoding="ascii", errors="strict"))
    say("modèle")
    assert raw.getvalue().splitlines() == [rb"mod\xe8le"]


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    return rng.normal(size=(60, 6)) + y[:, None], y


@pytest.mark.filterwarnings("ignore:n = 60 rows")
def test_verbose_ranking_ends_well_without_a_stream(data, broken, monkeypatch):
    models = [("three", PCA(3)), ("six", PCA(6))]
    expected = ModelSelector(models).fit(*data).ranking_
    monkeypatch.setattr(sys, "stderr", broken)
    found = ModelSelector(models, verbose=1).fit(*data).ranking_
    np.testing.assert_allclose(found.results["score"], expected.results["score"])


@pytest.mark.filterwarnings("ignore:n = 60 rows")
def test_verbose_shows_names_and_errors_that_steer_no_terminal(data, capsys):
    def fail(X):
        raise ValueError(HOSTILE)

    models = [("a", PCA(3)), (f"bad {HOSTILE}", FunctionTransformer(fail))]
    with pytest.warns(FitFailedWarning, match="1 of 2 candidates failed"):
        ModelSelector(models, refit=False, verbose=1).fit(*data)
    err = capsys.readouterr().err
    # A candidate is one line: the message ends at its first break, and a name has none.
    message = SHOWN.partition(r"\n")[0]
    assert f"[ModelSelector] bad {SHOWN}: ValueError: {message}\n" in err
    assert sum("bad" in line for line in err.splitlines()) == 1
    assert not set(err) & UNPRINTABLE


@pytest.mark.filterwarnings("ignore:n = 60 rows", "ignore:1 of 2 candidates failed")
def test_tables_show_names_and_errors_that_steer_no_terminal(data):
    X, y = data
    ranking = rank_features({HOSTILE: X, f"bad {HOSTILE}": np.nan * X}, y)
    lines = str(ranking).splitlines()
    assert lines[1].split()[:2] == ["1", SHOWN]
    assert any(line.startswith(f"failed: bad {SHOWN}: ValueError") for line in lines)
    for text in (str(ranking), ranking._repr_html_()):
        assert not set(text) & UNPRINTABLE
    # The results hold the name as it was given.
    assert ranking.best == HOSTILE


def test_discarded_text_is_not_flushed_again():
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no device that is always full")
    stream = open("/dev/full", "w")  # noqa: SIM115
    stream.write("left in the buffer")
    flush_or_discard(stream)
    stream.close()
    flush_or_discard(stream)
    flush_or_discard(None)
