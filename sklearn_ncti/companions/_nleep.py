"""NLEEP: LEEP with the components of a Gaussian mixture as source classes."""

from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.mixture import GaussianMixture
from sklearn.utils._param_validation import Interval, StrOptions

from .._linalg.pca import principal_basis
from ._base import BaseCompanion
from ._leep import leep


class NLEEP(BaseCompanion):
    r"""LEEP of a Gaussian mixture: how well clusters of features predict the classes.

    A Gaussian mixture is fitted to the leading principal components of the features, without
    the labels. The posterior probabilities of its components replace the source-class
    probabilities of :class:`LEEP`. The network therefore needs no classifier. Larger is better;
    0 is best.

    Read more in the :ref:`User Guide <companions>`.

    Parameters
    ----------
    variance : float in (0, 1], default=0.8
        Fraction of the total variance that the principal components must explain.

    components_per_class : int, default=5
        Number of mixture components per class. Their total number is at most the number of rows.

    covariance_type : {"full", "tied", "diag", "spherical"}, default="full"
        Type of the covariances of the mixture, as in :class:`sklearn.mixture.GaussianMixture`.

    random_state : int, RandomState instance or None, default=0
        Controls the initialization of the mixture. The default uses the same seed for every
        candidate.

    Attributes
    ----------
    score_ : float
        Mean log probability, at most 0; larger is better.

    n_components_ : int
        Number of principal components that were used.

    n_mixture_components_ : int
        Number of mixture components that were used.

    classes_ : ndarray of shape (n_classes,)
        Class labels.

    n_features_in_ : int
        Number of features seen in `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen in `fit`. Defined only if all names are strings.

    Notes
    -----
    The formula is that of :class:`LEEP` with the posterior probabilities :math:`\theta_{iz}` of
    mixture component z. For stability, 1e-6 times the mean variance of the principal components
    is added to the variances of the mixture, so that the score does not depend on the scale of
    the features.

    The mixture depends on its random initialization and on the order of the rows. Differences
    between candidates that are smaller than differences between seeds are not meaningful. With
    few rows per mixture component, or full covariances in many dimensions, single rows become
    mixture components, and the score of any features is near 0, the best value. In this case,
    reduce `components_per_class` or use ``covariance_type="diag"``. A public implementation
    averages the predictions themselves instead of their logarithms.

    The cost is O(n d min(n, d)) for the principal components. With k of them and K mixture
    components, every step of the mixture costs O(n K k^2 + K k^3) for full covariances, and
    O(n K k) for diagonal ones. The memory is O(n K). With 1,000 classes, only diagonal
    covariances are feasible, and slow.

    References
    ----------
    .. [1] Li, Jia, Sang, Zhu, Green, Wang, Gong. "Ranking Neural Checkpoints". CVPR 2021.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ncti.companions import NLEEP
    >>> X, y = load_iris(return_X_y=True)
    >>> round(NLEEP(components_per_class=1).fit(X, y).score(), 2)
    -0.27
    """

    _parameter_constraints: dict = {
        "variance": [Interval(Real, 0, 1, closed="right")],
        "components_per_class": [Interval(Integral, 1, None, closed="left")],
        "covariance_type": [StrOptions({"full", "tied", "diag", "spherical"})],
        "random_state": ["random_state"],
    }
    _is_scale_free = True

    def __init__(
        self,
        *,
        variance: float = 0.8,
        components_per_class: int = 5,
        covariance_type: str = "full",
        random_state: int | np.random.RandomState | None = 0,
    ):
        self.variance = variance
        self.components_per_class = components_per_class
        self.covariance_type = covariance_type
        self.random_state = random_state

    def _measure(self, X: np.ndarray, y: np.ndarray, n_classes: int) -> dict[str, Any]:
        basis = principal_basis(X, min(X.shape))
        real = int((~basis.is_noise).sum())
        reached = np.cumsum(basis.variances[:real]) / basis.total_variance
        # Rounding can make the last ratio slightly smaller than 1.
        k = min(int(np.searchsorted(reached, self.variance)) + 1, real)
        H = basis.leading(k).project(X)
        mixture = GaussianMixture(
            min(self.components_per_class * n_classes, len(X)),
            covariance_type=self.covariance_type,
            reg_covar=1e-6 * float(basis.variances[:k].mean()),
            random_state=self.random_state,
        )
        return {
            "score_": leep(mixture.fit(H).predict_proba(H), y, n_classes),
            "n_components_": k,
            "n_mixture_components_": mixture.n_components,
        }
