"""FaCe, how far the classes have collapsed and how evenly they overlap."""

from numbers import Integral, Real

import numpy as np
from scipy.special import softmax
from scipy.stats import entropy
from sklearn.utils._param_validation import Interval, StrOptions

from ._base import BaseCompanion, cross_products, one_hot, row_blocks
from ._gbc import gaussian_overlaps


class FaCe(BaseCompanion):
    r"""Fair collapse: how far the classes have collapsed, and how evenly they overlap.

    The score is the sum of two terms: minus the variance within the classes in units of the
    variance between their means, and how equal the overlaps are that each class has with the
    others. Larger is better; the logarithm of the number of classes is best.

    Read more in the :ref:`User Guide <companions>`, and the notes below before you compare its
    values with published ones.

    Parameters
    ----------
    temperature : float, default=0.05
        What overlaps are divided by before the softmax, above 0. The smaller it is, the more a
        class counts that overlaps more with others than the rest do.

    n_components : int, default=64
        Principal components in which overlaps are computed,
        min(n_components, n_samples, n_features). All features enter the first term.

    covariance_type : {"spherical", "diagonal"}, default="spherical"
        Whether a class has one variance in the overlaps, the mean over the components, or one
        for each.

    Attributes
    ----------
    score_ : float
        The sum of the two terms, at most log C; larger is better.

    variance_collapse_ : float
        The first term, in (-inf, 0]; 0 where all rows of every class are equal.

    class_fairness_ : float
        The second term, in [0, log C] nats; log C where all classes overlap equally.

    classes_ : ndarray of shape (n_classes,)
        Class labels.

    n_features_in_ : int
        Number of features seen in `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen in `fit`. Defined only if all names are strings.

    See Also
    --------
    GBC : The sum of the same overlaps.

    Notes
    -----
    With the mean :math:`\mu_c` and the maximum-likelihood covariance :math:`\Sigma_c` of each
    of C classes, :math:`\Sigma_W` the mean of the :math:`\Sigma_c` and :math:`\Sigma_B` the
    covariance of the :math:`\mu_c`, all classes of equal weight, the first term is

    .. math:: \mathrm{C} = - \tfrac1C \operatorname{tr}(\Sigma_W \Sigma_B^+).

    With the Bhattacharyya coefficients :math:`\exp(-D_{ij})` of :class:`GBC` and the
    temperature t, the second is the entropy

    .. math::

       \mathrm{F} = - \sum_i p_i \log p_i, \qquad
       p = \operatorname{softmax} \Bigl( \tfrac1t \sum_{j \ne i} \exp(-D_{ij}) \Bigr)_i ,

    and FaCe = C + F.

    .. warning::
       This follows the abstract and the public reviews of the paper, whose text was not at
       hand. They state the sum of the two terms, the traces with equal weights of the classes,
       Bhattacharyya coefficients between classes, that the second term is best where each
       class overlaps equally with the others, and a quantity t in Eq. 6. That t is a
       temperature, the softmax over sums and its entropy, the division by C, the default
       temperature and the principal components are not stated there and could not be checked.
       Scores may differ from those of the authors.

    The first term is the same for any scale, rotation and shift of the features. Directions
    along which the class means do not differ are left out by the pseudo-inverse: two classes
    of one mean cost nothing there, and only the second term sees them. Means that nearly
    coincide cost much, so that one hard pair of classes can rule the score. Where all means
    are equal there is nothing to compare with, which is an error.

    The second term rewards classes that are hard alike as much as classes that are easy alike.

    A class of one row has no variance: that is an error.

    Costs O(n d min(n, d)) for the components, O(n d C) for the first term and O(C^2 k) for the
    pairs, with k components.

    References
    ----------
    .. [1] Ding, Jiang, Sheng, Zheng, Liang. "Unleashing the power of Neural Collapse for
       Transferability Estimation". arXiv:2310.05754, 2023.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ncti.companions import FaCe
    >>> X, y = load_iris(return_X_y=True)
    >>> face = FaCe().fit(X, y)
    >>> round(face.score(), 3)
    -0.937
    >>> round(face.variance_collapse_, 3), round(face.class_fairness_, 3)
    (-1.708, 0.771)
    """

    _parameter_constraints: dict = {
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "covariance_type": [StrOptions({"spherical", "diagonal"})],
    }
    _is_scale_free = True

    def __init__(
        self,
        temperature: float = 0.05,
        *,
        n_components: int = 64,
        covariance_type: str = "spherical",
    ):
        self.temperature = temperature
        self.n_components = n_components
        self.covariance_type = covariance_type

    def _measure(self, X, y, n_classes):
        basis, overlaps = gaussian_overlaps(
            X, y, n_classes, self.n_components, self.covariance_type
        )
        collapse = _variance_collapse(X, y, n_classes, basis.noise)
        fairness = float(entropy(softmax(overlaps.sum(axis=1) / self.temperature)))
        return {
            "score_": collapse + fairness,
            "variance_collapse_": collapse,
            "class_fairness_": fairness,
        }


def _variance_collapse(X, y, n_classes, noise):
    """Minus the mean within-class variance in units of that of the class means."""
    counts = np.bincount(y)
    means = cross_products(one_hot(y, n_classes), X) / counts[:, None]
    offsets = (means - means.mean(axis=0)) / np.sqrt(n_classes)
    _, deviations, axes = np.linalg.svd(offsets, full_matrices=False)
    real = deviations**2 > noise
    if not real.any():
        raise ValueError(
            f"all {n_classes} classes of y have the same mean, so there is no variance between "
            "classes to compare the one within them with. Use a metric that does not rest on "
            "class means."
        )
    whitening = (axes[real] / deviations[real, None]).T
    within = sum(
        (((block - means[y[rows]]) @ whitening) ** 2).sum(axis=1) @ (1 / counts[y[rows]])
        for rows, block in row_blocks(X)
    )
    return 0.0 - float(within) / n_classes**2
