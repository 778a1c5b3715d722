"""NLEEP against principal components and a mixture of scikit-learn."""

import numpy as np
import pytest
from helpers import make_problem
from reference import leep_by_tables
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from sklearn_ncti.companions import NLEEP


def test_nleep_by_principal_components_and_mixture():
    X, y = make_problem(n=300, d=30, n_classes=3, spread=1.0)
    H = PCA(0.8, svd_solver="full").fit_transform(X)
    mixture = GaussianMixture(6, reg_covar=1e-6 * H.var(axis=0, ddof=1).mean(), random_state=3)
    expected = leep_by_tables(mixture.fit(H).predict_proba(H), y)
    metric = NLEEP(components_per_class=2, random_state=3).fit(X, y)
    assert metric.n_components_ == H.shape[1] < 30
    assert metric.n_mixture_components_ == 6
    assert metric.score() == pytest.approx(expected)
    assert NLEEP(variance=1.0).fit(X, y).n_components_ == 30


def test_nleep_flatters_noise_where_rows_are_few():
    """The documented limitation: as many components as rows explain any labels."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20, 4)), np.arange(20) % 4
    metric = NLEEP(components_per_class=10, covariance_type="spherical").fit(X, y)
    assert metric.n_mixture_components_ == 20
    assert metric.score() > -0.1
