"""SELIGeometry, NearestCenterClassifier and WithinClassVariability: one component each."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.metaestimators import available_if

from .._utils.components import Components
from .._utils.resampling import Draws
from .base import (
    BaseNCTI,
    CoordinatesMixin,
    PosteriorClassifierMixin,
    PosteriorMixin,
    can_resample,
)


class _OneComponentMixin:
    """Mixin of estimators that measure one component, which is their score."""

    # Members of BaseNCTI, which a subclass also inherits from.
    _measured: tuple[str, ...]
    _components_of: Callable[[Any, Any], Components]
    _resample: Callable[[Draws], Components]

    def score(self, X: ArrayLike | None = None, y: ArrayLike | None = None) -> float:
        """Return the component of the fitted rows, or of other rows under the projection.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), default=None
            Rows to score under the fitted projection. If None, the fitted rows are scored.

        y : array-like of shape (n_samples,), default=None
            Classes of these rows.

        Returns
        -------
        score : float
            Value of the component; larger is better.
        """
        return self._components_of(X, y).raw[self._measured[0]]

    @available_if(can_resample)
    def resample(self, draws: Draws) -> np.ndarray:
        """Return the score of every bootstrap resample of the fitted rows.

        Available for ``variant="released"`` with `cv` None or "loo", as
        :meth:`NCTIScorer.resample`.

        Parameters
        ----------
        draws : Draws
            Weights of the rows in each resample, see :class:`~sklearn_ncti.FeatureScorer`.

        Returns
        -------
        scores : ndarray of shape (n_resamples,)
            Value of the component in each resample.
        """
        return self._resample(draws).raw[self._measured[0]]


class SELIGeometry(_OneComponentMixin, CoordinatesMixin, BaseNCTI):
    """Discriminant coordinates of features, and their SELI component.

    Simplex-encoded-label interpolation (SELI [2]_) is the geometry of features and classifier at
    the end of training, for balanced and unbalanced classes. The component is the nuclear norm
    of the coordinates along which the classes differ most. It increases with the number of
    directions that separate classes, and with the distance between classes relative to the
    spread within classes.

    Read more in the :ref:`User Guide <components>`.

    Parameters
    ----------
    n_components : int, default=64
        Number of principal components. The number used is
        k = min(n_components, n_samples, n_features). Ignored by ``variant="paper"``, which uses
        all components.

    shrinkage : {"adaptive", "scale-free"} or float in [0, 1], default="adaptive"
        Weight of the isotropic target in the regularized scatters, as in
        :class:`~sklearn_ncti.NCTIScorer`.

    variant : {"released", "paper"}, default="released"
        "released" measures the centered discriminant coordinates, "paper" the features
        themselves.

    cv : int, "loo", cross-validation splitter or iterable of splits, default=None
        Cross-validation strategy used to score held-out rows, as in
        :class:`~sklearn_ncti.NCTIScorer`. If None, the fitted rows themselves are scored.

    Attributes
    ----------
    seli_ : float
        SELI component; larger is better.

    shrinkage_ : float
        Weight of the isotropic target that was used, in [1e-10, 1].

    n_components_ : int
        Number of principal components.

    explained_variance_ratio_ : ndarray of shape (n_components_,)
        Fraction of the total variance along each principal component.

    classes_ : ndarray of shape (n_classes,)
        Class labels.

    n_features_in_ : int
        Number of features seen in `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen in `fit`. Defined only if all names are strings.

    See Also
    --------
    NCTIScorer : All three components in one estimator.

    References
    ----------
    .. [1] Wang et al. "How Far Pre-trained Models Are from Neural Collapse on the Target
       Dataset Informs their Transferability". ICCV 2023, pp. 5549-5558.
    .. [2] Thrampoulidis, Kini, Vakilian, Behnia. "Imbalance Trouble: Revisiting
       Neural-Collapse Geometry". arXiv 2208.05512.

    Examples
    --------
    The component is the sum of the singular values of the transformed features:

    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ncti import SELIGeometry
    >>> X, y = load_iris(return_X_y=True)
    >>> seli = SELIGeometry().fit(X, y)
    >>> round(seli.score(), 3)
    83.073
    >>> Z = seli.transform(X)
    >>> round(float(np.linalg.norm(Z, "nuc")), 3)
    83.073
    """

    _measured = ("seli",)


class NearestCenterClassifier(
    _OneComponentMixin, PosteriorClassifierMixin, PosteriorMixin, BaseNCTI
):
    """Nearest class center classifier in the metric of the within-class scatter.

    At neural collapse, the best classifier predicts the class with the nearest center. The
    component is the mean probability that this classifier assigns to the true class, with
    ``p(c | h) ~ exp(mu_c' W^-1 h - mu_c' W^-1 mu_c / 2 + log pi_c)``.

    `score` returns this component, not the accuracy. For the accuracy, use
    ``sklearn.metrics.accuracy_score(y, clf.predict(X))``.

    Read more in the :ref:`User Guide <components>`.

    Parameters
    ----------
    n_components : int, default=64
        Number of principal components. The number used is
        k = min(n_components, n_samples, n_features). Ignored by ``variant="paper"``, which uses
        all components.

    shrinkage : {"adaptive", "scale-free"} or float in [0, 1], default="adaptive"
        Weight of the isotropic target in the regularized scatters, as in
        :class:`~sklearn_ncti.NCTIScorer`.

    variant : {"released", "paper"}, default="released"
        "released" uses the principal components, "paper" all features.

    cv : int, "loo", cross-validation splitter or iterable of splits, default=None
        Cross-validation strategy used to score held-out rows, as in
        :class:`~sklearn_ncti.NCTIScorer`. If None, the fitted rows themselves are scored.

    Attributes
    ----------
    ncc_ : float
        Nearest class center component, in [0, 1]; larger is better.

    shrinkage_ : float
        Weight of the isotropic target that was used, in [1e-10, 1].

    n_components_ : int
        Number of principal components.

    explained_variance_ratio_ : ndarray of shape (n_components_,)
        Fraction of the total variance along each principal component.

    classes_ : ndarray of shape (n_classes,)
        Class labels.

    n_features_in_ : int
        Number of features seen in `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen in `fit`. Defined only if all names are strings.

    See Also
    --------
    NCTIScorer : All three components in one estimator.
    sklearn.discriminant_analysis.LinearDiscriminantAnalysis : The same posterior without
        the principal components and the adaptive shrinkage.

    References
    ----------
    .. [1] Wang et al. "How Far Pre-trained Models Are from Neural Collapse on the Target
       Dataset Informs their Transferability". ICCV 2023, pp. 5549-5558.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ncti import NearestCenterClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = NearestCenterClassifier().fit(X, y)
    >>> round(clf.score(), 3)
    0.973
    >>> clf.predict(X[:3])
    array([0, 0, 0])
    """

    _measured = ("ncc",)


class WithinClassVariability(_OneComponentMixin, PosteriorMixin, BaseNCTI):
    """Posterior of features, and their variability component.

    If a class has collapsed, its posterior rows are equal, and the matrix of these rows has a
    small nuclear norm. The component is ``vc = -log sum_c ||P_c||_*`` with the posterior rows
    ``P_c`` of class c. With the minus sign, larger is better: a larger `vc_` means *less*
    variability within the classes.

    Read more in the :ref:`User Guide <components>`.

    Parameters
    ----------
    n_components : int, default=64
        Number of principal components. The number used is
        k = min(n_components, n_samples, n_features). Ignored by ``variant="paper"``, which uses
        all components.

    shrinkage : {"adaptive", "scale-free"} or float in [0, 1], default="adaptive"
        Weight of the isotropic target in the regularized scatters, as in
        :class:`~sklearn_ncti.NCTIScorer`.

    variant : {"released", "paper"}, default="released"
        "paper" uses the posterior of all features, and omits the logarithm.

    cv : int, "loo", cross-validation splitter or iterable of splits, default=None
        Cross-validation strategy used to score held-out rows, as in
        :class:`~sklearn_ncti.NCTIScorer`. If None, the fitted rows themselves are scored.

    Attributes
    ----------
    vc_ : float
        Variability component; larger is better.

    shrinkage_ : float
        Weight of the isotropic target that was used, in [1e-10, 1].

    n_components_ : int
        Number of principal components.

    explained_variance_ratio_ : ndarray of shape (n_components_,)
        Fraction of the total variance along each principal component.

    classes_ : ndarray of shape (n_classes,)
        Class labels.

    n_features_in_ : int
        Number of features seen in `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen in `fit`. Defined only if all names are strings.

    See Also
    --------
    NCTIScorer : All three components in one estimator.

    References
    ----------
    .. [1] Wang et al. "How Far Pre-trained Models Are from Neural Collapse on the Target
       Dataset Informs their Transferability". ICCV 2023, pp. 5549-5558.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ncti import WithinClassVariability
    >>> X, y = load_iris(return_X_y=True)
    >>> vc = WithinClassVariability().fit(X, y)
    >>> round(vc.score(), 3)
    -3.126
    >>> P = vc.transform(X)
    >>> norms = [np.linalg.norm(P[y == c], "nuc") for c in vc.classes_]
    >>> round(float(-np.log(np.sum(norms))), 3)
    -3.126
    """

    _measured = ("vc",)
