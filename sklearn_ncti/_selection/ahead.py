"""Downloads ahead of the device: the weights of the next candidate while one runs."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from threading import Condition, Thread
from typing import TYPE_CHECKING

from ..backbones._backbone import Backbone
from ..backbones._hub import stopped_by
from .context import FitContext
from .features import is_cached

if TYPE_CHECKING:
    from .jobs import Job


@contextmanager
def downloads_ahead(
    jobs: Sequence["Job"], context: FitContext, in_process: bool
) -> Iterator["Ahead | None"]:
    """Download weights for jobs before they start, within a block of code.

    Parameters
    ----------
    jobs : sequence of Job
        The jobs, in the order in which they start.

    context : FitContext
        Data and settings.

    in_process : bool
        Whether the jobs run in threads of this process. Nothing is downloaded for others.

    Yields
    ------
    ahead : Ahead or None
        What must be told of jobs that start and end; None if nothing is downloaded.
    """
    if not in_process or not any(_lacks_files(job) for job in jobs[1:]):
        yield None
        return
    ahead = Ahead(jobs, context)
    try:
        yield ahead
    finally:
        ahead.stop()


class Ahead:
    """A thread that downloads the weights of the next job, one job ahead of those that run.

    It downloads one file at a time, and after those that the running jobs need themselves. A
    download that fails is no error: its job tries again, and reports it.

    Parameters
    ----------
    jobs : sequence of Job
        The jobs, in the order in which they start.

    context : FitContext
        Data and settings.
    """

    def __init__(self, jobs: Sequence["Job"], context: FitContext) -> None:
        self._waiting = {job.index: job for job in jobs}
        self._running: dict[int, Job] = {}
        self._tried: set[int] = set()
        self._current: Job | None = None
        self._context = context
        self._changed = Condition()
        self._stop: Future[None] = Future()
        self._thread = Thread(target=self._work, name="downloads ahead", daemon=True)
        self._thread.start()

    @contextmanager
    def running(self, job: "Job") -> Iterator[None]:
        """Have the weights of the job after this one downloaded during a block of code."""
        with self._changed:
            self._waiting.pop(job.index, None)
            self._running[job.index] = job
            if job is not self._current:
                # If its download failed, the job's own comes before that of the next one.
                self._tried.discard(job.index)
            self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                del self._running[job.index]
                self._changed.notify()

    def stop(self) -> None:
        """End the download that is under way, and the thread."""
        with self._changed:
            self._stop.set_result(None)
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        with stopped_by(self._stop), self._context.progress.without_bars():
            while (job := self._next()) is not None:
                # It may be any error of a candidate, which meets it when it runs.
                with suppress(Exception):
                    _fetch(job, self._context)

    def _next(self) -> "Job | None":
        """Wait for a job whose weights are to be downloaded; return None at the end."""
        with self._changed:
            self._current = None
            self._changed.wait_for(lambda: self._stop.done() or self._wanted() is not None)
            if not self._stop.done() and (job := self._wanted()) is not None:
                self._current = job
                self._tried.add(job.index)
            return self._current

    def _wanted(self) -> "Job | None":
        """Return the first job that was not tried, of those that run and the next one."""
        if not self._running:
            return None
        jobs = [*self._running.values(), *list(self._waiting.values())[:1]]
        return next((job for job in jobs if job.index not in self._tried), None)


def _lacks_files(job) -> bool:
    """Whether a job needs a download, as far as can be told without an error."""
    try:
        return isinstance(job.model, Backbone) and job.model.lacks_files()
    except Exception:
        # It fails again, and alone, when the candidate runs.
        return False


def _fetch(job, context) -> None:
    """Download the weights of a job that needs them, if it can still start."""
    late = time.time() > context.deadline
    if late or not _lacks_files(job) or is_cached(job.model, context):
        return
    job.model.fetch(job.model.outputs_for(context.responses))
