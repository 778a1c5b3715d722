"""HalvingModelSelector over images: only new ones go through networks, whatever happens."""

import os

import numpy as np
import pytest
from helpers import OF_FLOAT32
from sklearn.linear_model import LogisticRegression

from sklearn_ncti import (
    HalvingModelSelector,
    NearestCenterClassifier,
    TimmBackbone,
    rank_features,
)

pytest.importorskip("torch")
pytest.importorskip("timm")

from image_pool import Mean, candidates

# The photographs of three classes: 20 of 60 in the first part, then all.
SCORER = NearestCenterClassifier(n_components=4, cv="loo", shrinkage="scale-free")
HALVING = {"scorer": SCORER, "min_samples": 20, "n_resamples": 40, "refit": False}


@pytest.fixture(scope="module")
def data(hard):
    return hard


@pytest.fixture
def passed(monkeypatch):
    """The number of images that go through each network, by model, in order."""
    seen = []
    real = TimmBackbone.extract

    def counting(self, images, **kwargs):
        seen.append((os.path.basename(self.model), len(images)))
        return real(self, images, **kwargs)

    monkeypatch.setattr(TimmBackbone, "extract", counting)
    return seen


def test_only_new_images_go_through_the_networks(data, models, passed, opened):
    selector = HalvingModelSelector(candidates(models), **HALVING).fit(*data)
    n_first, n_second = selector.n_candidates_
    assert n_first == 5
    assert [n for _, n in passed] == [20] * 5 + [40] * n_second
    # Each image is decoded once, as the networks have one geometry.
    assert len(opened) == len(set(opened)) == 60
    names = [str(name) for name in selector.rankings_[1].results["model"]]
    features = {name: dict(candidates(models))[name].fit_transform(data[0]) for name in names}
    whole = rank_features(features, data[1], scorer=SCORER)
    for name in names:
        assert selector.ranking_.scores[name] == pytest.approx(whole.scores[name], abs=1e-4)


def test_the_first_ranking_is_that_of_the_first_part(data, models):
    paths, y = data
    selector = HalvingModelSelector(candidates(models), **HALVING).fit(paths, y)
    again = HalvingModelSelector(candidates(models), **HALVING).fit(np.array(paths), y)
    np.testing.assert_allclose(selector.results_["score"], again.results_["score"], **OF_FLOAT32)


def test_a_final_estimator_needs_no_image_twice(data, models, passed):
    selector = HalvingModelSelector(
        candidates(models),
        **{**HALVING, "refit": True},
        final_estimator=LogisticRegression(max_iter=5000),
    ).fit(*data)
    n_second = selector.n_candidates_[1]
    assert len(passed) == 5 + n_second
    assert selector.predict(data[0]).shape == (60,)
    assert selector.score(*data) > 0.5


def test_other_candidates_are_fitted_to_every_part(data, models):
    pool = [*candidates(models[:2]), ("mean", Mean())]
    selector = HalvingModelSelector(pool, **HALVING).fit(*data)
    assert selector.n_candidates_[0] == 3
    assert (selector.results_["error"] == "").all()
    reached = dict(zip(selector.results_["model"], selector.results_["n_samples"], strict=True))
    assert reached["mean"] in (20, 60)


def test_unreadable_images_are_left_out_of_every_part(copied, models):
    paths, y = copied
    for i in (0, 7, 31):
        with open(paths[i], "wb") as file:
            file.write(b"no image")
    pool = [*candidates(models[:3]), ("mean", Mean())]
    selector = HalvingModelSelector(pool, on_bad_image="skip", confidence=0.999, **HALVING)
    with pytest.warns(UserWarning, match="They are left out for all candidates"):
        selector.fit(paths, y)
    assert selector.n_skipped_images_ == 3
    assert selector.n_resources_[-1] == 57
    assert (selector.results_["error"] == "").all()


def test_many_at_a_time(data, models):
    one = HalvingModelSelector(candidates(models), **HALVING).fit(*data)
    two = HalvingModelSelector(candidates(models), n_jobs=2, **HALVING).fit(*data)
    assert two.n_candidates_ == one.n_candidates_
    np.testing.assert_allclose(two.results_["score"], one.results_["score"], **OF_FLOAT32)


def test_kept_features_serve_the_next_fit(data, models, tmp_path, passed):
    selector = HalvingModelSelector(candidates(models), memory=str(tmp_path), **HALVING)
    first = selector.fit(*data).results_["score"]
    passed.clear()
    np.testing.assert_allclose(selector.fit(*data).results_["score"], first, atol=1e-12)
    assert passed == []
    # More confidence keeps more candidates, and only what these lack is extracted.
    n_second = selector.n_candidates_[1]
    selector.set_params(confidence=0.999).fit(*data)
    assert len(passed) == selector.n_candidates_[1] - n_second
