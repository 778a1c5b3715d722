"""Files of features in all the forms that the command `score` reads."""

import csv
import json

import numpy as np
import pytest


@pytest.fixture
def arrays(files):
    with np.load(files[0]) as stored:
        return stored["features"], stored["labels"]


def write_table(path, X, y, label="label"):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"f{i}" for i in range(X.shape[1])), label])
        writer.writerows(
            [*map(repr, map(float, row)), name] for row, name in zip(X, y, strict=True)
        )


def write_parquet(path, columns):
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table(columns), path)


def write_tensors(path, arrays):
    pytest.importorskip("safetensors.numpy").save_file(arrays, path)


def scores_of(out):
    """The table without the names of the candidates, and without the notes."""
    return [line.split()[2:] for line in out.splitlines()[1:2]]


@pytest.fixture
def expected(run, files):
    status, out, _ = run("score", files[0])
    assert status == 0
    return scores_of(out)


def test_other_names_of_arrays(run, arrays, expected, tmp_path):
    X, y = arrays
    np.savez(tmp_path / "a.npz", emb=X, target=y, ids=np.arange(len(y)))
    status, _, err = run("score", str(tmp_path / "a.npz"))
    assert status == 2
    assert "has no 'features'; it has 'emb', 'target', 'ids'; choose with --features NAME" in err
    status, _, err = run("score", str(tmp_path / "a.npz"), "--features", "emb")
    assert status == 2
    assert "has no 'labels' or 'label'; it has 'emb', 'target', 'ids'; choose with --labels" in err
    status, out, _ = run(
        "score", str(tmp_path / "a.npz"), "--features", "emb", "--labels", "target"
    )
    assert status == 0
    assert scores_of(out) == expected


def test_array_and_labels_of_their_own(run, arrays, expected, tmp_path):
    X, y = arrays
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", y)
    (tmp_path / "y.txt").write_text("\n".join(y) + "\n")
    status, _, err = run("score", str(tmp_path / "x.npy"))
    assert status == 2
    assert "holds features alone; give the file of the labels: --labels FILE.npy" in err
    for labels in ("y.npy", "y.txt"):
        status, out, _ = run("score", str(tmp_path / "x.npy"), "--labels", str(tmp_path / labels))
        assert status == 0
        assert scores_of(out) == expected
    status, _, err = run("score", str(tmp_path / "x.npy"), "--labels", str(tmp_path / "no.npy"))
    assert status == 2
    assert "no.npy cannot be read" in err
    # The file of the labels is read by the run, and not overwritten.
    status, _, err = run(
        *("score", str(tmp_path / "x.npy"), "--labels", str(tmp_path / "y.txt")),
        *("--json", str(tmp_path / "y.txt"), "--force"),
    )
    assert status == 2
    assert "is a file that this run reads" in err


def test_tensors(run, arrays, expected, tmp_path):
    X, y = arrays
    codes = np.unique(y, return_inverse=True)[1]
    write_tensors(tmp_path / "a.safetensors", {"features": X, "labels": codes})
    status, out, _ = run("score", str(tmp_path / "a.safetensors"))
    assert status == 0
    assert scores_of(out) == expected


def test_tables(run, arrays, expected, tmp_path, files):
    X, y = arrays
    write_table(tmp_path / "a.csv", X, y)
    status, out, _ = run("score", str(tmp_path / "a.csv"))
    assert status == 0
    assert scores_of(out) == expected
    write_table(tmp_path / "b.csv", X, y, label="species")
    status, out, _ = run("score", str(tmp_path / "b.csv"), "--labels", "species")
    assert scores_of(out) == expected
    status, _, err = run("score", str(tmp_path / "b.csv"))
    assert status == 2
    assert "b.csv has no 'labels' or 'label'; it has 'f0', " in err
    # Next to a file of another kind.
    status, out, _ = run("score", str(tmp_path / "a.csv"), files[1])
    assert status == 0


def test_lines_of_json(run, arrays, expected, tmp_path):
    rows = [
        {"features": x, "label": str(y)}
        for x, y in zip(arrays[0].tolist(), arrays[1], strict=True)
    ]
    file = tmp_path / "a.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    status, out, _ = run("score", str(file))
    assert status == 0
    assert scores_of(out) == expected
    # A row without features.
    file.write_text("\n".join(map(json.dumps, [*rows, {"label": "ant"}])))
    status, _, err = run("score", str(file))
    assert status == 2
    assert "no list of numbers of one length in each row of the column 'features'" in err


def test_parquet(run, arrays, expected, tmp_path):
    X, y = arrays
    columns = {f"f{i}": column for i, column in enumerate(X.T)} | {"labels": y}
    write_parquet(tmp_path / "a.parquet", columns)
    write_parquet(tmp_path / "b.parquet", {"features": X.tolist(), "labels": y, "id": y})
    write_parquet(tmp_path / "c.parquet", {"emb": X.tolist(), "labels": y, "id": y})
    for name, options in (("a", []), ("b", []), ("c", ["--features", "emb"])):
        status, out, _ = run("score", str(tmp_path / f"{name}.parquet"), *options)
        assert status == 0
        assert scores_of(out) == expected
    status, _, err = run("score", str(tmp_path / "c.parquet"))
    assert status == 2
    assert "has a column 'emb' that holds other things than numbers" in err
    status, _, err = run("score", str(tmp_path / "c.parquet"), "--features", "id")
    assert status == 2
    assert "no list of numbers of one length in each row of the column 'id'" in err


def test_labels_of_text_and_of_numbers_are_equal(run, arrays, tmp_path):
    X, y = arrays
    codes = np.unique(y, return_inverse=True)[1]
    np.savez(tmp_path / "a.npz", features=X, labels=codes)
    write_table(tmp_path / "b.csv", X[:, :10], codes)
    status, out, _ = run("score", str(tmp_path / "a.npz"), str(tmp_path / "b.csv"))
    assert status == 0
    assert len(out.splitlines()) > 3
    write_table(tmp_path / "c.csv", X[:, :10], codes + 1)
    status, _, err = run("score", str(tmp_path / "a.npz"), str(tmp_path / "c.csv"))
    assert status == 2
    assert "have different labels" in err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pt", b"x", ".pt is of no kind that is read: .npz, .npy, .safetensors, .csv"),
        ("a.npz", b"text", "cannot be read as .npz file: it holds Python objects, or is no such"),
        ("a.npy", b"text", "cannot be read as .npy file"),
        ("a.csv", b"", "cannot be read as a table: it is empty"),
        (
            "a.csv",
            b"label,f\nx,1\ny,no\n",
            "has a column 'f' that holds other things than numbers",
        ),
        ("a.csv", b"label\nx\ny\n", "has no column of features next to that of the labels"),
        ("absent.npz", None, "absent.npz does not exist"),
    ],
)
def test_refused_files(run, tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    status, out, err = run("score", str(tmp_path / name))
    assert out == ""
    assert message in err
    assert status == 2
    assert len(err.splitlines()) == 1


def test_features_of_python_objects_are_refused(run, tmp_path):
    np.savez(tmp_path / "a.npz", features=np.array([{}, []], dtype=object), labels=[0, 1])
    status, _, err = run("score", str(tmp_path / "a.npz"))
    assert status == 2
    assert "it holds Python objects" in err


def test_rank_takes_a_table(run, tmp_path, monkeypatch):
    monkeypatch.setattr("sklearn_ncti._cli.commands.expand_model_names", list)
    table = tmp_path / "photos.csv"
    table.write_text("path,label,split\n1.png,a,train\n2.png,b,train\n3.png,b,test\n")
    for name in "123":
        (tmp_path / f"{name}.png").touch()
    status, out, err = run("rank", str(table), "--models", "x")
    assert (status, out) == (2, "")
    assert "rows of the splits 'test', 'train'. Choose one of them with --split 'train'" in err
    _, _, err = run("rank", str(table), "--split", "train", "--models", "x")
    assert "1 models on 2 images of 2 classes" in err
    _, _, err = run("rank", str(table), "--split", ".", "--labels", "split", "--models", "x")
    assert "1 models on 3 images of 2 classes" in err
    status, _, err = run("rank", str(table), "--images", "photo", "--models", "x")
    assert status == 2
    assert "no column 'photo'; its columns are 'path', 'label', 'split'" in err
    arguments = ["--split", ".", "--models", "x", "--csv", str(table), "--force"]
    status, _, err = run("rank", str(table), *arguments)
    assert status == 2
    assert "is a file that this run reads" in err
