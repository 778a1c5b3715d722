"""Keys of the cache: what images, files and networks are known by."""

import hashlib
import json
import os

import numpy as np
import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
from PIL import Image  # noqa: E402

from sklearn_ncti.backbones import TimmBackbone, _timm  # noqa: E402
from sklearn_ncti.backbones._identity import identify_images  # noqa: E402

# --- images


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


# --- networks


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
    identity = TimmBackbone(name, device="cpu").identity()
    assert TimmBackbone(twin, device="cpu").identity() == identity
    assert TimmBackbone(other, device="cpu").identity() != identity
    file = tmp_path / "b" / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "pretrained_cfg": {"crop_pct": 0.5}}))
    assert TimmBackbone(twin, device="cpu").identity() != identity


def test_only_parameters_that_change_features_count():
    def identity(**parameters):
        return TimmBackbone(
            "test_vit.r160_in1k", pretrained=False, **{"device": "cpu", **parameters}
        ).identity()

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
        return TimmBackbone("resnet18.a1_in1k", device="cpu").identity()

    first = revision("0a1b")
    assert first["weights"]["hub"] == ["timm/resnet18.a1_in1k", "model.safetensors", "0a1b"]
    assert revision("2c3d") != first
    # What was not downloaded yet has no revision, and so no key.
    monkeypatch.setattr(_timm, "file_in_cache", lambda name, files: None)
    assert TimmBackbone("resnet18.a1_in1k", device="cpu").identity() is None


# --- downloads


def test_downloaded_weights_that_are_damaged_are_named(monkeypatch, tmp_path):
    content = b"weights"
    blob = tmp_path / "blobs" / hashlib.sha256(content).hexdigest()
    file = tmp_path / "snapshots" / "0a1b" / "model.safetensors"
    for path in (blob, file):
        path.parent.mkdir(parents=True)
    blob.write_bytes(content)
    file.symlink_to(blob)
    monkeypatch.setattr(_timm, "file_in_cache", lambda name, files: file)
    backbone = TimmBackbone("resnet18.a1_in1k", device="cpu")
    assert backbone.identity()["weights"]["hub"][2] == "0a1b"
    blob.write_bytes(b"weighty")
    os.utime(blob, (1, 1))
    with pytest.raises(ValueError, match=f"{blob.name}.* is damaged: .* Delete it"):
        backbone.identity()
    # Of small files, and where there are no links, no such hash is known.
    file.unlink()
    file.touch()
    assert backbone.identity() is not None
