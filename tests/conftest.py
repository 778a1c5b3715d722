"""Fixtures that the tests share."""

import os

# Before numpy or torch start their threads: the arrays of the tests are small, and threads
# that wait for each other on a busy machine take minutes where one takes seconds.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from helpers import SHARED, make_problem


@pytest.fixture
def shared():
    """Folder beside the checkout with golden values, real weights and real images."""
    if not SHARED.is_dir():
        pytest.skip("the folder ../shared with real weights and images is absent")
    return SHARED


@pytest.fixture
def problem():
    return make_problem()


@pytest.fixture(scope="session")
def text_models(tmp_path_factory):
    """Names of tiny text encoders by their kind: "bert", "gpt2" and "t5"."""
    # Late: tests of other parts run without torch.
    from text_pool import write_text_model

    folder = tmp_path_factory.mktemp("text_models")
    return {kind: write_text_model(folder / kind, kind) for kind in ("bert", "gpt2", "t5")}
