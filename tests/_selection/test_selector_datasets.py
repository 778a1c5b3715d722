"""ModelSelector over data sets that hold images and labels."""

import numpy as np
import pytest
from helpers import import_datasets
from image_pool import Examples, Image, assert_same, candidates, select, torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression


class Brightness(TransformerMixin, BaseEstimator):
    """A candidate that is no backbone, and takes images one by one."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.array([[np.asarray(image).mean(), np.asarray(image).std()] for image in X])


def test_labels_come_from_the_data_set(data, models, undisturbed):
    examples = Examples(*data)
    selector = select(candidates(models), refit=True, final_estimator=LogisticRegression())
    selector.fit(examples)
    assert_same(selector.results_, undisturbed)
    assert selector.classes_.tolist() == [0, 1, 2]
    # Once for labels, five networks and the final estimator, of one geometry and another fit.
    assert sorted(examples.reads) == [*range(len(examples))]
    predicted = selector.predict(examples)
    np.testing.assert_array_equal(predicted, selector.predict(examples.paths))
    with pytest.raises(ValueError, match=r"y is None.* X is of type list"):
        selector.fit(examples.paths)


def test_labels_that_are_given_are_taken(data, models, undisturbed):
    paths, y = data
    assert_same(select(candidates(models)).fit(Examples(paths, y[::-1]), y).results_, undisturbed)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        select(candidates(models)).fit(Examples(paths, y), y[1:])
    with pytest.raises(TypeError, match=r"DataLoader, which gives batches"):
        select(candidates(models)).fit(torch.utils.data.DataLoader(Examples(paths, y)), y)
    with pytest.raises(TypeError, match=r"generator, which can be read once .*list\(X\)"):
        select(candidates(models)).fit((path for path in paths), y)


def test_features_are_cached_under_the_content(data, models, undisturbed, tmp_path, extracted):
    paths, y = data
    for _ in range(2):
        examples = Examples(paths, y)
        selector = select(candidates(models[:2]), memory=tmp_path / "cache").fit(examples)
        assert sorted(examples.reads) == [*range(len(paths))]
    assert len(extracted) == 2
    assert selector.results_["seli"] == pytest.approx(undisturbed["seli"][:2], rel=1e-4)
    # Other images of the same number.
    select(candidates(models[:1]), memory=tmp_path / "cache").fit(Examples(paths[::-1], y))
    assert len(extracted) == 3


def test_other_candidates_get_the_images(data, models):
    paths, y = data
    pool = [*candidates(models[:1]), ("brightness", Brightness())]
    from_data_set = select(pool).fit(Examples(paths, y)).results_
    from_images = select(pool).fit([Image.open(path) for path in paths], y).results_
    assert_same(from_data_set, from_images)
    assert_same(select(pool).fit(Examples(paths, y), y).results_, from_images)


def test_unreadable_images_of_a_data_set(copied, models):
    datasets = import_datasets()
    paths, y = copied
    with open(paths[7], "wb") as file:
        file.write(b"no image")
    kinds = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    table = datasets.Dataset.from_dict({"image": paths, "label": y}, features=kinds)
    pool = [*candidates(models[:2]), ("brightness", Brightness())]
    selector = select(pool, on_bad_image="skip")
    with pytest.warns(UserWarning, match="1 of 60 images cannot be read"):
        selector.fit(table)
    assert selector.n_skipped_images_ == 1
    assert set(selector.results_["error"]) == {""}
    with pytest.raises(ValueError, match=r"X\[7\]: .* cannot be read as an image"):
        select(pool).fit(table)
