"""Examples of the classes that a fitted selector keeps, and the report that shows them."""

import io
import pickle

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError

from sklearn_ncti import ModelSelector
from sklearn_ncti._scoring.scorers import check_scorers
from sklearn_ncti._selection.context import FitContext
from sklearn_ncti._selection.examples import summarize
from sklearn_ncti.datasets import load_zoo

# Side of the largest example, in pixels.
SIDE = 96


def context_of(images, y, unreadable=()):
    return FitContext(
        images,
        np.asarray(y),
        check_scorers(None),
        images=images,
        unreadable=dict.fromkeys(unreadable, "broken"),
    )


def opened(example):
    pil = pytest.importorskip("PIL.Image")
    return pil.open(io.BytesIO(example))


@pytest.fixture
def files(tmp_path):
    """Ten images of each of two classes; every image has a gray value of its own."""
    pil = pytest.importorskip("PIL.Image")
    paths = []
    for i in range(20):
        paths.append(str(tmp_path / f"{i:02}.png"))
        pil.new("L", (200, 100), color=10 * i).save(paths[-1])
    return paths, np.repeat(["a", "b"], 10)


def test_only_paths_are_kept_of_files(files):
    paths, y = files
    summary = summarize(context_of(paths, y))
    assert summary.classes.tolist() == ["a", "b"]
    assert summary.counts.tolist() == [10, 10]
    for i, own in enumerate((paths[:10], paths[10:])):
        assert set(summary.examples[i]) <= set(own)
        assert len(set(summary.examples[i])) == 8
    assert len(pickle.dumps(summary)) < 10_000


def test_four_examples_of_each_class_are_shown(files):
    paths, y = files
    data = summarize(context_of(paths, y)).for_report()
    assert {i: len(images) for i, images in data.examples.items()} == {0: 4, 1: 4}
    for i, images in data.examples.items():
        for example in images:
            image = opened(example)
            assert image.size == (SIDE, SIDE // 2)
            # The images of the second class are the brighter ones.
            assert (np.asarray(image).mean() > 95) == (i == 1)


def test_files_that_cannot_be_read_any_more_are_left_out(files):
    paths, y = files
    summary = summarize(context_of(paths, y))
    for path in summary.examples[0][:6]:
        with open(path, "w") as file:
            file.write("no image")
    assert [len(summary.for_report().examples[i]) for i in (0, 1)] == [2, 4]


def test_unreadable_images_are_no_examples(files):
    paths, y = files
    summary = summarize(context_of(paths, y, unreadable=range(8)))
    assert summary.counts.tolist() == [2, 10]
    assert summary.n_skipped == 8
    assert set(summary.examples[0]) == set(paths[8:10])


def test_small_copies_are_kept_of_arrays():
    pytest.importorskip("PIL.Image")
    images = np.zeros((6, 400, 300, 3), dtype=np.uint8)
    images[3:] = 255
    summary = summarize(context_of(images, [0, 0, 0, 1, 1, 1]))
    for i, mean in enumerate((0, 255)):
        assert len(summary.examples[i]) == 3
        for example in summary.examples[i]:
            assert opened(example).size == (SIDE * 3 // 4, SIDE)
            assert np.asarray(opened(example)).mean() == pytest.approx(mean, abs=2)


def test_many_classes_have_no_more_examples_than_a_reader_wants():
    pytest.importorskip("PIL.Image")
    y = np.arange(60) % 30
    data = summarize(context_of(np.zeros((60, 8, 8), dtype=np.uint8), y)).for_report()
    assert sorted(data.examples) == list(range(24))
    assert len(data.classes) == 30


def test_a_report_of_a_selector_of_images(files, tmp_path):
    pytest.importorskip("timm")
    paths, y = files
    file = tmp_path / "report.html"
    selector = ModelSelector(load_zoo()[:2], scorer="robust", refit=False)
    with pytest.raises(NotFittedError):
        selector.report(file)
    with pytest.warns(UserWarning, match="rows are few|do not vary"):
        selector.fit(paths, y)
    # A selector that was stored has what the report needs.
    pickle.loads(pickle.dumps(selector)).report(file)
    text = file.read_text(encoding="utf-8")
    assert text.count("<img ") == 8
    model = dict(load_zoo())[selector.best_name_].model
    assert f"num_classes={len(selector.classes_)})" in text
    assert model in text
    assert "<dt>scorer</dt><dd>robust</dd>" in text
    with pytest.raises(FileExistsError, match="overwrite=True"):
        selector.report(file)
    selector.report(file, settings={"source": "attic"}, overwrite=True)
    text = file.read_text(encoding="utf-8")
    assert "<dt>source</dt><dd>attic</dd>" in text
    assert "<dt>scorer</dt>" not in text


def test_a_report_of_a_selector_of_other_rows(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    X = rng.normal(size=(90, 6)) + 3 * np.eye(6)[y]
    selector = ModelSelector([("three", PCA(3)), ("two", PCA(2))], refit=False).fit(X, y)
    file = tmp_path / "report.html"
    selector.report(file)
    text = file.read_text(encoding="utf-8")
    assert "2 candidates ranked on 90 rows of 3 classes" in text
    assert "<img " not in text
    assert f"Where {selector.best_name_} is the name of a timm model" in text
