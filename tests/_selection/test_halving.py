"""HalvingModelSelector over feature matrices and ordinary transformers."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import make_problem
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer

from sklearn_ncti import HalvingModelSelector, ModelSelector, NCTIScorer, rank_features
from sklearn_ncti._selection import halving, jobs

#: What candidates of these tests take for the time.
CLOCK = SimpleNamespace(now=0.0)


@pytest.fixture
def clock(monkeypatch):
    """Let no time pass but that which candidates say that they take."""
    watch = SimpleNamespace(time=lambda: CLOCK.now, perf_counter=time.perf_counter)
    monkeypatch.setattr(halving, "time", watch)
    monkeypatch.setattr(jobs, "time", watch)


class Noisy(TransformerMixin, BaseEstimator):
    """The rows with noise, which is that of each row wherever it stands."""

    def __init__(self, noise=0.0, seconds=0.0, seed=0):
        self.noise = noise
        self.seconds = seconds
        self.seed = seed

    def fit(self, X, y=None):
        CLOCK.now += self.seconds
        return self

    def transform(self, X):
        seeds = (np.abs(X[:, 0]) * 1e6).astype(int) % 2**31
        rows = [np.random.default_rng([self.seed, s]).normal(size=X.shape[1]) for s in seeds]
        return X + self.noise * np.array(rows)


@pytest.fixture(scope="module")
def data():
    return make_problem(n=450, d=10, n_classes=5, scale=3.0, spread=1.0)


@pytest.fixture(scope="module")
def pool():
    noises = (4.0, 0.5, 8.0, 0.6, 2.0, 6.0)
    return [(f"noise {noise}", Noisy(noise, seed=i)) for i, noise in enumerate(noises)]


def search(pool, **parameters):
    """Return a search that starts with 50 rows, with few resamples: they take most of its time."""
    options = {"min_samples": 50, "n_resamples": 60, "refit": False, **parameters}
    return HalvingModelSelector(pool, **options)


def test_each_iteration_is_a_ranking_of_its_part(data, pool):
    X, y = data
    selector = search(pool).fit(X, y)
    assert selector.n_resources_[0] == 50
    assert selector.n_candidates_[0] == 6
    assert selector.n_iterations_ == len(selector.rankings_) > 1
    assert selector.n_possible_iterations_ == 3
    results = selector.results_
    assert results["iteration"].min() == 1
    last = results["iteration"] == selector.n_iterations_
    assert results["rank"][last].max() < results["rank"][~last].min()
    assert selector.best_name_ in ("noise 0.5", "noise 0.6")
    assert "successive halving, candidates in each iteration: 6 on 50 rows" in str(
        selector.ranking_
    )
    # The last iteration of all is the ranking of its candidates on all rows.
    if selector.n_iterations_ == 3:
        names = [str(name) for name in results["model"][last]]
        whole = rank_features({n: dict(pool)[n].transform(X) for n in names}, y, scorer="robust")
        for name in names:
            assert selector.ranking_.scores[name] == pytest.approx(whole.scores[name], abs=1e-9)


def test_all_go_on_that_the_resamples_do_not_exclude(data):
    X, y = data
    pool = [(f"copy {i}", Noisy(1.0)) for i in range(4)] + [("bad", Noisy(9.0))]
    with pytest.warns(UserWarning, match="do not vary over the 4 candidates"):
        selector = search(pool, n_resamples=200).fit(X, y)
    assert selector.n_candidates_ == [5, 4, 4]
    assert selector.results_["rank"].tolist() == [1, 1, 1, 1, 5]
    assert selector.results_["iteration"].tolist() == [3, 3, 3, 3, 1]
    # Of equal candidates none is dropped to keep to the factor.
    with pytest.warns(UserWarning, match="do not vary over the 4 candidates"):
        bounded = clone(selector).set_params(elimination="factor").fit(X, y)
    assert bounded.n_candidates_ == [5, 4, 4]


def test_the_factor_bounds_the_number_of_candidates(data):
    X, y = data
    pool = [(f"{i}", Noisy(1.0 + 0.1 * i, seed=i)) for i in range(9)]
    free = search(pool).fit(X, y)
    bounded = search(pool, elimination="factor").fit(X, y)
    assert free.n_candidates_[1] > 3
    assert bounded.n_candidates_ == [9, 3]
    more = search(pool, elimination="factor", n_best=2).fit(X, y)
    assert more.n_candidates_[:2] == [9, 3]
    # As many as are wanted: there is nothing more to find out.
    four = search(pool, elimination="factor", n_best=4).fit(X, y)
    assert four.n_candidates_ == [9]
    assert (four.results_["rank"] <= 9).all()


def test_it_stops_where_one_is_clearly_the_best(data):
    X, y = data
    pool = [("clean", Noisy(0.0)), *((f"bad {i}", Noisy(9.0 + i)) for i in range(4))]
    selector = search(pool, refit=True).fit(X, y)
    assert selector.n_candidates_ == [5]
    assert selector.n_resources_ == [50]
    assert selector.best_name_ == "clean"
    np.testing.assert_array_equal(selector.transform(X), X)


def test_more_confidence_keeps_more(data):
    X, y = data
    pool = [(f"{i}", Noisy(2.0 + 0.2 * i, seed=i)) for i in range(10)]
    kept = [search(pool, confidence=c, n_resamples=200).fit(X, y) for c in (0.5, 0.9, 0.99)]
    seconds = [selector.n_candidates_[1] for selector in kept]
    assert seconds == sorted(seconds)
    assert seconds[0] < seconds[-1]


def test_few_rows_are_ranked_once(data, pool):
    X, y = data
    selector = HalvingModelSelector(pool, min_samples=450, refit=False).fit(X, y)
    assert selector.n_resources_ == [450]
    plain = ModelSelector(pool, scorer="robust", n_resamples=200, random_state=0, refit=False)
    expected = plain.fit(X, y).results_
    for name in ("score", "score_low", "best_probability", "rank"):
        np.testing.assert_allclose(selector.results_[name], expected[name], atol=1e-12)


def test_other_scorers_and_priors(data, pool):
    X, y = data
    prior = {"noise 0.6": 2.0, "noise 0.5": 1.0, "noise 8.0": 0.0}
    selector = search(pool, n_resamples=200, scorer=NCTIScorer(cv="loo"), prior=prior)
    results = selector.fit(X, y).results_
    assert {"normalized_seli", "normalized_vc", "normalized_prior"} <= set(results)
    assert results["prior_imputed"].sum() == 3
    with pytest.raises(ValueError, match="has cv=3"):
        search(pool, scorer=NCTIScorer(cv=3)).fit(X, y)


class BreaksOnMany(Noisy):
    """A candidate that needs too much memory for all rows."""

    def transform(self, X):
        if len(X) > 50:
            raise MemoryError("too many rows")
        return super().transform(X)


def test_a_failed_candidate_is_last_and_ends_nothing(data, pool):
    X, y = data

    def broken(X):
        raise RuntimeError("no such weights")

    pool = [("broken", FunctionTransformer(broken)), *pool[:4], ("later", BreaksOnMany(0.4))]
    with pytest.warns(match="no such weights|too many rows"):
        selector = search(pool).fit(X, y)
    errors = dict(zip(selector.results_["model"], selector.results_["error"], strict=True))
    assert errors["broken"] == "RuntimeError: no such weights"
    assert errors["later"] == "MemoryError: too many rows"
    assert selector.best_name_ == "noise 0.5"


def test_an_iteration_in_which_all_fail_leaves_the_one_before(data):
    X, y = data

    pool = [(f"{i}", BreaksOnMany(2.0, seed=i)) for i in range(2)]
    with pytest.warns(match="no candidate could be scored on 150 rows, so that"):
        selector = search(pool).fit(X, y)
    assert selector.n_iterations_ == 1
    assert sorted(selector.results_["rank"]) == [1, 2]
    assert "no candidate could be scored on 150 rows" in flat(selector.ranking_)


def flat(ranking):
    """What a ranking prints, on one line."""
    return " ".join(str(ranking).split())


def test_no_time_for_all(data, clock):
    X, y = data
    pool = [(f"slow {i}", Noisy(i, seconds=1.0)) for i in range(4)]
    prior = {"slow 2": 3.0, "slow 1": 2.0, "slow 3": 1.0}
    selector = search(pool, prior=prior, max_time=0.1)
    selector.fit(X, y)
    # The one with the best prior starts, however little time there is.
    assert selector.best_name_ == "slow 2"
    assert selector.n_candidates_ == [1]
    errors = selector.results_["error"]
    assert errors[2] == ""
    assert all("left out: not started before max_time=0.1" in errors[i] for i in (0, 1, 3))
    assert "budget: 3 candidates did not start; they were taken in the order of their prior" in (
        flat(selector.ranking_)
    )


def test_an_iteration_without_time_is_left_out(data, clock):
    """Four seconds for the first iteration; the second has time for one of four candidates."""
    X, y = data
    pool = [(f"slow {i}", Noisy(2.0, seconds=1.0, seed=i)) for i in range(4)]
    selector = search(pool, max_time=4.5).fit(X, y)
    assert selector.n_candidates_ == [4]
    assert (selector.results_["iteration"] == 1).all()
    assert (selector.results_["error"] == "").all()
    assert "max_time=4.5 was over: 4 candidates that started may be the best" in flat(
        selector.ranking_
    )


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"factor": 1}, "'factor' parameter"),
        ({"confidence": 1.0}, "'confidence' parameter"),
        ({"n_best": 0}, "'n_best' parameter"),
        ({"n_resamples": 39}, "'n_resamples' parameter"),
        ({"max_time": 0}, "'max_time' parameter"),
        ({"max_download": -1}, "'max_download' parameter"),
        ({"min_samples": 9}, "min_samples=9 must be from 10"),
        ({"min_samples": 451}, "min_samples=451 must be from 10 .* to 450"),
    ],
)
def test_refused_before_any_work(data, parameters, message):
    X, y = data

    def touched(X):
        raise AssertionError("work has begun")

    pool = [("untouched", FunctionTransformer(touched))]
    with pytest.raises(ValueError, match=message):
        HalvingModelSelector(pool, **parameters).fit(X, y)


def test_a_class_of_one_row_is_refused(data):
    X, y = data
    lonely = np.where(np.arange(len(y)) == 0, 99, y)
    with pytest.raises(ValueError, match="the class 99 has 1 row"):
        HalvingModelSelector([("pca", PCA(2))], min_samples=50).fit(X, lonely)


def test_the_winner_predicts(data, pool):
    X, y = data
    selector = search(pool, refit=True, final_estimator=LogisticRegression(max_iter=2000)).fit(
        X, y
    )
    expected = LogisticRegression(max_iter=2000).fit(
        dict(pool)[selector.best_name_].transform(X), y
    )
    found = selector.predict_proba(X)
    np.testing.assert_allclose(found, expected.predict_proba(selector.transform(X)), atol=0.01)
    assert selector.score(X, y) == pytest.approx((selector.predict(X) == y).mean())


def test_rows_may_come_in_any_order(data, pool):
    """Another order gives another part, but a fit with the same rows is the same."""
    X, y = data
    first, again = (search(pool).fit(X, y).results_ for _ in range(2))
    np.testing.assert_array_equal(first["score"], again["score"])
    other = search(pool, random_state=1).fit(X, y).results_
    assert not np.array_equal(first["score"], other["score"])


def test_verbose_says_where_it_is(data, pool, capsys):
    search(pool, verbose=1).fit(*data)
    lines = capsys.readouterr().err.splitlines()
    assert "[HalvingModelSelector] iteration 1 of 3: 6 candidates, 50 rows more" in lines
    assert any(" leads (probability " in line for line in lines)
    assert all(line.startswith("[HalvingModelSelector] iteration ") for line in lines)


def test_verbose_does_not_call_late_candidates_failed(data, clock, capsys):
    pool = [(f"slow {i}", Noisy(i, seconds=1.0)) for i in range(4)]
    search(pool, max_time=0.1, verbose=1).fit(*data)
    err = capsys.readouterr().err
    assert "iteration 1 of 3: 4 candidates" in err
    assert "failed" not in err
    assert "not started" not in err
