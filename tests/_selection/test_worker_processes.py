"""Networks in worker processes of joblib and dask: the rankings are those of one process.

In a file of their own: one process of pytest mostly runs all tests of a file, and workers then
import torch once.
"""

import re
import warnings

import joblib
import numpy as np
import pytest
from children import server
from helpers import OF_FLOAT32
from joblib.externals.loky import get_reusable_executor

from sklearn_ncti import HalvingModelSelector, NearestCenterClassifier, TextBackbone
from sklearn_ncti.companions import LEEP

pytest.importorskip("torch")
pytest.importorskip("timm")

from image_pool import SCORER, Examples, assert_same, candidates, select, write_model


@pytest.fixture(scope="module", autouse=True)
def new_workers():
    """End workers that have not imported torch: joblib replaces one whose memory grows by it."""
    get_reusable_executor().shutdown()


def in_workers(selector, X, y=None):
    """Fit a selector whose candidates run in two processes."""
    with joblib.parallel_config(backend="loky"):
        return selector.set_params(n_jobs=2).fit(X, y)


def test_images_are_shared(data, models, undisturbed, opened):
    selector = in_workers(select(candidates(models)), *data)
    # All that was opened was opened here.
    assert sorted(opened) == sorted(data[0])
    assert_same(selector.results_, undisturbed)


def test_data_sets(data, models, undisturbed):
    assert_same(in_workers(select(candidates(models)), Examples(*data)).results_, undisturbed)


def test_probabilities(data, tmp_path):
    names = [write_model(tmp_path / f"m{i}", i, n_classes=5) for i in range(2)]
    selector = select(candidates(names), scorer=[SCORER, LEEP()])
    expected = selector.fit(*data).results_
    results = in_workers(selector, *data).results_
    np.testing.assert_allclose(results["leep"], expected["leep"], **OF_FLOAT32)


def test_texts(text_models):
    from text_pool import make_texts

    texts, labels = make_texts()
    models = [(kind, TextBackbone(text_models[kind], device="cpu")) for kind in ("bert", "t5")]
    selector = select(models)
    expected = selector.fit(texts, labels).results_
    assert_same(in_workers(selector, texts, labels).results_, expected)


def test_halving(data, models):
    selector = HalvingModelSelector(
        candidates(models),
        scorer=NearestCenterClassifier(n_components=4, cv="loo", shrinkage="scale-free"),
        min_samples=20,
        n_resamples=40,
        refit=False,
    ).fit(*data)
    n_candidates, scores = selector.n_candidates_, selector.results_["score"]
    in_workers(selector, *data)
    assert selector.n_candidates_ == n_candidates
    np.testing.assert_allclose(selector.results_["score"], scores, **OF_FLOAT32)


def test_progress_over_all(data, models, capfd):
    in_workers(select(candidates(models[:2]), verbose=1), *data)
    out, err = capfd.readouterr()
    assert out == ""
    lines = (
        r"1 of 2 candidates, \d\d:\d\d left, \d+\.\d images/s",
        r"2 of 2 candidates in \d\d:\d\d, \d+\.\d images/s",
        r"m[01] leads \(score \d\.\d{3}\)",
    )
    for line, expected in zip(err.splitlines(), lines, strict=True):
        assert re.fullmatch(rf"\[ModelSelector\] {expected}", line)


def test_dask(data, models, undisturbed, tmp_path):
    distributed = pytest.importorskip("distributed")
    import dask

    method = {"distributed.worker.multiprocessing-method": server().get_start_method()}
    with dask.config.set(method), warnings.catch_warnings():
        # What a cluster warns of while it starts and stops is its own affair.
        warnings.simplefilter("ignore")
        with (
            distributed.LocalCluster(
                n_workers=2,
                threads_per_worker=1,
                processes=True,
                dashboard_address=None,
                local_directory=str(tmp_path),
            ) as cluster,
            distributed.Client(cluster),
            joblib.parallel_config(backend="dask"),
        ):
            selector = select(candidates(models), n_jobs=-1).fit(*data)
    assert_same(selector.results_, undisturbed)
