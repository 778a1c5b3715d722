"""SFDA: self-challenging Fisher discriminant analysis."""

from numbers import Real
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve, eigvalsh
from scipy.special import log_softmax
from sklearn.utils._param_validation import Interval, StrOptions

from .._linalg.moments import ClassMoments, class_moments
from .._linalg.pca import principal_basis
from ._base import BaseCompanion

# Rate at which the adaptive shrinkage decreases with the largest variance within the classes.
_DECAY = 5.0

# Smallest value of the shrinkage.
_MIN_SHRINKAGE = 1e-10


class SFDA(BaseCompanion):
    r"""Self-challenging Fisher discriminant: log-likelihood after mixing the classes.

    A regularized Fisher discriminant computes the probability of the true class for every row.
    Each row is then moved towards the mean of the other classes, and farther for a lower
    probability. A second discriminant is fitted to the moved rows. The score is the mean log
    probability that it assigns to the true classes. Larger is better; 0 is best.

    Read more in the :ref:`User Guide <companions>`.

    Parameters
    ----------
    shrinkage : {"adaptive"} or float in [0, 1], default="adaptive"
        Weight of the identity in the within-class scatter. "adaptive" is
        ``max(exp(-5 s), 1e-10)`` with the largest eigenvalue s of this scatter. Numbers below
        1e-10 are replaced by 1e-10.

    Attributes
    ----------
    score_ : float
        Mean log probability of the true class, at most 0; larger is better.

    shrinkage_ : float
        Weight of the identity that was used in both discriminants.

    classes_ : ndarray of shape (n_classes,)
        Class labels.

    n_features_in_ : int
        Number of features seen in `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen in `fit`. Defined only if all names are strings.

    Notes
    -----
    With the maximum-likelihood within-class scatter :math:`S_w`, the shrinkage
    :math:`\lambda`, :math:`W = (1 - \lambda) S_w + \lambda I` and the class priors
    :math:`\pi_c`, the discriminant is

    .. math::

       p(c \mid x) \propto \exp\bigl( \mu_c^\top W^{-1} x
       - \tfrac12 \mu_c^\top W^{-1} \mu_c + \log \pi_c \bigr).

    The paper uses the projection :math:`U` onto the Fisher axes. :math:`U U^\top` acts on
    differences of class means as :math:`W^{-1}` does, and the remaining terms cancel in the
    softmax. The moved rows are :math:`p_i x_i + (1 - p_i) \bar\mu_{y_i}` with
    :math:`p_i = p(y_i \mid x_i)` and the unweighted mean :math:`\bar\mu_c` of the means of the
    other classes.

    The released code differs from these equations. It shrinks towards the identity times the
    mean within-class variance. It applies the softmax twice to the first discriminant, which
    moves all rows far. It approximates the largest eigenvalue by three steps of power
    iteration. It returns the mean probability instead of the mean log probability. Its scores
    are not comparable with these.

    The identity is not scaled to the features, so that :math:`\lambda` depends on their scale.
    Features of small variance are shrunk heavily: of two candidates that differ only in scale,
    the one of smaller scale has the lower score. With few rows per feature, both discriminants
    fit noise.

    The cost is O(n d min(n, d) + min(n, d)^3), twice, and O(n C min(n, d)). The memory includes a
    float64 copy of the features.

    References
    ----------
    .. [1] Shao, Zhao, Ge, Zhang, Yang, Wang, Shan, Luo. "Not All Models Are Equal: Predicting
       Model Transferability in a Self-challenging Fisher Space". ECCV 2022.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ncti.companions import SFDA
    >>> X, y = load_iris(return_X_y=True)
    >>> round(SFDA().fit(X, y).score(), 3)
    -0.242
    >>> round(SFDA().fit(X[:, :2], y).score(), 3)
    -0.686
    """

    _parameter_constraints: dict = {
        "shrinkage": [StrOptions({"adaptive"}), Interval(Real, 0, 1, closed="both")],
    }

    def __init__(self, *, shrinkage: str | float = "adaptive"):
        self.shrinkage = shrinkage

    def _measure(self, X: np.ndarray, y: np.ndarray, n_classes: int) -> dict[str, Any]:
        # The rotation to all principal components does not change the identity, drops
        # directions outside the span of the rows, and moves the origin to the mean.
        H = principal_basis(X, min(X.shape)).project(X)
        moments = class_moments(H, y, n_classes)
        if self.shrinkage == "adaptive":
            k = len(moments.within)
            largest = eigvalsh(moments.within, subset_by_index=[k - 1, k - 1])[0]
            share = max(float(np.exp(-_DECAY * largest)), _MIN_SHRINKAGE)
        else:
            share = max(float(self.shrinkage), _MIN_SHRINKAGE)
        own_probability = np.exp(_log_posterior(H, moments, share, y))[:, None]
        targets = (moments.means.sum(axis=0) - moments.means) / (n_classes - 1)
        H *= own_probability
        H += (1 - own_probability) * targets[y]
        score = _log_posterior(H, class_moments(H, y, n_classes), share, y).mean()
        return {"score_": float(score), "shrinkage_": share}


def _log_posterior(
    H: np.ndarray, moments: ClassMoments, share: float, y: np.ndarray
) -> np.ndarray:
    """Return the log probability of the class of each row under the discriminant."""
    within = (1 - share) * moments.within
    within[np.diag_indices_from(within)] += share
    coef = cho_solve(cho_factor(within), moments.means.T)
    intercept = np.log(moments.priors) - 0.5 * np.einsum("ck,kc->c", moments.means, coef)
    out = np.empty(len(H))
    # Classes are processed one by one, so that the posterior of all rows is never in memory.
    for c in range(len(intercept)):
        rows = np.flatnonzero(y == c)
        out[rows] = log_softmax(H[rows] @ coef + intercept, axis=1)[:, c]
    return out
