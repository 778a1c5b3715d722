"""scikit-learn's conformance checks of every estimator that takes a feature matrix.

No check is excused. The checks of the image backbones are in tests/backbones.
"""

import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_ncti import (
    HalvingModelSelector,
    ModelSelector,
    NCTIScorer,
    NearestCenterClassifier,
    SELIGeometry,
    SourceAttributes,
    WithinClassVariability,
)

CANDIDATES = [("pca", PCA()), ("white", PCA(whiten=True))]

ESTIMATORS = [
    NCTIScorer(),
    NCTIScorer(variant="paper"),
    NCTIScorer(shrinkage=0.5),
    NCTIScorer(cv="loo"),
    SELIGeometry(),
    NearestCenterClassifier(),
    NearestCenterClassifier(cv="loo", shrinkage="scale-free"),
    WithinClassVariability(),
    SourceAttributes(),
    ModelSelector(CANDIDATES),
    ModelSelector(CANDIDATES, final_estimator=LogisticRegression()),
    HalvingModelSelector(CANDIDATES, n_resamples=40),
]

# As a list: older scikit-learn gives pytest a generator, which pytest 9 warns of.
_mark = parametrize_with_checks(ESTIMATORS)
every_check = pytest.mark.parametrize(_mark.args[0], list(_mark.args[1]), **_mark.kwargs)


# The checks fit only a few rows, and the estimators warn of them.
@pytest.mark.filterwarnings("ignore:n = .* rows are few:UserWarning")
@pytest.mark.filterwarnings("ignore:The components .* do not vary:UserWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@every_check
def test_sklearn_compatible(estimator, check):
    arguments = repr(getattr(check, "keywords", {}))
    if "cuda" in arguments and not pytest.importorskip("torch").cuda.is_available():
        pytest.skip("torch has no CUDA device here")
    check(estimator)
