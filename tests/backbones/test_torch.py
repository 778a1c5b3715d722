"""TorchBackbone against the module run by hand."""

import copy
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from helpers import FLOAT32_ROUNDING
from sklearn.base import clone
from sklearn.utils import estimator_checks
from sklearn.utils.fixes import parse_version

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
from PIL import Image  # noqa: E402
from torch import nn  # noqa: E402

from sklearn_ncti.backbones import TorchBackbone, _network  # noqa: E402

SIZE = (3, 24, 20)


def small_network(channels=3):
    return nn.Sequential(
        nn.Conv2d(channels, 6, 3, stride=2),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.AdaptiveAvgPool2d(1),
    )


class OwnNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = small_network()

    def forward(self, x):
        return self.body(x).flatten(1)


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (5, 30, 26, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def module():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return OwnNetwork()


@pytest.fixture(scope="module")
def program(module):
    batch = torch.export.Dim("batch", min=1, max=256)
    example = torch.zeros(2, *SIZE)
    return torch.export.export(
        copy.deepcopy(module).eval(), (example,), dynamic_shapes={"x": {0: batch}}
    )


@pytest.fixture(scope="module")
def program_file(program, tmp_path_factory):
    path = tmp_path_factory.mktemp("program") / "model.pt2"
    torch.export.save(program, path)
    return path


def backbone_of(module, **parameters):
    return TorchBackbone(module, **{"input_size": SIZE, "device": "cpu", **parameters})


def by_hand(module, pixels, mode="RGB", **geometry):
    arguments = {
        "input_size": SIZE,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "interpolation": "bicubic",
        "crop_pct": 0.875,
        "crop_mode": "center",
        **geometry,
    }
    transform = timm.data.create_transform(**arguments, is_training=False)
    images = [transform(Image.fromarray(image).convert(mode)) for image in pixels]
    with torch.no_grad():
        return copy.deepcopy(module).eval()(torch.stack(images)).flatten(1).numpy()


# --- the four kinds of module


def test_instance(module, pixels):
    features = backbone_of(module).fit_transform(pixels)
    assert features.dtype == np.float32
    assert features.shape == (5, 6)
    np.testing.assert_allclose(features, by_hand(module, pixels), rtol=0, atol=1e-5)


def test_instance_is_left_as_it_is(module, pixels):
    mine = copy.deepcopy(module).train()
    mine.body[0].requires_grad_(False)
    before = copy.deepcopy(mine.state_dict())
    backbone_of(mine).fit(pixels).transform(pixels)
    assert all(part.training for part in mine.modules())
    assert [weight.requires_grad for weight in mine.parameters()] == [False, False, True, True]
    assert all(weight.grad is None for weight in mine.parameters())
    for name, value in mine.state_dict().items():
        assert torch.equal(value, before[name])


def test_later_changes_of_the_instance_do_not_reach_a_fitted_backbone(module, pixels):
    mine = copy.deepcopy(module)
    backbone = backbone_of(mine).fit(pixels)
    expected = backbone.transform(pixels)
    with torch.no_grad():
        mine.body[0].weight.zero_()
    np.testing.assert_allclose(backbone.transform(pixels), expected, **FLOAT32_ROUNDING)


@pytest.mark.parametrize("factory", [OwnNetwork, lambda: OwnNetwork()])
def test_factory(pixels, factory):
    torch.manual_seed(99)
    state = torch.get_rng_state()
    features = backbone_of(factory, random_state=3).fit_transform(pixels)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(3)
    np.testing.assert_allclose(features, by_hand(OwnNetwork(), pixels), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", [str, Path])
def test_path_of_a_program(module, program_file, pixels, kind):
    features = backbone_of(kind(program_file), batch_size=2).fit_transform(pixels)
    np.testing.assert_allclose(features, by_hand(module, pixels), rtol=0, atol=1e-5)


def test_program(module, program, pixels):
    before = [weight.requires_grad for weight in program.parameters()]
    features = backbone_of(program, batch_size=2).fit_transform(pixels)
    np.testing.assert_allclose(features, by_hand(module, pixels), rtol=0, atol=1e-5)
    assert [weight.requires_grad for weight in program.parameters()] == before


def test_module_of_a_program(module, program, pixels):
    # It has no modes, and says so when one is set.
    features = backbone_of(program.module()).fit_transform(pixels)
    np.testing.assert_allclose(features, by_hand(module, pixels), rtol=0, atol=1e-5)


def test_programs_say_their_own_precision(program, module, pixels, monkeypatch):
    monkeypatch.setattr(_network, "use_bfloat16", lambda precision, device: precision != "float32")
    assert backbone_of(module).fit(pixels)._network.bfloat16
    assert not backbone_of(program).fit(pixels)._network.bfloat16
    assert backbone_of(program, precision="bfloat16").fit(pixels)._network.bfloat16


def test_program_moves_to_another_device(program):
    # The meta device computes nothing, but refuses whatever was left behind.
    from sklearn_ncti.backbones._modules import module_of_program

    # It shares its weights with the program, which other tests need.
    moved = module_of_program(copy.deepcopy(program), torch.device("meta")).to("meta")
    assert moved(torch.zeros(4, *SIZE, device="meta")).shape == (4, 6)


def test_four_dimensional_features_are_flattened(pixels):
    with torch.random.fork_rng(devices=[]):
        network = small_network()
    assert network.eval()(torch.zeros(1, *SIZE)).shape == (1, 6, 1, 1)
    features = backbone_of(network).fit_transform(pixels)
    np.testing.assert_allclose(features, by_hand(network, pixels), rtol=0, atol=1e-5)


# --- the preparation of images


@pytest.mark.parametrize(
    "geometry",
    [
        {"mean": (0.1, 0.2, 0.3), "std": [0.4, 0.5, 0.6]},
        {"interpolation": "nearest", "crop_pct": 1.0},
        {"interpolation": "lanczos", "crop_mode": "squash"},
        {"crop_mode": "border", "crop_pct": 1},
        {"input_size": [3, 17, 33]},
    ],
)
def test_geometry(module, pixels, geometry):
    features = backbone_of(module, **geometry).fit_transform(pixels)
    np.testing.assert_allclose(features, by_hand(module, pixels, **geometry), rtol=0, atol=1e-5)


def test_grey_module(pixels):
    with torch.random.fork_rng(devices=[]):
        network = small_network(channels=1)
    geometry = {"input_size": (1, 24, 20), "mean": (0.5,), "std": (0.25,)}
    features = backbone_of(network, **geometry).fit_transform(pixels)
    expected = by_hand(network, pixels, mode="L", **geometry)
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-5)


# --- what is refused


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"module": 3}, TypeError, "module must be .*; got 3"),
        ({"module": None}, TypeError, "module must be"),
        ({"module": dict}, TypeError, "returned a dict"),
        ({"module": "resnet18"}, ValueError, "'resnet18' is not the path of a .pt2.*TimmBackbone"),
        ({"module": "absent.pt2"}, ValueError, "no such file"),
        ({"input_size": 224}, ValueError, "input_size must be three.*got 224"),
        ({"input_size": (224, 224)}, ValueError, "input_size must be three"),
        ({"input_size": (2, 8, 8)}, ValueError, r"channels \(1 or 3\)"),
        ({"input_size": (3, 0, 8)}, ValueError, "positive"),
        ({"input_size": (3, 8.5, 8)}, ValueError, "integers"),
        ({"mean": (0.5,)}, ValueError, "mean must have one value for each channel"),
        ({"input_size": (1, 8, 8)}, ValueError, "mean must have one value"),
        ({"std": (0.5, 0.5)}, ValueError, "std must have one value"),
        ({"mean": 0.5}, TypeError, "mean must be a tuple"),
        ({"mean": "abc"}, TypeError, "mean must be a tuple"),
        ({"mean": (0.5, float("nan"), 0.5)}, TypeError, "finite"),
        ({"std": (0.5, 0, 0.5)}, ValueError, "std must hold positive"),
        ({"interpolation": "cubic"}, ValueError, "'interpolation' parameter"),
        ({"crop_pct": 0}, ValueError, "'crop_pct' parameter"),
        ({"crop_pct": 1.5}, ValueError, "'crop_pct' parameter"),
        ({"crop_mode": "middle"}, ValueError, "'crop_mode' parameter"),
        ({"batch_size": 0}, ValueError, "'batch_size' parameter"),
    ],
)
def test_parameters_are_checked_in_fit(pixels, parameters, error, message):
    backbone = backbone_of(OwnNetwork).set_params(**parameters)
    with pytest.raises(error, match=message):
        backbone.fit(pixels)


def test_file_that_is_no_program(tmp_path, pixels):
    path = tmp_path / "broken.pt2"
    path.write_bytes(b"not a program")
    with pytest.raises(ValueError, match=r"broken\.pt2.*cannot be read as an exported program"):
        backbone_of(path).fit(pixels)


class Returns(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda x: x, ValueError, r"shape \(1, 3, 24, 20\).*Pool it"),
        (lambda x: x.mean((2, 3)).squeeze(), ValueError, r"shape \(3,\)"),
        (lambda x: x.flatten(2), ValueError, r"shape \(1, 3, 480\)"),
        (lambda x: x.mean((2, 3)).T, ValueError, r"shape \(3, 1\) for 1 image"),
        (lambda x: (x, x), TypeError, "returns a tuple"),
        (lambda x: {"features": x}, TypeError, "returns a dict"),
    ],
)
def test_outputs_that_are_no_features(pixels, function, error, message):
    with pytest.raises(error, match=message):
        backbone_of(lambda: Returns(function)).fit(pixels)


def test_errors_of_the_module_go_up(pixels):
    def fail(x):
        raise ZeroDivisionError("inside")

    with pytest.raises(ZeroDivisionError, match="inside"):
        backbone_of(lambda: Returns(fail)).fit(pixels)


def test_module_that_cannot_be_copied(pixels):
    class Stubborn(OwnNetwork):
        def __deepcopy__(self, memo):
            raise RuntimeError("not me")

    with pytest.raises(ValueError, match=r"Stubborn cannot be copied.*not me.*factory"):
        backbone_of(Stubborn()).fit(pixels)


# --- the rules of scikit-learn


@pytest.mark.parametrize(
    "name",
    [
        "check_estimator_cloneable",
        "check_no_attributes_set_in_init",
        "check_get_params_invariance",
        "check_set_params",
        "check_estimator_repr",
        "check_valid_tag_types",
        "check_do_not_raise_errors_in_init_or_set_params",
        "check_param_validation",
        "check_mixin_order",
    ],
)
def test_generic_checks(name):
    check = getattr(estimator_checks, name)
    check("TorchBackbone", backbone_of(OwnNetwork))


def test_clone(module, pixels):
    backbone = backbone_of(module)
    expected = backbone.fit_transform(pixels)
    np.testing.assert_allclose(clone(backbone).fit_transform(pixels), expected, **FLOAT32_ROUNDING)


def test_feature_names_and_set_output(module, pixels):
    pytest.importorskip("pandas")
    frame = backbone_of(module).set_output(transform="pandas").fit_transform(pixels)
    assert frame.columns.tolist() == [f"torchbackbone{i}" for i in range(6)]


def test_pickles(module, program_file, pixels):
    for given in (module, OwnNetwork, str(program_file)):
        backbone = backbone_of(given).fit(pixels)
        expected = backbone.transform(pixels)
        again = pickle.loads(pickle.dumps(backbone))
        assert "_network" not in vars(again)
        np.testing.assert_allclose(again.transform(pixels), expected, **FLOAT32_ROUNDING)
    # A path pickles as a path.
    assert len(pickle.dumps(backbone)) < 2000


# --- real programs and images


@pytest.mark.skipif(
    parse_version(torch.__version__) < parse_version("2.8"),
    reason="the program was written in the format of torch 2.8",
)
def test_real_program_on_real_images(shared):
    folder = shared / "real" / "torch_modules" / "resnet20_cifar"
    images = shared / "real" / "images" / "cifar10" / "test"
    config = json.loads((folder / "config.json").read_text())
    paths = sorted(images.glob("*/*"))[::100]
    backbone = TorchBackbone(
        folder / "model.pt2",
        input_size=config["input_size"],
        mean=config["mean"],
        std=config["std"],
        interpolation=config["interpolation"],
        crop_pct=1.0,
        device="cpu",
        batch_size=4,
    )
    features = backbone.fit_transform(paths)
    assert features.shape == (10, config["num_features"])
    # The images have the size of the network, so that preparing them is plain arithmetic.
    mean = np.array(config["mean"], dtype=np.float32)
    std = np.array(config["std"], dtype=np.float32)
    stack = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])
    batch = torch.from_numpy(((stack / np.float32(255) - mean) / std).transpose(0, 3, 1, 2))
    network = torch.export.load(folder / "model.pt2").module()
    with torch.no_grad():
        expected = network(batch.contiguous()).numpy()
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("limit", "sizes"), [(1, [1] * 5), (2 * 24 * 20, [2, 2, 1]), (10**6, [5])]
)
def test_cpu_runs_a_graph_in_parts(module, program_file, pixels, monkeypatch, limit, sizes):
    monkeypatch.setattr(_network, "_CPU_PIXELS", limit)
    seen = []
    run = _network.Network._run
    monkeypatch.setattr(
        _network.Network, "_run", lambda self, part: seen.append(len(part)) or run(self, part)
    )
    backbone = backbone_of(program_file).fit(pixels)
    seen.clear()
    features = backbone.transform(pixels)
    assert seen == sizes
    np.testing.assert_allclose(features, by_hand(module, pixels), atol=1e-5)
