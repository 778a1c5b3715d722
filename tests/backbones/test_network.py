"""A network on its device: memory that runs out, compilation, several batches in flight."""

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers import FLOAT32_ROUNDING

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
from PIL import Image  # noqa: E402

from sklearn_ncti.backbones import TorchBackbone, _network  # noqa: E402


class Hungry(torch.nn.Module):
    """A network that runs out of memory above a number of images."""

    def __init__(self, most=8, error=torch.OutOfMemoryError):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 5, 3)
        self.most = most
        self.error = error
        self.sizes = []

    def forward(self, x):
        self.sizes.append(len(x))
        if len(x) > self.most:
            raise self.error("out of memory. Tried to allocate 2 GiB")
        return self.conv(x).mean((2, 3))


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (70, 16, 16, 3), dtype=np.uint8)


def backbone_of(module, **parameters):
    options = {"input_size": (3, 16, 16), "crop_pct": 1.0, "device": "cpu", **parameters}
    return TorchBackbone(module, **options)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
@pytest.mark.parametrize("most", [8, 1])
def test_out_of_memory_halves_the_batch(pixels, most, error):
    torch.manual_seed(0)
    plain = Hungry(most=1000)
    expected = backbone_of(plain).fit_transform(pixels)
    hungry = Hungry(most, error)
    hungry.load_state_dict(plain.state_dict())
    backbone = backbone_of(hungry, batch_size=32).fit(pixels)
    with pytest.warns(UserWarning, match=f"for 32 images at once; .* {most} at a time") as caught:
        features = backbone.transform(pixels)
    assert len(caught) == 1
    np.testing.assert_allclose(features, expected, atol=1e-6)
    sizes = backbone._network.module.sizes
    # Tried once, and never again in this run.
    assert sizes.count(32) == 1
    last_failure = max(i for i, size in enumerate(sizes) if size > most)
    assert sum(sizes[last_failure + 1 :]) == len(pixels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backbone.transform(pixels)


def test_one_image_is_too_much(pixels):
    with pytest.raises(MemoryError, match=r"one image of 16 x 16 pixels.*Tried to allocate"):
        backbone_of(Hungry(most=0)).fit(pixels)


def test_autocast_of_the_caller_changes_nothing(pixels):
    torch.manual_seed(0)
    backbone = backbone_of(Hungry(most=1000), precision="float32").fit(pixels)
    expected = backbone.transform(pixels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        np.testing.assert_allclose(backbone.transform(pixels), expected, **FLOAT32_ROUNDING)


def test_other_errors_are_left(pixels):
    with pytest.raises(RuntimeError, match="Calculated padded input size"):
        backbone_of(torch.nn.Conv2d(3, 4, 99)).fit(pixels)


def test_compile(pixels, monkeypatch):
    compiled = []
    real = torch.compile

    def eager(module):
        compiled.append(module)
        return real(module, backend="eager")

    monkeypatch.setattr(torch, "compile", eager)
    torch.manual_seed(0)
    module = Hungry(most=1000)
    plain = backbone_of(module).fit_transform(pixels)
    assert compiled == []
    np.testing.assert_allclose(
        backbone_of(module, compile=True).fit_transform(pixels), plain, atol=1e-6
    )
    assert len(compiled) == 1


def test_compilation_that_fails_is_warned_of(pixels, monkeypatch):
    def broken(module):
        def run(x):
            raise RuntimeError("no C++ compiler was found\nand more")

        return run

    monkeypatch.setattr(torch, "compile", broken)
    torch.manual_seed(0)
    module = Hungry(most=1000)
    backbone = backbone_of(module, compile=True)
    with pytest.warns(UserWarning, match=r"\(RuntimeError: no C\+\+ compiler was found\); it"):
        features = backbone.fit(pixels).transform(pixels)
    expected = backbone_of(module).fit_transform(pixels)
    np.testing.assert_allclose(features, expected, **FLOAT32_ROUNDING)


def test_a_fault_of_the_network_is_no_fault_of_the_compiler(pixels, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda module: module)
    with pytest.raises(RuntimeError, match="Calculated padded input size"):
        backbone_of(torch.nn.Conv2d(3, 4, 99), compile=True).fit(pixels)


def test_pixels_that_cannot_be_written_to(pixels):
    # Worker processes get such arrays, and torch warns of them.
    backbone = backbone_of(Hungry(most=1000)).fit(pixels)
    expected = backbone._network.features(pixels)
    pixels.flags.writeable = False
    np.testing.assert_allclose(backbone._network.features(pixels), expected, **FLOAT32_ROUNDING)


def test_features_stay_on_the_device_when_asked_to(pixels):
    backbone = backbone_of(Hungry(most=1000), batch_size=16).fit(pixels)
    kept = backbone.extract(pixels, on_bad_image="raise", on_device=True)
    features = kept.arrays["features"]
    assert isinstance(features, torch.Tensor)
    assert features.dtype == torch.float32
    np.testing.assert_allclose(features.numpy(), backbone.transform(pixels), **FLOAT32_ROUNDING)
    assert kept.decode_time > 0
    assert kept.device_time > 0


def test_skipped_images_are_rows_of_nan(pixels, tmp_path):
    paths = []
    for i, image in enumerate(pixels[:6]):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(image).save(paths[-1])
    backbone = backbone_of(Hungry(most=1000), batch_size=2, on_bad_image="skip").fit(paths)
    whole = backbone.transform(paths)
    paths[4].write_bytes(b"no image")
    with pytest.warns(UserWarning, match=r"1 of 6 images cannot be read: X\[4\].*are NaN"):
        features = backbone.transform(paths)
    assert np.isnan(features[4]).all()
    np.testing.assert_allclose(np.delete(features, 4, 0), np.delete(whole, 4, 0), atol=1e-6)
    with pytest.raises(ValueError, match=r"X\[4\]"):
        backbone.set_params(on_bad_image="raise").transform(paths)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_rows_in_flight_are_in_order_on_cuda(pixels):
    torch.manual_seed(0)
    module = Hungry(most=1000)
    expected = backbone_of(module, precision="float32").fit_transform(pixels)
    backbone = backbone_of(module, device="cuda", batch_size=4, precision="float32").fit(pixels)
    np.testing.assert_allclose(backbone.transform(pixels), expected, atol=1e-3)
    kept = backbone.extract(pixels, on_bad_image="raise", on_device=True).arrays["features"]
    assert kept.device.type == "cuda"
    np.testing.assert_allclose(kept.cpu().numpy(), backbone.transform(pixels), **FLOAT32_ROUNDING)


def test_cpu_runs_parts_whose_layers_are_small(pixels, monkeypatch):
    whole = backbone_of(Hungry(most=1000)).fit(pixels)
    whole.transform(pixels)
    assert whole._network.module.sizes[-2:] == [64, 6]
    # What the convolution gives for one image is the largest: 5 channels of 14 x 14 floats.
    for images, largest in ((4, 4), (4.9, 4), (0.5, 1)):
        monkeypatch.setattr(_network, "_CPU_BYTES", int(images * 5 * 14 * 14 * 4))
        backbone = backbone_of(Hungry(most=1000)).fit(pixels)
        features = backbone.transform(pixels)
        assert max(backbone._network.module.sizes) == largest
        np.testing.assert_allclose(features, by_hand(backbone, pixels), atol=1e-6)
    # The last part is not a small one, which would cost nearly as much as a whole one.
    monkeypatch.setattr(_network, "_CPU_BYTES", 30 * 5 * 14 * 14 * 4)
    backbone = backbone_of(Hungry(most=1000)).fit(pixels)
    backbone.transform(pixels)
    assert backbone._network.module.sizes[-4:] == [22, 21, 21, 6]
    # The loop over the sizes leaves nothing behind in the module.
    assert not any(layer._forward_hooks for layer in backbone._network.module.modules())


def test_one_image_runs_on_one_thread_and_others_on_those_that_were_set(pixels):
    seen = []

    class Counted(Hungry):
        def forward(self, x):
            seen.append((len(x), torch.get_num_threads()))
            return super().forward(x)

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        backbone = backbone_of(Counted(most=1000)).fit(pixels)
        assert seen == [(1, 1)]
        backbone.transform(pixels[:1])
        backbone.transform(pixels)
        assert seen[1:] == [(1, 3), (64, 3), (6, 3)]
        with pytest.raises(RuntimeError, match="Calculated padded input size"):
            backbone_of(torch.nn.Conv2d(3, 4, 99)).fit(pixels)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_a_module_may_give_back_its_input(pixels, monkeypatch):
    class Given(torch.nn.Module):
        def forward(self, x):
            return x.permute(0, 2, 3, 1).flatten(1)

    monkeypatch.setattr(_network, "_CPU_BYTES", 3 * pixels[0].size * 4)
    monkeypatch.setattr(TorchBackbone, "_channels_last", True)
    backbone = backbone_of(Given()).fit(pixels)
    np.testing.assert_allclose(
        backbone.transform(pixels), by_hand(backbone, pixels), **FLOAT32_ROUNDING
    )


def test_threads_may_share_a_backbone(pixels):
    torch.manual_seed(0)
    backbone = backbone_of(Hungry(most=1000), batch_size=8).fit(pixels)
    others = [np.ascontiguousarray(np.roll(pixels, i, axis=0)) for i in range(8)]
    expected = [backbone.transform(images) for images in others]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(backbone.transform, others * 4))
    np.testing.assert_allclose(found, expected * 4, **FLOAT32_ROUNDING)


def by_hand(backbone, pixels):
    """The features in plain torch; the pixels have the size of the network."""
    mean, std = map(torch.tensor, backbone.preparation().scaling)
    batch = (torch.from_numpy(pixels) / 255 - mean) / std
    with torch.no_grad():
        return backbone._network.module(batch.permute(0, 3, 1, 2)).numpy()


def test_limit_holds_with_the_parts_of_the_cpu(pixels, monkeypatch):
    monkeypatch.setattr(_network, "_CPU_BYTES", 4 * 5 * 14 * 14 * 4)
    backbone = backbone_of(Hungry(most=3)).fit(pixels)
    with pytest.warns(UserWarning, match="for 4 images at once; .* 2 at a time"):
        backbone.transform(pixels)


def test_complex_features_are_refused(pixels):
    class Spectrum(torch.nn.Module):
        def forward(self, x):
            return torch.fft.rfft(x.mean((1, 2)))

    class Parts(Spectrum):
        def forward(self, x):
            return torch.view_as_real(super().forward(x)).flatten(1)

    with pytest.raises(TypeError, match=r"dtype torch\.complex64.*real numbers.*view_as_real"):
        backbone_of(Spectrum()).fit(pixels)
    # What the message says to do.
    features = backbone_of(Parts()).fit_transform(pixels[:3])
    mean = (pixels[:3] / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    expected = np.fft.rfft(mean.mean((1, 3)))
    np.testing.assert_allclose(features[:, 1::2], expected.imag, rtol=0, atol=1e-4)


def weights_of(module, **parameters):
    """The weight matrices of a backbone's network."""
    backbone = backbone_of(module, **parameters)
    return list(backbone._build_network(("features",)).weight_matrices())


class Mixed(torch.nn.Module):
    """Layers of several kinds, two of which share their weights."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 5, (2, 3))
        self.norm = torch.nn.BatchNorm2d(5)
        self.first = torch.nn.Linear(5, 7, bias=True, dtype=torch.bfloat16)
        self.again = torch.nn.Linear(5, 7)
        self.again.weight = self.first.weight
        self.table = torch.nn.Embedding(11, 5)

    def forward(self, x):
        return self.norm(self.conv(x)).mean((2, 3))


def test_kernels_are_a_matrix_for_each_position():
    module = Mixed()
    matrices = weights_of(module)
    assert [matrix.shape for matrix in matrices] == [(5, 3)] * 6 + [(7, 5)]
    assert all(matrix.dtype == np.float32 for matrix in matrices)
    kernel = module.conv.weight.detach().numpy()
    for matrix, (row, column) in zip(matrices, np.ndindex(2, 3), strict=False):
        np.testing.assert_array_equal(matrix, kernel[:, :, row, column])
    np.testing.assert_array_equal(matrices[-1], module.first.weight.detach().float().numpy())


def test_exported_programs_have_the_same_matrices():
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 5, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    ).eval()
    program = torch.export.export(module, (torch.zeros(2, 3, 16, 16),))
    for matrix, expected in zip(weights_of(program), weights_of(module), strict=True):
        np.testing.assert_array_equal(matrix, expected)
