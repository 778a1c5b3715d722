"""LEEP against the explicit joint table of source classes and labels."""

import pytest
from helpers import make_probabilities
from reference import leep_by_tables

from sklearn_ncti.companions import LEEP


def test_leep_by_joint_table():
    P, y = make_probabilities()
    assert LEEP().fit(P, y).score() == pytest.approx(leep_by_tables(P, y))
