"""Progress of an extraction on streams of every kind."""

import io
import sys

import pytest

from sklearn_ncti.backbones import _progress


class Refusing(io.StringIO):
    """A stream that refuses to be written to."""

    def write(self, text):
        raise BrokenPipeError(32, "Broken pipe")


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize(
    "stream", [Refusing, closed, lambda: None], ids=["refusing", "closed", "none"]
)
def test_progress_goes_on_without_a_stream(stream, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream())
    monkeypatch.setattr(_progress, "_SECONDS", 0)
    with _progress.Progress(3, "model", 1) as progress:
        progress.advance(1)
        progress.advance(1)
    assert progress._done == 2


def test_progress_shows_names_that_steer_no_terminal(capsys, monkeypatch):
    monkeypatch.setattr(_progress, "_SECONDS", 0)
    _progress.Progress(3, "local-dir:folder/\x1b[31mred\u202e", 1).advance(1)
    assert capsys.readouterr().err.startswith(r"\x1b[31mred\u202e: 1 of 3 images")
