"""Photographs and networks that the tests of the selection share.

Imports are late: tests of other candidates run without torch.
"""

import os

import numpy as np
import pytest


def photographs(folder, suffix, least, step):
    """Write 60 small photographs of three classes, each brighter; return paths and labels."""
    Image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    paths = [str(folder / f"{i:02}{suffix}") for i in range(60)]
    for path, label in zip(paths, y, strict=True):
        small = rng.integers(0, least + step * label, size=(5, 5, 3)).astype(np.uint8)
        Image.fromarray(small).resize((40, 36)).save(path)
    return paths, y


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Paths of small photographs of three classes, and their labels."""
    return photographs(tmp_path_factory.mktemp("images"), ".jpg", 100, 70)


@pytest.fixture(scope="module")
def hard(tmp_path_factory):
    """Paths of photographs of three classes that are hard to tell apart, and their labels."""
    return photographs(tmp_path_factory.mktemp("hard"), ".png", 150, 25)


@pytest.fixture
def copied(data, tmp_path):
    """The same, to be spoiled."""
    paths, y = data
    folder = tmp_path / "copied"
    folder.mkdir()
    copies = []
    for path in paths:
        copies.append(str(folder / os.path.basename(path)))
        with open(path, "rb") as source, open(copies[-1], "wb") as target:
            target.write(source.read())
    return copies, y


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Five networks of one geometry and of different means."""
    from image_pool import write_model

    folder = tmp_path_factory.mktemp("models")
    return [write_model(folder / f"m{i}", i, mean=0.1 * i) for i in range(5)]


@pytest.fixture(scope="module")
def undisturbed(data, models):
    """Results of these networks, each image being opened once."""
    from image_pool import candidates, select

    return select(candidates(models)).fit(*data).results_


@pytest.fixture
def opened(monkeypatch):
    """The images that are opened, in order."""
    from sklearn_ncti.backbones import _images

    seen = []
    real = _images._open

    def counting(file, name):
        seen.append(os.fspath(name))
        return real(file, name)

    monkeypatch.setattr(_images, "_open", counting)
    return seen


@pytest.fixture
def extracted(monkeypatch):
    """The models that extract features, in order."""
    from sklearn_ncti import TimmBackbone

    seen = []
    real = TimmBackbone.extract

    def counting(self, *args, **kwargs):
        seen.append(os.path.basename(self.model))
        return real(self, *args, **kwargs)

    monkeypatch.setattr(TimmBackbone, "extract", counting)
    return seen


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub without a network, and an empty cache."""
    from fake_hub import FakeHub
    from huggingface_hub import constants

    from sklearn_ncti.backbones import _hub

    folder = tmp_path / "hub"
    folder.mkdir()
    hub = FakeHub(folder)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(_hub, "_run_process", hub.download)
    return hub
