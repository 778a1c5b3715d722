"""HScore: variance of the features that the classes explain."""

from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from .._linalg.pca import principal_basis
from ._base import BaseCompanion, cross_products, one_hot, row_blocks


class HScore(BaseCompanion):
    r"""H-score: variance between classes relative to the covariance of the features.

    The score is large if the class means are far apart along directions with little variance
    within classes. It is at least 0 and at most the number of classes minus one. Larger is
    better.

    Read more in the :ref:`User Guide <companions>`.

    Parameters
    ----------
    shrinkage : {"ledoit-wolf"}, float in [0, 1) or None, default="ledoit-wolf"
        Shrinkage of the covariance of the features towards a multiple of the identity.
        "ledoit-wolf" uses the formula of Ledoit and Wolf as in [2]_, and a number is the weight
        of the identity. If None, there is no shrinkage, and the pseudo-inverse is used as in
        [1]_.

    Attributes
    ----------
    score_ : float
        H-score, in [0, n_classes - 1]; larger is better.

    shrinkage_ : float
        Weight of the identity that was used.

    classes_ : ndarray of shape (n_classes,)
        Class labels.

    n_features_in_ : int
        Number of features seen in `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen in `fit`. Defined only if all names are strings.

    Notes
    -----
    With the maximum-likelihood covariance :math:`\Sigma` of the features, the covariance
    :math:`\Sigma_z` of the features after each row is replaced by the mean of its class, and
    :math:`\Sigma_\alpha = (1 - \alpha) \Sigma + \alpha \operatorname{tr}(\Sigma) / d \; I`,

    .. math:: H_\alpha = (1 - \alpha) \operatorname{tr}(\Sigma_\alpha^{-1} \Sigma_z).

    Without shrinkage, the score does not change under invertible linear maps of the features.
    With few rows, however, it is too optimistic: if :math:`n \le d + 1` and the rows are in
    general position, it is :math:`C - 1` for *any* features, including noise. [2]_ introduced
    shrinkage for this reason. With shrinkage, the score depends on the relative scale of the
    features.

    The shrunk score of the paper contains the factor :math:`1 - \alpha` for the class means.
    Implementations without it give another ranking, because :math:`\alpha` differs between
    candidates.

    The cost is O(n d min(n, d) + min(n, d)^3).

    References
    ----------
    .. [1] Bao, Li, Huang, Zhang, Zheng, Zamir, Guibas. "An Information-Theoretic Approach to
       Transferability in Task Transfer Learning". ICIP 2019.
    .. [2] Ibrahim, Ponomareva, Mazumder. "Newer is not always better: Rethinking
       transferability metrics, their peculiarities, stability and performance". ECML PKDD
       2022.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ncti.companions import HScore
    >>> X, y = load_iris(return_X_y=True)
    >>> round(HScore().fit(X, y).score(), 3)
    1.17
    >>> round(HScore(shrinkage=None).fit(X, y).score(), 3)
    1.192
    """

    _parameter_constraints: dict = {
        "shrinkage": [StrOptions({"ledoit-wolf"}), Interval(Real, 0, 1, closed="left"), None],
    }
    _is_scale_free = True

    def __init__(self, *, shrinkage: str | float | None = "ledoit-wolf"):
        self.shrinkage = shrinkage

    def _measure(self, X: np.ndarray, y: np.ndarray, n_classes: int) -> dict[str, Any]:
        n, d = X.shape
        basis = principal_basis(X, min(n, d))
        variances = basis.variances * ((n - 1) / n)
        if self.shrinkage == "ledoit-wolf":
            share = _ledoit_wolf_share(X, basis.mean, variances)
        else:
            share = float(self.shrinkage or 0.0)
        counts = np.bincount(y)
        means = cross_products(one_hot(y, n_classes), X) / counts[:, None]
        # The class means are in the span of the rows, so that the shrunk covariance is needed
        # only along the principal axes.
        real = ~basis.is_noise
        offsets = (means - basis.mean) @ basis.axes[:, real]
        shrunk = (1 - share) * variances[real] + share * variances.sum() / d
        between = counts @ offsets**2 / n
        return {"score_": float((1 - share) * (between / shrunk).sum()), "shrinkage_": share}


def _ledoit_wolf_share(X: np.ndarray, mean: np.ndarray, variances: np.ndarray) -> float:
    """Return the weight of the identity by the formula of Ledoit and Wolf.

    The formula needs the eigenvalues of the covariance and the fourth powers of the norms of the
    rows, for which one pass over the rows is enough. scikit-learn's function computes the
    product of the whole matrix once more.
    """
    n, d = X.shape
    fourth = sum((((block - mean) ** 2).sum(axis=1) ** 2).sum() for _, block in row_blocks(X))
    size = (variances**2).sum()
    spread = size - variances.sum() ** 2 / d
    return float(min((fourth / n - size) / n / spread, 1.0)) if d > 1 and spread > 0 else 0.0
