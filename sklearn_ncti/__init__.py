"""Rank pre-trained backbones on a target data set from the geometry of their features."""

from ._components import NearestCenterClassifier, SELIGeometry, WithinClassVariability
from ._display import RankingDisplay
from ._ranking import Ranking, ncti_refit, ncti_scoring, rank_features
from ._scorer import NCTIScorer
from ._selector import ModelSelector
from .backbones import TimmBackbone, TorchBackbone
from .datasets import load_image_folder

__version__ = "0.1.0.dev0"

__all__ = [
    "ModelSelector",
    "NCTIScorer",
    "NearestCenterClassifier",
    "Ranking",
    "RankingDisplay",
    "SELIGeometry",
    "TimmBackbone",
    "TorchBackbone",
    "WithinClassVariability",
    "load_image_folder",
    "ncti_refit",
    "ncti_scoring",
    "rank_features",
]
