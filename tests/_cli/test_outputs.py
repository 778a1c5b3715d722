"""Files that the command line writes or refuses to write."""

import csv
import json
import os
import sys
from pathlib import Path

import pytest

from sklearn_ncti import Ranking, rank_features


def test_nothing_is_overwritten(run, files, tmp_path):
    mine = tmp_path / "mine.json"
    mine.write_text("precious")
    status, out, err = run("score", *files, "--json", str(mine))
    assert (status, out) == (2, "")
    assert err == (
        f"sklearn-ncti score: error: {mine} exists; name another file, or overwrite it with "
        "--force\n"
    )
    assert mine.read_text() == "precious"
    assert run("score", *files, "--json", str(mine), "--force")[0] == 0
    assert json.loads(mine.read_text())["best"] == "wide"


@pytest.mark.parametrize("option", ["--json", "--csv", "--html", "--plot"])
def test_a_dash_is_no_file(run, files, image_folder, tmp_path, monkeypatch, option):
    monkeypatch.chdir(tmp_path)
    command = ["score", *files]
    if option == "--html":
        command = ["rank", str(image_folder), "--models", "x"]
    for more in ([], ["--force"]):
        status, out, err = run(*command, option, "-", *more)
        assert (status, out, len(err.splitlines())) == (2, "", 1)
        assert f"{option} - names no file: standard output has the table; name a file" in err
    assert not (tmp_path / "-").exists()


def test_a_file_that_appears_during_the_work_is_not_overwritten(run, files, tmp_path, monkeypatch):
    mine = tmp_path / "mine.json"

    def slow(*args, **kwargs):
        mine.write_text("precious")
        return rank_features(*args, **kwargs)

    monkeypatch.setattr("sklearn_ncti._cli.commands.rank_features", slow)
    status, out, err = run("score", *files, "--json", str(mine))
    assert status == 1
    assert "File exists" in err
    assert mine.read_text() == "precious"
    # The result is not lost: the table is printed.
    assert out.startswith("rank  model")


def test_plot(run, files, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib").use("Agg")
    picture = tmp_path / "r.png"
    assert run("score", *files, "--plot", str(picture))[0] == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert run("score", *files, "--plot", str(picture))[0] == 2
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    status, _, err = run("score", *files, "--plot", str(tmp_path / "other.png"))
    assert status == 1
    assert "pip install 'sklearn-ncti[plot]'" in err


def test_one_output_that_fails_stops_no_other(run, files, tmp_path, monkeypatch):
    def fail(self):
        raise RuntimeError("no JSON\ntoday")

    monkeypatch.setattr(Ranking, "best", property(fail))
    paths = {name: tmp_path / f"r.{name}" for name in ("json", "csv")}
    options = [text for name, path in paths.items() for text in (f"--{name}", str(path))]
    status, out, err = run("score", *files, *options)
    assert status == 1
    assert out.startswith("rank  model")
    first, second = err.splitlines()
    assert first.startswith(
        f"sklearn-ncti score: failed: --json {paths['json']} could not be written: unexpected "
        r"RuntimeError: no JSON\ntoday; please report it"
    )
    assert second == f"wrote {paths['csv']}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["narrow.npz", "r.csv", "wide.npz"]


def test_an_older_file_stays_until_the_new_one_is_whole(run, files, tmp_path, monkeypatch):
    def full(file):
        raise OSError(28, "No space left on device")

    mine = tmp_path / "mine.csv"
    mine.write_text("precious")
    mine.chmod(0o640)
    argv = ["score", *files, "--csv", str(mine), "--force"]
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        status, out, err = run(*argv)
    assert (status, out[:4]) == (1, "rank")
    assert "No space left on device" in err
    assert mine.read_text() == "precious"
    assert run(*argv)[0] == 0
    assert mine.read_text().startswith("model,")
    assert mine.stat().st_mode & 0o777 == 0o640
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.csv", "narrow.npz", "wide.npz"]


def test_links_and_pipes_stay_what_they_are(run, files, tmp_path):
    link, target, pipe = (tmp_path / name for name in ("link.json", "target.json", "pipe"))
    try:
        link.symlink_to(target)
        os.mkfifo(pipe)
    except (OSError, AttributeError):
        pytest.skip("this system has no links or no pipes")
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    outputs = ["--json", str(link), "--csv", str(pipe), "--force"]
    assert run("score", *files, *outputs)[0] == 0
    assert os.read(reading, 6) == b"model,"
    os.close(reading)
    assert link.is_symlink()
    assert json.loads(target.read_text())["best"] == "wide"


def test_an_input_is_never_an_output(run, files, tmp_path):
    published = tmp_path / "published.json"
    published.write_text('{"wide": 1}')
    os.link(files[0], tmp_path / "hard.npz")
    for name in (files[0], files[1], str(published), str(tmp_path / "hard.npz")):
        before = Path(name).read_bytes()
        argv = ["score", *files, "--baseline", str(published), "--json", name, "--force"]
        status, out, err = run(*argv)
        assert (status, out) == (2, "")
        assert f"--json {name} is a file that this run reads; name another" in err
        assert Path(name).read_bytes() == before


def test_two_outputs_are_never_one_file(run, files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, err = run("score", *files, "--json", "./r", "--csv", str(tmp_path / "r"))
    assert status == 2
    assert f"--json r and --csv {tmp_path / 'r'} are the same file; name another" in err
    (tmp_path / "one").write_text("precious")
    os.link("one", "two")
    os.symlink("one", "three")
    for other in ("two", "three"):
        status, _, err = run("score", *files, "--json", "one", "--csv", other, "--force")
        assert (status, (tmp_path / "one").read_text()) == (2, "precious")
        assert f"--json one and --csv {other} are the same file" in err


def test_two_outputs_that_the_disk_takes_for_one(run, files, tmp_path, monkeypatch):
    def exists(path):
        folder, name = os.path.split(path)
        return name.casefold() in map(str.casefold, os.listdir(folder))

    (tmp_path / "new").mkdir()
    monkeypatch.chdir(tmp_path / "new")
    # As on a disk that ignores upper and lower case.
    monkeypatch.setattr(os.path, "lexists", exists)
    status, _, err = run("score", *files, "--json", "result", "--csv", "Result")
    assert status == 2
    assert "--json result and --csv Result are the same file; name another" in err
    assert os.listdir() == []


def test_formats_of_pictures_are_known_before_the_work(run, files, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    mine = tmp_path / "noext.png"
    mine.write_text("precious")
    for name in ("r.xyz", "noext", ".png"):
        status, out, err = run("score", *files, "--plot", str(tmp_path / name))
        assert (status, out) == (2, "")
        assert f"--plot {tmp_path / name} must end in the suffix of its format, one of " in err
        assert all(f" .{known}" in err for known in ("pdf", "png", "svg"))
    assert mine.read_text() == "precious"
    # Neither a window nor a screen is needed, whatever backend is set.
    monkeypatch.setenv("MPLBACKEND", "TkAgg")
    for suffix, start in {".PNG": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}.items():
        picture = tmp_path / f"r{suffix}"
        assert run("score", *files, "--plot", str(picture))[0] == 0
        assert picture.read_bytes().startswith(start)


def test_names_that_are_not_utf8(run, renamed, files, tmp_path):
    hostile = renamed(b"mod\xe8le".decode("utf-8", "surrogateescape"))
    paths = {name: tmp_path / f"r.{name}" for name in ("json", "csv")}
    options = [text for name, path in paths.items() for text in (f"--{name}", str(path))]
    status, out, _ = run("score", hostile, files[1], *options)
    assert status == 0
    shown = r"mod\udce8le"
    assert f"  {shown} " in out
    assert json.loads(paths["json"].read_text(encoding="utf-8"))["best"] == shown
    with open(paths["csv"], newline="", encoding="utf-8") as file:
        assert next(csv.DictReader(file))["model"] == shown


def test_text_in_a_csv_is_no_formula(run, renamed, files, tmp_path):
    names = ["=1+1", "+1", "-1", "@sum", "\tx", "plain=1"]
    copies = [renamed(name) for name in names]
    table = tmp_path / "r.csv"
    status, _, _ = run("score", *copies, files[1], "--csv", str(table))
    assert status == 0
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    expected = {f"'{name}" for name in names[:-1]} | {"plain=1", "narrow"}
    assert {row["model"] for row in rows} == expected
    # Numbers stay numbers.
    assert min(float(row["vc"]) for row in rows) < 0


def test_folders_that_cannot_be_written_are_known_before_the_work(
    run, files, tmp_path, monkeypatch
):
    def refuse(self, mode="r", *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    report = tmp_path / "r.json"
    monkeypatch.setattr("pathlib.Path.open", refuse)
    status, out, err = run("score", *files, "--json", str(report))
    assert (status, out) == (2, "")
    assert f"the folder of {report} is not writable: [Errno 13]" in err


def test_caches_that_cannot_be_written(run, files, image_folder):
    for cache in (files[0], f"{files[0]}/cache", "a\x00b", "n" * 300):
        argv = ["rank", str(image_folder), "--models", "x", "--cache", cache]
        status, out, err = run(*argv)
        assert (status, out) == (2, "")
        assert len(err.splitlines()) == 1
        assert "is not a writable folder: " in err


def test_images_and_models_are_never_outputs(run, image_folder, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    for name in ("config.json", "model.safetensors"):
        (model / name).write_text("precious")
    inputs = [image_folder / "b" / "1.png", model / "config.json", model / "model.safetensors"]
    for path in inputs:
        argv = ["rank", str(image_folder), "--models", f"local-dir:{model}"]
        status, out, err = run(*argv, "--json", str(path), "--force")
        assert (status, out) == (2, "")
        assert f"--json {path} is a file that this run reads; name another" in err
        assert path.read_text() == "precious"


def test_a_picture_never_becomes_one_of_the_images(run, image_folder):
    pytest.importorskip("matplotlib")
    for name in ("r.png", "b/r.png"):
        path = image_folder / name
        status, _, err = run("rank", str(image_folder), "--models", "x", "--plot", str(path))
        assert status == 2
        assert f"--plot {path} would become an image in {image_folder}" in err
