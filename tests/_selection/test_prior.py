"""ImageNet accuracies of the catalogue as a prior of candidates."""

import numpy as np
import pytest
from helpers import make_problem

pytest.importorskip("timm")

from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklearn_ncti import ModelSelector, TimmBackbone
from sklearn_ncti._selection.prior import imagenet_accuracies
from sklearn_ncti.datasets import load_catalogue


def test_accuracies_are_those_of_the_catalogue():
    catalogue = load_catalogue()
    (row,) = np.flatnonzero(catalogue["name"] == "resnet18.a1_in1k")
    candidates = [
        ("resnet18.a1_in1k", TimmBackbone("resnet18.a1_in1k")),
        ("mine", TimmBackbone("resnet18.a1_in1k")),
        ("default", TimmBackbone("resnet18")),
        ("untrained", TimmBackbone("resnet18.a1_in1k", pretrained=False)),
        ("local", TimmBackbone("local-dir:resnet18.a1_in1k")),
        ("resnet18.tv_in1k", StandardScaler()),
    ]
    found = imagenet_accuracies(candidates)
    assert set(found) == {"resnet18.a1_in1k", "mine", "default"}
    assert found["mine"] == found["resnet18.a1_in1k"] == catalogue["top1"][row]
    (own,) = np.flatnonzero((catalogue["architecture"] == "resnet18") & catalogue["is_default"])
    assert found["default"] == catalogue["top1"][own]


def views(X):
    return [("all", FunctionTransformer()), ("few", FunctionTransformer(first_columns))]


def first_columns(X):
    return X[:, :3]


def test_a_prior_of_ones_own_and_its_weight():
    X, y = make_problem(n=200, d=10, n_classes=3, spread=1.0)
    plain = ModelSelector(views(X)).fit(X, y).results_
    selector = ModelSelector(views(X), prior={"few": 2.0, "all": 1.0}, weights={"prior": 3})
    results = selector.fit(X, y).results_
    np.testing.assert_allclose(results["score"], plain["score"] + [0, 3])
    records = [{"few": 2.0, "all": 1.0}, {"all": 5.0, "few": 4.0}, {"few": 0.2, "all": 0.1}]
    averaged = ModelSelector(views(X), prior=records).fit(X, y).results_
    np.testing.assert_allclose(averaged["prior"], [1 / 3, 2 / 3])


def test_bad_priors_are_refused_before_the_work():
    X, y = make_problem(n=200, d=10, n_classes=3)
    with pytest.raises(ValueError, match=r"prior='imagenet' needs .* none of \['all', 'few'\]"):
        ModelSelector(views(X), prior="imagenet").fit(X, y)
    with pytest.raises(ValueError, match="The 'prior' parameter"):
        ModelSelector(views(X), prior="imagenett").fit(X, y)
    with pytest.raises(ValueError, match="prior has none of the candidates"):
        ModelSelector(views(X), prior={"elsewhere": 1.0}).fit(X, y)


def test_leave_one_out_in_a_selector():
    X, y = make_problem(n=200, d=10, n_classes=3, spread=1.0)
    left_out = ModelSelector(views(X), cv="loo").fit(X, y).results_
    plain = ModelSelector(views(X)).fit(X, y).results_
    assert (left_out["ncc"] < plain["ncc"]).all()
