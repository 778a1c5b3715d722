"""The features of one candidate, cached or extracted."""

import os
import uuid
import warnings
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import clone

from .._scoring.bootstrap import check_resampling
from .._scoring.candidate import ExtractionFacts
from .._scoring.scorers import response_of
from .._utils.arrays import to_host
from .._utils.stacklevel import find_stack_level
from ..backbones._base import BaseBackbone, NoHeadError, bad_images_text
from ..backbones._identity import stamp_files
from ..backbones._images import BadImageError
from ..backbones._preparation import pixels_of
from ..backbones._prepared import PreparedImages
from ..backbones._sources import as_images
from .context import FitContext, readable_rows

# Facts of an entry of the cache that a result tells, and their types.
_FACTS = {"n_parameters": int, "license": str}


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
        Source-class probabilities from the same pass, or a message saying why they are
        unavailable. None if all scorers measure `features`.

    facts : ExtractionFacts
        Facts about the extraction.
    """

    model: Any
    features: Any
    labels: np.ndarray
    probabilities: Any = None
    facts: ExtractionFacts = field(default_factory=ExtractionFacts)

    def followed_by(self, new: "Extracted") -> "Extracted":
        """Return the features of these rows and then those of others, with times added."""
        before, after = self.facts, new.facts
        probabilities = new.probabilities
        if not (probabilities is None or isinstance(probabilities, str)):
            probabilities = np.concatenate([self.probabilities, to_host(probabilities)])
        return replace(
            new,
            features=np.concatenate([self.features, to_host(new.features)]),
            labels=np.concatenate([self.labels, new.labels]),
            probabilities=probabilities,
            facts=replace(
                after,
                extract_time=before.extract_time + after.extract_time,
                decode_time=np.nansum([before.decode_time, after.decode_time]),
                device_time=np.nansum([before.device_time, after.device_time]),
                # Measured with the first rows.
                weighted_alpha=before.weighted_alpha,
            ),
        )

    def kept_in(self, folder: str) -> "Extracted":
        """Return the same with features in a file of a folder, if it is on this machine."""
        if not os.path.isdir(folder):
            return replace(self, features=to_host(self.features))
        path = os.path.join(folder, f"{uuid.uuid4().hex}.npy")
        np.save(path, to_host(self.features))
        return replace(self, features=np.load(path, mmap_mode="r"))


@dataclass(frozen=True)
class _Output:
    """One output of a backbone for all images, cached or computed."""

    array: Any
    facts: ExtractionFacts


def extract_for_scorers(
    model: Any, context: FitContext, prepared: PreparedImages | None = None
) -> Extracted:
    """Return what the scorers measure of a candidate.

    A missing classification head is an error only if the ranking scorer needs it.

    Parameters
    ----------
    model : estimator
        The candidate, which is cloned.

    context : FitContext
        The rows and scorers.

    prepared : PreparedImages, default=None
        The images, if they are shared.

    Returns
    -------
    extracted : Extracted
        Features, probabilities and labels.
    """
    model = clone(model)
    outputs = _outputs_for(model, context)
    try:
        return extract(model, context, outputs, prepared)
    except NoHeadError as exc:
        if len(outputs) == 1 or response_of(context.scorers.ranking) == "probabilities":
            raise
        extracted = extract(model, context, ("features",), prepared)
        return replace(extracted, probabilities=str(exc))


def extract(
    model: Any,
    context: FitContext,
    outputs: tuple[str, ...] | None = None,
    prepared: PreparedImages | None = None,
) -> Extracted:
    """Fit a candidate and return what it gives for the rows that can be read.

    Parameters
    ----------
    model : estimator
        The candidate.

    context : FitContext
        The rows.

    outputs : tuple of str, default=None
        Outputs of a backbone: one, or features and probabilities. If None, that of its
        `transform`.

    prepared : PreparedImages, default=None
        The images, if they are shared.

    Returns
    -------
    extracted : Extracted
        Features and labels.
    """
    if not isinstance(model, BaseBackbone):
        # The stamps are part of the key under which features are cached.
        features, model = context.memory.cache(_fit_transform)(
            model, *context.own_data(), stamp_files(context.readable_X)
        )
        return Extracted(model, features, context.readable_y)
    first, *others = _outputs_of_images(model, context, outputs or (model.output,), prepared)
    arrays, y = [output.array for output in (first, *others)], context.y
    if first.facts.unreadable:
        rows = readable_rows(first.facts.unreadable, len(y))
        arrays, y = [array[rows] for array in arrays], y[rows]
        _check_left(y, first.facts.unreadable, context)
    return Extracted(model, arrays[0], y, arrays[1] if others else None, first.facts)


def is_cached(model: Any, context: FitContext) -> bool:
    """Whether all that the scorers measure of a backbone is cached."""
    if context.store is None:
        return False
    model = clone(model)
    try:
        identities = [_identity(model, out, context) for out in _outputs_for(model, context)]
    except Exception:
        # It fails again, and alone, when the candidate runs.
        return False
    finally:
        model.release()
    return all(identity and context.store.holds(identity) for identity in identities)


def _outputs_for(model, context) -> tuple[str, ...]:
    is_backbone = isinstance(model, BaseBackbone)
    return model.outputs_for(context.responses) if is_backbone else ("features",)


def _identity(model, output, context) -> dict[str, Any] | None:
    """Return what an output of a backbone is cached under, None if it is not cached."""
    identity = None if context.store is None else model.identity(output)
    return identity and {**identity, "images": context.images_identity}


def _check_left(y, unreadable, context) -> None:
    """Check of the readable rows what was checked of all when the fit began."""
    resampling = context.resampling
    try:
        context.scorers.check_labels(y)
        # Called only where it raises: what it warns of was said before.
        if resampling is not None and np.unique(y, return_counts=True)[1].min() < 2:
            ranking = context.scorers.ranking
            check_resampling(resampling.n_resamples, resampling.seed, ranking, y)
    except ValueError as exc:
        raise BadImageError(
            f"{bad_images_text(unreadable, len(context.y))} Too few are left: {exc}"
        ) from exc


def _fit_transform(model, X, y, stamps):
    if hasattr(model, "fit_transform"):
        return model.fit_transform(X, y), model
    return model.fit(X, y).transform(X), model


def _outputs_of_images(model, context, outputs, prepared) -> list[_Output]:
    """Return outputs of a backbone for all images, from the cache if possible.

    The first of them has the times of the network, if it ran.
    """
    identities = {output: _identity(model, output, context) for output in outputs}
    cached = {output: load_cached(identities[output], model, context) for output in outputs}
    found = {name: output for name, output in cached.items() if output is not None}
    missing = tuple(output for output in outputs if output not in found)
    try:
        if missing:
            made = _run_network(model, context, missing, prepared)
            for output in missing:
                if context.store is not None:
                    # Of downloaded weights the revision, a part of their identity, is known only
                    # now.
                    identities[output] = identities[output] or _identity(model, output, context)
                    save_cached(identities[output], made[output], context)
            found |= made
            found[outputs[0]] = _with_times(found[outputs[0]], made[missing[0]])
        if context.needs_weighted_alpha:
            alpha = _weighted_alpha(model, identities[outputs[0]], context)
            facts = replace(found[outputs[0]].facts, weighted_alpha=alpha)
            found[outputs[0]] = replace(found[outputs[0]], facts=facts)
    finally:
        # The next candidate needs the room on the device.
        model.release()
    if model.output in found:
        model.restore(found[model.output].array.shape[1])
    return [found[output] for output in outputs]


def _with_times(output, made) -> _Output:
    facts = replace(
        output.facts,
        images_per_second=made.facts.images_per_second,
        decode_time=made.facts.decode_time,
        device_time=made.facts.device_time,
    )
    return replace(output, facts=facts)


def _weighted_alpha(model, identity, context) -> float:
    """Return the weighted alpha of a network, from the cache if possible.

    It is cached without the images, on which it does not depend. `identity` is that of an output.
    """
    if identity is None:
        return model.weighted_alpha()
    own = {"weights": identity["weights"], "output": "weighted alpha"}
    stored = context.store.load(own, _check_weighted_alpha)
    if stored is not None:
        return stored[1]["weighted_alpha"]
    alpha = model.weighted_alpha()
    context.store.save(own, np.empty((0, 0), dtype=np.float32), {"weighted_alpha": alpha})
    return alpha


def _check_weighted_alpha(_, facts) -> None:
    if not isinstance(facts["weighted_alpha"], float):
        raise TypeError(f"weighted_alpha is {facts['weighted_alpha']!r}")


def load_cached(identity, model, context) -> _Output | None:
    """Return a cached output, or None."""
    if identity is None:
        return None
    check = partial(_check_entry, n_images=len(context.images))
    stored = context.store.load(identity, check)
    if stored is None:
        return None
    array, facts = stored
    unreadable = _still_unreadable(sorted(map(int, facts["bad"])), model, context)
    if unreadable is None:
        return None
    known = {name: facts[name] for name in _FACTS}
    return _Output(array, ExtractionFacts(**known, unreadable=unreadable))


def _still_unreadable(places, model, context) -> dict[int, str] | None:
    """Try unreadable images again; return None as soon as one of them can be read.

    What was in the way, such as a limit or a permission, may have gone and left no trace.
    """
    if not places:
        return {}
    preparation = model.preparation()
    unreadable = {}
    for place in places:
        try:
            pixels_of(context.images, place, preparation)
            return None
        except BadImageError as exc:
            if context.on_bad_image == "raise":
                raise
            unreadable[place] = str(exc)
    return unreadable


def _check_entry(array, facts, n_images) -> None:
    """Check that an array and facts of the cache are those of so many images."""
    if array.ndim != 2 or len(array) != n_images:
        raise ValueError(f"it holds features of shape {array.shape} for {n_images} images")
    for name, kind in {**_FACTS, "bad": dict}.items():
        if not isinstance(facts[name], kind):
            raise TypeError(f"{name} is {facts[name]!r}")
    unreadable = np.array([int(place) for place in facts["bad"]], dtype=int)
    if ((unreadable < 0) | (unreadable >= n_images)).any():
        raise ValueError(f"it has unreadable images at {unreadable.tolist()} of {n_images}")
    readable = np.delete(array, unreadable, axis=0) if len(unreadable) else array
    if not np.isfinite(readable).all():
        raise ValueError("it holds NaN or infinite features")


def save_cached(identity, output, context) -> None:
    """Save an output of which it is known what made it, and that a later run can use."""
    if identity is None:
        warnings.warn(
            "the features of a candidate are not kept, as it is not known what made them: its "
            "weights have no revision, or its output for fixed images is random or an error.",
            UserWarning,
            stacklevel=find_stack_level(),
        )
        return
    facts = {name: getattr(output.facts, name) for name in _FACTS}
    # The name under which entries have always held unreadable images.
    facts["bad"] = output.facts.unreadable
    try:
        _check_entry(output.array, facts, len(output.array))
    except ValueError:
        # NaN: the candidate fails, and may do better the next time.
        return
    if not context.changed_files():
        context.store.save(identity, output.array, facts)


def _run_network(model, context, outputs, prepared) -> dict[str, _Output]:
    """Return outputs of a backbone by name, computed in one pass."""
    images = as_images(context.X) if context.images is None else context.images
    extraction = model.extract(
        images,
        outputs=outputs,
        on_bad_image=context.on_bad_image,
        on_device=context.can_stay_on_device and model.runs_on_cuda(),
        prepared=prepared,
    )
    seconds = extraction.decode_time + extraction.device_time
    facts = ExtractionFacts(
        images_per_second=len(images) / seconds,
        decode_time=extraction.decode_time,
        device_time=extraction.device_time,
        license=extraction.license,
        unreadable=extraction.unreadable,
    )
    return {
        output: _Output(array, replace(facts, n_parameters=extraction.n_parameters[output]))
        for output, array in extraction.arrays.items()
    }
