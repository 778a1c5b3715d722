"""The commands: what they print, and with which status they end."""

import csv
import io
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
from sklearn_ncti._selection import candidates
from sklearn_ncti.datasets import Catalogue


def test_score_ranks_several_files(run, files, tmp_path):
    outputs = ["--json", str(tmp_path / "r.json"), "--csv", str(tmp_path / "r.csv")]
    status, out, err = run("score", *files, *outputs)
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


def test_score_of_one_file_is_absolute(run, files):
    status, out, _ = run("score", files[0], "--n-components", "5", "--shrinkage", "0.5")
    arrays = np.load(files[0])
    scorer = NCTIScorer(5, shrinkage=0.5).fit(arrays["features"], arrays["labels"])
    assert status == 0
    assert out.splitlines()[1].split()[2] == f"{scorer.score_:.2f}"


def test_resamples_and_baseline(run, files, tmp_path):
    published, report = tmp_path / "published.json", tmp_path / "r.json"
    published.write_text('{"wide": 69.5, "narrow": 71, "of no candidate": 80.0}')
    options = ["--resamples", "50", "--random-state", "3", "--baseline", str(published)]
    status, out, _ = run("score", *files, *options, "--json", str(report))
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
    # Without a seed, every run uses the same resamples.
    plain = ["score", *files, "--resamples", "50"]
    assert run(*plain) == run(*plain)
    # A single candidate has an interval too.
    assert "95%" in run("score", files[0], "--resamples", "50")[1]


def test_rank_takes_them_as_well(run, tmp_path):
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
    status, out, err = run(*argv)
    assert (status, out) == (2, "")
    assert "baseline has none of the candidates: it has ['another'], and they are ['local" in err
    published.write_text(json.dumps({name: 1.0}))
    status, out, err = run(*argv, "--resamples", "40", "--random-state", "1")
    assert status == 0
    assert "from 40 resamples" in out
    assert "baseline" in out.splitlines()[0]
    plain, held_out = (run(*argv, *cv)[1].splitlines()[1] for cv in ([], ["--cv", "3"]))
    assert float(held_out.split()[2]) < float(plain.split()[2])
    argv[argv.index("absolute")] = "minmax"
    status, out, _ = run(*argv, "--prior", "weights")
    assert status == 0
    assert "score = seli + ncc + vc + prior (minmax" in out


def test_models_that_timm_has_dropped(run, image_folder, monkeypatch):
    pytest.importorskip("timm")
    catalogue = Catalogue({"name": ["dropped_net.in1k"]}, source="a test")
    monkeypatch.setattr(candidates, "load_catalogue", lambda: catalogue)
    status, _, err = run("rank", str(image_folder), "--models", "dropped_net.in1k")
    assert status == 2
    assert "1 of 1 models are in the catalogue but unknown to the installed timm" in err


def test_cv_measures_held_out_rows(run, files):
    status, out, _ = run("score", files[0], "--cv", "4")
    arrays = np.load(files[0])
    scorer = NCTIScorer(cv=4).fit(arrays["features"], arrays["labels"])
    assert status == 0
    assert out.splitlines()[1].split()[2] == f"{scorer.score_:.2f}"
    assert scorer.score_ != NCTIScorer().fit(arrays["features"], arrays["labels"]).score_


def test_too_few_resamples_are_one_warning(run, files):
    status, _, err = run("score", *files, "--resamples", "10")
    assert status == 0
    assert err.startswith("warning: n_resamples=10 are few")
    assert len(err.splitlines()) == 1


def test_a_failed_candidate_is_one_line(run, files, tmp_path):
    with np.load(files[0]) as arrays:
        np.savez(
            tmp_path / "bad.npz", features=np.nan * arrays["features"], labels=arrays["labels"]
        )
    report = tmp_path / "r.json"
    status, out, err = run("score", *files, str(tmp_path / "bad.npz"), "--json", str(report))
    assert status == 0
    assert "failed: bad: ValueError: Input X contains NaN" in out
    warning = "warning: 1 of 3 candidates failed and are ranked last; the others are ranked."
    assert err.splitlines() == [warning, f"wrote {report}"]
    assert json.loads(report.read_text())["results"][2]["score"] is None
    status, out, err = run("score", str(tmp_path / "bad.npz"))
    assert (status, out) == (1, "")
    assert err.startswith("sklearn-ncti score: failed: All 1 candidates failed.")


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


def test_wrong_usage_is_one_line_and_status_2(run, files, tmp_path, subtests):
    for name, argv in wrong_usages(files, tmp_path).items():
        with subtests.test(name):
            status, out, err = run(*argv)
            assert (status, out) == (2, "")
            assert len(err.splitlines()) == 1
            assert "error: " in err


def test_a_warning_is_printed_once(run, tmp_path):
    X, y = make_problem(n=60, d=10, spread=1.0, scale=3.0)
    paths = [tmp_path / f"{name}.npz" for name in ("one", "two", "three")]
    for i, path in enumerate(paths):
        np.savez(path, features=X + i * np.random.default_rng(i).normal(size=X.shape), labels=y)
    status, _, err = run("score", *map(str, paths))
    assert status == 0
    assert err.count("warning: n = 60 rows are few for k = 10 components") == 1
    # A later run in the same process shows it again.
    assert run("score", *map(str, paths))[2] == err


def test_waiting_threads_do_not_spin_unless_asked_to(run, files, monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    run("score", *files)
    assert os.environ["OMP_WAIT_POLICY"] == "active"
    assert "GOMP_SPINCOUNT" not in os.environ
    monkeypatch.delenv("OMP_WAIT_POLICY")
    # Recorded, so that it is restored after the test.
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    run("score", *files)
    assert os.environ["OMP_WAIT_POLICY"] == "passive"
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.delenv("GOMP_SPINCOUNT")
    run("score", *files)
    assert os.environ["OMP_WAIT_POLICY"] == "passive"
    assert os.environ["GOMP_SPINCOUNT"] == "10000"


def broken_stream(kind):
    """Return a pipe without a reader, a device that is always full, or None if closed."""
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
    """Return the exit status of a run with another standard stream, and close the stream."""
    with monkeypatch.context() as patch:
        patch.setattr(sys, name, stream)
        try:
            status = main(list(argv))
        except SystemExit as exc:
            status = exc.code
    if stream is not None:
        # As the interpreter does at exit; it must not fail.
        stream.close()
    return status


@pytest.mark.parametrize(("kind", "expected"), [("pipe", 0), ("full", 1), ("closed", 1)])
def test_a_table_that_cannot_be_printed(run, capsys, files, tmp_path, monkeypatch, kind, expected):
    report = tmp_path / "r.json"
    plain = run("score", *files)[1]
    argv = ["score", *files, "--json", str(report)]
    assert run_with(monkeypatch, "stdout", broken_stream(kind), *argv) == expected
    assert json.loads(report.read_text())["best"] == "wide"
    err = capsys.readouterr().err
    assert "Traceback" not in err
    if kind == "pipe":
        assert err == f"wrote {report}\n"
    else:
        # The reader has not asked for the end of the table, so it is shown elsewhere.
        assert plain in err
        reason = "the table is on standard error because standard output cannot be written: "
        assert f"failed: {reason}" in err


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


def test_a_stream_without_the_letters_of_a_name(renamed, files, monkeypatch):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["score", files[1], renamed("modèle")]) == 0
    stream.flush()
    assert rb"mod\xe8le" in raw.getvalue()


def test_names_and_messages_steer_no_terminal(run, renamed, files, tmp_path):
    hostile = renamed("\x1b[31mred\x9b1m")
    status, out, err = run("score", hostile, files[1], "--json", f"{tmp_path}/\x1b[1m.json")
    assert status == 0
    assert r" \x1b[31mred\x9b1m " in out
    assert err == rf"wrote {tmp_path}/\x1b[1m.json" + "\n"
    for argv in (
        ["score", hostile, hostile],
        ["score", f"{tmp_path}/\x1b[2J\n.npz"],
        ["score", hostile, "--\x1b[2J\n"],
    ):
        status, _, err = run(*argv)
        assert status == 2
        assert r"\x1b[" in err
        assert "\x1b" not in err
        assert len(err.splitlines()) == 1


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


def test_files_that_cannot_be_used_are_one_line_and_status_2(run, files, tmp_path, subtests):
    for name, argv in unusable_files(files, tmp_path).items():
        with subtests.test(name):
            status, out, err = run(*argv)
            assert (status, out) == (2, "")
            assert len(err.splitlines()) == 1
            assert "error: " in err


def test_an_unexpected_failure_is_one_line(run, files, monkeypatch):
    def fail(*args, **kwargs):
        raise ZeroDivisionError("by\n\x1b[31mzero")

    monkeypatch.setattr("sklearn_ncti._cli.commands.rank_features", fail)
    status, out, err = run("score", *files)
    assert (status, out) == (1, "")
    assert err == (
        r"sklearn-ncti score: failed: unexpected ZeroDivisionError: by\n\x1b[31mzero; please "
        "report it with its traceback, which SKLEARN_NCTI_TRACEBACK=1 in the environment shows\n"
    )
    monkeypatch.setenv("SKLEARN_NCTI_TRACEBACK", "1")
    status, _, err = run("score", *files)
    assert status == 1
    assert err.startswith("Traceback (most recent call last):\n  File ")
    assert "\x1b" not in err


def test_reasons_of_all_candidates_are_one_line(run, tmp_path, monkeypatch):
    bad = tmp_path / "bad.npz"
    np.savez(bad, features=np.full((9, 2), np.nan), labels=np.arange(9) % 3)
    status, out, err = run("score", str(bad))
    assert (status, out, len(err.splitlines())) == (1, "", 1)
    start = (
        "sklearn-ncti score: failed: All 1 candidates failed. 1 candidate(s) (bad) failed with:"
    )
    assert err.startswith(f"{start} ValueError: Input X contains NaN")
    monkeypatch.setenv("SKLEARN_NCTI_TRACEBACK", "1")
    assert "\n  File " in run("score", str(bad))[2]


def test_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "sklearn_ncti", "--version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip()) == (0, __version__)


def test_shortlist_prints_names_for_scripts(run, files, tmp_path):
    X, y = make_problem(d=30, spread=1.0, scale=3.0)
    X[0, 0] = np.nan
    bad = tmp_path / "bad.npz"
    np.savez(bad, features=X, labels=np.array(["ant", "bee", "cow", "dog", "emu"])[y])
    report = tmp_path / "r.json"
    _, table, warning = run("score", *files, str(bad))
    status, out, err = run("score", *files, str(bad), "--shortlist", "1", "--json", str(report))
    assert (status, out) == (0, "wide\n")
    # The table is not lost, and the file holds the same names.
    assert err == f"{warning}{table}wrote {report}\n"
    assert json.loads(report.read_text())["shortlist"] == ["wide"]
    # One that failed is not to be fine-tuned.
    status, out, err = run("score", *files, str(bad), "--shortlist", "3")
    assert (status, out) == (0, "wide\nnarrow\n")
    assert "--shortlist 3: only 2 of the candidates have a score" in err.splitlines()


def test_a_shortlist_has_one_name_a_line(run, renamed):
    strange = renamed("two\nlines")
    status, out, _ = run("score", strange, renamed("other"), "--shortlist", "2")
    assert status == 0
    assert out == "two\\nlines\nother\n"


@pytest.mark.parametrize("n", ["0", "two", "1.5"])
def test_the_length_of_a_shortlist_is_checked(run, files, n):
    status, out, err = run("score", *files, "--shortlist", n)
    assert (status, out) == (2, "")
    assert f"argument --shortlist: '{n}' is not a whole number of at least 1" in err
