"""TransRate: mutual information of features and labels from coding rates."""

from numbers import Real
from typing import Any

import numpy as np
from scipy.linalg import eigvalsh
from sklearn.utils._param_validation import Interval

from .._linalg.moments import gram
from .._linalg.pca import centered_squares
from ._base import BaseCompanion


class TransRate(BaseCompanion):
    r"""TransRate: coding rate of the features minus the mean coding rate of the classes.

    The coding rate for a given distortion approximates the entropy of the features. The score,
    the rate of all features minus the mean rate of the classes, estimates the mutual information
    of features and labels. It is at least 0. Larger is better.

    Read more in the :ref:`User Guide <companions>`.

    Parameters
    ----------
    eps : float, default=1e-4
        Distortion, in squared units of the features.

    Attributes
    ----------
    score_ : float
        Difference of the rates in nats, at least 0; larger is better.

    classes_ : ndarray of shape (n_classes,)
        Class labels.

    n_features_in_ : int
        Number of features seen in `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen in `fit`. Defined only if all names are strings.

    Notes
    -----
    With the features :math:`Z` centered at their overall mean, and the rows :math:`Z_c` of
    class c,

    .. math::

       R(Z) = \tfrac12 \log \det \bigl( I + \tfrac{1}{n \varepsilon} Z^\top Z \bigr), \qquad
       \mathrm{TrR} = R(Z) - \sum_c \frac{n_c}{n} R(Z_c).

    The weights :math:`n_c / n` are those of the conditional entropy. The public code divides by
    the number of classes instead, which is the same for balanced classes. For unbalanced
    classes, only the weights :math:`n_c / n` guarantee a score of at least 0, by the concavity
    of the log-determinant.

    The score depends on the scale of the features, because `eps` is in squared units of the
    features. :math:`\sqrt \varepsilon` should be far below their spread. To compare candidates
    of very different scale, divide the features of each by the square root of their total
    variance. The score also increases with the number of features: if a class has fewer rows
    than features, every feature adds about the same amount, and noise with more features scores
    higher.

    The cost is O(n d min(n, d) + min(n, d)^3), and the same with n_c instead of n for each
    class.

    References
    ----------
    .. [1] Huang, Huang, Rong, Yang, Wei. "Frustratingly Easy Transferability Estimation".
       ICML 2022.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ncti.companions import TransRate
    >>> X, y = load_iris(return_X_y=True)
    >>> round(TransRate().fit(X, y).score(), 3)
    0.589
    >>> round(TransRate().fit(X[:, :2], y).score(), 3)
    0.146
    """

    _parameter_constraints: dict = {"eps": [Interval(Real, 0, None, closed="neither")]}

    def __init__(self, *, eps: float = 1e-4):
        self.eps = eps

    def _measure(self, X: np.ndarray, y: np.ndarray, n_classes: int) -> dict[str, Any]:
        counts = np.bincount(y)
        mean, squares = centered_squares(X)
        rate = self._rate(squares, len(X))
        for rows in np.split(np.argsort(y, kind="stable"), np.cumsum(counts)[:-1]):
            squares = np.clip(eigvalsh(gram(X[rows], mean)), 0.0, None)
            rate -= len(rows) / len(X) * self._rate(squares, len(rows))
        return {"score_": float(rate)}

    def _rate(self, squares: np.ndarray, n: int) -> float:
        """Return the coding rate of `n` rows with these squared singular values."""
        return 0.5 * np.log1p(squares / (n * self.eps)).sum()
