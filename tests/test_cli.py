"""The command line: what it prints, writes, refuses, and with which status it ends."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from helpers import make_problem
from sklearn.datasets import load_digits

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
    assert report["results"][0]["seli"] == pytest.approx(ranking.results["seli"][0])
    assert report["results"][0]["extract_time"] is None
    with open(tmp_path / "r.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == ["wide", "narrow"]
    assert float(rows[1]["score"]) == pytest.approx(ranking.scores["narrow"])


def test_score_of_one_file_is_absolute(capsys, files):
    status, out, _ = run(capsys, "score", files[0], "--n-components", "5", "--shrinkage", "0.5")
    arrays = np.load(files[0])
    scorer = NCTIScorer(5, shrinkage=0.5).fit(arrays["features"], arrays["labels"])
    assert status == 0
    assert out.splitlines()[1].split()[2] == f"{scorer.score_:.3f}"


def test_resamples_and_baseline(capsys, files, tmp_path):
    published, report = tmp_path / "published.json", tmp_path / "r.json"
    published.write_text('{"wide": 69.5, "narrow": 71, "of no candidate": 80.0}')
    options = ["--resamples", "50", "--random-state", "3", "--baseline", str(published)]
    status, out, _ = run(capsys, "score", *files, *options, "--json", str(report))
    assert status == 0
    arrays = [np.load(file) for file in files]
    features = {name: a["features"] for name, a in zip(("wide", "narrow"), arrays, strict=True)}
    ranking = rank_features(
        features,
        arrays[0]["labels"],
        n_resamples=50,
        random_state=3,
        baseline={"wide": 69.5, "narrow": 71},
    )
    assert out == f"{ranking}\n"
    assert "probability of being the best" in out
    written = json.loads(report.read_text())
    assert (written["resamples"], written["random_state"], written["cv"]) == (50, 3, None)
    low = ranking.results["score_low"][0]
    assert written["results"][0]["score_low"] == pytest.approx(low, abs=1e-9)
    assert written["results"][1]["baseline"] == 71
    # Without a seed the same rows are drawn in every run.
    plain = ["score", *files, "--resamples", "50"]
    assert run(capsys, *plain) == run(capsys, *plain)
    # One candidate on its own has an interval as well.
    assert "95%" in run(capsys, "score", files[0], "--resamples", "50")[1]


def test_rank_takes_them_as_well(capsys, tmp_path):
    torch, timm = pytest.importorskip("torch"), pytest.importorskip("timm")
    images = pytest.importorskip("PIL.Image")
    digits = load_digits(return_X_y=True)
    for i in range(100):
        pixels, label = digits[0][i], digits[1][i]
        folder = tmp_path / "images" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        image = images.fromarray((15 * pixels).astype(np.uint8).reshape(8, 8))
        image.save(folder / f"{i:03}.png")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = timm.create_model("test_resnet", num_classes=0)
    model = tmp_path / "model"
    model.mkdir()
    torch.save(network.state_dict(), model / "pytorch_model.bin")
    pretrained = {"input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.5] * 3}
    pretrained |= {"interpolation": "bicubic", "crop_pct": 1.0, "num_classes": 0}
    config = {"architecture": "test_resnet", "num_classes": 0, "pretrained_cfg": pretrained}
    (model / "config.json").write_text(json.dumps(config))
    name, published = f"local-dir:{model}", tmp_path / "published.json"
    argv = ["rank", str(tmp_path / "images"), "--models", name, "--n-components", "4"]
    argv += ["--device", "cpu", "--baseline", str(published), "--normalization", "absolute"]
    published.write_text(json.dumps({"another": 1.0}))
    status, out, err = run(capsys, *argv)
    assert (status, out) == (2, "")
    assert "baseline has none of the candidates: it has ['another'], and they are ['local" in err
    published.write_text(json.dumps({name: 1.0}))
    status, out, err = run(capsys, *argv, "--resamples", "40", "--random-state", "1")
    assert status == 0
    assert "from 40 resamples" in out
    assert "baseline" in out.splitlines()[0]
    plain, held_out = (run(capsys, *argv, *cv)[1].splitlines()[1] for cv in ([], ["--cv", "3"]))
    assert float(held_out.split()[2]) < float(plain.split()[2])


def test_cv_measures_held_out_rows(capsys, files):
    status, out, _ = run(capsys, "score", files[0], "--cv", "4")
    arrays = np.load(files[0])
    scorer = NCTIScorer(cv=4).fit(arrays["features"], arrays["labels"])
    assert status == 0
    assert out.splitlines()[1].split()[2] == f"{scorer.score_:.3f}"
    assert scorer.score_ != NCTIScorer().fit(arrays["features"], arrays["labels"]).score_


def test_too_few_resamples_are_one_warning(capsys, files):
    status, _, err = run(capsys, "score", *files, "--resamples", "10")
    assert status == 0
    assert err.startswith("warning: n_resamples=10 are few")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--resamples", "0"], "argument --resamples: '0' is no whole number of at least 1"),
        (["--resamples", "some"], "argument --resamples: 'some' is no whole number of at"),
        (["--cv", "1"], "argument --cv: '1' is no whole number of at least 2"),
        (["--cv", "700"], "--cv 700 needs a class of at least 700 rows, but the largest, "),
        (["--resamples", "50", "--cv", "5"], "--resamples 50 and --cv 5 exclude each other"),
        (["--random-state", "-1"], "--random-state: '-1' is no whole number from 0 to 4294967295"),
    ],
    ids=" ".join,
)
def test_refused_resamples_and_folds(capsys, files, options, message):
    status, out, err = run(capsys, "score", *files, *options)
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert message in err


@pytest.mark.parametrize("option", [["--resamples", "50"], ["--cv", "2"]], ids=" ".join)
def test_a_class_of_one_row_is_refused(capsys, tmp_path, option):
    lonely = tmp_path / "lonely.npz"
    np.savez(
        lonely, features=np.random.default_rng(0).normal(size=(9, 2)), labels=[7] + [1, 2] * 4
    )
    status, _, err = run(capsys, "score", str(lonely), *option)
    assert status == 2
    assert f"error: {' '.join(option)} needs at least 2 rows of every class, but 7 has 1" in err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is no JSON file that can be read: "),
        ("wide: 1", "is no JSON file that can be read: "),
        ("[1, 2]", "holds no object; it must be one JSON object of model to number"),
        ("{}", "baseline is empty"),
        ('{"wide": "69.8"}', "has '69.8' for 'wide'; it must be one JSON object"),
        ('{"wide": true}', "has True for 'wide'; it must be"),
        ('{"wide": NaN}', "baseline['wide'] is nan; it must be a finite number"),
        ('{"wide": 1, "wide": 2}', "has ['wide'] more than once"),
        ('{"Wide": 1}', "baseline has none of the candidates: it has ['Wide'], and they are"),
    ],
)
def test_refused_baselines(capsys, files, tmp_path, text, message):
    file = tmp_path / "published.json"
    if text is not None:
        file.write_text(text)
    status, out, err = run(capsys, "score", *files, "--baseline", str(file))
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert err.startswith(f"sklearn-ncti score: error: --baseline {file}")
    assert message in err


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
        "half a component": ["score", files[0], "--n-components", "1.5"],
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


def test_a_warning_is_printed_once(capsys, tmp_path):
    X, y = make_problem(n=60, d=10, spread=1.0, scale=3.0)
    paths = [tmp_path / f"{name}.npz" for name in ("one", "two", "three")]
    for i, path in enumerate(paths):
        np.savez(path, features=X + i * np.random.default_rng(i).normal(size=X.shape), labels=y)
    status, _, err = run(capsys, "score", *map(str, paths))
    assert status == 0
    assert err.count("warning: n = 60 rows are few for k = 10 components") == 1
    # Nor is it swallowed in a later run of the same process.
    assert run(capsys, "score", *map(str, paths))[2] == err


def test_waiting_threads_do_not_spin_unless_asked_to(capsys, files, monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    run(capsys, "score", *files)
    assert os.environ["OMP_WAIT_POLICY"] == "active"
    assert "GOMP_SPINCOUNT" not in os.environ
    monkeypatch.delenv("OMP_WAIT_POLICY")
    # Noted to be put back after the test.
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    run(capsys, "score", *files)
    assert os.environ["OMP_WAIT_POLICY"] == "passive"
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.delenv("GOMP_SPINCOUNT")
    run(capsys, "score", *files)
    assert os.environ["OMP_WAIT_POLICY"] == "passive"
    assert os.environ["GOMP_SPINCOUNT"] == "10000"


def test_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "sklearn_ncti", "--version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip()) == (0, __version__)
