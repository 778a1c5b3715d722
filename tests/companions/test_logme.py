"""LogME against the explicit evidence and its numeric maximum, and its invariances."""

import numpy as np
import pytest
from helpers import make_problem
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.exceptions import ConvergenceWarning

from sklearn_ncti.companions import LogME


def evidence_by_posterior(X, y, alpha, beta):
    """The formula of the paper, with the explicit posterior and all d eigenvalues."""
    n, d = X.shape
    A = alpha * np.eye(d) + beta * X.T @ X
    m = beta * np.linalg.solve(A, X.T @ y)
    out = n * np.log(beta) + d * np.log(alpha) - n * np.log(2 * np.pi)
    out -= beta * np.sum((X @ m - y) ** 2) + alpha * m @ m + np.linalg.slogdet(A)[1]
    return out / 2 / n


def evidence_by_density(X, y, alpha, beta):
    """The density of the labels with the weights integrated out."""
    covariance = X @ X.T / alpha + np.eye(len(X)) / beta
    return multivariate_normal(cov=covariance).logpdf(y) / len(X)


SHAPES = pytest.mark.parametrize(("n", "d"), [(90, 12), (90, 90), (50, 200)])


@SHAPES
def test_is_the_evidence_at_its_precisions(n, d):
    X, y = make_problem(n=n, d=d, n_classes=3 if n == 90 else 5)
    metric = LogME().fit(X, y)
    columns = (y[:, None] == np.unique(y)).astype(float).T
    for evidence in (evidence_by_posterior, evidence_by_density):
        parts = [
            evidence(X, column, alpha, beta)
            for column, alpha, beta in zip(columns, metric.alpha_, metric.beta_, strict=True)
        ]
        assert metric.score() == pytest.approx(np.mean(parts), rel=1e-7)


@SHAPES
def test_no_precisions_have_more_evidence(n, d):
    X, y = make_problem(n=n, d=d, n_classes=2, seed=3)
    column = (y == 0).astype(float)
    reached = LogME(task="regression").fit(X, column).score()

    def loss(log_precisions):
        return -evidence_by_density(X, column, *np.exp(np.clip(log_precisions, -30, 30)))

    # From many starts: the evidence can have several maxima.
    found = [
        minimize(loss, [start, 1.0], method="Nelder-Mead", options={"fatol": 1e-10})
        for start in (-8.0, -4.0, 0.0, 4.0, 8.0)
    ]
    assert reached == pytest.approx(-min(result.fun for result in found), abs=1e-6)


def test_precisions_are_those_of_the_given_features():
    X, y = make_problem(n=60, d=5, n_classes=3)
    metric, other = LogME().fit(X, y), LogME().fit(1e-50 * X, y)
    np.testing.assert_allclose(other.alpha_, 1e-100 * metric.alpha_, rtol=1e-4)
    np.testing.assert_allclose(other.beta_, metric.beta_, rtol=1e-4)


def test_finds_the_highest_of_several_maxima():
    rng = np.random.default_rng(5)
    n = 60
    strong = rng.normal(size=n)
    weak = rng.normal(size=n)
    # The weights have very different scales: 0.1 for a large feature, 300 for a small one.
    y = 0.1 * strong + 3.0 * weak + 1e-3 * rng.normal(size=n)
    X = np.column_stack([100 * strong, 0.01 * weak, rng.normal(size=(n, 3))])
    reached = LogME().fit(X, y).score()
    grid = np.exp(np.linspace(-25, 25, 101))
    best = max(evidence_by_posterior(X, y, a, b) for a in grid for b in grid)
    assert reached >= best


def test_determinant_keeps_all_eigenvalues():
    """For n < d, omitting zero eigenvalues, as public code does, changes the score."""
    X, y = make_problem(n=50, d=200)
    metric = LogME().fit(X, y)
    n, d = X.shape
    truncated = (d - n) / 2 / n * np.log(metric.alpha_).mean()
    assert abs(truncated) > 0.1
    columns = (y[:, None] == np.unique(y)).astype(float).T
    dense = np.mean(
        [
            evidence_by_posterior(X, *column)
            for column in zip(columns, metric.alpha_, metric.beta_, strict=True)
        ]
    )
    assert metric.score() == pytest.approx(dense, rel=1e-7)


def test_exact_features_have_a_finite_best_score():
    # Powers of two, so that nothing is rounded and the residual is 0 to the last bit.
    y = np.arange(256) % 4
    exact = np.hstack([2 * np.eye(4)[y], np.zeros((256, 3))])
    score = LogME().fit(exact, y).score()
    # Log density per row of a residual at rounding level, minus a term for the fit.
    residual = np.finfo(np.float64).eps / 4
    most = -0.5 * np.log(2 * np.pi * np.e * residual)
    assert most - 1 < score < most
    noisy = exact + 1e-5 * np.random.default_rng(0).normal(size=exact.shape)
    assert LogME().fit(noisy, y).score() < score


def test_useless_features_reach_the_evidence_of_noise_alone():
    """For labels that no feature correlates with, alpha grows until the weights are 0."""
    X = np.kron([[1.0], [-1.0]], np.ones((20, 1)))
    y = np.tile([1.0, 2.0], 20) / 3
    expected = -0.5 * (np.log(2 * np.pi * np.mean(y**2)) + 1)
    assert LogME().fit(X, y).score() == pytest.approx(expected, rel=1e-6)


def test_regression_with_several_columns_is_the_mean_of_each():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 10))
    Y = X[:, :3] @ rng.normal(size=(3, 3)) + 0.1 * rng.normal(size=(80, 3))
    metric = LogME().fit(X, Y)
    assert metric.task_ == "regression"
    each = [LogME().fit(X, column).score() for column in Y.T]
    assert metric.score() == pytest.approx(np.mean(each))
    assert metric.alpha_.shape == metric.beta_.shape == (3,)
    # In other units, the density changes by a constant factor.
    assert LogME().fit(X, 10 * Y).score() == pytest.approx(metric.score() - np.log(10))


def test_task_is_told_by_the_target():
    X, y = make_problem(n=60, d=5, n_classes=3)
    labels = LogME().fit(X, y)
    assert labels.task_ == "classification"
    assert LogME().fit(X, y[:, None]).score() == pytest.approx(labels.score())
    assert LogME().fit(X, y.astype(str)).score() == pytest.approx(labels.score())
    values = LogME(task="regression").fit(X, y)
    assert values.task_ == LogME().fit(X, y + 0.5).task_ == "regression"
    assert len(values.alpha_) == 1
    one_hot = (y[:, None] == np.arange(3)).astype(int)
    assert LogME(task="regression").fit(X, one_hot).score() == pytest.approx(labels.score())
    # After another fit, no attribute depends on the first target.
    assert len(labels.fit(X, y + 0.5).alpha_) == 1


def test_targets_that_would_be_a_guess_are_refused():
    X, y = make_problem(n=60, d=5, n_classes=3)
    with pytest.raises(ValueError, match=r"multilabel-indicator.*task='regression'"):
        LogME().fit(X, (y[:, None] == np.arange(3)).astype(int))
    with pytest.raises(ValueError, match=r"continuous.*task='classification'"):
        LogME(task="classification").fit(X, y + 0.5)
    with pytest.raises(ValueError, match=r"y has values of type .* cannot regress"):
        LogME(task="regression").fit(X, y.astype(str))
    with pytest.raises(ValueError, match="column 1 of y is zero in all 60 rows"):
        LogME().fit(X, np.column_stack([y + 0.5, np.zeros(60)]))


def test_warns_where_it_was_stopped():
    X, y = make_problem(n=60, d=5, n_classes=3)
    metric = LogME(max_iter=1)
    for method in (metric.fit, metric.score):
        with pytest.warns(ConvergenceWarning, match="Raise max_iter") as caught:
            method(X, y)
        assert [warning.filename for warning in caught] == [__file__]
