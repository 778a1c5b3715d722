"""Rankings: agreement with accuracies, published and other, and data frames."""

import numpy as np
import pytest
import scipy.sparse
import scipy.stats
from helpers import make_problem

from sklearn_ncti import Ranking, rank_features


@pytest.fixture
def candidates():
    """Features of falling quality: the same rows with more and more noise."""
    X, y = make_problem(d=40, spread=1.0, scale=3.0)
    rng = np.random.default_rng(1)
    noise = rng.normal(size=X.shape)
    return {f"noise {a}": X + 3 * a * noise for a in (0.5, 0.0, 2.0, 1.0)}, y


PUBLISHED = {
    "ResNet-152": (2.000, 97.53),
    "ResNet-101": (1.799, 97.39),
    "DenseNet-201": (1.434, 97.02),
    "DenseNet-169": (1.146, 96.77),
    "ResNet-34": (0.757, 96.12),
    "ResNet-50": (0.709, 96.28),
    "DenseNet-121": (0.655, 96.45),
    "MNASNet-1.0": (0.031, 92.59),
    "GoogLeNet": (-0.251, 95.54),
    "MobileNet-V2": (-0.444, 94.74),
    "Inception-V3": (-0.732, 96.18),
}


def test_published_anchor():
    ranking = Ranking.from_scores({name: total for name, (total, _) in PUBLISHED.items()})
    agreement = ranking.agreement({name: acc for name, (_, acc) in PUBLISHED.items()})
    totals, accuracies = np.array(list(PUBLISHED.values())).T
    assert round(agreement["weighted_kendall_tau"], 3) == 0.843
    for name, function in (
        ("weighted_kendall_tau", scipy.stats.weightedtau),
        ("kendall_tau", scipy.stats.kendalltau),
        ("spearman_rho", scipy.stats.spearmanr),
    ):
        assert agreement[name] == pytest.approx(function(totals, accuracies)[0])
    assert agreement["regret_at_1"] == agreement["regret_at_3"] == 0
    assert agreement["n_models"] == 11


def test_regret_and_missing_accuracies():
    ranking = Ranking.from_scores({"a": 5, "b": 4, "c": 3, "d": 2, "e": 1})
    agreement = ranking.agreement({"a": 80.0, "b": 85.0, "d": 90.0, "e": 95.0})
    assert agreement["regret_at_1"] == 15.0
    assert agreement["regret_at_3"] == 5.0
    assert agreement["n_models"] == 4
    assert agreement["kendall_tau"] == pytest.approx(-1)
    assert np.isnan(ranking.agreement({"a": 1.0, "b": 1.0})["spearman_rho"])


def test_agreement_rejects_what_it_cannot_compare():
    ranking = Ranking.from_scores({"a": 1.0, "b": 2.0})
    with pytest.raises(ValueError, match=r"not ranked: \['z'\]"):
        ranking.agreement({"a": 1.0, "z": 2.0})
    with pytest.raises(ValueError, match="accuracies has 1 of the candidates"):
        ranking.agreement({"a": 1.0})
    with pytest.raises(ValueError, match=r"accuracies\['a'\] is nan"):
        ranking.agreement({"a": np.nan, "b": 1.0})
    with pytest.raises(ValueError, match=r"scores\['a'\] is inf"):
        Ranking.from_scores({"a": np.inf})
    with pytest.raises(ValueError, match="scores is empty"):
        Ranking.from_scores({})


def test_to_frame(candidates):
    pandas = pytest.importorskip("pandas")
    features, y = candidates
    frame = rank_features(features, y).to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert frame.index.tolist() == [1, 2, 3, 4]
    assert frame["model"].tolist() == ["noise 0.0", "noise 0.5", "noise 1.0", "noise 2.0"]
    assert {"score", "seli", "normalized_vc", "n_features", "error"} <= set(frame.columns)
