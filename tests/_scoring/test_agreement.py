"""Agreement of two orders and regret, against scipy and against values worked out by hand."""

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr, weightedtau

from sklearn_ncti._scoring.agreement import order_agreement, regret

NAMES = ["weighted_kendall_tau", "kendall_tau", "spearman_rho"]


def test_coefficients_are_those_of_scipy():
    a, b = np.random.default_rng(0).normal(size=(2, 12))
    agreement = order_agreement(a, b)
    expected = [f(a, b).statistic for f in (weightedtau, kendalltau, spearmanr)]
    assert list(agreement) == NAMES
    np.testing.assert_allclose(list(agreement.values()), expected)


def test_equal_and_reversed_orders():
    a = np.array([3.0, 1.0, 2.0, 7.0])
    assert order_agreement(a, np.exp(a)) == pytest.approx(dict.fromkeys(NAMES, 1.0))
    assert order_agreement(a, -a) == pytest.approx(dict.fromkeys(NAMES, -1.0))


@pytest.mark.parametrize(("a", "b"), [([1.0], [2.0]), ([1.0, 1.0], [2.0, 3.0]), ([], [])])
def test_nothing_to_compare_is_nan(a, b):
    for pair in ((a, b), (b, a)):
        assert np.isnan(list(order_agreement(*map(np.array, pair)).values())).all()


def test_agreement_of_scores_that_are_equal():
    accuracy = np.array([3.0, 2.0, 1.0])
    exact = order_agreement(np.array([1.0, 1.0, 0.0]), accuracy)
    assert order_agreement(np.array([1.0, 1.0 + 1e-9, 0.0]), accuracy) == exact
    assert np.isnan(order_agreement(np.array([1.0, 1.0 + 1e-9]), accuracy[:2])["kendall_tau"])


def test_regret_by_hand():
    score = np.array([0.9, 0.8, 0.7, 0.1])
    accuracy = np.array([80.0, 85.0, 90.0, 60.0])
    assert [regret(score, accuracy, n) for n in (1, 2, 3, 4)] == [10.0, 5.0, 0.0, 0.0]


def test_regret_tries_the_first_of_equal_scores():
    assert regret(np.array([1.0, 1.0]), np.array([70.0, 90.0]), 1) == 20.0
