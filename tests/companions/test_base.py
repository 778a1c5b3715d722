"""Properties of every companion: the contract, invariances, and rejected input.

No check of scikit-learn is excused. LEEP and NCE take nothing but probabilities, and the checks
fit arbitrary ones: there, a subclass makes rows without negative entries add up to 1 first.
"""

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from helpers import make_probabilities, make_problem
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import sklearn_ncti
from sklearn_ncti import companions
from sklearn_ncti.companions import (
    GBC,
    LEEP,
    NCE,
    NLEEP,
    PARC,
    SFDA,
    FaCe,
    HScore,
    LogME,
    TransRate,
)


class _NormalizedMixin:
    def _check_rows(self, X):
        super()._check_rows(self._normalized(X))

    def _measure(self, X, y, n_classes):
        return super()._measure(self._normalized(X), y, n_classes)

    @staticmethod
    def _normalized(X):
        X = X + 1e-9
        return X / X.sum(axis=1, keepdims=True)


class NormalizedLEEP(_NormalizedMixin, LEEP):
    pass


class NormalizedNCE(_NormalizedMixin, NCE):
    pass


FEATURE_METRICS = [
    LogME(),
    HScore(),
    HScore(shrinkage=None),
    GBC(),
    GBC(covariance_type="diagonal"),
    FaCe(),
    TransRate(),
    SFDA(),
    SFDA(shrinkage=0.1),
    NLEEP(components_per_class=1, covariance_type="diag"),
    PARC(),
]


METRICS = [*FEATURE_METRICS, NormalizedLEEP(), NormalizedNCE()]


CHECKED = [*METRICS, LogME(task="regression"), NLEEP(), PARC(max_rows=10)]


each_metric = pytest.mark.parametrize("metric", METRICS, ids=str)


each_feature_metric = pytest.mark.parametrize("metric", FEATURE_METRICS, ids=str)


# As a list: older scikit-learn gives pytest a generator, which pytest 9 warns of.
_mark = parametrize_with_checks(CHECKED)


every_check = pytest.mark.parametrize(_mark.args[0], list(_mark.args[1]), **_mark.kwargs)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@every_check
def test_sklearn_compatible(estimator, check):
    check(estimator)


def test_all_are_exported_and_reachable():
    assert sklearn_ncti.companions is companions
    assert {type(metric).__name__ for metric in FEATURE_METRICS} | {"LEEP", "NCE"} == set(
        companions.__all__
    )


def as_probabilities(metric, X):
    """Return rows that the metric accepts: the features, or their softmax."""
    if not isinstance(metric, LEEP | NCE):
        return X
    P = np.exp(X[:, :8] - X[:, :8].max(axis=1, keepdims=True))
    return P / P.sum(axis=1, keepdims=True)


@each_metric
def test_score_of_other_rows_is_their_own_fit(metric):
    X, y = make_problem(n=300, d=20)
    X = as_probabilities(metric, X)
    fitted = clone(metric).fit(X[:200], y[:200])
    before = pickle.dumps(fitted)
    assert fitted.score() == fitted.score_
    assert type(fitted.score_) is float
    alone = clone(metric).fit(X[200:], y[200:])
    assert fitted.score(X[200:], y[200:]) == pytest.approx(alone.score_, rel=1e-9)
    assert pickle.dumps(fitted) == before
    with pytest.raises(ValueError, match="y is None: pass both"):
        fitted.score(X)
    with pytest.raises(ValueError, match="X is None: pass both"):
        fitted.score(None, y)


@each_metric
def test_renamed_labels_and_other_rows_first_change_nothing(metric):
    X, y = make_problem(n=400, d=30)
    X = as_probabilities(metric, X)
    names = np.array(["kiwi", "apple", "plum", "fig", "lime"])
    expected = clone(metric).fit(X, y).score_
    assert clone(metric).fit(X, names[y]).score_ == pytest.approx(expected, rel=1e-9)
    # A mixture starts from rows that are drawn by their position.
    if not isinstance(metric, NLEEP):
        order = np.random.default_rng(1).permutation(len(X))
        assert clone(metric).fit(X[order], y[order]).score_ == pytest.approx(expected, rel=1e-9)


@each_metric
def test_float32_agrees_and_is_not_written_to(metric):
    X, y = make_problem(n=400, d=30, spread=0.6)
    X = as_probabilities(metric, X + 0.0).astype(np.float32)
    if X.shape[1] == 30 and not isinstance(metric, LogME | PARC):
        # A shift changes the score of metrics that do not center features.
        X += 100
    X.flags.writeable = False
    y.flags.writeable = False
    single = clone(metric).fit(X, y).score_
    double = clone(metric).fit(X.astype(np.float64), y).score_
    assert single == pytest.approx(double, rel=1e-4)


@pytest.mark.parametrize("d", [30, 300], ids=["n > d", "n < d"])
@each_feature_metric
def test_perfect_features_beat_noise(metric, d):
    rng = np.random.default_rng(0)
    y = np.arange(240) % 4
    noise = rng.normal(size=(240, d))
    perfect = 0.02 * noise
    perfect[:, :4] += np.eye(4)[y]
    if isinstance(metric, HScore) and metric.shrinkage is None and d > 240:
        # The documented limit: without shrinkage, any features get C - 1.
        for X in (perfect, noise):
            assert clone(metric).fit(X, y).score_ == pytest.approx(3.0)
        return
    best = clone(metric).fit(perfect, y).score_
    assert best > clone(metric).fit(perfect, rng.permutation(y)).score_
    # The two that depend on the scale, as documented, may prefer noise of a larger one.
    if not isinstance(metric, TransRate | SFDA):
        assert best > clone(metric).fit(noise, y).score_


# Not NLEEP: scikit-learn warns of a mixture of more components than distinct rows.
@pytest.mark.parametrize(
    "metric", [each for each in FEATURE_METRICS if not isinstance(each, NLEEP)], ids=str
)
def test_collapsed_features_are_finite_and_beat_spread_ones(metric):
    y = np.arange(120) % 4
    collapsed = 3.0 * np.eye(4)[y]
    spread = collapsed + np.random.default_rng(0).normal(size=collapsed.shape)
    score = clone(metric).fit(collapsed, y).score_
    assert np.isfinite(score)
    assert score > clone(metric).fit(spread, y).score_


@pytest.mark.parametrize(
    "metric",
    [
        LogME(),
        HScore(shrinkage=None),
        GBC(),
        GBC(covariance_type="diagonal"),
        FaCe(),
        TransRate(),
        SFDA(),
        NLEEP(components_per_class=1),
    ],
    ids=str,
)
def test_dead_features_change_nothing(metric):
    X, y = make_problem(n=200, d=20)
    dead = np.hstack([X, np.zeros((200, 15))])
    assert clone(metric).fit(dead, y).score_ == pytest.approx(clone(metric).fit(X, y).score_)


@pytest.mark.parametrize(
    "metric",
    [
        LogME(),
        HScore(),
        GBC(),
        GBC(covariance_type="diagonal"),
        FaCe(),
        NLEEP(components_per_class=1),
        PARC(),
    ],
    ids=str,
)
@pytest.mark.parametrize("factor", [1e-300, 1e-100, 1e-5, 1e4, 1e100, 1e150, 1e300])
def test_scale_of_the_features_changes_nothing(metric, factor):
    X, y = make_problem(n=200, d=20)
    scaled = clone(metric).fit(factor * X, y).score_
    assert scaled == pytest.approx(clone(metric).fit(X, y).score_, rel=1e-6)


@pytest.mark.parametrize("shape", [(200, 20), (20, 60)])
@pytest.mark.parametrize("metric", [TransRate(), SFDA()], ids=str)
def test_scale_beyond_the_range_is_refused_where_it_counts(metric, shape):
    X, y = make_problem(*shape, n_classes=2)
    with pytest.raises(ValueError, match=r"X has values as large as .*e\+160"):
        clone(metric).fit(1e160 * X, y)
    if isinstance(metric, TransRate):
        # The limit is 0, whatever rounding leaves of squares.
        assert metric.fit(1e-160 * X, y).score_ == pytest.approx(0, abs=1e-200)
    else:
        with pytest.raises(ValueError, match="X has a variance of"):
            clone(metric).fit(1e-160 * X, y)


@each_feature_metric
def test_equal_rows_are_refused(metric):
    with pytest.raises(ValueError, match="X has constant features: all 12 rows"):
        clone(metric).fit(np.full((12, 3), 0.1), np.arange(12) % 3)


@each_metric
def test_one_class_and_nan_are_refused(metric):
    X, y = make_problem(n=40, d=20)
    X = as_probabilities(metric, X)
    with pytest.raises(ValueError, match="at least 2 are needed"):
        clone(metric).fit(X, np.zeros(40, dtype=int))
    X[3, 2] = np.nan
    with pytest.raises(ValueError, match="contains NaN"):
        clone(metric).fit(X, y)


@each_metric
def test_rows_and_labels_that_numpy_would_change_are_refused(metric):
    X, y = make_problem(n=40, d=20)
    X = as_probabilities(metric, X)
    fitted = clone(metric).fit(X, y)
    for refused in (fitted.fit, fitted.score):
        with pytest.raises(ValueError, match="y has no label in row 3: None"):
            refused(X, [None if i == 3 else f"class {c}" for i, c in enumerate(y)])
        with pytest.raises(ValueError, match=r"X has whole numbers as large as 1.15e\+18"):
            refused(np.rint(100 * X).astype(int) + 2**60, y)
    names = [["a", "a\0", "b", "c", "d"][c] for c in y]
    assert clone(metric).fit(X, names).score_ == fitted.score_


@each_feature_metric
def test_last_step_of_a_pipeline_and_cross_validation(metric):
    X, y = make_problem(n=200, d=20)
    pipeline = make_pipeline(PCA(n_components=10), clone(metric))
    components = PCA(n_components=10).fit(X[:100])
    expected = clone(metric).fit(components.transform(X[100:]), y[100:]).score_
    held_out = [(np.arange(100), np.arange(100, 200))]
    assert cross_val_score(pipeline, X, y, cv=held_out) == pytest.approx([expected])


def test_table_of_the_guide_has_all_companions():
    guide = Path(__file__).parents[2] / "docs" / "companions.rst"
    _, table = guide.read_text(encoding="utf-8").split(".. list-table::")
    head, *rows = re.findall(r"^   \* - (.*(?:\n     .*)*)", table, flags=re.MULTILINE)
    assert {1 + row.count("\n     - ") for row in (head, *rows)} == {5}
    named = [re.match(r":class:`~sklearn_ncti\.companions\.(\w+)`\n", row) for row in rows]
    assert sorted(match[1] for match in named) == sorted(companions.__all__)


@pytest.mark.parametrize("metric", [LEEP(), NCE()], ids=str)
def test_what_is_no_probability_is_refused(metric):
    P, y = make_probabilities()
    metric.fit(P.astype(np.float16).astype(np.float32), y)  # half precision is near enough
    P[7] *= 1.01
    with pytest.raises(
        ValueError, match=r"within 0.001 .* 1 of 200 rows .* row 7 adds up to 1.01"
    ):
        metric.fit(P, y)
    P[7] = np.eye(6)[0] * 1.5 - np.eye(6)[1] * 0.5
    with pytest.raises(
        ValueError, match=r"Negative values .* row 7 adds up to 1, .* -0.5.*softmax"
    ):
        metric.fit(P, y)
