"""TransRate, mutual information of features and labels as coding rates."""

from numbers import Real

import numpy as np
from scipy.linalg import eigvalsh
from sklearn.utils._param_validation import Interval

from .._linalg.moments import gram
from .._linalg.pca import centered_squares
from ._base import BaseCompanion


class TransRate(BaseCompanion):
    r"""TransRate: what coding the features costs, less what it costs class by class.

    The rate at which features can be coded up to a given distortion stands in for their
    entropy. The score is the rate of all features less the mean rate of the classes, an
    estimate of the mutual information of features and labels. Larger is better; it is never
    below 0.

    Read more in the :ref:`User Guide <companions>`.

    Parameters
    ----------
    eps : float, default=1e-4
        Distortion, in squared units of the features.

    Attributes
    ----------
    score_ : float
        The rate in nats, at least 0; larger is better.

    classes_ : ndarray of shape (n_classes,)
        Class labels.

    n_features_in_ : int
        Number of features seen in `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen in `fit`. Defined only if all names are strings.

    Notes
    -----
    With the features :math:`Z` centred at their overall mean, and :math:`Z_c` those of them
    that are of class c,

    .. math::

       R(Z) = \tfrac12 \log \det \bigl( I + \tfrac{1}{n \varepsilon} Z^\top Z \bigr), \qquad
       \mathrm{TrR} = R(Z) - \sum_c \frac{n_c}{n} R(Z_c).

    The weights :math:`n_c / n` are those of the conditional entropy; the public code divides
    by the number of classes instead. For balanced classes the two are the same; for others
    only the former keeps the score from falling below 0, which the concavity of the log
    determinant then forbids.

    The score depends on the scale of the features, as `eps` is in their units: :math:`\sqrt
    \varepsilon` is best far below their spread. Candidates of very different scale compare
    after division by a common measure such as the root of their total variance. It also grows
    with the number of features: where a class has fewer rows than features, every one of
    them adds the same, and noise of more features scores higher.

    Costs O(n d min(n, d) + min(n, d)^3), and for each class as much with n_c for n.

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

    def _measure(self, X, y, n_classes):
        counts = np.bincount(y)
        mean, squares = centered_squares(X)
        rate = self._rate(squares, len(X))
        for rows in np.split(np.argsort(y, kind="stable"), np.cumsum(counts)[:-1]):
            squares = np.clip(eigvalsh(gram(X[rows], mean)), 0.0, None)
            rate -= len(rows) / len(X) * self._rate(squares, len(rows))
        return {"score_": float(rate)}

    def _rate(self, squares, n):
        """Coding rate of `n` rows with these squared singular values."""
        return 0.5 * np.log1p(squares / (n * self.eps)).sum()
