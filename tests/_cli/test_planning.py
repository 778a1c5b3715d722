"""The commands before the work: models, --dry-run, and the question before a download."""

import csv
import json
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from sklearn_ncti._cli.inputs import UsageError
from sklearn_ncti._cli.options import ModelsOptions, RankOptions
from sklearn_ncti._cli.parser import parse_options
from sklearn_ncti._cli.planning import ask_before_download
from sklearn_ncti._selection import plan as planning
from sklearn_ncti._selection.plan import Speed
from sklearn_ncti.datasets import load_catalogue


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of two classes; no calibration, and nothing in the cache of the hub."""
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("precious")
    monkeypatch.setattr(planning, "measure_speed", lambda *args: Speed(0.02, 0.01))
    monkeypatch.setattr(planning, "cached_models", set)
    return str(tmp_path / "images")


@pytest.fixture
def same_timm(monkeypatch):
    """As if the installed timm were that of the catalogue."""
    release = load_catalogue().source.partition("timm ")[2].split()[0].rstrip(".")
    monkeypatch.setattr(planning, "version", lambda name: release)


def test_models_lists_what_the_filters_leave(run, tmp_path):
    files = [tmp_path / "m.json", tmp_path / "m.csv"]
    options = ["--license", "permissive", "--max-parameters", "6", "--min-top1", "75"]
    outputs = ["--json", str(files[0]), "--csv", str(files[1])]
    status, out, err = run(
        "models", "efficientnet*", "resnet*", *options, "--sort", "top1", "--descending", *outputs
    )
    assert (status, len(err.splitlines())) == (0, 2)
    expected = load_catalogue().filter(
        ["efficientnet*", "resnet*"], license="permissive", max_parameters=6e6, min_top1=75
    )
    names = expected.sort_by("top1", ascending=False)["name"].tolist()
    assert [line.split()[0] for line in out.splitlines()[1:-1]] == names
    assert out.splitlines()[-1] == f"{len(names)} of {len(load_catalogue())} models"
    rows = json.loads(files[0].read_text())["models"]
    assert [row["name"] for row in rows] == names
    assert all(row["top1"] >= 75 and row["n_parameters"] <= 6e6 for row in rows)
    with files[1].open(newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == names


def test_unknown_values_are_empty_and_null(run, tmp_path):
    file = tmp_path / "m.json"
    status, out, _ = run("models", "aimv2_1b_patch14_224.apple_pt", "--json", str(file))
    assert status == 0
    assert "nan" not in out
    assert json.loads(file.read_text())["models"][0]["top1"] is None


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--license", "gpl"], "license has 'gpl', which is none of: "),
        (["--pretrained-on", "mnist"], "pretrained_on has 'mnist', which is none of: "),
        (["--max-gmacs", "0"], "no model is left: max_gmacs=0.0 removes the last"),
        (["resnet999*"], "names: 'resnet999*' matches none of"),
        (["--max-gmacs", "few"], "argument --max-gmacs: invalid"),
        (["--max-gmacs", "-1"], "argument --max-gmacs: '-1' is not a number of at least 0"),
        (["--sort", "color"], "argument --sort: invalid choice: 'color'"),
    ],
    ids=" ".join,
)
def test_refused_filters_are_one_line_and_status_2(run, options, reason):
    status, out, err = run("models", *options)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert reason in err


def test_both_commands_share_their_filters():
    options = ["--license", "mit", "unknown", "--no-self-supervised", "--min-parameters", "2"]
    models = parse_options(["models", "vit*", *options])
    rank = parse_options(["rank", "images", "--models", "vit*", *options])
    assert isinstance(models, ModelsOptions)
    assert isinstance(rank, RankOptions)
    assert models.filters.names == ["vit*"]
    assert rank.filters.names is None
    assert models.filters.license == rank.filters.license == ["mit", "unknown"]
    assert models.filters.min_parameters == rank.filters.min_parameters == 2e6
    assert models.filters.self_supervised is rank.filters.self_supervised is False


def test_dry_run_prints_and_writes_the_plan(run, folder, tmp_path, same_timm, monkeypatch):
    # Without timm, and therefore without a download.
    monkeypatch.setitem(sys.modules, "timm", None)
    file = tmp_path / "plan.json"
    options = ["--max-parameters", "30", "--dry-run", "--json", str(file)]
    status, out, _ = run("rank", folder, "--models", "resnet*", *options)
    assert status == 0
    chosen = load_catalogue().filter("resnet*", max_parameters=30e6)
    plan = json.loads(file.read_text())["plan"]
    assert plan["n_candidates"] == len(chosen)
    assert plan["n_images"] == 3
    assert plan["download_bytes"] == pytest.approx(4 * chosen["n_parameters"].sum())
    assert plan["n_input_sizes"] == len(np.unique(chosen["input_size"]))
    assert {row["name"] for row in plan["candidates"]} == set(chosen["name"])
    assert out.startswith(f"candidates   {len(chosen)} on 3 images")


def test_dry_run_reads_images_as_a_ranking_does(run, folder, tmp_path, same_timm):
    splits = tmp_path / "splits"
    for split, n_images in (("train", 3), ("validation", 2)):
        for label in "ab":
            (splits / split / label).mkdir(parents=True)
            for i in range(n_images):
                (splits / split / label / f"{i}.png").touch()
    models = ["--models", "resnet*", "--dry-run"]
    status, out, err = run("rank", str(splits), *models)
    assert (status, out) == (2, "")
    assert "--split 'train'" in err
    status, out, _ = run("rank", str(splits), *models, "--split", "validation")
    assert status == 0
    assert " on 4 images" in out.splitlines()[0]
    pytest.importorskip("pandas")
    table = splits / "images.csv"
    table.write_text("path,label\n" + "".join(f"train/a/{i}.png,{i % 2}\n" for i in range(3)))
    status, out, _ = run("rank", str(table), *models)
    assert status == 0
    assert " on 3 images" in out.splitlines()[0]


def test_dry_run_refuses_what_a_ranking_needs(run, folder, tmp_path, same_timm):
    options = ["--models", "resnet18", "--dry-run", "--html", str(tmp_path / "r.html")]
    pytest.importorskip("matplotlib")
    status, out, err = run("rank", folder, *options)
    assert (status, out) == (2, "")
    assert "--dry-run ranks nothing; leave out --plot and --html" in err
    status, out, err = run("rank", folder, *options[:3], "--shortlist", "2")
    assert (status, out) == (2, "")
    assert "--dry-run ranks nothing; leave out --shortlist" in err
    status, out, err = run(
        "rank", folder, "--models", "resnet18", "--max-gmacs", "0.1", "--dry-run"
    )
    assert (status, out) == (2, "")
    assert "no model is left: max_gmacs=0.1 removes the last 1 of 1" in err


class Terminal:
    def __init__(self, answer):
        self._answer = answer

    def isatty(self):
        return True

    def readline(self):
        return self._answer


@pytest.mark.parametrize(
    ("answer", "options", "reason"),
    [
        (None, [], "GB would be downloaded, more than --ask-above 0.04 GB; give --yes"),
        ("n\n", [], "nothing was downloaded"),
        ("", [], "nothing was downloaded"),
        ("y\n", [], None),
        (None, ["--yes"], None),
        (None, ["--ask-above", "0.05"], None),
    ],
    ids=["no terminal", "no", "end of input", "yes", "--yes", "below the bound"],
)
def test_large_downloads_are_asked_for(run, folder, monkeypatch, answer, options, reason):
    pytest.importorskip("timm")
    started = []

    class Started(Exception):
        pass

    def selector(models, **kwargs):
        started.append(models)
        raise Started

    monkeypatch.setattr("sklearn_ncti._cli.commands.ModelSelector", selector)
    if answer is not None:
        monkeypatch.setattr(sys, "stdin", Terminal(answer))
        monkeypatch.setattr("sklearn_ncti._cli.planning.is_terminal", lambda stream: True)
    # 11.69 million parameters of four bytes.
    command = ["rank", folder, "--models", "resnet18.a1_in1k", "--ask-above", "0.04", *options]
    status, out, err = run(*command)
    assert out == ""
    if reason is None:
        assert len(started) == 1
    else:
        assert (status, started) == (2, [])
        assert err.startswith("candidates   1 on 3 images")
        assert reason in err.splitlines()[-1]


def test_a_limit_of_downloads_bounds_what_is_asked_for(folder):
    pytest.importorskip("timm")
    names = ["resnet18.a1_in1k"]
    command = ["rank", folder, "--models", *names, "--ask-above", "0.04", "--halving"]
    images = [str(path) for path in Path(folder).rglob("*.png")]
    for limit, is_asked in (("0.03", False), ("1", True)):
        options = parse_options([*command, "--max-download", limit])
        assert isinstance(options, RankOptions)
        with pytest.raises(UsageError, match="give --yes") if is_asked else nullcontext():
            ask_before_download(options, names, images)
