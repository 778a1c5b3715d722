"""`FitContext`: data and settings that all candidates of one fit share."""

import copy
import math
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any

import joblib
import numpy as np
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_memory

from .._scoring.bootstrap import Resampling
from .._scoring.candidate import CandidateResult
from .._scoring.scorers import Scorers, is_ncti, response_of
from .._utils.stacklevel import find_stack_level
from ..backbones._backbone import Backbone
from ..backbones._identity import identify_images, identify_texts, stamp_files
from ..backbones._sources import ImageSource, is_torch_dataset
from ..backbones._store import FeatureStore
from ..backbones._texts import Texts, warn_of_empty
from .progress import FitProgress

_COPY_LOCK = Lock()


@dataclass(frozen=True)
class FitContext:
    """Data and settings that all candidates of one fit share.

    Attributes
    ----------
    X : array-like or sequence of length n_samples
        The rows, as the user gave them.

    y : ndarray of shape (n_samples,)
        Class of each row.

    scorers : Scorers
        The ranking scorer and the additional ones.

    resampling : Resampling, default=None
        Bootstrap of the rows; None disables it.

    memory : joblib.Memory, default=None
        Cache of candidates that are no backbones. None for one that caches nothing.

    on_bad_image : {"raise", "skip"}, default="raise"
        How to handle unreadable images.

    error_score : "raise" or float, default=nan
        Whether a failing candidate raises.

    progress : FitProgress, default=None
        What shows how far the fit has come. None for one that shows nothing.

    only_scored : bool, default=True
        Whether features are needed for scores alone, and not for a final estimator.

    needs_weighted_alpha : bool, default=False
        Whether the weights of networks are measured, for a prior.

    images : ndarray, list or ImageSource, default=None
        The rows as images, None if no candidate takes images.

    texts : Texts, default=None
        The rows as texts, None if no candidate takes texts.

    stamps : dict of str to list of int
        Size and time of change of the files among the rows when the fit began.

    store : FeatureStore, default=None
        Cache of what backbones compute, None without one.

    images_identity, texts_identity : str, default=None
        What stands for the images, or the texts, in the keys of that cache.

    unreadable : dict of int to str
        Positions of unreadable images, which are left out, and why.

    kept_in : str, default=None
        Folder for features to which those of more rows will be added; None keeps none.

    deadline : float, default=inf
        Time, as `time.time` gives it, after which no candidate but the first is started.

    measure : callable, default=None
        Function with the parameters of `score_candidate` that returns the result of a candidate
        in its place.
    """

    X: Any
    y: np.ndarray
    scorers: Scorers
    resampling: Resampling | None = None
    memory: joblib.Memory = field(default_factory=lambda: joblib.Memory(None, verbose=0))
    on_bad_image: str = "raise"
    error_score: str | float = np.nan
    progress: FitProgress = field(default_factory=FitProgress)
    only_scored: bool = True
    needs_weighted_alpha: bool = False
    images: np.ndarray | list | ImageSource | None = None
    texts: Texts | None = None
    stamps: Mapping[str, list[int]] = field(default_factory=dict)
    store: FeatureStore | None = None
    images_identity: str | None = None
    texts_identity: str | None = None
    unreadable: Mapping[int, str] = field(default_factory=dict)
    kept_in: str | None = None
    deadline: float = math.inf
    measure: Callable[..., CandidateResult] | None = None

    @property
    def responses(self) -> set[str]:
        """What the scorers measure: "features", "probabilities" or both."""
        return {response_of(scorer) for scorer in self.scorers.all}

    @property
    def rows(self) -> np.ndarray:
        """Positions of the rows that are scored."""
        return readable_rows(self.unreadable, len(self.y))

    @property
    def readable_X(self) -> Any:
        """The rows that are scored."""
        return rows_of(self.X, self.rows) if self.unreadable else self.X

    @property
    def readable_y(self) -> np.ndarray:
        """Labels of the rows that are scored."""
        return self.y[self.rows] if self.unreadable else self.y

    @property
    def can_stay_on_device(self) -> bool:
        """Whether features may stay where they were computed: nothing else needs them."""
        alone = self.only_scored and self.store is None and self.kept_in is None
        return alone and is_ncti(self.scorers.ranking)

    def has_rows_for(self, model: Backbone) -> bool:
        """Whether the rows are what a backbone takes."""
        return (self.images if model.takes == "images" else self.texts) is not None

    def rows_for(self, model: Backbone) -> Any:
        """Return the rows as what a backbone takes, which may be unchecked yet."""
        rows = self.images if model.takes == "images" else self.texts
        return model.check_rows(self.X) if rows is None else rows

    def rows_identity(self, model: Backbone) -> dict[str, str | None]:
        """Return what stands for the rows of a backbone in the keys of the cache."""
        known = {"images": self.images_identity, "texts": self.texts_identity}
        return {model.takes: known[model.takes]}

    def own_data(self) -> tuple[Any, np.ndarray]:
        """Return a copy of the rows that are scored, which a candidate may write to."""
        # One at a time: PIL reads the file of an image that was not loaded yet here.
        with _COPY_LOCK:
            return copy.deepcopy((self.readable_X, self.readable_y))

    def changed_files(self) -> list[str]:
        """Return the files that have changed since the fit began."""
        now = stamp_files(list(self.stamps))
        return [path for path, stamp in self.stamps.items() if now.get(path) != stamp]


def with_images(context: FitContext, models: list[Any]) -> FitContext:
    """Return the context with all that the backbones among the models need.

    Raises
    ------
    TypeError or ValueError
        If all models are backbones and the rows are no images, or the memory has no folder.
    """
    if not any(isinstance(model, Backbone) for model in models):
        return replace(context, stamps=stamp_files(context.X))
    checked = checked_rows(context.X, models)
    images, texts = checked.get("images"), checked.get("texts")
    if isinstance(images, ImageSource) or (images is not None and is_torch_dataset(context.X)):
        # Other candidates get the images as well, without the labels.
        context = replace(context, X=images)
    stamps = stamp_files(context.X if images is None else images)
    context = replace(context, images=images, texts=texts, stamps=stamps)
    if texts is not None:
        warn_of_empty(texts)
    store = _store_in(context.memory) if checked else None
    if store is None:
        return context
    return replace(
        context,
        store=store,
        images_identity=None if images is None else identify_images(images, stamps),
        texts_identity=None if texts is None else identify_texts(texts),
    )


def checked_rows(X: Any, models: list[Any]) -> dict[str, Any]:
    """Return rows as each kind of backbone among the models takes them, by kind.

    Raises
    ------
    TypeError or ValueError
        If all models are backbones of one kind, and the rows are of another.
    """
    backbones = {model.takes: model for model in models if isinstance(model, Backbone)}
    checked: dict[str, Any] = {}
    for kind, backbone in backbones.items():
        try:
            checked[kind] = backbone.check_rows(X)
        except (TypeError, ValueError):
            # Candidates of other kinds may know what to do with it.
            if len(backbones) == 1 and all(isinstance(model, Backbone) for model in models):
                raise
    return checked


def rows_of(X: Any, rows: np.ndarray) -> Any:
    """Return some rows of anything that holds rows."""
    if isinstance(X, ImageSource):
        return X.take(rows)
    has_items = hasattr(X, "__getitem__") or hasattr(X, "iloc")
    return _safe_indexing(X if has_items else np.asarray(X), rows)


def readable_rows(unreadable: Mapping[int, str], n_rows: int) -> np.ndarray:
    """Return the positions of all rows but those of unreadable images."""
    return np.setdiff1d(np.arange(n_rows), list(unreadable))


def open_memory(memory: Any) -> Any:
    """Return the joblib.Memory for a folder; one that caches nothing if the folder is closed."""
    # scikit-learn takes no path for a folder, only its name.
    if isinstance(memory, os.PathLike):
        memory = os.fspath(memory)
    try:
        return check_memory(memory)
    except PermissionError as exc:
        warnings.warn(
            f"memory={memory!r} is closed to joblib ({exc}): candidates that are no backbones run "
            "without it.",
            UserWarning,
            stacklevel=find_stack_level(),
        )
        nothing = joblib.Memory(None, verbose=0)
        # Where cached features of backbones may be read all the same.
        nothing.location = memory
        return nothing


def _store_in(memory: Any) -> FeatureStore | None:
    """Return the cache for backbones, in a folder next to those of joblib."""
    if not hasattr(memory, "location"):
        raise TypeError(
            "memory must be a folder or a joblib.Memory for the features of images, which "
            f"are kept in files of their own; got {memory!r}."
        )
    return None if memory.location is None else FeatureStore(Path(memory.location, "features"))
