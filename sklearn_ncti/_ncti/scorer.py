"""NCTIScorer: the three components and the score of one feature matrix."""

from typing import Self

from numpy.typing import ArrayLike
from sklearn.utils.metaestimators import available_if

from .._utils.components import Components
from .._utils.resampling import Draws
from .base import (
    COMPONENTS,
    BaseNCTI,
    CoordinatesMixin,
    PosteriorClassifierMixin,
    can_resample,
)


class NCTIScorer(PosteriorClassifierMixin, CoordinatesMixin, BaseNCTI):
    """Neural Collapse Transferability Index of one feature matrix.

    The index measures how close labelled features are to neural collapse, the geometry that
    features approach near the end of training a classifier. Each class shrinks to a point
    (`vc_`), the class means span the geometry of the labels (`seli_`), and the nearest class
    center is as good as the best classifier (`ncc_`). Larger is better for all three components.

    The components compare backbones on the *same* rows and labels. To rank backbones, pass the
    features of each to :func:`~sklearn_ncti.rank_features`, or the backbones themselves to
    :class:`~sklearn_ncti.ModelSelector`. `score_` is a single number in [0, 3] that needs no
    other candidate.

    Read more in the :ref:`User Guide <components>`.

    Parameters
    ----------
    n_components : int, default=64
        Number of principal components. The number used is
        k = min(n_components, n_samples, n_features). Ignored by ``variant="paper"``, which uses
        all components.

    shrinkage : {"adaptive", "scale-free"} or float in [0, 1], default="adaptive"
        Weight t of the isotropic target in the regularized scatters. "adaptive" is
        ``max(exp(-sum of the 32 leading explained variances), 1e-10)``. Values up to 1e-10
        disable shrinkage. "scale-free" is the same rule for features that are brought to a total
        variance of 32, so that multiplying the features by a number changes no score. Without
        shrinkage, the discriminant is restricted to the span of the within-class
        scatter, as in scikit-learn's ``LinearDiscriminantAnalysis(solver="svd")``.

    variant : {"released", "paper"}, default="released"
        "released" follows the authors' code, which produced the published rankings. "paper"
        follows the equations in the paper: `seli_` is the nuclear norm of the features
        themselves, the posterior uses all features, and `vc_` has no logarithm.

    cv : int, "loo", cross-validation splitter or iterable of splits, default=None
        Cross-validation strategy used to score held-out rows: each row is measured under axes
        that were fitted without it. If None, the fitted rows themselves are scored. This is an
        extension of this package for few rows, for which the posterior of the fitted rows is
        overconfident. Each row must be held out exactly once. An integer is the number of
        stratified folds. "loo" is an exact leave-one-out in closed form: the posterior of each
        row uses class means, priors and scatter without that row, in the principal components of
        all rows. It costs little more than the plain fit. SELI is then measured on up to 10
        stratified folds. `transform` and the prediction methods always use the projection
        fitted to all rows.

    Attributes
    ----------
    seli_ : float
        SELI component: nuclear norm of the centered discriminant coordinates, or of the
        features themselves with ``variant="paper"``. It grows with the square root of the
        number of rows. Larger is better.

    ncc_ : float
        Nearest class center component: mean posterior probability of the true class, in
        [0, 1]. Larger is better.

    vc_ : float
        Variability component: ``-log`` of the sum over classes of the nuclear norm of the
        posterior rows, without the logarithm for ``variant="paper"``. Larger is better.

    components_ : dict of str to float
        The three components, with keys "seli", "ncc" and "vc".

    score_ : float
        Score of the features without other candidates, in [0, 3]. Larger is better.
        Uninformative features score about ``1 + 1 / n_classes``, not 0, because their posterior
        falls back to the class priors. Fully collapsed features of balanced classes score 2.5.

    loo_accuracy_ : float
        Accuracy of the leave-one-out posterior, in [0, 1]. Only with ``cv="loo"``.

    shrinkage_ : float
        Weight t that was used, in [1e-10, 1].

    n_components_ : int
        Number k of principal components that were used.

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
    rank_features : Rank several feature matrices of the same rows.
    ModelSelector : Rank backbones on labelled images.
    SELIGeometry : The SELI component alone.
    NearestCenterClassifier : The nearest class center component alone.
    WithinClassVariability : The variability component alone.

    Notes
    -----
    If the number of rows is less than five times ``n_components_ + n_classes``, the discriminant
    overfits, and even noise looks well separated. `fit` then warns. With `cv`, `ncc_` and `vc_`
    come from held-out posteriors, and `seli_` is
    ``sum_i sqrt(n e_i' S_t e_i / e_i' W e_i)`` with both scatters of held-out rows. On the
    fitted rows, where ``e_i' W e_i`` is 1, this is the nuclear norm of uncorrelated axes.

    The cost is that of one product ``X.T @ X`` and the leading eigenvectors of its result (of
    ``X @ X.T`` if there are fewer rows than features). Products of large float32 features are
    computed in float32 within centered chunks, and summed in float64. If the spread within the
    classes is too small for float32, they are computed in float64.

    References
    ----------
    .. [1] Wang, Luo, Zheng, Huang, Baktashmotlagh. "How Far Pre-trained Models Are from
       Neural Collapse on the Target Dataset Informs their Transferability". ICCV 2023,
       pp. 5549-5558.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ncti import NCTIScorer
    >>> X, y = load_iris(return_X_y=True)
    >>> scorer = NCTIScorer().fit(X, y)
    >>> {name: round(value, 3) for name, value in scorer.components_.items()}
    {'seli': 83.073, 'ncc': 0.973, 'vc': -3.126}
    >>> round(scorer.score(), 3)
    2.188
    """

    #: Names of what `components` returns.
    component_names = COMPONENTS

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        super().fit(X, y)
        self.components_ = dict(self._components.raw)
        self.score_ = sum(self._components.absolute.values())
        return self

    fit.__doc__ = BaseNCTI.fit.__doc__

    def score(self, X: ArrayLike | None = None, y: ArrayLike | None = None) -> float:
        """Return the score of the features, without other candidates.

        The score is the sum of three parts, each in [0, 1]: the mean posterior of the true
        class, the mean canonical correlation along the discriminant axes, and the variability
        ``1 - (log V - log V_min) / (log V_max - log V_min)``. V is the sum over classes of the
        nuclear norm of the posterior rows. V_min and V_max are its smallest and largest
        possible values for these class counts.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), default=None
            Rows to score under the fitted projection. If None, the fitted rows are scored.

        y : array-like of shape (n_samples,), default=None
            Classes of these rows.

        Returns
        -------
        score : float
            Score in [0, 3]; larger is better.
        """
        return sum(self._components_of(X, y).absolute.values())

    def component_scores(
        self, X: ArrayLike | None = None, y: ArrayLike | None = None, *, absolute: bool = False
    ) -> dict[str, float]:
        """Return the three components of the fitted rows or of other rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), default=None
            Rows to score under the fitted projection. If None, the fitted rows are scored.

        y : array-like of shape (n_samples,), default=None
            Classes of these rows.

        absolute : bool, default=False
            Whether to return the three parts in [0, 1] that `score` adds, instead of the
            components.

        Returns
        -------
        components : dict of str to float
            Values with keys "seli", "ncc" and "vc"; larger is better for each.
        """
        components = self._components_of(X, y)
        return dict(components.absolute if absolute else components.raw)

    def components(self, X: ArrayLike | None = None, y: ArrayLike | None = None) -> Components:
        """Return the three components in the form that a ranking uses.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), default=None
            Rows to score under the fitted projection. If None, the fitted rows are scored.

        y : array-like of shape (n_samples,), default=None
            Classes of these rows.

        Returns
        -------
        components : Components
            `raw` are the values of `component_scores`, `absolute` the parts in [0, 1] that
            `score` adds.
        """
        return self._components_of(X, y)

    @available_if(can_resample)
    def resample(self, draws: Draws) -> Components:
        """Return the three components of every bootstrap resample of the fitted rows.

        All resamples use the principal components of all rows. The discriminant is fitted to
        each resample. If there are fewer than 10 rows per principal component and class, and
        with ``cv="loo"``, the weights come from the Bayesian bootstrap. An exact leave-one-out
        leaves out each row with all its weight. Available for ``variant="released"`` with `cv`
        None or "loo".

        Parameters
        ----------
        draws : Draws
            Weights of the rows in each resample, see :class:`~sklearn_ncti.FeatureScorer`.

        Returns
        -------
        components : Components
            One array of shape (n_resamples,) for each component.
        """
        return self._resample(draws)
