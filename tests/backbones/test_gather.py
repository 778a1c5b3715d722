"""Batches of features become one array for each output, in the order of the images."""

from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from sklearn_ncti.backbones._gather import gather  # noqa: E402

CPU = SimpleNamespace(device=torch.device("cpu"))


@pytest.mark.parametrize("sizes", [[7], [3, 3, 1], [1, 2, 1, 2, 1]], ids=str)
@pytest.mark.parametrize("on_device", [False, True])
def test_batches_follow_each_other(sizes, on_device):
    features = torch.rand(7, 3)
    probabilities = torch.rand(7, 2)
    rows = torch.hstack([features, probabilities])
    widths = {"features": 3, "probabilities": 2}
    found = gather(iter(rows.split(sizes)), 7, widths, CPU, on_device)
    assert list(found) == list(widths)
    for output, expected in (("features", features), ("probabilities", probabilities)):
        assert isinstance(found[output], torch.Tensor if on_device else np.ndarray)
        np.testing.assert_array_equal(np.asarray(found[output]), expected.numpy())


@pytest.mark.parametrize("on_device", [False, True])
def test_batches_may_be_written_over_once_they_are_taken(on_device):
    """A graph gives every batch in the same memory."""
    memory = torch.empty(2, 3)

    def parts():
        for i in range(3):
            yield memory.fill_(i)

    found = gather(parts(), 6, {"features": 3}, CPU, on_device)["features"]
    np.testing.assert_array_equal(np.asarray(found)[:, 0], np.repeat([0, 1, 2], 2))
