"""Candidates to their features, and these to the records that a ranking is made of."""

import copy
import pickle
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, Self

import numpy as np
from joblib.parallel import LokyBackend, MultiprocessingBackend, get_active_backend
from sklearn import get_config
from sklearn.base import clone
from sklearn.utils import _safe_indexing
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _num_samples

from .._scoring.bootstrap import check_resampling
from .._scoring.candidate import CandidateResult, ExtractionFacts, capture_errors
from .._scoring.scorers import is_ncti, response_of
from .._scoring.scoring import result_of, score_candidate
from .._utils.optional import import_optional
from .._utils.terminal import printable, say
from .._utils.validation import check_labels
from ..backbones._base import BaseBackbone, NoHeadError, bad_images_text
from ..backbones._images import BadImageError, check_images
from ..backbones._prepared import Geometry, PreparedImages, pixels_of
from ..backbones._store import FeatureStore, identify_images, stamp_files

# How far candidates that run at the same time can share images: in one process, with other
# processes of this machine, or with nobody.
_IN_PROCESS, _ON_MACHINE, _NOWHERE = range(3)

_COPY_LOCK = Lock()

# What is kept of a backbone beside its features and its unreadable images.
_FACTS = {"n_parameters": int, "license": str}

# What joblib raises for all candidates where one has killed its worker process, or cannot be
# sent to one.
_WORKER_ERRORS = (BrokenExecutor, pickle.PicklingError)


class Work:
    """What all candidates of one fit work on, and how."""

    def __init__(self, X, y, candidates, scorers, resampling, memory, on_bad_image):
        self.X = self.X_kept = X
        self.y = self.y_kept = y
        self.scorers = scorers
        self.resampling = resampling
        self.responses = {response_of(scorer) for scorer in scorers.all}
        self.memory = memory
        self.on_bad_image = on_bad_image
        self.images = self.store = self.images_identity = None
        self.stamps = stamp_files(X)
        backbones = [model for _, model in candidates if isinstance(model, BaseBackbone)]
        if not backbones:
            return
        try:
            self.images = check_images(X)
        except (TypeError, ValueError):
            # Candidates of other kinds may know what to do with it.
            if len(backbones) == len(candidates):
                raise
            return
        self.store = _store(memory)
        if self.store is not None:
            self.images_identity = identify_images(self.images, self.stamps)

    def prepare(self, candidates, group, geometry, sharing) -> PreparedImages | None:
        """Give images that a group of candidates shares, or None where they share none."""
        if geometry is None or self.images is None:
            return None
        budget = int(get_config()["working_memory"] * 2**20)
        backbones = [candidates[i][1] for i in group]
        prepared = PreparedImages(
            self.images,
            backbones[0].preparation(),
            num_workers=backbones[0].num_workers,
            on_bad_image=self.on_bad_image,
            budget=budget,
        )
        if sharing == _IN_PROCESS:
            return prepared
        # What lies in a file without a name cannot be found by other processes, and what
        # nobody needs is not decoded for them.
        if prepared.nbytes > budget or all(self.is_stored(model) for model in backbones):
            return None
        return prepared.complete()

    def outputs_of(self, model) -> tuple[str, ...]:
        """Return the outputs of a candidate that the scorers measure."""
        if not isinstance(model, BaseBackbone):
            return ("features",)
        return model.outputs_for(self.responses)

    def identity(self, model, output) -> dict[str, Any] | None:
        """Return what an output of a backbone is cached under, None if it is not."""
        identity = None if self.store is None else model.identity(output)
        return identity and {**identity, "images": self.images_identity}

    def is_stored(self, model) -> bool:
        """Whether all that scorers measure of a backbone is cached."""
        model = clone(model)
        try:
            identities = [self.identity(model, output) for output in self.outputs_of(model)]
        except Exception:
            # It fails again, and alone, when the candidate runs.
            return False
        finally:
            model.release()
        return all(identity and self.store.holds(identity) for identity in identities)

    def changed_files(self) -> list[str]:
        """Name the files that are no longer what they were when the fit began."""
        now = stamp_files(list(self.stamps))
        return [path for path, stamp in self.stamps.items() if now.get(path) != stamp]

    def own_data(self) -> tuple[Any, np.ndarray]:
        """Return a copy of the rows that count, which a candidate may write to."""
        # At a time: of an image that is still to be read, PIL reads the file here.
        with _COPY_LOCK:
            return copy.deepcopy((self.X_kept, self.y_kept))

    def without(self, bad) -> Self:
        """Leave out rows for the candidates that still come."""
        kept = readable_rows(bad, len(self.y))
        self.X_kept, self.y_kept = _safe_indexing(self.X, kept), self.y[kept]
        return self


def run_candidates(selector, candidates, work, contexts):
    """Run the candidates of a selector; return their records, and the work less its bad images.

    Those of one geometry run together, so that the images of one geometry are there at a
    time. Other candidates than backbones come last, when it is known which rows count.
    """
    takes_images = [isinstance(model, BaseBackbone) for _, model in candidates]
    prefer = "threads" if all(takes_images) else None
    backend, _ = get_active_backend(prefer=prefer)
    # As they come, so that it is known which are done when a worker process dies.
    return_as = "generator_unordered" if isinstance(backend, LokyBackend) else "list"
    parallel = Parallel(n_jobs=selector.n_jobs, prefer=prefer, return_as=return_as)
    n_jobs = backend.effective_n_jobs(parallel.n_jobs)
    sharing = _sharing(backend, n_jobs)
    if n_jobs > 1 and sharing != _NOWHERE:
        candidates = _spread_over_devices(candidates)
    if sharing != _IN_PROCESS:
        # It goes to other processes with each of the candidates, and the others need not.
        selector = copy.copy(selector)
        selector.models = []
    tally = _Tally(len(candidates)) if sharing == _IN_PROCESS else None
    records = [None] * len(candidates)

    def run(places, prepared=None):
        def start(places):
            tasks = (
                delayed(_numbered)(i, selector, *candidates[i], work, prepared, tally, contexts[i])
                for i in places
            )
            for i, record in parallel(tasks):
                records[i] = record

        def lost(i, exc):
            records[i] = _captured(selector.error_score, candidates[i][0], _raise_lost, exc)
            _tell(selector, records[i], np.nan, tally)

        _survive_dead_workers(start, places, records, lost)

    places = [i for i, takes in enumerate(takes_images) if takes]
    with _torch_threads(n_jobs if places and sharing == _IN_PROCESS else 1), parallel:
        for geometry, group in _by_geometry(candidates, places, n_jobs, sharing):
            prepared = work.prepare(candidates, group, geometry, sharing)
            try:
                run(group, prepared)
            finally:
                if prepared is not None:
                    prepared.close()
            # The memory is free before the next ones are prepared.
            del prepared
        bad = _agreed_bad(records, places, selector.error_score)
        if bad:
            work = work.without(bad)
            warnings.warn(
                f"{bad_images_text(bad, len(work.y))} They are left out for all candidates.",
                UserWarning,
                stacklevel=4,
            )
        run([i for i, takes in enumerate(takes_images) if not takes])
    _warn_of_changes(work.changed_files())
    return records, work


def _warn_of_changes(paths):
    if paths:
        warnings.warn(
            f"{len(paths)} file(s) changed while the candidates ran, so that these may have seen "
            f"different data: {', '.join(paths[:3])}{', ...' if len(paths) > 3 else ''}. "
            "Features made since are not kept. Fit again when the files stay as they are.",
            UserWarning,
            stacklevel=5,
        )


class _Tally:
    """How many candidates are done, and how long the others may take."""

    def __init__(self, total):
        self._total = total
        self._done = 0
        self._start = time.perf_counter()
        self._lock = Lock()

    def next(self) -> tuple[str, str]:
        """Count one more; return the count and the time that is left, as words."""
        with self._lock:
            self._done += 1
            left = self._total - self._done
            seconds = (time.perf_counter() - self._start) / self._done * left
        return f"{self._done} of {self._total}, ", f"; about {seconds:.0f} s left" if left else ""


def _survive_dead_workers(start, places, records, lost):
    """Run candidates at the same time, and one at a time those that a dead worker left."""
    try:
        start(places)
        return
    except _WORKER_ERRORS:
        left = [i for i in places if records[i] is None]
    for i in left:
        try:
            start([i])
        except _WORKER_ERRORS as exc:
            lost(i, exc)


def _raise_lost(exc):
    """Say of a candidate alone in its worker process why there is no result."""
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


def _numbered(i, *args):
    return i, _run_candidate(*args)


def _run_candidate(selector, name, model, work, prepared, tally, context):
    """Result of one candidate, from its network to its components."""
    context.call_on_fit_task_begin(estimator=selector, X=work.X, y=work.y)
    start = time.perf_counter()
    keep = selector.final_estimator is None
    result = _captured(
        selector.error_score, name, _extract_and_score, name, model, work, prepared, keep
    )
    _tell(selector, result, time.perf_counter() - start, tally)
    context.call_on_fit_task_end(estimator=selector, X=work.X, y=work.y)
    return result


def _tell(selector, result, seconds, tally):
    """Write the line of a candidate to the standard error stream, if it is wanted."""
    if not selector.verbose:
        return
    outcome = result.error or f"{result.n_features} features"
    took = "" if np.isnan(seconds) else f"{seconds:.1f} s"
    speed = result.facts.images_per_second
    at_speed = "" if np.isnan(speed) else f", {speed:.1f} images/s"
    count, left = ("", "") if tally is None else tally.next()
    say(f"[ModelSelector] {count}{printable(result.name)}: {outcome} ({took}{at_speed}{left})")


def _captured(error_score, name, function, *args) -> CandidateResult:
    """Result of a candidate; its failure is one, unless failures are to be raised."""
    if error_score == "raise":
        return function(*args)
    # An image that cannot be read concerns all candidates alike: no failure of one of them.
    return result_of(name, capture_errors(function, *args, reraise=(BadImageError,)))


def _extract_and_score(name, model, work, prepared, on_device):
    start = time.perf_counter()
    model = clone(model)
    outputs = work.outputs_of(model)
    try:
        extracted = extract(model, work, outputs, prepared, on_device)
    except NoHeadError as exc:
        if len(outputs) == 1 or response_of(work.scorers.ranking) == "probabilities":
            raise
        # Only additional scorers have no value then.
        extracted = extract(model, work, ("features",), prepared, on_device)
        extracted = replace(extracted, probabilities=str(exc))
    facts = replace(extracted.facts, extract_time=time.perf_counter() - start)
    features, y = extracted.features, extracted.labels
    n_rows = _num_samples(features)
    if n_rows != len(y):
        raise ValueError(
            f"the candidate gave {n_rows} rows of features for {len(y)} labels: all "
            "candidates must be scored on the same rows."
        )
    return score_candidate(
        name, features, y, work.scorers, work.resampling, extracted.probabilities, facts
    )


@dataclass(frozen=True)
class Extracted:
    """What a candidate gives for the rows that can be read.

    Attributes
    ----------
    model : estimator
        The candidate, fitted.

    features : array or tensor of shape (n_samples, n_features)
        Its features, or the one output that all scorers measure.

    labels : ndarray of shape (n_samples,)
        The labels of these rows.

    probabilities : array of shape (n_samples, n_source_classes) or str, default=None
        Source-class probabilities from the same pass, or why there are none. None if they were
        not asked for besides features.

    facts : ExtractionFacts
        What is known of the candidate besides.
    """

    model: Any
    features: Any
    labels: np.ndarray
    probabilities: Any = None
    facts: ExtractionFacts = field(default_factory=ExtractionFacts)


def extract(model, work, outputs=None, prepared=None, on_device=False) -> Extracted:
    """Return what a candidate gives for the rows that can be read, cached or extracted.

    Parameters
    ----------
    model : estimator
        The candidate, which is fitted.

    work : Work
        The rows.

    outputs : tuple of str, default=None
        What of a backbone is wanted. If None, what its `transform` gives.

    prepared : PreparedImages, default=None
        The images, where they are shared.

    on_device : bool, default=False
        Whether features may stay on a device.

    Returns
    -------
    extracted : Extracted
        Features and labels.
    """
    if not isinstance(model, BaseBackbone):
        # The stamps are part of the key under which features are cached.
        features, model = work.memory.cache(_fit_transform)(
            model, *work.own_data(), stamp_files(work.X_kept)
        )
        return Extracted(model, features, work.y_kept)
    arrays, facts = _image_features(model, work, outputs or (model.output,), prepared, on_device)
    y = work.y
    if facts.unreadable:
        rows = readable_rows(facts.unreadable, len(y))
        arrays, y = [array[rows] for array in arrays], y[rows]
        try:
            _check_left(y, work)
        except ValueError as exc:
            raise BadImageError(
                f"{bad_images_text(facts.unreadable, len(work.y))} Too few are left: {exc}"
            ) from exc
    return Extracted(model, arrays[0], y, arrays[1] if len(arrays) > 1 else None, facts)


def _check_left(y, work):
    """Check of the rows that are left what was checked of all when the fit began."""
    check_labels(y)
    resampling = work.resampling
    # Called only where it raises: what it warns of was said before.
    if resampling is not None and np.unique(y, return_counts=True)[1].min() < 2:
        check_resampling(resampling.n_resamples, resampling.seed, work.scorers.ranking, y)


def _fit_transform(model, X, y, stamps):
    if hasattr(model, "fit_transform"):
        return model.fit_transform(X, y), model
    return model.fit(X, y).transform(X), model


@dataclass(frozen=True)
class Entry:
    """One output of a backbone, as it is cached."""

    array: Any
    n_parameters: int
    license: str
    unreadable: dict[int, str]

    def facts(self, **times) -> ExtractionFacts:
        """Return what a result tells of it."""
        return ExtractionFacts(
            n_parameters=self.n_parameters,
            license=self.license,
            unreadable=self.unreadable,
            **times,
        )


def _image_features(model, work, outputs, prepared, on_device):
    """Return the outputs of a backbone for all images, from the cache if possible."""
    identities = {output: work.identity(model, output) for output in outputs}
    entries = {output: load_cached(identities[output], model, work) for output in outputs}
    missing = tuple(output for output in outputs if entries[output] is None)
    times = {}
    if missing:
        made, times = _run_network(model, work, missing, prepared, on_device)
        for output in missing:
            entries[output] = made[output]
            if work.store is not None:
                # Of downloaded weights the revision, a part of their identity, is known only now.
                identity = identities[output] or work.identity(model, output)
                save_cached(identity, entries[output], work)
    model.release()
    if model.output in entries:
        model.restore(entries[model.output].array.shape[1])
    return [entries[output].array for output in outputs], entries[outputs[0]].facts(**times)


def load_cached(identity, model, work):
    """Return a cached output, or None."""
    if identity is None:
        return None
    stored = work.store.load(identity, partial(_check_entry, n_images=len(work.images)))
    if stored is None:
        return None
    features, facts = stored
    places = sorted(map(int, facts["bad"]))
    unreadable = _still_unreadable(places, model, work) if places else {}
    if unreadable is None:
        return None
    return Entry(features, facts["n_parameters"], facts["license"], unreadable)


def _still_unreadable(places, model, work):
    """Try unreadable images again; return None as soon as one of them can be read.

    What was in the way, such as a limit or a permission, may have gone and left no trace.
    """
    preparation = model.preparation()
    unreadable = {}
    for place in places:
        try:
            pixels_of(work.images, place, preparation)
            return None
        except BadImageError as exc:
            if work.on_bad_image == "raise":
                raise
            unreadable[place] = str(exc)
    return unreadable


def _check_entry(features, facts, n_images):
    """Check that features and facts of the store are those of so many images."""
    if features.ndim != 2 or len(features) != n_images:
        raise ValueError(f"it holds features of shape {features.shape} for {n_images} images")
    for name, kind in {**_FACTS, "bad": dict}.items():
        if not isinstance(facts[name], kind):
            raise TypeError(f"{name} is {facts[name]!r}")
    bad = np.array([int(place) for place in facts["bad"]], dtype=int)
    if ((bad < 0) | (bad >= n_images)).any():
        raise ValueError(f"it has unreadable images at {bad.tolist()} of {n_images}")
    if not np.isfinite(features if not len(bad) else np.delete(features, bad, axis=0)).all():
        raise ValueError("it holds NaN or infinite features")


def save_cached(identity, entry, work):
    """Save an output of which it is known what made it, and that a later run can use."""
    if identity is None:
        warnings.warn(
            "the features of a candidate are not kept, as it is not known what made them: its "
            "weights have no revision, or its output for fixed images is random or an error.",
            UserWarning,
            stacklevel=2,
        )
        return
    facts = {
        "bad": entry.unreadable,
        "n_parameters": entry.n_parameters,
        "license": entry.license,
    }
    try:
        _check_entry(entry.array, facts, len(entry.array))
    except ValueError:
        # NaN: the candidate fails, and may do better the next time.
        return
    if not work.changed_files():
        work.store.save(identity, entry.array, facts)


def _run_network(model, work, outputs, prepared, on_device):
    """Return outputs of a backbone from one pass by name, and how long it took."""
    images = check_images(work.X) if work.images is None else work.images
    # Scores can be computed where the features are, if nobody else needs them.
    on_device = (
        on_device and work.store is None and is_ncti(work.scorers.ranking) and model.runs_on_cuda()
    )
    try:
        extraction = model.extract(
            images,
            outputs=outputs,
            on_bad_image=work.on_bad_image,
            on_device=on_device,
            prepared=prepared,
        )
    finally:
        # The next candidate needs the room on the device.
        model.release()
    entries = {
        output: Entry(
            array, extraction.n_parameters[output], extraction.license, extraction.unreadable
        )
        for output, array in extraction.arrays.items()
    }
    seconds = extraction.decode_time + extraction.device_time
    return entries, {
        "images_per_second": len(images) / seconds,
        "decode_time": extraction.decode_time,
        "device_time": extraction.device_time,
    }


def readable_rows(unreadable, n_rows) -> np.ndarray:
    """Return the positions of all rows but those of unreadable images."""
    return np.setdiff1d(np.arange(n_rows), list(unreadable))


def _agreed_bad(results, places, error_score) -> dict[int, str]:
    """Bad images of all candidates; one that found others was scored on other rows."""
    agreed = None
    for i in places:
        if results[i].failure is not None:
            continue
        bad = results[i].facts.unreadable
        if agreed is None:
            agreed = bad
        elif set(bad) != set(agreed):
            differ = sorted(set(bad) ^ set(agreed))
            results[i] = _captured(error_score, results[i].name, _raise_unequal, differ)
    return agreed or {}


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


def _by_geometry(candidates, places, n_jobs, sharing):
    """Group backbones by the geometry of their images; None where one shares with nobody."""
    if sharing == _NOWHERE:
        return [(None, places)]
    groups: dict[Geometry | None, list[int]] = {}
    for i in places:
        groups.setdefault(candidates[i][1].geometry(), []).append(i)
    found = [(geometry if len(group) > 1 else None, group) for geometry, group in groups.items()]
    if n_jobs > 1:
        # Those that share with nobody can as well run at the same time.
        alone = [i for geometry, group in found if geometry is None for i in group]
        found = [item for item in found if item[0] is not None] + [(None, alone)]
    return found


def _spread_over_devices(candidates):
    """Give the backbones that leave it open a CUDA device each, in turns."""
    candidates = list(candidates)
    leave_open = [
        i
        for i, (_, model) in enumerate(candidates)
        if isinstance(model, BaseBackbone) and str(model.device) in ("auto", "cuda")
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


def _store(memory) -> FeatureStore | None:
    """Folder of features beside those that joblib keeps for other candidates."""
    if not hasattr(memory, "location"):
        raise TypeError(
            "memory must be a folder or a joblib.Memory for the features of images, which "
            f"are kept in files of their own; got {memory!r}."
        )
    return None if memory.location is None else FeatureStore(Path(memory.location, "features"))
