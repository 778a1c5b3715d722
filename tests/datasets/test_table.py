"""Paths or texts, and labels, from a table."""

import csv
import json
import os
import sys

import numpy as np
import pytest

from sklearn_ncti.datasets import load_image_table, load_text_table

ROWS = {"path": ["b/1.png", "a/2.png", "b/3.png", "a/4.png", "c.png"], "label": list("babac")}


def write(path, columns):
    """Write a CSV or Parquet file of these columns."""
    if path.suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table(columns), path)
        return path
    delimiter = "\t" if path.suffix == ".tsv" else ","
    lines = [columns, *zip(*columns.values(), strict=True)]
    text = "\n".join(delimiter.join(map(str, line)) for line in lines)
    # As spreadsheets write it.
    path.write_text(text + "\n", encoding="utf-8-sig")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".CSV"])
def test_paths_start_from_the_folder_of_the_table(tmp_path, suffix):
    paths, labels = load_image_table(write(tmp_path / f"photos{suffix}", ROWS))
    names = [os.path.relpath(path, tmp_path) for path in paths]
    assert names == [
        os.path.normpath(p) for p in ("a/2.png", "a/4.png", "b/1.png", "b/3.png", "c.png")
    ]
    assert labels.tolist() == ["a", "a", "b", "b", "c"]


def test_absolute_paths_stay_as_they_are(tmp_path):
    rows = {"path": [str(tmp_path / "1.png"), str(tmp_path / "2.png")], "label": ["a", "b"]}
    (tmp_path / "tables").mkdir()
    assert load_image_table(write(tmp_path / "tables" / "t.csv", rows))[0] == rows["path"]


def test_columns_by_name(tmp_path):
    rows = {"Filename": ROWS["path"], "class": ROWS["label"], "colour": list("rgrgr")}
    table = write(tmp_path / "t.csv", rows)
    assert load_image_table(table)[1].tolist() == ["a", "a", "b", "b", "c"]
    assert load_image_table(table, labels="colour")[1].tolist() == ["g", "g", "r", "r", "r"]
    other = write(tmp_path / "u.csv", {"path": ["x"] * 5, "photo": ROWS["path"], **rows})
    with pytest.raises(ValueError, match=r"columns \['path', 'Filename'\] for images.*'photo'"):
        load_image_table(other)
    assert load_image_table(other, images="photo")[0][0].endswith("2.png")
    with pytest.raises(ValueError, match=r"no column 'x'; its columns are 'path', 'photo'"):
        load_image_table(other, images="x")


def test_labels_of_parquet_keep_their_type(tmp_path):
    rows = {"path": ROWS["path"], "label": [10, 9, 10, 9, 1], "__index_level_0__": range(5)}
    _, labels = load_image_table(write(tmp_path / "t.parquet", rows))
    np.testing.assert_array_equal(labels, [1, 9, 9, 10, 10])


def test_limit_is_evenly_spaced(tmp_path):
    rows = {"path": [f"{i}.png" for i in range(10)], "label": ["a"] * 9 + ["b"]}
    paths, _ = load_image_table(write(tmp_path / "t.csv", rows), limit_per_class=3)
    assert [os.path.basename(path) for path in paths] == ["0.png", "3.png", "6.png", "9.png"]
    with pytest.raises(ValueError, match="at least 1; got 0"):
        load_image_table(tmp_path / "t.csv", limit_per_class=0)


def test_rows_of_splits(tmp_path):
    rows = {**ROWS, "split": ["train", "train", "test", "test", "train"]}
    table = write(tmp_path / "t.csv", rows)
    with pytest.raises(
        ValueError, match=r"splits 'test', 'train'.*split='train'; with split='.' a"
    ):
        load_image_table(table)
    assert load_image_table(table, split="test")[1].tolist() == ["a", "b"]
    assert len(load_image_table(table, split=".")[0]) == 5
    with pytest.raises(ValueError, match=r"split='val' is no value of .* 'test', 'train'"):
        load_image_table(table, split="val")
    # One split is no choice.
    one = write(tmp_path / "u.csv", {**ROWS, "split": ["train"] * 5})
    assert len(load_image_table(one)[0]) == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as a table: it is empty"),
        ("path,path\n", r"\['path'\] more than once"),
        ("path,label\na.png,x\nb.png\n", "line 3 has 1 cells and the header 2"),
        ('path,label\n"a.png,x\n', "cannot be read as a table: unexpected end of data"),
        ("path,label\na.png,x\n,y\n", "no path in row 2, but ''"),
        ("path,label\na.png,x\nb.png,\n", "no label in row 2: ''"),
        ("path,label\na.png,x\nb.png,x\n", "at least two classes; it holds 'x'"),
        ("path,label\n", "at least two classes; it holds none"),
        ("name,label\na.png,x\n", r"the columns \[\] for images; its columns are 'name', 'label'"),
    ],
)
def test_refused_tables(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_image_table(tmp_path / "t.csv")


def test_files_that_are_no_tables(tmp_path):
    with pytest.raises(ValueError, match=r"t\.csv' cannot be read as a table.*No such file"):
        load_image_table(tmp_path / "t.csv")
    pytest.importorskip("pyarrow")
    (tmp_path / "t.parquet").write_bytes(b"PAR0 no table")
    with pytest.raises(ValueError, match=r"t\.parquet' cannot be read as a table"):
        load_image_table(tmp_path / "t.parquet")


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install 'sklearn-ncti\[parquet\]'"):
        load_image_table(tmp_path / "t.parquet")


TEXTS = {"text": ["one", "a, b", 'the "third"', "vier\nfünf"], "label": list("baba")}


def write_objects(path, rows):
    path.write_text("".join(json.dumps(row) + "\n\n" for row in rows), encoding="utf-8-sig")
    return path


def rows_of(columns):
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".jsonl", ".ndjson", ".JSONL"])
def test_texts_of_every_format(tmp_path, suffix):
    file = tmp_path / f"t{suffix}"
    if suffix in (".csv", ".tsv"):
        with file.open("w", encoding="utf-8", newline="") as lines:
            writer = csv.writer(lines, delimiter="\t" if suffix == ".tsv" else ",")
            writer.writerows([TEXTS, *zip(*TEXTS.values(), strict=True)])
    elif suffix == ".parquet":
        write(file, TEXTS)
    else:
        write_objects(file, rows_of(TEXTS))
    texts, labels = load_text_table(file)
    assert texts == ["a, b", "vier\nfünf", "one", 'the "third"']
    assert labels.tolist() == ["a", "a", "b", "b"]
    # The columns can be the other way round: classes are sorted.
    assert load_text_table(file, text="label", label="text")[0] == ["a", "b", "b", "a"]


def test_columns_splits_and_limit_of_texts(tmp_path):
    rows = [
        {"Sentence": str(i), "kind": i % 2, "split": "train" if i < 8 else "test"}
        for i in range(10)
    ]
    file = write_objects(tmp_path / "t.jsonl", rows)
    with pytest.raises(ValueError, match=r"the columns \[\] for labels; its columns are 'Sent"):
        load_text_table(file, split="train")
    with pytest.raises(ValueError, match=r"no column 'body'; its columns are 'Sentence', 'kind'"):
        load_text_table(file, text="body", split="train")
    with pytest.raises(ValueError, match=r"splits 'test', 'train'"):
        load_text_table(file, label="kind")
    texts, labels = load_text_table(file, label="kind", split="train", limit_per_class=2)
    assert texts == ["0", "4", "1", "5"]
    np.testing.assert_array_equal(labels, [0, 0, 1, 1])


def test_an_empty_text_is_missing_where_the_format_has_no_other_sign(tmp_path):
    rows = {"text": ["", "one", "two"], "label": list("aab")}
    assert load_text_table(write_objects(tmp_path / "t.jsonl", rows_of(rows)))[0][0] == ""
    with pytest.raises(ValueError, match=r"t\.csv' has no text in row 1, but ''\. Complete that"):
        load_text_table(write(tmp_path / "t.csv", rows))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as a table: it is empty"),
        ('{"text": "a"}\n{"text": \n', "line 2 is no JSON "),
        ('{"text": "a", "text": "b"}\n', r"line 1 is no JSON \(it has \['text'\] more than once"),
        ('["a", "b"]\n', r"line 1 is no JSON object, but \['a', 'b'\]"),
        ('{"text": "a", "label": 1}\n{"label": 2}\n', "no text in row 2, but None"),
        ('{"text": "a", "label": 1}\n{"text": NaN, "label": 2}\n', "no text in row 2, but nan"),
        ('{"text": "a", "label": 1}\n{"text": 7, "label": 2}\n', "no text in row 2, but 7"),
        ('{"text": "a", "label": 1}\n{"text": "\\ud800", "label": 2}\n', "no text in row 2"),
        ('{"text": "a", "label": 1}\n{"text": "b"}\n', "no label in row 2: None"),
        ('{"text": "a", "label": 1}\n{"text": "b", "label": "1"}\n', "label '1' of type str in"),
        ('{"text": "a", "label": [1]}\n', r"label \[1\] of type list in row 1"),
    ],
)
def test_refused_lines_of_json(tmp_path, text, message):
    (tmp_path / "t.jsonl").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_text_table(tmp_path / "t.jsonl")


def test_images_in_lines_of_json(tmp_path):
    rows = [{"path": "b.png", "label": 1}, {"path": "a.png", "label": 0}]
    paths, labels = load_image_table(write_objects(tmp_path / "t.jsonl", rows))
    assert paths == [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    assert labels.tolist() == [0, 1]
