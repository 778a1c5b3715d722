"""Paths and labels from a folder of classes."""

import os
from pathlib import Path

import numpy as np
import pytest

from sklearn_ncti.datasets import load_image_folder


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names_of(paths, folder):
    return [Path(path).relative_to(folder).as_posix() for path in paths]


def test_classes_and_files_are_sorted(tmp_path):
    make(tmp_path, "b/2.png", "b/10.png", "a/z/1.jpg", "a/c.JPG", "a/y/9.webp", "a/.hid.png")
    make(tmp_path, "b/notes.txt", "b/.thumbs/1.png", ".git/1.png", "README.md", "b/noextension")
    paths, labels = load_image_folder(tmp_path)
    assert names_of(paths, tmp_path) == [
        "a/c.JPG",
        "a/y/9.webp",
        "a/z/1.jpg",
        "b/10.png",
        "b/2.png",
    ]
    assert labels.tolist() == ["a"] * 3 + ["b"] * 2
    assert isinstance(paths, list)
    assert all(type(path) is str for path in paths)
    assert isinstance(labels, np.ndarray)
    assert labels.dtype.kind == "U"


EXTENSIONS = [".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"]


@pytest.mark.parametrize("extension", [*EXTENSIONS, ".PNG", ".Tif"])
def test_extensions(tmp_path, extension):
    make(tmp_path, f"a/1{extension}", f"b/1{extension}")
    assert len(load_image_folder(tmp_path)[0]) == 2


def test_relative_folder_stays_relative(tmp_path, monkeypatch):
    make(tmp_path, "data/a/1.png", "data/b/1.png")
    monkeypatch.chdir(tmp_path)
    paths, _ = load_image_folder("data")
    assert paths == [os.path.join("data", "a", "1.png"), os.path.join("data", "b", "1.png")]


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(1, [0]), (2, [0, 5]), (3, [0, 3, 6]), (9, [0, 1, 2, 3, 4, 5, 6, 7, 8]), (10, range(10))],
)
def test_limit_is_evenly_spaced(tmp_path, limit, expected):
    make(tmp_path, *(f"a/{i}.png" for i in range(10)), "b/0.png")
    paths, labels = load_image_folder(tmp_path, limit_per_class=limit)
    assert names_of(paths, tmp_path) == [f"a/{i}.png" for i in expected] + ["b/0.png"]
    assert labels.tolist() == ["a"] * len(expected) + ["b"]


def test_limit_above_the_number_takes_all(tmp_path):
    make(tmp_path, "a/1.png", "a/2.png", "b/1.png")
    assert len(load_image_folder(tmp_path, limit_per_class=np.int64(100))[0]) == 3


def test_links(tmp_path):
    make(tmp_path, "store/x/1.png", "data/b/1.png")
    try:
        (tmp_path / "data" / "a").symlink_to(tmp_path / "store")
        (tmp_path / "store" / "x" / "back").symlink_to(tmp_path / "store")
    except OSError:
        pytest.skip("this system makes no links")
    paths, labels = load_image_folder(tmp_path / "data")
    assert names_of(paths, tmp_path / "data") == ["a/x/1.png", "b/1.png"]
    assert labels.tolist() == ["a", "b"]


def test_folder_is_missing_or_none(tmp_path):
    with pytest.raises(ValueError, match=r"absent.*does not exist"):
        load_image_folder(tmp_path / "absent")
    make(tmp_path, "file.png")
    with pytest.raises(ValueError, match=r"file\.png.*is not a folder"):
        load_image_folder(tmp_path / "file.png")
    with pytest.raises(TypeError):
        load_image_folder(3)


def test_too_few_classes(tmp_path):
    with pytest.raises(ValueError, match="two classes; it holds none"):
        load_image_folder(tmp_path)
    make(tmp_path, "only/1.png")
    with pytest.raises(ValueError, match="two classes; it holds only 'only'"):
        load_image_folder(tmp_path)


def test_class_without_images(tmp_path):
    make(tmp_path, "a/1.png", "b/1.png", "empty/notes.txt")
    with pytest.raises(ValueError, match=r"class 'empty' has no images.*\.jpg"):
        load_image_folder(tmp_path)


def test_image_outside_of_any_class(tmp_path):
    make(tmp_path, "a/1.png", "b/1.png", "stray.png")
    with pytest.raises(ValueError, match=r"stray\.png.*no class"):
        load_image_folder(tmp_path)


def test_bad_limits(tmp_path):
    make(tmp_path, "a/1.png", "b/1.png")
    for wrong in (0, -3):
        with pytest.raises(ValueError, match=rf"at least 1; got {wrong}"):
            load_image_folder(tmp_path, limit_per_class=wrong)
    for wrong in (1.5, "2", True):
        with pytest.raises(TypeError, match="limit_per_class must be an integer"):
            load_image_folder(tmp_path, limit_per_class=wrong)


def test_real_folder(shared):
    folder = shared / "real" / "images" / "sign_digits"
    paths, labels = load_image_folder(folder / "train", limit_per_class=20)
    assert np.unique(labels).tolist() == [str(digit) for digit in range(10)]
    assert len(paths) == 200
    assert all(Path(path).parent.name == label for path, label in zip(paths, labels, strict=True))
