"""GBC, the overlap of Gaussian classes."""

from numbers import Integral

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from .._linalg.moments import class_moments
from .._linalg.pca import PrincipalBasis, principal_basis
from ._base import BaseCompanion, cross_products, one_hot


class GBC(BaseCompanion):
    r"""Gaussian Bhattacharyya coefficient: how much the classes overlap, negated.

    Every class is a Gaussian in the leading principal components, and every pair of classes
    has the Bhattacharyya coefficient of its Gaussians, 1 where they are the same and 0 where
    they are worlds apart. The score is minus their sum. Larger is better; 0 is best.

    Read more in the :ref:`User Guide <companions>`.

    Parameters
    ----------
    n_components : int, default=64
        Principal components that are kept, min(n_components, n_samples, n_features).

    covariance_type : {"spherical", "diagonal"}, default="spherical"
        Whether a class has one variance, the mean over the components, or one for each.

    Attributes
    ----------
    score_ : float
        Minus the sum of the coefficients, in [-C (C - 1), 0]; larger is better.

    classes_ : ndarray of shape (n_classes,)
        Class labels.

    n_features_in_ : int
        Number of features seen in `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen in `fit`. Defined only if all names are strings.

    Notes
    -----
    With the mean :math:`\mu_c` and the maximum-likelihood covariance :math:`\Sigma_c` of each
    class and :math:`\Sigma = (\Sigma_i + \Sigma_j) / 2`,

    .. math::

       D_{ij} = \tfrac18 (\mu_i - \mu_j)^\top \Sigma^{-1} (\mu_i - \mu_j)
       + \tfrac12 \log \frac{\lvert \Sigma \rvert}
       {\sqrt{\lvert \Sigma_i \rvert \lvert \Sigma_j \rvert}}, \qquad
       \mathrm{GBC} = - \sum_{i \ne j} \exp(-D_{ij}),

    which counts every pair twice, in either order.

    A class of one row has no variance, which the metric would take for perfect separation:
    that is an error. A class whose rows are all equal truly is a point: its coefficient with
    any other class has the limit 0, or 1 with a class that is the same point. The public code
    raises every variance to at least 1e-4 instead, which makes its score depend on the scale
    of the features; this one does not. Nor do components without variance count here, which
    dilute the spherical variance where they are kept.

    Coefficients vanish fast with the distance in many components, so that the sum is ruled by
    the few pairs that overlap most, and well separated candidates all come near 0.

    Costs O(n d min(n, d)) for the components, O(n k) for the classes and O(C^2 k) for the
    pairs, with k components.

    References
    ----------
    .. [1] Pandy, Agostinelli, Uijlings, Ferrari, Mensink. "Transferability Estimation using
       Bhattacharyya Class Separability". CVPR 2022.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ncti.companions import GBC
    >>> X, y = load_iris(return_X_y=True)
    >>> round(GBC().fit(X, y).score(), 3)
    -0.33
    >>> round(GBC(covariance_type="diagonal").fit(X, y).score(), 3)
    -0.772
    """

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "covariance_type": [StrOptions({"spherical", "diagonal"})],
    }
    _is_scale_free = True

    def __init__(self, n_components: int = 64, *, covariance_type: str = "spherical"):
        self.n_components = n_components
        self.covariance_type = covariance_type

    def _measure(self, X, y, n_classes):
        _, overlaps = gaussian_overlaps(X, y, n_classes, self.n_components, self.covariance_type)
        return {"score_": 0.0 - float(overlaps.sum())}


def gaussian_overlaps(
    X: np.ndarray, y: np.ndarray, n_classes: int, n_components: int, covariance_type: str
) -> tuple[PrincipalBasis, np.ndarray]:
    """Bhattacharyya coefficients between Gaussian classes in the leading principal components.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows.

    y : ndarray of shape (n_samples,)
        Codes of their classes.

    n_classes : int
        Number of classes.

    n_components, covariance_type
        As of `GBC`.

    Returns
    -------
    basis : PrincipalBasis
        The components.

    overlaps : ndarray of shape (n_classes, n_classes)
        The coefficients, symmetric; 0 on the diagonal.

    Raises
    ------
    ValueError
        If a class has one row only.
    """
    counts = np.bincount(y)
    if counts.min() < 2:
        raise ValueError(
            f"y has {int((counts < 2).sum())} of {n_classes} classes with 1 row, but a "
            "Gaussian needs at least 2 rows of every class. Add rows to these classes, or "
            "leave them out."
        )
    basis = principal_basis(X, min(n_components, *X.shape))
    H = basis.project(X)[:, ~basis.is_noise]
    means = class_moments(H, y, n_classes).means
    variances = cross_products(one_hot(y, n_classes), (H - means[y]) ** 2) / counts[:, None]
    if covariance_type == "spherical":
        variances[:] = variances.mean(axis=1, keepdims=True)
    # Rounding leaves a little of what is zero, and ratios of that would be accidents.
    variances[variances <= basis.noise] = 0.0
    overlaps = np.zeros((n_classes, n_classes))
    for i in range(n_classes - 1):
        squares = (means[i + 1 :] - means[i]) ** 2
        squares[squares <= basis.noise] = 0.0
        overlaps[i, i + 1 :] = np.exp(-_distances(squares, variances[i], variances[i + 1 :]))
    return basis, overlaps + overlaps.T


def _distances(squares, own, others):
    """Bhattacharyya distances of one class to others from squared differences of means.

    Infinite where a variance vanishes that the other class has, or both vanish and the means
    differ; a component along which the two classes are one point adds nothing.
    """
    middle = (own + others) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = squares / middle / 8 + np.log(middle) / 2 - (np.log(own) + np.log(others)) / 4
    at_point = middle == 0
    parts[at_point] = np.where(squares[at_point] > 0, np.inf, 0.0)
    return parts.sum(axis=1)
