"""The shipped zoo, its numbers, the ranking of it, and the scripts that made it, in small."""

import importlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from sklearn_ncti import ModelSelector
from sklearn_ncti.datasets import load_digit_images, load_zoo, load_zoo_accuracies

pytest.importorskip("timm")

import safetensors.torch
import timm
import torch
from PIL import Image

import sklearn_ncti.datasets

ZOO = Path(sklearn_ncti.datasets.__file__).parent / "zoo"
RECORDS = {record["name"]: record for record in json.loads((ZOO / "zoo.json").read_text())}
TRAINED = [name for name, record in RECORDS.items() if record["pretrained"]]
RANDOM = [name for name, record in RECORDS.items() if not record["pretrained"]]
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_zoo_is_the_list():
    assert [name for name, _ in load_zoo()] == list(RECORDS)
    assert {folder.name for folder in ZOO.iterdir() if folder.is_dir()} == set(RECORDS)
    assert 6 <= len(RECORDS) <= 8
    assert len(RANDOM) == 2
    assert len({record["recipe"]["architecture"] for record in RECORDS.values()}) >= 5


def test_weights_are_small():
    sizes = {path.parent.name: path.stat().st_size for path in ZOO.glob("*/model.safetensors")}
    assert sorted(sizes) == sorted(TRAINED)
    assert sum(sizes.values()) < 5e6
    assert sizes == {name: RECORDS[name]["weight_bytes"] for name in sizes}


@pytest.mark.parametrize("name", RECORDS)
def test_config(name):
    config = json.loads((ZOO / name / "config.json").read_text())
    assert timm.is_model(config["architecture"])
    assert config["pretrained_cfg"]["input_size"] == [3, 32, 32]
    assert config["num_classes"] == len(config["label_names"]) == len(RECORDS[name]["classes"])
    assert RECORDS[name].items() >= config["record"].items()


@pytest.mark.parametrize("name", TRAINED)
def test_weights_are_whole(name):
    weights = safetensors.torch.load_file(ZOO / name / "model.safetensors")
    module = timm.create_model(f"local-dir:{ZOO / name}", pretrained=True)
    state = module.state_dict()
    assert state.keys() == weights.keys()
    assert sum(p.numel() for p in module.parameters()) == RECORDS[name]["n_parameters"]
    for key, weight in weights.items():
        assert weight.dtype in (torch.float16, torch.int64)
        assert weight.isfinite().all()
        assert torch.equal(state[key], weight.to(state[key].dtype))


def test_source_accuracies():
    for name in TRAINED:
        assert 0.1 < RECORDS[name]["source_accuracy"] < 1
    for name in RANDOM:
        assert RECORDS[name]["source_accuracy"] is None


def test_digits():
    images, labels = load_digit_images()
    bunch = load_digits()
    assert images.shape == (1797, 8, 8)
    assert images.dtype == np.uint8
    assert (images.min(), images.max()) == (0, 255)
    np.testing.assert_allclose(images / 255, bunch.images / 16, atol=0.5 / 255)
    np.testing.assert_array_equal(labels, bunch.target)


def test_accuracies_cover_the_zoo():
    shipped = json.loads((ZOO / "finetuned.json").read_text())
    rates, seeds = shipped["protocol"]["learning_rates"], shipped["protocol"]["seeds"]
    assert len(rates) >= 2
    assert len(seeds) >= 3
    assert list(shipped["models"]) == list(RECORDS)
    for model in shipped["models"].values():
        runs = {(run["learning_rate"], run["seed"]): run for run in model["runs"]}
        assert sorted(runs) == sorted((rate, seed) for rate in rates for seed in seeds)
        validation = {
            rate: np.mean([runs[rate, seed]["validation_accuracy"] for seed in seeds])
            for rate in rates
        }
        assert validation[model["learning_rate"]] == max(validation.values())
        test = [runs[model["learning_rate"], seed]["test_accuracy"] for seed in seeds]
        assert model["test_mean"] == pytest.approx(np.mean(test), abs=1e-4)
        assert model["test_std"] == pytest.approx(np.std(test, ddof=1), abs=1e-4)
    mean, std = load_zoo_accuracies(return_std=True)
    assert mean == load_zoo_accuracies()
    assert list(mean) == list(std) == list(RECORDS)
    assert all(10 < value <= 100 for value in mean.values())
    assert mean["resnet-all-long"] == 100 * shipped["models"]["resnet-all-long"]["test_mean"]


@pytest.fixture(scope="module")
def ranking():
    images, labels = load_digit_images()
    candidates = [(name, model.set_params(device="cpu")) for name, model in load_zoo()]
    # 60 of each digit are enough rows for 64 components.
    rows = np.concatenate([np.flatnonzero(labels == digit)[:60] for digit in range(10)])
    return ModelSelector(candidates, refit=False).fit(images[rows], labels[rows]).ranking_


def test_random_ranks_below_trained(ranking):
    assert sorted(ranking.names) == sorted(RECORDS)
    assert not any(ranking.results["error"])
    place = {name: ranking.names.index(name) for name in RECORDS}
    long = [name for name in RECORDS if name.endswith("-all-long")]
    assert max(place[name] for name in long) < min(place[name] for name in RANDOM)


def test_agreement_is_defined(ranking):
    agreement = ranking.agreement(load_zoo_accuracies())
    assert agreement["n_models"] == len(RECORDS)
    assert all(np.isfinite(value) for value in agreement.values())


@pytest.fixture
def script(monkeypatch):
    """Import one of the scripts, with what it does to torch undone."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    with torch.random.fork_rng(devices=[]):
        yield importlib.import_module


@pytest.fixture
def source(tmp_path):
    """Give a folder of a few images of three classes, plain enough to be learnt."""
    rng = np.random.default_rng(0)
    for code, name in enumerate(["cat", "dog", "horse"]):
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(20):
            pixels = rng.integers(0, 128, (32, 32, 3), dtype=np.uint8)
            pixels[..., code] += 100
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{index}.png")
    return tmp_path / "images"


def test_training_goes_on_after_an_interruption(script, source, tmp_path, monkeypatch):
    train_zoo = script("train_zoo")
    options = ["--images", source, "--only", "byobnet-animals", "--epochs", "3"]
    options += ["--device", "cpu"]

    def run(name):
        more = ["--output", tmp_path / name, "--work", tmp_path / f"{name}-work"]
        train_zoo.main([str(option) for option in options + more])

    run("whole")
    train_epoch = train_zoo.train_epoch
    epochs = []

    def interrupted(*args):
        epochs.append(args[-1])
        if len(epochs) == 3:
            raise KeyboardInterrupt
        return train_epoch(*args)

    monkeypatch.setattr(train_zoo, "train_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run("parts")
    assert not list((tmp_path / "parts").glob("*/config.json"))
    run("parts")
    assert epochs == [0, 1, 2, 2]
    run("parts")
    assert epochs == [0, 1, 2, 2]

    places = [tmp_path / name / "byobnet-animals" for name in ("whole", "parts")]
    weights = [safetensors.torch.load_file(place / "model.safetensors") for place in places]
    assert weights[0].keys() == weights[1].keys()
    for name, whole in weights[0].items():
        # Kept in 16 bits. Without the state of the optimizer they are 7e-4 apart.
        torch.testing.assert_close(weights[1][name], whole, rtol=2e-3, atol=1e-4)
    (record,) = json.loads((tmp_path / "parts" / "zoo.json").read_text())
    assert record["classes"] == ["cat", "dog", "horse"]
    assert (record["n_train"], record["n_test"]) == (54, 6)
    assert "byobnet-animals" in (tmp_path / "parts" / "README.md").read_text()


def test_training_keeps_the_held_out_images_out(script):
    train_zoo = script("train_zoo")
    codes = np.repeat(np.arange(4), 50)
    held_out = train_zoo.held_out_rows(codes)
    assert np.bincount(codes[held_out]).tolist() == [5, 5, 5, 5]
    np.testing.assert_array_equal(held_out, train_zoo.held_out_rows(codes))


def test_augmented_images_are_crops_of_the_padded(script):
    train_zoo = script("train_zoo")
    pixels = torch.arange(1, 1025).reshape(1, 32, 32, 1).expand(64, 32, 32, 3)
    generator = torch.Generator().manual_seed(0)
    out = train_zoo.augment(pixels, generator)
    assert out.shape == (64, 3, 32, 32)
    values = (out * train_zoo.STD + train_zoo.MEAN) * 255
    seen = set()
    padded = torch.nn.functional.pad(pixels[0, :, :, 0], (4, 4, 4, 4)).float()
    for image in values[:, 0]:
        for flipped in (False, True):
            windows = padded.unfold(0, 32, 1).unfold(1, 32, 1)
            windows = windows.flip(-1) if flipped else windows
            same = ((windows - image).abs() < 0.01).all(-1).all(-1).nonzero().tolist()
            seen |= {(*place, flipped) for place in same}
    assert len(seen) > 40
    assert {place[2] for place in seen} == {False, True}


def test_finetuning_goes_on_after_an_interruption(script, tmp_path, monkeypatch):
    finetune_zoo = script("finetune_zoo")
    images, labels = load_digit_images()
    monkeypatch.setattr(finetune_zoo, "load_digit_images", lambda: (images[:640], labels[:640]))
    monkeypatch.setattr(finetune_zoo, "LEARNING_RATES", (1e-4, 1e-3))
    monkeypatch.setattr(finetune_zoo, "SEEDS", (0, 1))
    zoo = tmp_path / "zoo"
    shutil.copytree(ZOO / "resnet-random", zoo / "resnet-random")
    (zoo / "zoo.json").write_text(json.dumps([RECORDS["resnet-random"]]))

    def run(name):
        options = ["--zoo", zoo, "--work", tmp_path / f"{name}-work", "--epochs", "1"]
        options += ["--output", tmp_path / f"{name}.json", "--device", "cpu"]
        finetune_zoo.main([str(option) for option in options])

    run("whole")
    finetune = finetune_zoo.finetune
    calls = []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return finetune(*args)

    monkeypatch.setattr(finetune_zoo, "finetune", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run("parts")
    assert not (tmp_path / "parts.json").exists()
    run("parts")
    assert len(calls) == 5
    whole, parts = (
        json.loads((tmp_path / f"{name}.json").read_text()) for name in ("whole", "parts")
    )
    tables = [content.pop("models")["resnet-random"].pop("runs") for content in (whole, parts)]
    assert whole == parts
    for of_whole, of_parts in zip(*tables, strict=True):
        for name in ("learning_rate", "seed"):
            assert of_whole[name] == of_parts[name]
        # Trained separately: of 64 images or more, few may fall on the other side.
        for name in ("validation_accuracy", "test_accuracy"):
            assert of_whole[name] == pytest.approx(of_parts[name], abs=0.05)
