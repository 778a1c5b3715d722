"""LEEP, the likelihood of an expected empirical prediction."""

import numpy as np

from ._base import BaseProbabilityCompanion, cross_products, one_hot, row_blocks


class LEEP(BaseProbabilityCompanion):
    r"""Log expected empirical prediction from the probabilities of source classes.

    The network's own classifier, for the classes of its pre-training, is run on the target
    data. The joint table of what it says and of the target classes gives a simple predictor of
    the latter; the score is the mean log probability that it gives to the true classes. Larger
    is better; 0 is best.

    `X` holds these probabilities, one column per source class, and not features.

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

    Probabilities that say nothing of the labels give minus the entropy of the labels. The
    score depends on how sharp the probabilities are, which is a matter of the network's
    calibration; and it tends to grow with the number of source classes, as the table then has
    more to fit with, so that networks of other label sets hardly compare. A public
    implementation averages the predictions themselves instead of their logarithms.

    Rows need to add up to 1, within 0.001.

    Costs O(n Z) for Z source classes, and keeps tables of C Z numbers.

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

    def _measure(self, X, y, n_classes):
        return {"score_": leep(X, y, n_classes)}


def leep(P: np.ndarray, y: np.ndarray, n_classes: int) -> float:
    """Mean log probability of the classes `y` given memberships `P` of shape (n, n_sources)."""
    joint = cross_products(one_hot(y, n_classes), P)
    marginal = joint.sum(axis=0)
    given = np.divide(joint, marginal, out=np.zeros_like(joint), where=marginal > 0)
    total = 0.0
    for rows, block in row_blocks(P):
        total += np.log(np.einsum("iz,iz->i", given[y[rows]], block)).sum()
    return float(total / len(P))
