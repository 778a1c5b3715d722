"""Fixtures that the tests of the linear algebra share."""

import pytest

from sklearn_ncti._linalg import moments as _moments


@pytest.fixture(params=[10, 1 << 21], ids=["small chunks", "one chunk"])
def chunk_values(request, monkeypatch):
    monkeypatch.setattr(_moments, "_CHUNK_VALUES", request.param)
    monkeypatch.setattr(_moments, "_CACHED_VALUES", request.param)
