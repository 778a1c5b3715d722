"""Images to features, with models of timm and other torch modules; texts, with transformers.

Nothing here imports torch, timm, transformers or PIL before a backbone is fitted.
"""

from typing import TYPE_CHECKING

from .._utils.lazy import lazy_names

if TYPE_CHECKING:
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

# Late, so that the command line has its help without scikit-learn.
_MODULE_OF = {
    "TextBackbone": "_text",
    "TimmBackbone": "_timm",
    "TorchBackbone": "_torch",
    "check_model_name": "_names",
    "expand_model_names": "_names",
}

__getattr__, __dir__ = lazy_names(__name__, _MODULE_OF)
