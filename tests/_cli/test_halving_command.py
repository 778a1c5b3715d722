"""The command `rank --halving`: what it passes on, what it refuses, what it writes."""

import csv
import inspect
import json

import numpy as np
import pytest
from sklearn.datasets import load_digits

from sklearn_ncti import HalvingModelSelector
from sklearn_ncti._cli.options import RankOptions, ScoreOptions
from sklearn_ncti._cli.parser import parse_options
from sklearn_ncti._selection import jobs


def options_of(*options):
    parsed = parse_options(["rank", "images", "--models", "a", *options])
    assert isinstance(parsed, RankOptions)
    return parsed


def test_defaults_are_those_of_the_selector():
    search = options_of("--halving")
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(HalvingModelSelector).parameters.items()
    }
    assert search.search.given() == {}
    assert search.scoring.resamples == defaults["n_resamples"]
    assert search.scoring.scorer == HalvingModelSelector._default_scorer
    everything = options_of()
    assert (everything.scoring.scorer, everything.scoring.resamples) == ("ncti", 0)
    score = parse_options(["score", "a.npz"])
    assert isinstance(score, ScoreOptions)
    assert (score.scoring.scorer, score.scoring.resamples) == ("ncti", 0)


def test_options_are_parameters_of_the_selector():
    options = ["--max-time", "2.5", "--n-best", "2", "--confidence", "0.8", "--factor", "4"]
    options += ["--max-download", "0"]
    parsed = options_of("--halving", *options, "--scorer", "ncti", "--resamples", "50")
    given = {"max_time": 2.5, "n_best": 2, "confidence": 0.8, "factor": 4.0, "max_download": 0}
    assert parsed.search.given() == given
    assert given.keys() <= inspect.signature(HalvingModelSelector).parameters.keys()
    assert (parsed.scoring.scorer, parsed.scoring.resamples) == ("ncti", 50)
    assert parsed.settings()["halving"] is True
    assert parsed.settings()["max_time"] == 2.5


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--max-time", "5"], "--max-time 5 needs --halving"),
        (["--max-download", "1"], "--max-download 1 needs --halving"),
        (["--n-best", "2"], "--n-best 2 needs --halving"),
        (["--confidence", "0.9"], "--confidence 0.9 needs --halving"),
        (["--factor", "2"], "--factor 2 needs --halving"),
        (["--factor", "2", "--dry-run"], "--factor 2 needs --halving"),
        (["--halving", "--cv", "5"], "--halving excludes --cv 5"),
        (["--halving", "--resamples", "39"], "--halving needs at least --resamples 40"),
        (["--halving", "--variant", "paper"], "--scorer robust excludes --variant"),
        (["--halving", "--variant", "paper"], "uses this scorer unless --scorer ncti is given"),
        (["--halving", "--cv", "loo"], "--scorer robust excludes --cv"),
        (
            ["--halving", "--scorer", "ncti", "--cv", "loo", "--variant", "paper"],
            "--variant paper does not have of rows that --cv loo holds out",
        ),
        (["--halving"], "--halving needs at least 2 rows of every class, but 'b' has 1"),
        (
            ["--halving", "--max-time", "0"],
            "--max-time: '0' is not a finite number above 0",
        ),
        (["--halving", "--max-time", "inf"], "'inf' is not a finite number above 0"),
        (["--halving", "--factor", "1"], "'1' is not a finite number above 1"),
        (["--halving", "--factor", "few"], "'few' is not a finite number above 1"),
        (["--halving", "--confidence", "1"], "'1' is not a finite number above 0 and below 1"),
        (["--halving", "--n-best", "0"], "'0' is not a whole number of at least 1"),
    ],
    ids=" ".join,
)
def test_refused_options_are_one_line_and_status_2(run, image_folder, options, reason):
    pytest.importorskip("timm")
    status, out, err = run("rank", str(image_folder), "--models", "x", *options)
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert reason in err


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A folder of digits in three classes, 240 images in all."""
    images = pytest.importorskip("PIL.Image")
    folder = tmp_path_factory.mktemp("digits")
    pixels, labels = load_digits(n_class=3, return_X_y=True)
    for label in range(3):
        (folder / str(label)).mkdir()
        for i, row in enumerate(pixels[labels == label][:80]):
            image = images.fromarray((15 * row).astype(np.uint8).reshape(8, 8))
            image.save(folder / str(label) / f"{i:03}.png")
    return str(folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    pytest.importorskip("torch")
    pytest.importorskip("timm")
    from image_pool import write_model

    folder = tmp_path_factory.mktemp("models")
    return [write_model(folder / f"m{i}", i, mean=0.3 * i) for i in range(3)]


@pytest.mark.parametrize(
    "options",
    [[], ["--scorer", "ncti", "--cv", "loo", "--n-components", "8"], ["--prior", "weights"]],
    ids=["robust", "ncti", "prior"],
)
def test_iterations_are_in_all_outputs(run, digits, models, tmp_path, options):
    files = {kind: tmp_path / f"r.{kind}" for kind in ("json", "csv", "html")}
    outputs = [text for kind, path in files.items() for text in (f"--{kind}", str(path))]
    search = ["--halving", "--factor", "2", "--n-best", "2", "--resamples", "60"]
    status, out, err = run(
        "rank", digits, "--models", *models, "--device", "cpu", *search, *options, *outputs
    )
    assert status == 0
    assert "successive halving, candidates in each iteration: 3 on " in out
    report = json.loads(files["json"].read_text())
    possible = report["n_possible_iterations"]
    assert f"[HalvingModelSelector] iteration 1 of {possible}: 3 candidates, " in err
    assert report["n_candidates"][0] == 3
    assert report["n_rows"] == report["n_resources"][-1]
    assert len(report["n_candidates"]) == len(report["n_resources"])
    assert report["resamples"] == 60
    # Each candidate is in the iteration that it reached, on the rows of that iteration.
    rows = report["results"]
    reached = [row["iteration"] for row in rows]
    for number, count in enumerate(report["n_candidates"], start=1):
        assert sum(iteration >= number for iteration in reached) == count
    assert reached == sorted(reached, reverse=True)
    resources = report["n_resources"]
    assert [row["n_samples"] for row in rows] == [resources[i - 1] for i in reached]
    with files["csv"].open(newline="") as file:
        written = [(row["iteration"], row["n_samples"]) for row in csv.DictReader(file)]
    assert written == [(str(row["iteration"]), str(row["n_samples"])) for row in rows]
    header, *lines = out.splitlines()
    assert "iteration  rows" in header
    names = {row["model"] for row in rows}
    assert names == {"m0", "m1", "m2"}
    shown = [line.split() for line in lines if names & set(line.split())][: len(rows)]
    for row, cells in zip(rows, shown, strict=True):
        assert cells[1] == row["model"]
        assert {str(row["iteration"]), str(row["n_samples"])} <= set(cells[2:])
    page = files["html"].read_text()
    assert 'data-label="iteration"' in page
    assert 'data-label="rows"' in page


def test_candidates_without_time_are_left_out_and_no_failures(
    run, digits, models, tmp_path, monkeypatch
):
    # No time but that of the first candidate, which always runs.
    real = jobs.time

    class Late:
        perf_counter = staticmethod(real.perf_counter)
        time = staticmethod(lambda: real.time() + 1e6)

    monkeypatch.setattr(jobs, "time", Late)
    page, file = tmp_path / "r.html", tmp_path / "r.json"
    status, out, err = run(
        *("rank", digits, "--models", *models, "--device", "cpu", "--halving"),
        *("--max-time", "1000", "--html", str(page), "--json", str(file)),
    )
    assert status == 0
    assert "failed" not in out
    assert "failed" not in err
    line = "left out: m1, m2: not started before --max-time 1000 was over"
    assert line in out.splitlines()
    text = page.read_text()
    assert "Candidates left out" in text
    assert "Candidates that failed" not in text
    assert text.count(">left out</td>") == 2
    # In the words of the command line, as the table.
    assert "not started before --max-time 1000 was over" in text
    assert "max_time=" not in text
    assert json.loads(file.read_text())["n_candidates"] == [1]


def test_the_plan_of_halving_is_an_upper_bound(run, digits, models):
    status, out, _ = run("rank", digits, "--models", models[0], "--halving", "--dry-run")
    assert status == 0
    assert out.endswith("the most that --halving can take.\n")


@pytest.mark.parametrize("option", ["--max-download", "--max-time"])
def test_a_budget_too_small_for_any_model_is_one_line_and_status_2(run, digits, option):
    pytest.importorskip("torch")
    pytest.importorskip("timm")
    status, out, err = run(
        *("rank", digits, "--models", "resnet18.a1_in1k", "resnet50.a1_in1k", "--device", "cpu"),
        *("--halving", option, "0.001"),
    )
    assert (status, out) == (2, "")
    last = err.splitlines()[-1]
    assert last.startswith(f"sklearn-ncti rank: error: {option} 0.001 ")
    assert "Traceback" not in err
