"""Labelled images from whatever a path names."""

import numpy as np
import pytest
from helpers import import_datasets

from sklearn_ncti.datasets import load_image_folder, load_image_table, load_images

NAMES = ["ant", "bee"]


@pytest.fixture
def folder(tmp_path):
    for file in ("ant/1.png", "ant/2.png", "bee/1.png"):
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


@pytest.fixture
def dataset(tmp_path):
    """A data set of eight pictures in two classes, and where it can be saved."""
    datasets = import_datasets()
    Image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (8, 5, 4, 3), dtype=np.uint8)
    examples = {"picture": [Image.fromarray(p) for p in pixels], "kind": [0, 1] * 4}
    features = {"picture": datasets.Image(), "kind": datasets.ClassLabel(names=NAMES)}
    table = datasets.Dataset.from_dict(examples, features=datasets.Features(features))
    return table, pixels, tmp_path / "saved"


def pixels_of(images):
    return np.stack([np.asarray(image) for image in images])


def test_a_folder_of_classes(folder):
    paths, labels = load_images(folder, limit_per_class=1)
    expected, names = load_image_folder(folder, limit_per_class=1)
    assert paths == expected
    assert labels.tolist() == names.tolist() == NAMES
    for column in ("images", "labels"):
        with pytest.raises(ValueError, match=f"^{column}='x' is a column of a table or data set"):
            load_images(folder, **{column: "x"})


def test_a_table(folder):
    table = folder / "t.csv"
    table.write_text("file,kind\nant/1.png,a\nbee/1.png,b\n")
    paths, labels = load_images(str(table), labels="kind")
    assert paths == load_image_table(table, labels="kind")[0]
    assert labels.tolist() == ["a", "b"]


def test_a_saved_data_set(dataset):
    table, pixels, path = dataset
    table.save_to_disk(str(path))
    images, labels = load_images(path)
    np.testing.assert_array_equal(pixels_of(images), pixels)
    assert labels.tolist() == NAMES * 4
    images, labels = load_images(path, images="picture", labels="kind", limit_per_class=2)
    # Evenly spaced in each class.
    np.testing.assert_array_equal(pixels_of(images), pixels[[0, 1, 4, 5]])
    assert labels.tolist() == NAMES * 2


def test_splits_of_a_saved_data_set(dataset):
    table, pixels, path = dataset
    datasets = import_datasets()
    parts = {"test": table.select(range(2)), "train": table.select(range(2, 8))}
    datasets.DatasetDict(parts).save_to_disk(str(path))
    with pytest.raises(ValueError, match=r"splits 'test', 'train'.*with split='train'"):
        load_images(path)
    np.testing.assert_array_equal(pixels_of(load_images(path, split="train")[0]), pixels[2:])
    np.testing.assert_array_equal(pixels_of(load_images(path, split=".")[0]), pixels)
    with pytest.raises(ValueError, match=r"split='dev' is no split.*'test', 'train'"):
        load_images(path, split="dev")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"images": "x"}, r"column of the images in .* is none named 'x'; its columns are 'pict"),
        ({"labels": "x"}, r"column of the labels in .* is none named 'x'"),
        ({"images": "kind"}, r"images='kind' of .* has the type ClassLabel, not Image"),
        ({"split": "train"}, "has no splits"),
        ({"limit_per_class": 0}, "limit_per_class must be at least 1"),
    ],
)
def test_what_a_saved_data_set_lacks(dataset, options, reason):
    table, _, path = dataset
    table.save_to_disk(str(path))
    with pytest.raises(ValueError, match=reason):
        load_images(path, **options)


def test_data_sets_that_cannot_be_ranked_on(dataset):
    table, _, path = dataset
    table.select([0, 2]).save_to_disk(str(path / "one"))
    with pytest.raises(ValueError, match="at least two classes"):
        load_images(path / "one")
    table.add_column("other", [""] * 8).select_columns(["other"]).save_to_disk(str(path / "no"))
    with pytest.raises(ValueError, match=r"column of the images in .* is not known"):
        load_images(path / "no")
    (path / "bad").mkdir()
    (path / "bad" / "state.json").write_text("{")
    with pytest.raises(ValueError, match="bad' cannot be read"):
        load_images(path / "bad")
