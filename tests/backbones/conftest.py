"""One thread of torch's own for the tests: their networks are too small to gain from more."""

import importlib.util

import pytest


@pytest.fixture(autouse=True, scope="session")
def _one_torch_thread():
    # On a busy machine, threads that wait for each other make tiny networks slow.
    if importlib.util.find_spec("torch") is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
