"""What counts as texts, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from sklearn_ncti.backbones._texts import check_texts, warn_of_empty


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ("one text", TypeError, r"a single str; .*use \[X\]"),
        (b"one text", TypeError, "a single bytes"),
        ([], ValueError, "holds no texts"),
        (7, TypeError, "X is of type int"),
        ({"a": "text"}, TypeError, "X is of type dict"),
        (["a", None], ValueError, r"X\[1\] is None, a missing text"),
        (["a", float("nan")], ValueError, r"X\[1\] is nan, a missing text"),
        (np.array(["a", np.nan], dtype=object), ValueError, r"X\[1\] is nan"),
        (["a", 3], TypeError, r"X\[1\] is of type int"),
        (np.arange(3.0), TypeError, r"X\[0\] is of type float"),
        (["a", b"b"], TypeError, r"X\[1\] is of type bytes.*Decode it first"),
        ([["a", "b"], ["c"]], TypeError, r"X\[0\] is of type list.*Join its parts"),
        (np.array([["a"], ["b"]]), TypeError, r"shape \(2, 1\).*Select the column"),
        (np.zeros((3, 2)), TypeError, "looks like a feature matrix"),
        (np.zeros((3, 8, 8)), TypeError, "looks like images. Images go to a TimmBackbone"),
        ([np.zeros((8, 8, 3))], TypeError, r"X\[0\] is of type ndarray.*Images go to a Timm"),
        ([Path("image.png")], TypeError, r"X\[0\] is of type PosixPath.*Images go to a Timm"),
        (["good", "bad \ud800"], ValueError, r"X\[1\] holds a part of a character"),
    ],
)
def test_refused(X, error, message):
    with pytest.raises(error, match=message):
        check_texts(X)


def test_missing_values_of_pandas():
    pandas = pytest.importorskip("pandas")
    for missing in (None, np.nan, pandas.NA):
        with pytest.raises(ValueError, match=r"X\[1\] is .*, a missing text"):
            check_texts(pandas.Series(["a", missing], dtype="object"))
    with pytest.raises(ValueError, match=r"X\[1\] is .*, a missing text"):
        check_texts(pandas.Series(["a", None], dtype="string"))
    with pytest.raises(TypeError, match="Select the column"):
        check_texts(pandas.DataFrame({"text": ["a", "b"]}))


def test_images_are_named():
    Image = pytest.importorskip("PIL.Image")
    with pytest.raises(TypeError, match=r"X\[0\] is of type Image.*Images go to a TimmBackbone"):
        check_texts([Image.new("RGB", (4, 4))])


def test_paths_are_no_texts(tmp_path):
    paths = [str(tmp_path / f"{i}.png") for i in range(2)]
    for path in paths:
        Path(path).write_bytes(b"")
    with pytest.raises(TypeError, match=r"holds paths of files.*Images go to a TimmBackbone"):
        check_texts(paths)
    # One that is none, and they may be texts.
    assert check_texts([*paths, "a text"]) == [*paths, "a text"]


def test_accepted_as_they_are():
    texts = ["a", "", "\u00fc \U0001f600", "line\nline", "x" * 5000, "nul \0"]
    checked = check_texts(tuple(texts))
    assert checked == texts
    assert check_texts(checked) is checked
    assert check_texts(np.array(texts, dtype=object)) == texts


def test_empty_ones_are_counted():
    with pytest.warns(UserWarning, match=r"3 of 4 texts are empty or blank, the first at X\[1\]"):
        warn_of_empty(check_texts(["a", "", " ", "\n"]))
    warn_of_empty(check_texts(["a"]))
