"""NLEEP, LEEP with the components of a Gaussian mixture for source classes."""

from numbers import Integral, Real

import numpy as np
from sklearn.mixture import GaussianMixture
from sklearn.utils._param_validation import Interval, StrOptions

from .._linalg.pca import principal_basis
from ._base import BaseCompanion
from ._leep import leep


class NLEEP(BaseCompanion):
    r"""LEEP of a Gaussian mixture: how well clusters of the features predict the classes.

    A Gaussian mixture is fitted to the leading principal components of the features, without
    the labels. The memberships of its components then take the place of the source-class
    probabilities of :class:`LEEP`, so that a network without a classifier can be scored.
    Larger is better; 0 is best.

    Read more in the :ref:`User Guide <companions>`.

    Parameters
    ----------
    variance : float in (0, 1], default=0.8
        Share of the total variance that the principal components have to reach.

    components_per_class : int, default=5
        Components of the mixture for each class. There are never more than rows.

    covariance_type : {"full", "tied", "diag", "spherical"}, default="full"
        Covariances of the mixture, as in :class:`sklearn.mixture.GaussianMixture`.

    random_state : int, RandomState instance or None, default=0
        Where the mixture starts. The default starts in the same way for every candidate.

    Attributes
    ----------
    score_ : float
        Mean log probability, at most 0; larger is better.

    n_components_ : int
        Number of principal components.

    n_mixture_components_ : int
        Number of components of the mixture.

    classes_ : ndarray of shape (n_classes,)
        Class labels.

    n_features_in_ : int
        Number of features seen in `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen in `fit`. Defined only if all names are strings.

    Notes
    -----
    The formula is that of :class:`LEEP` with the memberships :math:`\theta_{iz}` of mixture
    component z. The variance added to the components for stability is a millionth of the mean
    variance of the features that are mixed, so that the score does not depend on their scale.

    A mixture is found from a random start, and another start or another order of the rows
    finds another one: differences between candidates below those between seeds mean nothing.
    With few rows for each component, or full covariances in many dimensions, components hold
    on to single rows, and the score of any features comes near 0, the best; in such cases
    lower `components_per_class` or use ``covariance_type="diag"``. A public implementation
    averages the predictions themselves instead of their logarithms.

    Costs O(n d min(n, d)) for the principal components and, with k of them, K mixture
    components and full covariances, O(n K k^2 + K k^3) for every step of the mixture, O(n K k)
    with diagonal ones. n K memberships are kept. With 1,000 classes only the latter is
    feasible, and slow.

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

    def _measure(self, X, y, n_classes):
        basis = principal_basis(X, min(X.shape))
        real = int((~basis.is_noise).sum())
        reached = np.cumsum(basis.variances[:real]) / basis.total_variance
        # The last ratio may be a rounding below 1.
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
