"""The command line: what it prints, writes, refuses, and with which status it ends."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from helpers import make_problem

from sklearn_ncti import NCTIScorer, __version__, rank_features
from sklearn_ncti._cli import main


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    # What a command sets there is undone after each test.
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")


@pytest.fixture
def files(tmp_path):
    X, y = make_problem(d=30, spread=1.0, scale=3.0)
    labels = np.array(["ant", "bee", "cow", "dog", "emu"])[y]
    paths = [tmp_path / "wide.npz", tmp_path / "narrow.npz"]
    for path, features in zip(paths, (X, X[:, :10]), strict=True):
        np.savez(path, features=features, labels=labels)
    return [str(path) for path in paths]


def run(capsys, *argv):
    """Exit status, standard output and standard error."""
    try:
        status = main(list(argv))
    except SystemExit as exc:
        status = exc.code
    return status, *capsys.readouterr()


def test_score_ranks_several_files(capsys, files, tmp_path):
    outputs = ["--json", str(tmp_path / "r.json"), "--csv", str(tmp_path / "r.csv")]
    status, out, err = run(capsys, "score", *files, *outputs)
    assert status == 0
    assert err == f"wrote {tmp_path / 'r.json'}\nwrote {tmp_path / 'r.csv'}\n"
    arrays = {name: np.load(f) for name, f in zip(("wide", "narrow"), files, strict=True)}
    features = {name: array["features"] for name, array in arrays.items()}
    ranking = rank_features(features, arrays["wide"]["labels"])
    assert out == f"{ranking}\n"
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["best"] == "wide"
    assert report["sklearn_ncti"] == __version__
    assert (report["n_rows"], report["n_classes"]) == (600, 5)
    assert [row["model"] for row in report["results"]] == ["wide", "narrow"]
    assert report["results"][0]["seli"] == ranking.results["seli"][0]
    assert report["results"][0]["extract_time"] is None
    with open(tmp_path / "r.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == ["wide", "narrow"]
    assert float(rows[1]["score"]) == ranking.scores["narrow"]


def test_score_of_one_file_is_absolute(capsys, files):
    status, out, _ = run(capsys, "score", files[0], "--n-components", "5", "--shrinkage", "0.5")
    arrays = np.load(files[0])
    scorer = NCTIScorer(5, shrinkage=0.5).fit(arrays["features"], arrays["labels"])
    assert status == 0
    assert out.splitlines()[1].split()[2] == f"{scorer.score_:.3f}"


def test_same_stems_are_told_apart_by_their_paths(capsys, files, tmp_path):
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / "wide.npz"
    with np.load(files[1]) as arrays:
        np.savez(twin, **arrays)
    _, out, _ = run(capsys, "score", files[0], str(twin))
    assert str(twin) in out
    assert files[0] in out


def test_a_failed_candidate_is_one_line(capsys, files, tmp_path):
    with np.load(files[0]) as arrays:
        np.savez(
            tmp_path / "bad.npz", features=np.nan * arrays["features"], labels=arrays["labels"]
        )
    report = tmp_path / "r.json"
    status, out, err = run(
        capsys, "score", *files, str(tmp_path / "bad.npz"), "--json", str(report)
    )
    assert status == 0
    assert "failed: bad: ValueError: Input X contains NaN" in out
    warning = "warning: 1 of 3 candidates failed and are ranked last; the others are ranked."
    assert err.splitlines() == [warning, f"wrote {report}"]
    assert json.loads(report.read_text())["results"][2]["score"] is None
    status, out, err = run(capsys, "score", str(tmp_path / "bad.npz"))
    assert (status, out) == (1, "")
    assert err.startswith("sklearn-ncti score: failed: All 1 candidates failed.")


def test_nothing_is_overwritten(capsys, files, tmp_path):
    mine = tmp_path / "mine.json"
    mine.write_text("precious")
    status, out, err = run(capsys, "score", *files, "--json", str(mine))
    assert (status, out) == (2, "")
    assert err == (
        f"sklearn-ncti score: error: {mine} exists; name another file, or overwrite it with "
        "--force\n"
    )
    assert mine.read_text() == "precious"
    assert run(capsys, "score", *files, "--json", str(mine), "--force")[0] == 0
    assert json.loads(mine.read_text())["best"] == "wide"


def test_a_file_that_appears_during_the_work_is_not_overwritten(
    capsys, files, tmp_path, monkeypatch
):
    mine = tmp_path / "mine.json"

    def slow(*args, **kwargs):
        mine.write_text("precious")
        return rank_features(*args, **kwargs)

    monkeypatch.setattr("sklearn_ncti._cli.rank_features", slow)
    status, out, err = run(capsys, "score", *files, "--json", str(mine))
    assert status == 1
    assert "File exists" in err
    assert mine.read_text() == "precious"
    # The work is not lost: the table was shown before.
    assert out.startswith("rank  model")


def wrong_usages(files, tmp_path):
    X, y = np.zeros((4, 2)), np.arange(4)
    np.savez(tmp_path / "fewer.npz", features=X, labels=y)
    np.savez(tmp_path / "flat.npz", features=X.ravel(), labels=y)
    np.savez(tmp_path / "unlabelled.npz", features=X)
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "empty").mkdir()
    return {
        "no command": [],
        "unknown command": ["rankle"],
        "no models": ["rank", str(tmp_path)],
        "missing folder": ["rank", str(tmp_path / "nowhere"), "--models", "resnet18"],
        "no classes": ["rank", str(tmp_path / "empty"), "--models", "resnet18"],
        "missing file": ["score", str(tmp_path / "none.npz")],
        "no archive": ["score", str(tmp_path / "text.npz")],
        "no labels": ["score", str(tmp_path / "unlabelled.npz")],
        "flat features": ["score", str(tmp_path / "flat.npz")],
        "other labels": ["score", files[0], str(tmp_path / "fewer.npz")],
        "given twice": ["score", files[0], files[0]],
        "no components": ["score", files[0], "--n-components", "0"],
        "shrinkage": ["score", files[0], "--shrinkage", "2"],
        "normalization": ["score", files[0], "--normalization", "softmax"],
        "no folder for output": ["score", files[0], "--csv", str(tmp_path / "no" / "r.csv")],
        "one output twice": ["score", files[0], "--csv", "x", "--json", "x"],
    }


def test_wrong_usage_is_one_line_and_status_2(capsys, files, tmp_path, subtests):
    for name, argv in wrong_usages(files, tmp_path).items():
        with subtests.test(name):
            status, out, err = run(capsys, *argv)
            assert (status, out) == (2, "")
            assert len(err.splitlines()) == 1
            assert "error: " in err


def test_plot(capsys, files, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib").use("Agg")
    picture = tmp_path / "r.png"
    assert run(capsys, "score", *files, "--plot", str(picture))[0] == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert run(capsys, "score", *files, "--plot", str(picture))[0] == 2
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    status, _, err = run(capsys, "score", *files, "--plot", str(tmp_path / "other.png"))
    assert status == 1
    assert "pip install 'sklearn-ncti[plot]'" in err


def test_waiting_threads_do_not_spin_unless_asked_to(capsys, files, monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    run(capsys, "score", *files)
    assert os.environ["OMP_WAIT_POLICY"] == "active"
    monkeypatch.delenv("OMP_WAIT_POLICY")
    run(capsys, "score", *files)
    assert os.environ["OMP_WAIT_POLICY"] == "passive"


def test_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "sklearn_ncti", "--version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip()) == (0, __version__)
