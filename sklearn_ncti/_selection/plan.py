"""What a run would download and cost, known before anything is downloaded."""

import math
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import _num_samples

from .._utils.optional import import_optional
from .._utils.terminal import printable
from ..backbones import TextBackbone, TimmBackbone
from ..backbones._base import BaseBackbone
from ..backbones._hub import cached_models, hub_folder
from ..backbones._images import BadImageError, check_images, read_image
from ..backbones._names import is_wildcard
from ..backbones._prepared import default_workers
from ..backbones._text_folder import is_at_hand
from ..backbones._work import work_of
from ..datasets import load_catalogue
from ..datasets._filters import Filters, license_kind, match_names

# Weights are published in float32.
BYTES_OF_WEIGHT = 4

# Seconds to build a network and to read its weights from disk: those of a core of a server of
# 2024 (benchmarks/plan.py). They are of weight only where images are few.
_LOAD_SECONDS = 0.2
_LOAD_SECONDS_OF_WEIGHT = 15e-9

# Images that are read to learn how long one takes.
_READ = 8

# Lines of candidates in the text of a plan.
_SHOWN = 10


@dataclass(frozen=True)
class CandidateFacts:
    """What is known of a candidate before it runs; NaN and "" for what is not.

    Attributes
    ----------
    name : str
        Name of the candidate.

    input_size : int
        Height and width of its images in pixels, 0 if it is unknown.

    n_parameters : float
        Number of parameters.

    work : float
        Work for one image, as `seconds_per_work` measures it.

    license : str
        License of the weights.

    downloads : bool
        Whether its weights must be downloaded.

    takes_images : bool
        Whether it is a network of images; nothing is predicted for others.
    """

    name: str
    input_size: int = 0
    n_parameters: float = math.nan
    work: float = math.nan
    license: str = ""
    downloads: bool = False
    takes_images: bool = True

    @property
    def download_bytes(self) -> float:
        """Estimated size of the download; NaN if it is unknown."""
        return BYTES_OF_WEIGHT * self.n_parameters if self.downloads else 0.0

    def seconds(self, n_images: int, speed: "Speed") -> float:
        """Return the estimated seconds of the network for some images; NaN if unknown."""
        load = _LOAD_SECONDS + _LOAD_SECONDS_OF_WEIGHT * self.n_parameters
        return load + n_images * self.work * speed.per_work


@dataclass(frozen=True)
class Speed:
    """How fast this machine is.

    Attributes
    ----------
    per_work : float
        Seconds for a unit of work of a network.

    per_read : float
        Seconds to read an image from its file.
    """

    per_work: float
    per_read: float = 0.0


@dataclass(frozen=True)
class Plan:
    """What a run would download and cost.

    :meth:`ModelSelector.plan <sklearn_ncti.ModelSelector.plan>` returns one. Printed, it is a
    short text. Sizes and times are estimates.

    Attributes
    ----------
    candidates : tuple of CandidateFacts
        What is known of each candidate.

    n_images : int
        Number of images, or of other rows.

    speed : Speed
        How fast this machine was in the calibration.

    factor : float
        How many times as long as the calibration says candidates take, see `refined`.

    known : dict of str to float
        Measured seconds of candidates that are done.

    free_bytes : float
        Free space on the disk of the hub's cache; NaN if it is unknown.
    """

    candidates: tuple[CandidateFacts, ...]
    n_images: int
    speed: Speed
    factor: float = 1.0
    known: Mapping[str, float] | None = None
    free_bytes: float = math.nan

    @property
    def download_bytes(self) -> float:
        """Estimated size of all downloads whose size is known."""
        return download_bytes(self.candidates)

    @property
    def n_groups(self) -> int:
        """Number of sizes of input images: each image is resized once for each or more often."""
        return len({c.input_size for c in self.candidates if c.takes_images and c.input_size})

    @property
    def candidate_seconds(self) -> dict[str, float]:
        """Estimated seconds of each candidate, or measured ones; NaN if unknown."""
        known = self.known or {}
        return {
            c.name: known.get(c.name, self.factor * c.seconds(self.n_images, self.speed))
            for c in self.candidates
        }

    @property
    def seconds(self) -> float:
        """Estimated seconds of all candidates that can be predicted, without the downloads."""
        networks = np.nansum(list(self.candidate_seconds.values()))
        return float(networks + self.n_groups * self.n_images * self.speed.per_read)

    @property
    def memory_bytes(self) -> float:
        """Memory for the weights of the largest network."""
        largest = max((c.n_parameters for c in self.candidates if c.n_parameters > 0), default=0)
        return float(BYTES_OF_WEIGHT * largest)

    @property
    def licenses(self) -> dict[str, int]:
        """Number of networks by kind of license: permissive, conditions, unknown."""
        counts = Counter(license_kind(c.license) for c in self.candidates if c.takes_images)
        return {kind: counts[kind] for kind in ("permissive", "conditions", "unknown")}

    def refined(self, times: Mapping[str, float]) -> "Plan":
        """Return the plan with what candidates took that are done.

        The others are expected to be as much slower, or faster, than estimated as these were.

        Parameters
        ----------
        times : mapping of str to float
            Measured seconds by name of candidate. Names of no candidate are ignored.

        Returns
        -------
        plan : Plan
            The refined plan.
        """
        known = {**(self.known or {}), **times}
        pairs = [
            (known[c.name], c.seconds(self.n_images, self.speed))
            for c in self.candidates
            if c.name in known
        ]
        pairs = [(took, expected) for took, expected in pairs if np.isfinite(took + expected)]
        if not pairs:
            return self
        took, expected = map(sum, zip(*pairs, strict=True))
        return replace(self, factor=took / expected, known=known)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain values, None for what is unknown.

        Returns
        -------
        plan : dict
            The totals, and a list of dicts of the candidates.
        """
        seconds = self.candidate_seconds
        candidates = [
            {
                **{key: value for key, value in asdict(c).items() if key != "work"},
                "download_bytes": c.download_bytes,
                "seconds": seconds[c.name],
            }
            for c in self.candidates
        ]
        totals = {
            "n_candidates": len(self.candidates),
            "n_images": self.n_images,
            "n_input_sizes": self.n_groups,
            "n_downloads": sum(c.downloads for c in self.candidates),
            "download_bytes": self.download_bytes,
            "free_bytes": self.free_bytes,
            "memory_bytes": self.memory_bytes,
            "seconds": self.seconds,
            "n_without_estimate": self._n_without_estimate,
            "licenses": self.licenses,
        }
        plain = [{key: _plain(value) for key, value in row.items()} for row in candidates]
        return {**{key: _plain(v) for key, v in totals.items()}, "candidates": plain}

    @property
    def _n_without_estimate(self) -> int:
        return int(np.isnan(list(self.candidate_seconds.values())).sum())

    def __str__(self) -> str:
        return "\n".join([*self._lines(), *self._slowest()])

    def __repr__(self) -> str:
        return str(self)

    def _lines(self) -> list[str]:
        unsized = sum(np.isnan(c.download_bytes) for c in self.candidates)
        n_downloads = sum(c.downloads for c in self.candidates) - unsized
        free = "" if np.isnan(self.free_bytes) else f"; {_size(self.free_bytes)} free on that disk"
        licenses = ", ".join(f"{count} {kind}" for kind, count in self.licenses.items() if count)
        without = self._n_without_estimate
        time = f"about {_duration(self.seconds)} on this machine, one model at a time, without "
        time += "the download" + (f"; {without} cannot be predicted" if without else "")
        if without == len(self.candidates):
            time = "unknown: no candidate can be predicted"
        with_images = any(c.takes_images for c in self.candidates)
        rows = f"images, {self.n_groups} input size(s)" if with_images else "rows"
        lines = [
            f"candidates   {len(self.candidates)} on {self.n_images} {rows}",
            f"download     about {_size(self.download_bytes)} for {n_downloads} of them "
            f"(estimate: parameters x 4 bytes){free}"
            + (f"; {unsized} more of unknown size" if unsized else ""),
            f"time         {time}",
        ]
        if with_images:
            lines += [
                f"memory       {_size(self.memory_bytes)} for the weights of the largest network",
                f"licenses     {licenses or 'none'}",
            ]
        if self.download_bytes > self.free_bytes:
            lines.append("warning      the download is larger than the free space")
        return lines

    def _slowest(self) -> list[str]:
        seconds = self.candidate_seconds
        order = sorted(
            (c for c in self.candidates if np.isfinite(seconds[c.name])),
            key=lambda c: -seconds[c.name],
        )[:_SHOWN]
        if not order:
            return []
        names = [printable(c.name) for c in order]
        width = max(map(len, [*names, "slowest candidates"]))
        head = f"{'slowest candidates':{width}}  {'time':>9}  {'download':>9}  license"
        rows = [
            f"{name:{width}}  {_duration(seconds[c.name]):>9}  {_size(c.download_bytes):>9}  "
            f"{printable(c.license) or 'unknown'}"
            for name, c in zip(names, order, strict=True)
        ]
        return ["", head, *rows]


def download_bytes(facts: Sequence[CandidateFacts]) -> float:
    """Return the estimated size of all downloads whose size is known."""
    return float(np.nansum([0.0, *(c.download_bytes for c in facts)]))


def make_plan(
    facts: Sequence[CandidateFacts],
    X: Any,
    *,
    device: Any = "auto",
    precision: str = "auto",
    are_images: bool = True,
) -> Plan:
    """Return the plan of candidates on some rows.

    Where there are networks of images, a small one is run to calibrate it.

    Parameters
    ----------
    facts : sequence of CandidateFacts
        The candidates.

    X : array-like or sequence of length n_samples
        The rows.

    device, precision : str
        Where the networks run, and in which precision.

    are_images : bool, default=True
        Whether the rows are images, where there are networks of images. Nothing is predicted
        for these otherwise: they fail when they run.

    Returns
    -------
    plan : Plan
        The plan.
    """
    with_images = are_images and any(c.takes_images for c in facts)
    return Plan(
        candidates=tuple(facts),
        n_images=_num_samples(X),
        speed=measure_speed(X, device, precision) if with_images else Speed(math.nan),
        free_bytes=_free_bytes(),
    )


def measure_speed(X: Any, device: Any = "auto", precision: str = "auto") -> Speed:
    """Run a small network and read a few images; return how fast this machine is."""
    import_optional("torch", extra="timm")
    # Its file needs torch to be read.
    from ..backbones._speed import seconds_per_work

    return Speed(seconds_per_work(device, precision), _seconds_per_read(X))


def facts_of_candidates(candidates: Sequence[tuple[str, Any]]) -> list[CandidateFacts]:
    """Return what is known of each candidate, without downloading anything.

    Parameters
    ----------
    candidates : sequence of (str, transformer)
        Names and transformers.

    Returns
    -------
    facts : list of CandidateFacts
        Facts of the catalogue for the models that it has. Other networks that need no download
        are built, and run on a blank image.
    """
    cached = cached_models()
    return [_facts_of(name, model, cached) for name, model in candidates]


def facts_of_names(names: Sequence[str]) -> list[CandidateFacts]:
    """Return what is known of the models of the catalogue among some names."""
    cached = cached_models()
    return [_published(name, cached) for name in names if name in _places()]


def names_without_timm(patterns: Sequence[str]) -> list[str] | None:
    """Expand names and wildcards by the catalogue, if it is that of the installed timm.

    To import timm takes longer than all else that a plan needs.

    Parameters
    ----------
    patterns : sequence of str
        Names and wildcards.

    Returns
    -------
    names : list of str or None
        The names; None where the catalogue does not know them all, and timm must be asked.
    """
    if not _is_of_installed_timm() or len(set(patterns)) < len(patterns):
        return None
    catalogue = load_catalogue()["name"]
    names: list[str] = []
    for pattern in patterns:
        found = [pattern] if pattern in _places() else []
        if is_wildcard(pattern):
            found = catalogue[match_names(catalogue, pattern)].tolist()
        if not found:
            return None
        names += found
    return list(dict.fromkeys(names))


def filtered_names(names: Sequence[str], filters: Filters) -> list[str]:
    """Return the names that meet the filters; those that the catalogue lacks are all kept.

    Parameters
    ----------
    names : sequence of str
        Names of models.

    filters : Filters
        The conditions.

    Returns
    -------
    names : list of str
        Those that are left, in the same order.

    Raises
    ------
    TypeError or ValueError
        As `Filters.kept`: if a condition cannot be read, or no model of the catalogue is left.
    """
    places = {name: _places()[name] for name in names if name in _places()}
    if not filters or not places:
        return list(names)
    kept = set(filters.kept(load_catalogue(), np.array(list(places.values()))).tolist())
    return [name for name in names if places.get(name) is None or places[name] in kept]


def _facts_of(name, model, cached) -> CandidateFacts:
    if isinstance(model, TextBackbone):
        downloads = not is_at_hand(model.model, model.revision)
        return CandidateFacts(name, takes_images=False, downloads=downloads)
    if not isinstance(model, BaseBackbone):
        return CandidateFacts(name, takes_images=False)
    if isinstance(model, TimmBackbone):
        if model.model in _places():
            facts = _published(model.model, cached)
            return replace(facts, name=name, downloads=facts.downloads and model.pretrained)
        if not model.model.startswith("local-dir:") and model.pretrained:
            return CandidateFacts(name, downloads=True)
    model = clone(model)
    try:
        counted = model.count_work()
    except Exception:
        # It fails again, with its reason, when it runs.
        return CandidateFacts(name)
    finally:
        model.release()
    return CandidateFacts(
        name, counted.input_size, counted.n_parameters, counted.work, counted.license
    )


def _published(name, cached) -> CandidateFacts:
    """Return the facts of the catalogue for one of its names or architectures."""
    catalogue, place = load_catalogue(), _places()[name]
    return CandidateFacts(
        name,
        input_size=int(catalogue["input_size"][place]),
        n_parameters=float(catalogue["n_parameters"][place]),
        work=work_of(float(catalogue["gmacs"][place]), float(catalogue["activations"][place])),
        license=str(catalogue["license"][place]),
        downloads=str(catalogue["name"][place]) not in cached,
    )


@cache
def _places() -> dict[str, int]:
    """Return positions in the catalogue by name, and by architecture of the default weights."""
    catalogue = load_catalogue()
    default = np.flatnonzero(catalogue["is_default"])
    places = dict(zip(catalogue["architecture"][default].tolist(), default.tolist(), strict=True))
    return places | {name: i for i, name in enumerate(catalogue["name"].tolist())}


def _is_of_installed_timm() -> bool:
    try:
        return f"timm {version('timm')}." in load_catalogue().source
    except PackageNotFoundError:
        return False


def _seconds_per_read(X) -> float:
    """Return how long an image takes to be read from its file, by all threads together."""
    images = check_images(X)
    places = np.unique(np.linspace(0, len(images) - 1, _READ).astype(int))
    begin = time.perf_counter()
    for place in places:
        # An unreadable one is named when the candidates run.
        with suppress(BadImageError):
            read_image(images, int(place), "RGB").resize((224, 224))
    return (time.perf_counter() - begin) / len(places) / default_workers()


def _free_bytes() -> float:
    """Return the free space where downloads go; NaN if it is unknown."""
    folder = hub_folder()
    if folder is None:
        return math.nan
    try:
        return float(
            shutil.disk_usage(next(f for f in [folder, *folder.parents] if f.exists())).free
        )
    except OSError:
        return math.nan


def _size(n_bytes: float) -> str:
    if np.isnan(n_bytes):
        return "unknown"
    for unit in ("MB", "GB"):
        n_bytes /= 1000 if unit == "GB" else 1e6
        if n_bytes < 1000:
            break
    return f"{n_bytes:.1f} {unit}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
