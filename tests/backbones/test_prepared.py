"""Prepared images: timm's own pixels to the last bit, each decoded once, wherever they lie."""

import gc
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
from PIL import Image  # noqa: E402

from sklearn_ncti.backbones import _preparation, _prepared  # noqa: E402
from sklearn_ncti.backbones._images import BadImageError, check_images  # noqa: E402
from sklearn_ncti.backbones._prepared import (  # noqa: E402
    Preparation,
    PreparedImages,
    decode,
)

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


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
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


@pytest.mark.parametrize("workers", [0, 3])
def test_many_walk_over_images_that_are_read_once(files, monkeypatch, workers):
    opened = []
    read = _preparation.read_image
    monkeypatch.setattr(
        _preparation, "read_image", lambda *args: opened.append(args[1]) or read(*args)
    )
    monkeypatch.setattr(_prepared, "_CHUNK", 2)
    prepared = prepare(files, num_workers=workers)
    assert opened == []
    barrier = threading.Barrier(3)

    def walk(size):
        barrier.wait()
        return all_pixels(prepared, size)

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(walk, [1, 4, 100]))
    assert sorted(opened) == list(range(len(files)))
    _, expected = whole_transform(CONFIG, files)
    for pixels in found:
        np.testing.assert_array_equal(pixels, expected.permute(0, 2, 3, 1).numpy())


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="looks at the files of /proc")
def test_beyond_the_budget_pixels_lie_in_a_file_without_a_name(files, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def mapped():
        with open("/proc/self/maps") as lines:
            return [line for line in lines if str(tmp_path) in line]

    prepared = prepare(files, budget=9 * 40 * 40 * 3 - 1)
    pixels = all_pixels(prepared)
    assert len(mapped()) == 1
    assert list(tmp_path.iterdir()) == []
    np.testing.assert_array_equal(pixels, all_pixels(prepare(files, budget=9 * 40 * 40 * 3)))
    prepared.close()
    del prepared
    gc.collect()
    assert mapped() == []


def test_full_disk_is_an_error_that_says_what_to_do(files, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(OSError, match=r"(?s)no room for them.*TMPDIR.*working_memory=1\)"):
        prepare(files, budget=0).complete()


def test_bad_images(files, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(Path(files[1]).read_bytes()[:200])
    paths = [*files[:3], bad, *files[3:], bad]
    prepared = prepare(paths)
    for _ in range(2):
        # Whoever comes later hears of it as well.
        with pytest.raises(BadImageError, match=r"X\[3\].*bad\.jpg"):
            all_pixels(prepared)
    prepared = prepare(paths, on_bad_image="skip")
    pixels = all_pixels(prepared)
    assert sorted(prepared.unreadable) == [3, 10]
    assert "bad.jpg" in prepared.unreadable[10]
    assert (pixels[[3, 10]] == 0).all()
    np.testing.assert_array_equal(np.delete(pixels, [3, 10], axis=0), all_pixels(prepare(files)))


def test_other_processes_get_complete_pixels(files):
    prepared = prepare(files)
    again = pickle.loads(pickle.dumps(prepared))
    assert again.geometry == prepared.geometry
    np.testing.assert_array_equal(all_pixels(again), all_pixels(prepared))


@pytest.mark.parametrize("close", [True, False])
def test_no_thread_is_left(files, close):
    before = threading.active_count()
    prepared = prepare(files)
    next(prepared.batches(1))
    if close:
        prepared.close()
    else:
        prepared.complete()
    batches = decode(check_images(files), Preparation(CONFIG), 2, num_workers=2, unreadable=None)
    next(batches)
    batches.close()
    assert threading.active_count() == before
