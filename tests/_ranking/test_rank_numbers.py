"""Real numbers in the place of labels, for scorers that measure how well they are predicted."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import KFold, cross_val_score

from sklearn_ncti import ModelSelector, rank_features
from sklearn_ncti.companions import LogME


@pytest.fixture(scope="module")
def data():
    """Features that hold a number well, badly and not at all."""
    rng = np.random.default_rng(0)
    y = np.sort(rng.normal(size=90))
    noise = rng.normal(size=(90, 4))
    pool = {
        "none": noise,
        "well": np.column_stack([y + 0.1 * noise[:, 0], noise]),
        "badly": np.column_stack([y + 2 * noise[:, 0], noise]),
    }
    return pool, y


@pytest.mark.parametrize("scorer", [LogME(), LogME(task="regression")])
def test_evidence_of_numbers(data, scorer):
    pool, y = data
    ranking = rank_features(pool, y, scorer=scorer)
    assert ranking.names == ["well", "badly", "none"]
    expected = {name: LogME(task="regression").fit(X, y).score_ for name, X in pool.items()}
    values = dict(zip(ranking.results["model"], ranking.results["logme"], strict=True))
    assert values == pytest.approx(expected, rel=1e-9)


def test_regressors_are_cross_validated(data):
    pool, y = data
    ranking = rank_features(pool, y, scorer=[LinearRegression(), LogME()])
    assert ranking.names == ["well", "badly", "none"]
    folds = KFold(5, shuffle=True, random_state=0)
    for name, X in pool.items():
        (row,) = np.flatnonzero(ranking.results["model"] == name)
        expected = cross_val_score(LinearRegression(), X, y, cv=folds).mean()
        assert ranking.results["linearregression"][row] == pytest.approx(expected, rel=1e-9)
    # The order of the rows is not that of the numbers by chance.
    assert ranking.results["linearregression"].max() > 0.9


@pytest.mark.parametrize(
    "scorer",
    [None, "robust", LogisticRegression(), LogME(task="classification"), [LogME(), "ncti"]],
)
def test_scorers_of_classes_refuse_numbers(data, scorer):
    with pytest.raises(ValueError, match=r"real numbers, but a ranking needs classes"):
        rank_features(*data, scorer=scorer)


def test_what_needs_classes_is_refused(data):
    pool, y = data
    with pytest.raises(ValueError, match="n_resamples=10 needs classes"):
        rank_features(pool, y, scorer=LogME(), n_resamples=10)
    with pytest.raises(ValueError, match=r"no label in row .*nan"):
        rank_features(pool, np.where(y > 1, np.nan, y), scorer=LogME())


def test_selector_of_numbers(data):
    pool, y = data
    candidates = [("one", PCA(1)), ("all", PCA(5))]
    selector = ModelSelector(candidates, scorer=LogME(), final_estimator=Ridge())
    selector.fit(pool["well"], y > 0)
    assert selector.classes_.tolist() == [False, True]
    selector.fit(pool["well"], y)
    assert selector.best_name_ == "all"
    assert not hasattr(selector, "classes_")
    assert selector.score(pool["well"], y) > 0.9
