"""Images to features, with models of timm and other torch modules; texts, with transformers.

Nothing here imports torch, timm, transformers or PIL before a backbone is fitted.
"""

from ._names import check_model_name, expand_model_names
from ._text import TextBackbone
from ._timm import TimmBackbone
from ._torch import TorchBackbone

__all__ = [
    "TextBackbone",
    "TimmBackbone",
    "TorchBackbone",
    "check_model_name",
    "expand_model_names",
]
