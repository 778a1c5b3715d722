"""Preparations and photographs that the tests of prepared images share; needs timm."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
from PIL import Image  # noqa: E402

from sklearn_ncti.backbones._images import check_images  # noqa: E402
from sklearn_ncti.backbones._preparation import Preparation  # noqa: E402
from sklearn_ncti.backbones._prepared import PreparedImages  # noqa: E402

CONFIG = {
    "input_size": (3, 40, 40),
    "interpolation": "bicubic",
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "crop_pct": 0.875,
    "crop_mode": "center",
}

CONFIGS = {
    "usual": CONFIG,
    "bilinear": {**CONFIG, "interpolation": "bilinear", "crop_pct": 0.95},
    "not square": {**CONFIG, "input_size": (3, 48, 32)},
    "squash": {**CONFIG, "crop_mode": "squash"},
    "border": {**CONFIG, "crop_mode": "border", "crop_pct": 1.0},
    "grey": {**CONFIG, "input_size": (1, 40, 40), "mean": (0.5,), "std": (0.3,)},
}


def write_files(folder):
    """Write photographs of different sizes and formats, and return their paths."""
    rng = np.random.default_rng(0)
    paths = []
    for i in range(9):
        # Photographs are smooth: noise alone would not tell one resampling from another.
        small = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        path = folder / f"{i}.{'jpg' if i % 2 else 'png'}"
        small.resize((90 - 3 * i, 60 + 5 * i)).save(path)
        paths.append(str(path))
    return paths


def prepare(images, config=CONFIG, **kwargs):
    options = {"num_workers": 2, "on_bad_image": "raise", "budget": 2**30}
    return PreparedImages(check_images(images), Preparation(config), **{**options, **kwargs})


def all_pixels(prepared, size=4):
    return np.concatenate([batch.copy() for batch in prepared.batches(size)])


def whole_transform(config, paths):
    """What goes into the network as timm prepares it, and the 8-bit pixels before that."""
    transform = timm.data.create_transform(**config, is_training=False)
    eight_bit = timm.data.create_transform(**config, is_training=False, normalize=False)
    mode = "L" if config["input_size"][0] == 1 else "RGB"
    images = [Image.open(path).convert(mode) for path in paths]
    return [torch.stack([f(image) for image in images]) for f in (transform, eight_bit)]
