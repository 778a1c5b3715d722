"""Downloads ahead of the device."""

import shutil
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.exceptions import FitFailedWarning

pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("huggingface_hub")

from image_pool import candidates, select

from sklearn_ncti import NCTIScorer, TimmBackbone
from sklearn_ncti._scoring.scorers import Scorers
from sklearn_ncti._selection.ahead import downloads_ahead
from sklearn_ncti._selection.context import FitContext
from sklearn_ncti.backbones import _hub

# They have one geometry.
NAMES = [f"test_{name}.r160_in1k" for name in ("vit", "efficientnet", "byobnet", "convnext")]
REPOSITORIES = [f"timm/{name}" for name in NAMES]

# Seconds until a test fails that waits for something which does not come.
AT_MOST = 60


@pytest.fixture
def while_running(monkeypatch):
    """What to do when the network of a model has run, by model."""
    then = {}
    real = TimmBackbone.extract

    def extract(self, *args, **kwargs):
        extraction = real(self, *args, **kwargs)
        then.get(self.model, lambda: None)()
        return extraction

    monkeypatch.setattr(TimmBackbone, "extract", extract)
    return then


def is_at_work():
    return any(thread.name == "downloads ahead" for thread in threading.enumerate())


def test_the_next_weights_come_while_a_network_runs(data, hub, while_running):
    def check(place):
        assert hub.done[REPOSITORIES[place + 1]].wait(AT_MOST)
        # One ahead, and not all.
        assert [name for name, _ in hub.asked] == REPOSITORIES[: place + 2]

    for place, name in enumerate(NAMES[:-1]):
        while_running[name] = lambda place=place: check(place)
    selector = select(candidates(NAMES), error_score="raise").fit(*data)
    assert (selector.results_["error"] == "").all()
    assert [name for name, _ in hub.asked] == REPOSITORIES
    assert hub.most == 1
    assert not is_at_work()


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_ranking_is_that_of_cached_weights(data, hub, n_jobs):
    first = select(candidates(NAMES), n_jobs=n_jobs).fit(*data).results_
    assert sorted(name for name, _ in hub.asked) == sorted(REPOSITORIES)
    hub.asked.clear()
    again = select(candidates(NAMES), n_jobs=n_jobs).fit(*data).results_
    assert hub.asked == []
    assert first["rank"].tolist() == again["rank"].tolist()


def test_a_file_that_arrived_since_the_caller_looked_is_not_downloaded_again(hub):
    for _ in range(2):
        _hub.download_from_hub(REPOSITORIES[0], ["model.safetensors"])
    assert hub.asked == [(REPOSITORIES[0], "model.safetensors")]
    # The cache is of no use where other files are wanted as well.
    _hub.download_from_hub(REPOSITORIES[0], ["model.safetensors"], more=["tokenizer.json"])
    assert len(hub.asked) == 2


def test_a_failed_download_is_reported_by_its_candidate(data, hub, while_running):
    tried = []

    def fail():
        tried.append(threading.current_thread().name)
        raise OSError("no room on the disk")

    hub.during[REPOSITORIES[1]] = fail
    while_running[NAMES[0]] = lambda: hub.begun[REPOSITORIES[1]].wait(AT_MOST)
    with pytest.warns(FitFailedWarning, match="1 of 4 candidates failed"):
        selector = select(candidates(NAMES)).fit(*data)
    errors = selector.results_["error"]
    assert "no room on the disk" in errors[1]
    assert errors[[0, 2, 3]].tolist() == [""] * 3
    # Ahead, and by the candidate itself.
    assert tried[0] == "downloads ahead"
    assert set(tried[1:]) >= {threading.current_thread().name}


def test_cached_features_need_no_weights(data, hub, tmp_path):
    names = ["hf-hub:own/a", "hf-hub:own/b"]
    memory = str(tmp_path / "memory")
    select(candidates(names), memory=memory).fit(*data)
    assert sorted(set(hub.asked)) == [
        (f"own/{name}", file) for name in "ab" for file in ("config.json", "model.safetensors")
    ]
    for file in hub.folder.rglob("*.safetensors"):
        file.unlink()
    hub.asked.clear()
    select(candidates(names), memory=memory).fit(*data)
    assert hub.asked == []
    # Without the cache of features they are needed again.
    select(candidates(names)).fit(*data)
    assert sorted(hub.asked) == [(f"own/{name}", "model.safetensors") for name in "ab"]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, RuntimeError])
def test_a_download_ends_with_the_fit(data, hub, while_running, kind):
    ended = threading.Event()

    def stay_silent():
        _hub._STOP.get().result(AT_MOST)
        ended.set()
        raise _hub.StoppedError

    def end():
        assert hub.begun[REPOSITORIES[1]].wait(AT_MOST)
        raise kind("the end")

    hub.during[REPOSITORIES[1]] = stay_silent
    while_running[NAMES[0]] = end
    with pytest.raises(kind, match="the end"):
        select(candidates(NAMES), error_score="raise").fit(*data)
    assert ended.is_set()
    assert not is_at_work()
    assert REPOSITORIES[2] not in [name for name, _ in hub.asked]


def jobs_of(names):
    return [
        SimpleNamespace(index=i, model=model) for i, (_, model) in enumerate(candidates(names))
    ]


def context_of(data):
    return FitContext(*data, Scorers(NCTIScorer()))


@pytest.mark.parametrize("why", ["other processes", "cached", "one job"])
def test_no_thread_without_need(data, hub, why):
    if why == "cached":
        for name in REPOSITORIES:
            hub.put(name)
    jobs = jobs_of(NAMES[:1] if why == "one job" else NAMES)
    with downloads_ahead(jobs, context_of(data), why != "other processes") as ahead:
        assert ahead is None
        assert not is_at_work()


def test_nothing_is_downloaded_for_candidates_that_cannot_start(data, hub):
    jobs = jobs_of(NAMES)
    late = replace(context_of(data), deadline=time.time() - 1)
    with downloads_ahead(jobs, late, True) as ahead, ahead.running(jobs[0]):
        pass
    assert hub.asked == []


def test_candidates_that_are_no_backbones_are_passed_over(data, hub):
    jobs = jobs_of(NAMES[:3])
    jobs[1].model = np.zeros(3)
    jobs[0].model = TimmBackbone("test_resnet", pretrained=False)
    with downloads_ahead(jobs, context_of(data), True) as ahead:
        with ahead.running(jobs[0]):
            pass
        with ahead.running(jobs[1]):
            assert hub.done[REPOSITORIES[2]].wait(AT_MOST)
    assert [name for name, _ in hub.asked] == REPOSITORIES[2:3]


def test_weights_that_were_deleted_meanwhile_are_asked_for_again(data, hub):
    hub.put(REPOSITORIES[0])
    backbone = TimmBackbone(NAMES[0])
    assert not backbone.lacks_files()
    shutil.rmtree(hub.path(REPOSITORIES[0]))
    assert backbone.lacks_files()
    backbone.fetch()
    assert not backbone.lacks_files()
    assert hub.asked == [(REPOSITORIES[0], "model.safetensors")]
