"""Which candidate runs where and when: jobs, devices, threads, shared images."""

import copy
import pickle
import time
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from joblib.parallel import LokyBackend, MultiprocessingBackend, get_active_backend
from sklearn import get_config
from sklearn.base import clone
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _num_samples

from .._scoring.candidate import CandidateResult, Failure, capture_errors
from .._scoring.scoring import result_of, score_candidate
from .._utils.optional import import_optional
from .._utils.stacklevel import find_stack_level
from ..backbones._backbone import Backbone
from ..backbones._base import bad_images_text
from ..backbones._images import BadImageError
from .ahead import downloads_ahead
from .context import FitContext
from .features import Extracted, extract_for_scorers, is_cached

# How far candidates that run at the same time can share images: in one process, with other
# processes of this machine, or not at all.
_IN_PROCESS, _ON_MACHINE, _NOWHERE = range(3)

# What joblib raises for all candidates if one has killed its worker process, or cannot be
# sent to one.
_WORKER_ERRORS = (BrokenExecutor, pickle.PicklingError)


#: Failure of a candidate that was not started.
OUT_OF_TIME = Failure("not started before max_time was over", "")


@dataclass(frozen=True)
class FitTask:
    """A part of a fit that callbacks are told of.

    Attributes
    ----------
    callbacks : callback context
        scikit-learn's context of the task.

    estimator : ModelSelector
        The estimator that is fitted, which scikit-learn passes to callbacks.
    """

    callbacks: Any
    estimator: Any

    @contextmanager
    def running(self, X: Any, y: Any) -> Iterator[None]:
        """Tell the callbacks when a block of code begins, and when it ends without an error."""
        self.callbacks.call_on_fit_task_begin(estimator=self.estimator, X=X, y=y)
        yield
        self.callbacks.call_on_fit_task_end(estimator=self.estimator, X=X, y=y)

    def without_candidates(self) -> "FitTask":
        """Return a task to send to another process, which needs no other candidates."""
        estimator = copy.copy(self.estimator)
        estimator.models = []
        return FitTask(self.callbacks, estimator)


@dataclass(frozen=True)
class Job:
    """One candidate, its position among all, its task, and what earlier rows gave."""

    index: int
    name: str
    model: Any
    task: FitTask
    earlier: Extracted | None = None


def run_candidates(
    candidates: list[tuple[str, Any]],
    context: FitContext,
    tasks: list[FitTask],
    n_jobs: int | None,
    earlier: Mapping[str, Extracted] | None = None,
) -> tuple[list[CandidateResult], FitContext]:
    """Score all candidates.

    Those of one input geometry run together, so that the images of one geometry are in memory
    at a time. Candidates other than backbones come last, when it is known which images are
    unreadable.

    Parameters
    ----------
    candidates : list of (str, transformer)
        The candidates.

    context : FitContext
        Data and settings.

    tasks : list of FitTask
        Their tasks.

    n_jobs : int or None
        Number of candidates that run at the same time.

    earlier : dict of str to Extracted, default=None
        What rows that are scored together with those of the context gave, by name.

    Returns
    -------
    results : list of CandidateResult
        Their results, in the same order.

    context : FitContext
        The context with the unreadable images.
    """
    is_backbone = [isinstance(model, Backbone) for _, model in candidates]
    prefer = "threads" if all(is_backbone) else None
    backend, _ = get_active_backend(prefer=prefer)
    # As they come, where that is possible: so it is known which are done, for those who wait and
    # when a worker process dies.
    return_as = "generator_unordered" if backend.supports_return_generator else "list"
    parallel = Parallel(n_jobs=n_jobs, prefer=prefer, return_as=return_as)
    n_jobs = backend.effective_n_jobs(parallel.n_jobs)
    sharing = _sharing(backend, n_jobs)
    if n_jobs > 1 and sharing != _NOWHERE:
        candidates = _spread_over_devices(candidates)
    if sharing != _IN_PROCESS:
        tasks = [task.without_candidates() for task in tasks]
    earlier = earlier or {}
    jobs = [
        Job(i, name, model, task, earlier.get(name))
        for i, ((name, model), task) in enumerate(zip(candidates, tasks, strict=True))
    ]
    of_backbones = [job for job in jobs if is_backbone[job.index]]
    workers = Workers(parallel, in_process=sharing == _IN_PROCESS)
    results: dict[int, CandidateResult] = {}
    with _torch_threads(n_jobs if of_backbones and sharing == _IN_PROCESS else 1), parallel:
        for shares, group in _by_geometry(of_backbones, n_jobs, sharing):
            results |= _run_group(workers, group, context, sharing if shares else _NOWHERE)
        unreadable, unequal = _agreed_unreadable(results, context.error_score)
        results |= unequal
        if unreadable:
            context = replace(context, unreadable=unreadable)
            warnings.warn(
                f"{bad_images_text(unreadable, len(context.y))} They are left out for all "
                "candidates.",
                UserWarning,
                stacklevel=find_stack_level(),
            )
        results |= workers.run([job for job in jobs if not is_backbone[job.index]], context)
    _warn_of_changes(context.changed_files())
    return [results[job.index] for job in jobs], context


def _run_group(workers, group, context, sharing) -> dict[int, CandidateResult]:
    """Run backbones that share their images or texts, unless `sharing` is `_NOWHERE`."""
    # A function, so that the memory is free before the next images are prepared.
    prepared = _prepare([job.model for job in group], context, sharing)
    try:
        return workers.run(group, context, prepared)
    finally:
        if prepared is not None:
            prepared.close()


def _prepare(models, context, sharing) -> Any:
    """Return images or texts that backbones of one geometry share, or None if none."""
    if sharing == _NOWHERE or not context.has_rows_for(models[0]):
        return None
    budget = int(get_config()["working_memory"] * 2**20)
    prepared = models[0].prepare(
        context.rows_for(models[0]),
        on_bad_image=context.on_bad_image,
        budget=budget,
        models=models,
    )
    if sharing == _IN_PROCESS:
        return prepared
    # Other processes cannot find a file without a name, and cached features need no images.
    if all(is_cached(model, context) for model in models) or prepared.nbytes > budget:
        return None
    return prepared.complete()


def _warn_of_changes(paths) -> None:
    if paths:
        warnings.warn(
            f"{len(paths)} file(s) changed while the candidates ran, so that these may have seen "
            f"different data: {', '.join(paths[:3])}{', ...' if len(paths) > 3 else ''}. "
            "Features made since are not kept. Fit again when the files stay as they are.",
            UserWarning,
            stacklevel=find_stack_level(),
        )


class Workers:
    """Threads or processes of joblib that run jobs, and survive a process that dies.

    Parameters
    ----------
    parallel : joblib.Parallel
        What runs them.

    in_process : bool, default=False
        Whether the jobs run in this process.
    """

    def __init__(self, parallel: Any, in_process: bool = False) -> None:
        self._parallel = parallel
        self._in_process = in_process

    def run(
        self, jobs: list[Job], context: FitContext, prepared: Any = None
    ) -> dict[int, CandidateResult]:
        """Run jobs at the same time, and one at a time those that a dead process left."""
        results: dict[int, CandidateResult] = {}
        try:
            self._start(jobs, context, prepared, results)
            return results
        except _WORKER_ERRORS:
            left = [job for job in jobs if job.index not in results]
        for job in left:
            try:
                self._start([job], context, prepared, results)
            except _WORKER_ERRORS as exc:
                results[job.index] = _captured(context.error_score, job.name, _raise_lost, exc)
                context.progress.finish(results[job.index], len(context.y))
        return results

    def _start(self, jobs, context, prepared, results) -> None:
        with downloads_ahead(jobs, context, in_process=self._in_process) as ahead:
            tasks = (delayed(_run_job)(job, context, prepared, ahead) for job in jobs)
            for index, result in self._parallel(tasks):
                results[index] = result
                if result.components != OUT_OF_TIME:
                    context.progress.finish(result, len(context.y))


def _raise_lost(exc):
    """Raise why a candidate that was alone in its worker process has no result."""
    if isinstance(exc, pickle.PicklingError):
        raise RuntimeError(
            "the candidate cannot be sent to a worker process, as it cannot be pickled; use "
            "n_jobs=1, or the threading backend of joblib."
        ) from exc
    codes = str(exc).partition("exit codes of the workers are ")[2].partition("\n")[0]
    raise RuntimeError(
        "the worker process died while it ran this candidate: it was killed, ran out of memory, "
        f"or crashed in compiled code (exit code {codes or 'unknown'})."
    ) from exc


def _run_job(job, context, prepared, ahead) -> tuple[int, CandidateResult]:
    """Return the index and the result of one candidate."""
    downloads = nullcontext() if ahead is None else ahead.running(job)
    counted = context.progress.running(job.name, len(context.y))
    with downloads, counted, job.task.running(context.X, context.y):
        result = _captured(context.error_score, job.name, _score, job, context, prepared)
    return job.index, result


def _captured(error_score, name, function, *args) -> CandidateResult:
    """Return the result of a candidate; its failure is one, unless failures are to be raised."""
    if error_score == "raise":
        return function(*args)
    # An unreadable image concerns all candidates alike: it is no failure of one of them.
    return result_of(name, capture_errors(function, *args, reraise=(BadImageError,)))


def _score(job, context, prepared) -> CandidateResult:
    """Extract and score the features of one candidate."""
    if job.index > 0 and time.time() > context.deadline:
        return CandidateResult(job.name, OUT_OF_TIME)
    start = time.perf_counter()
    extracted = extract_for_scorers(job.model, context, prepared)
    facts = replace(extracted.facts, extract_time=time.perf_counter() - start)
    extracted = replace(extracted, facts=facts)
    n_rows = _num_samples(extracted.features)
    if n_rows != len(extracted.labels):
        raise ValueError(
            f"the candidate gave {n_rows} rows of features for {len(extracted.labels)} labels: "
            "all candidates must be scored on the same rows."
        )
    if job.earlier is not None:
        extracted = job.earlier.followed_by(extracted)
    measure = context.measure or score_candidate
    result = measure(
        job.name,
        extracted.features,
        extracted.labels,
        context.scorers,
        context.resampling,
        extracted.probabilities,
        extracted.facts,
    )
    if context.kept_in is None:
        return result
    return replace(result, extracted=extracted.kept_in(context.kept_in))


def _agreed_unreadable(
    results: Mapping[int, CandidateResult], error_score: str | float
) -> tuple[Mapping[int, str], dict[int, CandidateResult]]:
    """Return the unreadable images, and failures of candidates that found others.

    These were scored on other rows.
    """
    agreed = None
    unequal = {}
    for index in sorted(results):
        if results[index].failure is not None:
            continue
        unreadable = results[index].facts.unreadable
        if agreed is None:
            agreed = unreadable
        elif set(unreadable) != set(agreed):
            differ = sorted(set(unreadable) ^ set(agreed))
            unequal[index] = _captured(error_score, results[index].name, _raise_unequal, differ)
    return agreed or {}, unequal


def _raise_unequal(places):
    raise ValueError(
        f"the images at {places[:5]} could be read for some candidates and not for others: "
        "all must be scored on the same rows. Have these files changed meanwhile?"
    )


def _sharing(backend, n_jobs) -> int:
    if getattr(backend, "supports_sharedmem", False):
        return _IN_PROCESS
    if isinstance(backend, LokyBackend | MultiprocessingBackend):
        # One job stays where it is.
        return _IN_PROCESS if n_jobs == 1 else _ON_MACHINE
    return _NOWHERE


def _by_geometry(jobs, n_jobs, sharing) -> list[tuple[bool, list[Job]]]:
    """Group backbones by input geometry; tell of each group whether it shares images."""
    if sharing == _NOWHERE:
        return [(False, jobs)]
    groups: dict[Any, list[Job]] = {}
    for job in jobs:
        groups.setdefault(job.model.geometry(), []).append(job)
    found = [
        (geometry is not None and len(group) > 1, group) for geometry, group in groups.items()
    ]
    if n_jobs > 1:
        # Those that share with none can as well run at the same time.
        alone = [job for shares, group in found if not shares for job in group]
        found = [(shares, group) for shares, group in found if shares] + [(False, alone)]
    return found


def _spread_over_devices(candidates):
    """Give the backbones that leave it open a CUDA device each, in turns."""
    candidates = list(candidates)
    leave_open = [
        i
        for i, (_, model) in enumerate(candidates)
        if isinstance(model, Backbone) and str(model.device) in ("auto", "cuda")
    ]
    if not leave_open:
        return candidates
    torch = import_optional("torch", extra="timm")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count > 1:
        for turn, i in enumerate(leave_open):
            name, model = candidates[i]
            candidates[i] = (name, clone(model).set_params(device=f"cuda:{turn % count}"))
    return candidates


@contextmanager
def _torch_threads(n_jobs) -> Iterator[None]:
    """Divide torch's threads among jobs that run in threads of this process."""
    if n_jobs == 1:
        yield
        return
    torch = import_optional("torch", extra="timm")
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // n_jobs))
    try:
        yield
    finally:
        torch.set_num_threads(before)
