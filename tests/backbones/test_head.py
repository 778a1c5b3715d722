"""The classification heads of timm's models, alone and beside their features."""

import json
import pickle

import numpy as np
import pytest
from helpers import FLOAT32_ROUNDING, OF_FLOAT32
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression

from sklearn_ncti import ModelSelector, NCTIScorer
from sklearn_ncti.companions import LEEP, NCE, LogME

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
from PIL import Image  # noqa: E402

from sklearn_ncti import TimmBackbone, TorchBackbone  # noqa: E402
from sklearn_ncti.backbones import _network  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:n = ")

ARCHITECTURES = [
    "test_resnet",
    "test_convnext",
    "test_vit",
    "test_efficientnet",
    "test_mambaout",
    "mobilenetv3_small_050",
]
SCORER = NCTIScorer(n_components=4)


@pytest.fixture(scope="module")
def data():
    """Images of three classes that differ a little in brightness, and their labels."""
    rng = np.random.default_rng(0)
    y = np.arange(48) % 3
    top = (rng.uniform(90, 190, 48) + 30 * y)[:, None, None, None]
    return (rng.random((48, 24, 30, 3)) * top).astype(np.uint8), y


def untrained(name="test_resnet", **parameters):
    return TimmBackbone(name, pretrained=False, device="cpu", **parameters)


def prepared(module, images):
    """What timm's own transform makes of images, as one batch of tensors."""
    config = timm.data.resolve_model_data_config(module)
    transform = timm.data.create_transform(**config, is_training=False)
    return torch.stack([transform(Image.fromarray(image).convert("RGB")) for image in images])


def write(folder, module, num_classes, **more):
    """Keep a network of timm as it reads it from a folder; return its name."""
    folder.mkdir()
    torch.save(module.state_dict(), folder / "pytorch_model.bin")
    config = {"input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 1.0}
    config |= {"num_classes": num_classes, "classifier": "fc", "first_conv": "conv1.0"}
    whole = {"architecture": "test_resnet", "num_classes": num_classes, "pretrained_cfg": config}
    (folder / "config.json").write_text(json.dumps(whole | more))
    return f"local-dir:{folder}"


def made(num_classes, seed=100):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return timm.create_model("test_resnet", num_classes=num_classes)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Networks of five source classes."""
    folder = tmp_path_factory.mktemp("with heads")
    return [write(folder / f"m{i}", made(5, seed=100 + i), 5) for i in range(3)]


@pytest.fixture(scope="module")
def headless(tmp_path_factory):
    return write(tmp_path_factory.mktemp("headless") / "m", made(0), 0)


# --- probabilities alone


def test_probabilities_are_the_softmax_of_timms_logits(data, folders):
    images, _ = data
    backbone = TimmBackbone(folders[0], output="probabilities", device="cpu", batch_size=7)
    found = backbone.fit_transform(images)
    module = timm.create_model(folders[0], pretrained=True).eval()
    with torch.inference_mode():
        expected = torch.softmax(module(prepared(module, images)), -1).numpy()
    assert found.dtype == np.float32
    assert found.shape == expected.shape == (48, 5)
    assert backbone.n_features_out_ == 5
    assert np.ptp(expected, axis=0).max() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1, dtype=float), 1, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_random_heads_sit_on_the_network_that_gives_the_features(data, name):
    images = data[0][:5]
    found = untrained(name, output="probabilities").fit_transform(images)
    backbone = untrained(name).fit(images)
    features = torch.from_numpy(backbone.transform(images))
    whole = untrained(name, output="probabilities").fit(images)._network.module.network
    with torch.inference_mode():
        expected = whole.get_classifier()(features).softmax(-1).numpy()
    np.testing.assert_allclose(found, expected, **FLOAT32_ROUNDING)
    assert found.shape == (5, whole.num_classes)


def test_probabilities_in_bfloat16_add_up_in_float32(data, folders):
    images, _ = data
    full, half = (
        TimmBackbone(
            folders[0], output="probabilities", device="cpu", precision=precision
        ).fit_transform(images)
        for precision in ("float32", "bfloat16")
    )
    assert half.dtype == np.float32
    # Sums of what bfloat16 holds would be off by a thousandth.
    np.testing.assert_allclose(half.sum(axis=1, dtype=float), 1, rtol=0, atol=1e-6)
    assert 0 < np.abs(full - half).max() < 0.05


def test_an_output_that_changes_after_the_fit_needs_another_fit(data, folders):
    backbone = TimmBackbone(folders[0], device="cpu").fit(data[0])
    backbone.set_params(output="probabilities")
    with pytest.raises(ValueError, match="Fit it again after a change of its parameters"):
        backbone.transform(data[0][:2])
    assert backbone.fit(data[0]).transform(data[0][:2]).shape == (2, 5)


def test_rules_of_scikit_learn(data, folders):
    pd = pytest.importorskip("pandas")
    images, _ = data
    backbone = TimmBackbone(folders[0], output="probabilities", device="cpu").fit(images)
    expected = backbone.transform(images)
    names = [f"timmbackbone{i}" for i in range(5)]
    assert backbone.get_feature_names_out().tolist() == names
    found = pickle.loads(pickle.dumps(backbone)).transform(images)
    np.testing.assert_allclose(found, expected, **FLOAT32_ROUNDING)
    again = clone(backbone).set_output(transform="pandas")
    frame = again.fit_transform(images)
    assert isinstance(frame, pd.DataFrame)
    assert frame.columns.tolist() == names
    np.testing.assert_allclose(frame.to_numpy(), expected, **FLOAT32_ROUNDING)
    assert backbone.set_params(output="features").fit(images).n_features_out_ == 96
    with pytest.raises(ValueError, match="'output' parameter"):
        backbone.set_params(output="both").fit(images)


def test_memory_that_runs_out_halves_probabilities_too(data, folders, monkeypatch):
    images, _ = data
    backbone = TimmBackbone(folders[0], output="probabilities", device="cpu", batch_size=16)
    expected = backbone.fit_transform(images)
    run = _network.Network._run

    def running_out(self, part):
        if len(part) > 3:
            raise torch.OutOfMemoryError("out of memory")
        return run(self, part)

    backbone.fit(images)
    monkeypatch.setattr(_network.Network, "_run", running_out)
    with pytest.warns(UserWarning, match="go through the network 2 at a time"):
        found = backbone.transform(images)
    np.testing.assert_allclose(found, expected, **FLOAT32_ROUNDING)


def test_identities_of_outputs_differ(folders):
    features = TimmBackbone(folders[0], device="cpu")
    probabilities = clone(features).set_params(output="probabilities")
    assert probabilities.identity() == {**features.identity(), "output": "probabilities"}
    assert features.identity("probabilities") == probabilities.identity()
    assert probabilities.identity("features") == features.identity()


# --- networks without a head


@pytest.fixture(scope="module")
def without_heads(headless, tmp_path_factory):
    """Names of folders, by what is wrong with them."""
    folder = tmp_path_factory.mktemp("without heads")
    lacking = {name: v for name, v in made(5).state_dict().items() if not name.startswith("fc.")}
    names = {"configured so": headless, "another head": write(folder / "other", made(7), 5)}
    names["weights without one"] = write(folder / "lacking", made(5), 5)
    torch.save(lacking, folder / "lacking" / "pytorch_model.bin")
    # Of these timm would leave the head random.
    names["other classes"] = write(folder / "others", made(5), 5)
    file = folder / "others" / "config.json"
    config = json.loads(file.read_text())
    config["model_args"] = {"num_classes": 6}
    file.write_text(json.dumps(config))
    return names


@pytest.mark.parametrize(
    "kind", ["configured so", "another head", "weights without one", "other classes"]
)
def test_a_model_without_a_head_says_so(data, without_heads, kind):
    backbone = TimmBackbone(without_heads[kind], output="probabilities", device="cpu")
    with pytest.raises(ValueError, match=r"no classification head .* Use output='features'"):
        backbone.fit(data[0])
    # The features are there all the same.
    assert backbone.set_params(output="features").fit_transform(data[0]).shape == (48, 96)


def test_weights_that_have_no_head_are_not_downloaded_for_it(data, monkeypatch):
    monkeypatch.setattr(timm, "create_model", lambda *a, **k: pytest.fail("a model was made"))
    name = next(
        name
        for name in timm.list_models("vit*dino*", pretrained=True)
        if timm.models.get_pretrained_cfg(name).num_classes == 0
    )
    with pytest.raises(ValueError, match="trained without one"):
        TimmBackbone(name, output="probabilities").fit(data[0])


def test_weights_that_are_wrong_altogether_are_no_matter_of_the_head(data, tmp_path):
    other = timm.create_model("test_vit", num_classes=5)
    name = write(tmp_path / "m", other, 5)
    with pytest.raises(ValueError, match="hold nothing for"):
        TimmBackbone(name, output="probabilities", device="cpu").fit(data[0])


# --- scorers of probabilities


class Separating(torch.nn.Module):
    """Sure probabilities of three source classes, by the brightest pixel."""

    def forward(self, x):
        brightest = x.amax((1, 2, 3))[:, None]
        classes = (brightest > torch.tensor([0.5, 0.8])).sum(1)
        return torch.nn.functional.one_hot(classes, 3).float()


def test_a_perfect_head_has_the_best_value_there_is(data, folders):
    y = np.arange(48) % 3
    images = np.empty((48, 8, 8, 3), dtype=np.uint8)
    images[:] = np.array([100, 170, 250])[y, None, None, None]
    perfect = TorchBackbone(
        Separating, input_size=(3, 8, 8), mean=(0.0,) * 3, std=(1.0,) * 3, crop_pct=1.0,
        device="cpu",
    )  # fmt: skip
    # Source classes come in any order.
    order = np.array([2, 0, 1])
    for scorer in (LEEP(), NCE()):
        selector = ModelSelector(
            [("perfect", perfect), *[(f"m{i}", name) for i, name in enumerate(folders)]],
            scorer=scorer,
            refit=False,
        ).fit(images, order[y])
        assert selector.best_name_ == "perfect"
        name = type(scorer).__name__.lower()
        assert selector.results_[name][0] == pytest.approx(0, abs=1e-6)
        assert (selector.results_[name][1:] < -1e-3).all()


@pytest.mark.parametrize("scorer", [LEEP(), NCE()])
@pytest.mark.parametrize("output", ["features", "probabilities"])
def test_a_ranking_by_probabilities(data, folders, headless, scorer, output, tmp_path):
    images, y = data
    models = [
        (f"m{i}", TimmBackbone(name, output=output, device="cpu"))
        for i, name in enumerate([*folders, headless])
    ]
    expected = []
    for name in folders:
        module = timm.create_model(name, pretrained=True).eval()
        with torch.inference_mode():
            P = torch.softmax(module(prepared(module, images)), -1).numpy()
        expected.append(clone(scorer).fit(P, y).score())
    for _ in range(2):
        selector = ModelSelector(models, scorer=scorer, memory=str(tmp_path))
        with pytest.warns(FitFailedWarning, match="1 of 4 candidates failed"):
            selector.fit(images, y)
        results = selector.results_
        column = results[type(scorer).__name__.lower()]
        np.testing.assert_allclose(column[:3], expected, **OF_FLOAT32)
        assert results["n_features"][:3].tolist() == [5] * 3
        assert "no classification head" in results["error"][3]
        assert selector.best_index_ == np.argmax(expected)
        # What the best one gives is what was asked of it.
        width = 5 if output == "probabilities" else 96
        assert selector.transform(images[:2]).shape == (2, width)


@pytest.fixture
def passes(monkeypatch):
    """Images that went through each network, in `extract`."""
    seen = []
    real = TimmBackbone.extract

    def counting(self, images, **kwargs):
        extraction = real(self, images, **kwargs)
        seen.append((self.model[-2:], len(images)))
        return extraction

    monkeypatch.setattr(TimmBackbone, "extract", counting)
    return seen


def expected_of_each(models, images, y):
    """Results of features and of probabilities, each from a selector of its own."""
    options = {"refit": False}
    features = ModelSelector(models, scorer=SCORER, **options).fit(images, y).results_
    heads = [
        (name, clone(backbone).set_params(output="probabilities")) for name, backbone in models
    ]
    return features, {
        "leep": ModelSelector(heads, scorer=LEEP(), **options).fit(images, y).results_["leep"],
        "nce": ModelSelector(heads, scorer=NCE(), **options).fit(images, y).results_["nce"],
    }


@pytest.mark.parametrize("first", [SCORER, LEEP()])
def test_features_and_probabilities_from_one_pass(data, folders, passes, first, tmp_path):
    images, y = data
    models = [(name[-2:], TimmBackbone(name, device="cpu")) for name in folders]
    features, heads = expected_of_each(models, images, y)
    logme = ModelSelector(models, scorer=LogME(), refit=False).fit(images, y).results_["logme"]
    others = [LEEP(), NCE(), LogME()] if first is SCORER else [SCORER, NCE(), LogME()]
    passes.clear()
    options = {"scorer": [first, *others], "refit": False, "memory": str(tmp_path)}
    results = ModelSelector(models, **options).fit(images, y).results_
    assert passes == [(name, 48) for name, _ in models]
    for name in ("leep", "nce"):
        np.testing.assert_allclose(results[name], heads[name], **OF_FLOAT32)
    np.testing.assert_allclose(results["logme"], logme, **OF_FLOAT32)
    if first is SCORER:
        for name in ("seli", "ncc", "vc"):
            np.testing.assert_allclose(results[name], features[name], **OF_FLOAT32)
        for name in ("n_parameters", "n_features"):
            np.testing.assert_array_equal(results[name], features[name])
    else:
        np.testing.assert_allclose(results["nctiscorer"], features["score"], **OF_FLOAT32)
    # Both are kept, each under what it would have been kept under alone.
    passes.clear()
    for output, scorer in (("features", SCORER), ("probabilities", LEEP()), ("features", NCE())):
        alone = [(n, clone(backbone).set_params(output=output)) for n, backbone in models]
        ModelSelector(alone, **{**options, "scorer": scorer}).fit(images, y)
    again = ModelSelector(models, **options).fit(images, y).results_
    assert passes == []
    for name in ("leep", "nce", "score"):
        np.testing.assert_allclose(again[name], results[name], **FLOAT32_ROUNDING)


@pytest.mark.parametrize("kept", ["features", "probabilities"])
def test_only_what_is_missing_is_extracted(data, folders, tmp_path, kept, monkeypatch):
    images, y = data
    models = [(name[-2:], TimmBackbone(name, device="cpu")) for name in folders]
    one, both = (SCORER if kept == "features" else LEEP()), [SCORER, LEEP()]
    expected = ModelSelector(models, scorer=both, refit=False).fit(images, y).results_
    options = {"refit": False, "memory": str(tmp_path)}
    ModelSelector(models, scorer=one, **options).fit(images, y)
    widths = []
    real = TimmBackbone.extract

    def watching(self, images, **kwargs):
        extraction = real(self, images, **kwargs)
        widths.extend(array.shape[1] for array in extraction.arrays.values())
        return extraction

    monkeypatch.setattr(TimmBackbone, "extract", watching)
    results = ModelSelector(models, scorer=both, **options).fit(images, y).results_
    assert widths == [5 if kept == "features" else 96] * 3
    for name in ("seli", "leep"):
        np.testing.assert_allclose(results[name], expected[name], **OF_FLOAT32)
    np.testing.assert_array_equal(results["n_parameters"], expected["n_parameters"])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_one_pass_gives_what_each_output_gives(data, name):
    images, _ = data
    features, probabilities = (
        untrained(name, output=output).fit_transform(images)
        for output in ("features", "probabilities")
    )
    both = untrained(name)
    outputs = ("features", "probabilities")
    extraction = both.extract(images, outputs, on_bad_image="raise")
    assert extraction.arrays.keys() == set(outputs)
    np.testing.assert_allclose(extraction.arrays["features"], features, **FLOAT32_ROUNDING)
    np.testing.assert_allclose(
        extraction.arrays["probabilities"], probabilities, **FLOAT32_ROUNDING
    )
    alone = timm.create_model(name, num_classes=0)
    n_parameters = sum(weight.numel() for weight in alone.parameters())
    assert extraction.n_parameters["features"] == n_parameters
    whole = timm.create_model(name)
    n_parameters = sum(weight.numel() for weight in whole.parameters())
    assert extraction.n_parameters["probabilities"] == n_parameters
    assert both.n_features_out_ == features.shape[1]
    # What served both is not what `transform` needs.
    np.testing.assert_allclose(both.transform(images), features, **FLOAT32_ROUNDING)


def test_tensors_are_split_as_arrays_are(data):
    images, _ = data
    outputs = ("features", "probabilities")
    both = untrained()
    arrays = both.extract(images, outputs, on_bad_image="raise").arrays
    tensors = both.extract(images, outputs, on_bad_image="raise", on_device=True).arrays
    for output in outputs:
        assert isinstance(arrays[output], np.ndarray)
        assert arrays[output].flags.c_contiguous
        assert isinstance(tensors[output], torch.Tensor)
        assert tensors[output].is_contiguous()
        np.testing.assert_allclose(tensors[output], arrays[output], **FLOAT32_ROUNDING)


def test_outputs_that_a_backbone_does_not_give(data):
    images, _ = data
    module = TorchBackbone(torch.nn.Flatten, input_size=(3, 8, 8), device="cpu")
    for backbone, outputs in ((module, ("probabilities",)), (untrained(), ("x",)), (module, ())):
        with pytest.raises(ValueError, match="outputs must be some of"):
            backbone.extract(images, outputs, on_bad_image="raise")


@pytest.mark.parametrize(
    ("output", "responses", "expected"),
    [
        ("features", {"features"}, ("features",)),
        ("features", {"probabilities"}, ("probabilities",)),
        ("features", {"features", "probabilities"}, ("features", "probabilities")),
        ("probabilities", {"features", "probabilities"}, ("probabilities",)),
    ],
)
def test_outputs_that_scorers_need(output, responses, expected):
    assert untrained(output=output).outputs_for(responses) == expected
    assert TorchBackbone(torch.nn.Flatten).outputs_for(responses) == ("features",)


def test_a_missing_head_is_a_missing_value_of_an_additional_scorer(
    data, folders, headless, tmp_path, passes
):
    images, y = data
    models = [(name[-2:], TimmBackbone(name, device="cpu")) for name in [*folders, headless]]
    expected = ModelSelector(models, scorer=SCORER, refit=False).fit(images, y).results_
    for extracted in (8, 0):
        passes.clear()
        selector = ModelSelector(
            models, scorer=[SCORER, LEEP()], refit=False, memory=str(tmp_path)
        )
        with pytest.warns(FitFailedWarning, match=r"missing: leep for 1 candidate\(s\)"):
            results = selector.fit(images, y).results_
        assert len(passes) == extracted // 2
        assert (results["error"] == "").all()
        np.testing.assert_allclose(results["score"], expected["score"], **OF_FLOAT32)
        assert np.isnan(results["leep"]).tolist() == [False] * 3 + [True]
        assert "no classification head" in results["leep_error"][3]
    # Where it ranks, it is the candidate that fails.
    selector = ModelSelector(models, scorer=[LEEP(), SCORER], refit=False)
    with pytest.warns(FitFailedWarning, match="1 of 4 candidates failed"):
        selector.fit(images, y)
    assert "no classification head" in selector.results_["error"][3]


def test_candidates_without_any_head_have_no_leep(data, folders):
    """Features of other kinds are no probabilities, which LEEP itself finds."""
    images, y = data

    def network():
        return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten())

    models = [("timm", TimmBackbone(folders[0], device="cpu"))]
    models.append(("module", TorchBackbone(network, input_size=(3, 8, 8), device="cpu")))
    with pytest.warns(FitFailedWarning, match=r"missing: leep for 1 candidate\(s\)"):
        results = ModelSelector(models, scorer=[SCORER, LEEP()]).fit(images, y).results_
    assert np.isfinite(results["leep"]).tolist() == [True, False]
    assert "must hold probabilities" in results["leep_error"][1]


def test_bad_images_are_left_out_of_both(data, folders, tmp_path):
    images, y = data
    paths = []
    for i, image in enumerate(images):
        paths.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(image).save(paths[-1])
    with open(paths[7], "wb") as file:
        file.write(b"no image")
    good = np.delete(np.arange(48), 7)
    models = [(name[-2:], TimmBackbone(name, device="cpu")) for name in folders]
    options = {"scorer": [SCORER, LEEP()], "refit": False, "on_bad_image": "skip"}
    expected = ModelSelector(models, **options).fit([paths[i] for i in good], y[good]).results_
    for memory in (None, str(tmp_path / "cache"), str(tmp_path / "cache")):
        with pytest.warns(UserWarning, match="1 of 48 images cannot be read"):
            results = ModelSelector(models, memory=memory, **options).fit(paths, y).results_
        np.testing.assert_allclose(results["leep"], expected["leep"], **OF_FLOAT32)
        np.testing.assert_allclose(results["ncc"], expected["ncc"], **OF_FLOAT32)


def test_a_final_estimator_is_fitted_on_features(data, folders):
    images, y = data
    models = [(name[-2:], TimmBackbone(name, device="cpu")) for name in folders]
    final = LogisticRegression(max_iter=5000)
    selector = ModelSelector(models, scorer=[LEEP(), SCORER], final_estimator=final)
    selector.fit(images, y)
    assert selector.best_model_[-1].n_features_in_ == 96
    assert selector.predict(images).shape == (48,)
    assert selector.best_model_[0].output == "features"
