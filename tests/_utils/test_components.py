"""Components of one candidate, and of many in one array each."""

import numpy as np
import pytest

from sklearn_ncti import Components


def test_absolute_defaults_to_raw():
    components = Components({"ncc": 0.8})
    assert components.absolute is components.raw
    assert components.of("absolute") == components.of("zscore") == {"ncc": 0.8}


def test_only_absolute_normalization_takes_the_absolute_components():
    components = Components({"vc": -4.2}, {"vc": 0.6})
    assert components.of("absolute") == {"vc": 0.6}
    for normalization in ("minmax", "zscore", "rank", None):
        assert components.of(normalization) == {"vc": -4.2}


@pytest.mark.parametrize("absolute", [{"vc": 0.6}, {"vc": 0.6, "ncc": 0.8}, {}])
def test_other_names_or_another_order_are_refused(absolute):
    with pytest.raises(ValueError, match=r"components of raw, \['ncc', 'vc'\], in their order"):
        Components({"ncc": 0.8, "vc": -4.2}, absolute)


@pytest.mark.parametrize(("axis", "shape"), [(0, (2, 3)), (1, (3, 2))])
def test_stack_puts_candidates_along_an_axis(axis, shape):
    many = [Components({"a": np.full(3, i)}, {"a": np.full(3, -i)}) for i in (1.0, 2.0)]
    stacked = Components.stack(iter(many), axis=axis)
    assert stacked.names == ["a"]
    assert stacked.raw["a"].shape == stacked.absolute["a"].shape == shape
    assert stacked.raw["a"].take(1, axis=axis).tolist() == [2.0] * 3
    assert stacked.absolute["a"].take(0, axis=axis).tolist() == [-1.0] * 3
