"""Input that NCTIScorer and its components accept, refuse or warn of, and rows to score."""

import numpy as np
import pytest
import scipy.sparse
from helpers import make_problem

from sklearn_ncti import NCTIScorer

few_rows = pytest.mark.filterwarnings("ignore:n = :UserWarning")


def test_few_rows_warn_with_the_numbers():
    X, y = make_problem(n=99, d=30, n_classes=3)
    for method in (NCTIScorer().fit, NCTIScorer().fit_transform):
        with pytest.warns(UserWarning, match=r"n = 99 rows .* k = 30 .* C = 3 .* 165") as caught:
            method(X, y)
        assert [warning.filename for warning in caught] == [__file__]


def test_the_advice_fits_the_variant():
    X, y = make_problem(n=99, d=30, n_classes=3)
    with pytest.warns(UserWarning, match="lower n_components"):
        NCTIScorer().fit(X, y)
    with pytest.warns(UserWarning, match="use variant='released'"):
        NCTIScorer(variant="paper").fit(X, y)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_input_is_not_written_to(problem, dtype, order):
    X, y = problem
    X = np.array(X, dtype=dtype, order=order)
    kept = X.copy()
    X.flags.writeable = y.flags.writeable = False
    scorer = NCTIScorer().fit(X, y)
    scorer.transform(X)
    scorer.score(X, y)
    np.testing.assert_array_equal(X, kept)


@pytest.mark.parametrize(
    "labels",
    [
        lambda y: y.astype(str),
        lambda y: y * 1000 - 7,
        lambda y: y.astype(np.uint8),
        lambda y: y > 1,
        lambda y: y.astype(float),
        lambda y: [f"class {c}" for c in y],
    ],
    ids=["str", "int", "uint8", "bool", "whole floats", "list"],
)
def test_labels_of_any_kind(problem, labels):
    X, y = problem
    y = labels(y)
    scorer = NCTIScorer().fit(X, y)
    np.testing.assert_array_equal(scorer.classes_, np.unique(y))
    assert set(scorer.predict(X)) <= set(np.unique(y))
    assert scorer.score(X, y) == pytest.approx(scorer.score())


@pytest.mark.parametrize("kind", [list, tuple, lambda y: np.array(y, dtype=object)])
def test_labels_that_differ_by_what_numpy_drops(problem, kind):
    X, y = problem
    names = kind([("a", "a\0", "b", "b\0\0", "c")[c] for c in y])
    scorer = NCTIScorer().fit(X, names)
    assert scorer.classes_.tolist() == ["a", "a\0", "b", "b\0\0", "c"]
    assert scorer.components_ == NCTIScorer().fit(X, y).components_
    assert scorer.score(X, names) == pytest.approx(scorer.score())
    assert set(scorer.predict(X)) <= set(names)


@pytest.mark.parametrize("variant", ["released", "paper"])
def test_fitted_rows_given_again_have_the_fitted_score(variant):
    X, y = make_problem(d=40)
    scorer = NCTIScorer(variant=variant).fit(X, y)
    assert scorer.score(X, y) == pytest.approx(scorer.score_)
    assert scorer.component_scores(X, y) == pytest.approx(scorer.components_)


@few_rows
def test_held_out_noise_does_not_look_good():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(400, 64)), np.arange(400) % 10
    scorer = NCTIScorer().fit(X[:200], y[:200])
    assert scorer.ncc_ > 0.5
    held_out = scorer.component_scores(X[200:], y[200:], absolute=True)
    assert held_out["ncc"] < 0.2
    assert held_out["seli"] < 0.05


def test_other_rows_may_lack_a_class(problem):
    X, y = problem
    scorer = NCTIScorer().fit(X, y)
    parts = scorer.component_scores(X[y < 3], y[y < 3], absolute=True)
    assert all(0 <= part <= 1 for part in parts.values())


def nan(X, y):
    X[3, 2] = np.nan
    return X, y


def infinity(X, y):
    X[3, 2] = np.inf
    return X, y


def whole(dtype):
    return lambda X, y: (np.rint(100 * X).astype(dtype) + dtype(2**60), y)


def missing(label):
    return lambda X, y: (X, [label if i == 3 else f"class {c}" for i, c in enumerate(y)])


BAD = {
    "NaN": (nan, ValueError, "X contains NaN"),
    "infinity": (infinity, ValueError, "X contains infinity"),
    "one class": (lambda X, y: (X, 0 * y), ValueError, r"y has 1 class.*at least 2"),
    "one row": (lambda X, y: (X[:1], y[:1]), ValueError, "1 sample.*minimum of 2"),
    "no row": (lambda X, y: (X[:0], y[:0]), ValueError, "0 sample"),
    "lengths": (lambda X, y: (X, y[:-1]), ValueError, "inconsistent numbers of samples"),
    "constant": (lambda X, y: (0 * X + 0.1, y), ValueError, "X has constant features"),
    "regression": (lambda X, y: (X, X[:, 0]), ValueError, "Unknown label type: .*continuous"),
    "multi-label": (lambda X, y: (X, np.eye(5)[y]), ValueError, "y should be a 1d array"),
    "sparse": (lambda X, y: (scipy.sparse.csr_matrix(X), y), TypeError, "[Ss]parse"),
    "complex": (lambda X, y: (X + 1j, y), ValueError, "Complex data not supported"),
    "one-dimensional": (lambda X, y: (X[:, 0], y), ValueError, "Expected 2D array"),
    "images": (lambda X, y: (X.reshape(600, 10, 10), y), ValueError, "dim 3"),
    "no labels": (lambda X, y: (X, None), ValueError, "requires y"),
    "too large": (lambda X, y: (X * 1e160, y), ValueError, r"X has values as large as .*e\+160"),
    "overflow": (lambda X, y: (X * 1e307, y), ValueError, r"X has values as large as .*e\+30"),
    "too small": (lambda X, y: (X * 1e-160, y), ValueError, r"X has a variance of .*e-3"),
    "nearly 0": (lambda X, y: (X * 1e-200, y), ValueError, r"X has a variance of 0"),
    "int64": (whole(np.int64), ValueError, r"X has whole numbers as large as 1.15e\+18"),
    "uint64": (whole(np.uint64), ValueError, r"X has whole numbers as large as 1.15e\+18"),
    "large list": (lambda X, y: (whole(int)(X, y)[0].tolist(), y), ValueError, "X has whole"),
    "label types": (
        lambda X, y: (X, np.array(["a", 1], dtype=object)[y % 2]),
        TypeError,
        r"y has labels of the types \['int', 'str'\], which cannot be sorted",
    ),
    "label None": (missing(None), ValueError, "y has no label in row 3: None"),
    "label NaN": (missing(np.nan), ValueError, "y has no label in row 3: nan"),
    "label NaT": (missing(np.datetime64("NaT")), ValueError, "y has no label in row 3: .*NaT"),
    "label NaN, array": (
        lambda X, y: (X, np.where(y == 1, np.nan, y)),
        ValueError,
        "y has no label in row",
    ),
    "label 1 and '1'": (
        lambda X, y: (X, [1, *np.where(y[1:] == 1, "1", "b").tolist()]),
        TypeError,
        r"y has labels of the types \['int', 'str'\], which cannot be sorted",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    make, error, message = BAD[name]
    X, y = make(*make_problem())
    with pytest.raises(error, match=message):
        NCTIScorer().fit(X, y)


@pytest.mark.parametrize("name", ["too large", "too small"])
@pytest.mark.parametrize("parameters", [{"variant": "paper"}, {"cv": 3}, {"n_components": 2}])
@pytest.mark.parametrize("shape", [(200, 30), (30, 200)])
@few_rows
def test_range_of_the_features(name, parameters, shape):
    # The bounds are those of the arithmetic: the scale does not change a score within them.
    make, error, message = BAD[name]
    X, y = make_problem(*shape, n_classes=2)
    with pytest.raises(error, match=message):
        NCTIScorer(**parameters).fit(*make(X, y))
    for shrinkage in (0.0, 0.1):
        scorer = NCTIScorer(**parameters, shrinkage=shrinkage).fit(X, y)
        for factor in (1e145, 1e-135):
            other = NCTIScorer(**parameters, shrinkage=shrinkage).fit(X * factor, y)
            assert other.score_ == pytest.approx(scorer.score_, rel=1e-7)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_components": 0}, r"'n_components'.*range \[1, inf\).*Got 0"),
        ({"n_components": 2.5}, "'n_components'.*Got 2.5"),
        ({"shrinkage": 1.5}, r"'shrinkage'.*range \[0.0, 1.0\].*Got 1.5"),
        ({"shrinkage": "auto"}, "'shrinkage'.*'adaptive'.*Got 'auto'"),
        ({"variant": "other"}, "'variant'.*Got 'other'"),
    ],
)
def test_bad_parameters(problem, parameters, message):
    with pytest.raises(ValueError, match=message):
        NCTIScorer(**parameters).fit(*problem)


def test_bad_rows_to_score(problem):
    X, y = problem
    scorer = NCTIScorer().fit(X, y)
    with pytest.raises(ValueError, match=r"not in the fitted y: \[7\]"):
        scorer.score(X[:2], [0, 7])
    for factor in (1e160, 1e307):
        with pytest.raises(ValueError, match="X has values as large as"):
            scorer.score(X * factor, y)
    with pytest.raises(ValueError, match="X has values as large as"):
        scorer.predict(X * 1e307)
    with pytest.raises(ValueError, match="y has no label in row 1: None"):
        scorer.score(X[:2], [0, None])
    with pytest.raises(ValueError, match="y is None: pass both"):
        scorer.score(X)
    with pytest.raises(ValueError, match="X is None: pass both"):
        scorer.component_scores(y=y)


@few_rows
def test_small_n_and_d_are_clipped():
    X, y = make_problem(n=10, d=3, n_classes=2)
    scorer = NCTIScorer(n_components=64).fit(X, y)
    assert scorer.n_components_ == 3
    assert scorer.explained_variance_ratio_.sum() == pytest.approx(1.0)
    assert NCTIScorer().fit(X[:2], [0, 1]).n_components_ == 2
