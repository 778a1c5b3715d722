"""NCE: negative conditional entropy of target classes given source classes."""

from typing import Any

import numpy as np
from scipy.special import xlogy

from ._base import BaseProbabilityCompanion


class NCE(BaseProbabilityCompanion):
    r"""Negative conditional entropy of the target classes given the source classes.

    Every row is assigned to its most probable source class. The score is minus the conditional
    entropy of the target classes given these source classes. Larger is better; 0 is best.

    `X` contains probabilities of the source classes, one column each, and not features. If only
    the predicted source classes are known, pass them one-hot encoded.

    Read more in the :ref:`User Guide <companions>`.

    Attributes
    ----------
    score_ : float
        Minus the conditional entropy in nats, in [-log C, 0]; larger is better.

    classes_ : ndarray of shape (n_classes,)
        Target classes.

    n_features_in_ : int
        Number of source classes seen in `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the source classes seen in `fit`. Defined only if all names are strings.

    Notes
    -----
    With the fraction :math:`P(y, z)` of rows with target class y and source class z,

    .. math:: \mathrm{NCE} = \sum_{y, z} P(y, z) \log \frac{P(y, z)}{P(z)}.

    If a row has several largest probabilities, the first is used. The score depends only on the
    argmax. With many source classes and few rows it is too optimistic, because a source class
    with a single row predicts that row perfectly. Networks with different source classes are
    hardly comparable.

    Rows must sum to 1, within 0.001.

    The cost is O(n Z) for Z source classes, and the memory O(C Z).

    References
    ----------
    .. [1] Tran, Nguyen, Hassner. "Transferability and Hardness of Supervised Classification
       Tasks". ICCV 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ncti.companions import NCE
    >>> probabilities = np.array([[0.8, 0.2], [0.7, 0.3], [0.1, 0.9], [0.6, 0.4]])
    >>> round(NCE().fit(probabilities, ["cat", "cat", "dog", "dog"]).score(), 3)
    -0.477
    """

    def _measure(self, X: np.ndarray, y: np.ndarray, n_classes: int) -> dict[str, Any]:
        n, n_sources = X.shape
        cells = np.bincount(y * n_sources + X.argmax(axis=1), minlength=n_classes * n_sources)
        joint = cells.reshape(n_classes, n_sources) / n
        marginal = joint.sum(axis=0)
        return {"score_": float(xlogy(joint, joint).sum() - xlogy(marginal, marginal).sum())}
