"""The component transformers against NCTIScorer and against their transformed features."""

import numpy as np
import pytest
from helpers import ROUNDING, make_problem
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sklearn_ncti import (
    NCTIScorer,
    NearestCenterClassifier,
    SELIGeometry,
    WithinClassVariability,
)

COMPONENTS = {
    "seli": SELIGeometry,
    "ncc": NearestCenterClassifier,
    "vc": WithinClassVariability,
}


@pytest.mark.parametrize("name", COMPONENTS)
@pytest.mark.parametrize("variant", ["released", "paper"])
@pytest.mark.parametrize("scale", [1.0, 0.05])
def test_each_is_one_component_of_the_scorer(name, variant, scale):
    X, y = make_problem(d=40, scale=scale)
    component = COMPONENTS[name](20, variant=variant).fit(X[:400], y[:400])
    scorer = NCTIScorer(20, variant=variant).fit(X[:400], y[:400])
    assert component.score() == getattr(component, f"{name}_")
    assert component.score() == pytest.approx(scorer.components_[name], rel=1e-9)
    held_out = scorer.component_scores(X[400:], y[400:])[name]
    assert component.score(X[400:], y[400:]) == pytest.approx(held_out, rel=1e-9)
    assert component.shrinkage_ == pytest.approx(scorer.shrinkage_, rel=1e-9)
    others = set(COMPONENTS) - {name}
    assert not any(hasattr(component, f"{other}_") for other in others)


@pytest.mark.parametrize("name", COMPONENTS)
def test_transform_is_what_the_component_is_measured_on(problem, name):
    X, y = problem
    component = COMPONENTS[name]().fit(X, y)
    measured_on = component.transform(X)
    expected = {
        "seli": lambda Z: np.linalg.norm(Z, "nuc"),
        "ncc": lambda P: P[np.arange(len(y)), y].mean(),
        "vc": lambda P: -np.log(sum(np.linalg.norm(P[y == c], "nuc") for c in range(5))),
    }[name](measured_on)
    assert component.score() == pytest.approx(expected)
    names = component.get_feature_names_out()
    assert len(names) == measured_on.shape[1]
    assert names[0] == f"{COMPONENTS[name].__name__.lower()}0"


def test_nearest_center_decides_as_lda(problem):
    X, y = problem
    clf = NearestCenterClassifier(100, shrinkage=0.0).fit(X, y)
    lda = LinearDiscriminantAnalysis(solver="svd").fit(X, y)
    assert (clf.predict(X) == lda.predict(X)).mean() > 0.999
    np.testing.assert_allclose(clf.predict_proba(X).sum(axis=1), 1)
    np.testing.assert_allclose(clf.transform(X), clf.predict_proba(X), **ROUNDING)


@pytest.mark.parametrize("name", COMPONENTS)
def test_in_a_pipeline(name):
    X, y = make_problem(spread=1.0)
    pipeline = make_pipeline(COMPONENTS[name](20), LogisticRegression(max_iter=2000))
    assert pipeline.fit(X, y).score(X, y) > 0.9
