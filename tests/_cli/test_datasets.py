"""`rank` on a data set that Hugging Face has saved."""

import json

import numpy as np
import pytest
from helpers import import_datasets

from sklearn_ncti import ModelSelector, NCTIScorer, TimmBackbone


@pytest.fixture
def saved(tmp_path, capsys):
    """A folder that holds a data set with splits, and the pictures and labels of one."""
    datasets = import_datasets()
    Image = pytest.importorskip("PIL.Image")
    y = np.arange(60) % 3
    rng = np.random.default_rng(0)
    pixels = (rng.integers(0, 250, (60, 16, 16, 3)) + 2 * y[:, None, None, None]).astype("uint8")
    kinds = {"photo": datasets.Image(), "kind": datasets.ClassLabel(names=["ant", "bee", "cow"])}
    table = datasets.Dataset.from_dict(
        {"photo": [Image.fromarray(p) for p in pixels], "kind": y},
        features=datasets.Features(kinds),
    )
    parts = {"train": table, "test": table.select(range(6))}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "data"))
    # The bars of the writer.
    capsys.readouterr()
    return str(tmp_path / "data"), pixels, np.array(["ant", "bee", "cow"])[y]


def test_the_ranking_is_that_of_the_images(run, saved, tmp_path):
    pool = pytest.importorskip("image_pool")
    folder, pixels, labels = saved
    names = [pool.write_model(tmp_path / f"m{i}", seed=i) for i in range(2)]
    outputs = [str(tmp_path / name) for name in ("r.json", "r.html")]
    pytest.importorskip("matplotlib")
    status, _, err = run(
        *("rank", folder, "--split", "train", "--models", *names, "--device", "cpu"),
        *("--n-components", "4", "--json", outputs[0], "--html", outputs[1]),
    )
    assert status == 0
    assert "2 models on 60 images of 3 classes" in err
    models = [TimmBackbone(name, device="cpu") for name in names]
    scorer = NCTIScorer(n_components=4)
    expected = ModelSelector(models, scorer=scorer, refit=False).fit(pixels, labels)
    with open(outputs[0], encoding="utf-8") as file:
        rows = json.load(file)["results"]
    found = sorted(row["ncc"] for row in rows)
    np.testing.assert_allclose(found, sorted(expected.results_["ncc"]), rtol=1e-5)
    with open(outputs[1], encoding="utf-8") as file:
        assert "bee" in file.read()


def test_a_split_must_be_named(run, saved):
    status, out, err = run("rank", saved[0], "--models", "resnet18")
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert "holds the splits 'train', 'test'. Choose one of them with --split 'train'" in err


def test_files_of_the_data_set_are_never_written(run, saved, tmp_path):
    pytest.importorskip("timm")
    (file,) = (tmp_path / "data" / "train").glob("*.arrow")
    before = file.read_bytes()
    command = ["rank", saved[0], "--split", "train", "--models", "resnet18", "--force"]
    status, _, err = run(*command, "--json", str(file))
    assert status == 2
    assert "is a file that this run reads" in err
    assert file.read_bytes() == before
