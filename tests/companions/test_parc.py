"""PARC against Spearman correlations of explicit distances."""

import numpy as np
import pytest
from helpers import make_problem
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ncti.companions import PARC


@pytest.mark.parametrize("n_classes", [2, 5])
def test_parc_by_spearman_of_correlation_distances(n_classes):
    X, y = make_problem(n=150, d=20, n_classes=n_classes)
    pairs = np.triu_indices(150, 1)
    features = (1 - np.corrcoef(X))[pairs]
    labels = (1 - np.corrcoef(np.eye(n_classes)[y]))[pairs].round(9)
    expected = spearmanr(features, labels).statistic
    metric = PARC().fit(X, y)
    assert metric.score() == pytest.approx(expected)
    assert metric.n_rows_ == 150
    scaled = spearmanr(pdist(StandardScaler().fit_transform(X), "correlation"), labels)
    pipeline = make_pipeline(StandardScaler(), PARC()).fit(X, y)
    assert pipeline[-1].score() == pytest.approx(scaled.statistic)


def test_parc_of_features_with_two_distances_is_one():
    y = np.arange(60) % 4
    assert PARC().fit(0.1 + np.eye(4)[y] / 3, y).score() == pytest.approx(1)


def test_parc_draws_rows_in_proportion():
    rng = np.random.default_rng(0)
    y = rng.permutation(np.repeat([0, 1, 2], [600, 300, 100]))
    # Features determine the class, and distances depend on the number of rows of each class.
    X = np.eye(3)[y] + 0.01 * rng.normal(size=(1000, 3))
    metric = PARC(max_rows=100, random_state=1).fit(X, y)
    assert metric.n_rows_ == 100
    whole = PARC(max_rows=1000).fit(X, y).score()
    assert metric.score() == pytest.approx(whole, abs=0.02)
    # Other samples give other values if the rows of a class differ.
    noisy = X + rng.normal(size=X.shape)
    first, again, other = (
        PARC(max_rows=100, random_state=seed).fit(noisy, y).score() for seed in (1, 1, 2)
    )
    assert again == pytest.approx(first, rel=1e-9)
    assert abs(other - first) > 1e-3


def test_parc_needs_both_kinds_of_pairs():
    X, _ = make_problem(n=40, d=5)
    with pytest.raises(ValueError, match=r"no pair of rows of one class.*Raise max_rows=15"):
        PARC(max_rows=15).fit(X, np.arange(40) % 20)
    rare = np.repeat([0, 1], [39, 1])
    with pytest.raises(ValueError, match="no pair of rows of two classes among the 3 rows"):
        PARC(max_rows=3).fit(X, rare)


def test_parc_of_rows_without_spread():
    X, y = make_problem(n=40, d=5)
    X[3] = 2.5
    pairs = np.triu_indices(40, 1)
    with np.errstate(invalid="ignore"):
        distances = np.nan_to_num(1 - np.corrcoef(X), nan=1.0)[pairs]
    expected = spearmanr(distances, y[pairs[0]] != y[pairs[1]]).statistic
    assert PARC().fit(X, y).score() == pytest.approx(expected)
    with pytest.raises(ValueError, match="same distance between any two of 40 rows"):
        PARC().fit(X[:, :1], y)
