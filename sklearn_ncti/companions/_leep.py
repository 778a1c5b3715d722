"""LEEP: log expected empirical prediction."""

from typing import Any

import numpy as np

from ._base import BaseProbabilityCompanion, cross_products, one_hot, row_blocks


class LEEP(BaseProbabilityCompanion):
    r"""Log expected empirical prediction from the probabilities of source classes.

    The network predicts probabilities of its source classes, the classes of its pre-training,
    for the target data. Their joint distribution with the target classes gives a simple
    classifier of the target classes. The score is the mean log probability that this classifier
    assigns to the true classes. Larger is better; 0 is best.

    `X` contains these probabilities, one column per source class, and not features.

    Read more in the :ref:`User Guide <companions>`.

    Attributes
    ----------
    score_ : float
        Mean log probability, at most 0; larger is better.

    classes_ : ndarray of shape (n_classes,)
        Target classes.

    n_features_in_ : int
        Number of source classes seen in `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the source classes seen in `fit`. Defined only if all names are strings.

    Notes
    -----
    With the probability :math:`\theta_{iz}` of source class z in row i,

    .. math::

       P(y, z) = \tfrac1n \sum_{i : y_i = y} \theta_{iz}, \qquad
       \mathrm{LEEP} = \tfrac1n \sum_i \log \sum_z \frac{P(y_i, z)}{P(z)} \theta_{iz}.

    For probabilities that are independent of the labels, the score is minus the entropy of the
    labels. The score depends on how peaked the probabilities are, and thus on the calibration of
    the network. It tends to increase with the number of source classes, because the joint
    distribution then has more parameters. Networks with different source classes are therefore
    hardly comparable. A public implementation averages the predictions themselves instead of
    their logarithms.

    Rows must sum to 1, within 0.001.

    The cost is O(n Z) for Z source classes, and the memory O(C Z).

    References
    ----------
    .. [1] Nguyen, Hassner, Seeger, Archambeau. "LEEP: A New Measure to Evaluate
       Transferability of Learned Representations". ICML 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ncti.companions import LEEP
    >>> probabilities = np.array([[0.8, 0.1, 0.1], [0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    >>> round(LEEP().fit(probabilities, ["cat", "cat", "dog"]).score(), 3)
    -0.253
    """

    def _measure(self, X: np.ndarray, y: np.ndarray, n_classes: int) -> dict[str, Any]:
        return {"score_": leep(X, y, n_classes)}


def leep(P: np.ndarray, y: np.ndarray, n_classes: int) -> float:
    """Return LEEP for the classes `y` and probabilities `P` of shape (n_samples, n_sources)."""
    joint = cross_products(one_hot(y, n_classes), P)
    marginal = joint.sum(axis=0)
    given = np.divide(joint, marginal, out=np.zeros_like(joint), where=marginal > 0)
    total = 0.0
    for rows, block in row_blocks(P):
        total += np.log(np.einsum("iz,iz->i", given[y[rows]], block)).sum()
    return float(total / len(P))
