"""Data sets as images: what is taken out of them, how often, and what is refused."""

import copy
import io
import pickle

import numpy as np
import pytest
from helpers import import_datasets
from sklearn import config_context

from sklearn_ncti.backbones._identity import identify_images
from sklearn_ncti.backbones._images import BadImageError, read_image
from sklearn_ncti.backbones._sources import ImageSource, as_images, images_and_labels

Image = pytest.importorskip("PIL.Image")

N = 6
LABELS = [0, 1, 2, 0, 1, 2]
NAMES = np.array(["ant", "bee", "cow"])


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (N, 9, 7, 3), dtype=np.uint8)


def pictures(pixels):
    return [Image.fromarray(image) for image in pixels]


def encoded(pixels):
    contents = []
    for image in pictures(pixels):
        file = io.BytesIO()
        image.save(file, "png")
        contents.append(file.getvalue())
    return contents


def read_all(images):
    return np.stack([np.asarray(read_image(images, i, "RGB")) for i in range(len(images))])


class Counted:
    """Examples by position, which count how often each is read."""

    def __init__(self, examples):
        self.examples = examples
        self.reads = []

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, index):
        self.reads.append(index)
        return self.examples[index]


# --- examples of any data set


def test_images_are_read_one_by_one(pixels):
    data = Counted(pictures(pixels))
    images = as_images(data)
    assert isinstance(images, ImageSource)
    assert (len(images), data.reads) == (N, [0])
    np.testing.assert_array_equal(read_all(images), pixels)
    # The first was read to see what it is, and is not read again.
    assert data.reads == [*range(N)]
    np.testing.assert_array_equal(np.stack([np.asarray(image) for image in images]), pixels)
    assert data.reads == [*range(N)] * 2
    assert as_images(images) is images


@pytest.mark.parametrize("kind", [tuple, list, "dict"])
def test_pairs_are_read_once_for_labels_key_and_images(pixels, kind):
    pairs = zip(pictures(pixels), LABELS, strict=True)
    examples = [
        {"image": a, "label": b, "__key__": "x"} if kind == "dict" else kind((a, b))
        for a, b in pairs
    ]
    data = Counted(examples)
    images, labels = images_and_labels(data)
    assert labels == LABELS
    identify_images(images)
    np.testing.assert_array_equal(read_all(images), pixels)
    assert data.reads == [*range(N)]
    # A list of them is no data set to read twice: it is taken apart.
    images, labels = images_and_labels(examples)
    assert labels == LABELS
    assert images == [example["image" if kind == "dict" else 0] for example in examples]


def test_images_beyond_the_working_memory_are_read_again(pixels):
    data = Counted(list(zip(np.tile(pixels, (1, 100, 10, 1)), LABELS, strict=True)))
    n_bytes = data.examples[0][0].nbytes
    with config_context(working_memory=2.5 * n_bytes / 2**20):
        images, _ = images_and_labels(data)
    read_all(images)
    assert data.reads == [*range(N), 2, 3, 4, 5]


def test_examples_without_labels(pixels):
    data = Counted(pictures(pixels))
    assert images_and_labels(data)[1] is None
    assert images_and_labels(pictures(pixels))[1] is None
    assert images_and_labels(pixels)[1] is None


def test_key_is_that_of_the_content(pixels):
    def key_of(examples):
        return identify_images(as_images(Counted(examples)))

    first = key_of(pictures(pixels))
    assert first == key_of(pictures(pixels)) == identify_images(pictures(pixels))
    other = pixels.copy()
    other[3, 0, 0, 0] += 1
    for make in (pictures, encoded, list):
        assert key_of(make(pixels)) == key_of(make(pixels.copy()))
        assert key_of(make(pixels)) != key_of(make(other))
        assert key_of(make(pixels)) != key_of(make(pixels)[::-1])


def test_a_copy_can_be_written_to(pixels):
    images = as_images(Counted(list(pixels)))
    copied = copy.deepcopy(images)
    copied[0][:] = 0
    np.testing.assert_array_equal(images[0], pixels[0])
    assert pixels[0].any()


def test_some_images_and_pickles(pixels):
    images = as_images(Counted(pictures(pixels)))
    np.testing.assert_array_equal(read_all(images.take([4, 1])), pixels[[4, 1]])
    np.testing.assert_array_equal(read_all(pickle.loads(pickle.dumps(images))), pixels)


def test_a_bad_example_is_named(pixels):
    contents = encoded(pixels)
    contents[2] = b"no image"
    images = as_images(Counted(contents))
    with pytest.raises(BadImageError, match=r"X\[2\]: this image cannot be read"):
        read_all(images)

    class Broken(Counted):
        def __getitem__(self, index):
            if index == 3:
                raise OSError("disk on fire")
            return super().__getitem__(index)

    broken = Broken(list(zip(pictures(pixels), LABELS, strict=True)))
    with pytest.raises(BadImageError, match=r"X\[3\] cannot be read \(OSError: disk on fire\)"):
        images_and_labels(broken)
    with pytest.raises(BadImageError, match=r"X\[3\].*disk on fire"):
        read_all(as_images(broken))


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ((x for x in "ab"), r"generator, which can be read once .*list\(X\)"),
        (map(str, [1]), r"map, which can be read once"),
        ({"train": [], "test": []}, r"dict with the keys \['train', 'test'\].*X\['train'\]"),
        (Counted([3.5]), r"X\[0\] is a float and no image; the examples of a data set are"),
        (Counted([("a", "b", "c")]), r"X\[0\] is a tuple and no image"),
        (Counted([]), "holds no images"),
        (Counted([{"x": 1}]), r"dict with the keys \['x'\]"),
        (
            Counted([{"image": np.zeros((4, 4)), "label": 1, "target": 2}]),
            r"\['image'\] may be the image and \['label', 'target'\] the label",
        ),
        (Counted([(np.full((4, 4, 3), -1.5), 0)]), r"X\[0\] has floating values from -1.5"),
        (Counted([(np.zeros((3, 9, 9)), 0)]), r"X\[0\] is an array.*transpose\(1, 2, 0\)"),
        (Counted([("nowhere.png", 0)]), r"X\[0\]: there is no file 'nowhere.png'"),
    ],
)
def test_refused_data_sets(X, message):
    with pytest.raises((TypeError, ValueError), match=message):
        as_images(X)


# --- torch


def test_data_sets_of_torch(pixels):
    torch = pytest.importorskip("torch")
    data = torch.utils.data

    class Own(Counted, data.Dataset):
        pass

    own = Own(
        [(image, torch.tensor(k)) for image, k in zip(pictures(pixels), LABELS, strict=True)]
    )
    images, labels = images_and_labels(data.Subset(own, [5, 0]))
    assert [int(label) for label in labels] == [2, 0]
    np.testing.assert_array_equal(read_all(images), pixels[[5, 0]])
    nchw = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    images, labels = images_and_labels(data.TensorDataset(nchw, torch.tensor(LABELS)))
    assert labels.tolist() == LABELS
    np.testing.assert_array_equal(read_all(images), pixels)
    with pytest.raises(TypeError, match=r"DataLoader, which gives batches.*loader\.dataset"):
        as_images(data.DataLoader(own))

    class Stream(data.IterableDataset):
        def __iter__(self):
            return iter(own)

    with pytest.raises(TypeError, match=r"Stream, which can be read once .*list\(X\)"):
        as_images(Stream())


def test_image_folders_of_torchvision(pixels, tmp_path, opened_files):
    torchvision = pytest.importorskip("torchvision")
    torch = pytest.importorskip("torch")
    for i, image in enumerate(pictures(pixels)):
        path = tmp_path / NAMES[LABELS[i]] / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        image.save(path)
    folder = torchvision.datasets.ImageFolder(tmp_path)
    images, labels = images_and_labels(folder)
    assert images == [path for path, _ in folder.samples]
    np.testing.assert_array_equal(labels, NAMES[folder.targets])
    images, labels = images_and_labels(torch.utils.data.Subset(folder, [3, 2]))
    assert images == [folder.samples[3][0], folder.samples[2][0]]
    assert labels.tolist() == ["bee", "bee"]
    assert not opened_files
    # Labels that are changed on the way come from the data set, with the images.
    shifted = torchvision.datasets.ImageFolder(tmp_path, target_transform=lambda k: k + 10)
    assert images_and_labels(shifted)[1] == [k + 10 for k in folder.targets]
    blank = torchvision.datasets.ImageFolder(
        tmp_path, loader=lambda path: Image.new("RGB", (4, 4))
    )
    images, labels = images_and_labels(blank)
    assert not read_all(images).any()
    np.testing.assert_array_equal(labels, NAMES[folder.targets])

    class Reversed(torchvision.datasets.ImageFolder):
        def __getitem__(self, index):
            return super().__getitem__(len(self) - 1 - index)

    assert images_and_labels(Reversed(tmp_path))[1] == folder.targets[::-1]
    transformed = torchvision.datasets.ImageFolder(
        tmp_path, transform=torchvision.transforms.ToTensor()
    )
    with pytest.raises(ValueError, match=r"ImageFolder, transforms its images.*X\.transform = No"):
        as_images(transformed)
    transformed.transform = None
    assert len(as_images(transformed)) == N


@pytest.fixture
def opened_files(monkeypatch):
    """Files that PIL opens."""
    seen = []
    real = Image.open

    def counting(file, *args, **kwargs):
        seen.append(file)
        return real(file, *args, **kwargs)

    monkeypatch.setattr(Image, "open", counting)
    return seen


# --- Hugging Face


def make_table(pixels, **columns):
    datasets = import_datasets()
    kinds = {"image": datasets.Image()}
    if "label" not in columns:
        columns["label"] = LABELS
        kinds["label"] = datasets.ClassLabel(names=NAMES.tolist())
    examples = {"image": pictures(pixels), **columns}
    table = datasets.Dataset.from_dict(examples)
    return table.cast(datasets.Features({**table.features, **kinds}))


def test_tables_of_hugging_face(pixels, opened_files):
    table = make_table(pixels)
    del opened_files[:]
    images, labels = images_and_labels(table)
    assert labels.tolist() == NAMES[LABELS].tolist()
    identify_images(images)
    # Not even the key of the cache needs a decoded image.
    assert not opened_files
    np.testing.assert_array_equal(read_all(images), pixels)
    np.testing.assert_array_equal(np.asarray(images[2]), pixels[2])
    for X in (table["image"], table.with_format("torch"), table.select(range(N))):
        np.testing.assert_array_equal(read_all(as_images(X)), pixels)
    assert identify_images(images) != identify_images(as_images(table.select([1, 0])))
    assert images_and_labels(make_table(pixels, label=list("abcabc")))[1] == list("abcabc")


def test_refused_tables_of_hugging_face(pixels):
    datasets = import_datasets()
    table = make_table(pixels)
    with pytest.raises(TypeError, match=r"DatasetDict with the keys \['train'\].*X\['train'\]"):
        as_images(datasets.DatasetDict(train=table))
    with pytest.raises(ValueError, match=r"image columns \[\] among \['label'\]"):
        as_images(table.select_columns(["label"]))
    with pytest.raises(ValueError, match=r"label columns \[\] among \['image'\].*Pass y"):
        images_and_labels(table.select_columns(["image"]))
    with pytest.raises(ValueError, match=r"transforms its examples.*with_format\(None\)"):
        as_images(table.with_transform(lambda examples: examples))
    with pytest.raises(TypeError, match=r"IterableDataset, which can be read once"):
        as_images(table.to_iterable_dataset())
    with pytest.raises(ValueError, match="holds no images"):
        as_images(table.select([]))
    unlabelled = make_table(pixels, label=[-1] * N).cast_column(
        "label", datasets.ClassLabel(names=NAMES.tolist())
    )
    with pytest.raises(ValueError, match="rows without a label, which is -1 in column 'label'"):
        images_and_labels(unlabelled)


# webdataset leaves the files open that it has read.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_tars_of_webdataset(pixels, tmp_path):
    wds = pytest.importorskip("webdataset")
    shard = tmp_path / "shard.tar"
    with wds.TarWriter(str(shard)) as writer:
        for i, content in enumerate(encoded(pixels)):
            writer.write({"__key__": f"{i}", "png": content, "cls": LABELS[i]})
    stream = wds.WebDataset(str(shard), shardshuffle=False).decode("pil")
    with pytest.raises(TypeError, match=r"list\(X\.to_tuple\('jpg;png', 'cls'\)\)"):
        as_images(stream)
    for examples in (list(stream.to_tuple("jpg;png", "cls")), list(stream)):
        images, labels = images_and_labels(examples)
        assert labels == LABELS
        np.testing.assert_array_equal(read_all(images), pixels)


def test_columns_of_polars(pixels, tmp_path):
    polars = pytest.importorskip("polars")
    paths = []
    for i, image in enumerate(pictures(pixels)):
        paths.append(str(tmp_path / f"{i}.png"))
        image.save(paths[-1])
    frame = polars.DataFrame({"path": paths, "bytes": encoded(pixels)})
    for name in ("path", "bytes"):
        np.testing.assert_array_equal(read_all(as_images(frame[name])), pixels)
