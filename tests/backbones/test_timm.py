"""TimmBackbone against timm itself."""

import json
import pickle
import re
import sys

import numpy as np
import pytest
import sklearn
from helpers import FLOAT32_ROUNDING
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks
from sklearn.utils.fixes import parse_version

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
from PIL import Image  # noqa: E402

from sklearn_ncti.backbones import (  # noqa: E402
    TimmBackbone,
    _network,
    _preparation,
    _progress,
    check_model_name,
)

MODEL = "test_resnet"


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (7, 40, 52, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def files(pixels, tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    paths = []
    for index, image in enumerate(pixels):
        # Sizes and kinds of files differ, as those of real folders do.
        path = folder / f"{index}.{'jpg' if index % 2 else 'png'}"
        Image.fromarray(image[: 40 - index]).save(path)
        paths.append(str(path))
    return paths


@pytest.fixture(scope="module")
def local_folder(tmp_path_factory):
    """A folder as timm reads it, with weights, an input size and a mean of its own."""
    folder = tmp_path_factory.mktemp("local") / "model"
    folder.mkdir()
    generator = torch.Generator().manual_seed(3)
    module = timm.create_model(MODEL, num_classes=3)
    state = module.state_dict()
    for value in state.values():
        if value.is_floating_point():
            value.add_(0.01 * torch.randn(value.shape, generator=generator).abs())
    torch.save(state, folder / "pytorch_model.bin")
    config = {
        "architecture": MODEL,
        "num_classes": 3,
        "pretrained_cfg": {
            "input_size": [3, 64, 48],
            "mean": [0.1, 0.2, 0.3],
            "std": [0.5, 0.6, 0.7],
            "interpolation": "bicubic",
            "crop_pct": 0.9,
            "num_classes": 3,
            "classifier": "fc",
            "first_conv": "conv1",
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def untrained(**parameters):
    return TimmBackbone(MODEL, pretrained=False, device="cpu", **parameters)


def by_hand(module, images, mode="RGB"):
    """The features in plain timm, one image at a time."""
    module = module.eval()
    config = timm.data.resolve_model_data_config(module)
    transform = timm.data.create_transform(**config, is_training=False)
    rows = []
    for image in images:
        image = image if isinstance(image, Image.Image) else Image.open(image)
        with torch.no_grad():
            rows.append(module(transform(image.convert(mode))[None])[0].numpy())
    return np.stack(rows)


def drawn(name, seed=0, **arguments):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return timm.create_model(name, pretrained=False, num_classes=0, **arguments)


# --- the features are timm's


@pytest.mark.parametrize("name", [MODEL, "test_vit.r160_in1k"])
def test_files(files, name):
    backbone = TimmBackbone(name, pretrained=False, device="cpu")
    features = backbone.fit_transform(files)
    expected = by_hand(drawn(name), files)
    assert features.dtype == np.float32
    assert features.shape == expected.shape == (7, backbone.n_features_out_)
    assert np.ptp(features, axis=0).max() > 1e-3  # the rows differ: their order is tested too
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-5)


def test_arrays_and_pil_images(pixels):
    pictures = [Image.fromarray(image) for image in pixels]
    expected = by_hand(drawn(MODEL), pictures)
    backbone = untrained().fit(pixels)
    for images in (pixels, pictures, pixels.astype(np.float32) / 255):
        np.testing.assert_allclose(backbone.transform(images), expected, **FLOAT32_ROUNDING)


def test_grey_images(pixels):
    grey = pixels[:3, ..., 0]
    expected = by_hand(drawn(MODEL), [Image.fromarray(image) for image in grey])
    np.testing.assert_allclose(untrained().fit_transform(grey), expected, rtol=0, atol=1e-5)


def test_local_folder(local_folder, files):
    name = f"local-dir:{local_folder}"
    backbone = TimmBackbone(name, device="cpu").fit(files)
    module = timm.create_model(name, pretrained=True, num_classes=0)
    assert timm.data.resolve_model_data_config(module)["crop_pct"] == 0.9
    np.testing.assert_allclose(
        backbone.transform(files), by_hand(module, files), rtol=0, atol=1e-5
    )
    # Its weights are the file's, and not those of a seed.
    untrained_rows = TimmBackbone(name, pretrained=False, device="cpu").fit_transform(files)
    assert np.abs(backbone.transform(files) - untrained_rows).max() > 1e-3
    other_seed = clone(backbone).set_params(random_state=5)
    found = other_seed.fit_transform(files)
    np.testing.assert_allclose(found, backbone.transform(files), **FLOAT32_ROUNDING)


def test_model_with_one_channel(tmp_path, pixels):
    config = {
        "architecture": MODEL,
        "model_args": {"in_chans": 1},
        "pretrained_cfg": {"input_size": [1, 32, 32], "mean": [0.4], "std": [0.2]},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    name = f"local-dir:{tmp_path}"
    expected = by_hand(drawn(name), [Image.fromarray(image) for image in pixels], mode="L")
    features = TimmBackbone(name, pretrained=False, device="cpu").fit_transform(pixels)
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-5)


def test_model_with_four_channels(tmp_path, pixels):
    config = {
        "architecture": MODEL,
        "model_args": {"in_chans": 4},
        "pretrained_cfg": {"input_size": [4, 32, 32], "mean": [0.4] * 4, "std": [0.2] * 4},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="images of 4 channels"):
        TimmBackbone(f"local-dir:{tmp_path}", pretrained=False).fit(pixels)


@pytest.mark.parametrize(
    ("num_workers", "batch_size"), [(None, 64), (None, 3), (0, 1), (0, 7), (1, 3), (3, 1), (3, 7)]
)
def test_rows_do_not_depend_on_batches_or_threads(files, num_workers, batch_size):
    expected = untrained(num_workers=0).fit_transform(files)
    backbone = untrained(num_workers=num_workers, batch_size=batch_size)
    np.testing.assert_allclose(backbone.fit_transform(files), expected, rtol=0, atol=1e-5)


def test_same_image_many_times(files):
    # One file that is opened lazily, read by several threads at once.
    with Image.open(files[1]) as image:
        features = untrained(num_workers=4).fit_transform([image] * 12)
    assert np.ptp(features, axis=0).max() < 1e-5


def test_bfloat16_is_near(files):
    full = untrained().fit_transform(files)
    half = untrained(precision="bfloat16").fit_transform(files)
    assert half.dtype == np.float32
    assert 0 < np.abs(full - half).max() < 0.05 * np.abs(full).max()


# --- the rules of scikit-learn


@pytest.mark.parametrize(
    "name",
    [
        "check_estimator_cloneable",
        "check_no_attributes_set_in_init",
        "check_get_params_invariance",
        "check_set_params",
        "check_estimator_repr",
        "check_estimator_tags_renamed",
        "check_valid_tag_types",
        "check_do_not_raise_errors_in_init_or_set_params",
        "check_param_validation",
        "check_mixin_order",
    ],
)
def test_generic_checks(name):
    check = getattr(estimator_checks, name)
    check("TimmBackbone", untrained())


def test_tags():
    tags = untrained().__sklearn_tags__()
    assert not tags.input_tags.two_d_array
    assert tags.input_tags.three_d_array
    assert tags.input_tags.string
    assert not tags.target_tags.required


@pytest.mark.parametrize(
    "parameters",
    [
        {"model": 3},
        {"pretrained": "yes"},
        {"batch_size": 0},
        {"batch_size": 2.5},
        {"precision": "float16"},
        {"num_workers": -1},
        {"random_state": None},
        {"random_state": -1},
        {"verbose": -1},
    ],
)
def test_parameters_are_checked_in_fit(pixels, parameters):
    (name,) = parameters
    backbone = untrained().set_params(**parameters)
    with pytest.raises(ValueError, match=f"'{name}' parameter"):
        backbone.fit(pixels)


def test_not_fitted(pixels):
    with pytest.raises(NotFittedError):
        untrained().transform(pixels)
    with pytest.raises(NotFittedError):
        untrained().get_feature_names_out()


def test_feature_names_and_set_output(pixels):
    pd = pytest.importorskip("pandas")
    backbone = untrained().set_output(transform="pandas").fit(pixels)
    names = backbone.get_feature_names_out()
    assert names[[0, -1]].tolist() == ["timmbackbone0", "timmbackbone95"]
    frame = backbone.transform(pixels)
    assert isinstance(frame, pd.DataFrame)
    assert frame.columns.tolist() == names.tolist()


def test_set_output_keeps_the_index_of_a_series(files):
    pd = pytest.importorskip("pandas")
    series = pd.Series(files, index=[10 * i for i in range(7)])
    frame = untrained().set_output(transform="pandas").fit_transform(series)
    assert len(frame) == 7
    # scikit-learn takes the index of a Series since 1.8, before of a DataFrame only.
    if parse_version(sklearn.__version__) >= parse_version("1.8"):
        assert frame.index.tolist() == series.index.tolist()


def test_in_a_pipeline(files):
    pipeline = make_pipeline(untrained(), StandardScaler()).fit(files)
    np.testing.assert_allclose(pipeline.transform(files).mean(axis=0), 0, atol=1e-5)
    assert len(pipeline.get_feature_names_out()) == 96


def test_clone_and_refit_and_seed(files):
    backbone = untrained()
    expected = backbone.fit_transform(files)
    np.testing.assert_allclose(backbone.fit_transform(files), expected, **FLOAT32_ROUNDING)
    np.testing.assert_allclose(clone(backbone).fit_transform(files), expected, **FLOAT32_ROUNDING)
    other = clone(backbone).set_params(random_state=1).fit_transform(files)
    assert np.abs(other - expected).max() > 1e-3


def test_pickle_leaves_the_weights_behind(files):
    backbone = untrained().fit(files)
    expected = backbone.transform(files)
    data = pickle.dumps(backbone)
    assert len(data) < 2000
    again = pickle.loads(data)
    assert again._network is None
    assert backbone._network is not None  # the pickled one keeps its own
    assert again.n_features_out_ == 96
    np.testing.assert_allclose(again.transform(files), expected, **FLOAT32_ROUNDING)


def test_hash_for_caches_does_not_see_the_network(files):
    joblib = pytest.importorskip("joblib")
    backbone = untrained().fit(files)
    before = joblib.hash(backbone)
    backbone.release()
    assert joblib.hash(backbone) == before


def test_dropped_network_comes_back(files):
    backbone = untrained().fit(files)
    expected = backbone.transform(files)
    backbone.release()
    backbone.release()
    assert backbone._network is None
    np.testing.assert_allclose(backbone.transform(files), expected, **FLOAT32_ROUNDING)


def test_model_changed_after_fit(files):
    backbone = untrained().fit(files)
    backbone.set_params(model="test_vit")
    backbone.release()
    with pytest.raises(ValueError, match=r"gives 64 features, but gave 96 .* Fit it again"):
        backbone.transform(files)


# --- manners


def test_network_is_frozen(files):
    module = untrained().fit(files)._network.module
    assert not any(part.training for part in module.modules())
    assert not any(weight.requires_grad for weight in module.parameters())


def test_global_generators_are_left_alone(files):
    torch.manual_seed(11)
    np.random.seed(11)  # noqa: NPY002
    torch_state = torch.get_rng_state()
    numpy_state = np.random.get_state()  # noqa: NPY002
    untrained().fit(files).transform(files)
    assert torch.equal(torch.get_rng_state(), torch_state)
    for before, after in zip(numpy_state, np.random.get_state(), strict=True):  # noqa: NPY002
        np.testing.assert_array_equal(before, after)


def test_fit_decodes_nothing(tmp_path):
    path = tmp_path / "empty.png"
    path.touch()
    backbone = untrained().fit([path])
    with pytest.raises(ValueError, match=r"X\[0\].*empty\.png"):
        backbone.transform([path])


def test_missing_file_is_found_before_the_network_runs(files, monkeypatch):
    backbone = untrained().fit(files)
    monkeypatch.setattr(_network.Network, "features", lambda *args: pytest.fail("the network ran"))
    with pytest.raises(ValueError, match=r"X\[7\]"):
        backbone.transform([*files, "absent.png"])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_first_bad_image_is_named(files, tmp_path, num_workers):
    bad = []
    for index in range(2):
        path = tmp_path / f"bad{index}.png"
        path.touch()
        bad.append(path)
    backbone = untrained(num_workers=num_workers, batch_size=2).fit(files)
    with pytest.raises(ValueError, match=r"X\[7\].*bad0\.png"):
        backbone.transform([*files, *bad])
    assert backbone.transform(files).shape == (7, 96)


def test_few_images_are_in_flight(pixels, monkeypatch):
    many = np.repeat(pixels[:1], 40, axis=0)
    counts = {"prepared": 0, "most": 0, "done": 0}
    read_image, forward = _preparation.read_image, _network.Network.features

    def counting_read(*args):
        counts["prepared"] += 1
        return read_image(*args)

    def counting_forward(network, batch):
        counts["most"] = max(counts["most"], counts["prepared"] - counts["done"])
        rows = forward(network, batch)
        counts["done"] += len(rows)
        return rows

    backbone = untrained(batch_size=4, num_workers=2).fit(many)
    monkeypatch.setattr(_preparation, "read_image", counting_read)
    monkeypatch.setattr(_network.Network, "features", counting_forward)
    backbone.transform(many)
    assert counts["done"] == 40
    assert counts["most"] <= 8


def test_progress_on_a_terminal_is_a_bar(files, capsys, monkeypatch):
    pytest.importorskip("tqdm")
    backbone = untrained(batch_size=3).fit(files)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    backbone.transform(files)
    assert capsys.readouterr() == ("", "")
    backbone.set_params(verbose=1).transform(files)
    out, err = capsys.readouterr()
    assert out == ""
    assert "7/7" in err
    assert "img" in err


def test_progress_in_a_log_is_lines(files, capsys, monkeypatch):
    backbone = untrained(batch_size=3, verbose=1).fit(files)
    backbone.transform(files)
    # So few images are done before a line is due.
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(_progress, "_SECONDS", 0)
    backbone.transform(files)
    out, err = capsys.readouterr()
    assert out == ""
    line = r"test_resnet: {} of 7 images, \d+\.\d images/s, about \d+ s left"
    for text, done in zip(err.splitlines(), (3, 6), strict=True):
        assert re.fullmatch(line.format(done), text)


def test_values_that_are_not_finite_are_left(files, monkeypatch):
    backbone = untrained().fit(files)
    monkeypatch.setattr(
        backbone._network.module, "forward", lambda x: torch.full((len(x), 96), torch.nan)
    )
    assert np.isnan(backbone.transform(files)).all()


# --- devices


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_device(files, device):
    backbone = untrained().set_params(device=device).fit(files)
    assert backbone._network.device.type == "cpu"
    assert not backbone._network.bfloat16


def test_device_that_is_not_there(files):
    absent = "cuda:99" if torch.cuda.is_available() else "cuda"
    for device in (absent, "mega", "meta"):
        with pytest.raises(ValueError, match=f"device='{device}' cannot be used.*'auto'"):
            untrained().set_params(device=device).fit(files)
    with pytest.raises(TypeError, match="device must be"):
        untrained().set_params(device=3).fit(files)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_device(monkeypatch, cuda, mps, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert _network.resolve_device("auto").type == expected


def test_auto_precision(monkeypatch):
    capability = (9, 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert _network.use_bfloat16("auto", torch.device("cuda"))
    assert not _network.use_bfloat16("float32", torch.device("cuda"))
    assert not _network.use_bfloat16("auto", torch.device("cpu"))
    assert not _network.use_bfloat16("auto", torch.device("mps"))
    assert _network.use_bfloat16("bfloat16", torch.device("cpu"))
    capability = (7, 5)
    assert not _network.use_bfloat16("auto", torch.device("cuda"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_is_near_the_cpu(files):
    expected = untrained().fit_transform(files)
    backbone = untrained().set_params(device="cuda", precision="float32").fit(files)
    np.testing.assert_allclose(backbone.transform(files), expected, rtol=0.01, atol=0.01)
    backbone.release()


# --- weights


def test_model_that_the_user_registered(pixels, monkeypatch):
    # Registered by the user's own module, as timm's documentation has it.
    module = type(sys)("own_models")
    monkeypatch.setitem(sys.modules, "own_models", module)

    def sklearn_ncti_tiny_net(pretrained=False, **kwargs):
        kwargs.pop("num_classes", None)
        return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())

    sklearn_ncti_tiny_net.__module__ = "own_models"
    registry = timm.models._registry
    for name in ("_model_entrypoints", "_model_to_module", "_module_to_models"):
        monkeypatch.setattr(registry, name, getattr(registry, name).copy())
    timm.models.register_model(sklearn_ncti_tiny_net)
    with pytest.raises(ValueError, match="no pre-trained weights"):
        check_model_name("sklearn_ncti_tiny_net")
    backbone = TimmBackbone("sklearn_ncti_tiny_net", pretrained=False, device="cpu")
    assert backbone.fit_transform(pixels).shape == (7, 3)


def test_failed_download_says_what_to_do(monkeypatch, pixels):
    def fail(*args, **kwargs):
        raise OSError("no room on the disk")

    monkeypatch.setattr(timm, "create_model", fail)
    monkeypatch.setattr(TimmBackbone, "fetch", lambda self, outputs=None: None)
    with pytest.raises(RuntimeError, match=r"'resnet18': no room on the disk.\n.*local-dir:"):
        TimmBackbone("resnet18").fit(pixels)


def copy_with_weights(local_folder, folder, weights):
    (folder / "config.json").write_text((local_folder / "config.json").read_text())
    torch.save(weights, folder / "pytorch_model.bin")
    return f"local-dir:{folder}"


def test_weights_of_another_model(local_folder, tmp_path, pixels):
    # timm itself only logs this, and gives a random network.
    other = timm.create_model("test_vit", num_classes=0).state_dict()
    name = copy_with_weights(local_folder, tmp_path, other)
    with pytest.raises(ValueError, match=r"hold nothing for .*conv1\.0\.weight.*pretrained=False"):
        TimmBackbone(name, device="cpu").fit(pixels)


def test_weights_that_lack_a_layer(local_folder, tmp_path, pixels):
    weights = torch.load(local_folder / "pytorch_model.bin", weights_only=True)
    del weights["layer2.0.conv1.weight"]
    name = copy_with_weights(local_folder, tmp_path, weights)
    with pytest.raises(ValueError, match=r"hold nothing for 1 .*: layer2\.0\.conv1\.weight"):
        TimmBackbone(name, device="cpu").fit(pixels)


def test_weights_of_another_shape(local_folder, tmp_path, pixels):
    weights = torch.load(local_folder / "pytorch_model.bin", weights_only=True)
    weights["layer2.0.conv1.weight"] = torch.zeros(3, 3)
    name = copy_with_weights(local_folder, tmp_path, weights)
    with pytest.raises(RuntimeError, match="could not load the weights of 'local-dir:"):
        TimmBackbone(name, device="cpu").fit(pixels)


# --- real weights and images


def test_real_model_on_real_images(shared):
    folder = shared / "real" / "models" / "mobilenetv1_025_128"
    images = shared / "real" / "images" / "sign_digits" / "test"
    paths = sorted(images.glob("*/*"))[::60]
    name = f"local-dir:{folder}"
    backbone = TimmBackbone(name, device="cpu", batch_size=4)
    features = backbone.fit_transform(paths)
    assert features.shape == (10, 1024)
    # The README of the folder: the network is padded, and only a quarter of it is alive.
    assert not features[:, 256:].any()
    expected = by_hand(timm.create_model(name, pretrained=True, num_classes=0), paths)
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-5)


def features_under_the_head(network, data_config, files):
    """What the head of a network gets for images that are prepared as `to_timm` says."""
    transform = timm.data.create_transform(**data_config)
    batch = torch.stack([transform(Image.open(path)) for path in files])
    with torch.inference_mode():
        maps = network.eval().forward_features(batch)
        return network.forward_head(maps, pre_logits=True).numpy()


def test_a_new_head_lies_over_the_weights_of_the_features(local_folder, files):
    backbone = TimmBackbone(f"local-dir:{local_folder}", device="cpu")
    network, data_config = backbone.to_timm(5)
    stored = torch.load(local_folder / "pytorch_model.bin", weights_only=True)
    state = network.state_dict()
    heads = {name for name in state if name.startswith("fc.")}
    for name in stored.keys() - heads:
        torch.testing.assert_close(state[name], stored[name])
    assert network.fc.out_features == 5
    assert tuple(data_config["input_size"]) == (3, 64, 48)
    assert tuple(data_config["mean"]) == (0.1, 0.2, 0.3)
    found = features_under_the_head(network, data_config, files)
    np.testing.assert_allclose(found, backbone.fit_transform(files), **FLOAT32_ROUNDING)


def test_the_head_of_as_many_classes_is_new_as_well(local_folder):
    backbone = TimmBackbone(f"local-dir:{local_folder}", device="cpu")
    old = torch.load(local_folder / "pytorch_model.bin", weights_only=True)["fc.weight"]
    new = backbone.to_timm(3)[0].fc.weight
    assert new.shape == old.shape
    assert (new != old).all()
    # The same seed gives the same head, another seed another one; torch's own seed is no part.
    before = torch.random.get_rng_state()
    torch.testing.assert_close(backbone.to_timm(3)[0].fc.weight, new)
    assert torch.equal(torch.random.get_rng_state(), before)
    other = clone(backbone).set_params(random_state=1).to_timm(3)[0].fc.weight
    assert (other != new).all()


def test_random_weights_get_a_head_too(files):
    backbone = untrained(random_state=4)
    network, data_config = backbone.to_timm(2)
    found = features_under_the_head(network, data_config, files)
    np.testing.assert_allclose(found, backbone.fit_transform(files), **FLOAT32_ROUNDING)


@pytest.mark.parametrize("n", [-1, 2.0, True, "3", None])
def test_number_of_outputs_is_checked(n):
    with pytest.raises(ValueError, match=f"num_classes must be .*got {n!r}"):
        untrained().to_timm(n)


@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "test_nfnet", "test_byobnet"])
def test_only_the_head_is_new(name):
    network, _ = TimmBackbone(name, pretrained=False).to_timm(3)
    headless, _ = TimmBackbone(name, pretrained=False).to_timm(0)
    state, expected = network.state_dict(), headless.state_dict()
    assert expected.keys() <= state.keys()
    for key, weight in expected.items():
        torch.testing.assert_close(state[key], weight)
    new = state.keys() - expected.keys()
    assert new
    assert all(key.startswith(("head.", "fc.")) for key in new)
