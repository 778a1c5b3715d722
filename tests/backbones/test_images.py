"""What counts as images: every input that is refused, and every one that is converted."""

import importlib.util
import os
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest

from sklearn_ncti._utils import optional as _optional
from sklearn_ncti.backbones._images import BadImageError, check_images, read_image

PIL_Image = pytest.importorskip("PIL.Image")

RNG_SEED = 0


@pytest.fixture
def pixels():
    return np.random.default_rng(RNG_SEED).integers(0, 256, (3, 9, 7, 3), dtype=np.uint8)


def read(X, index=0, mode="RGB"):
    return np.asarray(read_image(check_images(X), index, mode))


def as_rgb(grey):
    return np.repeat(np.asarray(grey)[..., None], 3, axis=-1)


# --- arrays that are images


def test_colour_array(pixels):
    for index in range(len(pixels)):
        np.testing.assert_array_equal(read(pixels, index), pixels[index])


@pytest.mark.parametrize("with_channel", [False, True])
def test_grey_array(pixels, with_channel):
    grey = pixels[..., :1] if with_channel else pixels[..., 0]
    np.testing.assert_array_equal(read(grey), as_rgb(pixels[0, ..., 0]))
    np.testing.assert_array_equal(read(grey, mode="L"), pixels[0, ..., 0])


def test_alpha_is_dropped(pixels):
    alpha = np.concatenate([pixels, pixels[..., :1]], axis=-1)
    np.testing.assert_array_equal(read(alpha), pixels[0])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_float_array_is_the_uint8_array(dtype):
    # Every one of the 256 values comes back, through half precision too.
    grey = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    floats = (grey / 255).astype(dtype)
    np.testing.assert_array_equal(read(floats, mode="L"), grey[0])


def test_float_array_is_rounded():
    floats = np.full((1, 5, 5), 0.5 / 255 + 1e-6)
    assert read(floats, mode="L").max() == 1
    assert read(floats - 2e-6, mode="L").max() == 0


def test_array_is_neither_copied_nor_changed(pixels):
    assert check_images(pixels) is pixels
    pixels.flags.writeable = False
    read(pixels)
    floats = pixels / 255
    before = floats.copy()
    read(floats)
    np.testing.assert_array_equal(floats, before)


def test_non_contiguous_array(pixels):
    np.testing.assert_array_equal(read(pixels[:, ::-1, ::2]), pixels[0, ::-1, ::2])


# --- arrays that are not


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((5, 8)), "feature matrix"),
        (np.zeros(5), r"shape \(5,\)"),
        (np.zeros((2, 2, 5, 5, 3), np.uint8), r"shape \(2, 2, 5, 5, 3\)"),
        (np.zeros((2, 5, 5, 2), np.uint8), "2 channels"),
        (np.zeros((2, 3, 8, 8), np.uint8), r"transpose\(0, 2, 3, 1\)"),
        (np.zeros((2, 1, 8, 8), np.uint8), r"transpose\(0, 2, 3, 1\)"),
        (np.zeros((8, 8, 3), np.uint8), r"one image.*X\[None\]"),
        (np.zeros((0, 8, 8), np.uint8), "at least one"),
        (np.zeros((2, 0, 8, 3), np.uint8), "without any pixel"),
        (np.zeros((2, 8, 8), np.int64), "dtype int64.*astype"),
        (np.zeros((2, 8, 8), np.uint16), "dtype uint16.*divide"),
        (np.zeros((2, 8, 8), bool), "dtype bool.*float32"),
        (np.zeros((2, 8, 8), complex), "dtype complex128"),
        (np.full((2, 8, 8), 255.0), "from 255 to 255.*[Dd]ivide"),
        (np.full((2, 8, 8), -0.25), "from -0.25 to -0.25"),
        (np.where(np.eye(8) > 0, np.nan, 0.5)[None], "NaN"),
        (np.where(np.eye(8) > 0, np.inf, 0.5)[None], "NaN or infinite"),
        (np.array([["a.png", "b.png"]]), "one dimension"),
        (np.zeros((2, 2), dtype=object), "one dimension"),
        ([], "at least one"),
        (np.array([], dtype=object), "at least one"),
    ],
)
def test_rejected_values(X, message):
    with pytest.raises(ValueError, match=message):
        check_images(X)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (None, "NoneType"),
        (3, "int"),
        (b"abc", "bytes"),
        ({"a": 1}, "dict"),
        ((path for path in ["a.png"]), "generator"),
        ("cat.png", "single path.*load_image_folder"),
        (Path("cat.png"), "single path"),
        ([1, 2], r"X\[0\] is of type int"),
        ([[0, 1], [2, 3]], r"X\[0\] is of type list"),
        ([None], r"X\[0\] is of type NoneType"),
    ],
)
def test_rejected_types(X, message):
    with pytest.raises(TypeError, match=message):
        check_images(X)


def test_single_pil_image_is_rejected():
    with pytest.raises(TypeError, match=r"single PIL image.*\[image\]"):
        check_images(PIL_Image.new("RGB", (4, 4)))


def test_torch_tensors(pixels):
    torch = pytest.importorskip("torch")
    nchw = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    for tensor in (nchw, nchw.float() / 255, (nchw / 255).to(torch.bfloat16)):
        error = 1 if tensor.dtype == torch.bfloat16 else 0
        got = read(tensor, 1).astype(int)
        assert abs(got - pixels[1]).max() <= error
    # On the CPU nothing is copied.
    assert np.shares_memory(check_images(nchw), pixels)
    # Three of them would look like the channels of one image.
    grey = nchw[:2, 0]
    np.testing.assert_array_equal(read(grey, mode="L"), pixels[0, ..., 0])
    np.testing.assert_array_equal(read(grey[:, None], mode="L"), pixels[0, ..., 0])


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 9, 9, 3), r"shape \(2, 9, 9, 3\); tensors .*permute\(0, 3, 1, 2\)"),
        ((2, 3, 9, 3), r"3 pixels wide, or channels in the last place"),
        ((3, 9, 9), r"looks like one image with 3 channels.*X\[None\]"),
        ((2, 8), "feature matrix"),
    ],
)
def test_rejected_tensors(shape, message):
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match=message):
        check_images(torch.zeros(shape))


def test_arrays_and_tensors_of_mixed_sizes(pixels):
    torch = pytest.importorskip("torch")
    items = [pixels[0], pixels[1, :5], pixels[2, ..., 0], pixels[0] / 255, pixels[0][..., :1]]
    items += [torch.from_numpy(pixels[1]).permute(2, 0, 1), pixels[0].tobytes()]
    expected = [pixels[0], pixels[1, :5], as_rgb(pixels[2, ..., 0]), pixels[0]]
    expected += [as_rgb(pixels[0, ..., 0]), pixels[1]]
    for index, image in enumerate(expected):
        np.testing.assert_array_equal(read(items, index), image)
    mixed = np.empty(2, dtype=object)
    mixed[:] = items[:2]
    np.testing.assert_array_equal(read(mixed, 1), pixels[1, :5])
    with pytest.raises(BadImageError, match=r"X\[6\]: this image cannot be read"):
        read(items, 6)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (np.zeros((3, 9, 9), np.uint8), r"X\[0\] is an array .*transpose\(1, 2, 0\)"),
        (np.zeros(9), r"X\[0\] is an array of shape \(9,\)"),
        (np.full((9, 9, 3), 200.0), r"X\[0\] has floating values from 200 to 200"),
        (np.zeros((9, 9), int), r"X\[0\] has dtype int64"),
        (np.zeros((0, 9)), r"X\[0\], of shape \(1, 0, 9, 1\), holds images without any pixel"),
        (b"", r"X\[0\]: the bytes of the image are empty"),
    ],
)
def test_rejected_arrays_in_a_list(item, message):
    with pytest.raises(ValueError, match=message):
        check_images([item])


def test_encoded_images(tmp_path, pixels):
    path = tmp_path / "1.png"
    PIL_Image.fromarray(pixels[0]).save(path)
    content = path.read_bytes()
    for item in (
        content,
        bytearray(content),
        {"bytes": content, "path": None},
        {"bytes": None, "path": str(path)},
    ):
        np.testing.assert_array_equal(read([item]), pixels[0])
    with pytest.raises(ValueError, match="there is no file 'nowhere'"):
        check_images([{"bytes": None, "path": "nowhere"}])


def test_tables_are_rejected():
    pd = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match=r"DataFrame.*feature matrix.*column"):
        check_images(pd.DataFrame({"path": ["a.png"]}))
    from scipy.sparse import csr_matrix

    with pytest.raises(ValueError, match=r"csr_matrix.*feature matrix"):
        check_images(csr_matrix(np.eye(3)))


# --- files


@pytest.fixture
def files(tmp_path, pixels):
    paths = []
    for index, image in enumerate(pixels):
        path = tmp_path / f"{index}.png"
        PIL_Image.fromarray(image).save(path)
        paths.append(path)
    return paths


def sequences_of(paths):
    texts = [str(path) for path in paths]
    yield texts
    yield tuple(texts)
    yield paths
    yield np.array(texts)
    yield np.array(texts, dtype=object)
    yield np.array(paths, dtype=object)
    if importlib.util.find_spec("pandas"):
        import pandas as pd

        yield pd.Series(texts, index=[30, 10, 20])


def test_kinds_of_sequences_of_paths(files, pixels):
    for X in sequences_of(files):
        for index in range(3):
            np.testing.assert_array_equal(read(X, index), pixels[index])


def test_paths_and_pil_images_mixed(files, pixels):
    X = [files[0], PIL_Image.fromarray(pixels[1]), str(files[2])]
    for index in range(3):
        np.testing.assert_array_equal(read(X, index), pixels[index])


def test_lazily_opened_image(files, pixels):
    with PIL_Image.open(files[1]) as image:
        np.testing.assert_array_equal(read([image]), pixels[1])


def test_missing_file_and_folder(files, tmp_path):
    with pytest.raises(ValueError, match=r"X\[1\]: there is no file .*absent\.png"):
        check_images([files[0], tmp_path / "absent.png"])
    with pytest.raises(ValueError, match=r"X\[1\]: .* is a folder"):
        check_images([files[0], tmp_path])


def test_file_that_is_no_image(tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("not an image")
    with pytest.raises(ValueError, match=r"X\[0\].*notes\.png.*cannot be read") as caught:
        read([path])
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_no_file_is_named(tmp_path):
    pipe, link = tmp_path / "pipe.png", tmp_path / "link.png"
    os.mkfifo(pipe)
    link.symlink_to("gone.png")
    with pytest.raises(ValueError, match=r"X\[0\]: .*pipe\.png' is neither.*a named pipe"):
        check_images([pipe])
    with pytest.raises(ValueError, match=r"X\[0\]: .*link\.png' is a broken link.*'gone\.png'"):
        check_images([link])
    (tmp_path / "gone.png").touch()
    assert check_images([link]) == [link]


# --- formats

# Those that lose nothing, and a mode that they can hold.
EXACT = {
    "BMP": "RGB",
    "DDS": "RGB",
    "DIB": "RGB",
    "GIF": "L",
    "ICO": "RGB",
    "JPEG2000": "RGB",
    "MSP": "1",
    "PCX": "RGB",
    "PNG": "RGB",
    "PPM": "RGB",
    "SGI": "RGB",
    "TGA": "RGB",
    "TIFF": "RGB",
    "XBM": "1",
}


def can_write(format):
    PIL_Image.init()
    return format in PIL_Image.SAVE and format in PIL_Image.OPEN


@pytest.mark.parametrize("format", EXACT)
def test_formats(tmp_path, format):
    if not can_write(format):
        pytest.skip("this Pillow does not write it")
    noise = np.random.default_rng(RNG_SEED).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    image = PIL_Image.fromarray(noise).convert(EXACT[format])
    # The name says nothing: images on the web often have a wrong one.
    path = tmp_path / "image.jpg"
    image.save(path, format)
    np.testing.assert_array_equal(read([path]), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("format", ["AVIF", "JPEG", "MPO", "WEBP"])
def test_formats_that_lose(tmp_path, format):
    if format != "MPO" and not can_write(format):
        pytest.skip("this Pillow does not write it")
    image = PIL_Image.new("RGB", (24, 16), (200, 30, 90))
    path = tmp_path / "image.png"
    # Cameras write two pictures into one file.
    several = {"save_all": True, "append_images": [image]} if format == "MPO" else {}
    image.save(path, format, **several)
    np.testing.assert_allclose(read([path]), np.asarray(image), rtol=0, atol=8)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"


def iptc(content):
    """Wrap a file in IPTC, as a picture of 10 x 10 grey pixels without compression."""
    fields = [
        (3, 20, b"\x0a"),
        (3, 30, b"\x0a"),
        (3, 60, b"\x00\x01"),
        (3, 65, b"\x01"),
        (3, 120, b"\x05"),
        (8, 10, content),
    ]
    return b"".join(
        bytes([0x1C, record, field]) + len(value).to_bytes(2, "big") + value
        for record, field, value in fields
    )


@pytest.mark.skipif(os.name != "posix", reason="needs a shell script on the PATH")
@pytest.mark.parametrize("content", [EPS, iptc(EPS)], ids=["EPS", "EPS in IPTC"])
def test_no_program_is_started(tmp_path, monkeypatch, content):
    program, called = tmp_path / "gs", tmp_path / "called"
    program.write_text(f"#!/bin/sh\ntouch {called}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    eps = pytest.importorskip("PIL.EpsImagePlugin")
    # Where Pillow looks for Ghostscript once, and may have found none.
    monkeypatch.setattr(eps, "gs_binary", None)
    path = tmp_path / "image.jpg"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"image\.jpg.*cannot be read.*Read are .*JPEG, "):
        read([path])
    assert not called.exists()


def test_format_that_is_not_read_is_named(tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(EPS)
    with pytest.raises(ValueError, match="EPS is not read"):
        read([path])


def test_formats_that_the_user_registered(tmp_path, monkeypatch):
    for name in ("OPEN", "ID"):
        monkeypatch.setattr(PIL_Image, name, getattr(PIL_Image, name).copy())

    def make(file, name):
        return PIL_Image.new("L", (3, 2), 7)

    PIL_Image.register_open("OWN", make, lambda start: start.startswith(b"own"))
    path = tmp_path / "image.own"
    path.write_bytes(b"own format")
    np.testing.assert_array_equal(read([path]), np.full((2, 3, 3), 7))


# --- large images


def declare_size(path, width, height):
    """Write a PNG of one pixel whose header tells another size."""
    PIL_Image.new("L", (1, 1)).save(path)
    data = bytearray(path.read_bytes())
    header = b"IHDR" + struct.pack(">II", width, height) + bytes(data[24:29])
    data[12:33] = header + struct.pack(">I", zlib.crc32(header))
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("filter", ["error", "ignore"])
def test_bound_of_pixels(tmp_path, monkeypatch, filter):
    large, small = tmp_path / "large.png", tmp_path / "small.png"
    PIL_Image.new("RGB", (101, 20)).save(large)
    PIL_Image.new("RGB", (100, 20)).save(small)
    with warnings.catch_warnings():
        warnings.simplefilter(filter)
        monkeypatch.setattr(PIL_Image, "MAX_IMAGE_PIXELS", 1000)
        with pytest.raises(BadImageError, match=r"large\.png.*101 x 20 pixels.*more than 2000"):
            read([large])
        # Of these Pillow warns.
        assert read([small]).shape == (20, 100, 3)
        monkeypatch.setattr(PIL_Image, "MAX_IMAGE_PIXELS", None)
        assert read([large]).shape == (20, 101, 3)


def test_size_is_looked_at_before_memory_is_taken(tmp_path):
    path = tmp_path / "huge.png"
    declare_size(path, 2**30, 2**30)
    with pytest.raises(BadImageError, match=r"huge\.png.*1073741824 x 1073741824 pixels"):
        read([path])


@pytest.mark.parametrize("extension", ["png", "jpg"])
def test_truncated_file(tmp_path, extension):
    path = tmp_path / f"cut.{extension}"
    noise = np.random.default_rng(RNG_SEED).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    PIL_Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=rf"cut\.{extension}.*cannot be read") as caught:
        read([path])
    assert isinstance(caught.value.__cause__, OSError)


def test_corrupt_data_names_the_file(tmp_path):
    path = tmp_path / "broken.png"
    PIL_Image.new("RGB", (8, 8)).save(path)
    data = bytearray(path.read_bytes())
    start = data.index(b"IDAT") + 4
    data[start : start + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"broken\.png"):
        read([path])


def test_decoders_other_errors_name_the_file_too(files, monkeypatch):
    def fail(self):
        raise SyntaxError("broken chunk")

    PIL_Image.init()
    monkeypatch.setattr(PIL_Image.OPEN["PNG"][0], "load", fail)
    with pytest.raises(ValueError, match=r"0\.png.*SyntaxError: broken chunk"):
        read(files)


def test_file_that_vanishes_after_the_check(files):
    X = check_images(files)
    files[0].unlink()
    with pytest.raises(ValueError, match=r"0\.png.*FileNotFoundError"):
        read_image(X, 0, "RGB")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_files_are_closed(files, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        read([files[0]])
        with pytest.raises(ValueError, match="broken"):
            read([broken])
    assert len(os.listdir("/proc/self/fd")) == before


def test_image_without_pixels():
    with pytest.raises(ValueError, match=r"X\[1\].*\(0, 5\)"):
        check_images([PIL_Image.new("RGB", (2, 2)), PIL_Image.new("RGB", (0, 5))])


# --- modes of PIL


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"])
@pytest.mark.parametrize("target", ["RGB", "L"])
def test_ordinary_modes_convert_as_pil_does(pixels, mode, target):
    image = PIL_Image.fromarray(pixels[0]).convert(mode)
    before = image.copy()
    np.testing.assert_array_equal(read([image], mode=target), np.asarray(image.convert(target)))
    assert image.mode == mode
    assert image.tobytes() == before.tobytes()


@pytest.mark.parametrize("transparency", [3, bytes([0, 128, 255, 7])])
def test_palette_with_transparency(tmp_path, transparency):
    # Warnings are errors in these tests: PIL warns about the direct way to RGB.
    image = PIL_Image.new("P", (2, 2))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    image.putdata([0, 1, 2, 3])
    path = tmp_path / "palette.png"
    image.save(path, transparency=transparency)
    expected = [[[10, 20, 30], [40, 50, 60]], [[70, 80, 90], [100, 110, 120]]]
    np.testing.assert_array_equal(read([path]), expected)


@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
def test_sixteen_bit_grey_is_scaled(dtype):
    values = np.array([[0, 128, 129, 257], [32768, 65278, 65407, 65535]], dtype=dtype)
    expected = np.rint(values.astype(float) / 257)
    image = PIL_Image.fromarray(values)
    assert image.mode.startswith("I;16")
    np.testing.assert_array_equal(read([image], mode="L"), expected)
    np.testing.assert_array_equal(read([image]), as_rgb(expected))


def test_sixteen_bit_png(tmp_path):
    values = np.linspace(0, 65535, 64).round().astype(np.uint16).reshape(8, 8)
    path = tmp_path / "deep.png"
    PIL_Image.fromarray(values).save(path)
    np.testing.assert_array_equal(read([path], mode="L"), np.rint(values / 257.0))


def test_integer_image():
    values = np.array([[0, 65535]], dtype=np.int32)
    np.testing.assert_array_equal(read([PIL_Image.fromarray(values)], mode="L"), [[0, 255]])
    for wrong in (-1, 65536):
        image = PIL_Image.fromarray(np.array([[0, wrong]], dtype=np.int32))
        with pytest.raises(ValueError, match=rf"X\[0\].*{wrong}.*0\.\.65535"):
            read([image])


def test_float_image():
    values = np.array([[0, 0.5, 1]], dtype=np.float32)
    np.testing.assert_array_equal(read([PIL_Image.fromarray(values)], mode="L"), [[0, 128, 255]])
    for wrong in (-0.5, 2, np.nan):
        image = PIL_Image.fromarray(np.array([[0, wrong]], dtype=np.float32))
        with pytest.raises(ValueError, match=r"X\[0\].*\[0, 1\]"):
            read([image])


def test_mode_that_pil_cannot_convert():
    image = PIL_Image.new("La", (2, 2))
    with pytest.raises(ValueError, match=r"X\[0\].*La"):
        read([image])


# --- what is not installed


def test_import_needs_neither_torch_nor_pil():
    code = (
        "import sys, sklearn_ncti.backbones, sklearn_ncti.datasets\n"
        "heavy = {'torch', 'timm', 'PIL', 'torchvision', 'tqdm'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_missing_extra_is_named(monkeypatch, pixels):
    def absent(module):
        raise ModuleNotFoundError(f"No module named {module!r}", name=module.partition(".")[0])

    from sklearn_ncti.backbones import TimmBackbone

    backbone = TimmBackbone("test_resnet", pretrained=False)
    monkeypatch.setattr(_optional, "import_module", absent)
    with pytest.raises(ImportError, match=r"'torch'.*pip install 'sklearn-ncti\[timm\]'"):
        backbone.fit(pixels)
