"""What a shell is told when it asks how a line goes on."""

import os
import subprocess
import sys

import pytest

from sklearn_ncti.datasets import load_catalogue


@pytest.fixture
def completed(tmp_path):
    """The completions of a line that is not complete, as argcomplete is asked for them."""
    pytest.importorskip("argcomplete")

    def ask(line):
        answer = tmp_path / "answer"
        asked = {
            "_ARGCOMPLETE": "1",
            "_ARGCOMPLETE_IFS": "\n",
            "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
        }
        command = "from sklearn_ncti._cli import main; main()"
        subprocess.run(
            [sys.executable, "-c", command], env={**os.environ, **asked}, cwd=tmp_path, check=True
        )
        return {word.strip() for word in answer.read_text().splitlines()}

    return ask


def test_commands_and_options(completed):
    assert {"rank", "score", "models", "demo"} <= completed("sklearn-ncti ")
    assert completed("sklearn-ncti rank --halv") == {"--halving"}


def test_names_of_models(completed):
    names = {str(name) for name in load_catalogue()["name"]}
    architectures = {name.partition(".")[0] for name in names}
    for command in ("rank photos --models", "models"):
        found = completed(f"sklearn-ncti {command} resnet1")
        assert found == {name for name in architectures if name.startswith("resnet1")}
        found = completed(f"sklearn-ncti {command} resnet18.a")
        assert found == {name for name in names if name.startswith("resnet18.a")}


def test_without_argcomplete_a_line_is_read_as_it_is(run, monkeypatch):
    monkeypatch.setenv("_ARGCOMPLETE", "1")
    monkeypatch.setattr("sklearn_ncti._cli.completion.find_spec", lambda name: None)
    assert run("--version")[0] == 0
