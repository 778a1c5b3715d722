"""The suite leaves nothing behind, whatever machine it runs on and however a test ends."""

import sys
from pathlib import Path

import pytest
from helpers import running


def test_a_child_does_not_outlive_the_test_that_failed():
    with (
        pytest.raises(ZeroDivisionError),
        running(sys.executable, "-c", "import time; time.sleep(600)") as child,
    ):
        raise ZeroDivisionError
    assert child.returncode is not None


def test_children_are_started_by_the_helper_that_ends_them():
    """`subprocess.run` ends its own; a Popen of its own waits for the child, or leaves it."""
    here = Path(__file__).parent
    files = [path for path in here.rglob("*.py") if "Popen(" in path.read_text(encoding="utf-8")]
    assert sorted(path.name for path in files) == ["helpers.py", "test_machine.py"]


def test_what_the_documentation_builds_is_not_collected(pytestconfig):
    """Examples in a built site start a cluster when they are imported."""
    root = Path(__file__).parents[1]
    built = [
        line.strip("/")
        for line in (root / ".gitignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("docs/")
    ]
    assert len(built) == 2
    assert {f"--ignore={folder}" for folder in built} <= set(pytestconfig.getini("addopts"))
