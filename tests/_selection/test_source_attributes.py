"""Source attributes of all candidates, against SourceAttributes of their own features."""

import warnings

import numpy as np
import pytest
from helpers import FLOAT32_ROUNDING, ROUNDING, make_problem
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.exceptions import FitFailedWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklearn_ncti import HalvingModelSelector, ModelSelector, NCTIScorer, SourceAttributes
from sklearn_ncti.companions import HScore

ATTRIBUTES = ["diversity", "compactness", "seli", "nc1", "cdnv", "class_separation"]


class Broken(TransformerMixin, BaseEstimator):
    """A candidate that fails."""

    def fit(self, X, y):
        raise RuntimeError("no weights here")

    def transform(self, X):
        return X


def first_columns(X):
    return X[:, :3]


def noisy(X):
    return X + np.random.default_rng(0).normal(size=X.shape)


def candidates():
    return [
        ("all", FunctionTransformer()),
        ("few", FunctionTransformer(first_columns)),
        ("noisy", FunctionTransformer(noisy)),
        ("scaled pca", make_pipeline(StandardScaler(), PCA(4))),
    ]


@pytest.fixture
def source():
    return make_problem(n=300, d=10, n_classes=5, spread=1.0, scale=3.0, seed=1)


@pytest.fixture
def target():
    return make_problem(n=200, d=10, n_classes=4, spread=0.5, scale=3.0, seed=2)


def expected_columns(models, X, y, **parameters):
    fitted = [SourceAttributes(**parameters).fit(model.fit_transform(X), y) for _, model in models]
    return {name: np.array([f.attributes_[name] for f in fitted]) for name in ATTRIBUTES}


def assert_columns(found, expected, **tolerance):
    for name in ATTRIBUTES:
        np.testing.assert_allclose(found[name], expected[name], **tolerance, err_msg=name)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_columns_are_the_attributes_of_the_features(source, n_jobs):
    X, y = source
    found = ModelSelector(candidates(), n_jobs=n_jobs).source_attributes(X, y)
    assert list(found) == ["model", *ATTRIBUTES, "source_score", "error", "traceback"]
    assert found["model"].tolist() == ["all", "few", "noisy", "scaled pca"]
    assert found["error"].tolist() == [""] * 4
    assert_columns(found, expected_columns(candidates(), X, y), **ROUNDING)


def test_the_score_of_the_pool_is_min_max_ncc_minus_min_max_vc(source):
    """With vc scaled to [-1, 0], as in the score of a ranking."""
    X, y = source
    models = candidates()
    found = ModelSelector(models).source_attributes(X, y)
    scorers = [NCTIScorer().fit(model.fit_transform(X), y) for _, model in models]
    ncc, vc = np.array([(scorer.ncc_, scorer.vc_) for scorer in scorers]).T
    expected = (ncc - ncc.min()) / np.ptp(ncc) - ((vc - vc.min()) / np.ptp(vc) - 1)
    np.testing.assert_allclose(found["source_score"], expected, **ROUNDING)


def test_a_candidate_that_fails_ends_nothing(source):
    X, y = source
    models = [("broken", Broken()), *candidates()]
    with pytest.warns(FitFailedWarning, match="1 of 5 candidates failed and have no source"):
        found = ModelSelector(models).source_attributes(X, y)
    assert found["error"][0] == "RuntimeError: no weights here"
    assert found["traceback"][0].rstrip().endswith("RuntimeError: no weights here")
    assert not any(found["traceback"][1:])
    whole = ModelSelector(candidates()).source_attributes(X, y)
    for name in [*ATTRIBUTES, "source_score"]:
        assert np.isnan(found[name][0])
        np.testing.assert_allclose(found[name][1:], whole[name], **ROUNDING)
    with pytest.raises(RuntimeError, match="no weights here"):
        ModelSelector(models, error_score="raise").source_attributes(X, y)
    with pytest.raises(ValueError, match=r"All 1 candidates failed[\s\S]*no weights here"):
        ModelSelector(models[:1]).source_attributes(X, y)


def test_infinite_attributes_are_no_failure():
    half = np.random.default_rng(0).normal(size=(60, 4))
    X, y = np.concatenate([half, -half, 2 * half, -2 * half]), np.repeat([0, 1], 120)
    found = ModelSelector([("all", FunctionTransformer())]).source_attributes(X, y)
    assert found["error"].tolist() == [""]
    assert found["cdnv"].tolist() == [np.inf]
    assert found["source_score"].tolist() == [0.0]


@pytest.mark.parametrize(
    ("scorer", "parameters"),
    [
        (NCTIScorer(n_components=2), {"n_components": 2}),
        ("robust", {"shrinkage": "scale-free"}),
        ([NCTIScorer(shrinkage=0.3), HScore()], {"shrinkage": 0.3}),
        (HScore(), {}),
    ],
    ids=str,
)
def test_the_projection_is_that_of_the_scorer_that_ranks(source, scorer, parameters):
    X, y = source
    found = ModelSelector(candidates(), scorer=scorer).source_attributes(X, y)
    assert_columns(found, expected_columns(candidates(), X, y, **parameters), **ROUNDING)


def test_the_selector_that_halves_has_the_default_scorer_of_its_own(source):
    X, y = source
    found = HalvingModelSelector(candidates()).source_attributes(X, y)
    expected = expected_columns(candidates(), X, y, shrinkage="scale-free")
    assert_columns(found, expected, **ROUNDING)


def test_source_attributes_leave_the_ranking_as_it_is(source, target):
    selector = ModelSelector(candidates()).fit(*target)
    before, best = {k: v.copy() for k, v in selector.results_.items()}, selector.best_model_
    with_target = selector.source_attributes(*source)
    for name, column in before.items():
        np.testing.assert_array_equal(selector.results_[name], column)
    assert selector.best_model_ is best
    without = ModelSelector(candidates()).source_attributes(*source)
    assert_columns(with_target, without, **ROUNDING)


def test_other_width_than_the_target_features(source, target):
    """Of the candidate whose number of features depends on the rows, and of no other."""
    models = [("whole", FunctionTransformer()), ("explained", PCA(0.99))]
    X, y = target
    selector = ModelSelector(models).fit(X * np.geomspace(1, 1e-3, 10), y)
    widths = dict(zip(*(selector.results_[key] for key in ("model", "n_features")), strict=True))
    X, y = source
    n_source = PCA(0.99).fit(X).n_components_
    assert n_source != widths["explained"]
    with pytest.warns(FitFailedWarning, match="1 of 2 candidates failed"):
        found = selector.source_attributes(X, y)
    assert found["error"][0] == ""
    assert found["error"][1].startswith(
        f"ValueError: the candidate gave {n_source} features for the source rows, but "
        f"{widths['explained']} for the target rows (n_features in results_)."
    )
    # Without a ranking, no width is known.
    assert ModelSelector(models).source_attributes(X, y)["error"].tolist() == ["", ""]


def test_a_candidate_that_failed_on_the_target_has_no_width(source, target):
    X, y = target
    models = [*candidates(), ("needs 12", PCA(10))]
    with pytest.warns(FitFailedWarning, match="1 of 5 candidates failed"):
        selector = ModelSelector(models, refit=False).fit(X[:, :9], y)
    assert np.isnan(selector.results_["n_features"][4])
    with pytest.warns(FitFailedWarning, match="2 of 5 candidates failed"):
        found = selector.source_attributes(*source)
    assert [bool(error) for error in found["error"]] == [True, False, True, False, False]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "y_source is None"),
        (["a"] * 300, r"y_source is no vector of source classes: y has 1 class\(es\) \['a'\]"),
        (np.linspace(0, 1, 300), "y_source is no vector of source classes: Unknown label type"),
        (np.zeros((300, 2), dtype=int), "y_source is no vector of source classes"),
        (np.arange(299) % 2, "inconsistent numbers of samples"),
    ],
    ids=["none", "one class", "numbers", "matrix", "length"],
)
def test_bad_labels_are_refused_before_the_work(source, labels, message):
    with pytest.raises(ValueError, match=message):
        ModelSelector([("broken", Broken())]).source_attributes(source[0], labels)


def test_labels_that_cannot_be_sorted(source):
    with pytest.raises(TypeError, match="y_source is no vector of source classes: y has labels"):
        ModelSelector(candidates()).source_attributes(source[0], np.array(["a", 1] * 150, object))


def test_parameters_are_checked(source):
    with pytest.raises(ValueError, match="The 'memory' parameter of ModelSelector"):
        ModelSelector(candidates(), memory=3).source_attributes(*source)


def test_features_of_the_target_are_no_probabilities(target):
    """The width that a scorer of probabilities saw is no width of features."""
    from sklearn_ncti._selection.source_attributes import target_widths
    from sklearn_ncti.companions import LEEP

    results = ModelSelector(candidates()).fit(*target).results_
    assert target_widths(results, NCTIScorer()) == {
        "all": 10, "few": 3, "noisy": 10, "scaled pca": 4,
    }  # fmt: skip
    assert target_widths(results, LEEP()) == {}
    assert target_widths(None, NCTIScorer()) == {}


# Of images: the engine of `fit` reads, shares and caches them.


@pytest.fixture
def pool(data, models):
    from image_pool import candidates as backbones

    return backbones(models[:3])


@pytest.mark.filterwarnings("ignore:n = ")
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_images_are_opened_once_for_all_networks(data, pool, opened, n_jobs):
    from image_pool import select

    found = select(pool, n_jobs=n_jobs).source_attributes(*data)
    assert sorted(opened) == sorted(data[0])
    expected = expected_columns(pool, *data, n_components=4)
    assert_columns(found, expected, **FLOAT32_ROUNDING)


@pytest.mark.filterwarnings("ignore:n = ")
def test_features_of_source_images_are_cached(data, pool, tmp_path, extracted):
    from image_pool import select

    paths, y = data
    selector = select(pool, memory=tmp_path)
    first = selector.source_attributes(paths[:40], y[:40])
    assert extracted == ["m0", "m1", "m2"]
    again = selector.source_attributes(paths[:40], y[:40])
    assert extracted == ["m0", "m1", "m2"]
    assert_columns(again, first, **ROUNDING)
    # The target has images of its own, and so do its features.
    selector.fit(paths, y)
    assert extracted == ["m0", "m1", "m2"] * 2


@pytest.mark.filterwarnings("ignore:n = ")
def test_unreadable_source_images(copied, pool):
    from image_pool import select, spoil

    paths, y = copied
    spoil(paths[5])
    with pytest.raises(ValueError, match=r"05\.jpg"):
        select(pool).source_attributes(paths, y)
    with pytest.warns(UserWarning, match="left out for all candidates"):
        found = select(pool, on_bad_image="skip").source_attributes(paths, y)
    rest = np.delete(np.arange(60), 5)
    kept = [paths[i] for i in rest]
    expected = expected_columns(pool, kept, y[rest], n_components=4)
    assert_columns(found, expected, **FLOAT32_ROUNDING)


@pytest.mark.filterwarnings("ignore:n = ")
def test_nothing_is_told_of_it(data, pool):
    """Callbacks belong to fits."""
    pytest.importorskip("sklearn.callback")
    from image_pool import select
    from sklearn.callback import ProgressBar

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        selector = select(pool).set_callbacks(ProgressBar())
    assert selector.source_attributes(*data)["error"].tolist() == ["", "", ""]
