"""benchmarks/source_attributes.py reads the images that it says, and measures what it prints."""

import importlib
import io
import json
import zipfile
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

pytest.importorskip("timm")
Image = pytest.importorskip("PIL.Image")

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
N = 20


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("source_attributes")


@pytest.fixture
def archive(tmp_path):
    """A zip file of 20 grey images of each class; the level of grey is the number of the image."""
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as target:
        for c, name in enumerate(("bird", "cat")):
            for i in range(N):
                buffer = io.BytesIO()
                Image.new("RGB", (4, 4), (N * c + i,) * 3).save(buffer, "png")
                target.writestr(f"train/{name}/{i:04}.png", buffer.getvalue())
    return path


def test_images_of_training_and_held_out_ones_are_those_of_the_zoo(script, archive):
    training, labels = script.read_images(archive, N, held_out=False)
    held_out, held_out_labels = script.read_images(archive, N, held_out=True)
    codes = np.repeat([0, 1], N)
    expected = importlib.import_module("train_zoo").held_out_rows(codes)
    assert held_out[:, 0, 0, 0].tolist() == np.flatnonzero(expected).tolist()
    assert training[:, 0, 0, 0].tolist() == np.flatnonzero(~expected).tolist()
    assert labels.tolist() == ["bird"] * 18 + ["cat"] * 18
    assert held_out_labels.tolist() == ["bird"] * 2 + ["cat"] * 2
    few, few_labels = script.read_images(archive, 3, held_out=False)
    assert few_labels.tolist() == ["bird"] * 3 + ["cat"] * 3
    np.testing.assert_array_equal(few[:3], training[:3])


def test_the_critical_correlation_is_that_of_all_orders(script):
    least = script.critical_rho(6)
    found = [abs(spearmanr(range(6), order).statistic) for order in permutations(range(6))]
    assert np.mean(np.array(found) >= least - 1e-9) < 0.05
    smaller = max(value for value in found if value < least - 1e-9)
    assert np.mean(np.array(found) >= smaller - 1e-9) >= 0.05


def test_own_classes_are_those_of_training(script, monkeypatch):
    seen = {}

    class Selector:
        def __init__(self, models):
            ((self.name, _),) = models

        def source_attributes(self, images, labels):
            seen[self.name] = sorted(set(labels))
            return {"model": np.array([self.name]), "source_score": np.zeros(1)}

    monkeypatch.setattr(script, "ModelSelector", Selector)
    records = json.loads((script.ZOO / "zoo.json").read_text(encoding="utf-8"))
    every = max((record["classes"] for record in records), key=len)
    columns = script.on_own_classes(script.load_zoo(), np.arange(10), np.array(every))
    trained = {record["name"]: record["classes"] for record in records if record["classes"]}
    assert seen == trained
    assert columns["model"].tolist() == list(trained)
    assert "source_score" not in columns
