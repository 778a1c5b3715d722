"""SourceAttributes against explicit formulas, analytic limits and invariances."""

import pickle
from itertools import permutations

import numpy as np
import pytest
from helpers import ROUNDING, make_problem
from scipy.stats import ortho_group
from sklearn.metrics.pairwise import cosine_distances

from sklearn_ncti import NCTIScorer, SourceAttributes, rank_features

GEOMETRY = ("nc1", "cdnv", "class_separation")


def attributes(X, y, **parameters):
    return SourceAttributes(**parameters).fit(X, y).attributes_


def explicit_nc1(X, y):
    classes = np.unique(y)
    center = X.mean(axis=0)
    within, between = 0.0, 0.0
    for c in classes:
        rows = X[y == c]
        offset = rows.mean(axis=0) - center
        within = within + (rows - rows.mean(axis=0)).T @ (rows - rows.mean(axis=0)) / len(X)
        between = between + len(rows) / len(X) * np.outer(offset, offset)
    return np.trace(within @ np.linalg.pinv(between, rcond=1e-12)) / len(classes)


def explicit_cdnv(X, y):
    of_class = [X[y == c] for c in np.unique(y)]
    ratios = [
        (a.var(axis=0).sum() + b.var(axis=0).sum())
        / (2 * np.linalg.norm(a.mean(axis=0) - b.mean(axis=0)) ** 2)
        for a, b in permutations(of_class, 2)
    ]
    return np.mean(ratios)


def explicit_class_separation(X, y):
    """One minus the ratio of mean cosine distances, all pairs of classes weighing the same."""
    distances = cosine_distances(X)
    classes = np.unique(y)
    blocks = np.array(
        [[distances[np.ix_(y == a, y == b)].mean() for a in classes] for b in classes]
    )
    return 1 - np.diag(blocks).mean() / blocks.mean()


@pytest.mark.parametrize("counts", [[60, 60, 60], [20, 40, 90, 150]], ids=str)
@pytest.mark.parametrize("d", [2, 12, 40])
def test_geometry_is_that_of_explicit_formulas(counts, d):
    X, y = make_problem(d=d, counts=counts, spread=0.8)
    found = attributes(X, y, n_components=5)
    np.testing.assert_allclose(found["nc1"], explicit_nc1(X, y), rtol=1e-8)
    np.testing.assert_allclose(found["cdnv"], explicit_cdnv(X, y), rtol=1e-9)
    np.testing.assert_allclose(
        found["class_separation"], explicit_class_separation(X, y), rtol=1e-8
    )


def test_more_rows_than_a_chunk_holds(monkeypatch):
    from sklearn_ncti._linalg import moments

    X, y = make_problem(n=200, d=7, n_classes=4)
    whole = attributes(X, y)
    monkeypatch.setattr(moments, "_CACHED_VALUES", 60)
    in_parts = attributes(X, y)
    assert whole.keys() == in_parts.keys()
    np.testing.assert_allclose(list(in_parts.values()), list(whole.values()), **ROUNDING)


@pytest.mark.parametrize("shrinkage", ["adaptive", "scale-free", 0.2])
def test_the_other_attributes_are_components_of_the_scorer(shrinkage):
    X, y = make_problem(n=400, d=30, n_classes=4)
    source = SourceAttributes(12, shrinkage=shrinkage).fit(X, y)
    scorer = NCTIScorer(12, shrinkage=shrinkage).fit(X, y)
    P = scorer.predict_proba(X)
    norms = [np.linalg.norm(P[y == c], "nuc") for c in scorer.classes_]
    np.testing.assert_allclose(source.diversity_, np.log(np.sum(norms)), **ROUNDING)
    np.testing.assert_allclose(source.compactness_, P[np.arange(400), y].mean(), **ROUNDING)
    np.testing.assert_allclose(
        source.seli_, np.linalg.norm(scorer.transform(X), "nuc"), **ROUNDING
    )
    assert list(source.attributes_) == ["diversity", "compactness", "seli", *GEOMETRY]
    for name, value in source.attributes_.items():
        assert isinstance(value, float)
        assert value == getattr(source, f"{name}_")


def collapsed(n_classes=4, per_class=30, d=10):
    """Features in which each class is one point, and the labels."""
    centers = np.random.default_rng(0).normal(size=(n_classes, d))
    y = np.repeat(np.arange(n_classes), per_class)
    return centers[y], y


def test_collapsed_features():
    X, y = collapsed()
    found = attributes(X, y, shrinkage="scale-free")
    assert found["nc1"] == pytest.approx(0, abs=1e-20)
    assert found["cdnv"] == pytest.approx(0, abs=1e-20)
    assert found["class_separation"] == pytest.approx(1, abs=1e-12)
    assert found["compactness"] == pytest.approx(1)
    # The posterior of each class is one certain answer, with the nuclear norm sqrt(n_c).
    assert found["diversity"] == pytest.approx(np.log(4 * np.sqrt(30)))
    assert np.isfinite(found["seli"])


def test_noise_on_collapsed_features_moves_every_attribute_away_from_collapse():
    X, y = collapsed()
    noise = np.random.default_rng(1).normal(size=X.shape)
    rising = [attributes(X + a * noise, y, shrinkage=0.1) for a in (0.0, 0.5, 2.0)]
    for name in ("nc1", "cdnv"):
        assert rising[0][name] < rising[1][name] < rising[2][name]
    for name in ("class_separation", "compactness"):
        assert rising[0][name] > rising[1][name] > rising[2][name]


def test_features_without_information_on_the_labels():
    """Class means of n_c rows of isotropic noise are at squared distances of 2 d / n_c."""
    d, n_classes, per_class = 400, 5, 2000
    X = np.random.default_rng(0).normal(size=(n_classes * per_class, d))
    y = np.repeat(np.arange(n_classes), per_class)
    found = attributes(X, y)
    assert found["cdnv"] == pytest.approx(per_class / 2, rel=0.1)
    # Each of C - 1 axes has the variance 1 within classes and d / n between them.
    assert found["nc1"] == pytest.approx((n_classes - 1) / n_classes * len(X) / d, rel=0.1)
    assert found["class_separation"] == pytest.approx(0, abs=2 / per_class)
    assert found["compactness"] == pytest.approx(1 / n_classes, abs=0.02)


def test_equal_class_means_are_the_limit_of_no_separation():
    half = np.random.default_rng(0).normal(size=(50, 6))
    X = np.concatenate([half, -half, 3 * half[:, ::-1], -3 * half[:, ::-1]])
    y = np.repeat(["a", "b"], 100)
    found = attributes(X, y)
    assert found["nc1"] == np.inf
    assert found["cdnv"] == np.inf
    assert found["class_separation"] == pytest.approx(0, abs=1e-12)
    # A third class apart from these two: its own distances are finite, that of the pair is not.
    apart = attributes(np.concatenate([X, half + 9]), np.append(y, ["c"] * 50))
    assert apart["cdnv"] == np.inf
    assert np.isfinite(apart["nc1"])
    assert apart["class_separation"] > 0.1


def test_rows_of_one_direction_have_no_separation():
    y = np.repeat([0, 1], 40)
    lengths = np.random.default_rng(0).uniform(1, 2, size=80) + y
    X = lengths[:, None] * np.array([0.3, -0.7, 0.2])
    assert attributes(X, y)["class_separation"] == 0.0


def test_a_row_of_zeros_has_the_cosine_zero_with_every_row():
    X, y = make_problem(n=120, d=6, n_classes=3)
    X[[4, 77]] = 0.0
    directions = X / np.maximum(np.linalg.norm(X, axis=1), 1e-300)[:, None]
    means = np.array([directions[y == c].mean(axis=0) for c in range(3)])
    within = np.mean([1 - m @ m for m in means])
    total = 1 - means.mean(axis=0) @ means.mean(axis=0)
    assert attributes(X, y)["class_separation"] == pytest.approx(1 - within / total)


def test_a_class_of_one_row_has_no_variance():
    X, y = make_problem(d=6, counts=[1, 60, 70])
    found = attributes(X, y)
    np.testing.assert_allclose(found["cdnv"], explicit_cdnv(X, y), rtol=1e-9)
    np.testing.assert_allclose(found["nc1"], explicit_nc1(X, y), rtol=1e-8)
    assert all(np.isfinite(value) for value in found.values())


@pytest.mark.parametrize("scale", [1e-100, 1e-3, 1e3, 1e100])
def test_scale_changes_nothing(scale):
    X, y = make_problem(n=300, d=20, n_classes=4)
    expected = attributes(X, y, shrinkage="scale-free")
    found = attributes(scale * X, y, shrinkage="scale-free")
    for name, value in found.items():
        assert value == pytest.approx(expected[name], rel=1e-7), name


def test_rotation_changes_nothing():
    X, y = make_problem(n=300, d=20, n_classes=4)
    expected = attributes(X, y)
    for name, value in attributes(X @ ortho_group(20, seed=0).rvs(), y).items():
        assert value == pytest.approx(expected[name], rel=1e-8), name


def test_translation_changes_only_what_measures_directions():
    X, y = make_problem(n=300, d=20, n_classes=4)
    expected, found = attributes(X, y), attributes(X + 5.0, y)
    for name in set(expected) - {"class_separation"}:
        assert found[name] == pytest.approx(expected[name], rel=1e-8), name
    moved = explicit_class_separation(X + 5.0, y)
    assert found["class_separation"] == pytest.approx(moved, rel=1e-7)
    assert abs(moved - expected["class_separation"]) > 1e-3


def test_order_of_rows_and_names_of_labels_change_nothing():
    X, y = make_problem(n=300, d=20, n_classes=4)
    order = np.random.default_rng(0).permutation(300)
    expected = attributes(X, y)
    found = attributes(X[order], np.array(list("zayb"))[y][order])
    for name, value in found.items():
        assert value == pytest.approx(expected[name], rel=1e-9), name


def test_float32_with_means_far_above_the_spread():
    X, y = make_problem(n=500, d=30, n_classes=4)
    X += 100 * X.std(axis=0)
    low = X.astype(np.float32)
    expected = attributes(X, y)
    for name, value in attributes(low, y).items():
        assert value == pytest.approx(expected[name], rel=1e-4), name


def test_input_is_not_written_to():
    X, y = make_problem(n=200, d=10, n_classes=3)
    X[5] = 0.0
    before = X.copy()
    X.flags.writeable = False
    attributes(X, y)
    np.testing.assert_array_equal(X, before)


def test_few_rows_are_warned_of_with_advice_that_can_be_followed():
    X, y = make_problem(n=60, d=30, n_classes=3)
    with pytest.warns(UserWarning, match=r"n = 60 rows are few .*\. Add rows or lower n_comp"):
        SourceAttributes().fit(X, y)


def test_bad_input_is_named():
    X, y = make_problem(n=210, d=10, n_classes=3)
    with pytest.raises(ValueError, match=r"y has 1 class\(es\) \[0\]"):
        SourceAttributes().fit(X, np.zeros(210, dtype=int))
    with pytest.raises(ValueError, match="y has no label in row 1"):
        SourceAttributes().fit(X[:2], ["a", None])
    with pytest.raises(ValueError, match="all 210 rows are equal"):
        SourceAttributes().fit(np.ones_like(X), y)
    X[3, 2] = np.nan
    with pytest.raises(ValueError, match=r"NaN: the first is in row 3, column 2"):
        SourceAttributes().fit(X, y)
    with pytest.raises(ValueError, match="The 'shrinkage' parameter of SourceAttributes"):
        SourceAttributes(shrinkage="none").fit(X, y)


def test_it_is_no_scorer():
    """Its attributes have no agreed sign, so that nothing can be ranked by them."""
    X, y = make_problem(n=200, d=10, n_classes=3)
    assert not hasattr(SourceAttributes(), "score")
    with pytest.raises(TypeError, match=r"scorer must have fit\(X, y\) and score\(\)"):
        rank_features({"a": X, "b": X[:, :5]}, y, scorer=SourceAttributes())


def test_the_fitted_estimator_holds_no_rows():
    X, y = make_problem(n=2000, d=10, n_classes=3)
    source = SourceAttributes().fit(X, y)
    stored = pickle.dumps(source)
    assert len(stored) < 3000
    assert pickle.loads(stored).attributes_ == source.attributes_
    assert set(source.classes_) == {0, 1, 2}
    assert source.n_features_in_ == 10


def test_names_of_columns_are_kept():
    pd = pytest.importorskip("pandas")
    X, y = make_problem(n=200, d=3, n_classes=3)
    source = SourceAttributes().fit(pd.DataFrame(X, columns=list("abc")), y)
    assert source.feature_names_in_.tolist() == ["a", "b", "c"]
    assert source.fit(X, y).attributes_ == pytest.approx(attributes(X, y))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_tensors(device):
    torch = pytest.importorskip("torch")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch has no CUDA device here")
    X, y = make_problem(n=400, d=20, n_classes=4)
    X[7] = 0.0
    expected = attributes(X, y)
    found = attributes(torch.tensor(X, device=device), y)
    for name, value in found.items():
        assert value == pytest.approx(expected[name], rel=1e-8), name
