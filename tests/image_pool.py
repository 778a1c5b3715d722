"""Small networks, and rankings of them, that the tests of the selection share."""

import json
import os

import numpy as np
import pytest
from helpers import OF_FLOAT32
from sklearn.base import BaseEstimator, TransformerMixin

from sklearn_ncti import ModelSelector, NCTIScorer, TimmBackbone

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
Image = pytest.importorskip("PIL.Image")


SCORER = NCTIScorer(n_components=4)


COLUMNS = ("score", "seli", "ncc", "vc")


def write_model(folder, seed, size=32, mean=0.5, n_classes=0, **more):
    """Write the weights of a tiny network as timm reads them; return its name."""
    folder.mkdir()
    with torch.random.fork_rng():
        # Not the seed of a backbone, whose weights would look as if they had not been loaded.
        torch.manual_seed(100 + seed)
        model = timm.create_model("test_resnet", num_classes=n_classes)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    config = {"input_size": [3, size, size], "mean": [mean] * 3, "std": [0.5] * 3}
    config |= {"interpolation": "bicubic", "crop_pct": 1.0, "num_classes": n_classes, **more}
    (folder / "config.json").write_text(
        json.dumps(
            {"architecture": "test_resnet", "num_classes": n_classes, "pretrained_cfg": config}
        )
    )
    return f"local-dir:{folder}"


def candidates(models, **parameters):
    return [
        (os.path.basename(name), TimmBackbone(name, device="cpu", **parameters)) for name in models
    ]


def select(models, **parameters):
    parameters = {"scorer": SCORER, "refit": False, **parameters}
    return ModelSelector(models, **parameters)


def assert_same(results, expected):
    """Whether two rankings are alike but for what separate extractions may differ by."""
    assert results["model"].tolist() == expected["model"].tolist()
    assert results["error"].tolist() == expected["error"].tolist()
    for name in COLUMNS:
        np.testing.assert_allclose(results[name], expected[name], **OF_FLOAT32, err_msg=name)


class Examples(torch.utils.data.Dataset):
    """Pairs of an image and its label, which counts how often each is read."""

    def __init__(self, paths, y):
        self.paths = paths
        self.y = y
        self.reads = []

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        self.reads.append(index)
        return Image.open(self.paths[index]), torch.tensor(self.y[index])


class Poisoned(torch.nn.Module):
    """A network that gives NaN for some images."""

    def forward(self, x):
        rows = x.mean((2, 3))
        return torch.where(rows > 0, rows, torch.nan)


class Mean(TransformerMixin, BaseEstimator):
    """A candidate that is no backbone."""

    def fit(self, X, y):
        assert len(X) == len(y)
        return self

    def transform(self, X):
        rows = []
        for path in X:
            with Image.open(path) as image:
                rows.append(np.asarray(image, dtype=float).mean((0, 1)))
        return np.array(rows)

    def __sklearn_is_fitted__(self):
        return True


def spoil(path):
    with open(path, "rb") as file:
        content = file.read()
    with open(path, "wb") as file:
        file.write(content[: len(content) // 2])
