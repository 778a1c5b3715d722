"""Exact leave-one-out against n explicit refits in the same principal coordinates."""

import warnings

import numpy as np
import pytest
from helpers import ROUNDING, make_problem
from scipy.linalg import eigh
from scipy.special import softmax

from sklearn_ncti import (
    NCTIScorer,
    NearestCenterClassifier,
    SELIGeometry,
    WithinClassVariability,
    rank_features,
)
from sklearn_ncti._ncti.discriminant import fit_discriminant, within_whitening
from sklearn_ncti._ncti.leave_one_out import LeaveOneOut
from sklearn_ncti._ncti.projection import Projection, balanced_folds
from sklearn_ncti._ncti.weighted import WeightedRows
from sklearn_ncti._utils.resampling import Draws


def refitted(H, y, n_classes, t, n_dims):
    """Posterior of each row under means, priors and W of all others, one at a time."""
    P = np.zeros((len(H), n_classes))
    for i in range(len(H)):
        rest = np.arange(len(H)) != i
        counts = np.bincount(y[rest], minlength=n_classes)
        logit = np.log(np.maximum(counts, 1e-300) / counts.sum())
        if counts.all():
            means = np.array([H[rest][y[rest] == c].mean(axis=0) for c in range(n_classes)])
            offsets = H[rest] - means[y[rest]]
            within = offsets.T @ offsets / rest.sum()
            W = (1 - t) * within + t * np.trace(within) / n_dims * np.eye(H.shape[1])
            solved = np.linalg.solve(W, means.T)
            logit = logit + H[i] @ solved - 0.5 * np.einsum("ck,kc->c", means, solved)
        P[i] = softmax(logit)
    return P


def prepared(X, y, k, shrinkage):
    n_classes = int(y.max()) + 1
    projection = Projection.of(X, y, n_classes, k)
    discriminant = fit_discriminant(
        projection.basis, projection.moments, shrinkage=shrinkage, n_dims=k
    )
    return projection.H, discriminant, LeaveOneOut.of(discriminant, projection.moments)


@pytest.mark.parametrize("shrinkage", [1e-10, 1e-3, 0.3, 1.0], ids=str)
@pytest.mark.parametrize("counts", [[20, 20, 20], [2, 9, 30, 40]], ids=str)
def test_closed_form_is_n_refits(shrinkage, counts):
    X, y = make_problem(d=8, counts=counts, scale=3.0, spread=1.0)
    H, _, left_out = prepared(X, y, 8, shrinkage)
    t = 0.0 if shrinkage == 1e-10 else shrinkage
    expected = refitted(H, y, len(counts), t, 8)
    np.testing.assert_allclose(left_out.posterior(H, y), expected, atol=1e-9)
    # Any part of the rows, in any order.
    part = np.random.default_rng(0).permutation(len(y))[:17]
    np.testing.assert_allclose(left_out.posterior(H[part], y[part]), expected[part], atol=1e-9)


@pytest.mark.parametrize("shrinkage", [1e-10, 0.3], ids=str)
def test_a_stack_gives_what_each_of_its_draws_gives(shrinkage):
    """Also where one of them has weight on too few rows for a scatter of full rank."""
    X, y = make_problem(d=6, counts=[12, 14, 16], scale=3.0, spread=1.0)
    projection = Projection.of(X, y, 3, 6)
    rows = WeightedRows.of(projection, y)
    weights = np.random.default_rng(0).exponential(size=(4, len(y)))
    first = np.concatenate([np.arange(len(y))[part][:2] for part in rows.parts])
    weights[2, np.setdiff1d(np.arange(len(y)), first)] = 1e-12
    discriminant = fit_discriminant(
        projection.basis, projection.moments, shrinkage=shrinkage, n_dims=6
    )
    stack = rows.stacked_moments(weights)
    together = LeaveOneOut.of(discriminant, stack).posterior(rows.H, rows.codes, weights)
    assert together.shape == (4, len(y), 3)
    whitening = within_whitening(stack.within, discriminant.basis)
    assert np.isfinite(whitening).all()
    assert whitening.any(axis=1).sum(axis=1).tolist() == [6, 6, 3, 6]
    for draw, moments in enumerate(rows.moments(weights)):
        alone = LeaveOneOut.of(discriminant, moments)
        expected = alone.posterior(rows.H, rows.codes, weights[draw])
        np.testing.assert_allclose(together[draw], expected, atol=1e-9)
        axes = whitening[draw][:, whitening[draw].any(axis=0)]
        np.testing.assert_allclose(
            axes.T @ moments.within @ axes, np.eye(axes.shape[1]), atol=1e-6
        )


@pytest.mark.parametrize("shrinkage", [1e-10, 0.3], ids=str)
def test_the_only_row_of_a_class_is_undecided(shrinkage):
    X, y = make_problem(d=5, counts=[1, 12, 14], scale=3.0, spread=1.0)
    H, _, left_out = prepared(X, y, 5, shrinkage)
    P = left_out.posterior(H, y)
    alone = int(np.flatnonzero(y == 0)[0])
    np.testing.assert_allclose(P[alone], [0.0, 12 / 26, 14 / 26])
    expected = refitted(H, y, 3, 0.0 if shrinkage == 1e-10 else shrinkage, 5)
    np.testing.assert_allclose(np.delete(P, alone, 0), np.delete(expected, alone, 0), atol=1e-9)


def test_a_row_without_which_the_scatter_is_singular_is_undecided():
    """One row has all the variance that there is within the classes along one feature."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 10)
    X = np.column_stack([3.0 * rng.normal(size=30) + 5 * y, np.zeros(30)])
    X[4, 1] = 2.0
    H, _, left_out = prepared(X, y, 2, 1e-10)
    P = left_out.posterior(H, y)
    np.testing.assert_allclose(P[4], np.array([9, 10, 10]) / 29)
    others = np.delete(np.arange(30), 4)
    assert np.isfinite(P).all()
    assert (P[others].max(axis=1) > 0.4).all()


def test_far_rows_and_large_shifts_keep_their_digits():
    X, y = make_problem(d=6, counts=[15, 15, 15], scale=3.0, spread=0.05)
    H, _, left_out = prepared(X + 1e3, y, 6, 1e-10)
    np.testing.assert_allclose(left_out.posterior(H, y), refitted(H, y, 3, 0.0, 6), atol=1e-7)


@pytest.mark.parametrize("shrinkage", ["adaptive", 0.2])
def test_components_are_measured_on_rows_that_are_left_out(shrinkage):
    X, y = make_problem(d=12, counts=[20, 30, 40], scale=3.0, spread=1.0)
    scorer = NCTIScorer(cv="loo", shrinkage=shrinkage).fit(X, y)
    H = scorer._discriminant.basis.project(X)
    t = 0.0 if shrinkage == "adaptive" else shrinkage
    P = refitted(H, y, 3, t, 12)
    assert scorer.ncc_ == pytest.approx(P[np.arange(90), y].mean(), abs=1e-9)
    norms = [np.linalg.norm(P[y == c], "nuc") for c in range(3)]
    assert scorer.vc_ == pytest.approx(-np.log(sum(norms)), abs=1e-9)
    assert scorer.loo_accuracy_ == pytest.approx((P.argmax(axis=1) == y).mean())
    for component in (NearestCenterClassifier, WithinClassVariability):
        alone = component(cv="loo", shrinkage=shrinkage).fit(X, y)
        assert alone.score() == pytest.approx(scorer.components_[f"{component._measured[0]}"])
        assert alone.loo_accuracy_ == scorer.loo_accuracy_


def test_seli_is_near_that_of_ten_folds():
    """Only the principal components are those of all rows."""
    X, y = make_problem(n=400, d=12, n_classes=4, scale=3.0, spread=1.0)
    left_out, folds = NCTIScorer(cv="loo").fit(X, y), NCTIScorer(cv=10).fit(X, y)
    plain = NCTIScorer().fit(X, y)
    assert left_out.seli_ == pytest.approx(folds.seli_, rel=5e-3)
    assert left_out.seli_ < plain.seli_


def test_noise_is_at_chance_where_the_fitted_rows_look_perfect():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(100, 64)), np.arange(100) % 10
    with pytest.warns(UserWarning, match="rows are few"):
        plain = NCTIScorer().fit(X, y)
    left_out = NCTIScorer(cv="loo").fit(X, y)
    assert plain.ncc_ > 0.5
    assert left_out.ncc_ == pytest.approx(0.1, abs=0.05)
    assert left_out.loo_accuracy_ == pytest.approx(0.1, abs=0.1)


def test_classes_of_one_row():
    X, y = make_problem(d=6, counts=[1, 30, 30], scale=3.0, spread=1.0)
    scorer = NCTIScorer(cv="loo").fit(X, y)
    assert all(np.isfinite(list(scorer.components_.values())))
    with pytest.raises(ValueError, match="needs a class with at least 2 rows"):
        NCTIScorer(cv="loo").fit(X[:3] + np.arange(3)[:, None], [0, 1, 2])


SCORERS = [NCTIScorer, SELIGeometry, NearestCenterClassifier, WithinClassVariability]


@pytest.mark.parametrize("scorer", SCORERS)
@pytest.mark.parametrize("variant", ["released", "paper"])
@pytest.mark.parametrize("cv", [None, "loo", 3])
def test_scale_free_shrinkage_does_not_see_the_scale(scorer, variant, cv):
    X, y = make_problem(d=12, counts=[20, 30, 40], scale=0.05, spread=1.0)
    scorer = scorer(shrinkage="scale-free", cv=cv, variant=variant).fit(X, y)
    measured = "components_" if isinstance(scorer, NCTIScorer) else f"{scorer._measured[0]}_"
    expected, shrinkage = getattr(scorer, measured), scorer.shrinkage_
    others = scorer.score(X[::2], y[::2])
    for factor in (1e-3, 1e3):
        scorer.fit(factor * X, y)
        assert getattr(scorer, measured) == pytest.approx(expected, rel=1e-9)
        assert scorer.shrinkage_ == pytest.approx(shrinkage, rel=1e-9)
        assert scorer.score(factor * X[::2], y[::2]) == pytest.approx(others, rel=1e-9)
    # The adaptive rule sees it.
    adaptive = scorer.set_params(shrinkage="adaptive")
    assert adaptive.fit(X, y).shrinkage_ != pytest.approx(adaptive.fit(1e3 * X, y).shrinkage_)


@pytest.mark.parametrize("factor", [1e-3, 1e3])
@pytest.mark.parametrize("n_resamples", [0, 25])
@pytest.mark.parametrize("cv", [None, "loo"])
def test_scaled_candidates_rank_as_before(cv, n_resamples, factor):
    """Scores and their intervals, of all components and of the robust choice."""
    X, y = make_problem(d=12, counts=[20, 30, 40], scale=0.05, spread=1.0)
    noise = 0.05 * np.random.default_rng(0).normal(size=X.shape)
    pool = {"good": X, "noisy": X + noise, "noise": noise}
    options = {"n_resamples": n_resamples, "random_state": 0} if n_resamples else {}
    for scorer in ("robust", NCTIScorer(shrinkage="scale-free", cv=cv)):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "n_resamples=25 are few")
            expected = rank_features(pool, y, scorer=scorer, **options).results
            scaled = {"good": factor * X, "noisy": (X + noise) / factor, "noise": noise}
            found = rank_features(scaled, y, scorer=scorer, **options).results
        columns = [c for c in found if c.startswith(("score", "rank")) and "time" not in c]
        assert n_resamples == 0 or "score_low" in columns
        for column in columns:
            np.testing.assert_allclose(found[column], expected[column], **ROUNDING)


def test_scaled_candidates_are_equal_under_the_scale_free_shrinkage():
    X, y = make_problem(d=12, counts=[20, 30, 40], scale=0.05, spread=1.0)
    pool = {"a": X, "thousand": 1e3 * X, "noise": np.random.default_rng(0).normal(size=X.shape)}
    ranking = rank_features(pool, y, scorer=NCTIScorer(shrinkage="scale-free", cv="loo"))
    assert ranking.results["rank"].tolist() == [1, 1, 3]
    assert "mixed shrinkage" not in str(ranking)


@pytest.mark.parametrize("shrinkage", ["adaptive", 0.2])
def test_the_printed_equations_are_measured_on_n_refits_too(shrinkage):
    """All features, and the trace spread over them, in the posterior of variant="paper"."""
    X, y = make_problem(d=12, counts=[1, 20, 30, 40], scale=3.0, spread=1.0)
    scorer = NCTIScorer(cv="loo", shrinkage=shrinkage, variant="paper").fit(X, y)
    t = 0.0 if shrinkage == "adaptive" else shrinkage
    # An orthogonal map changes no posterior: the features themselves will do.
    P = refitted(X - X.mean(axis=0), y, 4, t, 12)
    assert scorer.ncc_ == pytest.approx(P[np.arange(91), y].mean(), abs=1e-9)
    assert scorer.vc_ == pytest.approx(
        -sum(np.linalg.norm(P[y == c], "nuc") for c in range(4)), rel=1e-9
    )
    assert scorer.seli_ == pytest.approx(np.linalg.norm(X, "nuc"), rel=1e-9)


@pytest.mark.parametrize("shrinkage", [1e-10, 0.3], ids=str)
def test_nearly_singular_scatters_are_refitted_exactly(shrinkage):
    """One feature has hardly any variance within the classes, and one row has most of that."""
    X, y = make_problem(d=5, counts=[8, 12, 14], scale=3.0, spread=1.0)
    rng = np.random.default_rng(1)
    X[:, 4] = 1e-3 * rng.normal(size=len(y))
    X[3, 4] = 3e-2
    H, _, left_out = prepared(X, y, 5, shrinkage)
    expected = refitted(H, y, 3, 0.0 if shrinkage == 1e-10 else shrinkage, 5)
    np.testing.assert_allclose(left_out.posterior(H, y), expected, atol=1e-9)


def test_words_that_are_no_cv():
    X, y = make_problem(d=4, n=40, n_classes=2)
    with pytest.raises(ValueError, match="The 'cv' parameter"):
        NCTIScorer(cv="lou").fit(X, y)


def weighted_moments(H, y, w, n_classes):
    """Class weights, weighted class means and the weighted scatter within the classes."""
    counts = np.bincount(y, w, minlength=n_classes)
    means = np.array([np.bincount(y, w * column, minlength=n_classes) for column in H.T]).T
    means /= counts[:, None]
    offsets = H - means[y]
    return counts, means, (w[:, None] * offsets).T @ offsets / w.sum()


def weighted_refits(H, y, w, t):
    """Posterior of each row, under moments in which its own weight is 0."""
    n_classes, k = int(y.max()) + 1, H.shape[1]
    P = np.zeros((len(H), n_classes))
    for i in range(len(H)):
        rest = np.where(np.arange(len(H)) == i, 0.0, w)
        counts, means, within = weighted_moments(H, y, rest, n_classes)
        W = (1 - t) * within + t * np.trace(within) / k * np.eye(k)
        solved = np.linalg.solve(W, means.T)
        logit = H[i] @ solved - 0.5 * np.einsum("ck,kc->c", means, solved)
        P[i] = softmax(logit + np.log(counts / counts.sum()))
    return P


@pytest.mark.parametrize("shrinkage", ["adaptive", 0.2])
@pytest.mark.parametrize("counts", [[20, 30, 40], [2, 15, 40]], ids=str)
def test_a_resample_leaves_out_each_row_with_all_its_weight(shrinkage, counts):
    X, y = make_problem(d=6, counts=counts, scale=10.0, spread=1.0)
    scorer = NCTIScorer(cv="loo", shrinkage=shrinkage).fit(X, y)
    H, t = scorer._discriminant.basis.project(X), 0.0 if shrinkage == "adaptive" else shrinkage
    found = scorer.resample(Draws(y, 4, seed=1))
    order = np.argsort(y, kind="stable")
    for i, drawn in enumerate(Draws(y, 4, seed=1).by_class(bayesian=True)):
        w = np.empty(len(y))
        w[order] = drawn
        P = weighted_refits(H, y, w, t)
        assert found.raw["ncc"][i] == pytest.approx(
            P[np.arange(len(y)), y] @ w / w.sum(), abs=1e-9
        )
        scaled = np.sqrt(w)[:, None] * P
        norms = [np.linalg.norm(scaled[y == c], "nuc") for c in range(3)]
        assert found.raw["vc"][i] == pytest.approx(-np.log(sum(norms)), abs=1e-9)
    for name, component in [("ncc", NearestCenterClassifier), ("vc", WithinClassVariability)]:
        alone = component(cv="loo", shrinkage=shrinkage).fit(X, y)
        np.testing.assert_allclose(alone.resample(Draws(y, 4, seed=1)), found.raw[name])


def test_seli_of_a_resample_holds_out_weighted_folds():
    X, y = make_problem(d=6, counts=[20, 30, 40], scale=3.0, spread=1.0)
    scorer = SELIGeometry(cv="loo", shrinkage=0.2).fit(X, y)
    H = scorer._discriminant.basis.project(X)
    found = scorer.resample(Draws(y, 3, seed=1))
    order = np.argsort(y, kind="stable")
    for i, drawn in enumerate(Draws(y, 3, seed=1).by_class(bayesian=True)):
        w = np.empty(len(y))
        w[order] = drawn
        within = plain = 0.0
        for fold in balanced_folds(y):
            held_out = np.isin(np.arange(len(y)), fold)
            counts, means, S_w = weighted_moments(H, y, np.where(held_out, 0.0, w), 3)
            pi = counts / counts.sum()
            spread = means - pi @ means
            S_t = S_w + (pi[:, None] * spread).T @ spread
            W, T = (0.8 * S + 0.2 * np.trace(S) / 6 * np.eye(6) for S in (S_w, S_t))
            axes = eigh(T - W, W)[1][:, ::-1][:, :2]
            offsets = H[held_out] - means[y[held_out]]
            S_w, S_t = ((w[held_out, None] * rows).T @ rows for rows in (offsets, H[held_out]))
            plain = plain + np.diag(axes.T @ S_t @ axes)
            regular = 0.8 * S_w + 0.2 * np.trace(S_w) / 6 * np.eye(6)
            within = within + np.diag(axes.T @ regular @ axes)
        expected = np.sqrt(w.sum() * plain / within).sum()
        assert found[i] == pytest.approx(expected, rel=1e-9)


def test_resamples_spread_as_other_samples_do():
    """Ten rows of each class: rows drawn with replacement spread 0.2 times as far as samples."""
    rng = np.random.default_rng(0)
    centers = 0.7 * rng.normal(size=(6, 40))
    y = np.arange(60) % 6

    def fitted():
        X = centers[y] + rng.normal(size=(60, 40))
        return NearestCenterClassifier(cv="loo", shrinkage="scale-free").fit(X, y)

    samples = np.array([fitted().score() for _ in range(150)])
    spreads = [fitted().resample(Draws(y, 60, seed=i)).std() for i in range(10)]
    assert np.mean(spreads) == pytest.approx(samples.std(), rel=0.35)


def test_a_ranking_by_held_out_rows_has_intervals():
    X, y = make_problem(d=12, counts=[20, 30, 40], scale=3.0, spread=1.0)
    noise = np.random.default_rng(0).normal(size=X.shape)
    pool = {"good": X, "noisy": X + noise, "noise": noise}
    for scorer in ("robust", NCTIScorer(cv="loo")):
        ranking = rank_features(pool, y, scorer=scorer, n_resamples=50, random_state=0)
        assert ranking.best == "good"
        assert ranking.results["group"][0] == 1
        assert (ranking.results["rank_low"] <= ranking.results["rank"]).all()
        assert ranking.results["best_probability"].sum() == pytest.approx(1.0)
