"""Preparation: timm's own pixels to the last bit, and the geometry they depend on."""

import re

import numpy as np
import pytest
from helpers import FLOAT32_ROUNDING

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
from PIL import Image  # noqa: E402
from preparations import CONFIG, CONFIGS, all_pixels, prepare, whole_transform, write_files  # noqa: E402

from sklearn_ncti.backbones import TimmBackbone, TorchBackbone  # noqa: E402
from sklearn_ncti.backbones._images import BadImageError  # noqa: E402
from sklearn_ncti.backbones._network import Network  # noqa: E402
from sklearn_ncti.backbones._prepared import (  # noqa: E402
    Preparation,
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("images"))


@pytest.mark.parametrize("name", CONFIGS)
def test_pixels_are_those_of_timm(files, name):
    config = CONFIGS[name]
    expected, eight_bit = whole_transform(config, files)
    pixels = all_pixels(prepare(files, config))
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, eight_bit.permute(0, 2, 3, 1).numpy())

    class Keep(torch.nn.Module):
        def forward(self, x):
            self.seen = x
            return x.mean((2, 3))

    module = Keep()
    for channels_last in (False, True):
        network = Network(
            module,
            Preparation(config),
            torch.device("cpu"),
            bfloat16=False,
            channels_last=channels_last,
        )
        network.features(pixels)
        np.testing.assert_allclose(module.seen.numpy(), expected.numpy(), **FLOAT32_ROUNDING)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        assert module.seen.is_contiguous(memory_format=layout)


def test_transform_that_cannot_be_taken_apart_is_used_whole(files, monkeypatch):
    create = timm.data.create_transform
    expected, _ = whole_transform(CONFIG, files)
    monkeypatch.setattr(
        timm.data, "create_transform", lambda **kw: lambda image: create(**kw)(image)
    )
    prepared = prepare(files)
    assert prepared.geometry.dtype == "float32"
    expected = expected.permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(all_pixels(prepared), expected, **FLOAT32_ROUNDING)
    # The scaling is then a part of what is shared.
    assert Preparation({**CONFIG, "mean": (0, 0, 0)}).geometry != prepared.geometry


def test_what_is_one_geometry():
    geometry = Preparation(CONFIG).geometry
    same = [
        {**CONFIG, "mean": (0.5,) * 3, "std": [1.0] * 3},
        {**CONFIG, "input_size": [3, 40, 40]},
    ]
    other = [c for name, c in CONFIGS.items() if name != "usual"]
    assert {Preparation(config).geometry for config in same} == {geometry}
    assert len({Preparation(config).geometry for config in [CONFIG, *other]}) == len(CONFIGS)
    # The border has the colour of the mean.
    border = {**CONFIGS["border"], "mean": (0.5,) * 3}
    assert Preparation(border).geometry != Preparation(CONFIGS["border"]).geometry


def test_geometry_is_known_without_the_network(tmp_path, monkeypatch):
    backbones = [
        TimmBackbone("test_vit.r160_in1k", pretrained=False, device="cpu"),
        TimmBackbone("resnet18.a1_in1k", pretrained=False, device="cpu"),
        TorchBackbone(torch.nn.Flatten, input_size=(3, 20, 30), crop_mode="squash", device="cpu"),
    ]
    built = [b.fit([Image.new("RGB", (8, 8))])._network.preparation.geometry for b in backbones]
    monkeypatch.setattr(timm, "create_model", lambda *a, **k: pytest.fail("a model was made"))
    assert [backbone.geometry() for backbone in backbones] == built
    assert TorchBackbone(torch.nn.Flatten, input_size=(7, 8, 9)).geometry() is None


def test_image_that_cannot_be_brought_to_size_is_named(files, monkeypatch):
    def fail(self, image):
        raise ValueError("height and width must be > 0")

    monkeypatch.setattr(Preparation, "pixels", fail)
    with pytest.raises(BadImageError, match=r"^X\[0\]: the file .*0\.png', of size \(90, 60\)"):
        prepare(files).complete()


SIZES = [(60, 40), (40, 60), (7, 90), (90, 7), (333, 200), (1, 150)]


@pytest.mark.parametrize("name", CONFIGS)
def test_size_of_the_resized_image_is_known_beforehand(name, monkeypatch):
    preparation = Preparation(CONFIGS[name])
    made = []
    resize = Image.Image.resize

    def spy(image, size, *args, **kwargs):
        # Pillow resizes the rows first: that image is as high as the old one.
        made.append((size[0], max(size[1], image.size[1])))
        return resize(image, size, *args, **kwargs)

    monkeypatch.setattr(Image.Image, "resize", spy)
    for size in SIZES:
        made.clear()
        try:
            preparation.pixels(Image.new(preparation.mode, size))
        except ValueError:
            # Nothing is left of the shorter edge where the longer one is fitted.
            assert name == "border"
            continue
        foretold = preparation._resized(*size)
        if name == "border":
            # Fitted into that size, which is the bound.
            assert (np.array(made) <= foretold).all()
        else:
            np.testing.assert_allclose(made, [foretold], rtol=0, atol=1)


@pytest.mark.parametrize("size", [(1, 3000), (3000, 1)])
def test_narrow_images_are_unreadable(files, tmp_path, monkeypatch, size):
    narrow, less = tmp_path / "narrow.png", tmp_path / "less.png"
    Image.new("RGB", size).save(narrow)
    Image.new("RGB", (min(size[0], 9), min(size[1], 9))).save(less)
    # Both files are small; one of them would be 45 x 135,000 pixels.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100_000)
    resize = Image.Image.resize

    def within(image, size, *args, **kwargs):
        assert size[0] * size[1] <= 200_000
        return resize(image, size, *args, **kwargs)

    monkeypatch.setattr(Image.Image, "resize", within)
    prepared = prepare([files[0], narrow, less], on_bad_image="skip").complete()
    assert list(prepared.unreadable) == [1]
    assert re.search(
        r"narrow\.png'.*pixels are more than 200000.*MAX_IMAGE", prepared.unreadable[1]
    )
    with pytest.raises(BadImageError, match=r"X\[1\]"):
        prepare([files[0], narrow]).complete()
