"""What a torch module says of itself: how its images are prepared, and where its head is.

Modules of timm, torchvision, open_clip and Hugging Face's transformers are known here. Of all
others nothing is assumed.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .._utils.optional import import_optional
from ._sources import is_a

if TYPE_CHECKING:
    import torch

# Names that the last part of a classifier of torchvision has.
_HEADS = ("fc", "classifier", "head", "heads")


def preparation_of(module: Any) -> dict[str, Any]:
    """Return how a module was trained to have its images, as arguments of `create_transform`.

    Parameters
    ----------
    module : object
        A torch module, or anything else, of which nothing is known.

    Returns
    -------
    config : dict
        What is known; empty if that is nothing.

    Raises
    ------
    ValueError
        If images cannot be prepared in that way.
    """
    if is_timm(module):
        data = import_optional("timm.data", extra="timm")
        known: dict[str, Any] = data.resolve_model_data_config(module)
        return known
    config = getattr(module, "preprocess_cfg", None)
    return _of_open_clip(config) if isinstance(config, Mapping) else {}


def _of_open_clip(config: Mapping[str, Any]) -> dict[str, Any]:
    """Translate the preparation of an image tower of open_clip."""
    size = config["size"]
    height, width = (size, size) if isinstance(size, int) else size
    mode = config.get("resize_mode", "shortest")
    crop_modes = {"shortest": "center", "squash": "squash"}
    if mode not in crop_modes:
        raise ValueError(
            f"module: its images are resized with resize_mode={mode!r} of open_clip, which is not "
            "known here. Give all parameters from input_size to crop_mode of TorchBackbone."
        )
    return {
        "input_size": (3, int(height), int(width)),
        "mean": tuple(config["mean"]),
        "std": tuple(config["std"]),
        "interpolation": config.get("interpolation", "bicubic"),
        "crop_pct": 1.0,
        "crop_mode": crop_modes[mode],
    }


def is_timm(module: Any) -> bool:
    """Return whether this is a whole network of timm."""
    return bool(getattr(module, "pretrained_cfg", None)) and hasattr(module, "reset_classifier")


def is_hugging_face(module: Any) -> bool:
    """Return whether this is a model of transformers."""
    return is_a(module, "transformers.modeling_utils.PreTrainedModel")


def to_features(module: "torch.nn.Module") -> "torch.nn.Module":
    """Return a module that gives what goes into its classification head, if it has one.

    Parameters
    ----------
    module : torch.nn.Module
        A network, which is changed.

    Returns
    -------
    module : torch.nn.Module
        The same without its head, or one that calls it.

    Raises
    ------
    ValueError
        If the network has a head that cannot be taken off here.
    """
    if is_timm(module):
        if getattr(module, "num_classes", 0):
            module.reset_classifier(0)
        return module
    if is_hugging_face(module):
        return _pooled(module)
    *folders, _ = type(module).__module__.split(".")
    name, head = next(reversed([*module.named_children()]), ("", None))
    if folders == ["torchvision", "models"] and name in _HEADS:
        _take_off(module, name, head)
    elif hasattr(module, "visual") and hasattr(module, "encode_image"):
        raise ValueError(
            f"module: the {type(module).__name__} takes images and texts. Give its image tower, "
            "model.visual."
        )
    return module


def _take_off(module: "torch.nn.Module", name: str, head: Any) -> None:
    """Put an identity in the place of the last linear layer of a head."""
    torch = import_optional("torch", extra="timm")
    owner, last = module, head
    while isinstance(last, torch.nn.Sequential) and len(last):
        owner, (name, last) = last, next(reversed([*last.named_children()]))
    if isinstance(last, torch.nn.Linear):
        setattr(owner, name, torch.nn.Identity())
    elif not isinstance(last, torch.nn.Identity):
        raise ValueError(
            f"module: the head of the {type(module).__name__} ends in a {type(last).__name__}, "
            "and only linear layers are taken off. Remove it: for SqueezeNet, model.classifier = "
            "torch.nn.AdaptiveAvgPool2d(1); to rank its outputs, torch.nn.Sequential(model)."
        )


def _pooled(module: "torch.nn.Module") -> "torch.nn.Module":
    """Return a module that gives the pooled features of a model of transformers."""
    torch: Any = import_optional("torch", extra="timm")
    has_head = type(module).__name__.endswith("ForImageClassification")
    if has_head:
        _take_off(module, "classifier", getattr(module, "classifier", None))
    # A pooler with weights is trained with some networks only, and is random in the others.
    takes_token = hasattr(getattr(module, "pooler", None), "dense")

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = module

        def forward(self, images):
            outputs = self.model(pixel_values=images)
            if has_head:
                return outputs.logits
            if takes_token:
                return outputs.last_hidden_state[:, 0]
            for name in ("image_embeds", "pooler_output"):
                if getattr(outputs, name, None) is not None:
                    return getattr(outputs, name)
            raise ValueError(
                f"the {type(self.model).__name__} gives {list(outputs)} and no pooled features. "
                "Wrap it in a module that returns, for example, "
                "model(pixel_values=x).last_hidden_state.mean(dim=1)."
            )

    return Pooled()
