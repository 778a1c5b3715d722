"""Networks of timm, torchvision, open_clip and transformers as objects: preparation and heads."""

import copy
import types

import numpy as np
import pytest
from helpers import FLOAT32_ROUNDING

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
torchvision = pytest.importorskip("torchvision")
Image = pytest.importorskip("PIL.Image")

from sklearn_ncti import TimmBackbone, TorchBackbone  # noqa: E402
from sklearn_ncti._selection.candidates import as_transformer  # noqa: E402


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (3, 40, 52, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def features_of(module, pixels, **parameters):
    return TorchBackbone(module, device="cpu", **parameters).fit_transform(pixels)


def by_hand(module, pixels, config):
    transform = timm.data.create_transform(**config, is_training=False)
    with torch.no_grad():
        return module(torch.stack([transform(Image.fromarray(image)) for image in pixels])).numpy()


# --- timm


def make_timm(**arguments):
    network = timm.create_model("test_resnet", pretrained=False, **arguments)
    # What the weights of a network of one's own may be trained with.
    own = {"input_size": (3, 48, 32), "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}
    own |= {"crop_pct": 0.8, "interpolation": "bilinear"}
    # As they are read from the JSON file of a local folder.
    own = {name: list(v) if isinstance(v, tuple) else v for name, v in own.items()}
    network.pretrained_cfg = {**network.pretrained_cfg, **own}
    network.default_cfg = network.pretrained_cfg
    return network.eval()


@pytest.mark.parametrize("num_classes", [0, 7])
def test_network_of_timm_is_prepared_as_it_says(pixels, num_classes):
    network = make_timm(num_classes=num_classes)
    headless = copy.deepcopy(network)
    headless.reset_classifier(0)
    config = timm.data.resolve_model_data_config(network)
    assert tuple(config["input_size"]) == (3, 48, 32)
    features = features_of(network, pixels)
    np.testing.assert_allclose(features, by_hand(headless, pixels, config), **FLOAT32_ROUNDING)
    # That of the user is as it was.
    assert network.num_classes == num_classes
    candidate = as_transformer(network).set_params(device="cpu")
    assert candidate.geometry() == TorchBackbone(network).geometry()
    np.testing.assert_array_equal(candidate.fit_transform(pixels), features)


def test_network_of_timm_as_object_and_by_name(pixels):
    backbone = TimmBackbone("test_vit", pretrained=False, device="cpu").fit(pixels)
    network = timm.create_model("test_vit", pretrained=False)
    network.load_state_dict(backbone._network.module.state_dict(), strict=False)
    expected = backbone.transform(pixels)
    np.testing.assert_allclose(features_of(network, pixels), expected, **FLOAT32_ROUNDING)


def test_parameters_that_are_given_come_first(pixels):
    network = make_timm(num_classes=0)
    given = {"input_size": (3, 24, 24), "mean": (0.1, 0.1, 0.1)}
    config = {**timm.data.resolve_model_data_config(network), **given}
    features = features_of(network, pixels, **given)
    np.testing.assert_allclose(features, by_hand(network, pixels, config), **FLOAT32_ROUNDING)


def test_factory_of_another_preparation_is_refused(pixels):
    with pytest.raises(
        ValueError,
        match=r"module: make_timm makes a ResNet that was trained with input_size=\(3, 48",
    ):
        features_of(make_timm, pixels)
    config = timm.data.resolve_model_data_config(make_timm())
    assert features_of(make_timm, pixels, **config).shape == (3, 96)


# --- torchvision


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("resnet18", 512),
        ("shufflenet_v2_x0_5", 1024),
        ("mobilenet_v3_small", 1024),
        ("mnasnet0_5", 1280),
        ("densenet121", 1024),
    ],
)
def test_head_of_torchvision_is_taken_off(pixels, name, width):
    network = torchvision.models.get_model(name, weights=None).eval()
    size = {"input_size": (3, 64, 64)}
    features = features_of(network, pixels, **size)
    assert features.shape == (3, width)
    # The layer that was taken off makes the outputs of the whole network of them.
    *_, last = (part for part in network.modules() if isinstance(part, torch.nn.Linear))
    outputs = features_of(torch.nn.Sequential(network), pixels, **size)
    assert outputs.shape == (3, 1000)
    with torch.no_grad():
        again = last(torch.from_numpy(features)).numpy()
    np.testing.assert_allclose(outputs, again, rtol=1e-4, atol=1e-4)


def test_network_of_torchvision_without_a_head(pixels):
    network = torchvision.models.resnet18(weights=None).eval()
    expected = features_of(network, pixels, input_size=(3, 32, 32))
    network.fc = torch.nn.Identity()
    np.testing.assert_array_equal(features_of(network, pixels, input_size=(3, 32, 32)), expected)


def test_head_that_is_not_linear_is_refused(pixels):
    network = torchvision.models.squeezenet1_1(weights=None)
    with pytest.raises(ValueError, match=r"SqueezeNet ends in a .*model\.classifier = torch\.nn"):
        features_of(network, pixels)
    network.classifier = torch.nn.AdaptiveAvgPool2d(1)
    with pytest.raises(ValueError, match="ends in a AdaptiveAvgPool2d"):
        features_of(network, pixels)


# --- open_clip


def make_tower(**preparation):
    tower = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten())
    tower.preprocess_cfg = {
        "size": (20, 24),
        "mode": "RGB",
        "mean": (0.48, 0.46, 0.41),
        "std": (0.27, 0.26, 0.28),
        "interpolation": "bicubic",
        "resize_mode": "shortest",
        "fill_color": 0,
        **preparation,
    }
    return tower.eval()


@pytest.mark.parametrize(("mode", "crop_mode"), [("shortest", "center"), ("squash", "squash")])
def test_image_tower_of_open_clip(pixels, mode, crop_mode):
    tower = make_tower(resize_mode=mode)
    config = {"input_size": (3, 20, 24), "mean": (0.48, 0.46, 0.41), "std": (0.27, 0.26, 0.28)}
    config |= {"interpolation": "bicubic", "crop_pct": 1.0, "crop_mode": crop_mode}
    expected = by_hand(tower, pixels, config)
    np.testing.assert_allclose(features_of(tower, pixels), expected, **FLOAT32_ROUNDING)


def test_refused_models_of_open_clip(pixels):
    with pytest.raises(ValueError, match="resize_mode='longest' of open_clip"):
        features_of(make_tower(resize_mode="longest"), pixels)
    both = torch.nn.Module()
    both.visual = make_tower()
    both.encode_image = types.MethodType(lambda self, x: self.visual(x), both)
    with pytest.raises(ValueError, match=r"takes images and texts.*model\.visual"):
        features_of(both, pixels)


# --- transformers

PREPARED = {"input_size": (3, 32, 32), "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


def make_vit(kind):
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
        num_labels=5,
    )
    return getattr(transformers, kind)(config).eval()


def make_resnet(kind):
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], num_labels=5
    )
    return getattr(transformers, kind)(config).eval()


def outputs_by_hand(model, pixels):
    config = {**PREPARED, "interpolation": "bicubic", "crop_pct": 0.875}
    transform = timm.data.create_transform(**config, is_training=False)
    images = torch.stack([transform(Image.fromarray(image)) for image in pixels])
    with torch.no_grad():
        return model(pixel_values=images)


def test_vision_models_of_transformers(pixels):
    model = make_vit("ViTModel")
    # The token that its pooler takes, without the pooler, whose weights may be random.
    expected = outputs_by_hand(model, pixels).last_hidden_state[:, 0]
    np.testing.assert_allclose(
        features_of(model, pixels, **PREPARED), expected, **FLOAT32_ROUNDING
    )
    model = make_resnet("ResNetModel")
    expected = outputs_by_hand(model, pixels).pooler_output.flatten(1)
    np.testing.assert_allclose(
        features_of(model, pixels, **PREPARED), expected, **FLOAT32_ROUNDING
    )


@pytest.mark.parametrize(("make", "name"), [(make_vit, "ViT"), (make_resnet, "ResNet")])
def test_head_of_transformers_is_taken_off(pixels, make, name):
    model = make(f"{name}ForImageClassification")
    features = features_of(model, pixels, **PREPARED)
    with torch.no_grad():
        logits = model.classifier(torch.from_numpy(features))
    expected = outputs_by_hand(model, pixels).logits
    np.testing.assert_allclose(logits, expected, **FLOAT32_ROUNDING)


def test_refused_models_of_transformers(pixels):
    model = make_vit("ViTModel")
    message = r"ViTModel does not say how .*mean=processor\.image_mean"
    for module in (model, lambda: model):
        with pytest.raises(ValueError, match=message):
            features_of(module, pixels)
    without_pooler = make_vit("ViTModel")
    without_pooler.pooler = None
    with pytest.raises(ValueError, match=r"gives \['last_hidden_state'\] and no pooled features"):
        features_of(without_pooler, pixels, **PREPARED)
