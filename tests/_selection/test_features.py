"""Features of one candidate: from the cache, from a network, with faults."""

import json
import os
import threading
import time
from functools import partial

import joblib
import numpy as np
import pytest
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression

from sklearn_ncti import TimmBackbone, TorchBackbone, rank_features

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
Image = pytest.importorskip("PIL.Image")

from image_pool import (  # noqa: E402
    SCORER,
    Poisoned,
    assert_same,
    candidates,
    select,
    spoil,
    write_model,
)

from sklearn_ncti._scoring.scorers import Scorers  # noqa: E402
from sklearn_ncti._selection import jobs as _jobs  # noqa: E402
from sklearn_ncti._selection.context import FitContext, with_images  # noqa: E402
from sklearn_ncti._selection.features import is_cached  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:n = ")


# --- prepare once


def test_sharing_changes_no_feature(data, models, undisturbed):
    paths, y = data
    features = {name: b.fit_transform(paths) for name, b in candidates(models)}
    assert_same(undisturbed, rank_features(features, y, scorer=SCORER).results)


def test_what_is_in_the_results(data, models, tmp_path):
    licensed = write_model(tmp_path / "licensed", 3, license="apache-2.0")
    started = time.perf_counter()
    results = select([*candidates([models[0], licensed])]).fit(*data).results_
    seconds = time.perf_counter() - started
    module = timm.create_model("test_resnet", num_classes=0)
    n_parameters = sum(p.numel() for p in module.parameters())
    assert results["n_parameters"].tolist() == [n_parameters] * 2
    assert results["n_features"].tolist() == [module.num_features] * 2
    assert results["license"].tolist() == ["", "apache-2.0"]
    times = [results[name] for name in ("decode_time", "device_time", "score_time")]
    assert all((column > 0).all() for column in times)
    assert sum(times).sum() < seconds
    assert (results["extract_time"] >= times[0] + times[1]).all()
    np.testing.assert_allclose(results["images_per_second"], len(data[0]) / (times[0] + times[1]))


# --- go on where it stopped


def test_a_second_run_extracts_and_opens_nothing(
    data, models, undisturbed, tmp_path, opened, extracted
):
    memory = str(tmp_path / "cache")
    select(candidates(models[:3]), memory=memory).fit(*data)
    assert extracted == ["m0", "m1", "m2"]
    opened.clear(), extracted.clear()
    # Parameters that change no feature, and another candidate.
    kwargs = {"batch_size": 7, "num_workers": 0}
    again = select(candidates(models, **kwargs), memory=joblib.Memory(memory, verbose=0))
    assert_same(again.fit(*data).results_, undisturbed)
    assert extracted == ["m3", "m4"]
    assert sorted(opened) == sorted(data[0])
    opened.clear(), extracted.clear()
    final = select(
        candidates(models), memory=memory, refit=True,
        final_estimator=LogisticRegression(max_iter=5000),
    ).fit(*data)  # fmt: skip
    assert (extracted, opened) == ([], [])
    assert np.isnan(final.results_["images_per_second"]).all()
    assert (final.results_["n_parameters"] > 0).all()
    # The network comes when it is needed.
    assert final.score(*data) > 0.8
    assert final.transform(data[0][:3]).shape == (3, 96)


def test_a_damaged_entry_is_made_again(data, models, undisturbed, tmp_path, extracted):
    select(candidates(models), memory=str(tmp_path)).fit(*data)
    extracted.clear()
    entry = sorted((tmp_path / "features").iterdir())[2]
    entry.write_bytes(entry.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="damaged .* and are extracted again"):
        results = select(candidates(models), memory=str(tmp_path)).fit(*data).results_
    assert len(extracted) == 1
    assert_same(results, undisturbed)
    extracted.clear()
    select(candidates(models), memory=str(tmp_path)).fit(*data)
    assert extracted == []


def rewrite(path, change):
    """Write an entry again, whole but other than it was."""
    with np.load(path) as entry:
        features, facts = entry["features"], json.loads(str(entry["facts"]))
    features, facts = change(features, facts)
    if isinstance(facts, dict):
        facts["shape"] = features.shape
    np.savez(path, features=features, facts=json.dumps(facts))


@pytest.mark.parametrize(
    "change",
    [
        lambda features, facts: (features[:-1], facts),
        lambda features, facts: (features[:, 0], facts),
        lambda features, facts: (np.where(features == features[3, 3], np.nan, features), facts),
        lambda features, facts: (features, {k: v for k, v in facts.items() if k != "bad"}),
        lambda features, facts: (features, {**facts, "bad": {"60": "why"}}),
        lambda features, facts: (features, {**facts, "bad": {"x": "why"}}),
        lambda features, facts: (features, {**facts, "bad": [1]}),
        lambda features, facts: (features, {**facts, "license": None}),
        lambda features, facts: (features, [facts]),
    ],
    ids=["short", "flat", "nan", "no bad", "no place", "no number", "a list", "a fact", "facts"],
)
def test_an_entry_that_does_not_fit_is_made_again(data, models, tmp_path, extracted, change):
    expected = select(candidates(models[:2]), memory=str(tmp_path)).fit(*data).results_
    rewrite(sorted((tmp_path / "features").iterdir())[0], change)
    extracted.clear()
    with pytest.warns(UserWarning, match="are extracted again"):
        results = select(candidates(models[:2]), memory=str(tmp_path)).fit(*data).results_
    assert_same(results, expected)
    select(candidates(models[:2]), memory=str(tmp_path)).fit(*data)
    assert len(extracted) == 1


def test_facts_that_are_not_known_reach_no_result(data, models, tmp_path):
    select(candidates(models[:2]), memory=str(tmp_path)).fit(*data)
    for path in (tmp_path / "features").iterdir():
        rewrite(path, lambda features, facts: (features, {**facts, "extract_time": "x"}))
    results = select(candidates(models[:2]), memory=str(tmp_path)).fit(*data).results_
    assert (results["extract_time"] < 60).all()


def test_an_image_that_can_be_read_again_is_no_longer_left_out(copied, models, tmp_path):
    paths, y = copied
    stat = os.stat(paths[7])
    with open(paths[7], "rb") as file:
        content = file.read()

    def write(content):
        with open(paths[7], "wb") as file:
            file.write(content)
        os.utime(paths[7], ns=(stat.st_atime_ns, stat.st_mtime_ns))

    options = {"memory": str(tmp_path / "cache"), "on_bad_image": "skip"}
    write(bytes(len(content)))
    for _ in range(2):
        with pytest.warns(UserWarning, match="1 of 60 images cannot be read"):
            assert select(candidates(models[:2]), **options).fit(paths, y).n_skipped_images_ == 1
    write(content)
    selector = select(candidates(models[:2]), **options).fit(paths, y)
    assert selector.n_skipped_images_ == 0
    expected = select(candidates(models[:2])).fit(paths, y).results_
    assert_same(selector.results_, expected)


def test_kept_features_of_a_stale_verdict_raise_nothing(copied, models, tmp_path, extracted):
    paths, y = copied
    stat = os.stat(paths[7])
    with open(paths[7], "rb") as file:
        content = file.read()
    for wrong in (True, False):
        with open(paths[7], "wb") as file:
            file.write(bytes(len(content)) if wrong else content)
        os.utime(paths[7], ns=(stat.st_atime_ns, stat.st_mtime_ns))
        options = {"memory": str(tmp_path / "cache")}
        if wrong:
            with pytest.warns(UserWarning, match="cannot be read"):
                select(candidates(models[:1]), on_bad_image="skip", **options).fit(paths, y)
        else:
            select(candidates(models[:1]), on_bad_image="raise", **options).fit(paths, y)
    assert extracted == ["m0", "m0"]


def test_networks_that_look_alike_are_kept_apart(data, tmp_path):
    class Power(torch.nn.Module):
        made = 0

        def __init__(self, power):
            super().__init__()
            Power.made += 1
            self.conv, self.power = torch.nn.Conv2d(3, 8, 3), power

        def forward(self, x):
            return self.conv(x).abs().pow(self.power).mean((2, 3))

    pool = [
        (f"power {p}", TorchBackbone(partial(Power, p), input_size=(3, 16, 16), device="cpu"))
        for p in (1, 4)
    ]
    expected = select(pool).fit(*data).results_
    assert expected["ncc"][0] != expected["ncc"][1]
    Power.made = 0
    for _ in range(2):
        results = select(pool, memory=str(tmp_path)).fit(*data).results_
        assert_same(results, expected)
        # The network that says what it is serves for the features as well.
        assert Power.made == 2
        Power.made = 0


class Noise(torch.nn.Module):
    def forward(self, x):
        return x.mean((2, 3)) + torch.rand(3)


def test_random_features_are_not_kept(data, models, tmp_path):
    pool = [("noise", TorchBackbone(Noise, input_size=(3, 16, 16), device="cpu"))]
    with pytest.warns(UserWarning, match="not kept, as it is not known what made them"):
        select([*pool, *candidates(models[:1])], memory=str(tmp_path)).fit(*data)
    assert len(list((tmp_path / "features").iterdir())) == 1


def test_a_candidate_without_a_key_is_not_stored(data, tmp_path):
    def broken():
        raise RuntimeError("no such network")

    model = TorchBackbone(broken, device="cpu")
    memory = joblib.Memory(tmp_path, verbose=0)
    context = with_images(FitContext(*data, Scorers(SCORER), memory=memory), [model])
    assert context.store is not None
    assert not is_cached(model, context)


def test_a_folder_without_room_does_not_end_the_run(data, models, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.warns(UserWarning, match="cannot be kept in .*No space left"):
        results = select(candidates(models[:2]), memory=str(tmp_path)).fit(*data).results_
    assert (results["error"] == "").all()


def test_memory_that_names_no_folder(data, models):
    class Memory:
        def cache(self, function):
            return function

    with pytest.raises(TypeError, match="memory must be a folder or a joblib"):
        select(candidates(models), memory=Memory()).fit(*data)
    without = select(candidates(models[:2]), memory=joblib.Memory(None, verbose=0))
    assert (without.fit(*data).results_["error"] == "").all()


# --- faults


def test_all_faults_in_one_run(copied, models, tmp_path, extracted):
    paths, y = copied
    truncated = write_model(tmp_path / "truncated", 8)
    spoil(tmp_path / "truncated" / "pytorch_model.bin")
    bad = [
        ("truncated", TimmBackbone(truncated, device="cpu")),
        ("nan", TorchBackbone(Poisoned, input_size=(3, 32, 32), device="cpu")),
    ]
    # A misspelt name is an error before anything runs.
    with pytest.raises(ValueError, match=r"^unknown model 'resnet5O'.*resnet50"):
        select([*candidates(models), *bad, ("misspelt", "resnet5O")]).fit(paths, y)
    spoil(paths[7])
    mixed = [bad[0], *candidates(models[:2]), bad[1], *candidates(models[2:3])]
    # A broken image concerns all candidates.
    with pytest.raises(ValueError, match=r"^X\[7\]: the file .*07\.jpg' cannot be read"):
        select(mixed).fit(paths, y)
    with pytest.warns() as caught:
        selector = select(mixed, on_bad_image="skip").fit(paths, y)
    messages = {w.category: str(w.message) for w in caught}
    assert set(messages) == {UserWarning, FitFailedWarning}
    assert "1 of 60 images cannot be read: X[7]" in messages[UserWarning]
    assert "2 of 5 candidates failed" in messages[FitFailedWarning]
    assert "could not load the weights" in selector.results_["error"][0]
    assert "NaN" in selector.results_["error"][3]
    assert selector.n_skipped_images_ == 1
    kept = [i for i in range(60) if i != 7]
    expected = select(candidates(models[:3])).fit([paths[i] for i in kept], y[kept]).results_
    ok = selector.results_["error"] == ""
    assert_same({name: column[ok] for name, column in selector.results_.items()}, expected)


def test_too_few_images_are_left(copied, models):
    paths, y = copied
    for path, label in zip(paths, y, strict=True):
        if label:
            spoil(path)
    with pytest.raises(ValueError, match=r"^40 of 60 images cannot be read: X\[1\].*Too few"):
        select(candidates(models[:2]), on_bad_image="skip").fit(paths, y)


def test_too_few_images_are_left_to_draw_from(copied, models):
    """Every class had two images and more, but one that cannot be read has left it with one."""
    paths, y = copied
    y = y.copy()
    y[:2] = 3
    spoil(paths[0])
    # Without resamples one row is enough.
    with pytest.warns(UserWarning, match="1 of 60 images cannot be read"):
        select(candidates(models[:2]), on_bad_image="skip").fit(paths, y)
    options = {"on_bad_image": "skip", "n_resamples": 40, "random_state": 0}
    before = set(threading.enumerate())
    for n_jobs in (None, 2):
        with pytest.raises(ValueError, match=r"^1 of 60 images cannot be read: X\[0\]") as caught:
            select(candidates(models[:2]), n_jobs=n_jobs, **options).fit(paths, y)
        assert "n_resamples=40" in str(caught.value)
        assert "class 3 has 1 row" in str(caught.value)
    # The other candidate may still run in its thread, and puts the filters of warnings back, which
    # are those of the process, when it is done: in the middle of a later test.
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=60)


def test_missing_file_ends_the_run(data, models):
    paths, y = data
    for skip in ("raise", "skip"):
        with pytest.raises(ValueError, match=r"^X\[60\]: there is no file 'absent.jpg'"):
            select(candidates(models), on_bad_image=skip).fit([*paths, "absent.jpg"], [*y, 0])


def test_a_candidate_with_bad_parameters_fails_alone(data, models):
    odd = ("odd", TorchBackbone(Poisoned, input_size=(7, 8, 8), device="cpu"))
    with pytest.warns(FitFailedWarning, match="1 of 3 candidates"):
        results = select([odd, *candidates(models[:2])]).fit(*data).results_
    assert "input_size must be" in results["error"][0]


# --- several workers and devices


@pytest.mark.parametrize(
    ("device", "options", "kind"),
    [
        ("cuda", {}, torch.Tensor),
        ("cpu", {}, np.ndarray),
        ("cuda", {"memory": "cache"}, np.ndarray),
        ("cuda", {"final_estimator": LogisticRegression(max_iter=5000)}, np.ndarray),
        ("cuda", {"scorer": "other"}, np.ndarray),
    ],
)
def test_features_of_a_gpu_are_scored_there(
    data, models, monkeypatch, tmp_path, device, options, kind
):
    """Where nobody else needs them; that the network runs on a GPU is only pretended."""
    kinds = []
    score = _jobs.score_candidate

    def scoring(name, X, *args):
        kinds.append(type(X))
        return score(name, np.asarray(X), *args)

    monkeypatch.setattr(TimmBackbone, "runs_on_cuda", lambda self: device == "cuda")
    monkeypatch.setattr(_jobs, "score_candidate", scoring)
    options = dict(options)
    if "memory" in options:
        options["memory"] = str(tmp_path)
    if "scorer" in options:
        from sklearn_ncti import NearestCenterClassifier

        options["scorer"] = NearestCenterClassifier(n_components=4)
    select(candidates(models[:2]), **options).fit(*data)
    assert kinds == [kind] * 2
