"""Weights of the rows in the resamples of a bootstrap."""

import numpy as np
import pytest

from sklearn_ncti._utils.resampling import Draws


def test_as_many_rows_of_each_class_are_drawn_as_it_has():
    y = np.repeat([0, 1, 2], [3, 50, 200])
    draws = np.array(list(Draws(np.random.default_rng(0).permutation(y), 400, seed=0).by_class()))
    assert draws.shape == (400, 253)
    for c, n in enumerate((3, 50, 200)):
        part = draws[:, y == c]
        assert (part.sum(axis=1) == n).all()
        # Counts of n draws from n rows: mean 1 and variance 1 - 1 / n.
        assert part.var() == pytest.approx(1 - 1 / n, abs=0.05)
        np.testing.assert_allclose(part.mean(axis=0), 1, atol=0.3)


def test_bayesian_weights_are_those_of_a_flat_dirichlet():
    y = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [3, 50, 200]))
    draws = np.array(list(Draws(y, 400, seed=0).by_class(bayesian=True)))
    assert (draws > 0).all()
    for part, n in zip(np.split(draws, [3, 53], axis=1), (3, 50, 200), strict=True):
        np.testing.assert_allclose(part.sum(axis=1), n)
        np.testing.assert_allclose(part.mean(axis=0), 1, atol=0.3)
        assert part.var() == pytest.approx((n - 1) / (n + 1), rel=0.1)
