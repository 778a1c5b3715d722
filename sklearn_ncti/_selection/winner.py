"""The candidate of a selector that is to be fine-tuned, as a backbone of timm."""

from collections.abc import Mapping
from typing import Any

from ..backbones import TextBackbone, TimmBackbone, TorchBackbone

# What to do with a candidate of another kind.
_INSTEAD = (
    (TextBackbone, "For a text encoder, the report has code that fine-tunes it: use report(path)"),
    (TorchBackbone, "Fine-tune the module of the candidate itself"),
)


def timm_candidate(candidates: Mapping[str, Any], name: str) -> TimmBackbone:
    """Return the candidate of this name, which is a model of timm.

    Parameters
    ----------
    candidates : dict of str to estimator
        The transformers by name, as `named_transformers` gives them.

    name : str
        Name of the candidate.

    Returns
    -------
    backbone : TimmBackbone
        The candidate, not fitted.

    Raises
    ------
    ValueError
        If there is no such candidate.

    TypeError
        If it is no model of timm.
    """
    if name not in candidates:
        raise ValueError(f"candidate must be one of {list(candidates)}, got {name!r}.")
    model = candidates[name]
    if isinstance(model, TimmBackbone):
        return model
    advice = [text for kind, text in _INSTEAD if isinstance(model, kind)]
    others = [other for other in candidates if isinstance(candidates[other], TimmBackbone)]
    if others:
        advice.append(f"candidate=... takes the name of a model of timm, which {others} are")
    raise TypeError(
        f"the candidate {name!r} is a {type(model).__name__}, and only a TimmBackbone is a model "
        f"of timm. {'; '.join(advice)}".rstrip()
        + ("." if advice else "")
    )
