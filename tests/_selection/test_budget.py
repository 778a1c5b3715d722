"""Which candidates a search can afford, and in which order they start."""

import numpy as np
import pytest
from helpers import make_problem
from sklearn.preprocessing import FunctionTransformer

from sklearn_ncti import HalvingModelSelector, TimmBackbone
from sklearn_ncti._selection import budget
from sklearn_ncti._selection.plan import CandidateFacts, Speed

CANDIDATES = [(name, FunctionTransformer()) for name in "abcd"]


@pytest.fixture
def facts(monkeypatch):
    """Four networks of 1, 2, 4 and 8 GB, with as many units of work; a unit takes a second."""
    known = {
        name: CandidateFacts(name, n_parameters=size * 1e9 / 4, work=size, downloads=True)
        for name, size in zip("abcd", (1, 2, 4, 8), strict=True)
    }
    # The time to read weights from the disk is not what is tested.
    monkeypatch.setattr(
        CandidateFacts, "seconds", lambda self, n, speed: n * self.work * speed.per_work
    )
    monkeypatch.setattr(budget, "facts_of_candidates", lambda items: [known[n] for n, _ in items])
    monkeypatch.setattr(budget, "measure_speed", lambda X: Speed(1.0))
    return known


def left_out(candidates=CANDIDATES, **limits):
    limits = {"max_time": None, "max_download": None, **limits}
    return budget.affordable(candidates, np.zeros((30, 2)), 10, 3, **limits)


def test_weights_that_do_not_fit_are_left_out(facts):
    assert left_out() == {}
    assert left_out(max_download=15) == {}
    assert list(left_out(max_download=7)) == ["d"]
    found = left_out(max_download=11)
    assert list(found) == ["d"]
    assert "weights of about 8 GB do not fit into max_download=11 GB" in found["d"]
    # In another order, others fit.
    assert list(left_out(CANDIDATES[::-1], max_download=11)) == ["c"]
    with pytest.raises(
        ValueError, match=r"max_download=0\.5 GB is too small for any candidate: the "
    ):
        left_out(max_download=0.5)


def test_what_is_cached_costs_no_download(facts):
    facts["d"] = CandidateFacts("d", n_parameters=2e9, work=8)
    facts["c"] = CandidateFacts("c", work=4, downloads=True)
    assert left_out(max_download=3) == {}


def test_the_first_iteration_has_its_share_of_the_time(facts):
    """Ten rows of the first of three iterations: 10, 20, 40 and 80 seconds."""
    assert left_out(max_time=450) == {}
    found = left_out(max_time=210)
    assert list(found) == ["d"]
    assert "does not fit into the 70 s that max_time=210 leaves for the first" in found["d"]
    assert list(left_out(max_time=95)) == ["c", "d"]
    # One candidate starts, even if it needs more than its share.
    assert list(left_out(CANDIDATES[::-1], max_time=90)) == ["c", "b", "a"]
    with pytest.raises(
        ValueError, match="max_time=9 s is too short for any candidate: the fastest"
    ):
        left_out(max_time=9)


def test_nothing_is_predicted_of_transformers():
    assert left_out(max_time=1e-9, max_download=0) == {}


def test_candidates_start_in_the_order_of_their_prior():
    assert [n for n, _ in budget.best_first(CANDIDATES, {"c": 2.0, "b": 1.0})] == [
        "c",
        "b",
        "a",
        "d",
    ]
    assert [n for n, _ in budget.best_first(CANDIDATES, None)] == ["a", "b", "c", "d"]
    networks = [(n, TimmBackbone(n)) for n in ("resnet18.a1_in1k", "vit_base_patch16_224.dino")]
    networks.append(("resnet50.a1_in1k", TimmBackbone("resnet50.a1_in1k")))
    ordered = [name for name, _ in budget.best_first(networks, None)]
    # The one of DINO has no ImageNet head.
    assert ordered == ["resnet50.a1_in1k", "resnet18.a1_in1k", "vit_base_patch16_224.dino"]


def test_a_search_within_its_budget(facts):
    X, y = make_problem(n=90, d=6, n_classes=3, scale=3.0, spread=1.0)
    noise = np.random.default_rng(0).normal(size=X.shape)
    pool = [
        (name, FunctionTransformer(lambda X, size=size: X + size * noise[: len(X)]))
        for name, size in zip("abcd", (0.5, 2.0, 3.0, 4.0), strict=True)
    ]
    selector = HalvingModelSelector(pool, min_samples=30, max_download=7, refit=False).fit(X, y)
    assert selector.n_candidates_[0] == 3
    assert selector.results_["iteration"][3] == 0
    assert "do not fit into max_download=7 GB" in selector.results_["error"][3]
    assert "budget: 1 candidates did not start" in " ".join(str(selector.ranking_).split())
    assert selector.ranking_.names[-1] == "d"
