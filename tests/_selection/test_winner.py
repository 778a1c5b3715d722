"""ModelSelector.to_timm: a candidate as a network of timm with a new head."""

import numpy as np
import pytest
from helpers import FLOAT32_ROUNDING
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from sklearn_ncti import ModelSelector, NCTIScorer, TextBackbone, TimmBackbone, TorchBackbone
from sklearn_ncti._selection.winner import timm_candidate

PRETRAINED = TimmBackbone("test_resnet", pretrained=False)


def test_a_candidate_is_found_by_its_name():
    assert timm_candidate({"pca": PCA(), "net": PRETRAINED}, "net") is PRETRAINED


def test_an_unknown_name_is_refused():
    message = r"candidate must be one of \['pca', 'net'\], got 'other'"
    with pytest.raises(ValueError, match=message):
        timm_candidate({"pca": PCA(), "net": PRETRAINED}, "other")


@pytest.mark.parametrize(
    ("model", "advice"),
    [
        (PCA(), ""),
        (make_pipeline(PRETRAINED, PCA()), ""),
        (TorchBackbone("network.pt2"), "Fine-tune the module of the candidate itself"),
        (TextBackbone("owner/name"), "the report has code that fine-tunes it"),
    ],
)
def test_what_is_no_model_of_timm_is_refused_by_name(model, advice):
    with pytest.raises(TypeError) as caught:
        timm_candidate({"other": model, "net": PRETRAINED}, "other")
    text = str(caught.value)
    assert f"the candidate 'other' is a {type(model).__name__}, and only a TimmBackbone" in text
    assert advice in text
    assert "candidate=... takes the name of a model of timm, which ['net'] are." in text
    with pytest.raises(TypeError, match="is a model of timm") as caught:
        timm_candidate({"other": model}, "other")
    assert "candidate=..." not in str(caught.value)


def test_a_matrix_has_no_network_and_an_unfitted_selector_no_best():
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    X = rng.normal(size=(40, 6)) + y[:, None]
    selector = ModelSelector([("2", PCA(2)), ("1", PCA(1))], scorer=NCTIScorer(2))
    with pytest.raises(NotFittedError):
        selector.to_timm()
    with pytest.raises(TypeError, match=f"'{selector.fit(X, y).best_name_}' is a PCA"):
        selector.to_timm()


@pytest.fixture
def fitted(data, models):
    """A selector that has ranked photographs of three classes, without a refit."""
    pytest.importorskip("timm")
    from image_pool import candidates, select

    return select(candidates(models)).fit(*data)


def features_before_head(network, data_config, paths):
    """Features as timm defines them, of images as timm prepares them."""
    import timm
    import torch
    from PIL import Image

    transform = timm.data.create_transform(**data_config)
    batch = torch.stack([transform(Image.open(path).convert("RGB")) for path in paths])
    with torch.inference_mode():
        maps = network.eval().forward_features(batch)
        return network.forward_head(maps, pre_logits=True).numpy(), network(batch).numpy()


def test_the_features_are_those_that_were_ranked(fitted, data):
    paths = data[0][:7]
    network, data_config = fitted.to_timm()
    assert network.training
    assert all(weight.requires_grad for weight in network.parameters())
    found, logits = features_before_head(network, data_config, paths)
    best = dict(fitted.models)[fitted.best_name_]
    np.testing.assert_allclose(found, clone(best).fit_transform(paths), **FLOAT32_ROUNDING)
    # Without a number: one output for each of the three classes.
    assert logits.shape == (7, 3)


def test_another_candidate_and_another_head(fitted, data):
    paths = data[0][:3]
    _, second = fitted.ranking_.shortlist(2)
    network, data_config = fitted.to_timm(11, candidate=second)
    found, logits = features_before_head(network, data_config, paths)
    expected = clone(dict(fitted.models)[second]).fit_transform(paths)
    np.testing.assert_allclose(found, expected, **FLOAT32_ROUNDING)
    assert logits.shape == (3, 11)
    # Each model of this pool has a mean of its own.
    assert data_config["mean"] == pytest.approx([0.1 * int(second[1:])] * 3)
    # Without a head, the outputs are the features.
    network, _ = fitted.to_timm(np.int64(0), candidate=second)
    assert features_before_head(network, data_config, paths)[1].shape == expected.shape


def test_after_halving(data, models):
    pytest.importorskip("timm")
    from image_pool import SCORER, candidates

    from sklearn_ncti import HalvingModelSelector

    selector = HalvingModelSelector(
        candidates(models[:3]), scorer=SCORER, refit=False, min_samples=30, n_resamples=40
    ).fit(*data)
    network, _ = selector.to_timm()
    assert network.num_classes == 3


def test_real_numbers_have_one_output(data, models):
    pytest.importorskip("timm")
    from image_pool import candidates, select

    from sklearn_ncti.companions import LogME

    paths, labels = data
    numbers = labels + np.random.default_rng(0).normal(size=len(labels))
    selector = select(candidates(models[:2]), scorer=LogME(task="regression"))
    network, _ = selector.fit(paths, numbers).to_timm()
    assert network.num_classes == 1
