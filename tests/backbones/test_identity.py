"""Keys of the cache: what images, files and networks are known by."""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
from PIL import Image  # noqa: E402

from sklearn_ncti._linalg.threads import one_torch_thread  # noqa: E402
from sklearn_ncti.backbones import TimmBackbone, TorchBackbone, _timm  # noqa: E402
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
    monkeypatch.setattr(_timm, "_in_hub_cache", lambda name, files: None)
    assert TimmBackbone("resnet18.a1_in1k", device="cpu").identity() is None


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
        ).identity()

    first = identity(module)
    assert identity(module) == first
    again = small()
    again.load_state_dict(module.state_dict())
    assert identity(again) == first
    strided = small(stride=2)
    strided.load_state_dict(module.state_dict())
    with torch.no_grad():
        again[0].bias[0] += 1
    others = [again, strided]
    assert len({json.dumps(identity(m)) for m in [module, *others]}) == 3
    # What a factory draws is decided by random_state.
    assert identity(small) == identity(small)
    assert identity(small, random_state=1) != identity(small)
    assert identity(module, input_size=(3, 9, 9)) != first
    program = torch.export.export(module.eval(), (torch.zeros(1, 3, 8, 8),))
    path = tmp_path / "p.pt2"
    torch.export.save(program, path)
    assert identity(path) == identity(str(path))
    assert identity(program) == identity(program) != first
    other = torch.export.export(strided.eval(), (torch.zeros(1, 3, 8, 8),))
    assert identity(other) != identity(program)


class Hidden(torch.nn.Module):
    """A network that does what neither its layers nor its weights tell."""

    def __init__(self, power=1, layer=1, scale=1.0, act=torch.relu):
        super().__init__()
        self.net = torch.nn.ModuleList([torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 8, 3)])
        self.power, self.layer, self.act = power, layer, act
        self.register_buffer("scale", torch.tensor(scale), persistent=False)

    def forward(self, x):
        for module in self.net[: self.layer]:
            x = module(x)
        return self.act(x * self.scale).abs().pow(self.power).mean((2, 3))


def key(module, **parameters):
    parameters = {"input_size": (3, 16, 16), "device": "cpu", **parameters}
    return TorchBackbone(module, **parameters).identity()


def hooked(factor):
    torch.manual_seed(0)
    module = small()
    module.register_forward_hook(lambda module, inputs, output: output * factor)
    return module


@pytest.mark.parametrize(
    "other",
    [{"power": 4}, {"layer": 2}, {"scale": -3.0}, {"act": torch.sin}],
    ids=lambda other: next(iter(other)),
)
def test_modules_are_known_by_what_they_compute(other):
    def make(**arguments):
        torch.manual_seed(0)
        return Hidden(**arguments)

    assert key(make(**other)) == key(make(**other)) != key(make())
    assert key(partial(Hidden, **other)) == key(partial(Hidden, **other)) != key(Hidden)
    assert key(hooked(2.0)) == key(hooked(2.0)) != key(hooked(-3.0))


def test_key_of_a_module_does_not_depend_on_threads():
    torch.manual_seed(0)
    # Sums over so many pixels are divided among threads, and rounded otherwise.
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 96 * 96, 2))
    before = torch.get_num_threads()
    keys = []
    try:
        for n_threads in (1, 2, 4):
            torch.set_num_threads(n_threads)
            keys.append(key(module, input_size=(3, 96, 96)))
            with one_torch_thread, ThreadPoolExecutor(1) as pool:
                keys.append(pool.submit(key, module, input_size=(3, 96, 96)).result())
            assert torch.get_num_threads() == n_threads
    finally:
        torch.set_num_threads(before)
    assert keys[0] is not None
    assert keys == [keys[0]] * 6


class Noisy(torch.nn.Module):
    def forward(self, x):
        return x.mean((2, 3)) + torch.rand(3)


class Picky(torch.nn.Module):
    def forward(self, x):
        raise ValueError("not this")


def test_what_cannot_be_known_has_no_key():
    state = torch.get_rng_state()
    for module in (Noisy(), Noisy, Picky(), Picky):
        assert key(module) is None
    assert torch.equal(torch.get_rng_state(), state)


class Counting(torch.nn.Module):
    """A network that changes by what it is used for."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        self.calls += 1
        return x.mean((2, 3)) + self.calls


def test_the_network_of_the_user_is_not_run():
    module = Counting()
    assert key(module) is None
    assert module.calls == 0
    assert module.training


# --- downloads


def test_downloaded_weights_that_are_damaged_are_named(monkeypatch, tmp_path):
    content = b"weights"
    blob = tmp_path / "blobs" / hashlib.sha256(content).hexdigest()
    file = tmp_path / "snapshots" / "0a1b" / "model.safetensors"
    for path in (blob, file):
        path.parent.mkdir(parents=True)
    blob.write_bytes(content)
    file.symlink_to(blob)
    monkeypatch.setattr(_timm, "_in_hub_cache", lambda name, files: file)
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
