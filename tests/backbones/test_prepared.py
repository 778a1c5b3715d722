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
from preparations import CONFIG, all_pixels, prepare, whole_transform, write_files  # noqa: E402

from sklearn_ncti.backbones import _preparation, _prepared  # noqa: E402
from sklearn_ncti.backbones._images import BadImageError, check_images  # noqa: E402
from sklearn_ncti.backbones._prepared import (  # noqa: E402
    Preparation,
    decode,
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("images"))


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
