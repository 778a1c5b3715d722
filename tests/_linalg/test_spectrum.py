"""Power laws of known exponents, and the weighted alpha against its definition."""

import numpy as np
import pytest
import scipy.stats
from helpers import ROUNDING

from sklearn_ncti._linalg import spectrum
from sklearn_ncti._linalg.spectrum import power_law_fit, weighted_alpha


def power_law(alpha, n, seed=0):
    """Draw from the density proportional to x ** -alpha, x >= 1, by its inverse distribution."""
    return (1 - np.random.default_rng(seed).random(n)) ** (-1 / (alpha - 1))


def with_eigenvalues(eigenvalues, n_rows, seed=0):
    """Return a matrix W for which W'W has these eigenvalues."""
    k = len(eigenvalues)
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.normal(size=(n_rows, k)))[0]
    right = np.linalg.qr(rng.normal(size=(k, k)))[0]
    return left * np.sqrt(eigenvalues) @ right


@pytest.mark.parametrize("alpha", [1.5, 2.5, 4.0])
def test_the_exponent_of_a_known_sample(alpha):
    fit = power_law_fit(power_law(alpha, 3000))
    # The standard deviation of the estimate, from Clauset, Shalizi and Newman, equation (3.2).
    assert abs(fit.alpha - alpha) < 4 * (alpha - 1) / np.sqrt(fit.n_tail)
    assert fit.n_tail > 1000


def test_what_is_below_the_tail_is_left_out():
    body = np.random.default_rng(1).uniform(0, 1, 2000)
    fit = power_law_fit(np.concatenate([body, power_law(3.0, 1000)]))
    assert fit.xmin > 0.9
    assert fit.alpha == pytest.approx(3.0, abs=4 * 2 / np.sqrt(fit.n_tail))


@pytest.mark.parametrize("decimals", [None, 1])
def test_the_fit_is_the_best_of_all_tails(decimals):
    """By scipy's maximum-likelihood fit and Kolmogorov-Smirnov test; also where values tie."""
    x = np.abs(np.random.default_rng(2).standard_t(2, size=80)) + 0.1
    x = x if decimals is None else x.round(decimals)
    found = []
    for xmin in np.unique(x)[:-1]:
        tail = x[x >= xmin]
        exponent, _, _ = scipy.stats.pareto.fit(tail, floc=0, fscale=xmin)
        law = scipy.stats.pareto(exponent, scale=xmin)
        found.append((scipy.stats.kstest(tail, law.cdf).statistic, xmin, 1 + exponent, len(tail)))
    distance, xmin, alpha, n_tail = min(found)
    fit = power_law_fit(x)
    assert (fit.xmin, fit.n_tail) == (xmin, n_tail)
    np.testing.assert_allclose([fit.distance, fit.alpha], [distance, alpha], rtol=1e-6)
    explicit = 1 + n_tail / np.log(x[x >= xmin] / xmin).sum()
    assert fit.alpha == pytest.approx(explicit)


def test_the_unit_of_the_values_does_not_matter():
    x = power_law(2.0, 200)
    fit, scaled = power_law_fit(x), power_law_fit(1e-6 * x)
    np.testing.assert_allclose(scaled, np.array(fit) * [1, 1e-6, 1, 1], rtol=1e-9)


@pytest.mark.parametrize(
    "values", [[], [3.0], [2.0] * 9, [0.0, -1.0, 2.0], 1 + 1e-9 * np.arange(9)]
)
def test_no_tail_to_fit(values):
    assert power_law_fit(values) is None


def test_the_mean_of_alpha_times_the_logarithm():
    first, second = power_law(2.0, 60, seed=1), 5 * power_law(3.0, 80, seed=2)
    expected = np.mean([power_law_fit(x).alpha * np.log10(x.max()) for x in (first, second)])
    tall, wide = with_eigenvalues(first, 100), with_eigenvalues(second, 90).T
    assert weighted_alpha([tall, wide]) == pytest.approx(expected)
    assert weighted_alpha(iter([tall.T, wide.T])) == pytest.approx(expected)


def test_a_factor_adds_its_logarithm():
    W = with_eigenvalues(power_law(2.0, 60), 100)
    alpha = power_law_fit(np.linalg.eigvalsh(W.T @ W)).alpha
    added = weighted_alpha([10 * W]) - weighted_alpha([W])
    np.testing.assert_allclose(added, 2 * alpha, **ROUNDING)


def test_zero_eigenvalues_are_no_part_of_the_tail():
    # A rank of 55 in a matrix of 70 by 60.
    x = power_law(2.0, 55)
    W = with_eigenvalues(np.concatenate([x, np.zeros(5)]), 70)
    assert weighted_alpha([W]) == pytest.approx(power_law_fit(x).alpha * np.log10(x.max()))


def test_matrices_that_are_left_out(monkeypatch):
    W = with_eigenvalues(power_law(2.0, 60), 100)
    rng = np.random.default_rng(0)
    small = rng.normal(size=(49, 500))
    rotation = np.linalg.qr(rng.normal(size=(60, 60)))[0]
    left_out = [small, rotation, np.zeros((60, 60)), np.outer(rng.normal(size=60), np.ones(60))]
    assert weighted_alpha([*left_out, W]) == weighted_alpha([W])
    assert np.isnan(weighted_alpha(left_out))
    assert np.isnan(weighted_alpha([]))
    monkeypatch.setattr(spectrum, "MAX_SIDE", 60)
    assert weighted_alpha([W, rng.normal(size=(61, 61))]) == weighted_alpha([W])


def test_weights_that_are_not_finite_are_unknown():
    W = with_eigenvalues(power_law(2.0, 60), 100)
    spoiled = W.copy()
    spoiled[3, 4] = np.nan
    assert np.isnan(weighted_alpha([W, spoiled]))


def test_matrices_are_not_written_to():
    W = with_eigenvalues(power_law(2.0, 60), 100).astype(np.float32)
    before = W.copy()
    weighted_alpha([W])
    np.testing.assert_array_equal(W, before)
