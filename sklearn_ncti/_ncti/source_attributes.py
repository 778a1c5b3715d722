"""SourceAttributes: diversity, compactness and separation of labelled source features."""

from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils._param_validation import Interval, StrOptions

from .._linalg.moments import ClassMoments, centered_chunks
from .._linalg.pca import PrincipalBasis
from .._linalg.spread import class_means, class_variances, projected, unit_rows
from .._utils.components import Components
from .scorer import NCTIScorer

#: Names of the attributes, in the order in which they are shown.
ATTRIBUTES = ("diversity", "compactness", "seli", "nc1", "cdnv", "class_separation")


class SourceAttributes(BaseEstimator):
    r"""Diversity, compactness and class separation of labelled *source* features.

    The source data are what a backbone was pre-trained on. Its features there describe how far
    pre-training has gone towards neural collapse. Publications disagree on whether collapse on
    the source data helps or harms on other data, so that these attributes describe a model, and
    no score of this package contains them.

    There is no `score` method: without an agreed sign, no number could be the score.

    Read more in the :ref:`User Guide <source-attributes>`.

    Parameters
    ----------
    n_components : int, default=64
        Number of principal components for `diversity_`, `compactness_` and `seli_`, as in
        :class:`~sklearn_ncti.NCTIScorer`. The other attributes use all features.

    shrinkage : {"adaptive", "scale-free"} or float in [0, 1], default="adaptive"
        Weight of the isotropic target in the regularized scatters, as in
        :class:`~sklearn_ncti.NCTIScorer`.

    Attributes
    ----------
    diversity_ : float
        Logarithm of the sum over classes of the nuclear norm of the posterior rows. It is the
        negative of `vc_` of :class:`~sklearn_ncti.NCTIScorer`. Larger is more diverse.

    compactness_ : float
        Mean posterior probability of the true class, in [0, 1]: `ncc_` of
        :class:`~sklearn_ncti.NCTIScorer`. Larger is more compact.

    seli_ : float
        Nuclear norm of the centered discriminant coordinates. Larger is more separated. It
        grows with the square root of the number of rows.

    nc1_ : float
        Within-class variability relative to the class means, at least 0. Smaller is more
        collapsed. Infinite if all class means are equal.

    cdnv_ : float
        Class-distance normalized variance, at least 0. Smaller is more collapsed. Infinite if
        two class means are equal.

    class_separation_ : float
        Class separation R2 of the directions of the rows, in [0, 1]. Larger is more separated.

    attributes_ : dict of str to float
        All of these by their names without the underscore.

    classes_ : ndarray of shape (n_classes,)
        Class labels.

    n_features_in_ : int
        Number of features seen in `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen in `fit`. Defined only if all names are strings.

    See Also
    --------
    ModelSelector.source_attributes : The same for every candidate.
    NCTIScorer : The index on the target data.

    Notes
    -----
    With the maximum-likelihood scatters :math:`S_w` within and :math:`S_b` between C classes,
    class means :math:`\mu_c`, the mean squared distance :math:`v_c` of the rows of class c to
    :math:`\mu_c`, and the means :math:`u_c` of the rows of each class after each row is divided
    by its Euclidean norm,

    .. math::

       \mathrm{NC1} &= \tfrac1C \operatorname{tr}(S_w S_b^+), \\
       \mathrm{CDNV} &= \operatorname*{mean}_{i \ne j}
       \frac{v_i + v_j}{2 \lVert \mu_i - \mu_j \rVert^2}, \\
       R^2 &= 1 - \frac{1 - \operatorname{mean}_c \lVert u_c \rVert^2}
       {1 - \lVert \operatorname{mean}_c u_c \rVert^2}.

    Differences between class means whose squares are below the level at which a principal
    component counts as rounding noise are taken as zero. A class with one row has
    :math:`v_c = 0`, as if it had collapsed. A row of zeros has no direction and stays zero, as
    in :func:`sklearn.preprocessing.normalize`. If all rows have one direction, R2 is 0.

    `nc1_`, `cdnv_` and `class_separation_` do not change if the features are rotated or
    multiplied by a number. The first two do not change either if a vector is added to all rows.
    The class separation does, because it measures directions from the origin.

    The cost is that of :class:`~sklearn_ncti.NCTIScorer`, four more passes over the features,
    and a product with as many columns as there are classes.

    References
    ----------
    .. [1] Wang et al. "How Far Pre-trained Models Are from Neural Collapse on the Target
       Dataset Informs their Transferability". ICCV 2023, pp. 5549-5558.
    .. [2] Papyan, Han, Donoho. "Prevalence of neural collapse during the terminal phase of deep
       learning training". PNAS 117(40), 2020. (NC1)
    .. [3] Galanti, Gyorgy, Hutter. "On the Role of Neural Collapse in Transfer Learning". ICLR
       2022. arXiv 2112.15121. (CDNV)
    .. [4] Kornblith, Chen, Lee, Norouzi. "Why Do Better Loss Functions Lead to Less
       Transferable Features?" NeurIPS 2021. arXiv 2010.16402. (Class separation)

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ncti import SourceAttributes
    >>> X, y = load_iris(return_X_y=True)
    >>> source = SourceAttributes().fit(X, y)
    >>> for name, value in source.attributes_.items():
    ...     print(f"{name:16} {value:7.3f}")
    diversity          3.126
    compactness        0.973
    seli              83.073
    nc1                1.708
    cdnv               0.118
    class_separation   0.950
    """

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "shrinkage": [StrOptions({"adaptive", "scale-free"}), Interval(Real, 0, 1, closed="both")],
    }

    def __init__(self, n_components: int = 64, *, shrinkage: str | float = "adaptive") -> None:
        self.n_components = n_components
        self.shrinkage = shrinkage

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Measure labelled source features.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features of the source data, as in :meth:`NCTIScorer.fit`.

        y : array-like of shape (n_samples,)
            Source class of each row: strings, integers or booleans.

        Returns
        -------
        self : SourceAttributes
            The fitted estimator.

        Raises
        ------
        ValueError
            If `X` contains NaN or infinity, has fewer than two rows or only equal rows, values
            whose squares exceed the range of float64, or whole numbers that float64 rounds. If
            `y` has another length than `X`, only one class, a missing label, or is not a vector
            of class labels.

        TypeError
            If labels cannot be sorted.
        """
        scorer = _SourceScorer(self.n_components, shrinkage=self.shrinkage).fit(X, y)
        for name in ("classes_", "n_features_in_", "feature_names_in_"):
            if hasattr(scorer, name):
                setattr(self, name, getattr(scorer, name))
        measured = {
            "diversity": -scorer.vc_,
            "compactness": scorer.ncc_,
            "seli": scorer.seli_,
            **scorer.geometry_,
        }
        self.attributes_ = {name: measured[name] for name in ATTRIBUTES}
        for name, value in self.attributes_.items():
            setattr(self, f"{name}_", value)
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.array_api_support = True
        return tags


class _SourceScorer(NCTIScorer):
    """NCTIScorer that also measures the classes in the space of all features."""

    _advice = "Add rows"

    def _measure(
        self, X: Any, H: Any, codes: np.ndarray, moments: ClassMoments | None = None
    ) -> Components:
        self.geometry_ = _geometry(X, codes, self._discriminant.basis)
        return super()._measure(X, H, codes, moments)


def _geometry(X: Any, codes: np.ndarray, basis: PrincipalBasis) -> dict[str, float]:
    """Return NC1, CDNV and class separation of validated rows."""
    counts = np.bincount(codes)
    means = class_means(centered_chunks(X, basis.mean, np.float64), codes, len(counts))
    blocks = centered_chunks(X, basis.mean, np.float64)
    variances = class_variances(blocks, codes, means)
    least_variance = max(X.shape) * np.finfo(np.float64).eps
    return {
        "nc1": _nc1(X, codes, means, basis),
        "cdnv": _cdnv(variances, means, basis.noise),
        "class_separation": _class_separation(
            class_means(unit_rows(X), codes, len(counts)), least_variance
        ),
    }


def _nc1(X: Any, codes: np.ndarray, means: np.ndarray, basis: PrincipalBasis) -> float:
    """Return ``tr(S_w pinv(S_b)) / C``, from the rows along the axes in which means differ.

    The axes are divided by the spread of the class means along them, so that the variance
    of the rows within the classes, summed over the axes, is the trace.
    """
    priors = np.bincount(codes) / len(codes)
    spread = np.sqrt(priors)[:, None] * (means - priors @ means)
    _, singular, directions = np.linalg.svd(spread, full_matrices=False)
    used = singular**2 > basis.noise
    if not used.any():
        return np.inf
    axes = directions[used].T / singular[used]
    blocks = projected(centered_chunks(X, basis.mean, np.float64), axes)
    return float(priors @ class_variances(blocks, codes, means @ axes) / len(priors))


def _cdnv(variances: np.ndarray, means: np.ndarray, noise: float) -> float:
    """Return the mean over all pairs of classes of their variance by their squared distance."""
    ratios = []
    for c in range(1, len(means)):
        squares = 2.0 * cdist(means[c : c + 1], means[:c], "sqeuclidean")[0]
        apart = squares > 2.0 * noise
        ratio = np.full(c, np.inf)
        ratios.append(np.divide(variances[c] + variances[:c], squares, out=ratio, where=apart))
    return float(np.concatenate(ratios).mean())


def _class_separation(means: np.ndarray, least: float) -> float:
    """Return the class separation from the class means of rows of unit length."""
    center = means.mean(axis=0)
    total = 1.0 - center @ center
    # All rows have one direction, up to rounding.
    if total <= least:
        return 0.0
    within = 1.0 - (means**2).sum(axis=1).mean()
    return float(np.clip(1.0 - within / total, 0.0, 1.0))
