"""The scorer protocol, and what is refused as a scorer."""

import numpy as np
import pytest
from helpers import make_pool, make_problem
from sklearn.base import BaseEstimator

from sklearn_ncti import (
    Components,
    FeatureScorer,
    NCTIScorer,
    NearestCenterClassifier,
    rank_features,
)
from sklearn_ncti._scoring.scorers import check_scorers
from sklearn_ncti._scoring.scoring import score_candidate
from sklearn_ncti.companions import LEEP, HScore, LogME


@pytest.fixture(scope="module")
def pool():
    return make_pool()


def test_bad_lists_of_scorers(pool):
    features, y = pool

    def rank(scorer):
        return rank_features(features, y, scorer=scorer)

    with pytest.raises(ValueError, match="scorer is an empty list"):
        rank([])
    with pytest.raises(ValueError, match=r"more than one named \['a'\]"):
        rank([("a", NCTIScorer()), ("a", LogME())])
    with pytest.raises(ValueError, match=r"scorer 'seli' .*\['seli'\] of the results"):
        rank([NCTIScorer(), ("seli", LogME())])
    with pytest.raises(TypeError, match="scorer must have fit"):
        rank([NCTIScorer(), 3])
    with pytest.raises(ValueError, match=r"one of the words .* got 'logme'"):
        rank([NCTIScorer(), "logme"])


def test_columns_of_scorers_cannot_overwrite_each_other(pool):
    features, y = pool
    weak, strong = HScore(shrinkage=0.9), HScore(shrinkage=None)
    for scorers, name, column in (
        # The component of the scorer that ranks has a column as well, named by its class.
        ([("weak", weak), strong], "hscore", "hscore"),
        ([weak, ("normalized_hscore", strong)], "normalized_hscore", "normalized_hscore"),
        ([NCTIScorer(), ("a", weak), ("a_rank", strong)], "a_rank", "a_rank"),
        ([NCTIScorer(), ("a_error", weak), ("a", strong)], "a", "a_error"),
        ([NCTIScorer(), ("ncc", weak)], "ncc", "ncc"),
        ([NCTIScorer(), ("baseline_rank", weak)], "baseline_rank", "baseline_rank"),
    ):
        with pytest.raises(ValueError, match="choose another name") as caught:
            rank_features(features, y, scorer=scorers)
        assert f"scorer {name!r} " in str(caught.value)
        assert f"['{column}']" in str(caught.value)

    class Score(HScore):
        """Its component would have the column of the sum."""

    with pytest.raises(ValueError, match=r"scorer 'score' .*\['score'\]"):
        rank_features(features, y, scorer=Score())


def test_all_columns_of_a_ranking_are_reserved(pool):
    """A column that is new must be refused as a name of a scorer."""
    features, y = pool
    scorers = [NCTIScorer(), ("mine", HScore())]
    numbers = dict.fromkeys(features, 1.0)
    results = rank_features(
        features, y, scorer=scorers, baseline=numbers, n_resamples=100, random_state=0
    ).results
    fixed = set(results) - {"mine", "mine_rank", "mine_error"}
    for name in fixed:
        with pytest.raises(ValueError, match="choose another name"):
            check_scorers([NCTIScorer(), (name, HScore())])


# A scorer from outside of the package ------------------------------------------------------


class BetweenShare(BaseEstimator):
    """Share of the variance that lies between the classes; fitted to every resample."""

    def fit(self, X, y):
        self.X_, self.y_ = X - X.mean(axis=0), y
        return self

    def _share(self, weights):
        """Of rows that count so often, about their own mean."""
        X = self.X_ - np.average(self.X_, axis=0, weights=weights)
        masks = [weights * (self.y_ == c) for c in np.unique(self.y_)]
        between = sum(np.square(mask @ X).sum() / mask.sum() for mask in masks)
        return between / (weights @ np.square(X).sum(axis=1))

    def score(self):
        return self._share(np.ones(len(self.y_)))


class Resampled(BetweenShare):
    """The same, which resamples its rows itself."""

    def resample(self, draws):
        return np.array([self._share(weights) for weights in draws])


class TwoParts(BetweenShare):
    """Two components, of which one has a scale that needs no other candidate."""

    component_names = ("share", "width")

    def components(self):
        share = self.score()
        width = float(self.X_.shape[1])
        return Components({"share": share, "width": width}, {"share": share, "width": 1.0})

    def resample(self, draws):
        shares = np.array([self._share(weights) for weights in draws])
        widths = np.full(len(draws), float(self.X_.shape[1]))
        return {"share": shares, "width": widths}


def test_a_scorer_of_ones_own_is_resampled_by_itself(pool):
    """Weights of rows give what fitting to the drawn rows gives."""
    features, y = pool
    options = {"n_resamples": 40, "random_state": 0}
    own = rank_features(features, y, scorer=Resampled(), **options)
    fitted = rank_features(features, y, scorer=BetweenShare(), **options)
    np.testing.assert_allclose(own.results["resampled"], fitted.results["betweenshare"])
    np.testing.assert_allclose(own.resamples, fitted.resamples, atol=1e-9)
    for column in ("score_low", "score_high", "group"):
        np.testing.assert_allclose(own.results[column], fitted.results[column], atol=1e-9)


def test_labels_of_any_kind_are_drawn_in_the_order_of_the_rows(pool):
    features, y = pool
    names = np.array(["d", "b", "c", "a"])[y]
    for labels in (y, names):
        ranking = rank_features(
            features, labels, scorer=Resampled(), n_resamples=40, random_state=0
        )
        assert ranking.best == "narrow" or ranking.best.startswith("noise")
        # Without classes in their places the shares would be those of noise.
        middle = ranking.resamples.mean(axis=0)
        np.testing.assert_allclose(middle, ranking.results["score"], atol=0.05)


def test_components_of_ones_own_are_normalised_and_added(pool):
    features, y = pool
    options = {"n_resamples": 40, "random_state": 0}
    ranking = rank_features(features, y, scorer=TwoParts(), weights={"width": 0.5}, **options)
    results = ranking.results
    share, width = results["share"], results["width"]
    assert width.tolist() == [X.shape[1] for X in features.values()]
    scaled = [(v - v.min()) / np.ptp(v) for v in (share, width)]
    np.testing.assert_allclose(results["score"], scaled[0] + 0.5 * scaled[1])
    assert ranking.resamples.shape == (40, len(features))
    assert "score = share + 0.5 width" in str(ranking)
    with pytest.raises(ValueError, match="depth"):
        rank_features(features, y, scorer=TwoParts(), weights={"depth": 1})
    absolute = rank_features(features, y, scorer=TwoParts(), normalization="absolute").results
    np.testing.assert_allclose(absolute["score"], share + 1)


def test_a_scorer_of_ones_own_can_stand_after_another(pool):
    features, y = pool
    ranking = rank_features(features, y, scorer=[NCTIScorer(), ("mine", Resampled())])
    alone = rank_features(features, y, scorer=Resampled())
    np.testing.assert_allclose(ranking.results["mine"], alone.results["resampled"])


def test_response_says_what_a_scorer_is_given():
    class OfProbabilities(Resampled):
        response = "probabilities"

    X, y = make_problem(n=60, d=5, n_classes=3)
    P = np.full((60, 7), 1 / 7)
    P[:, 0] += y / 10
    scorers = check_scorers([Resampled(), ("head", OfProbabilities())])
    found = score_candidate("a", X, y, scorers, probabilities=P)
    expected = Resampled().fit(P, y).score()
    assert found.additional["head"].raw["ofprobabilities"] == pytest.approx(expected)
    assert found.components.raw["resampled"] == pytest.approx(Resampled().fit(X, y).score())
    missing = score_candidate("a", X, y, scorers, probabilities="no head").additional["head"]
    assert missing.error == "ValueError: no head"


@pytest.mark.parametrize("scorer", [NCTIScorer(), LogME(), LEEP(), Resampled(), TwoParts()])
def test_scorers_follow_the_protocol(scorer):
    # An estimator without `response` is given features.
    scorer.response = getattr(scorer, "response", "features")
    assert isinstance(scorer, FeatureScorer)


def test_resamples_of_another_shape_fail_one_candidate(pool):
    class Short(Resampled):
        def resample(self, draws):
            return super().resample(draws)[1:]

    class Renamed(TwoParts):
        def resample(self, draws):
            return {"share": np.zeros(len(draws)), "depth": np.zeros(len(draws))}

    features, y = pool
    options = {"n_resamples": 40, "random_state": 0}
    with pytest.raises(ValueError, match=r"shape \(39,\) for 40 resamples"):
        rank_features(features, y, scorer=Short(), **options)
    with pytest.raises(ValueError, match=r"\['share', 'depth'\], but the scorer has"):
        rank_features(features, y, scorer=Renamed(), **options)


def test_notes_of_a_scorer_stand_below_the_table(pool):
    class Noting(Resampled):
        def fit(self, X, y):
            self.notes_ = [f"{X.shape[1]} features are odd"] if X.shape[1] == 4 else []
            return super().fit(X, y)

    features, y = pool
    ranking = rank_features(features, y, scorer=Noting())
    assert ranking.notes == ["4 features are odd"]
    assert "4 features are odd" in str(ranking).splitlines()


# Scorers that are named by a word ------------------------------------------------------------


def test_words_stand_for_scorers(pool):
    features, y = pool
    plain, ncti = rank_features(features, y), rank_features(features, y, scorer="ncti")
    np.testing.assert_allclose(ncti.results["score"], plain.results["score"])
    assert ncti.notes == plain.notes
    estimator = NearestCenterClassifier(cv="loo", shrinkage="scale-free")
    expected = rank_features(features, y, scorer=estimator).results
    robust = rank_features(features, y, scorer="robust")
    np.testing.assert_allclose(robust.results["score"], expected["score"])
    assert "scorer: robust, that is NearestCenterClassifier(cv='loo'" in str(robust)
    # Whatever the scale of a candidate.
    scaled = {name: X * 10.0**i for i, (name, X) in enumerate(features.items())}
    again = rank_features(scaled, y, scorer="robust").results
    np.testing.assert_allclose(again["score"], robust.results["score"], atol=1e-9)


def test_words_in_a_list_are_names(pool):
    features, y = pool
    ranking = rank_features(features, y, scorer=["ncti", "robust", LogME()])
    assert ranking.scorers == ["robust", "logme"]
    with pytest.raises(ValueError, match=r"one of the words \['ncti', 'robust'\], got 'best'"):
        rank_features(features, y, scorer="best")
