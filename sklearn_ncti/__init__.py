"""Rank pre-trained backbones on a target data set from the geometry of their features.

The scoring part is imported at once. The rest, which imports more of scikit-learn and later
torch, is loaded when one of its names is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._ncti.components import NearestCenterClassifier, SELIGeometry, WithinClassVariability
from ._ncti.scorer import NCTIScorer
from ._ncti.source_attributes import SourceAttributes
from ._ranking.display import RankingDisplay
from ._ranking.grid_search import ncti_refit, ncti_scoring
from ._ranking.rank_features import rank_features
from ._ranking.ranking import Ranking
from ._scoring.scorers import FeatureScorer
from ._utils.components import Components
from ._version import __version__ as __version__

if TYPE_CHECKING:
    from . import backbones, companions, datasets
    from ._selection.halving import HalvingModelSelector
    from ._selection.selector import ModelSelector
    from .backbones import TextBackbone, TimmBackbone, TorchBackbone
    from .datasets import load_image_folder

__all__ = [
    "Components",
    "FeatureScorer",
    "HalvingModelSelector",
    "ModelSelector",
    "NCTIScorer",
    "NearestCenterClassifier",
    "Ranking",
    "RankingDisplay",
    "SELIGeometry",
    "SourceAttributes",
    "TextBackbone",
    "TimmBackbone",
    "TorchBackbone",
    "WithinClassVariability",
    "backbones",
    "companions",
    "datasets",
    "load_image_folder",
    "ncti_refit",
    "ncti_scoring",
    "rank_features",
]

_MODULE_OF = {
    "HalvingModelSelector": "_selection.halving",
    "ModelSelector": "_selection.selector",
    "TextBackbone": "backbones",
    "TimmBackbone": "backbones",
    "TorchBackbone": "backbones",
    "load_image_folder": "datasets",
}


def __getattr__(name: str) -> Any:
    if name in ("backbones", "companions", "datasets"):
        return import_module(f".{name}", __name__)
    if name in _MODULE_OF:
        return getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
