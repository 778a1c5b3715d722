"""Fixtures of the tests of the command line."""

import shutil

import numpy as np
import pytest
from helpers import make_problem

from sklearn_ncti._cli import main


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    # Commands set this variable; here it is restored after each test.
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")


@pytest.fixture
def run(capsys):
    """Run a command; return the exit status, standard output and standard error."""

    def run_command(*argv):
        try:
            status = main(list(argv))
        except SystemExit as exc:
            status = exc.code
        return status, *capsys.readouterr()

    return run_command


@pytest.fixture
def files(tmp_path):
    """Two files of features with the same labels, "wide" and "narrow"."""
    X, y = make_problem(d=30, spread=1.0, scale=3.0)
    labels = np.array(["ant", "bee", "cow", "dog", "emu"])[y]
    paths = [tmp_path / "wide.npz", tmp_path / "narrow.npz"]
    for path, features in zip(paths, (X, X[:, :10]), strict=True):
        np.savez(path, features=features, labels=labels)
    return [str(path) for path in paths]


@pytest.fixture
def renamed(files, tmp_path):
    """Copy the first file to another name."""

    def copy(name):
        path = tmp_path / f"{name}.npz"
        try:
            shutil.copyfile(files[0], path)
        except OSError:
            pytest.skip("this system has no such file names")
        return str(path)

    return copy


@pytest.fixture
def image_folder(tmp_path, monkeypatch):
    """Make a folder of two classes whose files are not images; any model name is accepted."""
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("precious")
    monkeypatch.setattr("sklearn_ncti._cli.commands.expand_model_names", list)
    return tmp_path / "images"
