"""The process in which `_hub` downloads files, which can be ended any time.

It is run as a script, and imports nothing of this package. The first line of its input is the
request. Each line of its output is an event: a kind and a text, as JSON.
"""

import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from threading import Thread

# Bytes that count as progress. As many are read at once: huggingface_hub takes 10 MiB, and says
# nothing before all of them are there.
PART = 64 * 2**10

# Seconds for the hub to answer at all.
_TIMEOUT = 10


def main() -> None:
    """Do what the request asks for, and tell how it goes."""
    # Libraries may write to the standard output: it becomes the error stream.
    output = os.dup(1)
    os.dup2(2, 1)

    def tell(kind: str, text: str) -> None:
        # Several threads do so: a short line goes out in one piece.
        os.write(output, f"{json.dumps([kind, text[:600]])}\n".encode())

    request = json.loads(sys.stdin.readline())
    sys.path[:] = request["path"]
    Thread(target=_end_with_the_parent, daemon=True).start()
    # An exception removes what is there of the file. The parent sees to Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *args: sys.exit(1))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _watch(tell)
    try:
        (_from_address if "url" in request else _from_hub)(request, tell)
        end = "done", ""
    except Exception as exc:
        cause = f" ({exc.__cause__})" if exc.__cause__ else ""
        end = "failed", " ".join(f"{type(exc).__name__}: {exc}{cause}".split())
    # The parent ends this process when it has read that, and there is nothing left to do.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    tell(*end)
    os._exit(0)


def _end_with_the_parent() -> None:
    """End this process when its input ends, which is when nobody waits for it any longer."""
    while os.read(0, 1024):
        pass
    os._exit(1)


def _watch(tell: Callable[[str, str], None]) -> None:
    """Tell of the bytes that come, which every client shows with tqdm."""
    from tqdm import tqdm

    update, pending = tqdm.update, 0

    def update_and_tell(bar, n=1):
        nonlocal pending
        pending += n or 0
        if pending >= PART:
            pending = 0
            tell("progress", "")
        return update(bar, n)

    tqdm.update = update_and_tell


class _Notes(logging.Handler):
    """What tells of the warnings that are logged, instead of showing them."""

    def __init__(self, tell: Callable[[str, str], None]) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self._tell("note", " ".join(record.getMessage().split()))


def _from_hub(request: dict, tell: Callable[[str, str], None]) -> None:
    """Download the first of some files that a repository has, and those of others that it has."""
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.utils import EntryNotFoundError, LocalEntryNotFoundError, get_session

    # After the import, which adds a handler of its own.
    logging.getLogger("huggingface_hub").handlers = [_Notes(tell)]
    constants.DOWNLOAD_CHUNK_SIZE = PART
    tell("ready", "")
    try:
        # Asked once: the client would go on asking for minutes.
        get_session().head(request["hub"]["endpoint"], timeout=_TIMEOUT)
    except Exception:
        tell("unreachable", "")
        return
    tell("progress", "")

    def get(file: str) -> str | None:
        """Download a file; return its path, None if the repository has none of that name."""
        try:
            return hf_hub_download(filename=file, **request["hub"])
        except LocalEntryNotFoundError:
            # This is what a hub that does not say is called, too.
            raise
        except EntryNotFoundError:
            tell("progress", "")
            return None

    found = next((path for path in map(get, request["files"]) if path), None)
    if found is None:
        raise FileNotFoundError("the repository has none of " + ", ".join(request["files"]))
    for file in (*_parts(found), *request.get("more", ())):
        get(file)


def _parts(path: str) -> list[str]:
    """Return the files that an index of weights names; of another file none."""
    if not path.endswith(".index.json"):
        return []
    with open(path, encoding="utf-8") as file:
        return sorted(set(json.load(file)["weight_map"].values()))


def _from_address(request: dict, tell: Callable[[str, str], None]) -> None:
    """Download one file as timm does where the weights are not on the hub."""
    from torch.hub import download_url_to_file

    tell("ready", "")
    download_url_to_file(request["url"], request["file"], progress=False)


if __name__ == "__main__":
    main()
