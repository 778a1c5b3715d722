"""Beside floors 1-3: downloads from the Hugging Face hub that fail at once without a network."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

# Seconds for an answer of the hub, and for which it counts afterwards: a ranking of thirty
# models asks once.
_TIMEOUT = 10
_VALID = 60

# Where there was no answer, and when.
_unreachable: dict[str, float] = {}

# What is changed within the context belongs to the process.
_LOCK = Lock()


@contextmanager
def fail_fast() -> Iterator[str]:
    """Keep a download from retrying for minutes where there is no network.

    The hub is asked once. If it does not answer, its client works from its own cache alone
    for as long as the context lasts. One thread is in it at a time.

    Yields
    ------
    unreachable : str
        The address that did not answer; empty if it did, or was not asked.
    """
    try:
        from huggingface_hub import constants
        from huggingface_hub.utils import get_session
    except ImportError:
        # timm then loads from other addresses, without retrying.
        yield ""
        return
    with _LOCK:
        if constants.HF_HUB_OFFLINE or _answers(constants.ENDPOINT, get_session):
            yield ""
            return
        # What the environment variable of that name sets. Through the environment it would
        # reach other processes, and nobody would read it any more.
        constants.HF_HUB_OFFLINE = True
        try:
            yield constants.ENDPOINT
        finally:
            constants.HF_HUB_OFFLINE = False


def _answers(address: str, get_session) -> bool:
    if time.monotonic() - _unreachable.get(address, -_VALID) < _VALID:
        return False
    try:
        # By the hub's own client, which knows of proxies and certificates.
        get_session().head(address, timeout=_TIMEOUT)
    except Exception:
        _unreachable[address] = time.monotonic()
        return False
    return True
