"""SFDA, a Fisher discriminant that is made hard for itself."""

from numbers import Real

import numpy as np
from scipy.linalg import cho_factor, cho_solve, eigvalsh
from scipy.special import log_softmax
from sklearn.utils._param_validation import Interval, StrOptions

from .._linalg.moments import class_moments
from .._linalg.pca import principal_basis
from ._base import BaseCompanion

# How fast the adaptive shrinkage falls with the largest variance within the classes.
_DECAY = 5.0
_SHRINKAGE_FLOOR = 1e-10


class SFDA(BaseCompanion):
    r"""Self-challenging Fisher discriminant: log-likelihood after classes were mixed.

    A regularised Fisher discriminant gives every row the probability of its class. Each row
    is then moved towards the mean of the other classes, the farther the less sure its class
    is, and a second discriminant is fitted to the moved rows. The score is the mean log
    probability that it gives to the true classes. Larger is better; 0 is best.

    Read more in the :ref:`User Guide <companions>`.

    Parameters
    ----------
    shrinkage : {"adaptive"} or float in [0, 1], default="adaptive"
        Share of the identity in the scatter within the classes. "adaptive" is
        ``max(exp(-5 s), 1e-10)`` with the largest eigenvalue s of that scatter; a number below
        1e-10 counts as 1e-10.

    Attributes
    ----------
    score_ : float
        Mean log probability of the true class, at most 0; larger is better.

    shrinkage_ : float
        The share that was used, in both discriminants.

    classes_ : ndarray of shape (n_classes,)
        Class labels.

    n_features_in_ : int
        Number of features seen in `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen in `fit`. Defined only if all names are strings.

    Notes
    -----
    With the maximum-likelihood scatter :math:`S_w` within the classes, the shrinkage
    :math:`\lambda`, :math:`W = (1 - \lambda) S_w + \lambda I` and the class shares
    :math:`\pi_c`, the discriminant is

    .. math::

       p(c \mid x) \propto \exp\bigl( \mu_c^\top W^{-1} x
       - \tfrac12 \mu_c^\top W^{-1} \mu_c + \log \pi_c \bigr).

    The paper writes it with the projection :math:`U` on the Fisher axes;
    :math:`U U^\top` acts on differences of class means as :math:`W^{-1}` does, and the rest
    cancels in the softmax. The moved rows are :math:`p_i x_i + (1 - p_i) \bar\mu_{y_i}` with
    :math:`p_i = p(y_i \mid x_i)` and the plain mean :math:`\bar\mu_c` of the other classes'
    means.

    The released code differs from these equations: it shrinks towards the identity times the
    mean variance within the classes; it puts the probabilities of the first discriminant
    through the softmax a second time, which moves all rows far; it takes three steps of power
    iteration for the largest eigenvalue; and it returns the mean probability instead of its
    logarithm. Scores from there do not compare with these.

    The identity has the units of the squared features, and so :math:`\lambda` depends on
    their scale: features of small variance are shrunk heavily, and of two candidates that
    differ in scale only, the smaller has the worse score. With few rows per feature the
    discriminant fits noise, twice.

    Costs O(n d min(n, d) + min(n, d)^3) twice and O(n C min(n, d)), and keeps a float64 copy of
    the features.

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

    def _measure(self, X, y, n_classes):
        # A rotation to the principal components, all of them: the identity stays what it is,
        # directions without rows fall away, and the origin is the mean.
        H = principal_basis(X, min(X.shape)).project(X)
        moments = class_moments(H, y, n_classes)
        if self.shrinkage == "adaptive":
            k = len(moments.within)
            largest = eigvalsh(moments.within, subset_by_index=[k - 1, k - 1])[0]
            share = max(float(np.exp(-_DECAY * largest)), _SHRINKAGE_FLOOR)
        else:
            share = max(float(self.shrinkage), _SHRINKAGE_FLOOR)
        sure = np.exp(_log_posterior(H, moments, share, y))[:, None]
        others = (moments.means.sum(axis=0) - moments.means) / (n_classes - 1)
        H *= sure
        H += (1 - sure) * others[y]
        score = _log_posterior(H, class_moments(H, y, n_classes), share, y).mean()
        return {"score_": float(score), "shrinkage_": share}


def _log_posterior(H, moments, share, y):
    """Log probability of each row's own class under the discriminant of these moments."""
    within = (1 - share) * moments.within
    within[np.diag_indices_from(within)] += share
    coef = cho_solve(cho_factor(within), moments.means.T)
    intercept = np.log(moments.priors) - 0.5 * np.einsum("ck,kc->c", moments.means, coef)
    out = np.empty(len(H))
    # One class after the other keeps the posterior of all rows out of memory.
    for c in range(len(intercept)):
        rows = np.flatnonzero(y == c)
        out[rows] = log_softmax(H[rows] @ coef + intercept, axis=1)[:, c]
    return out
