"""Items of a list of models to named transformers."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import FitFailedWarning
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklearn_ncti import (
    HalvingModelSelector,
    ModelSelector,
    NCTIScorer,
    TimmBackbone,
    TorchBackbone,
)
from sklearn_ncti._selection import candidates
from sklearn_ncti._selection.candidates import by_name, named_transformers
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


# --- models of local folders


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Folders that timm can load, but for their weights, in the current folder."""
    pytest.importorskip("timm")
    monkeypatch.chdir(tmp_path)
    for name in ("a/x", "b/x", "mine", "test_vit.r160_in1k"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text('{"architecture": "test_vit"}')
        (folder / "model.safetensors").touch()
    return tmp_path


def test_models_of_local_folders_are_named_by_the_folder(folders):
    backbone = TimmBackbone("local-dir:b/x", batch_size=8)
    items = ["local-dir:a/x", backbone, "local-dir:mine", ("local-dir:own", PCA(2)), PCA(3)]
    found = named_transformers(items)
    assert [name for name, _ in found] == ["a/x", "b/x", "mine", "local-dir:own", "pca"]
    # What loads the weights has the whole name.
    assert found[0][1].model == "local-dir:a/x"
    assert found[1][1] is backbone


def test_a_folder_has_a_name_that_no_other_candidate_has(folders):
    items = ["test_vit*", "local-dir:test_vit.r160_in1k", ("mine", PCA(2)), "local-dir:mine"]
    names = [name for name, _ in named_transformers(items)]
    expected = [f"{folders.name}/test_vit.r160_in1k", "mine", f"{folders.name}/mine"]
    assert names[-3:] == expected
    assert len(set(names)) == len(names)


def test_one_folder_under_two_names_is_one_candidate_too_many(folders):
    with pytest.raises(ValueError, match=r"more than one candidate named \['mine'\]"):
        named_transformers(["local-dir:mine", "local-dir:./mine"])
    pairs = ["local-dir:mine", ("again", "local-dir:mine")]
    assert [name for name, _ in named_transformers(pairs)] == ["mine", "again"]


def test_numbers_by_the_model_are_numbers_by_the_name():
    candidates = [("x", TimmBackbone("local-dir:a/x")), ("r", TimmBackbone("resnet18"))]
    numbers = {"local-dir:a/x": 1.0, "resnet18": 2.0, "of no candidate": 3.0}
    shown = {"x": 1.0, "r": 2.0, "of no candidate": 3.0}
    assert by_name(numbers, candidates) == shown
    assert by_name([numbers, {"r": 4.0}], candidates) == [shown, {"r": 4.0}]
    # A name comes before a model, and a model of two candidates names neither.
    both = {"x": 1.0, "local-dir:a/x": 2.0}
    assert by_name(both, candidates) == both
    named = [("resnet18", PCA(2)), ("r", TimmBackbone("resnet18"))]
    assert by_name({"resnet18": 1.0}, named) == {"resnet18": 1.0}
    twice = [("r", TimmBackbone("resnet18")), ("s", TimmBackbone("resnet18"))]
    assert by_name({"resnet18": 1.0}, twice) == {"resnet18": 1.0}
    for other in (None, "imagenet", 3):
        assert by_name(other, candidates) is other


def test_a_baseline_and_a_prior_may_name_the_model(folders, digits):
    images, y = digits
    selector = ModelSelector(
        ["local-dir:a/x", ("pixels", FunctionTransformer(flatten))],
        baseline={"local-dir:a/x": 1.0, "pixels": 2.0},
        prior={"pixels": 1.0, "local-dir:a/x": 2.0},
    )
    _, _, baseline, prior = selector._check(images, y)
    assert baseline == {"x": 1.0, "pixels": 2.0}
    assert prior == {"x": 2.0, "pixels": 1.0}
    selector.set_params(baseline={"a/x": 1.0})
    with pytest.raises(ValueError, match=r"it has \['a/x'\], and they are \['x', 'pixels'\]"):
        selector.fit(images, y)


def flatten(X):
    return X.reshape(len(X), -1)


# --- devices

MISSING = "cuda:99"


def unbuilt():
    raise AssertionError("a network was built")


@pytest.mark.parametrize("kind", [ModelSelector, HalvingModelSelector])
def test_a_missing_device_is_one_error_before_any_work(digits, kind):
    pytest.importorskip("torch")
    images, y = digits
    networks = [
        (f"n{i}", TorchBackbone(unbuilt, input_size=(3, 8, 8), device=MISSING)) for i in range(3)
    ]
    for models in (networks, networks[:1], [("pixels", Refused()), *networks]):
        selector = kind(models)
        for work in (selector.fit, selector.source_attributes):
            with pytest.raises(ValueError, match=f"^device='{MISSING}' cannot be used") as seen:
                work(images, y)
            assert len(str(seen.value).splitlines()) == 1
            assert seen.value.parameter == "device"


class Refused(StandardScaler):
    """A candidate that must not run."""

    def fit(self, X, y=None):
        raise AssertionError("a candidate has run")


def test_one_network_without_its_device_never_ends_a_ranking(digits):
    torch = pytest.importorskip("torch")
    images, y = digits
    scorer = NCTIScorer(n_components=4)
    bad = ("bad", TorchBackbone(unbuilt, input_size=(3, 8, 8), device=MISSING))
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 8))
    good = ("good", TorchBackbone(module, input_size=(3, 8, 8), device="cpu"))
    pixels = ("pixels", FunctionTransformer(flatten))
    for models in ([bad, good], [bad, pixels]):
        with pytest.warns(FitFailedWarning, match="1 of 2 candidates failed"):
            selector = ModelSelector(models, scorer=scorer, refit=False).fit(images, y)
        assert selector.best_name_ == models[1][0]
        assert f"device='{MISSING}' cannot be used here" in selector.results_["error"][0]
