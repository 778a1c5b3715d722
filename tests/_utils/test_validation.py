"""Labels that are accepted as they are, converted, or refused."""

import numpy as np
import pytest
from sklearn.exceptions import DataConversionWarning

from sklearn_ncti._utils.validation import (
    check_labels,
    encode_labels,
    has_other_rows,
    label_array,
)


@pytest.mark.parametrize("y", [np.array([0, 1]), np.array(["a", "b"]), [0, 1], ["a", "b"]])
def test_plain_labels_are_returned_as_they_are(y):
    assert label_array(y) is y


def test_strings_that_numpy_would_make_equal_stay_apart():
    labels = label_array(["a", "a\0", "a"])
    assert labels.dtype == object
    assert encode_labels(labels)[1].tolist() == [0, 1, 0]


@pytest.mark.parametrize("missing", [None, np.nan, np.datetime64("NaT")])
def test_missing_labels_are_refused(missing):
    with pytest.raises(ValueError, match="y has no label in row 1"):
        label_array(["a", missing, "b"])


def test_missing_label_of_pandas_is_refused():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="y has no label in row 0: <NA>"):
        label_array(pandas.Series([pandas.NA, "a"], dtype=object))


def test_labels_of_types_without_an_order_are_refused():
    with pytest.raises(TypeError, match=r"types \['int', 'str'\], which cannot be sorted"):
        label_array(["1", 1, "b"])


def test_codes_are_indices_of_the_sorted_classes():
    classes, codes = encode_labels(np.array(["b", "a", "b", "c"]))
    assert classes.tolist() == ["a", "b", "c"]
    assert codes.tolist() == [1, 0, 1, 2]


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([3, 3, 3], r"y has 1 class\(es\) \[3\]"),
        ([0.5, 1.5, 2.5], "Unknown label type"),
        ([[0, 1], [1, 0]], "1d array|1-d|Found array with dim"),
    ],
)
def test_what_is_no_vector_of_two_classes_is_refused(y, message):
    with pytest.raises(ValueError, match=message):
        check_labels(y)


def test_rows_to_score_need_both_features_and_labels():
    assert not has_other_rows(None, None)
    assert has_other_rows([[1.0]], [0])
    with pytest.raises(ValueError, match="y is None: pass both"):
        has_other_rows([[1.0]], None)
    with pytest.raises(ValueError, match="X is None: pass both"):
        has_other_rows(None, [0])


class Picture:
    """Has the methods of an image of PIL that are looked for."""

    def getbands(self):
        return ("L",)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0.5, 1.5, 2.5], r"real numbers.*numpy\.digitize.*scorer=companions\.LogME\(\)"),
        (np.linspace(0, 1, 9), "real numbers"),
        (np.eye(3, dtype=int), r"1d array, and holds several labels .*one label at a time"),
        ([[0, 1], [1, 0]], "several labels for each row"),
        ([["cat", "dog"], ["cat"]], "several labels for each row"),
        ([{"cat", "dog"}, {"cat"}], "several labels for each row"),
        ([np.array([0, 1]), np.array([1, 0])], "several labels for each row"),
        (np.zeros((4, 9, 9), dtype=int), "y holds masks"),
        ([np.zeros((9, 9)), np.zeros((5, 5))], "y holds masks"),
        ([Picture(), Picture()], "y holds masks"),
        ([{"boxes": [], "labels": []}], r"dicts with the keys \['boxes', 'labels'\].*the boxes"),
    ],
)
def test_targets_that_are_no_classes_are_refused_by_name(y, message):
    with pytest.raises(ValueError, match=message):
        check_labels(y)


def test_multi_label_tables_are_refused_by_name():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="several labels for each row"):
        check_labels(pandas.DataFrame(np.eye(3, dtype=int)))


def test_columns_are_vectors():
    with pytest.warns(DataConversionWarning):
        assert check_labels([[0], [1], [1]]).tolist() == [0, 1, 1]
    assert check_labels([1.0, 2.0, 1.0]).tolist() == [1, 2, 1]
