"""Downloads that end when nothing comes any longer.

A file is downloaded by a process of its own, before timm looks for it: a client that waits for
an answer cannot be stopped in any other way, and holds nobody else up there. Threads that want
the same file share one download.
"""

import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, Queue
from threading import Lock, Thread
from typing import IO, Any, cast

from .._utils.optional import import_optional
from . import _download
from ._progress import is_told

# The environment variable with the seconds that a download may go without progress.
_VARIABLE = "SKLEARN_NCTI_HUB_TIMEOUT"
_DEFAULT = 60

# Seconds for the process to start, and for a hub that did not answer to be left alone: a ranking
# of thirty models asks once.
_START = 60
_VALID = 60

# Where there was no answer, and when.
_unreachable: dict[str, float] = {}

# What is changed in `from_cache` belongs to the process.
_LOCK = Lock()

# Downloads under way, by request.
_under_way: dict[str, "Future[str]"] = {}

# What ends the downloads of a thread when it has a result.
_STOP: ContextVar["Future[None] | None"] = ContextVar("stop", default=None)


class StoppedError(OSError):
    """A download was ended by another thread."""


@contextmanager
def stopped_by(stop: "Future[None]") -> Iterator[None]:
    """End the downloads of this thread with a `StoppedError` when `stop` has a result."""
    token = _STOP.set(stop)
    try:
        yield
    finally:
        _STOP.reset(token)


def time_limit() -> float:
    """Return the seconds that a download may go without progress; 0 for no limit."""
    text = os.environ.get(_VARIABLE, "") or str(_DEFAULT)
    try:
        seconds = float(text)
        if not 0 <= seconds < math.inf:
            raise ValueError
    except ValueError:
        raise ValueError(
            f"the environment variable {_VARIABLE} must be a number of seconds, or 0 for "
            f"downloads without a limit; got {text!r}."
        ) from None
    return seconds if sys.executable else 0


def download_from_hub(
    repository: str,
    files: Sequence[str],
    *,
    more: Sequence[str] = (),
    at_most: float = math.inf,
    library: str = "timm",
) -> None:
    """Download the first of some files that a repository of the hub has, into the hub's cache.

    Parameters
    ----------
    repository : str
        Its owner and name, and perhaps its revision: ``"owner/name@revision"``.

    files : sequence of str
        The names of the files, the preferred one first. Of an index of weights the parts are
        downloaded as well.

    more : sequence of str, default=()
        Other files, those of which that the repository has.

    at_most : float, default=inf
        Seconds without progress, where they are to be fewer than those of the environment
        variable.

    library : str, default="timm"
        The package that is going to load the files, which the hub is told.

    Raises
    ------
    OSError
        If the hub cannot be reached, lacks the files, or sends nothing any longer; the message
        is one line.
    """
    hub = import_optional("huggingface_hub", extra="timm")
    constants = import_optional("huggingface_hub.constants", extra="timm")
    loader = import_optional(library, extra="text" if library == "transformers" else library)
    name, _, revision = repository.partition("@")
    address = constants.ENDPOINT
    with _LOCK:
        # Not what another thread has changed for a moment.
        offline = constants.HF_HUB_OFFLINE
    if offline:
        raise OSError("HF_HUB_OFFLINE is set, and the local cache lacks it")
    silent = OSError(f"{address} cannot be reached, and the local cache lacks it")
    if time.monotonic() - _unreachable.get(address, -math.inf) < _VALID:
        raise silent
    request = {
        "hub": {
            "repo_id": name,
            "revision": revision or None,
            "endpoint": address,
            "cache_dir": str(constants.HF_HUB_CACHE),
            # Where it is kept may be known to this process only.
            "token": None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else hub.get_token(),
            "library_name": library,
            "library_version": loader.__version__,
        },
        "files": list(files),
        "more": list(more),
    }

    def is_here() -> bool:
        return not more and file_in_cache(repository, files) is not None

    if _run(request, f"{name!r} from {address}", at_most, is_here) == "unreachable":
        _unreachable[address] = time.monotonic()
        raise silent


def download_from_address(url: str, file: str | os.PathLike) -> None:
    """Download a file from another address than the hub's, as `download_from_hub` does."""
    _run({"url": url, "file": os.fspath(file)}, url, math.inf)


def cached_models(owner: str = "timm") -> set[str]:
    """Return the names of an owner's repositories whose weights are in the hub's cache."""
    folder = hub_folder()
    if folder is None:
        return set()
    start = f"models--{owner}--"
    weights = ("*.safetensors", "*.bin")
    return {
        path.name.removeprefix(start)
        for path in folder.glob(f"{start}*")
        if any(any(path.glob(f"snapshots/*/{pattern}")) for pattern in weights)
    }


def hub_folder() -> Path | None:
    """Return the folder of the hub's cache, None without the hub's client."""
    if find_spec("huggingface_hub") is None:
        return None
    constants: Any = import_optional("huggingface_hub.constants", extra="timm")
    return Path(constants.HF_HUB_CACHE)


def repository_folders(owner: str = "timm") -> dict[str, Path]:
    """Return the folders of an owner's repositories in the hub's cache, by repository.

    A link in the place of a folder counts as one.
    """
    folder = hub_folder()
    start = f"models--{owner}--"
    found = [] if folder is None else folder.glob(f"{start}*")
    return {f"{owner}/{path.name.removeprefix(start)}": path for path in found}


def delete_folder(folder: Path) -> None:
    """Delete the folder of a repository as far as possible, but not where it is a link."""
    if folder.is_symlink():
        return
    # The snapshots first: without them, a deletion that is cut short leaves nothing that counts
    # as cached weights.
    for path in (folder / "snapshots", folder):
        shutil.rmtree(path, ignore_errors=True)


def file_in_cache(name: str, files: Sequence[str]) -> Path | None:
    """Find the first of some files of a hub repository that was downloaded already.

    The repository may have a revision: ``"owner/name@revision"``. The file lies in a folder that
    is named after the commit.
    """
    hub = import_optional("huggingface_hub", extra="timm")
    repository, _, revision = name.partition("@")
    for file in files:
        found = hub.try_to_load_from_cache(repository, file, revision=revision or None)
        if isinstance(found, str):
            return Path(found)
    return None


@contextmanager
def from_cache() -> Iterator[None]:
    """Keep the hub's client from asking for anything: what is needed is in its cache."""
    constants: Any = import_optional("huggingface_hub.constants", extra="timm")
    with _LOCK:
        before = constants.HF_HUB_OFFLINE
        # What the environment variable of that name sets. Through the environment it would
        # reach other processes, and nobody would read it any more.
        constants.HF_HUB_OFFLINE = True
        try:
            yield
        finally:
            constants.HF_HUB_OFFLINE = before


def _run(
    request: dict[str, Any],
    what: str,
    at_most: float,
    is_here: Callable[[], bool] = lambda: False,
) -> str:
    """Have a request done, or wait for another thread that has it done; return how it ended."""
    limit = min(time_limit(), at_most)
    key = json.dumps([request, limit])
    stop = _STOP.get()
    while stop is None or not stop.done():
        own: Future[str] = Future()
        download = _under_way.setdefault(key, own)
        if download is own:
            return _complete(key, own, request, what, limit, is_here)
        futures: list[Future[Any]] = [download] if stop is None else [download, stop]
        wait(futures, return_when=FIRST_COMPLETED)
        # One that was stopped is started again by those who waited for it.
        if download.done() and not isinstance(download.exception(), StoppedError):
            return download.result()
    raise StoppedError(f"the download of {what} was stopped")


def _complete(
    key: str,
    download: "Future[str]",
    request: dict[str, Any],
    what: str,
    limit: float,
    is_here: Callable[[], bool],
) -> str:
    """Have a request done, and tell the threads that wait for it."""
    try:
        # Another thread may have completed it since this one looked.
        end = "done" if is_here() else _run_process(request, what, limit)
    except BaseException as exc:
        # First, so that a thread that is told can try by itself.
        del _under_way[key]
        download.set_exception(exc if isinstance(exc, OSError) else StoppedError())
        raise
    del _under_way[key]
    download.set_result(end)
    return end


def _run_process(request: dict[str, Any], what: str, limit: float) -> str:
    """Have a request done by a process of its own; return how it ended."""
    # The folder of the script is no place to import from (-P).
    process = subprocess.Popen(
        [sys.executable, "-P", _download.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        # One bar is shown for many candidates, and none of the client for their downloads.
        env={**os.environ, "HF_HUB_DISABLE_PROGRESS_BARS": "1"} if is_told() else None,
    )
    events: Queue[str] = Queue()
    try:
        stdin = cast(IO[str], process.stdin)
        stdin.write(json.dumps({"path": list(map(str, sys.path)), **request}) + "\n")
        stdin.flush()
        Thread(target=_read, args=(process, events), daemon=True).start()
        stop = _STOP.get()
        if stop is not None:
            stop.add_done_callback(lambda _: events.put('["stopped", ""]'))
        return _follow(events, what, limit)
    finally:
        _end(process)


def _read(process: subprocess.Popen, events: Queue[str]) -> None:
    with cast(IO[str], process.stdout) as stdout:
        for line in stdout:
            events.put(line)
    events.put('["failed", "the process that downloads has ended"]')


def _follow(events: Queue[str], what: str, limit: float) -> str:
    """Wait for the end of a download for as long as it makes progress."""
    note = ""
    end = time.monotonic() + max(limit, _START)
    while True:
        try:
            kind, text = json.loads(events.get(timeout=max(0, end - time.monotonic())))
        except Empty:
            raise TimeoutError(
                f"the download of {what} made no progress: less than {_download.PART // 2**10} "
                f"KiB in {limit:g} s{note and f' (last: {note})'}. Try again later, or allow more "
                f"seconds with the environment variable {_VARIABLE}"
            ) from None
        if kind in ("done", "unreachable"):
            return kind
        if kind == "failed":
            raise OSError(f"the download of {what} failed: {text}")
        if kind == "stopped":
            raise StoppedError(f"the download of {what} was stopped")
        if kind == "note":
            # Of the two that the client logs each time, this is the one that tells nothing.
            note = note if text.startswith("Retrying in") else text
        else:
            end = time.monotonic() + limit


def _end(process: subprocess.Popen) -> None:
    """End a process, one way or the other."""
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    cast(IO[str], process.stdin).close()
