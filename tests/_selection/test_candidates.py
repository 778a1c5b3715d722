"""Items of a list of models to named transformers."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from sklearn_ncti import ModelSelector, TimmBackbone
from sklearn_ncti._selection import candidates
from sklearn_ncti._selection.candidates import named_transformers
from sklearn_ncti.datasets import Catalogue, load_catalogue


@pytest.fixture(scope="module")
def digits():
    """Handwritten digits as uint8 images: enough rows for a handful of components."""
    X, y = load_digits(return_X_y=True)
    keep = y < 3
    return (X[keep] * 15.9375).astype(np.uint8).reshape(-1, 8, 8)[:150], y[keep][:150]


def test_names():
    items = [PCA(2), ("mine", PCA(3)), PCA(4), StandardScaler()]
    names = [name for name, _ in named_transformers(items)]
    assert names == ["pca-1", "mine", "pca-2", "standardscaler"]


def test_wildcards_expand_to_pretrained_names_in_order():
    timm = pytest.importorskip("timm")
    items = ["test_vit*", "test_vit.r160_in1k", "test_resnet.r160_in1k"]
    names = [name for name, _ in named_transformers(items)]
    assert names == [*timm.list_models("test_vit*", pretrained=True), "test_resnet.r160_in1k"]
    with pytest.raises(ValueError, match="more than one candidate named"):
        named_transformers(["test_vit.r160_in1k"] * 2)


def test_names_are_checked_before_anything_is_built(digits, monkeypatch):
    timm = pytest.importorskip("timm")
    images, y = digits

    def fail(*args, **kwargs):
        raise AssertionError("a network was built")

    monkeypatch.setattr(timm, "create_model", fail)
    for models in (["resnet18", "resnet5O"], ["resnet18", ("x", TimmBackbone("resnet5O"))]):
        with pytest.raises(ValueError, match=r"^unknown model 'resnet5O'.*resnet50"):
            ModelSelector(models).fit(images, y)
    with pytest.raises(ValueError, match=r"^model 'local-dir:nowhere': there is no folder"):
        ModelSelector(["resnet18", "local-dir:nowhere"]).fit(images, y)


@pytest.fixture
def catalogued(monkeypatch):
    """Put names into the catalogue that no timm knows; return what adds them."""

    def add(*names):
        names = np.array([*load_catalogue()["name"], *names], dtype=object)
        monkeypatch.setattr(
            candidates, "load_catalogue", lambda: Catalogue({"name": names}, source="a test")
        )

    return add


def test_models_that_timm_has_dropped_are_left_out_with_a_count(catalogued):
    pytest.importorskip("timm")
    catalogued("resnet18.dropped_in1k", "dropped_net.in1k")
    items = ["dropped_net.in1k", "test_vit.r160_in1k", ("mine", PCA(2)), "resnet18.dropped_in1k"]
    with pytest.warns(UserWarning, match="2 of 4 models are in the catalogue but unknown") as seen:
        found = named_transformers(items)
    assert [name for name, _ in found] == ["test_vit.r160_in1k", "mine"]
    assert "left out: dropped_net.in1k, resnet18.dropped_in1k." in str(seen[0].message)
    with pytest.raises(ValueError, match="1 of 1 models are in the catalogue but unknown"):
        named_transformers(["dropped_net.in1k"])
    # A name that is in neither is an error, as before.
    with pytest.raises(ValueError, match="unknown model 'resnet5O'"):
        named_transformers(["test_vit.r160_in1k", "resnet5O"])
