"""ModelSelector over scikit-learn transformers: ranking, failures, delegation, parameters."""

import pickle

import numpy as np
import pytest
from helpers import ROUNDING, Broken, make_problem
from sklearn.base import BaseEstimator, TransformerMixin, clone, is_classifier
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.random_projection import GaussianRandomProjection

from sklearn_ncti import ModelSelector, NCTIScorer, NearestCenterClassifier, rank_features
from sklearn_ncti.companions import HScore


class Count(TransformerMixin, BaseEstimator):
    """A candidate that counts, in a file, how often it extracted features."""

    def __init__(self, log, factor=1.0):
        self.log = log
        self.factor = factor

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        with open(self.log, "a") as file:
            file.write("x")
        return self.factor * np.asarray(X)

    def __sklearn_is_fitted__(self):
        return True


@pytest.fixture
def data():
    return make_problem(n=400, d=30, spread=1.0, scale=3.0)


class Plain(BaseEstimator):
    """A candidate with fit and transform only."""

    def fit(self, X, y=None):
        self.n_rows_ = len(X)
        return self

    def transform(self, X):
        return 2 * X


CANDIDATES = [
    ("random", GaussianRandomProjection(n_components=5, random_state=0)),
    ("pca", PCA(n_components=20)),
    ("svd", TruncatedSVD(n_components=4, random_state=0)),
]


def test_ranks_as_rank_features_does(data):
    X, y = data
    selector = ModelSelector(CANDIDATES).fit(X, y)
    features = {name: clone(model).fit_transform(X, y) for name, model in CANDIDATES}
    ranking = rank_features(features, y)
    assert selector.ranking_.names == ranking.names
    assert selector.results_ is selector.ranking_.results
    assert set(selector.results_) == set(ranking.results)
    assert_same_table(selector.results_, ranking.results)
    for name in ("extract_time", "score_time"):
        assert (selector.results_[name] >= 0).all()
    assert selector.results_["n_features"].tolist() == [5, 20, 4]
    assert selector.best_name_ == selector.ranking_.best == "pca"
    assert selector.best_index_ == 1
    assert selector.best_score_ == selector.ranking_.scores["pca"]
    np.testing.assert_array_equal(selector.classes_, np.unique(y))


def test_transform_delegates_to_the_best_model(data):
    X, y = data
    selector = ModelSelector(CANDIDATES).fit(X, y)
    assert isinstance(selector.best_model_, PCA)
    expected = PCA(n_components=20).fit(X).transform(X)
    np.testing.assert_allclose(selector.transform(X), expected, **ROUNDING)
    assert selector.n_features_in_ == 30
    assert selector.get_feature_names_out()[0] == "pca0"
    assert not hasattr(selector, "predict")
    assert not is_classifier(selector)
    # The user's own objects stay as they were.
    assert not hasattr(CANDIDATES[1][1], "components_")


def test_final_estimator(data):
    X, y = data
    selector = ModelSelector(CANDIDATES, final_estimator=LogisticRegression(max_iter=2000))
    assert is_classifier(selector)
    selector.fit(X, y)
    expected = make_pipeline(PCA(n_components=20), LogisticRegression(max_iter=2000)).fit(X, y)
    for method in ("predict", "predict_proba", "decision_function"):
        np.testing.assert_allclose(
            getattr(selector, method)(X), getattr(expected, method)(X), atol=1e-6
        )
    assert selector.score(X, y) == pytest.approx(expected.score(X, y), abs=0.01)
    assert isinstance(selector.best_model_, Pipeline)
    assert selector.transform(X).shape == (400, 20)


def test_options_reach_the_ranking(data):
    X, y = data
    features = {name: clone(model).fit_transform(X, y) for name, model in CANDIDATES}
    options = {"normalization": "rank", "weights": {"vc": 3.0}, "scorer": NCTIScorer(3)}
    selector = ModelSelector(CANDIDATES, **options).fit(X, y)
    expected = rank_features(features, y, **options)
    np.testing.assert_allclose(selector.results_["score"], expected.results["score"], **ROUNDING)
    single = ModelSelector(CANDIDATES, scorer=NearestCenterClassifier()).fit(X, y)
    assert "normalized_nearestcenterclassifier" in single.results_


@pytest.mark.parametrize("how", ["fit", "nan", "rows", "one-dimensional"])
def test_a_failed_candidate_is_ranked_last(data, how):
    X, y = data
    candidates = [("broken", Broken(how)), *CANDIDATES, ("also broken", Broken(how))]
    with pytest.warns(FitFailedWarning) as caught:
        selector = ModelSelector(candidates).fit(X, y)
    assert len(caught) == 1
    text = str(caught[0].message)
    assert "2 of 5 candidates failed" in text
    error = selector.results_["error"][0].partition("\n")[0].rstrip(".")
    assert f"\n2 candidate(s) (broken, also broken) failed with: {error}." in text
    # A line for the error, and the rest of it where it is looked for.
    assert len(text.splitlines()) == 3
    assert "Traceback" not in text
    traces = selector.results_["traceback"]
    assert traces[1:4].tolist() == [""] * 3
    for trace in (traces[0], traces[4]):
        assert trace.startswith("Traceback (most recent call last):")
        assert error in trace
    np.testing.assert_array_equal(selector.results_["rank"], [4, 3, 1, 2, 4])
    assert selector.ranking_.names[3:] == ["broken", "also broken"]
    message = {
        "fit": "RuntimeError: no network today",
        "nan": "NaN",
        "rows": "gave 399 rows of features for 400 labels",
        "one-dimensional": "Expected 2D array",
    }[how]
    assert message in selector.results_["error"][0]
    rest = ModelSelector(CANDIDATES).fit(X, y)
    np.testing.assert_allclose(selector.results_["score"][1:4], rest.results_["score"], **ROUNDING)


def test_error_score(data):
    X, y = data
    candidates = [("broken", Broken()), *CANDIDATES]
    with pytest.warns(FitFailedWarning):
        selector = ModelSelector(candidates, error_score=99.0).fit(X, y)
    assert selector.results_["score"][0] == 99.0
    assert selector.results_["rank"][0] == 4
    assert selector.best_name_ == "pca"
    with pytest.raises(RuntimeError, match="no network today"):
        ModelSelector(candidates, error_score="raise").fit(X, y)


def test_all_failed(data):
    X, y = data
    with pytest.raises(ValueError, match=r"(?s)All 2 candidates failed.*no network today") as seen:
        ModelSelector([("a", Broken()), ("b", Broken())]).fit(X, y)
    message = str(seen.value)
    assert len(message.splitlines()) == 1
    assert "Traceback" not in message
    assert len(seen.value.tracebacks) == 1
    assert "in fit" in seen.value.tracebacks[0]


def test_refit_false(data):
    X, y = data
    selector = ModelSelector(CANDIDATES, refit=False).fit(X, y)
    assert selector.best_name_ == "pca"
    assert not hasattr(selector, "best_model_")
    with pytest.raises(AttributeError, match="refit=False"):
        selector.transform(X)
    with pytest.raises(NotFittedError):
        ModelSelector(CANDIDATES).transform(X)


def test_fitting_again_leaves_nothing_behind(data):
    X, y = data
    selector = ModelSelector(CANDIDATES).fit(X, y)
    selector.set_params(refit=False).fit(X[:, :20], y)
    assert not hasattr(selector, "best_model_")
    assert not hasattr(selector, "n_features_in_")


def test_parameters_of_candidates(data):
    X, y = data
    selector = ModelSelector([("pca", PCA(2)), StandardScaler()])
    assert selector.get_params()["pca__n_components"] == 2
    assert "pca__n_components" not in selector.get_params(deep=False)
    selector.set_params(pca__n_components=7, normalization="rank")
    assert selector.models[0][1].n_components == 7
    selector.set_params(pca=Nystroem(n_components=5))
    assert isinstance(selector.models[0][1], Nystroem)
    with pytest.raises(ValueError, match="Invalid parameter 'svd'"):
        selector.set_params(svd__n_components=3)
    grid = GridSearchCV(
        ModelSelector(CANDIDATES, final_estimator=LogisticRegression(max_iter=2000)),
        {"pca__n_components": [1, 20]},
        cv=2,
    ).fit(X, y)
    assert grid.best_params_ == {"pca__n_components": 20}


def test_clone_pickle_cross_validation_and_pipeline(data):
    X, y = data
    selector = ModelSelector(CANDIDATES, final_estimator=LogisticRegression(max_iter=2000))
    copy = clone(selector)
    assert copy.models[1][1] is not selector.models[1][1]
    assert copy.get_params()["pca__n_components"] == 20
    fitted = selector.fit(X, y)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict(X), fitted.predict(X))
    assert str(again.ranking_) == str(fitted.ranking_)
    scores = cross_val_score(selector, X, y, cv=3)
    assert scores.min() > 0.7
    pipeline = make_pipeline(StandardScaler(), ModelSelector(CANDIDATES), LogisticRegression())
    assert pipeline.fit(X, y).score(X, y) > 0.7


def test_set_output(data):
    pandas = pytest.importorskip("pandas")
    X, y = data
    frame = pandas.DataFrame(X).add_prefix("f")
    selector = ModelSelector(CANDIDATES).set_output(transform="pandas").fit(frame, y)
    out = selector.transform(frame)
    assert isinstance(out, pandas.DataFrame)
    assert out.columns.tolist() == [f"pca{i}" for i in range(20)]
    assert selector.feature_names_in_.tolist() == frame.columns.tolist()


def test_memory_keeps_features(data, tmp_path):
    X, y = data
    log = tmp_path / "log"
    log.touch()
    models = [("a", Count(log)), ("b", Count(log, factor=2.0))]
    selector = ModelSelector(
        models,
        memory=str(tmp_path / "cache"),
        final_estimator=LogisticRegression(max_iter=2000),
    )
    with pytest.warns(UserWarning, match="do not vary"):
        selector.fit(X, y)
    assert log.stat().st_size == 2  # once per candidate; the refit finds them kept
    with pytest.warns(UserWarning, match="do not vary"):
        clone(selector).set_params(memory=tmp_path / "cache").fit(X, y)
    assert log.stat().st_size == 2
    with pytest.warns(UserWarning, match="do not vary"):
        clone(selector).fit(X + 1, y)
    assert log.stat().st_size == 4


def test_a_memory_without_access_fails_no_candidate(data, tmp_path, monkeypatch):
    def closed(backend, location, *args, **kwargs):
        if location is not None:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("joblib.memory._store_backend_factory", closed)
    selector = ModelSelector(CANDIDATES, memory=tmp_path, error_score="raise")
    with pytest.warns(UserWarning, match="is closed to joblib .*Permission denied"):
        selector.fit(*data)
    assert selector.best_name_ == "pca"


class Recorder:
    """A callback that keeps what it is told."""

    def __init__(self):
        self.events = []

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.events.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context):
        self.events.append(f"end {context.task_name}")


def test_callbacks(data):
    pytest.importorskip("sklearn.callback", reason="needs scikit-learn 1.9")
    X, y = data
    recorder = Recorder()
    ModelSelector(CANDIDATES[:2]).set_callbacks(recorder).fit(X, y)
    tasks = ["score-random", "score-pca", "refit-best-model"]
    inner = [f"{edge} {task}" for task in tasks for edge in ("begin", "end")]
    assert recorder.events == ["setup", "begin fit", *inner, "end fit", "teardown"]


def test_progress_bar(data, capsys):
    callback = pytest.importorskip("sklearn.callback", reason="needs scikit-learn 1.9")
    pytest.importorskip("rich")
    X, y = data
    ModelSelector(CANDIDATES).set_callbacks(callback.ProgressBar()).fit(X, y)
    assert "ModelSelector" in capsys.readouterr().out


def test_bad_arguments(data):
    X, y = data

    def fit(models, **kwargs):
        return ModelSelector(models, **kwargs).fit(X, y)

    with pytest.raises(ValueError, match="models is empty"):
        fit([])
    with pytest.raises(ValueError, match=r"'models' parameter .* Got 'resnet18'"):
        fit("resnet18")
    with pytest.raises(ValueError, match=r"more than one candidate named \['a'\]"):
        fit([("a", PCA()), ("a", StandardScaler())])
    with pytest.raises(ValueError, match=r"\['verbose'\].*parameters of ModelSelector"):
        fit([("verbose", PCA())])
    with pytest.raises(ValueError, match=r"\['a__b'\], which contain '__'"):
        fit([("a__b", PCA())])
    with pytest.raises(TypeError, match="models must hold timm names"):
        fit([LogisticRegression()])
    with pytest.raises(TypeError, match="models must hold timm names"):
        fit([PCA])
    with pytest.raises(TypeError, match="models must hold timm names"):
        fit([3])
    with pytest.raises(ValueError, match="'normalization' parameter"):
        fit(CANDIDATES, normalization="softmax")
    with pytest.raises(TypeError, match=r"Ridge\(\) predicts real numbers, but y holds"):
        fit(CANDIDATES, scorer=Ridge())
    # Before any feature is extracted.
    with pytest.raises(ValueError, match="unknown components"):
        fit([("broken", Broken())], weights={"logme": 1.0})
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        ModelSelector(CANDIDATES).fit(X, y[1:])
    with pytest.raises(ValueError, match="at least 2 are needed"):
        ModelSelector(CANDIDATES).fit(X, 0 * y)
    with pytest.raises(ValueError, match="Unknown label type"):
        ModelSelector(CANDIDATES).fit(X, X[:, 0])
    with pytest.raises(ValueError, match="requires y to be passed"):
        ModelSelector(CANDIDATES).fit(X, None)


@pytest.fixture
def in_hand(data):
    """The features of CANDIDATES, as `rank_features` takes them."""
    X, y = data
    return {name: clone(model).fit_transform(X, y) for name, model in CANDIDATES}, y


def assert_same_table(results, expected):
    for name, column in expected.items():
        if name.endswith("_time") or name in ("images_per_second", "n_parameters"):
            continue
        if column.dtype == object:
            assert results[name].tolist() == column.tolist()
        else:
            np.testing.assert_allclose(results[name], column, **ROUNDING, err_msg=name)


def test_rows_that_are_held_out(data, in_hand):
    selector = ModelSelector(CANDIDATES, cv=5, refit=False).fit(*data)
    assert_same_table(selector.results_, rank_features(*in_hand, scorer=NCTIScorer(cv=5)).results)
    plain = ModelSelector(CANDIDATES, refit=False).fit(*data)
    assert (selector.results_["ncc"] < plain.results_["ncc"]).all()
    scorer = NearestCenterClassifier(cv=3)
    crossed = ModelSelector(CANDIDATES, scorer=scorer, cv=5, refit=False).fit(*data)
    np.testing.assert_allclose(
        crossed.results_["nearestcenterclassifier"], selector.results_["ncc"]
    )
    assert scorer.cv == 3
    with pytest.raises(ValueError, match="cv=5 needs NCTIScorer or one of its components"):
        ModelSelector(CANDIDATES, scorer=LogisticRegression(), cv=5).fit(*data)


def test_resamples_baseline_and_other_scorers(data, in_hand):
    names = [name for name, _ in CANDIDATES]
    more = {
        "scorer": [
            NCTIScorer(shrinkage=0.1),
            HScore(),
            ("probe", LogisticRegression(max_iter=5000)),
        ],
        "baseline": {names[0]: 0.5, names[1]: 0.7, "unknown": 0.1},
        "n_resamples": 80,
        "random_state": 3,
    }
    selector = ModelSelector(CANDIDATES, refit=False, **more).fit(*data)
    expected = rank_features(*in_hand, **more).results
    assert {"score_low", "best_probability", "hscore", "probe", "baseline"} <= set(expected)
    assert_same_table(selector.results_, expected)
    in_processes = ModelSelector(CANDIDATES, refit=False, n_jobs=2, **more).fit(*data)
    assert_same_table(in_processes.results_, expected)
    with pytest.raises(ValueError, match="baseline has none of the candidates"):
        ModelSelector(CANDIDATES, baseline={"unknown": 1.0}).fit(*data)
    for wrong in (-1, 100_001):
        with pytest.raises(ValueError, match="'n_resamples' parameter"):
            ModelSelector(CANDIDATES, n_resamples=wrong).fit(*data)


# One bad candidate ------------------------------------------------------------------------


def test_a_candidate_without_fit_transform(data):
    X, y = data
    candidates = [("plain", Plain()), *CANDIDATES]
    results = ModelSelector(candidates, refit=False).fit(X, y).results_
    assert results["error"].tolist() == [""] * 4
    doubled = rank_features({"plain": 2 * X}, y).results
    assert results["ncc"][0] == pytest.approx(doubled["ncc"][0])


@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize("final_estimator", [None, LogisticRegression(max_iter=2000)])
def test_candidates_may_write_to_their_data(data, n_jobs, final_estimator):
    X, y = data
    # Columns of unlike scales, so that what works in place changes what others find.
    X = X * np.geomspace(1, 100, X.shape[1])
    expected = {
        name: rank_features({name: clone(model).fit_transform(X.copy(), y)}, y).results
        for name, model in (("scaled", StandardScaler()), CANDIDATES[1])
    }
    given, labels = X.copy(), y.copy()
    candidates = [("scaled", StandardScaler(copy=False)), CANDIDATES[1]]
    selector = ModelSelector(candidates, n_jobs=n_jobs, final_estimator=final_estimator)
    results = selector.fit(given, labels).results_
    np.testing.assert_array_equal(given, X)
    np.testing.assert_array_equal(labels, y)
    for i, (name, _) in enumerate(candidates):
        for component in ("seli", "ncc", "vc"):
            np.testing.assert_allclose(results[component][i], expected[name][component][0])


@pytest.mark.parametrize("name", ["a[1", "(x", "a*", "\\"])
def test_any_name_can_be_shown_in_a_notebook(data, name):
    selector = ModelSelector([(name, PCA(2)), ("b", PCA(3))], refit=False)
    for _ in range(2):
        assert "ModelSelector" in selector._repr_mimebundle_()["text/html"]
        selector.fit(*data)
