"""benchmarks/readme_picture.py draws what it prints, from folders that anybody can have."""

import importlib
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from sklearn_ncti import TimmBackbone, load_image_folder, rank_features
from sklearn_ncti.datasets import load_digit_images

pytest.importorskip("timm")
pytest.importorskip("matplotlib")
Image = pytest.importorskip("PIL.Image")

ROOT = Path(__file__).resolve().parents[1]
MODELS = ("resnet-all-long", "vit-all-short")


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("readme_picture")


@pytest.fixture
def folders(tmp_path):
    """Folders of 12 and 4 digits of each of three classes, and of two bundled models."""
    images, labels = load_digit_images()
    for label in range(3):
        rows = np.flatnonzero(labels == label)
        for part, chosen in {"train": rows[:12], "test": rows[12:16]}.items():
            folder = tmp_path / "images" / part / f"digit {label}"
            folder.mkdir(parents=True)
            for row in chosen:
                Image.fromarray(images[row]).save(folder / f"{row:04}.png")
    for name in MODELS:
        zoo = ROOT / "sklearn_ncti" / "datasets" / "zoo" / name
        shutil.copytree(zoo, tmp_path / "models" / name)
    return tmp_path / "images", tmp_path / "models"


@pytest.mark.filterwarnings("ignore:n = ")
def test_picture_and_numbers(script, folders, tmp_path, capsys):
    images, models = folders
    output = tmp_path / "picture.png"
    script.main([str(images), str(models), "--limit-per-class", "10", "--output", str(output)])
    printed = capsys.readouterr().out
    paths, y = load_image_folder(images / "train", limit_per_class=10)
    features = {
        name: TimmBackbone(f"local-dir:{models / name}").fit_transform(paths) for name in MODELS
    }
    first = rank_features(features, y).best
    assert re.search(rf"^ +1  {first} ", printed, re.M)
    assert len(re.findall(r"accuracy of the probe \d+\.\d %", printed)) == 2
    with Image.open(output) as picture:
        assert picture.mode == "P"
        assert picture.width > picture.height > 300


def test_probe_accuracy_is_that_of_rows_it_has_not_seen(script):
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    X = 10 * np.eye(3)[y] + rng.normal(size=(60, 3))
    test = 10 * np.eye(3) + rng.normal(size=(3, 3))
    assert script.probe_accuracy(X, y, test, [0, 1, 2]) == 100
    # The same rows with one label that is wrong.
    assert script.probe_accuracy(X, y, test, [0, 1, 1]) == pytest.approx(200 / 3)


def test_thumbnails_are_the_first_image_of_each_class(script, folders):
    paths, y = load_image_folder(folders[0] / "train")
    shown = list(script.thumbnails(paths, y))
    assert [label for label, _ in shown] == ["digit 0", "digit 1", "digit 2"]
    assert {image.size for _, image in shown} == {(script.THUMBNAIL, script.THUMBNAIL)}
