"""Jobs of image backbones: shared images, devices, threads, unreadable images."""

import os
import re

import numpy as np
import pytest
from sklearn import config_context
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression

from sklearn_ncti import TimmBackbone

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
Image = pytest.importorskip("PIL.Image")

from image_pool import (  # noqa: E402
    Mean,
    assert_same,
    candidates,
    select,
    spoil,
    write_model,
)

from sklearn_ncti._selection import jobs as _jobs  # noqa: E402
from sklearn_ncti._selection import progress as _progress  # noqa: E402
from sklearn_ncti.backbones import _network, _prepared  # noqa: E402
from sklearn_ncti.backbones import _progress as _own_progress  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:n = ")


def test_one_geometry_is_kept_at_a_time_and_the_order_stays(
    data, models, tmp_path, opened, monkeypatch
):
    large = [write_model(tmp_path / f"large{i}", i, size=48) for i in range(2)]
    alone = write_model(tmp_path / "alone", 7, size=20)
    mixed = [models[0], large[0], alone, models[1], large[1]]
    alive, most = [], []
    prepare, close = _prepared.PreparedImages.complete, _prepared.PreparedImages.close
    start = _prepared.PreparedImages._allocate

    def allocating(self):
        alive.append(self.geometry)
        most.append(len(alive))
        return start(self)

    def closing(self):
        alive.remove(self.geometry)
        close(self)

    monkeypatch.setattr(_prepared.PreparedImages, "_allocate", allocating)
    monkeypatch.setattr(_prepared.PreparedImages, "close", closing)
    selector = select(candidates(mixed)).fit(*data)
    assert prepare is _prepared.PreparedImages.complete
    assert selector.results_["model"].tolist() == ["m0", "large0", "alone", "m1", "large1"]
    assert most == [1, 1]
    assert alive == []
    # Two geometries that are shared, and one that is not.
    assert sorted(opened) == sorted(3 * data[0])


@pytest.mark.parametrize("working_memory", [1024, 0])
@pytest.mark.parametrize("n_jobs", [None, 3])
def test_candidates_of_one_geometry_open_each_image_once(
    data, models, undisturbed, opened, n_jobs, working_memory
):
    with config_context(working_memory=working_memory):
        selector = select(candidates(models), n_jobs=n_jobs).fit(*data)
    assert sorted(opened) == sorted(data[0])
    assert_same(selector.results_, undisturbed)


def test_rows_that_only_some_could_read(copied, models, tmp_path, monkeypatch):
    """A file that breaks in between: the later candidates would be scored on other rows."""
    paths, y = copied
    other = write_model(tmp_path / "other", 9, size=24)
    real = TimmBackbone.extract

    def spoiling(self, *args, **kwargs):
        if self.model == other:
            spoil(paths[5])
        return real(self, *args, **kwargs)

    monkeypatch.setattr(TimmBackbone, "extract", spoiling)
    selector = select([*candidates(models[:2]), ("other", other)], on_bad_image="skip")
    with (
        pytest.warns(FitFailedWarning, match="1 of 3 candidates failed"),
        pytest.warns(UserWarning, match=r"1 file\(s\) changed .*05\.jpg"),
    ):
        selector.fit(paths, y)
    assert "images at [5] could be read for some" in selector.results_["error"][2]
    assert selector.n_skipped_images_ == 0


def test_threads_of_torch_are_divided_among_jobs(data, models, monkeypatch):
    seen = []
    features = _network.Network.features

    def watching(self, pixels):
        seen.append(torch.get_num_threads())
        return features(self, pixels)

    monkeypatch.setattr(_network.Network, "features", watching)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        select(candidates(models[:2]), n_jobs=2).fit(*data)
        assert set(seen) == {2}
        assert torch.get_num_threads() == 4
        seen.clear()
        select(candidates(models[:2])).fit(*data)
        assert set(seen) == {4}
    finally:
        torch.set_num_threads(before)


def test_candidates_are_spread_over_gpus(models, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    devices = ["auto", "cpu", "cuda", "cuda:1", "auto"]
    named = [(d, TimmBackbone(m, device=d)) for d, m in zip(devices, models, strict=True)]
    spread = _jobs._spread_over_devices([*named, ("other", LogisticRegression())])
    found = [model.device for _, model in spread[:-1]]
    assert found == ["cuda:0", "cpu", "cuda:1", "cuda:1", "cuda:0"]
    assert [model.device for _, model in named] == devices
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert _jobs._spread_over_devices(named) == named


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_progress_over_all(data, models, capfd, n_jobs):
    select(candidates(models[:2]), verbose=1, n_jobs=n_jobs).fit(*data)
    out, err = capfd.readouterr()
    assert out == ""
    first, second, last = err.splitlines()
    assert re.fullmatch(
        r"\[ModelSelector\] 1 of 2 candidates, \d\d:\d\d left, \d+\.\d images/s", first
    )
    assert re.fullmatch(
        r"\[ModelSelector\] 2 of 2 candidates in \d\d:\d\d, \d+\.\d images/s", second
    )
    assert re.fullmatch(r"\[ModelSelector\] m[01] leads \(score \d\.\d{3}\)", last)


@pytest.mark.parametrize("verbose", [0, 1])
def test_backbones_show_no_progress_of_their_own(data, models, capsys, monkeypatch, verbose):
    """That of a backbone is a part of the selector's, which may be silent and leaves it then."""
    monkeypatch.setattr(_own_progress, "_SECONDS", 0)
    pool = candidates(models[:2], verbose=1, batch_size=20)
    select(pool, verbose=verbose).fit(*data)
    lines = capsys.readouterr().err.splitlines()
    of_backbones = [line for line in lines if re.match(r"m\d: \d+ of 60 images, ", line)]
    assert len(of_backbones) == (0 if verbose else 4)
    assert len(lines) - len(of_backbones) == 3 * verbose


def test_images_of_a_slow_network_are_steps_in_a_log(data, models, capsys, monkeypatch):
    monkeypatch.setattr(_progress, "_LOG_SECONDS", 0)
    select(candidates(models[:1], batch_size=3), verbose=1).fit(*data)
    *lines, last, _ = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in lines] == [
        "[ModelSelector] 0 of 1 candidates"
    ] * len(lines)
    assert len(lines) == 9
    assert last.startswith("[ModelSelector] 1 of 1 candidates in ")


def test_files_that_change_during_a_run_are_named(copied, models, tmp_path, extracted):
    paths, y = copied
    memory = str(tmp_path / "cache")

    class Changing(TimmBackbone):
        def _build(self, device, outputs):
            os.utime(paths[5], (1, 1))
            return super()._build(device, outputs)

    first, second = candidates(models[:2])
    changing = ("changing", Changing(models[2], device="cpu"))
    for memory in (None, str(tmp_path / "cache")):
        os.utime(paths[5])
        with pytest.warns(UserWarning, match=r"1 file\(s\) changed while .*05\.jpg"):
            results = select([first, changing, second], memory=memory).fit(paths, y).results_
        assert (results["error"] == "").all()
    assert len(list((tmp_path / "cache" / "features").iterdir())) == 1
    extracted.clear()
    select([first, second], memory=memory).fit(paths, y)
    assert extracted == ["m0", "m1"]


def test_skipped_images_count_for_nobody(copied, models, tmp_path):
    paths, y = copied

    spoil(paths[0])
    spoil(paths[20])
    mixed = [("mean", Mean()), *candidates(models[:2])]
    options = {"on_bad_image": "skip", "refit": True, "memory": None}
    options["final_estimator"] = LogisticRegression(max_iter=5000)
    kept = np.delete(np.arange(60), [0, 20])
    clean = select(mixed, **options).fit([paths[i] for i in kept], y[kept])
    for memory in (None, str(tmp_path / "c"), str(tmp_path / "c")):
        options["memory"] = memory
        with pytest.warns(UserWarning, match="2 of 60 images cannot be read"):
            selector = select(mixed, **options).fit(paths, y)
        assert selector.n_skipped_images_ == 2
        assert_same(selector.results_, clean.results_)
        assert (selector.predict(paths[1:20]) == clean.predict(paths[1:20])).all()
    assert clean.n_skipped_images_ == 0
    # What was skipped once is an error when it is asked for, kept or not.
    with pytest.raises(ValueError, match=r"^X\[0\]: the file"):
        select(mixed, memory=str(tmp_path / "c")).fit(paths, y)
