"""Other transferability metrics, one estimator for each.

``_base.py`` describes the contract that all of them follow.
"""

from ._face import FaCe
from ._gbc import GBC
from ._h_score import HScore
from ._leep import LEEP
from ._logme import LogME
from ._nce import NCE
from ._nleep import NLEEP
from ._parc import PARC
from ._sfda import SFDA
from ._transrate import TransRate

__all__ = ["GBC", "LEEP", "NCE", "NLEEP", "PARC", "SFDA", "FaCe", "HScore", "LogME", "TransRate"]
