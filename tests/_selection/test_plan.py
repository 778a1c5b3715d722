"""Plans: what a run would download and cost, from published facts and one calibration."""

import math
from dataclasses import FrozenInstanceError
from fractions import Fraction

import numpy as np
import pytest
from sklearn.decomposition import PCA

from sklearn_ncti import ModelSelector
from sklearn_ncti._selection import plan as planning
from sklearn_ncti._selection.plan import (
    CandidateFacts,
    Plan,
    Speed,
    download_bytes,
    facts_of_names,
    filtered_names,
    make_plan,
    names_without_timm,
)
from sklearn_ncti.datasets import load_catalogue
from sklearn_ncti.datasets._filters import Filters


def facts(name, work=1.0, n_parameters=10e6, **others):
    others = {"input_size": 224, "license": "mit", "downloads": True} | others
    return CandidateFacts(name, n_parameters=n_parameters, work=work, **others)


def a_plan(*candidates, n_images=100, speed=None, **others):
    return Plan(candidates, n_images, speed or Speed(0.01, 0.002), **others)


def test_totals_are_sums_over_the_candidates():
    plan = a_plan(
        facts("a", work=1),
        facts("b", work=3, n_parameters=30e6, input_size=384, license="cc-by-nc-4.0"),
        facts("c", work=2, n_parameters=5e6, downloads=False, license=""),
    )
    assert plan.download_bytes == 4 * 40e6
    assert plan.memory_bytes == 4 * 30e6
    assert plan.n_groups == 2
    assert plan.licenses == {"permissive": 1, "conditions": 1, "unknown": 1}
    # Twice the images add the work of the networks, and reading for each of two sizes.
    twice = Plan(plan.candidates, 200, plan.speed)
    assert twice.seconds - plan.seconds == pytest.approx(100 * (6 * 0.01 + 2 * 0.002))
    assert plan.seconds > sum(100 * c.work * 0.01 for c in plan.candidates)
    with pytest.raises(FrozenInstanceError):
        plan.n_images = 3


def test_what_is_unknown_is_said_and_adds_nothing():
    known = a_plan(facts("a"))
    plan = a_plan(
        facts("a"),
        facts("b", work=math.nan),
        CandidateFacts("hub", downloads=True),
        CandidateFacts("pca", takes_images=False),
    )
    assert plan.seconds == pytest.approx(known.seconds)
    assert plan.download_bytes == 4 * 20e6
    assert plan.licenses == {"permissive": 2, "conditions": 0, "unknown": 1}
    text = str(plan)
    assert "3 cannot be predicted" in text
    assert "1 more of unknown size" in text
    row = plan.to_dict()["candidates"][2]
    assert (row["name"], row["seconds"], row["download_bytes"]) == ("hub", None, None)
    assert plan.to_dict()["n_without_estimate"] == 3


def test_text_warns_of_a_full_disk_and_names_the_slowest():
    many = [facts(f"m{i}", work=i) for i in range(1, 15)]
    text = str(a_plan(*many, free_bytes=1e6))
    assert "the download is larger than the free space" in text
    listed = [line.split()[0] for line in text.splitlines() if line.startswith("m")]
    assert [name for name in listed if name[1:].isdigit()] == [f"m{i}" for i in range(14, 4, -1)]
    assert "larger than" not in str(a_plan(*many, free_bytes=1e12))
    assert "\x1b" not in str(a_plan(facts("\x1b[31m")))


def test_refined_by_what_others_took():
    plan = a_plan(facts("a"), facts("b", work=2), facts("c", work=4))
    expected = plan.candidate_seconds
    refined = plan.refined({"a": 3 * expected["a"], "of no candidate": 1.0})
    assert refined.candidate_seconds["a"] == 3 * expected["a"]
    for name in "bc":
        assert refined.candidate_seconds[name] == pytest.approx(3 * expected[name])
    # Again, from the estimates of the beginning; and what is known stays.
    again = refined.refined({"b": expected["b"]})
    share = Fraction(3 * expected["a"] + expected["b"]) / Fraction(expected["a"] + expected["b"])
    assert again.candidate_seconds["c"] == pytest.approx(float(share) * expected["c"])
    assert again.candidate_seconds["a"] == 3 * expected["a"]
    assert plan.refined({}) is plan
    assert plan.refined({"a": math.nan}).candidate_seconds["b"] == expected["b"]


def test_names_of_the_catalogue_are_those_of_timm(monkeypatch):
    timm = pytest.importorskip("timm")
    if f"timm {timm.__version__}." not in load_catalogue().source:
        assert names_without_timm(["*"]) is None
        pytest.skip(f"the catalogue is not that of timm {timm.__version__}")
    for pattern in ("*", "resnet18*", "resnet18", "*.in1k", "vit_tiny*in21k", "convnext_?tto*"):
        if pattern == "resnet18":
            assert names_without_timm([pattern]) == [pattern]
            continue
        expected = timm.list_models(pattern, pretrained=True, include_tags=True)
        assert sorted(names_without_timm([pattern])) == sorted(expected)
    for unknown in ("no_such_model", "resnet999*", "local-dir:x", "hf-hub:a/b"):
        assert names_without_timm(["resnet18", unknown]) is None
    # Given twice, which timm's names refuse.
    assert names_without_timm(["resnet18", "resnet18"]) is None
    monkeypatch.setattr(planning, "version", lambda name: "0.9.0")
    assert names_without_timm(["*"]) is None


def test_facts_are_those_of_the_catalogue(monkeypatch):
    catalogue = load_catalogue()
    monkeypatch.setattr(planning, "cached_models", lambda: {"resnet50.a1_in1k"})
    cached, default = facts_of_names(["resnet50.a1_in1k", "resnet18"])
    assert (cached.downloads, default.downloads) == (False, True)
    assert download_bytes([cached, default]) == pytest.approx(4 * default.n_parameters)
    chosen = catalogue.filter("resnet18", license="permissive")
    place = np.flatnonzero(chosen["is_default"])[0]
    assert default.n_parameters == chosen["n_parameters"][place]
    assert default.license == chosen["license"][place]
    # More operations, or more results of layers, are more work.
    assert cached.work > default.work > chosen["gmacs"][place]


def test_filters_apply_to_what_the_catalogue_knows():
    names = ["resnet18.a1_in1k", "local-dir:mine", "resnet50.a1_in1k", "hf-hub:a/b"]
    few = Filters(max_parameters=12e6)
    assert filtered_names(names, few) == ["resnet18.a1_in1k", "local-dir:mine", "hf-hub:a/b"]
    assert filtered_names(names, Filters()) == names
    assert filtered_names(["local-dir:mine"], few) == ["local-dir:mine"]
    with pytest.raises(ValueError, match=r"max_parameters=1.0 removes the last 2 of 2"):
        filtered_names(names, Filters(max_parameters=1.0))


def test_candidates_that_are_no_networks_need_no_torch():
    X = np.zeros((10, 3))
    plan = ModelSelector([PCA(1), ("two", PCA(2))]).plan(X)
    assert [c.name for c in plan.candidates] == ["pca", "two"]
    assert (plan.n_images, plan.download_bytes, plan.seconds, plan.n_groups) == (10, 0, 0, 0)
    assert all(math.isnan(seconds) for seconds in plan.candidate_seconds.values())
    with pytest.raises(ValueError, match="models is empty"):
        ModelSelector([]).plan(X)


def test_plan_of_a_selector(monkeypatch, tmp_path):
    pytest.importorskip("timm")
    from sklearn_ncti import TimmBackbone, TorchBackbone

    torch = pytest.importorskip("torch")
    monkeypatch.setattr(planning, "cached_models", lambda: set())
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    )
    models = [
        "resnet18.a1_in1k",
        ("random", TimmBackbone("resnet18", pretrained=False, device="cpu")),
        ("own", TorchBackbone(module, input_size=(3, 34, 34), device="cpu")),
        "hf-hub:nobody/nothing",
    ]
    X = np.zeros((6, 40, 40, 3), dtype=np.uint8)
    plan = ModelSelector(models).plan(X)
    published, random, own, hub = plan.candidates
    assert plan.download_bytes == 4 * published.n_parameters
    assert (random.downloads, random.work) == (False, published.work)
    assert math.isnan(hub.work)
    # By hand: 32 x 32 results for each of 8 filters, each from 3 x 3 x 3 pixels.
    results = 8 * 32 * 32
    assert own.work == pytest.approx(results * 27 / 1e9 + 0.15 * results / 1e6)
    assert (own.n_parameters, own.input_size) == (8 * 27 + 8, 34)
    assert plan.speed.per_work > 0
    assert np.isfinite(plan.seconds)
    with pytest.raises((TypeError, ValueError)):
        ModelSelector(models).plan([object()])


def test_calibration_counts_its_network_as_if_it_ran():
    torch = pytest.importorskip("torch")
    pytest.importorskip("timm")
    from sklearn_ncti.backbones import _speed
    from sklearn_ncti.backbones._count import count_work

    ran = count_work(_speed._network().eval(), torch.zeros(2, 3, 224, 224))
    assert _speed._work() == pytest.approx(ran)


def test_counted_work_is_the_published_one():
    timm = pytest.importorskip("timm")
    torch = pytest.importorskip("torch")
    from sklearn_ncti.backbones._count import count_work

    for name in ("resnet18", "mobilenetv3_small_050"):
        network = timm.create_model(name).eval()
        (published,) = facts_of_names([name])
        # The catalogue rounds operations to ten millions.
        counted = count_work(network, torch.zeros(1, 3, 224, 224))
        assert counted == pytest.approx(published.work, abs=0.01)


def test_weights_in_the_cache_of_the_hub(monkeypatch, tmp_path):
    constants = pytest.importorskip("huggingface_hub.constants")
    from sklearn_ncti.backbones._hub import cached_models

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for name, file in (("a.t", "model.safetensors"), ("b.t", "config.json")):
        folder = tmp_path / f"models--timm--{name}" / "snapshots" / "0a1b"
        folder.mkdir(parents=True)
        (folder / file).write_text("")
    (tmp_path / "models--other--c.t").mkdir()
    assert cached_models() == {"a.t"}
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "absent"))
    assert cached_models() == set()
    assert make_plan([], []).free_bytes > 0
