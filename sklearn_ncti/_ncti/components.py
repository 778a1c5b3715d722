"""One transformer per component of the index, for pipelines."""

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.metaestimators import available_if

from .._utils.resampling import Draws
from .base import (
    BaseNCTI,
    CoordinatesMixin,
    PosteriorClassifierMixin,
    PosteriorMixin,
    measures_fitted_rows,
)


class _OneComponentMixin:
    """The score is the one component that the estimator measures."""

    def score(self, X: ArrayLike | None = None, y: ArrayLike | None = None) -> float:
        """Value of the component on the fitted rows, or on others under the projection.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), default=None
            Rows to score under the fitted projection; None for the fitted rows.

        y : array-like of shape (n_samples,), default=None
            Their classes.

        Returns
        -------
        score : float
            The component; larger is better.
        """
        return self._components_of(X, y).raw[self._measured[0]]

    @available_if(measures_fitted_rows)
    def resample(self, draws: Draws) -> np.ndarray:
        """Score of every resample of the fitted rows.

        Only for ``variant="released"`` without `cv`, as :meth:`NCTIScorer.resample`.

        Parameters
        ----------
        draws : Draws
            Weights of the rows in every resample, see :class:`~sklearn_ncti.FeatureScorer`.

        Returns
        -------
        scores : ndarray of shape (n_resamples,)
            The component in every resample.
        """
        return self._resampled(draws).raw[self._measured[0]]


class SELIGeometry(_OneComponentMixin, CoordinatesMixin, BaseNCTI):
    """Discriminant coordinates of the features, and the SELI component measured on them.

    Simplex-encoded-label interpolation (SELI [2]_) is the geometry that features and
    classifier take at the end of training, for balanced and unbalanced classes alike. The
    component is the nuclear norm of the coordinates in which the classes differ most: it is
    larger the more of these directions the features fill, and the farther they part the
    classes in units of the spread within a class.

    Read more in the :ref:`User Guide <components>`.

    Parameters
    ----------
    n_components : int, default=64
        Principal components that are kept, k = min(n_components, n_samples, n_features).
        Not used by ``variant="paper"``, which keeps all.

    shrinkage : {"adaptive"} or float in [0, 1], default="adaptive"
        Share of the isotropic target in the scatters, as in
        :class:`~sklearn_ncti.NCTIScorer`.

    variant : {"released", "paper"}, default="released"
        "released" measures the centred discriminant coordinates, "paper" the features
        themselves.

    cv : int, cross-validation splitter or iterable of splits, default=None
        How rows are held out before they are measured, as in
        :class:`~sklearn_ncti.NCTIScorer`; None measures the fitted rows themselves.

    Attributes
    ----------
    seli_ : float
        The component; larger is better.

    shrinkage_ : float
        The share that was used, in [1e-10, 1].

    n_components_ : int
        Number of principal components.

    explained_variance_ratio_ : ndarray of shape (n_components_,)
        Share of the total variance along each principal component.

    classes_ : ndarray of shape (n_classes,)
        The class labels.

    n_features_in_ : int
        Number of features seen in `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where `X` has names that are all strings.

    See Also
    --------
    NCTIScorer : All three components at once.

    References
    ----------
    .. [1] Wang et al. "How Far Pre-trained Models Are from Neural Collapse on the Target
       Dataset Informs their Transferability". ICCV 2023, pp. 5549-5558.
    .. [2] Thrampoulidis, Kini, Vakilian, Behnia. "Imbalance Trouble: Revisiting
       Neural-Collapse Geometry". arXiv 2208.05512.

    Examples
    --------
    The component is the sum of the singular values of what `transform` gives:

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
    """Nearest class center in the metric of the within-class scatter, and its component.

    At neural collapse the best classifier is the one that picks the nearest class center.
    The component is the mean probability that this classifier gives to the true class,
    with ``p(c | h) ~ exp(mu_c' W^-1 h - mu_c' W^-1 mu_c / 2 + log pi_c)``.

    `score` is that component, not the accuracy; the accuracy is
    ``sklearn.metrics.accuracy_score(y, clf.predict(X))``.

    Read more in the :ref:`User Guide <components>`.

    Parameters
    ----------
    n_components : int, default=64
        Principal components that are kept, k = min(n_components, n_samples, n_features).
        Not used by ``variant="paper"``, which keeps all.

    shrinkage : {"adaptive"} or float in [0, 1], default="adaptive"
        Share of the isotropic target in the scatters, as in
        :class:`~sklearn_ncti.NCTIScorer`.

    variant : {"released", "paper"}, default="released"
        "released" works in the principal components, "paper" in all features.

    cv : int, cross-validation splitter or iterable of splits, default=None
        How rows are held out before they are measured, as in
        :class:`~sklearn_ncti.NCTIScorer`; None measures the fitted rows themselves.

    Attributes
    ----------
    ncc_ : float
        The component, in [0, 1]; larger is better.

    shrinkage_ : float
        The share that was used, in [1e-10, 1].

    n_components_ : int
        Number of principal components.

    explained_variance_ratio_ : ndarray of shape (n_components_,)
        Share of the total variance along each principal component.

    classes_ : ndarray of shape (n_classes,)
        The class labels.

    n_features_in_ : int
        Number of features seen in `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where `X` has names that are all strings.

    See Also
    --------
    NCTIScorer : All three components at once.
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
    """Posterior of the features, and the variability component measured on it.

    Where classes have collapsed, the posterior rows of one class are all alike, and the
    matrix that they form has a small nuclear norm. The component is
    ``vc = -log sum_c ||P_c||_*`` over the posterior rows ``P_c`` of each class. The minus
    sign makes larger better: a larger `vc_` means *less* variability within the classes.

    Read more in the :ref:`User Guide <components>`.

    Parameters
    ----------
    n_components : int, default=64
        Principal components that are kept, k = min(n_components, n_samples, n_features).
        Not used by ``variant="paper"``, which keeps all.

    shrinkage : {"adaptive"} or float in [0, 1], default="adaptive"
        Share of the isotropic target in the scatters, as in
        :class:`~sklearn_ncti.NCTIScorer`.

    variant : {"released", "paper"}, default="released"
        "paper" takes the posterior from all features and leaves the logarithm out.

    cv : int, cross-validation splitter or iterable of splits, default=None
        How rows are held out before they are measured, as in
        :class:`~sklearn_ncti.NCTIScorer`; None measures the fitted rows themselves.

    Attributes
    ----------
    vc_ : float
        The component; larger is better.

    shrinkage_ : float
        The share that was used, in [1e-10, 1].

    n_components_ : int
        Number of principal components.

    explained_variance_ratio_ : ndarray of shape (n_components_,)
        Share of the total variance along each principal component.

    classes_ : ndarray of shape (n_classes,)
        The class labels.

    n_features_in_ : int
        Number of features seen in `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where `X` has names that are all strings.

    See Also
    --------
    NCTIScorer : All three components at once.

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
