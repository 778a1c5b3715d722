"""Features on disk: whole or not at all, under a key of what made them and of nothing else."""

import json
import os
import pickle
import time

import numpy as np
import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
from PIL import Image  # noqa: E402

from sklearn_ncti.backbones import TimmBackbone, TorchBackbone, _timm  # noqa: E402
from sklearn_ncti.backbones._store import FeatureStore, identify_images  # noqa: E402

FEATURES = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
IDENTITY = {"weights": "mine", "images": "yours"}


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / "not there yet" / "features")


def test_what_is_kept_comes_back(store):
    assert store.load(IDENTITY) is None
    store.save(IDENTITY, FEATURES, {"bad": {3: "why"}})
    features, facts = store.load(IDENTITY)
    np.testing.assert_array_equal(features, FEATURES)
    assert facts == {"bad": {"3": "why"}, "shape": [20, 5]}
    assert store.load({**IDENTITY, "weights": "other"}) is None
    # The order in which an identity is written down says nothing.
    assert store.load(dict(reversed(IDENTITY.items()))) is not None


def damages(path):
    content = path.read_bytes()
    middle = len(content) // 2
    yield "empty", b""
    yield "truncated", content[:middle]
    yield "a flipped bit", content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    yield "no archive", b"nothing of the kind" * 50


def test_damage_is_noticed(store, subtests):
    store.save(IDENTITY, FEATURES, {})
    path = store.path(IDENTITY)
    for name, content in damages(path):
        with subtests.test(name):
            path.write_bytes(content)
            with pytest.warns(UserWarning, match="are damaged .* and are made anew"):
                assert store.load(IDENTITY) is None
            store.save(IDENTITY, FEATURES, {})
            assert store.load(IDENTITY) is not None


def test_another_shape_than_was_kept_is_damage(store):
    store.save(IDENTITY, FEATURES, {})
    np.savez(store.path(IDENTITY), features=FEATURES[:3], facts=json.dumps({"shape": [20, 5]}))
    with pytest.warns(UserWarning, match=r"of shape \(3, 5\)"):
        assert store.load(IDENTITY) is None


def test_nothing_is_unpickled(store, tmp_path):
    trap = tmp_path / "sprung"

    class Trap:
        def __reduce__(self):
            return open, (str(trap), "w")

    store.save(IDENTITY, FEATURES, {})
    path = store.path(IDENTITY)
    with open(path, "wb") as file:
        np.savez(file, features=np.array([Trap()], dtype=object), facts=np.array("{}"))
    with pytest.warns(UserWarning, match="are damaged"):
        assert store.load(IDENTITY) is None
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.warns(UserWarning, match="are damaged"):
        assert store.load(IDENTITY) is None
    assert not trap.exists()


def write_plain_pickle(weights, path):
    with open(path, "wb") as file:
        pickle.dump(weights, file)


@pytest.mark.parametrize("file", ["pytorch_model.bin", "model.pth", "model.pth.tar"])
@pytest.mark.parametrize("save", [torch.save, write_plain_pickle])
def test_weights_are_not_unpickled_either(tmp_path, file, save):
    trap = tmp_path / "sprung"

    class Trap:
        def __reduce__(self):
            return open, (str(trap), "w")

    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architecture": "test_resnet"}))
    save({"weight": Trap()}, folder / file)
    with pytest.raises(RuntimeError, match="could not load the weights"):
        TimmBackbone(f"local-dir:{folder}").fit([Image.new("RGB", (8, 8))])
    assert not trap.exists()


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_what_is_not_finished_is_no_entry(store, monkeypatch, step):
    def interrupted(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.save(IDENTITY, FEATURES, {})
    assert store.load(IDENTITY) is None
    assert list(store.folder.iterdir()) == []


# --- what images are


def test_files_are_known_by_path_size_and_time(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.new("RGB", (4, 4)).save(path)
    monkeypatch.chdir(tmp_path)
    first = identify_images([str(path), "a.png"])
    assert identify_images([path, str(path)]) == first
    assert identify_images([path]) != first
    os.utime(path, ns=(0, 0))
    assert identify_images([path, path]) != first


def test_arrays_and_pictures_are_known_by_their_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 6), dtype=np.uint8)
    different = {
        identify_images(images)
        for images in (
            pixels,
            pixels + 1,
            pixels.reshape(3, 6, 8),
            pixels[:2],
            [Image.fromarray(image) for image in pixels],
            [Image.fromarray(image).convert("RGB") for image in pixels],
            [Image.fromarray(image) for image in pixels[::-1]],
        )
    }
    assert len(different) == 7
    assert identify_images(pixels.copy()) == identify_images(pixels)
    assert identify_images(np.asfortranarray(pixels)) == identify_images(pixels)
    palette = Image.fromarray(pixels[0]).convert("P")
    other = palette.copy()
    other.putpalette([7] * 768)
    assert identify_images([palette]) != identify_images([other])


# --- what networks are


def local_model(folder, seed=0):
    folder.mkdir()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = timm.create_model("test_resnet", num_classes=0)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps({"architecture": "test_resnet"}))
    return f"local-dir:{folder}"


def test_weights_in_a_folder_are_known_by_what_they_hold(tmp_path):
    name = local_model(tmp_path / "a")
    twin = local_model(tmp_path / "b")
    other = local_model(tmp_path / "c", seed=1)
    identity = TimmBackbone(name, device="cpu")._identity()
    assert TimmBackbone(twin, device="cpu")._identity() == identity
    assert TimmBackbone(other, device="cpu")._identity() != identity
    file = tmp_path / "b" / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "pretrained_cfg": {"crop_pct": 0.5}}))
    assert TimmBackbone(twin, device="cpu")._identity() != identity


def test_only_parameters_that_change_features_count():
    def identity(**parameters):
        return TimmBackbone(
            "test_vit.r160_in1k", pretrained=False, **{"device": "cpu", **parameters}
        )._identity()

    first = identity()
    assert json.loads(json.dumps(first)) == first
    for same in (
        {"batch_size": 3},
        {"num_workers": 0},
        {"verbose": 1},
        {"on_bad_image": "skip"},
        {"device": "cpu:0"},
        {"precision": "float32"},
    ):
        assert identity(**same) == first, same
    for other in ({"precision": "bfloat16"}, {"random_state": 1}, {"compile": True}):
        assert identity(**other) != first, other


def test_downloaded_weights_are_known_by_their_revision(monkeypatch, tmp_path):
    def revision(name):
        path = tmp_path / "snapshots" / name / "model.safetensors"
        path.parent.mkdir(parents=True)
        path.touch()
        monkeypatch.setattr(
            "huggingface_hub.try_to_load_from_cache",
            lambda repository, file, revision=None: str(path) if file == path.name else None,
        )
        return TimmBackbone("resnet18.a1_in1k", device="cpu")._identity()

    first = revision("0a1b")
    assert first["weights"]["hub"] == ["timm/resnet18.a1_in1k", "model.safetensors", "0a1b"]
    assert revision("2c3d") != first
    # What was not downloaded yet has no revision, and so no key.
    monkeypatch.setattr(_timm, "_in_hub_cache", lambda name, files: None)
    assert TimmBackbone("resnet18.a1_in1k", device="cpu")._identity() is None


def small(width=4, stride=1):
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, width, 3, stride=stride),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
    )


def test_modules_are_known_by_their_layers_and_weights(tmp_path):
    torch.manual_seed(0)
    module = small()

    def identity(module, **parameters):
        return TorchBackbone(
            module, **{"input_size": (3, 8, 8), "device": "cpu", **parameters}
        )._identity()

    first = identity(module)
    assert identity(module) == first
    again = small()
    again.load_state_dict(module.state_dict())
    assert identity(again) == first
    strided = small(stride=2)
    strided.load_state_dict(module.state_dict())
    with torch.no_grad():
        again[0].bias[0] += 1
    half = small()
    half.load_state_dict(module.state_dict())
    others = [again, strided, half.bfloat16()]
    assert len({json.dumps(identity(m)) for m in [module, *others]}) == 4
    # What a factory draws is decided by random_state.
    assert identity(small) == identity(small)
    assert identity(small, random_state=1) != identity(small)
    assert identity(module, input_size=(3, 9, 9)) != first
    program = torch.export.export(module.eval(), (torch.zeros(2, 3, 8, 8),))
    path = tmp_path / "p.pt2"
    torch.export.save(program, path)
    assert identity(path) == identity(str(path))
    assert identity(program) == identity(program) != first
    other = torch.export.export(strided.eval(), (torch.zeros(2, 3, 8, 8),))
    assert identity(other) != identity(program)


def test_what_a_killed_process_left_is_removed(tmp_path):
    old, new = tmp_path / "unfinished-old", tmp_path / "unfinished-new"
    for path in (old, new):
        path.write_bytes(b"half")
    long_ago = time.time() - 7200
    os.utime(old, (long_ago, long_ago))
    FeatureStore(tmp_path).save({"a": 1}, np.ones((2, 3), np.float32), {})
    # The new one may be that of a process at work.
    assert not old.exists()
    assert new.exists()
