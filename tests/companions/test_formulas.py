"""Each companion against its formula, written out from explicit covariances and tables."""

from itertools import permutations

import numpy as np
import pytest
from helpers import make_problem
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr
from sklearn.covariance import EmpiricalCovariance, LedoitWolf
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import mutual_info_score
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ncti.companions import GBC, LEEP, NCE, NLEEP, PARC, SFDA, FaCe, HScore, TransRate

SHAPES = pytest.mark.parametrize(("n", "d"), [(300, 15), (60, 150)])


def replaced_by_class_means(X, y):
    return np.array([X[y == label].mean(axis=0) for label in y])


def entropy(y):
    shares = np.unique(y, return_counts=True)[1] / len(y)
    return -np.sum(shares * np.log(shares))


# --- H-score -------------------------------------------------------------------------------


def test_h_score_by_explicit_covariances():
    X, y = make_problem(n=300, d=15)
    X[:, 3] = X[:, 2] - X[:, 1]  # singular
    between = np.cov(replaced_by_class_means(X, y).T)
    expected = np.trace(np.linalg.pinv(np.cov(X.T), rcond=1e-10) @ between)
    assert HScore(shrinkage=None).fit(X, y).score() == pytest.approx(expected)


@SHAPES
def test_shrunk_h_score_by_explicit_covariances(n, d):
    X, y = make_problem(n=n, d=d)
    ledoit_wolf = LedoitWolf().fit(X)
    between = EmpiricalCovariance().fit(replaced_by_class_means(X, y)).covariance_
    shrunk = np.trace(np.linalg.solve(ledoit_wolf.covariance_, between))
    metric = HScore().fit(X, y)
    assert metric.shrinkage_ == pytest.approx(ledoit_wolf.shrinkage_)
    assert metric.score() == pytest.approx((1 - ledoit_wolf.shrinkage_) * shrunk)
    fixed = HScore(shrinkage=metric.shrinkage_).fit(X, y)
    assert fixed.score() == pytest.approx(metric.score())


def test_plain_h_score_does_not_see_linear_maps():
    X, y = make_problem(n=300, d=15)
    mixed = X @ np.random.default_rng(0).normal(size=(15, 15)) + 7
    plain = HScore(shrinkage=None).fit(X, y).score()
    assert HScore(shrinkage=None).fit(mixed, y).score() == pytest.approx(plain)
    assert 0 <= plain <= 4
    assert HScore(shrinkage=0.0).fit(X, y).score() == pytest.approx(plain)


# --- GBC -----------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", ["spherical", "diagonal"])
@pytest.mark.parametrize("n_components", [6, 64])
def test_gbc_by_explicit_gaussians(covariance_type, n_components):
    X, y = make_problem(n=300, d=40, counts=[100, 80, 60, 60])
    H = PCA(min(n_components, 40), svd_solver="full").fit_transform(X)
    k = H.shape[1]
    gaussians = []
    for label in range(4):
        variances = H[y == label].var(axis=0)
        if covariance_type == "spherical":
            variances = np.full(k, variances.mean())
        gaussians.append((H[y == label].mean(axis=0), np.diag(variances)))
    expected = 0.0
    for (mu, S), (nu, T) in permutations(gaussians, 2):
        middle = (S + T) / 2
        distance = (mu - nu) @ np.linalg.inv(middle) @ (mu - nu) / 8
        distance += np.linalg.slogdet(middle)[1] / 2
        distance -= (np.linalg.slogdet(S)[1] + np.linalg.slogdet(T)[1]) / 4
        expected -= np.exp(-distance)
    metric = GBC(n_components, covariance_type=covariance_type).fit(X, y)
    assert metric.score() == pytest.approx(expected)
    assert -12 <= metric.score() < 0


@pytest.mark.parametrize("covariance_type", ["spherical", "diagonal"])
def test_gbc_limits(covariance_type):
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 30)
    rows = rng.normal(size=(30, 4))
    metric = GBC(covariance_type=covariance_type)
    # Three classes of the same rows: every coefficient is 1.
    assert metric.fit(np.vstack([rows] * 3), y).score() == pytest.approx(-6)
    # Two points in one place and a cloud around them: 1 for the pair of points, else 0.
    points = np.vstack([np.ones((60, 4)), rows])
    assert metric.fit(points, y).score() == pytest.approx(-2)
    points[:30] += 1
    assert metric.fit(points, y).score() == pytest.approx(0, abs=1e-12)
    # One place again, but for the last digits of the rows of one class.
    points[:60] = 1
    points[:30] += 1e-14 * rng.normal(size=(30, 4))
    assert metric.fit(points, y).score() == pytest.approx(-2)


def test_gbc_refuses_a_class_of_one_row():
    X, _ = make_problem(n=30, d=5)
    y = np.repeat([0, 1, 2, 3], [10, 10, 9, 1])
    with pytest.raises(ValueError, match=r"1 of 4 classes with 1 row.*at least 2 rows"):
        GBC().fit(X, y)


# --- FaCe ----------------------------------------------------------------------------------


@SHAPES
def test_face_by_explicit_covariances_and_pairs(n, d):
    X, y = make_problem(n=n, d=d, counts=[n // 2, n // 4, n // 4])
    groups = [X[y == c] for c in range(3)]
    within = np.mean([EmpiricalCovariance().fit(rows).covariance_ for rows in groups], axis=0)
    between = EmpiricalCovariance().fit([rows.mean(axis=0) for rows in groups]).covariance_
    collapse = -np.trace(within @ np.linalg.pinv(between, rcond=1e-10)) / 3
    # GBC of two classes alone, in components of all rows: twice their coefficient, negated.
    H = PCA(min(n, d), svd_solver="full").fit_transform(X)[:, : min(n - 1, d)]
    overlaps = np.zeros(3)
    for i, j in permutations(range(3), 2):
        mu, nu = H[y == i].mean(axis=0), H[y == j].mean(axis=0)
        s, t = H[y == i].var(axis=0), H[y == j].var(axis=0)
        m = (s + t) / 2
        distance = ((mu - nu) ** 2 / m).sum() / 8 + (np.log(m) - np.log(s * t) / 2).sum() / 2
        overlaps[i] += np.exp(-distance)
    shares = np.exp(overlaps / 0.1)
    shares /= shares.sum()
    metric = FaCe(0.1, n_components=min(n, d), covariance_type="diagonal").fit(X, y)
    assert metric.variance_collapse_ == pytest.approx(collapse)
    assert metric.class_fairness_ == pytest.approx(-(shares * np.log(shares)).sum())
    both = metric.variance_collapse_ + metric.class_fairness_
    assert metric.score() == pytest.approx(both)


def test_face_limits():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 30)
    # Collapsed: no variance within, no overlap anywhere.
    assert FaCe().fit(np.eye(3)[y], y).score() == pytest.approx(np.log(3))
    # An equilateral triangle of equal classes overlaps evenly, one with a distant corner not.
    noise = np.tile(rng.normal(size=(30, 3)), (3, 1))
    even = FaCe().fit(np.eye(3)[y] + noise, y)
    assert even.class_fairness_ == pytest.approx(np.log(3), abs=0.01)
    # Two classes that are one, and one far away: shares 1/2, 1/2 and nothing.
    apart = noise.copy()
    apart[y == 2] += 100
    uneven = FaCe(0.01).fit(apart, y)
    assert uneven.class_fairness_ == pytest.approx(np.log(2))
    # The first term leaves out the directions in which the two do not differ.
    assert uneven.variance_collapse_ > even.variance_collapse_
    # Ever higher temperatures forget the overlaps.
    assert FaCe(1e9).fit(apart, y).class_fairness_ == pytest.approx(np.log(3))


@pytest.mark.parametrize("d", [3, 90])
def test_face_of_rotated_and_shifted_features_is_the_same(d):
    X, y = make_problem(n=60, d=d, counts=[30, 15, 15])
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(d, d)))[0]
    expected = FaCe().fit(X, y)
    found = FaCe().fit(X @ rotation + 5, y)
    assert found.variance_collapse_ == pytest.approx(expected.variance_collapse_)
    assert found.class_fairness_ == pytest.approx(expected.class_fairness_)


def test_face_refuses_what_has_no_value():
    X, _ = make_problem(n=30, d=5)
    with pytest.raises(ValueError, match=r"1 of 4 classes with 1 row.*at least 2 rows"):
        FaCe().fit(X, np.repeat([0, 1, 2, 3], [10, 10, 9, 1]))
    with pytest.raises(ValueError, match="all 2 classes of y have the same mean"):
        FaCe().fit(np.array([[-1.0], [1.0], [-2.0], [2.0]]), [0, 0, 1, 1])


# --- TransRate -----------------------------------------------------------------------------


@SHAPES
def test_transrate_by_log_determinants(n, d):
    X, y = make_problem(n=n, d=d, counts=[n // 2, n // 4, n // 4])
    Z = X - X.mean(axis=0)

    def rate(Z):
        return np.linalg.slogdet(np.eye(d) + Z.T @ Z / (len(Z) * 1e-3))[1] / 2

    expected = rate(Z) - sum(np.mean(y == c) * rate(Z[y == c]) for c in range(3))
    assert TransRate(eps=1e-3).fit(X, y).score() == pytest.approx(expected)


def test_transrate_is_not_negative_where_classes_are_unbalanced():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [190, 10])
    # The rare class is the wide one: equal weights for both would give less than 0.
    X = rng.normal(size=(200, 5)) * np.where(y == 0, 1.0, 10.0)[:, None]
    Z = X - X.mean(axis=0)
    rates = [
        np.linalg.slogdet(np.eye(5) + W.T @ W / (len(W) * 1e-4))[1] / 2
        for W in (Z, Z[y == 0], Z[y == 1])
    ]
    assert rates[0] - (rates[1] + rates[2]) / 2 < 0
    assert TransRate().fit(X, y).score() >= 0
    # Classes that are the same rows tell nothing apart.
    rows = rng.normal(size=(50, 5))
    score = TransRate().fit(np.vstack([rows, rows]), np.repeat([0, 1], 50)).score()
    assert score == pytest.approx(0, abs=1e-12)


# --- SFDA ----------------------------------------------------------------------------------


class RegularizedCovariance:
    """What scikit-learn's LDA asks for the covariance of every class."""

    def __init__(self, share):
        self.share = share

    def get_params(self, deep=True):
        return {"share": self.share}

    def fit(self, X):
        S = np.cov(X.T, bias=True)
        self.covariance_ = (1 - self.share) * S + self.share * np.eye(X.shape[1])
        return self


@pytest.mark.parametrize("scale", [0.3, 3.0])
@SHAPES
def test_sfda_by_discriminants_of_scikit_learn(n, d, scale):
    X, y = make_problem(n=n, d=d, scale=scale, counts=[n // 2, n // 4, n // 4])
    within = sum(np.mean(y == c) * np.cov(X[y == c].T, bias=True) for c in range(3))
    share = max(np.exp(-5 * np.linalg.eigvalsh(within)[-1]), 1e-10)

    def own_probability(X):
        lda = LinearDiscriminantAnalysis(
            solver="lsqr", covariance_estimator=RegularizedCovariance(share)
        )
        return lda.fit(X, y).predict_proba(X)[np.arange(n), y]

    sure = own_probability(X)[:, None]
    centers = np.array([X[y == c].mean(axis=0) for c in range(3)])
    others = np.array([centers[[1, 2]], centers[[0, 2]], centers[[0, 1]]]).mean(axis=1)
    moved = sure * X + (1 - sure) * others[y]
    metric = SFDA().fit(X, y)
    assert metric.shrinkage_ == pytest.approx(share)
    assert metric.score() == pytest.approx(np.log(own_probability(moved)).mean(), rel=1e-6)
    given = SFDA(shrinkage=share).fit(X, y)
    assert given.score() == pytest.approx(metric.score())


# --- LEEP, NLEEP, NCE ----------------------------------------------------------------------


def make_probabilities(n=200, n_sources=6, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=n)
    P = rng.dirichlet(np.full(n_sources, 0.5), size=n)
    P[np.arange(n), y] += 1
    return P / P.sum(axis=1, keepdims=True), y


def leep_by_tables(P, y):
    joint = np.array([P[y == label].sum(axis=0) for label in np.unique(y)]) / len(y)
    predictions = P @ (joint / joint.sum(axis=0)).T
    return np.log(predictions[np.arange(len(y)), y]).mean()


def test_leep_and_nce_by_joint_tables():
    P, y = make_probabilities()
    assert LEEP().fit(P, y).score() == pytest.approx(leep_by_tables(P, y))
    # H(Y | Z) = H(Y) - I(Y; Z)
    expected = mutual_info_score(P.argmax(axis=1), y) - entropy(y)
    assert NCE().fit(P, y).score() == pytest.approx(expected)


@pytest.mark.parametrize("metric", [LEEP(), NCE()], ids=str)
def test_limits_of_metrics_of_probabilities(metric):
    _, y = make_probabilities()
    # Certain and right, under other names and with a source class that never occurs.
    certain = np.eye(5)[np.array([4, 0, 2])[y]]
    assert metric.fit(certain, y).score() == pytest.approx(0, abs=1e-12)
    # The same for every row: what is left is the entropy of the labels.
    same = np.tile([0.5, 0.3, 0.2], (len(y), 1))
    assert metric.fit(same, y).score() == pytest.approx(-entropy(y))


def test_leep_is_nce_for_certain_sources():
    P, y = make_probabilities()
    certain = np.eye(6)[P.argmax(axis=1)]
    assert LEEP().fit(certain, y).score() == pytest.approx(NCE().fit(certain, y).score())


@pytest.mark.parametrize("metric", [LEEP(), NCE()], ids=str)
def test_what_is_no_probability_is_refused(metric):
    P, y = make_probabilities()
    metric.fit(P.astype(np.float16).astype(np.float32), y)  # half precision is near enough
    P[7] *= 1.01
    with pytest.raises(
        ValueError, match=r"within 0.001 .* 1 of 200 rows .* row 7 adds up to 1.01"
    ):
        metric.fit(P, y)
    P[7] = np.eye(6)[0] * 1.5 - np.eye(6)[1] * 0.5
    with pytest.raises(
        ValueError, match=r"Negative values .* row 7 adds up to 1, .* -0.5.*softmax"
    ):
        metric.fit(P, y)


def test_nleep_by_principal_components_and_mixture():
    X, y = make_problem(n=300, d=30, n_classes=3, spread=1.0)
    H = PCA(0.8, svd_solver="full").fit_transform(X)
    mixture = GaussianMixture(6, reg_covar=1e-6 * H.var(axis=0, ddof=1).mean(), random_state=3)
    expected = leep_by_tables(mixture.fit(H).predict_proba(H), y)
    metric = NLEEP(components_per_class=2, random_state=3).fit(X, y)
    assert metric.n_components_ == H.shape[1] < 30
    assert metric.n_mixture_components_ == 6
    assert metric.score() == pytest.approx(expected)
    assert NLEEP(variance=1.0).fit(X, y).n_components_ == 30


def test_nleep_flatters_noise_where_rows_are_few():
    """The documented pitfall: as many components as rows explain anything."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20, 4)), np.arange(20) % 4
    metric = NLEEP(components_per_class=10, covariance_type="spherical").fit(X, y)
    assert metric.n_mixture_components_ == 20
    assert metric.score() > -0.1


# --- PARC ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [2, 5])
def test_parc_by_spearman_of_correlation_distances(n_classes):
    X, y = make_problem(n=150, d=20, n_classes=n_classes)
    pairs = np.triu_indices(150, 1)
    features = (1 - np.corrcoef(X))[pairs]
    labels = (1 - np.corrcoef(np.eye(n_classes)[y]))[pairs].round(9)
    expected = spearmanr(features, labels).statistic
    metric = PARC().fit(X, y)
    assert metric.score() == pytest.approx(expected)
    assert metric.n_rows_ == 150
    scaled = spearmanr(pdist(StandardScaler().fit_transform(X), "correlation"), labels)
    pipeline = make_pipeline(StandardScaler(), PARC()).fit(X, y)
    assert pipeline[-1].score() == pytest.approx(scaled.statistic)


def test_parc_of_features_with_two_distances_is_one():
    y = np.arange(60) % 4
    assert PARC().fit(0.1 + np.eye(4)[y] / 3, y).score() == pytest.approx(1)


def test_parc_draws_rows_in_proportion():
    rng = np.random.default_rng(0)
    y = rng.permutation(np.repeat([0, 1, 2], [600, 300, 100]))
    # The class can be told from the features, and the distances count the rows of each.
    X = np.eye(3)[y] + 0.01 * rng.normal(size=(1000, 3))
    metric = PARC(max_rows=100, random_state=1).fit(X, y)
    assert metric.n_rows_ == 100
    whole = PARC(max_rows=1000).fit(X, y).score()
    assert metric.score() == pytest.approx(whole, abs=0.02)
    # Other rows give another value, where the rows of a class are not all alike.
    noisy = X + rng.normal(size=X.shape)
    first, again, other = (
        PARC(max_rows=100, random_state=seed).fit(noisy, y).score() for seed in (1, 1, 2)
    )
    assert again == pytest.approx(first, rel=1e-9)
    assert abs(other - first) > 1e-3


def test_parc_needs_both_kinds_of_pairs():
    X, _ = make_problem(n=40, d=5)
    with pytest.raises(ValueError, match=r"no pair of rows of one class.*Raise max_rows=15"):
        PARC(max_rows=15).fit(X, np.arange(40) % 20)
    rare = np.repeat([0, 1], [39, 1])
    with pytest.raises(ValueError, match="no pair of rows of two classes among the 3 rows"):
        PARC(max_rows=3).fit(X, rare)


def test_parc_of_rows_without_spread():
    X, y = make_problem(n=40, d=5)
    X[3] = 2.5
    pairs = np.triu_indices(40, 1)
    with np.errstate(invalid="ignore"):
        distances = np.nan_to_num(1 - np.corrcoef(X), nan=1.0)[pairs]
    expected = spearmanr(distances, y[pairs[0]] != y[pairs[1]]).statistic
    assert PARC().fit(X, y).score() == pytest.approx(expected)
    with pytest.raises(ValueError, match="same distance between any two of 40 rows"):
        PARC().fit(X[:, :1], y)
