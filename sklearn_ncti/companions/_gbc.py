"""GBC: overlap of Gaussian classes."""

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from .._linalg.moments import class_moments
from .._linalg.pca import PrincipalBasis, principal_basis
from ._base import BaseCompanion, cross_products, one_hot


class GBC(BaseCompanion):
    r"""Gaussian Bhattacharyya coefficient: the negative overlap of the classes.

    Every class is modelled as a Gaussian in the leading principal components. The Bhattacharyya
    coefficient of two classes is 1 if their Gaussians are equal, and approaches 0 with their
    distance. The score is minus the sum over all pairs. Larger is better; 0 is best.

    Read more in the :ref:`User Guide <companions>`.

    Parameters
    ----------
    n_components : int, default=64
        Number of principal components. The number used is
        min(n_components, n_samples, n_features).

    covariance_type : {"spherical", "diagonal"}, default="spherical"
        Covariance of a class: "spherical" has one variance, the mean over the components, and
        "diagonal" one variance for each component.

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

    which counts every pair twice, once in each order.

    A class with only one row has no variance, which the metric would interpret as perfect
    separation; it raises an error. A class whose rows are all equal is a point. Its coefficient
    with another class has the limit 0, or 1 if the other class is the same point. The public
    code instead raises every variance to at least 1e-4, so that its score depends on the scale
    of the features; the score here does not. Components without variance are ignored here; they
    would otherwise reduce the spherical variance.

    In many components, coefficients decrease fast with the distance. The few pairs with the
    largest overlap then dominate the sum, and candidates with well separated classes all score
    near 0.

    The cost is O(n d min(n, d)) for the components, O(n k) for the classes, and O(C^2 k) for the
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

    def _measure(self, X: np.ndarray, y: np.ndarray, n_classes: int) -> dict[str, Any]:
        _, overlaps = gaussian_overlaps(X, y, n_classes, self.n_components, self.covariance_type)
        return {"score_": 0.0 - float(overlaps.sum())}


def gaussian_overlaps(
    X: np.ndarray, y: np.ndarray, n_classes: int, n_components: int, covariance_type: str
) -> tuple[PrincipalBasis, np.ndarray]:
    """Return the Bhattacharyya coefficients of Gaussian classes in the principal components.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows.

    y : ndarray of shape (n_samples,)
        Class of each row, 0 to ``n_classes - 1``.

    n_classes : int
        Number of classes.

    n_components : int
        As in `GBC`.

    covariance_type : {"spherical", "diagonal"}
        As in `GBC`.

    Returns
    -------
    basis : PrincipalBasis
        Principal components.

    overlaps : ndarray of shape (n_classes, n_classes)
        Symmetric matrix of coefficients, with 0 on the diagonal.

    Raises
    ------
    ValueError
        If a class has only one row.
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
    # Rounding makes zero variances slightly positive, and ratios of these would be arbitrary.
    variances[variances <= basis.noise] = 0.0
    overlaps = np.zeros((n_classes, n_classes))
    for i in range(n_classes - 1):
        squares = (means[i + 1 :] - means[i]) ** 2
        squares[squares <= basis.noise] = 0.0
        overlaps[i, i + 1 :] = np.exp(-_distances(squares, variances[i], variances[i + 1 :]))
    return basis, overlaps + overlaps.T


def _distances(squares: np.ndarray, variance: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Return the Bhattacharyya distances of one class to several classes.

    Parameters
    ----------
    squares : ndarray of shape (m, k)
        Squared differences of the means.

    variance : ndarray of shape (k,)
        Variances of the one class.

    variances : ndarray of shape (m, k)
        Variances of the other classes.

    Returns
    -------
    distances : ndarray of shape (m,)
        Infinite if only one of two variances is 0, or if both are 0 and the means differ. A
        component along which both classes are the same point adds 0.
    """
    mean = (variance + variances) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(variance) + np.log(variances)
        parts = squares / mean / 8 + np.log(mean) / 2 - logs / 4
    both_zero = mean == 0
    parts[both_zero] = np.where(squares[both_zero] > 0, np.inf, 0.0)
    return parts.sum(axis=1)
