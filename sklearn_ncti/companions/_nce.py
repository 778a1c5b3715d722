"""NCE, the conditional entropy of target labels given source labels, negated."""

import numpy as np
from scipy.special import xlogy

from ._base import BaseProbabilityCompanion


class NCE(BaseProbabilityCompanion):
    r"""Negative conditional entropy of the target classes given the source classes.

    Every row is put in the source class that the network finds most probable. The score is
    minus the entropy of the target classes that is left when this is known. Larger is better;
    0 is best.

    `X` holds the probabilities of the source classes, one column each, and not features; where
    only the source labels are known, pass them one-hot.

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
    With the shares :math:`P(y, z)` of rows of target class y and source class z,

    .. math:: \mathrm{NCE} = \sum_{y, z} P(y, z) \log \frac{P(y, z)}{P(z)}.

    Of equal probabilities in a row the first counts. The score uses nothing but the argmax,
    and flatters where source classes are many and rows few: a source class with a single row
    is a perfect predictor of it. Networks of other label sets hardly compare.

    Rows need to add up to 1, within 0.001.

    Costs O(n Z) for Z source classes, and keeps a table of C Z numbers.

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

    def _measure(self, X, y, n_classes):
        n, n_sources = X.shape
        cells = np.bincount(y * n_sources + X.argmax(axis=1), minlength=n_classes * n_sources)
        joint = cells.reshape(n_classes, n_sources) / n
        marginal = joint.sum(axis=0)
        return {"score_": float(xlogy(joint, joint).sum() - xlogy(marginal, marginal).sum())}
