"""Data that the tests share."""

import subprocess
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator, TransformerMixin

SHARED = Path(__file__).resolve().parents[2] / "shared"

# What two computations of one number in float64 may differ by. Their last bits depend on the
# processor, on the number of threads, and on which products BLAS is given. The absolute part
# is for values near 0, such as normalised ones, which are differences of larger numbers.
ROUNDING = {"rtol": 1e-9, "atol": 1e-9}

# The same for features that a network computes in float32, once for other batches, threads or
# processes: they differ by some 2e-7 of their size.
FLOAT32_ROUNDING = {"rtol": 1e-5, "atol": 1e-5}

# And for the components of such features: a component can be small beside what it is the
# difference of, and the discriminant magnifies what the features differ by.
OF_FLOAT32 = {"rtol": 1e-4, "atol": 1e-4}


def make_problem(n=600, d=100, n_classes=5, spread=0.3, scale=1.0, counts=None, seed=0):
    """Gaussian classes with falling variances, and their labels in random order."""
    rng = np.random.default_rng(seed)
    counts = [n // n_classes] * n_classes if counts is None else counts
    y = np.repeat(np.arange(len(counts)), counts)
    rng.shuffle(y)
    deviations = np.geomspace(1.0, 0.05, d)
    centers = spread * rng.normal(size=(len(counts), d)) * deviations
    X = centers[y] + rng.normal(size=(len(y), d)) * deviations + 1.0
    return scale * X, y


@contextmanager
def running(*command, **options):
    """Start a process that is ended with the block, also when an assertion fails in it."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options) as child:
        try:
            yield child
        finally:
            child.kill()


def make_probabilities(n=200, n_sources=6, seed=0):
    """Probabilities of source classes that lean towards the label, and the labels."""
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=n)
    P = rng.dirichlet(np.full(n_sources, 0.5), size=n)
    P[np.arange(n), y] += 1
    return P / P.sum(axis=1, keepdims=True), y


def make_pool():
    """Candidates that differ in more than one way, so that components disagree."""
    X, y = make_problem(n=300, d=20, n_classes=4, spread=1.0, scale=3.0)
    noise = np.random.default_rng(1).normal(size=X.shape)
    features = {f"noise {a}": X + 3 * a * noise for a in (0.2, 0.0, 1.0, 0.5)}
    return features | {"narrow": X[:, :4], "undecided": noise + 0.2 * X}, y


class Broken(TransformerMixin, BaseEstimator):
    """A candidate that fails in a way of choice."""

    def __init__(self, how="fit"):
        self.how = how

    def fit(self, X, y=None):
        if self.how == "fit":
            raise RuntimeError("no network today")
        return self

    def transform(self, X):
        return {
            "nan": np.full((len(X), 3), np.nan),
            "rows": np.ones((len(X) - 1, 3)),
            "one-dimensional": np.ones(len(X)),
        }[self.how]

    def __sklearn_is_fitted__(self):
        return True


def import_datasets():
    """Import Hugging Face's datasets, or skip the test."""
    module = pytest.importorskip("datasets")
    if not hasattr(module, "Dataset"):
        # tests/datasets, which is on the path, passes for a package without files.
        pytest.skip("could not import 'datasets'")
    return module
