"""ImageNet accuracies of candidates, from the catalogue of timm's models, as a prior."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backbones import TimmBackbone
from ..datasets import load_catalogue


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
    catalogue = load_catalogue()
    known = np.isfinite(catalogue["top1"])
    default = known & catalogue["is_default"]
    top1 = dict(zip(catalogue["architecture"][default], catalogue["top1"][default], strict=True))
    top1 |= dict(zip(catalogue["name"][known], catalogue["top1"][known], strict=True))
    return {
        name: float(top1[model.model])
        for name, model in candidates
        if isinstance(model, TimmBackbone) and model.pretrained and model.model in top1
    }


def prior_of(prior: Any, candidates: Sequence[tuple[str, Any]]) -> Any:
    """Return the numbers for "imagenet", and any other prior as it is.

    Raises
    ------
    ValueError
        If the catalogue has no accuracy of any candidate.
    """
    if not isinstance(prior, str) or prior != "imagenet":
        return prior
    accuracies = imagenet_accuracies(candidates)
    if not accuracies:
        raise ValueError(
            "prior='imagenet' needs candidates whose ImageNet accuracy is published, but the "
            "catalogue has none of "
            f"{[name for name, _ in candidates[:5]]}. Use timm names with pre-trained weights, "
            "or a dict of name to number."
        )
    return accuracies
