"""The command line: what it prints, writes, refuses, and with which status it ends."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import make_problem
from sklearn.datasets import load_digits

from sklearn_ncti import NCTIScorer, Ranking, __version__, rank_features
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
        (["--resamples", "0"], "argument --resamples: '0' is not a whole number from 1 to"),
        (["--resamples", "some"], "argument --resamples: 'some' is not a whole number from 1 to"),
        (["--resamples", "100001"], "'100001' is not a whole number from 1 to 100000"),
        (["--cv", "1"], "argument --cv: '1' is not a whole number of at least 2"),
        (["--cv", "700"], "--cv 700 needs a class of at least 700 rows, but the largest, "),
        (["--resamples", "50", "--cv", "5"], "--resamples 50 and --cv 5 exclude each other"),
        (
            ["--random-state", "-1"],
            "--random-state: '-1' is not a whole number from 0 to 4294967295",
        ),
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
        (None, "is not a readable JSON file: "),
        ("wide: 1", "is not a readable JSON file: "),
        ("[1, 2]", "is not a JSON object; it must be a JSON object from model name"),
        ("{}", "baseline is empty"),
        ('{"wide": "69.8"}', "has '69.8' for 'wide'; it must be a JSON object"),
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

    monkeypatch.setattr("sklearn_ncti._cli.commands.rank_features", slow)
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


# --- streams that take nothing


def broken_stream(kind):
    """A pipe whose reader has gone, or a device that is always full; None is a closed stream."""
    if kind == "closed":
        return None
    if kind == "full":
        if not os.path.exists("/dev/full"):
            pytest.skip("this system has no device that is always full")
        return open("/dev/full", "w")
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "w")


def run_with(monkeypatch, name, stream, *argv):
    """Exit status of a run with another standard stream, which must then close in peace."""
    with monkeypatch.context() as patch:
        patch.setattr(sys, name, stream)
        try:
            status = main(list(argv))
        except SystemExit as exc:
            status = exc.code
    if stream is not None:
        # What the interpreter does at its end.
        stream.close()
    return status


@pytest.mark.parametrize(("kind", "expected"), [("pipe", 0), ("full", 1), ("closed", 1)])
def test_a_table_that_cannot_be_printed(capsys, files, tmp_path, monkeypatch, kind, expected):
    report = tmp_path / "r.json"
    plain = run(capsys, "score", *files)[1]
    argv = ["score", *files, "--json", str(report)]
    assert run_with(monkeypatch, "stdout", broken_stream(kind), *argv) == expected
    assert json.loads(report.read_text())["best"] == "wide"
    err = capsys.readouterr().err
    assert "Traceback" not in err
    if kind == "pipe":
        assert err == f"wrote {report}\n"
    else:
        # Nobody asked for the end of the table: it is shown where there is room.
        assert plain in err
        assert (
            "failed: the table is on standard error because standard output cannot be written: "
            in err
        )


@pytest.mark.parametrize("kind", ["pipe", "full", "closed"])
def test_messages_that_cannot_be_printed(capsys, files, tmp_path, monkeypatch, kind):
    report = tmp_path / "r.json"
    argv = ["score", *files, "--resamples", "10", "--json", str(report)]
    assert run_with(monkeypatch, "stderr", broken_stream(kind), *argv) == 0
    assert capsys.readouterr().out.startswith("rank  model")
    assert json.loads(report.read_text())["best"] == "wide"
    assert run_with(monkeypatch, "stderr", broken_stream(kind), *argv) == 2
    assert run_with(monkeypatch, "stderr", broken_stream(kind), "score", "--cv") == 2


def test_help_that_cannot_be_printed(monkeypatch):
    assert run_with(monkeypatch, "stdout", broken_stream("pipe"), "--help") == 0


def test_the_interpreter_has_nothing_to_add_at_its_end(files, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "sklearn_ncti", "score", *files]
    command += ["--json", str(tmp_path / "r.json")]
    done = subprocess.run(
        command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, f"wrote {tmp_path / 'r.json'}\n")


def renamed(files, tmp_path, name):
    """A copy of the first file under another name."""
    path = tmp_path / f"{name}.npz"
    try:
        shutil.copyfile(files[0], path)
    except OSError:
        pytest.skip("this system has no such file names")
    return str(path)


def test_a_stream_without_the_letters_of_a_name(capsys, files, tmp_path, monkeypatch):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["score", files[1], renamed(files, tmp_path, "modèle")]) == 0
    stream.flush()
    assert rb"mod\xe8le" in raw.getvalue()


def test_names_and_messages_steer_no_terminal(capsys, files, tmp_path):
    hostile = renamed(files, tmp_path, "\x1b[31mred\x9b1m")
    status, out, err = run(
        capsys, "score", hostile, files[1], "--json", f"{tmp_path}/\x1b[1m.json"
    )
    assert status == 0
    assert r" \x1b[31mred\x9b1m " in out
    assert err == rf"wrote {tmp_path}/\x1b[1m.json" + "\n"
    for argv in (
        ["score", hostile, hostile],
        ["score", f"{tmp_path}/\x1b[2J\n.npz"],
        ["score", hostile, "--\x1b[2J\n"],
    ):
        status, _, err = run(capsys, *argv)
        assert status == 2
        assert r"\x1b[" in err
        assert "\x1b" not in err
        assert len(err.splitlines()) == 1


# --- files that are written


def test_one_output_that_fails_stops_no_other(capsys, files, tmp_path, monkeypatch):
    def fail(self):
        raise RuntimeError("no JSON\ntoday")

    monkeypatch.setattr(Ranking, "best", property(fail))
    paths = {name: tmp_path / f"r.{name}" for name in ("json", "csv")}
    options = [text for name, path in paths.items() for text in (f"--{name}", str(path))]
    status, out, err = run(capsys, "score", *files, *options)
    assert status == 1
    assert out.startswith("rank  model")
    first, second = err.splitlines()
    assert first.startswith(
        f"sklearn-ncti score: failed: --json {paths['json']} could not be written: unexpected "
        r"RuntimeError: no JSON\ntoday; please report it"
    )
    assert second == f"wrote {paths['csv']}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["narrow.npz", "r.csv", "wide.npz"]


def test_an_older_file_stays_until_the_new_one_is_whole(capsys, files, tmp_path, monkeypatch):
    def full(file):
        raise OSError(28, "No space left on device")

    mine = tmp_path / "mine.csv"
    mine.write_text("precious")
    mine.chmod(0o640)
    argv = ["score", *files, "--csv", str(mine), "--force"]
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        status, out, err = run(capsys, *argv)
    assert (status, out[:4]) == (1, "rank")
    assert "No space left on device" in err
    assert mine.read_text() == "precious"
    assert run(capsys, *argv)[0] == 0
    assert mine.read_text().startswith("model,")
    assert mine.stat().st_mode & 0o777 == 0o640
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.csv", "narrow.npz", "wide.npz"]


def test_links_and_pipes_stay_what_they_are(capsys, files, tmp_path):
    link, target, pipe = (tmp_path / name for name in ("link.json", "target.json", "pipe"))
    try:
        link.symlink_to(target)
        os.mkfifo(pipe)
    except (OSError, AttributeError):
        pytest.skip("this system has no links or no pipes")
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    outputs = ["--json", str(link), "--csv", str(pipe), "--force"]
    assert run(capsys, "score", *files, *outputs)[0] == 0
    assert os.read(reading, 6) == b"model,"
    os.close(reading)
    assert link.is_symlink()
    assert json.loads(target.read_text())["best"] == "wide"


def test_an_input_is_never_an_output(capsys, files, tmp_path):
    published = tmp_path / "published.json"
    published.write_text('{"wide": 1}')
    os.link(files[0], tmp_path / "hard.npz")
    for name in (files[0], files[1], str(published), str(tmp_path / "hard.npz")):
        before = Path(name).read_bytes()
        argv = ["score", *files, "--baseline", str(published), "--json", name, "--force"]
        status, out, err = run(capsys, *argv)
        assert (status, out) == (2, "")
        assert f"--json {name} is a file that this run reads; name another" in err
        assert Path(name).read_bytes() == before


def test_two_outputs_are_never_one_file(capsys, files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, err = run(capsys, "score", *files, "--json", "./r", "--csv", str(tmp_path / "r"))
    assert status == 2
    assert f"--json r and --csv {tmp_path / 'r'} are the same file; name another" in err
    (tmp_path / "one").write_text("precious")
    os.link("one", "two")
    os.symlink("one", "three")
    for other in ("two", "three"):
        status, _, err = run(capsys, "score", *files, "--json", "one", "--csv", other, "--force")
        assert (status, (tmp_path / "one").read_text()) == (2, "precious")
        assert f"--json one and --csv {other} are the same file" in err


def test_two_outputs_that_the_disk_takes_for_one(capsys, files, tmp_path, monkeypatch):
    def exists(path):
        folder, name = os.path.split(path)
        return name.casefold() in map(str.casefold, os.listdir(folder))

    (tmp_path / "new").mkdir()
    monkeypatch.chdir(tmp_path / "new")
    # What a disk that does not tell upper from lower case would say.
    monkeypatch.setattr(os.path, "lexists", exists)
    status, _, err = run(capsys, "score", *files, "--json", "result", "--csv", "Result")
    assert status == 2
    assert "--json result and --csv Result are the same file; name another" in err
    assert os.listdir() == []


def test_formats_of_pictures_are_known_before_the_work(capsys, files, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    mine = tmp_path / "noext.png"
    mine.write_text("precious")
    for name in ("r.xyz", "noext", ".png"):
        status, out, err = run(capsys, "score", *files, "--plot", str(tmp_path / name))
        assert (status, out) == (2, "")
        assert f"--plot {tmp_path / name} must end in the suffix of its format, one of " in err
        assert all(f" .{known}" in err for known in ("pdf", "png", "svg"))
    assert mine.read_text() == "precious"
    # No window and no screen are needed, whatever the settings say.
    monkeypatch.setenv("MPLBACKEND", "TkAgg")
    for suffix, start in {".PNG": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}.items():
        picture = tmp_path / f"r{suffix}"
        assert run(capsys, "score", *files, "--plot", str(picture))[0] == 0
        assert picture.read_bytes().startswith(start)


def test_names_that_are_not_utf8(capsys, files, tmp_path):
    hostile = renamed(files, tmp_path, b"mod\xe8le".decode("utf-8", "surrogateescape"))
    paths = {name: tmp_path / f"r.{name}" for name in ("json", "csv")}
    options = [text for name, path in paths.items() for text in (f"--{name}", str(path))]
    status, out, _ = run(capsys, "score", hostile, files[1], *options)
    assert status == 0
    shown = r"mod\udce8le"
    assert f"  {shown} " in out
    assert json.loads(paths["json"].read_text(encoding="utf-8"))["best"] == shown
    with open(paths["csv"], newline="", encoding="utf-8") as file:
        assert next(csv.DictReader(file))["model"] == shown


def test_text_in_a_csv_is_no_formula(capsys, files, tmp_path):
    names = ["=1+1", "+1", "-1", "@sum", "\tx", "plain=1"]
    copies = [renamed(files, tmp_path, name) for name in names]
    table = tmp_path / "r.csv"
    status, _, _ = run(capsys, "score", *copies, files[1], "--csv", str(table))
    assert status == 0
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    expected = {f"'{name}" for name in names[:-1]} | {"plain=1", "narrow"}
    assert {row["model"] for row in rows} == expected
    # Numbers stay numbers.
    assert min(float(row["vc"]) for row in rows) < 0


def unusable_files(files, tmp_path):
    deep, big = tmp_path / "deep.json", tmp_path / "big.json"
    deep.write_text("[" * 100_000)
    big.write_text(f'{{"wide": 1{"0" * 400}}}')
    (tmp_path / "images" / "a").mkdir(parents=True)
    (tmp_path / "readonly.json").write_text("{}")
    return {
        "long name": ["score", files[0], "--json", "n" * 300],
        "NUL in an output": ["score", files[0], "--json", "a\x00b"],
        "NUL in an input": ["score", "a\x00b"],
        "NUL in a baseline": ["score", files[0], "--baseline", "a\x00b"],
        "NUL in a folder": ["rank", "a\x00b", "--models", "x"],
        "file as a folder": ["score", files[0], "--csv", f"{files[0]}/r.csv"],
        "folder as a file": ["score", files[0], "--csv", str(tmp_path), "--force"],
        "deep baseline": ["score", *files, "--baseline", str(deep)],
        "large baseline": ["score", *files, "--baseline", str(big)],
        "file as output of the demonstration": ["demo", "--output", files[0]],
    }


def test_files_that_cannot_be_used_are_one_line_and_status_2(capsys, files, tmp_path, subtests):
    for name, argv in unusable_files(files, tmp_path).items():
        with subtests.test(name):
            status, out, err = run(capsys, *argv)
            assert (status, out) == (2, "")
            assert len(err.splitlines()) == 1
            assert "error: " in err


def test_folders_that_cannot_be_written_are_known_before_the_work(
    capsys, files, tmp_path, monkeypatch
):
    def refuse(self, mode="r", *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    report = tmp_path / "r.json"
    monkeypatch.setattr("pathlib.Path.open", refuse)
    status, out, err = run(capsys, "score", *files, "--json", str(report))
    assert (status, out) == (2, "")
    assert f"the folder of {report} is not writable: [Errno 13]" in err


@pytest.fixture
def image_folder(tmp_path, monkeypatch):
    """A folder of two classes of files, which are no images, and models that are only names."""
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("precious")
    monkeypatch.setattr("sklearn_ncti._cli.commands.expand_model_names", list)
    return tmp_path / "images"


def test_caches_that_cannot_be_written(capsys, files, image_folder):
    for cache in (files[0], f"{files[0]}/cache", "a\x00b", "n" * 300):
        argv = ["rank", str(image_folder), "--models", "x", "--cache", cache]
        status, out, err = run(capsys, *argv)
        assert (status, out) == (2, "")
        assert len(err.splitlines()) == 1
        assert "is not a writable folder: " in err


def test_folders_that_cannot_be_read(capsys, image_folder, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    status, out, err = run(capsys, "rank", str(image_folder), "--models", "x")
    assert (status, out) == (2, "")
    assert f"the folder {str(image_folder)!r} cannot be read (Permission denied)" in err


def test_images_and_models_are_never_outputs(capsys, image_folder, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    for name in ("config.json", "model.safetensors"):
        (model / name).write_text("precious")
    inputs = [image_folder / "b" / "1.png", model / "config.json", model / "model.safetensors"]
    for path in inputs:
        argv = ["rank", str(image_folder), "--models", f"local-dir:{model}"]
        status, out, err = run(capsys, *argv, "--json", str(path), "--force")
        assert (status, out) == (2, "")
        assert f"--json {path} is a file that this run reads; name another" in err
        assert path.read_text() == "precious"


def test_a_picture_never_becomes_one_of_the_images(capsys, image_folder):
    pytest.importorskip("matplotlib")
    for name in ("r.png", "b/r.png"):
        path = image_folder / name
        status, _, err = run(
            capsys, "rank", str(image_folder), "--models", "x", "--plot", str(path)
        )
        assert status == 2
        assert f"--plot {path} would become an image in {image_folder}" in err


# --- failures that nobody has thought of


def test_an_unexpected_failure_is_one_line(capsys, files, monkeypatch):
    def fail(*args, **kwargs):
        raise ZeroDivisionError("by\n\x1b[31mzero")

    monkeypatch.setattr("sklearn_ncti._cli.commands.rank_features", fail)
    status, out, err = run(capsys, "score", *files)
    assert (status, out) == (1, "")
    assert err == (
        r"sklearn-ncti score: failed: unexpected ZeroDivisionError: by\n\x1b[31mzero; please "
        "report it with its traceback, which SKLEARN_NCTI_TRACEBACK=1 in the environment shows\n"
    )
    monkeypatch.setenv("SKLEARN_NCTI_TRACEBACK", "1")
    status, _, err = run(capsys, "score", *files)
    assert status == 1
    assert err.startswith("Traceback (most recent call last):\n  File ")
    assert "\x1b" not in err


def test_reasons_of_all_candidates_are_one_line(capsys, tmp_path, monkeypatch):
    bad = tmp_path / "bad.npz"
    np.savez(bad, features=np.full((9, 2), np.nan), labels=np.arange(9) % 3)
    status, out, err = run(capsys, "score", str(bad))
    assert (status, out, len(err.splitlines())) == (1, "", 1)
    start = (
        "sklearn-ncti score: failed: All 1 candidates failed. 1 candidate(s) (bad) failed with:"
    )
    assert err.startswith(f"{start} ValueError: Input X contains NaN")
    monkeypatch.setenv("SKLEARN_NCTI_TRACEBACK", "1")
    assert "\n  File " in run(capsys, "score", str(bad))[2]


def test_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "sklearn_ncti", "--version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip()) == (0, __version__)
