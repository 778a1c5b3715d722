"""Priors that are looked up for the candidates of `ModelSelector`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._linalg.spectrum import MIN_SIDE
from .._ranking.prior import check_prior, refuse_absolute
from .._scoring.candidate import CandidateResult
from ..backbones import TimmBackbone
from ..backbones._backbone import Backbone
from ..datasets import load_catalogue

#: The prior from the weights of the networks, known when these were loaded.
WEIGHTS = "weights"


def imagenet_accuracies(candidates: Sequence[tuple[str, Any]]) -> dict[str, float]:
    """Return the published ImageNet accuracy of the candidates that have one.

    Parameters
    ----------
    candidates : sequence of (str, estimator)
        Names and transformers. The catalogue is searched for the model of a TimmBackbone with
        pre-trained weights; the name without a tag stands for its default weights.

    Returns
    -------
    accuracies : dict of str to float
        Top-1 accuracy in per cent by the name of the candidate.
    """
    models = {
        name: model.model
        for name, model in candidates
        if isinstance(model, TimmBackbone) and model.pretrained
    }
    if not models:
        return {}
    catalogue = load_catalogue()
    known = np.isfinite(catalogue["top1"])
    default = known & catalogue["is_default"]
    top1 = dict(zip(catalogue["architecture"][default], catalogue["top1"][default], strict=True))
    top1 |= dict(zip(catalogue["name"][known], catalogue["top1"][known], strict=True))
    return {name: float(top1[model]) for name, model in models.items() if model in top1}


def known_prior(
    prior: Any, candidates: Sequence[tuple[str, Any]], normalization: str
) -> dict[str, float] | None:
    """Return the numbers that are known before the candidates run.

    Parameters
    ----------
    prior : dict, list of dict, "imagenet", "weights", or None
        The parameter of `ModelSelector`.

    candidates : sequence of (str, estimator)
        Names and transformers.

    normalization : str
        Normalisation of the ranking.

    Returns
    -------
    known : dict of str to float, or None
        The prior by name, empty for "weights"; None without one.

    Raises
    ------
    TypeError or ValueError
        What `check_prior` raises; or if the catalogue has no accuracy of any candidate, or no
        candidate has a network.
    """
    names = [name for name, _ in candidates]
    if isinstance(prior, str) and prior == WEIGHTS:
        refuse_absolute(normalization)
        if not any(isinstance(model, Backbone) for _, model in candidates):
            raise ValueError(
                "prior='weights' needs candidates that are networks (TimmBackbone, "
                "TorchBackbone, TextBackbone, names of timm models), and none of "
                f"{names[:5]} is one. Use a dict of name to number."
            )
        return {}
    if isinstance(prior, str) and prior == "imagenet":
        prior = imagenet_accuracies(candidates)
        if not prior:
            raise ValueError(
                "prior='imagenet' needs candidates whose ImageNet accuracy is published, but the "
                f"catalogue has none of {names[:5]}. Use timm names with pre-trained weights, or "
                "a dict of name to number."
            )
    return check_prior(prior, names, normalization)


def weights_prior(results: Sequence[CandidateResult]) -> tuple[dict[str, float], list[str]]:
    """Return the prior from the weights of the networks, when all candidates have run.

    Parameters
    ----------
    results : sequence of CandidateResult
        One per candidate.

    Returns
    -------
    prior : dict of str to float
        Minus the weighted alpha, so that larger is better, of the candidates that have one.

    notes : list of str
        Why there is no number at all; empty if there are some.
    """
    alphas = {result.name: result.facts.weighted_alpha for result in results}
    prior = {name: -alpha for name, alpha in alphas.items() if np.isfinite(alpha)}
    scored = {result.name for result in results if result.failure is None}
    if scored & prior.keys():
        return prior, []
    return prior, [
        'prior="weights": no candidate that was scored has a weight matrix of at least '
        f"{MIN_SIDE} rows and columns"
    ]
