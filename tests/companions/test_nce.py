"""NCE against mutual information, its limits, and what it shares with LEEP."""

import numpy as np
import pytest
from helpers import make_probabilities
from sklearn.metrics import mutual_info_score

from sklearn_ncti.companions import LEEP, NCE


def entropy(y):
    shares = np.unique(y, return_counts=True)[1] / len(y)
    return -np.sum(shares * np.log(shares))


def test_nce_by_mutual_information():
    P, y = make_probabilities()
    # H(Y | Z) = H(Y) - I(Y; Z)
    expected = mutual_info_score(P.argmax(axis=1), y) - entropy(y)
    assert NCE().fit(P, y).score() == pytest.approx(expected)


@pytest.mark.parametrize("metric", [LEEP(), NCE()], ids=str)
def test_limits_of_metrics_of_probabilities(metric):
    _, y = make_probabilities()
    # Certain and correct predictions, with permuted and unused source classes.
    certain = np.eye(5)[np.array([4, 0, 2])[y]]
    assert metric.fit(certain, y).score() == pytest.approx(0, abs=1e-12)
    # Equal probabilities for every row leave the entropy of the labels.
    same = np.tile([0.5, 0.3, 0.2], (len(y), 1))
    assert metric.fit(same, y).score() == pytest.approx(-entropy(y))


def test_leep_is_nce_for_certain_sources():
    P, y = make_probabilities()
    certain = np.eye(6)[P.argmax(axis=1)]
    assert LEEP().fit(certain, y).score() == pytest.approx(NCE().fit(certain, y).score())
