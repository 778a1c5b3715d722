"""Images to features, with models of timm and other torch modules.

Nothing here imports torch, timm or PIL before a backbone is fitted.
"""

from ._names import check_model_name, expand_model_names
from ._timm import TimmBackbone
from ._torch import TorchBackbone

__all__ = [
    "TimmBackbone",
    "TorchBackbone",
    "check_model_name",
    "expand_model_names",
]
