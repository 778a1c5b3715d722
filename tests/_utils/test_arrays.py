"""Torch tensors and arrays of other libraries as features."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sklearn
from helpers import make_problem
from sklearn.utils.fixes import parse_version

from sklearn_ncti import (
    NCTIScorer,
    NearestCenterClassifier,
    SELIGeometry,
    WithinClassVariability,
    rank_features,
)
from sklearn_ncti._linalg import pca
from sklearn_ncti._ncti import base as _base
from sklearn_ncti._utils.arrays import is_tensor

torch = pytest.importorskip("torch")


@pytest.fixture(params=["converted to numpy", "left on its device"])
def place(request, monkeypatch):
    """Tensors on the CPU are converted to numpy, or processed as if they were on a GPU."""
    if request.param == "left on its device":
        monkeypatch.setattr(_base, "stays_on_device", is_tensor)
    return request.param


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(700, 40), (400, 500)])
@pytest.mark.parametrize(
    "params",
    [{}, {"shrinkage": 0.0}, {"shrinkage": 0.3}, {"variant": "paper"}, {"cv": 5}, {"cv": "loo"}],
    ids=str,
)
@pytest.mark.parametrize("products", [0.0, 1e9], ids=["float32 products", "float64 products"])
@pytest.mark.filterwarnings("ignore:n = .* rows are few:UserWarning")
def test_tensor_and_array_agree(place, dtype, shape, params, products, monkeypatch):
    monkeypatch.setattr(pca, "_FLOAT32_PRODUCTS", products)
    X, y = make_problem(*shape, counts=[shape[0] // 2, *3 * [shape[0] // 6]])
    X = X.astype(dtype)
    ours = NCTIScorer(**params).fit(torch.from_numpy(X), torch.from_numpy(y))
    other = NCTIScorer(**params).fit(X, y)
    for name, value in other.components_.items():
        assert ours.components_[name] == pytest.approx(value, rel=1e-5)
    assert ours.score() == pytest.approx(other.score(), rel=1e-5)
    assert ours.score(torch.from_numpy(X), y) == pytest.approx(other.score(X, y), rel=1e-5)
    tensor = torch.from_numpy(X)
    for method in ("transform", "predict_proba", "predict"):
        result = getattr(ours, method)(tensor)
        assert isinstance(result, np.ndarray)
        expected = getattr(other, method)(X)
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("estimator", [SELIGeometry, NearestCenterClassifier])
def test_components_and_rankings_take_tensors(place, estimator):
    X, y = make_problem()
    tensor = torch.from_numpy(X)
    assert estimator().fit(tensor, y).score() == pytest.approx(estimator().fit(X, y).score())
    ranking = rank_features({"a": tensor, "b": tensor[:, :20]}, torch.from_numpy(y))
    expected = rank_features({"a": X, "b": X[:, :20]}, y)
    assert ranking.names == expected.names
    assert ranking.results["seli"] == pytest.approx(expected.results["seli"])


@pytest.mark.parametrize("kind", ["bfloat16", "float16", "int32"])
def test_other_types_are_converted(place, kind):
    X, y = make_problem()
    tensor = torch.from_numpy(10 * X).to(getattr(torch, kind)).requires_grad_(kind != "int32")
    expected = NCTIScorer().fit(tensor.detach().double().numpy(), y).score_
    assert NCTIScorer().fit(tensor, y).score_ == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_bad_tensors_are_refused(place, value):
    X, y = make_problem()
    tensor = torch.from_numpy(X)
    with pytest.raises(ValueError, match="numbers of samples"):
        NCTIScorer().fit(tensor, y[:-1])
    with pytest.raises(ValueError, match=r"(?i)expected 2D|matrix of shape"):
        NCTIScorer().fit(tensor[:, 0], y)
    with pytest.raises(ValueError, match=r"minimum of 2|at least 2"):
        NCTIScorer().fit(tensor[:1], y[:1])
    scorer = NCTIScorer().fit(tensor, y)
    with pytest.raises(ValueError, match="100 features"):
        scorer.transform(tensor[:, :50])
    with pytest.raises(ValueError, match="Complex data not supported"):
        NCTIScorer().fit(tensor + 1j, y)
    with pytest.raises(ValueError, match=r"X has whole numbers as large as 1.15e\+18"):
        NCTIScorer().fit((100 * tensor).long() + 2**60, y)
    with pytest.raises(ValueError, match="y has no label in row 3: nan"):
        NCTIScorer().fit(tensor, torch.from_numpy(np.where(np.arange(600) == 3, np.nan, y)))
    for factor in (1e160, 1e307):
        with pytest.raises(ValueError, match="X has values as large as"):
            NCTIScorer().fit(factor * tensor, y)
        with pytest.raises(ValueError, match="X has values as large as"):
            scorer.score(factor * tensor, y)
    with pytest.raises(ValueError, match="X has a variance of"):
        NCTIScorer().fit(1e-160 * tensor, y)
    X[17, 3] = value
    with pytest.raises(ValueError, match="row 17, column 3"):
        NCTIScorer().fit(tensor, y)
    with pytest.raises(ValueError, match="row 17, column 3"):
        scorer.transform(tensor)


def test_tensors_are_not_changed(place):
    X, y = make_problem()
    tensor = torch.from_numpy(X.copy())
    NCTIScorer(cv=3).fit(tensor, y).transform(tensor)
    np.testing.assert_array_equal(tensor.numpy(), X)


_DISPATCH = """
import numpy as np, torch
from sklearn import config_context
from sklearn_ncti import NCTIScorer, WithinClassVariability
rng = np.random.default_rng(0)
X, y = rng.normal(size=(300, 8)), np.arange(300) % 3
with config_context(array_api_dispatch=True):
    for estimator in (NCTIScorer(), WithinClassVariability()):
        tensor, labels = torch.from_numpy(X), torch.from_numpy(y)
        fitted = estimator.fit(tensor, labels)
        assert isinstance(fitted.transform(tensor), torch.Tensor)
        assert isinstance(fitted.explained_variance_ratio_, torch.Tensor)
        assert isinstance(fitted.classes_, torch.Tensor)
        assert type(fitted.score()) is float
        named = estimator.fit(tensor, np.array(list("abc"))[y])
        assert isinstance(named.classes_, np.ndarray)
"""


@pytest.mark.skipif(
    parse_version(sklearn.__version__) < parse_version("1.8"), reason="older array API rules"
)
@pytest.mark.parametrize(
    "command",
    [
        ["-c", _DISPATCH],
        ["-m", "pytest", "-q", "tests/test_estimator_checks.py", "-k", "array_api"],
    ],
    ids=["tensors", "scikit-learn's checks"],
)
def test_array_api_dispatch(command):
    # scipy reads the setting when it is imported.
    pytest.importorskip("array_api_strict")
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "SCIPY_ARRAY_API": "1", "PYTHONPATH": str(root)}
    if "pytest" in command:
        command = [*command, "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, *command], cwd=root, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    if "pytest" in command:
        assert int(done.stdout.split(" passed")[0].split()[-1]) >= 40


def test_vc_of_a_tensor_has_the_rows_of_its_classes(place):
    X, y = make_problem(counts=[300, 7, 150, 1, 80])
    fitted = WithinClassVariability(shrinkage=0.2).fit(torch.from_numpy(X), y)
    P = fitted.transform(X)
    norms = [np.linalg.norm(P[y == c], "nuc") for c in range(5)]
    assert fitted.vc_ == pytest.approx(-np.log(np.sum(norms)))
