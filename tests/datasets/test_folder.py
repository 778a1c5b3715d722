"""Paths and labels from a folder of classes."""

import os
import pickle
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


EXTENSIONS = [".apng", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png"]
EXTENSIONS += [".pnm", ".ppm", ".tif", ".tiff", ".webp"]


@pytest.mark.parametrize("extension", [*EXTENSIONS, ".PNG", ".Tif"])
def test_extensions(tmp_path, extension):
    make(tmp_path, f"a/1{extension}", f"b/1{extension}")
    assert len(load_image_folder(tmp_path)[0]) == 2


def test_pillow_reads_these_extensions_by_itself():
    image = pytest.importorskip("PIL.Image")
    assert set(EXTENSIONS) <= set(image.registered_extensions())


def test_images_that_are_left_out_are_counted(tmp_path):
    make(tmp_path, *(f"a/{i}.HEIC" for i in range(3)), "a/deep/1.avif", "a/1.png")
    make(tmp_path, "b/1.png", "b/2.heic", "b/notes.txt", "b/.3.heic")
    with pytest.warns(UserWarning, match=r"not read: 1 \.avif, 4 \.heic\. Convert") as caught:
        paths, _ = load_image_folder(tmp_path)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert names_of(paths, tmp_path) == ["a/1.png", "b/1.png"]


def test_class_of_images_that_are_not_read(tmp_path):
    make(tmp_path, "a/1.png", "b/1.heic", "b/2.heic")
    with pytest.raises(ValueError, match=r"class 'b' has no images.*Not read: 2 \.heic\."):
        load_image_folder(tmp_path)


def make_splits(folder, *splits):
    make(folder, *(f"{split}/{name}/1.png" for split in splits for name in ("cat", "dog")))


@pytest.mark.parametrize(
    ("splits", "suggested"),
    [
        (("train", "validation", "test"), "train"),
        (("Train", "VAL"), "Train"),
        (("valid", "test"), "test"),
        # One that has such a name, next to a class.
        (("train",), "train"),
    ],
)
def test_splits_are_no_classes(tmp_path, splits, suggested):
    make_splits(tmp_path, *splits)
    make(tmp_path, "bird/1.png")
    seen = rf"holds {', '.join(map(repr, sorted(splits)))}, which look like splits"
    with pytest.raises(ValueError, match=rf"{seen}.*split='{suggested}'"):
        load_image_folder(tmp_path)
    paths, labels = load_image_folder(tmp_path, split=suggested)
    assert names_of(paths, tmp_path) == [f"{suggested}/cat/1.png", f"{suggested}/dog/1.png"]
    assert labels.tolist() == ["cat", "dog"]


def test_splits_of_images_without_classes(tmp_path):
    make(tmp_path, "train/1.png", "test/1.png")
    with pytest.raises(ValueError, match="look like splits"):
        load_image_folder(tmp_path)
    with pytest.raises(ValueError, match=r"1\.png' lies in no class"):
        load_image_folder(tmp_path, split="train")


def test_classes_with_the_name_of_a_split(tmp_path):
    make(tmp_path, "bus/1.png", "train/1.png", "train/steam/2.png")
    assert load_image_folder(tmp_path)[1].tolist() == ["bus", "train", "train"]
    make(tmp_path, "test/1.png")
    paths, labels = load_image_folder(tmp_path, split=".")
    assert labels.tolist() == ["bus", "test", "train", "train"]
    assert len(paths) == 4


def test_data_sets_are_no_classes(tmp_path):
    for name in ("digits", "clothing"):
        make_splits(tmp_path / name, "train", "test")
    with pytest.raises(ValueError, match=r"holds 'clothing', 'digits': .* split='clothing'"):
        load_image_folder(tmp_path)
    with pytest.raises(ValueError, match=r"look like splits.* split='digits/train'"):
        load_image_folder(tmp_path, split="digits")
    paths, _ = load_image_folder(tmp_path, split="digits/train")
    assert names_of(paths, tmp_path) == ["digits/train/cat/1.png", "digits/train/dog/1.png"]
    assert load_image_folder(tmp_path, split=".")[1].tolist() == ["clothing"] * 4 + ["digits"] * 4


def test_one_level_above_the_classes(tmp_path):
    make(tmp_path, *(f"photos/{i}/1.png" for i in range(9)))
    with pytest.raises(ValueError, match="split='photos'"):
        load_image_folder(tmp_path)
    assert len(load_image_folder(tmp_path, split="photos")[0]) == 9


def test_classes_that_hold_one_folder_each(tmp_path):
    make(tmp_path, "a/images/1.png", "b/images/1.png")
    assert load_image_folder(tmp_path)[1].tolist() == ["a", "b"]


@pytest.mark.parametrize("split", ["absent", "../data/train", "train/cat/1.png", ""])
def test_split_that_is_no_folder_inside(tmp_path, split):
    make_splits(tmp_path / "data", "train", "test")
    with pytest.raises(ValueError, match=r"split='.*' is no sub-folder .* holds 'test', 'train'"):
        load_image_folder(tmp_path / "data", split=split)
    with pytest.raises(ValueError, match="no sub-folder"):
        load_image_folder(tmp_path / "data", split=str(tmp_path / "data" / "train"))
    with pytest.raises(TypeError, match="split must be the name"):
        load_image_folder(tmp_path / "data", split=1)


def test_refusal_of_splits_crosses_processes(tmp_path):
    make_splits(tmp_path, "train", "test")
    with pytest.raises(ValueError, match="splits") as caught:
        load_image_folder(tmp_path)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


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


def link(path, target):
    try:
        path.symlink_to(target)
    except OSError:
        pytest.skip("this system makes no links")


@pytest.mark.parametrize("target", ["..", "../..", "../../data/a/../.."])
def test_link_to_all_classes(tmp_path, target):
    make(tmp_path, "data/a/1.png", "data/b/1.png")
    link(tmp_path / "data" / "a" / "up", target)
    with pytest.raises(ValueError, match=r"a.up' in the class 'a' is a link to .*all the classes"):
        load_image_folder(tmp_path / "data")


@pytest.mark.parametrize(
    ("place", "target"),
    [
        # Another class, a part of it, and what holds it.
        ("data/a/more", "data/b"),
        ("data/a/deep/more", "data/b/x"),
        ("data/a/more", "data/b/x/y"),
        ("data/c", "data/b"),
        ("data/c", "data/b/x"),
    ],
)
def test_link_into_another_class(tmp_path, place, target):
    make(tmp_path, "data/a/1.png", "data/a/deep/1.png", "data/b/x/y/1.png", "data/b/1.png")
    link(tmp_path / place, tmp_path / target)
    with pytest.raises(
        ValueError, match=r"is the same folder as .* An image has one class"
    ) as got:
        load_image_folder(tmp_path / "data")
    # Both are named.
    assert repr(os.fspath(tmp_path / place)) in str(got.value)
    assert str(tmp_path / "data" / "b") in str(got.value)


def test_links_of_two_classes_to_one_folder(tmp_path):
    make(tmp_path, "data/a/1.png", "data/b/1.png", "store/1.png", "store/x/1.png")
    link(tmp_path / "data" / "a" / "all", tmp_path / "store")
    link(tmp_path / "data" / "b" / "some", tmp_path / "store" / "x")
    with pytest.raises(ValueError, match=r"some' in the class 'b' is the same folder as .*all.x'"):
        load_image_folder(tmp_path / "data")


@pytest.mark.parametrize("name", ["a/1.jpg", "a/sub", "c"])
def test_broken_links(tmp_path, name):
    make(tmp_path, "a/0.png", "b/1.png")
    link(tmp_path / name, tmp_path / "nowhere")
    with pytest.raises(ValueError, match=rf"{Path(name).name}' is a broken link \(No such file"):
        load_image_folder(tmp_path)


def test_link_to_itself(tmp_path):
    make(tmp_path, "a/0.png", "b/1.png")
    link(tmp_path / "a" / "loop.png", "loop.png")
    with pytest.raises(ValueError, match=r"loop\.png' is a broken link \(Too many levels"):
        load_image_folder(tmp_path)


def test_links_to_images_are_followed(tmp_path):
    make(tmp_path, "data/a/0.png", "data/b/1.png", "store/2.png")
    link(tmp_path / "data" / "a" / "2.png", tmp_path / "store" / "2.png")
    assert len(load_image_folder(tmp_path / "data")[0]) == 3


def test_pipe_among_images(tmp_path):
    make(tmp_path, "a/0.png", "b/1.png")
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no pipes")
    os.mkfifo(tmp_path / "a" / "notes.txt")
    assert len(load_image_folder(tmp_path)[0]) == 2
    os.mkfifo(tmp_path / "a" / "1.png")
    with pytest.raises(ValueError, match=r"1\.png' is no regular file, but a pipe, socket or dev"):
        load_image_folder(tmp_path)


@pytest.mark.parametrize("name", ["", "b", "b/deep"])
def test_folder_that_cannot_be_read(tmp_path, monkeypatch, name):
    make(tmp_path, "a/0.png", "b/1.png", "b/deep/2.png")
    scandir = os.scandir

    def guarded(path):
        if Path(path) == tmp_path / name:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    reason = rf"{Path(tmp_path, name).name}' cannot be read \(Permission denied\)"
    with pytest.raises(ValueError, match=reason):
        load_image_folder(tmp_path)


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
