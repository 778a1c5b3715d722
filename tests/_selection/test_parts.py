"""Nested, stratified parts of the rows."""

import numpy as np
import pytest

from sklearn_ncti._selection.parts import nested_parts, part_sizes


@pytest.mark.parametrize(
    ("factor", "expected"), [(3, [111, 333, 1000]), (2, [125, 250, 500, 1000])]
)
@pytest.mark.parametrize("n_components", [0, 64])
def test_sizes_fall_to_ten_rows_of_each_class(factor, expected, n_components):
    codes = np.arange(1000) % 10
    assert part_sizes(codes, factor, "auto", n_components) == expected


def test_sizes_stay_above_the_number_of_components():
    codes = np.arange(450) % 5
    assert part_sizes(codes, 3, "auto", 0) == [50, 150, 450]
    assert part_sizes(codes, 3, "auto", 28) == [50, 150, 450]
    assert part_sizes(codes, 3, "auto", 64) == [150, 450]
    assert part_sizes(codes, 3, "auto", 300) == [450]


def test_sizes_with_a_least_number():
    codes = np.arange(1000) % 10
    assert part_sizes(codes, 3, 334, 64) == [1000]
    assert part_sizes(codes, 3, 333, 64) == [333, 1000]
    assert part_sizes(codes, 1.5, 300, 64) == [444, 667, 1000]
    # Too few rows for more than one part.
    assert part_sizes(np.arange(50) % 10, 3, "auto", 64) == [50]


@pytest.mark.parametrize("wrong", [19, 1001])
def test_a_first_part_that_cannot_be(wrong):
    with pytest.raises(ValueError, match=rf"min_samples={wrong} must be from 20 .* to 1000"):
        part_sizes(np.arange(1000) % 10, 3, wrong, 0)


@pytest.mark.parametrize("counts", [[400, 300, 200, 100], [970, 10, 10, 10], [2, 500]])
def test_parts_are_nested_and_stratified(counts):
    codes = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    n, counts = len(codes), np.array(counts)
    sizes = part_sizes(codes, 3, 10 * len(counts), 0)
    added = nested_parts(codes, sizes, seed=0)
    np.testing.assert_array_equal(np.sort(np.concatenate(added)), np.arange(n))
    assert np.cumsum([len(rows) for rows in added]).tolist() == sizes
    for i, size in enumerate(sizes):
        rows = np.concatenate(added[: i + 1])
        in_part = np.bincount(codes[rows], minlength=len(counts))
        assert (in_part >= 2).all()
        # Those that have more than their share have it because of the least that a class needs.
        assert (np.abs(in_part - size * counts / n) <= 1 + 2 * len(counts)).all()


def test_parts_are_those_of_the_seed():
    codes = np.arange(90) % 3
    first, again, other = (nested_parts(codes, [30, 90], seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert set(first) != set(other)
    np.testing.assert_array_equal(np.bincount(codes[other]), [10, 10, 10])
