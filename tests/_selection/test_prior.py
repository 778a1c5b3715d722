"""Priors of candidates: ImageNet accuracies, weights of networks, numbers of one's own."""

import os
import warnings

import numpy as np
import pytest
import scipy.stats
from helpers import make_problem

pytest.importorskip("timm")

import timm
import torch
from image_pool import Mean, candidates, select, write_model
from sklearn.exceptions import FitFailedWarning
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklearn_ncti import HalvingModelSelector, ModelSelector, TimmBackbone, TorchBackbone
from sklearn_ncti._linalg.spectrum import power_law_fit
from sklearn_ncti._selection.prior import imagenet_accuracies
from sklearn_ncti.companions import LEEP
from sklearn_ncti.datasets import load_catalogue


def test_accuracies_are_those_of_the_catalogue():
    catalogue = load_catalogue()
    (row,) = np.flatnonzero(catalogue["name"] == "resnet18.a1_in1k")
    candidates = [
        ("resnet18.a1_in1k", TimmBackbone("resnet18.a1_in1k")),
        ("mine", TimmBackbone("resnet18.a1_in1k")),
        ("default", TimmBackbone("resnet18")),
        ("untrained", TimmBackbone("resnet18.a1_in1k", pretrained=False)),
        ("local", TimmBackbone("local-dir:resnet18.a1_in1k")),
        ("resnet18.tv_in1k", StandardScaler()),
    ]
    found = imagenet_accuracies(candidates)
    assert set(found) == {"resnet18.a1_in1k", "mine", "default"}
    assert found["mine"] == found["resnet18.a1_in1k"] == catalogue["top1"][row]
    (own,) = np.flatnonzero((catalogue["architecture"] == "resnet18") & catalogue["is_default"])
    assert found["default"] == catalogue["top1"][own]


def views(X):
    return [("all", FunctionTransformer()), ("few", FunctionTransformer(first_columns))]


def first_columns(X):
    return X[:, :3]


def test_a_prior_of_ones_own_and_its_weight():
    X, y = make_problem(n=200, d=10, n_classes=3, spread=1.0)
    plain = ModelSelector(views(X)).fit(X, y).results_
    selector = ModelSelector(views(X), prior={"few": 2.0, "all": 1.0}, weights={"prior": 3})
    results = selector.fit(X, y).results_
    np.testing.assert_allclose(results["score"], plain["score"] + [0, 3])
    records = [{"few": 2.0, "all": 1.0}, {"all": 5.0, "few": 4.0}, {"few": 0.2, "all": 0.1}]
    averaged = ModelSelector(views(X), prior=records).fit(X, y).results_
    np.testing.assert_allclose(averaged["prior"], [1 / 3, 2 / 3])


def test_bad_priors_are_refused_before_the_work():
    X, y = make_problem(n=200, d=10, n_classes=3)
    with pytest.raises(ValueError, match=r"prior='imagenet' needs .* none of \['all', 'few'\]"):
        ModelSelector(views(X), prior="imagenet").fit(X, y)
    with pytest.raises(ValueError, match="The 'prior' parameter"):
        ModelSelector(views(X), prior="imagenett").fit(X, y)
    with pytest.raises(ValueError, match="prior has none of the candidates"):
        ModelSelector(views(X), prior={"elsewhere": 1.0}).fit(X, y)


def test_leave_one_out_in_a_selector():
    X, y = make_problem(n=200, d=10, n_classes=3, spread=1.0)
    left_out = ModelSelector(views(X), cv="loo").fit(X, y).results_
    plain = ModelSelector(views(X)).fit(X, y).results_
    assert (left_out["ncc"] < plain["ncc"]).all()


def weighted_alpha_of(module):
    """Return the definition, from singular values; alpha is that of scipy's fit to the tail."""
    terms = []
    for name, weight in module.state_dict().items():
        if weight.ndim < 2 or min(weight.shape[:2]) < 50:
            continue
        assert weight.ndim in (2, 4), name
        kernel = weight.reshape(*weight.shape[:2], -1).double().numpy()
        for position in range(kernel.shape[2]):
            x = np.linalg.svd(kernel[:, :, position], compute_uv=False) ** 2
            xmin = power_law_fit(x).xmin
            # A little below the least value of the tail, which has another last digit here.
            tail = x[x >= xmin * (1 - 1e-9)]
            exponent, _, _ = scipy.stats.pareto.fit(tail, floc=0, fscale=tail.min())
            terms.append((1 + exponent) * np.log10(x.max()))
    return np.mean(terms)


@pytest.fixture
def built(monkeypatch):
    """The architectures that timm builds, in order."""
    seen = []
    real = timm.create_model

    def counting(name, *args, **kwargs):
        seen.append(os.path.basename(name))
        return real(name, *args, **kwargs)

    monkeypatch.setattr(timm, "create_model", counting)
    return seen


def test_the_prior_of_weights_is_minus_their_weighted_alpha(data, models):
    pool = [*candidates(models[:3]), ("mean", Mean())]
    ranking = select(pool, prior="weights").fit(*data).ranking_
    results = ranking.results
    modules = [timm.create_model(name, pretrained=True, num_classes=0) for name in models[:3]]
    expected = [-weighted_alpha_of(module) for module in modules]
    np.testing.assert_allclose(results["prior"], [*expected, np.nan], rtol=1e-4)
    assert results["prior_imputed"].tolist() == [False, False, False, True]
    assert results["normalized_prior"][np.argmax(expected)] == 1
    assert "no prior is known of mean" in str(ranking)
    assert "seli + ncc + prior" in ranking.ablation()["components"]
    given = dict(zip(results["model"][:3], results["prior"][:3], strict=True))
    again = select(pool, prior=given, weights={"prior": 1}).fit(*data).results_
    np.testing.assert_allclose(again["score"], results["score"], rtol=1e-4, atol=1e-4)


def test_weights_are_measured_once(data, models, tmp_path, built, extracted):
    options = {"memory": str(tmp_path), "prior": "weights"}
    pool = candidates(models[:2])
    select(pool, memory=str(tmp_path)).fit(*data)
    assert len(list((tmp_path / "features").iterdir())) == 2
    assert extracted == ["m0", "m1"]
    # Cached features are not extracted again for the sake of the weights.
    first = select(pool, **options).fit(*data).results_
    assert extracted == ["m0", "m1"]
    built.clear()
    second = select(pool, **options).fit(*data).results_
    assert built == []
    np.testing.assert_array_equal(first["prior"], second["prior"])
    # Nor do the weights depend on the images.
    paths, y = data
    n_files = len(list((tmp_path / "features").iterdir()))
    third = select(pool, **options).fit(paths[:45], y[:45]).results_
    np.testing.assert_array_equal(first["prior"], third["prior"])
    assert len(list((tmp_path / "features").iterdir())) == n_files + 2


def test_a_damaged_entry_of_weights_is_made_again(data, models, tmp_path):
    options = {"memory": str(tmp_path), "prior": "weights"}
    pool = candidates(models[:2])
    expected = select(pool, **options).fit(*data).results_["prior"]
    for path in (tmp_path / "features").iterdir():
        path.write_bytes(b"spoiled")
    with pytest.warns(UserWarning, match="are damaged"):
        found = select(pool, **options).fit(*data).results_["prior"]
    np.testing.assert_array_equal(found, expected)


def test_heads_and_threads_change_nothing(data):
    pool = [
        (name, TimmBackbone(name, pretrained=False, device="cpu"))
        for name in ("test_resnet", "test_vit", "test_convnext")
    ]
    expected = select(pool, prior="weights").fit(*data).results_["prior"]
    # The head for LEEP has more than 50 rows and columns, and is no part of the features.
    options = {"scorer": [select(pool).scorer, LEEP()], "n_jobs": 2}
    found = select(pool, prior="weights", **options).fit(*data).results_["prior"]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_modules_have_weights_too(data):
    def network(width):
        with torch.random.fork_rng():
            torch.manual_seed(width)
            return torch.nn.Sequential(
                torch.nn.Conv2d(3, width, 3),
                torch.nn.Conv2d(width, width, 1),
                torch.nn.AdaptiveAvgPool2d(1),
                torch.nn.Flatten(),
            )

    pool = [
        (str(k), TorchBackbone(network(k), input_size=(3, 16, 16), device="cpu"))
        for k in (8, 60, 70)
    ]
    with pytest.warns(UserWarning, match="discriminant overfits"):
        results = ModelSelector(pool, prior="weights", refit=False).fit(*data).results_
    expected = [np.nan, *(-weighted_alpha_of(network(k)) for k in (60, 70))]
    np.testing.assert_allclose(results["prior"], expected, rtol=1e-4)


def test_failures_stay_failures(data, models, tmp_path):
    broken = write_model(tmp_path / "broken", 9)
    (tmp_path / "broken" / "pytorch_model.bin").write_bytes(b"no weights")
    pool = candidates([*models[:2], broken])
    with pytest.warns(FitFailedWarning, match="1 of 3 candidates failed"):
        results = select(pool, prior="weights").fit(*data).results_
    assert results["error"][2]
    np.testing.assert_array_equal(np.isfinite(results["prior"]), [True, True, False])
    assert not results["prior_imputed"].any()


def small_network():
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    )


def test_networks_too_small_to_measure(data):
    pool = [
        (f"seed {k}", TorchBackbone(small_network, input_size=(3, 16, 16), random_state=k))
        for k in range(2)
    ]
    plain = select(pool).fit(*data)
    with pytest.warns(UserWarning, match=r"\['prior'\] do not vary"):
        selector = select(pool, prior="weights", weights={"prior": 2}).fit(*data)
    np.testing.assert_allclose(selector.results_["score"], plain.results_["score"], rtol=1e-4)
    assert "no candidate that was scored has a weight matrix of at least 50" in str(
        selector.ranking_
    )


def test_where_weights_are_no_prior(data, models, built):
    X, y = make_problem(n=200, d=10, n_classes=3)
    with pytest.raises(ValueError, match=r"prior='weights' needs .* none of \['all', 'few'\]"):
        ModelSelector(views(X), prior="weights").fit(X, y)
    with pytest.raises(ValueError, match="prior cannot be added under"):
        select(candidates(models), prior="weights", normalization="absolute").fit(*data)
    assert built == []


class Untrained(TimmBackbone):
    """A model with pre-trained weights by its name, and random ones for want of a network."""

    def _load(self, **arguments):
        return timm.create_model(self.model, pretrained=False, **arguments)

    def fetch(self, outputs=None):
        pass


@pytest.fixture
def named():
    names = ["test_resnet.r160_in1k", "test_vit.r160_in1k", "test_convnext.r160_in1k"]
    return [(name, Untrained(name, device="cpu")) for name in names]


def test_a_note_names_the_first_with_imagenet_accuracies(data, named):
    pool = [*named, ("mean", Mean())]
    selector = select(pool).fit(*data)
    with_prior = select(pool, prior="imagenet").fit(*data)
    also = " as well" if selector.best_name_ == with_prior.best_name_ else ""
    note = (
        "with published ImageNet accuracy as prior (known for 3 of 4 candidates), "
        f'{with_prior.best_name_} would be first{also}; see prior="imagenet"'
    )
    assert note in selector.ranking_.notes
    assert note in " ".join(str(selector.ranking_).split())
    assert "prior" not in selector.results_
    catalogue = load_catalogue()
    top1 = dict(zip(catalogue["name"], catalogue["top1"], strict=True))
    np.testing.assert_array_equal(
        with_prior.results_["prior"], [*(top1[name] for name, _ in named), np.nan]
    )
    # Not where the prior is given, cannot be added, or is known of two.
    others = [
        with_prior,
        select(pool, prior={"mean": 1.0, named[0][0]: 2.0}).fit(*data),
        select(pool, normalization="absolute").fit(*data),
        select([*named[:2], ("mean", Mean())]).fit(*data),
    ]
    for other in others:
        assert not any("published ImageNet" in text for text in other.ranking_.notes)


def test_halving_measures_weights_once(data, models, monkeypatch):
    measured = []
    real = TimmBackbone.weighted_alpha

    def counting(self):
        measured.append(os.path.basename(self.model))
        return real(self)

    monkeypatch.setattr(TimmBackbone, "weighted_alpha", counting)
    pool = candidates(models[:3])
    options = {"scorer": select(pool).scorer, "refit": False, "prior": "weights"}
    # Iterations go on until two are left.
    halving = HalvingModelSelector(pool, min_samples=15, factor=2, n_best=2, **options)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "n = ")
        halving.fit(*data)
    assert halving.n_iterations_ > 1
    assert sorted(measured) == ["m0", "m1", "m2"]
    expected = select(pool, prior="weights").fit(*data).results_["prior"]
    np.testing.assert_array_equal(halving.results_["prior"], expected)
    for ranking in halving.rankings_:
        for name, value in zip(ranking.results["model"], ranking.results["prior"], strict=True):
            assert value == expected[["m0", "m1", "m2"].index(name)]
