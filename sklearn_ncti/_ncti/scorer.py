"""NCTIScorer, from features and labels to the three components and one score."""

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
    measures_fitted_rows,
)


class NCTIScorer(PosteriorClassifierMixin, CoordinatesMixin, BaseNCTI):
    """Neural Collapse Transferability Index of one feature matrix.

    Measures how near labelled features are to neural collapse, the geometry in which
    training a classifier ends: classes that shrink to points (`vc_`), class means that span
    the geometry of the labels (`seli_`), and a nearest class center that decides as well as
    the best classifier (`ncc_`). All three are larger for the better features.

    The components compare backbones on the *same* rows and labels: give the features of
    each backbone to :func:`~sklearn_ncti.rank_features`, or the backbones themselves to
    :class:`~sklearn_ncti.ModelSelector`. `score_` is one number in [0, 3] that needs no
    other candidate.

    Read more in the :ref:`User Guide <components>`.

    Parameters
    ----------
    n_components : int, default=64
        Principal components that are kept, k = min(n_components, n_samples, n_features).
        Not used by ``variant="paper"``, which keeps all.

    shrinkage : {"adaptive"} or float in [0, 1], default="adaptive"
        Share t of the isotropic target in the regularised scatters. "adaptive" is
        ``max(exp(-sum of the 32 leading explained variances), 1e-10)``. Values up to 1e-10
        mean no shrinkage; the discriminant then lives in the span of the within-class
        scatter, as in scikit-learn's ``LinearDiscriminantAnalysis(solver="svd")``.

    variant : {"released", "paper"}, default="released"
        "released" computes what the authors' code computes, from which the published
        rankings come. "paper" follows the printed equations: `seli_` is the nuclear norm of
        the features themselves, the posterior uses all features, and `vc_` has no logarithm.

    cv : int, cross-validation splitter or iterable of splits, default=None
        How rows are held out, so that each is measured under axes that were fitted without
        it; None measures the fitted rows themselves. An extension of this package for few
        rows, where the posterior of the fitted rows is far too sure. Each row must be held
        out exactly once; an integer stands for that many stratified folds. `transform` and
        the prediction methods always use the projection of all rows.

    Attributes
    ----------
    seli_ : float
        SELI component: nuclear norm of the centred discriminant coordinates (of the features
        themselves with ``variant="paper"``). Grows with the square root of the number of
        rows. Larger is better.

    ncc_ : float
        Nearest class center component: mean posterior probability of the true class, in
        [0, 1]. Larger is better.

    vc_ : float
        Variability component: ``-log`` of the summed nuclear norms of the posterior rows of
        each class (without ``log`` with ``variant="paper"``). Larger is better.

    components_ : dict of str to float
        The three, under the keys "seli", "ncc" and "vc".

    score_ : float
        Score of these features on their own, in [0, 3]. Larger is better. Features that know
        nothing of the labels come near ``1 + 1 / n_classes``, not 0, because an undecided
        posterior is an even one; fully collapsed features of balanced classes get 2.5.

    shrinkage_ : float
        The share t that was used, in [1e-10, 1].

    n_components_ : int
        The number k of principal components.

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
    rank_features : Rank several feature matrices of the same rows.
    ModelSelector : From images and backbones to a ranking.
    SELIGeometry : The SELI component alone.
    NearestCenterClassifier : The nearest class center component alone.
    WithinClassVariability : The variability component alone.

    Notes
    -----
    When the number of rows is not comfortably above ``n_components_ + n_classes``, the
    discriminant overfits and even noise looks well separated; `fit` then warns. With `cv`,
    `ncc_` and `vc_` come from held-out posteriors, and `seli_` is
    ``sum_i sqrt(n e_i' S_t e_i / e_i' W e_i)`` with both scatters of held-out rows; on the
    fitted rows, where ``e_i' W e_i`` is 1, that is the nuclear norm of uncorrelated axes.

    The cost is that of one product ``X.T @ X`` and of the leading eigenvectors of its result
    (of ``X @ X.T`` where there are fewer rows than features). Products of large float32
    features are taken in float32, within chunks that are centred first, and summed in
    float64; where the spread within the classes is too small for that, in float64.

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
        """Score of the features on their own, without other candidates.

        The sum of three parts, each in [0, 1]: the mean posterior of the true class, the
        mean canonical correlation along the discriminant axes, and the variability
        ``1 - (log V - log V_min) / (log V_max - log V_min)``, where V is the summed nuclear
        norm of the posterior by class and V_min and V_max are the least and the largest
        that probabilities with these class counts can have.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), default=None
            Rows to score under the fitted projection; None for the fitted rows.

        y : array-like of shape (n_samples,), default=None
            Their classes.

        Returns
        -------
        score : float
            In [0, 3]; larger is better.
        """
        return sum(self._components_of(X, y).absolute.values())

    def component_scores(
        self, X: ArrayLike | None = None, y: ArrayLike | None = None, *, absolute: bool = False
    ) -> dict[str, float]:
        """The three components of the fitted rows, or of others under the fitted projection.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), default=None
            Rows to score under the fitted projection; None for the fitted rows.

        y : array-like of shape (n_samples,), default=None
            Their classes.

        absolute : bool, default=False
            Return the three parts in [0, 1] that `score` adds, instead of the components.

        Returns
        -------
        components : dict of str to float
            Under the keys "seli", "ncc" and "vc"; larger is better for each.
        """
        found = self._components_of(X, y)
        return dict(found.absolute if absolute else found.raw)

    def components(self, X: ArrayLike | None = None, y: ArrayLike | None = None) -> Components:
        """The three components and their absolute parts, as a ranking takes them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), default=None
            Rows to score under the fitted projection; None for the fitted rows.

        y : array-like of shape (n_samples,), default=None
            Their classes.

        Returns
        -------
        components : Components
            `raw` is what `component_scores` returns, `absolute` the parts in [0, 1] that
            `score` adds.
        """
        return self._components_of(X, y)

    @available_if(measures_fitted_rows)
    def resample(self, draws: Draws) -> Components:
        """The three components of every resample of the fitted rows.

        The principal components stay those of all rows; the discriminant is that of the
        resample. Where there are fewer than 10 rows per component and class, the weights are
        those of the Bayesian bootstrap. Only for ``variant="released"`` without `cv`.

        Parameters
        ----------
        draws : Draws
            Weights of the rows in every resample, see :class:`~sklearn_ncti.FeatureScorer`.

        Returns
        -------
        components : Components
            Arrays of shape (n_resamples,).
        """
        return self._resampled(draws)
