"""Data that the tests share."""

from pathlib import Path

import numpy as np

SHARED = Path(__file__).resolve().parents[2] / "shared"


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
