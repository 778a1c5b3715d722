"""Labels that are accepted as they are, converted, or refused."""

import numpy as np
import pytest

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
