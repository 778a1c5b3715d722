"""Rank pre-trained backbones on a target data set from the geometry of their features.

Every name is imported when it is first used. So importing the package is fast, and a part that
needs torch is only loaded by those who use it.
"""

from typing import TYPE_CHECKING

from ._utils.lazy import lazy_names
from ._version import __version__ as __version__

if TYPE_CHECKING:
    from . import backbones, companions, datasets
    from ._ncti.components import NearestCenterClassifier, SELIGeometry, WithinClassVariability
    from ._ncti.scorer import NCTIScorer
    from ._ncti.source_attributes import SourceAttributes
    from ._ranking.display import RankingDisplay
    from ._ranking.grid_search import ncti_refit, ncti_scoring
    from ._ranking.rank_features import rank_features
    from ._ranking.ranking import Ranking
    from ._scoring.scorers import FeatureScorer
    from ._selection.halving import HalvingModelSelector
    from ._selection.selector import ModelSelector
    from ._utils.components import Components
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
    "Components": "_utils.components",
    "FeatureScorer": "_scoring.scorers",
    "HalvingModelSelector": "_selection.halving",
    "ModelSelector": "_selection.selector",
    "NCTIScorer": "_ncti.scorer",
    "NearestCenterClassifier": "_ncti.components",
    "Ranking": "_ranking.ranking",
    "RankingDisplay": "_ranking.display",
    "SELIGeometry": "_ncti.components",
    "SourceAttributes": "_ncti.source_attributes",
    "TextBackbone": "backbones",
    "TimmBackbone": "backbones",
    "TorchBackbone": "backbones",
    "WithinClassVariability": "_ncti.components",
    "load_image_folder": "datasets",
    "ncti_refit": "_ranking.grid_search",
    "ncti_scoring": "_ranking.grid_search",
    "rank_features": "_ranking.rank_features",
}

__getattr__, __dir__ = lazy_names(__name__, _MODULE_OF, ("backbones", "companions", "datasets"))
