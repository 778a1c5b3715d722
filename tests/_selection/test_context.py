"""FitContext: what all candidates of one fit share."""

import os
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from sklearn_ncti import NCTIScorer, NearestCenterClassifier
from sklearn_ncti._scoring.scorers import Scorers
from sklearn_ncti._selection.context import FitContext, open_memory, readable_rows, with_images
from sklearn_ncti.companions import LEEP

X, Y = np.arange(12.0).reshape(6, 2), np.array([0, 1, 0, 1, 0, 1])


@pytest.fixture
def context():
    return FitContext(X, Y, Scorers(NCTIScorer()))


def test_a_context_does_not_change(context):
    with pytest.raises(FrozenInstanceError):
        context.unreadable = {1: "why"}
    fewer = replace(context, unreadable={1: "why"})
    np.testing.assert_array_equal(fewer.readable_X, X[[0, 2, 3, 4, 5]])
    np.testing.assert_array_equal(fewer.readable_y, Y[[0, 2, 3, 4, 5]])
    assert context.readable_X is X
    assert context.readable_y is Y


def test_readable_rows():
    np.testing.assert_array_equal(readable_rows({3: "why", 0: "why"}, 5), [1, 2, 4])
    np.testing.assert_array_equal(readable_rows({}, 3), [0, 1, 2])


def test_a_candidate_gets_data_of_its_own(context):
    rows, labels = context.own_data()
    rows[:], labels[:] = -1, -1
    assert X.min() == 0
    assert Y.min() == 0


def test_responses_of_all_scorers():
    assert FitContext(X, Y, Scorers(LEEP())).responses == {"probabilities"}
    both = FitContext(X, Y, Scorers(NCTIScorer(), {"leep": LEEP()}))
    assert both.responses == {"features", "probabilities"}


def test_features_stay_on_a_device_where_nothing_else_needs_them(context):
    assert context.can_stay_on_device
    assert not replace(context, only_scored=False).can_stay_on_device
    assert not replace(context, store="a store").can_stay_on_device
    assert not replace(context, scorers=Scorers(NearestCenterClassifier())).can_stay_on_device


def test_files_that_have_changed(tmp_path):
    paths = [str(tmp_path / name) for name in "ab"]
    for path in paths:
        with open(path, "w") as file:
            file.write("text")
    context = with_images(FitContext(paths, Y[:2], Scorers(NCTIScorer())), [])
    assert context.changed_files() == []
    assert context.images is None
    os.utime(paths[1], (1, 1))
    assert context.changed_files() == paths[1:]


def test_a_folder_of_any_kind_is_opened(tmp_path):
    assert open_memory(tmp_path).location == str(tmp_path)
    assert open_memory(None).location is None
