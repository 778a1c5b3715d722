"""Estimators and networks are the same after they were saved: joblib, skops, mlflow, ONNX."""

import re
from pathlib import Path

import joblib
import numpy as np
import pytest
from helpers import FLOAT32_ROUNDING, ROUNDING, make_problem
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from sklearn_ncti import (
    HalvingModelSelector,
    ModelSelector,
    NCTIScorer,
    NearestCenterClassifier,
    SELIGeometry,
    SourceAttributes,
    TextBackbone,
    TimmBackbone,
    TorchBackbone,
    WithinClassVariability,
    companions,
)

PAGE = Path(__file__).resolve().parents[1] / "docs" / "persistence.rst"
X, y = make_problem(d=30, spread=1.0, scale=3.0)
MODELS = [("8", PCA(8)), ("4", PCA(4))]
TRANSFORMERS = [
    NCTIScorer(10),
    NCTIScorer(10, cv="loo", shrinkage="scale-free"),
    SELIGeometry(10),
    NearestCenterClassifier(10),
    WithinClassVariability(10),
    ModelSelector(MODELS, n_resamples=40, random_state=0),
    HalvingModelSelector(MODELS, scorer=NCTIScorer(8), n_resamples=40),
]


def documented_types():
    return set(re.findall(r"``(sklearn_ncti\.[\w.]+)``", PAGE.read_text(encoding="utf-8")))


def with_skops(estimator, folder):
    """Save and load, trusting the types of the page and no others."""
    io = pytest.importorskip("skops.io")
    return io.loads(io.dumps(estimator), trusted=sorted(documented_types()))


def with_joblib(estimator, folder):
    joblib.dump(estimator, folder / "e.joblib")
    return joblib.load(folder / "e.joblib")


ways = pytest.mark.parametrize("saved", [with_joblib, with_skops])


@ways
@pytest.mark.parametrize("estimator", TRANSFORMERS, ids=lambda e: type(e).__name__)
def test_fitted_estimators_come_back(estimator, saved, tmp_path):
    estimator.fit(X, y)
    again = saved(estimator, tmp_path)
    np.testing.assert_allclose(again.transform(X[:20]), estimator.transform(X[:20]), **ROUNDING)
    if isinstance(estimator, ModelSelector):
        assert str(again.ranking_) == str(estimator.ranking_)
    else:
        assert again.score(X, y) == pytest.approx(estimator.score(X, y))


@ways
def test_a_selector_predicts_as_before(saved, tmp_path):
    selector = ModelSelector(MODELS, final_estimator=LogisticRegression(max_iter=5000)).fit(X, y)
    again = saved(selector, tmp_path)
    assert again.predict(X).tolist() == selector.predict(X).tolist()
    assert again.classes_.tolist() == selector.classes_.tolist()


def test_the_page_has_every_type_and_no_other():
    io = pytest.importorskip("skops.io")
    others = [getattr(companions, name)() for name in companions.__all__]
    others += [TextBackbone("owner/name"), TimmBackbone("resnet18"), TorchBackbone("net.pt2")]
    found = set()
    for estimator in [*(e.fit(X, y) for e in TRANSFORMERS), SourceAttributes(), *others]:
        found |= set(io.get_untrusted_types(data=io.dumps(estimator)))
    assert found == documented_types()


@ways
def test_a_backbone_is_saved_without_its_network(saved, tmp_path):
    pytest.importorskip("timm")
    images = np.random.default_rng(0).integers(0, 256, (4, 20, 20, 3), dtype=np.uint8)
    backbone = TimmBackbone("test_resnet", pretrained=False, device="cpu").fit(images)
    again = saved(backbone, tmp_path)
    assert again._network is None
    np.testing.assert_allclose(
        again.transform(images), backbone.transform(images), **FLOAT32_ROUNDING
    )


# A warning of mlflow about its own type hints.
@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")
def test_mlflow_takes_the_documented_types(tmp_path):
    mlflow = pytest.importorskip("mlflow.sklearn")
    pytest.importorskip("skops.io")
    selector = ModelSelector(MODELS, final_estimator=LogisticRegression(max_iter=5000)).fit(X, y)
    folder = str(tmp_path / "model")
    mlflow.save_model(
        selector,
        folder,
        serialization_format="skops",
        skops_trusted_types=sorted(documented_types()),
    )
    assert mlflow.load_model(folder).predict(X).tolist() == selector.predict(X).tolist()


@pytest.mark.parametrize("num_classes", [3, 0])
def test_onnx_computes_what_the_network_does(num_classes, tmp_path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("timm")
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    from sklearn_ncti.datasets import load_zoo

    backbone = dict(load_zoo())["resnet-all-long"]
    network, data_config = backbone.to_timm(num_classes)
    size = data_config["input_size"]
    program = torch.onnx.export(
        network.eval(),
        (torch.rand(2, *size),),
        dynamo=True,
        verbose=False,
        dynamic_shapes=({0: torch.export.Dim("n")},),
    )
    program.save(tmp_path / "network.onnx")
    session = runtime.InferenceSession(
        tmp_path / "network.onnx", providers=["CPUExecutionProvider"]
    )
    images = torch.rand(5, *size)
    (found,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    with torch.inference_mode():
        expected = network(images).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
