"""Errors that know what they are about."""

import pickle

import pytest

from sklearn_ncti._utils.errors import AllFailedError, AllFailedTypeError, ParameterError


@pytest.mark.parametrize(
    ("error", "kinds", "text"),
    [
        (ParameterError("device", "'x' is none."), [ValueError], "device='x' is none."),
        (AllFailedError("All failed.", ["where"]), [ValueError], "All failed. The attribute"),
        (AllFailedTypeError("All failed.", []), [ValueError, TypeError], "All failed. The attr"),
    ],
)
def test_messages_and_kinds_survive_the_way_from_another_process(error, kinds, text):
    for found in (error, pickle.loads(pickle.dumps(error))):
        assert str(found).startswith(text)
        assert len(str(found).splitlines()) == 1
        assert all(isinstance(found, kind) for kind in kinds)
        assert vars(found) == vars(error)
