"""Rankings in several processes: workers of joblib and dask, runs that are killed, or together.

In a file of their own: one process of pytest mostly runs all tests of a file, and what the others
are forked off, or start with, is then imported once.
"""

import os
import re
import warnings

import joblib
import numpy as np
import pytest
from children import child, server
from helpers import OF_FLOAT32
from joblib.externals.loky import get_reusable_executor

from sklearn_ncti import HalvingModelSelector, NearestCenterClassifier, TextBackbone
from sklearn_ncti.companions import LEEP

pytest.importorskip("torch")
pytest.importorskip("timm")

from image_pool import COLUMNS, SCORER, Examples, assert_same, candidates, select, write_model


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


# --- runs in processes of their own


def test_a_script_ends_with_its_block(tmp_path):
    with child("while True: pass", None, tmp_path) as run:
        assert run.is_alive()
    assert not run.is_alive()


def test_what_fails_in_a_script_is_said(tmp_path):
    with (
        child("answer = 1 / job", 0, tmp_path) as run,
        pytest.raises(AssertionError, match="ZeroDivisionError"),
    ):
        run.answer()


IMAGES = """
import time, warnings
import numpy as np
from sklearn_ncti import ModelSelector, NCTIScorer, TimmBackbone
from sklearn_ncti.backbones import _network

warnings.simplefilter("ignore")
real, calls = _network.Network.features, []

def features(self, pixels):
    # 4 batches of 15 each: the 11th call is in the middle of the third candidate.
    calls.append(len(pixels))
    if job["stop"] and len(calls) == 11:
        open(job["stop"], "w").close()
        time.sleep(600)
    return real(self, pixels)

_network.Network.features = features
selector = ModelSelector(
    [(name[-2:], TimmBackbone(name, device="cpu", batch_size=15)) for name in job["models"]],
    scorer=NCTIScorer(n_components=4), refit=False, memory=job["memory"],
).fit(job["paths"], job["y"])
answer = {name: selector.results_[name].tolist() for name in ("score", "seli", "ncc", "vc")}
"""


def ranking_of_images(data, models, memory, stop=""):
    paths, y = data
    job = {"models": models, "memory": str(memory), "paths": paths, "y": y, "stop": stop}
    return child(IMAGES, job, memory.parent)


def test_a_killed_run_goes_on_where_it_stopped(data, models, undisturbed, tmp_path, extracted):
    reached = tmp_path / "reached"
    with ranking_of_images(data, models, tmp_path / "cache", stop=reached) as run:
        run.kill_at(reached)
    entries = list((tmp_path / "cache" / "features").iterdir())
    assert len(entries) == 2
    assert all(entry.suffix == ".npz" for entry in entries)
    selector = select(candidates(models, batch_size=15), memory=str(tmp_path / "cache"))
    results = selector.fit(*data).results_
    assert extracted == ["m2", "m3", "m4"]
    assert_same(results, undisturbed)


def test_two_processes_rank_into_one_folder(data, models, undisturbed, tmp_path, extracted):
    both = [ranking_of_images(data, models, tmp_path / "cache") for _ in range(2)]
    with both[0] as first, both[1] as second:
        for run in (first, second):
            results = run.answer()
            for name in COLUMNS:
                np.testing.assert_allclose(results[name], undisturbed[name], **OF_FLOAT32)
    kept = select(candidates(models), memory=str(tmp_path / "cache")).fit(*data).results_
    assert extracted == []
    assert_same(kept, undisturbed)


HALVING = """
import time
from sklearn_ncti import HalvingModelSelector, NearestCenterClassifier, TimmBackbone
real = TimmBackbone.extract
calls = []

def extract(self, *args, **kwargs):
    calls.append(self.model)
    if job["stop"] and len(calls) == 7:
        open(job["stop"], "w").close()
        time.sleep(600)
    return real(self, *args, **kwargs)

TimmBackbone.extract = extract
selector = HalvingModelSelector(
    [(name[-2:], TimmBackbone(name, device="cpu")) for name in job["models"]],
    scorer=NearestCenterClassifier(n_components=4, cv="loo", shrinkage="scale-free"),
    min_samples=20, n_resamples=40, confidence=0.999, refit=False, memory=job["memory"],
).fit(job["paths"], job["y"])
answer = [selector.results_["score"].tolist(), len(calls), selector.n_candidates_]
"""


def halving_of_images(data, models, memory, stop=""):
    paths, y = data
    job = {"models": models, "memory": str(memory), "paths": paths, "y": y, "stop": stop}
    return child(HALVING, job, memory.parent)


def test_a_killed_fit_goes_on_in_the_middle_of_an_iteration(hard, models, tmp_path):
    """Five networks in the first iteration and one in the second are done when it is killed."""
    reached = tmp_path / "reached"
    with halving_of_images(hard, models, tmp_path / "cache", stop=reached) as run:
        run.kill_at(reached)
    outputs = []
    for memory in (tmp_path / "cache", tmp_path / "other"):
        with halving_of_images(hard, models, memory) as run:
            outputs.append(run.answer())
    (resumed, n_resumed, kept), (undisturbed, n_all, also_kept) = outputs
    assert kept == also_kept
    assert n_all == sum(kept)
    assert n_resumed == n_all - 6
    np.testing.assert_allclose(resumed, undisturbed, **OF_FLOAT32)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """Names of four text encoders of one tokenizer."""
    from text_pool import write_text_model

    folder = tmp_path_factory.mktemp("encoders")
    return [write_text_model(folder / f"m{i}", seed=i) for i in range(4)]


@pytest.fixture(scope="module")
def of_encoders(encoders):
    """Results of these encoders."""
    from text_pool import make_texts

    models = [(os.path.basename(name), TextBackbone(name, device="cpu")) for name in encoders]
    return select(models).fit(*make_texts()).results_


TEXTS = """
import os, time
from sklearn_ncti import ModelSelector, NCTIScorer, TextBackbone
from sklearn_ncti.backbones import _text
from text_pool import make_texts
real, loads = _text.load_module, []
def loading(*args):
    loads.append(args)
    if job["stop"] and len(loads) == 3:
        open(job["stop"], "w").close()
        time.sleep(600)
    return real(*args)
_text.load_module = loading
models = [(os.path.basename(n), TextBackbone(n, device="cpu")) for n in job["names"]]
scorer = NCTIScorer(n_components=4)
selector = ModelSelector(models, scorer=scorer, refit=False, memory=job["memory"])
selector.fit(*make_texts())
answer = [len(loads), selector.results_["score"].tolist()]
"""


def ranking_of_texts(names, memory, stop=""):
    return child(TEXTS, {"names": names, "memory": str(memory), "stop": stop}, memory.parent)


def test_a_killed_run_of_texts_goes_on_where_it_stopped(encoders, of_encoders, tmp_path):
    memory, reached = tmp_path / "cache", tmp_path / "reached"
    with ranking_of_texts(encoders, memory, stop=reached) as run:
        run.kill_at(reached)
    assert len(list((memory / "features").glob("*.npz"))) == 2
    with ranking_of_texts(encoders, memory) as run:
        n_loads, scores = run.answer()
    assert n_loads == 2
    np.testing.assert_allclose(scores, of_encoders["score"], **OF_FLOAT32)


def test_two_processes_rank_texts_into_one_folder(encoders, of_encoders, tmp_path):
    memory = tmp_path / "cache"
    with (
        ranking_of_texts(encoders, memory) as one,
        ranking_of_texts(encoders[::-1], memory) as other,
    ):
        scores, reverse = one.answer()[1], other.answer()[1]
    np.testing.assert_allclose(scores, of_encoders["score"], **OF_FLOAT32)
    np.testing.assert_allclose(reverse[::-1], of_encoders["score"], **OF_FLOAT32)
    assert len(list((memory / "features").glob("*.npz"))) == 4
    assert not list((memory / "features").glob("unfinished-*"))
