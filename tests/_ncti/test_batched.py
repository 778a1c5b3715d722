"""Components of all resamples at once against each resample computed separately."""

from contextlib import nullcontext

import numpy as np
import pytest
from helpers import ROUNDING, make_problem

from sklearn_ncti import NCTIScorer
from sklearn_ncti._linalg import threads as _threads
from sklearn_ncti._linalg.moments import ClassMoments, class_moments
from sklearn_ncti._ncti import batched
from sklearn_ncti._ncti.discriminant import fit_discriminant
from sklearn_ncti._utils.resampling import Draws


def resample(fitted, n_resamples, seed):
    """Return raw and absolute components of resamples of the rows of a fitted scorer."""
    codes = fitted._projection[1]
    found = fitted.resample(Draws(codes, n_resamples, seed=seed))
    return found.raw, found.absolute


@pytest.mark.parametrize("scale", [0.1, 10.0], ids=["shrunk", "unshrunk"])
@pytest.mark.parametrize("counts", [[60, 60, 60], [4, 9, 30, 200]])
def test_weights_are_repeated_rows(scale, counts):
    """Components from weighted moments equal those of the drawn rows."""
    X, y = make_problem(d=12, counts=counts, scale=scale, spread=1.0)
    n_classes = len(counts)
    fitted = NCTIScorer().fit(X, y)
    raw, absolute = resample(fitted, 5, 3)
    projection, codes = fitted._projection
    order = np.argsort(codes, kind="stable")
    for i, weights in enumerate(Draws(codes, 5, seed=3).by_class()):
        rows = np.repeat(order, weights)
        H, labels = projection.H[rows], codes[rows]
        # Centering at the mean of the drawn rows does not change their components.
        H = H - H.mean(axis=0)
        fitted._discriminant = fit_discriminant(
            projection.basis,
            class_moments(H, labels, n_classes),
            shrinkage=fitted.shrinkage_,
            n_dims=12,
        )
        expected = fitted._measure(None, H, labels)
        for found, wanted in ((raw, expected.raw), (absolute, expected.absolute)):
            assert set(found) == {"seli", "ncc", "vc"}
            for name, value in wanted.items():
                assert found[name][i] == pytest.approx(value, rel=1e-7)


@pytest.mark.parametrize("scale", [0.1, 10.0], ids=["shrunk", "unshrunk"])
@pytest.mark.parametrize("counts", [[3] * 40, [2, 5, 9, 4]])
def test_few_rows_all_have_a_weight(scale, counts):
    """Components equal those from weighted means, scatters and singular values."""
    X, y = make_problem(d=12, counts=counts, scale=scale, spread=1.0)
    with pytest.warns(UserWarning, match="rows are few"):
        fitted = NCTIScorer().fit(X, y)
    raw, _ = resample(fitted, 5, 3)
    projection, codes = fitted._projection
    order = np.argsort(codes, kind="stable")
    H, codes, n = projection.H[order], codes[order], len(codes)
    member = np.eye(len(counts))[codes]
    for i, weights in enumerate(Draws(codes, 5, seed=3).by_class(bayesian=True)):
        means = member.T @ (weights[:, None] * H) / np.array(counts)[:, None]
        offsets = (H - means[codes]) * np.sqrt(weights)[:, None]
        moments = ClassMoments(np.array(counts), means, offsets.T @ offsets / n)
        found = fit_discriminant(
            projection.basis, moments, shrinkage=fitted.shrinkage_, n_dims=H.shape[1]
        )
        Z = (H - np.average(H, axis=0, weights=weights)) @ found.axes
        P, roots = found.posterior(H), np.sqrt(weights)[:, None]
        norms = [np.linalg.norm((roots * P)[codes == c], "nuc") for c in range(len(counts))]
        assert raw["seli"][i] == pytest.approx(np.linalg.norm(roots * Z, "nuc"), rel=1e-7)
        assert raw["ncc"][i] == pytest.approx(np.average(P[range(n), codes], weights=weights))
        assert raw["vc"][i] == pytest.approx(-np.log(sum(norms)), rel=1e-7)


@pytest.mark.parametrize("scale", [0.1, 10.0], ids=["shrunk", "unshrunk"])
@pytest.mark.parametrize("counts", [[4, 9, 30, 200], [6] * 40])
@pytest.mark.parametrize("setting", ["_LARGEST_INVERSE", "_BATCH_VALUES", "_LARGEST_LOGIT"])
def test_all_code_paths_agree(monkeypatch, setting, counts, scale):
    """Results do not depend on batches of discriminants or classes, or on scaled rows."""
    X, y = make_problem(d=12, counts=counts, scale=scale, spread=1.0)
    few = len(y) < 5 * (12 + len(counts))
    with pytest.warns(UserWarning, match="rows are few") if few else nullcontext():
        fitted = NCTIScorer().fit(X, y)
    short = resample(fitted, 5, 3)
    monkeypatch.setattr(f"sklearn_ncti._ncti.batched.{setting}", 0)
    long = resample(fitted, 5, 3)
    for found, wanted in zip(short, long, strict=True):
        for name in ("seli", "ncc", "vc"):
            np.testing.assert_allclose(found[name], wanted[name], rtol=1e-8, atol=1e-8)


def test_threads_change_no_bit(monkeypatch):
    """Each draw makes the same calls, with BLAS on one thread, in any thread."""
    X, y = make_problem(d=12, counts=[8] * 40, scale=10.0, spread=1.0)
    fitted = NCTIScorer(shrinkage=0.1).fit(X, y)
    asked = []

    def threads(n):
        monkeypatch.setattr(_threads, "blas_threads", lambda: asked.append(n) or n)
        return resample(fitted, 110, 3)

    for found, wanted in zip(threads(3), threads(1), strict=True):
        for name in ("seli", "ncc", "vc"):
            np.testing.assert_array_equal(found[name], wanted[name])
    assert asked == [3, 1]


def test_constant_and_repeated_features_do_not_count():
    """Directions without any variance, or without any within the classes' span."""
    X, y = make_problem(n=300, d=10, scale=10.0, spread=1.0)
    padded = np.column_stack([X, np.full(len(X), 7.0), X[:, 0]])
    # A copy of a feature is equivalent to a rotation and a scale of sqrt(2).
    alike = np.column_stack([np.sqrt(2) * X[:, :1], X[:, 1:]])
    raw, absolute = resample(NCTIScorer().fit(padded, y), 5, 3)
    other = resample(NCTIScorer().fit(alike, y), 5, 3)
    for found, wanted in zip((raw, absolute), other, strict=True):
        for name in ("seli", "ncc", "vc"):
            np.testing.assert_allclose(found[name], wanted[name], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("scale", [0.01, 0.1])
def test_the_only_direction_with_variance_is_an_axis_of_every_draw(monkeypatch, scale):
    X, y = make_problem(n=100, d=1, n_classes=2, scale=scale, spread=2.0)
    fitted = NCTIScorer(shrinkage=0.3).fit(np.column_stack([X, X, X]), y)
    short = resample(fitted, 20, 3)
    assert (short[0]["seli"] > 0.5 * fitted.seli_).all()
    monkeypatch.setattr(batched, "_LARGEST_INVERSE", 0)
    long = resample(fitted, 20, 3)
    for found, wanted in zip(short, long, strict=True):
        for name in ("seli", "ncc", "vc"):
            np.testing.assert_allclose(found[name], wanted[name], rtol=1e-8)


def test_collapsed_classes_do_not_move():
    y = np.arange(60) % 3
    X = 10 * np.eye(3)[y]
    raw, _ = resample(NCTIScorer(n_components=3).fit(X, y), 4, 0)
    np.testing.assert_allclose(raw["ncc"], 1, **ROUNDING)
    np.testing.assert_allclose(raw["vc"], raw["vc"][0], **ROUNDING)
