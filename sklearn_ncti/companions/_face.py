"""FaCe: collapse of the classes, and evenness of their overlaps."""

from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.special import softmax
from scipy.stats import entropy
from sklearn.utils._param_validation import Interval, StrOptions

from ._base import BaseCompanion, cross_products, one_hot, row_blocks
from ._gbc import gaussian_overlaps


class FaCe(BaseCompanion):
    r"""Fair collapse: collapse of the classes, and evenness of their overlaps.

    The score is the sum of two terms. The first is minus the ratio of the variance within
    classes to the variance between class means. The second measures how equally the classes
    overlap with other classes. Larger is better; the best value is the logarithm of the number
    of classes.

    Read more in the :ref:`User Guide <companions>`. Read the notes below before you compare
    values with published ones.

    Parameters
    ----------
    temperature : float, default=0.05
        Temperature of the softmax over overlaps, above 0. The smaller it is, the more weight
        the classes with the largest overlaps have.

    n_components : int, default=64
        Number of principal components for the overlaps. The number used is
        min(n_components, n_samples, n_features). The first term uses all features.

    covariance_type : {"spherical", "diagonal"}, default="spherical"
        Covariance of a class for the overlaps: "spherical" has one variance, the mean over the
        components, and "diagonal" one variance for each component.

    Attributes
    ----------
    score_ : float
        Sum of the two terms, at most log C; larger is better.

    variance_collapse_ : float
        First term, in (-inf, 0]. It is 0 if all rows of every class are equal.

    class_fairness_ : float
        Second term, in [0, log C] nats. It is log C if all classes overlap equally.

    classes_ : ndarray of shape (n_classes,)
        Class labels.

    n_features_in_ : int
        Number of features seen in `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen in `fit`. Defined only if all names are strings.

    See Also
    --------
    GBC : Minus the sum of the same overlaps.

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
       This implementation follows the abstract and the public reviews of the paper; its full
       text was not available. These sources state the sum of two terms, the traces with equal
       weights of the classes, Bhattacharyya coefficients between classes, a second term that is
       best if all classes overlap equally, and a quantity t in Eq. 6. They do not state that t
       is a temperature, the softmax over sums and its entropy, the division by C, the default
       temperature, or the principal components. Scores may differ from those of the authors.

    The first term does not depend on scale, rotation and shift of the features. The
    pseudo-inverse ignores directions along which class means do not differ: two classes with the
    same mean do not change the first term, only the second. Means that nearly coincide make the
    first term very low, so that one hard pair of classes can dominate the score. If all means
    are equal, the ratio is undefined, and an error is raised.

    The second term is as high for classes that are equally hard to separate as for classes that
    are equally easy to separate.

    A class with only one row has no variance, and raises an error.

    The cost is O(n d min(n, d)) for the components, O(n d C) for the first term, and O(C^2 k)
    for the pairs, with k components.

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

    def _measure(self, X: np.ndarray, y: np.ndarray, n_classes: int) -> dict[str, Any]:
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


def _variance_collapse(X: np.ndarray, y: np.ndarray, n_classes: int, noise: float) -> float:
    """Return minus the ratio of within-class variance to the variance of the class means."""
    counts = np.bincount(y)
    means = cross_products(one_hot(y, n_classes), X) / counts[:, None]
    offsets = (means - means.mean(axis=0)) / np.sqrt(n_classes)
    _, deviations, axes = np.linalg.svd(offsets, full_matrices=False)
    real = deviations**2 > noise
    if not real.any():
        raise ValueError(
            f"all {n_classes} classes of y have the same mean, so there is no variance between "
            "classes to compare the variance within them with. Use a metric that does not "
            "depend on class means."
        )
    whitening = (axes[real] / deviations[real, None]).T
    within = sum(
        (((block - means[y[rows]]) @ whitening) ** 2).sum(axis=1) @ (1 / counts[y[rows]])
        for rows, block in row_blocks(X)
    )
    return 0.0 - float(within) / n_classes**2
