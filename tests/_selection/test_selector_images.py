"""ModelSelector, grid search and the command line over images and networks."""

import json
import warnings

import numpy as np
import pytest
from helpers import OF_FLOAT32
from sklearn.datasets import load_digits
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline

from sklearn_ncti import (
    ModelSelector,
    NCTIScorer,
    TimmBackbone,
    TorchBackbone,
    ncti_refit,
    ncti_scoring,
    rank_features,
)
from sklearn_ncti._cli import main

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
Image = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def digits():
    """Handwritten digits as uint8 images: enough rows for a handful of components."""
    X, y = load_digits(return_X_y=True)
    keep = y < 3
    return (X[keep] * 15.9375).astype(np.uint8).reshape(-1, 8, 8)[:150], y[keep][:150]


SCORER = NCTIScorer(n_components=8)


def untrained(model, **kwargs):
    return TimmBackbone(model, pretrained=False, **kwargs)


class Tiny(torch.nn.Module):
    def __init__(self, width=6):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, width, 3)
        self.pool = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())

    def forward(self, x):
        return self.pool(self.conv(x))


@pytest.fixture
def local_model(tmp_path):
    """A folder with the weights of a tiny network, as timm reads it."""

    def write(name, seed, architecture="test_resnet"):
        folder = tmp_path / name
        folder.mkdir()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = timm.create_model(architecture, num_classes=0)
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
        config = {"architecture": architecture, "num_classes": 0, "pretrained_cfg": {
            "input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.5] * 3,
            "interpolation": "bicubic", "crop_pct": 1.0, "num_classes": 0,
        }}  # fmt: skip
        (folder / "config.json").write_text(json.dumps(config))
        return f"local-dir:{folder}"

    return write


def test_every_kind_of_candidate(digits, local_model):
    images, y = digits
    first, second = local_model("first", 1), local_model("second", 2)
    module = Tiny()
    models = [
        first,
        ("named", second),
        untrained("test_vit", batch_size=16),
        module,
        TorchBackbone(Tiny, input_size=(3, 16, 16)),
        ("mean", TorchBackbone(Tiny, input_size=(3, 8, 8), random_state=3)),
    ]
    selector = ModelSelector(models, scorer=SCORER).fit(images, y)
    names = ["first", "named", "test_vit", "tiny-1", "tiny-2", "mean"]
    assert selector.results_["model"].tolist() == names
    assert (selector.results_["error"] == "").all()
    features = {
        name: model.fit_transform(images)
        for name, model in zip(
            names,
            [
                TimmBackbone(first),
                TimmBackbone(second),
                models[2],
                TorchBackbone(module),
                models[4],
                models[5][1],
            ],
            strict=True,
        )
    }
    expected = rank_features(features, y, scorer=SCORER)
    for name in ("seli", "ncc", "vc"):
        np.testing.assert_allclose(selector.results_[name], expected.results[name], **OF_FLOAT32)
    np.testing.assert_allclose(
        selector.transform(images), features[selector.best_name_], atol=1e-4
    )
    assert module.training


def test_a_broken_network_never_ends_a_ranking(digits, local_model):
    images, y = digits
    good, bad = local_model("good", 1), local_model("bad", 2)
    with open(bad.removeprefix("local-dir:") + "/pytorch_model.bin", "wb") as file:
        file.write(b"not weights")
    selector = ModelSelector([bad, good, untrained("test_vit")], scorer=SCORER)
    with pytest.warns(FitFailedWarning, match="1 of 3 candidates failed"):
        selector.fit(images, y)
    assert selector.ranking_.names[-1] == "bad"
    assert "could not load the weights" in selector.results_["error"][0]
    assert selector.best_model_.transform(images[:3]).shape[0] == 3


def test_a_feature_matrix_is_no_image(digits):
    images, y = digits
    with pytest.raises(ValueError, match="looks like a feature matrix"):
        ModelSelector([untrained("test_vit")]).fit(images.reshape(len(images), -1), y)


def test_networks_are_dropped_after_their_turn(digits, monkeypatch):
    images, y = digits
    events = []
    rows, drop = TimmBackbone._rows, TimmBackbone.release

    def watched_rows(self, *args):
        events.append(f"run {self.model}")
        if self.model == "test_vit":
            raise RuntimeError("a fault")
        return rows(self, *args)

    def watched_drop(self):
        if self._network is not None:
            events.append(f"drop {self.model}")
        drop(self)

    monkeypatch.setattr(TimmBackbone, "_rows", watched_rows)
    monkeypatch.setattr(TimmBackbone, "release", watched_drop)
    names = ["test_resnet", "test_vit", "test_efficientnet"]
    selector = ModelSelector([untrained(name) for name in names], refit=False, scorer=SCORER)
    with pytest.warns(FitFailedWarning, match="1 of 3 candidates failed"):
        selector.fit(images, y)
    assert events == [f"{verb} {name}" for name in names for verb in ("run", "drop")]


def test_final_estimator_and_cross_validation(digits):
    images, y = digits
    selector = ModelSelector(
        [untrained("test_resnet"), untrained("test_vit")],
        scorer=SCORER,
        final_estimator=LogisticRegression(max_iter=5000),
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="n = ")
        scores = cross_val_score(selector, images, y, cv=2)
    assert scores.min() > 0.6


def test_memory_notices_new_files_and_new_weights(local_model, tmp_path, monkeypatch):
    paths, y = [], np.arange(80) % 2
    rng = np.random.default_rng(0)
    for i, label in enumerate(y):
        pixels = rng.integers(0, 128 + 100 * label, size=(16, 16, 3)).astype(np.uint8)
        paths.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(pixels).save(paths[-1])
    name = local_model("model", 1)
    runs = []
    extract = TimmBackbone.extract
    monkeypatch.setattr(
        TimmBackbone,
        "extract",
        lambda self, images, **kwargs: runs.append(1) or extract(self, images, **kwargs),
    )

    def fit():
        scorer = NCTIScorer(n_components=4)
        selector = ModelSelector([name], scorer=scorer, refit=False, memory=str(tmp_path / "c"))
        return selector.fit(paths, y).results_["seli"][0]

    first = fit()
    assert fit() == pytest.approx(first, rel=1e-9)
    assert len(runs) == 1
    Image.fromarray(np.zeros((17, 17, 3), np.uint8)).save(paths[0])
    assert fit() != pytest.approx(first, rel=1e-4)
    assert len(runs) == 2
    weights = torch.load(tmp_path / "model" / "pytorch_model.bin")
    weights = {key: 1.5 * value for key, value in weights.items()}
    torch.save(weights, tmp_path / "model" / "pytorch_model.bin")
    fit()
    assert len(runs) == 3


@pytest.mark.filterwarnings("ignore:n = ")
def test_grid_search_over_backbones(digits):
    images, y = digits
    search = GridSearchCV(
        Pipeline([("backbone", untrained("test_vit")), ("ncti", SCORER)]),
        {"backbone__model": ["test_vit", "test_resnet"]},
        scoring=ncti_scoring,
        refit=ncti_refit,
        cv=[(np.arange(len(y)), np.arange(len(y)))],
    ).fit(images, y)
    features = {
        name: untrained(name).fit_transform(images) for name in ("test_vit", "test_resnet")
    }
    best = rank_features(features, y, scorer=SCORER).best
    assert search.best_params_ == {"backbone__model": best}
    assert search.best_estimator_["backbone"].model == best


def test_command_line_ranks_a_folder(digits, local_model, tmp_path, capsys):
    images, y = digits
    for i, (image, label) in enumerate(zip(images, y, strict=True)):
        folder = tmp_path / "images" / f"digit {label}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i:03}.png")
    names = [local_model("first", 1), local_model("second", 2)]
    argv = ["rank", str(tmp_path / "images"), "--models", *names, "--limit-per-class", "40"]
    options = ["--n-components", "8", "--batch-size", "16", "--device", "cpu"]
    report = tmp_path / "report.json"
    assert main([*argv, *options, "--json", str(report)]) == 0
    out, err = capsys.readouterr()
    assert "2 models on 120 images of 3 classes" in err
    written = json.loads(report.read_text())
    assert (written["n_rows"], written["n_classes"]) == (120, 3)
    assert written["n_skipped_images"] == 0
    assert {row["model"] for row in written["results"]} == {"first", "second"}
    assert out.splitlines()[1].split()[1] == written["best"]
    cache = ["--cache", str(tmp_path / "cache"), "--jobs", "2", "--workers", "1"]
    assert main([*argv, *options, *cache]) == 0
    first = capsys.readouterr().out
    assert len(list((tmp_path / "cache" / "features").iterdir())) == 2
    (tmp_path / "images" / "digit 0" / "broken.png").write_bytes(b"no image")
    unlimited = argv[:-2]
    assert main([*unlimited, *options]) == 1
    assert "broken.png' cannot be read" in capsys.readouterr().err
    report = tmp_path / "skipped.json"
    skipping = ["--skip-bad-images", "--json", str(report)]
    assert main([*unlimited, *options, *skipping]) == 0
    assert "1 of 151 images cannot be read" in capsys.readouterr().err
    written = json.loads(report.read_text())
    assert (written["n_rows"], written["n_skipped_images"]) == (150, 1)
    assert first.splitlines()[0] == out.splitlines()[0]
    for models, message in (
        (["resnet5O"], "unknown model 'resnet5O'"),
        (["nothing_like_it*"], "matches 'nothing_like_it"),
        ([names[0], names[0]], "given twice"),
    ):
        assert main(["rank", str(tmp_path / "images"), "--models", *models]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert message in err
        assert len(err.splitlines()) == 1
