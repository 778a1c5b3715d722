"""Moments of classes to shrinkage, discriminant axes and posterior.

Everything after the principal basis happens in its k dimensions, where second moments of a
few dozen columns replace factorizations of matrices with one row per sample.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve, eigh

from .._linalg.moments import ClassMoments
from .._linalg.nuclear import class_nuclear_norms
from .._linalg.pca import PrincipalBasis, with_fixed_signs
from .._linalg.threads import one_blas_thread
from .._utils.arrays import namespace, to_device_of

_EPS = np.finfo(np.float64).eps

#: Least value of the shrinkage; at it, the scatter is not shrunk at all.
SHRINKAGE_FLOOR = 1e-10

#: Relative singular value under which a direction counts as absent in the unshrunk case.
RANK_TOLERANCE = 1e-4

#: By how much axes along which nothing varies are put behind others of the same lambda: above
#: rounding of the eigenvalues that are compared, which are of the order of 1.
TIE = 1e-10

#: Principal components whose variances the adaptive shrinkage looks at.
N_SHRINKAGE_COMPONENTS = 32


@dataclass(frozen=True)
class Discriminant:
    """Linear discriminant of labelled features in their principal coordinates.

    Attributes
    ----------
    basis : PrincipalBasis
        From features to principal coordinates.

    shrinkage : float
        Share of the isotropic target in the regularised scatters.

    n_dims : int
        Dimensions over which the isotropic target spreads the trace of a scatter.

    centers : ndarray of shape (n_classes, k)
        Class means.

    axes : ndarray of shape (k, q)
        Discriminant axes by falling ratio of between-class to within-class scatter.

    coef : ndarray of shape (k, n_classes)
        Linear coefficients of the log posterior.

    intercept : ndarray of shape (n_classes,)
        Constants of the log posterior.
    """

    basis: PrincipalBasis
    shrinkage: float
    n_dims: int
    centers: np.ndarray
    axes: np.ndarray
    coef: np.ndarray
    intercept: np.ndarray

    def posterior(self, H: Any) -> Any:
        """Class probabilities of rows in principal coordinates, shape (n_samples, n_classes)."""
        xp = namespace(H)
        P = H @ to_device_of(self.coef, H)
        P += to_device_of(self.intercept, H)
        P -= xp.amax(P, 1)[:, None]
        xp.exp(P, out=P)
        P /= P.sum(1)[:, None]
        return P

    def posterior_by_class(self, H: Any, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Nuclear norm of each class's posterior rows, and sum of their true entries."""
        n_classes = len(self.centers)
        return class_nuclear_norms(self.posterior, H, y, n_classes, n_classes)

    def variances_of(self, within: np.ndarray, total: np.ndarray) -> np.ndarray:
        """Variances along every discriminant axis of rows with these scatters, shape (3, q).

        In this order: e'We of the scatter about the fitted means of the rows' classes, e'Te of
        that about the fitted mean, both regularised as the fitted scatters were, and e'S_t e,
        which is not.
        """
        plain = np.einsum("ij,ij->j", self.axes, total @ self.axes)
        return np.array([self._along_axes(within), self._along_axes(total), plain])

    def _along_axes(self, scatter: np.ndarray) -> np.ndarray:
        """Regularised scatter ``e'Se`` along every axis, shape (q,)."""
        own = np.einsum("ij,ij->j", self.axes, scatter @ self.axes)
        if self.shrinkage <= SHRINKAGE_FLOOR:
            return own
        target = np.trace(scatter) / self.n_dims * (self.axes**2).sum(axis=0)
        return (1.0 - self.shrinkage) * own + self.shrinkage * target


def canonical_correlations(within: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Canonical correlations ``sqrt(1 - e'We / e'Te)`` of the axes e.

    For rows that the fit has not seen, e'We can exceed e'Te; the correlation is then 0.
    """
    ratio = np.divide(within, total, out=np.ones_like(within), where=total > 0)
    return np.sqrt(np.clip(1.0 - ratio, 0.0, 1.0))


def adaptive_shrinkage(variances: np.ndarray) -> float:
    """Shrinkage that the authors' code takes from the leading explained variances.

    ``max(exp(-(ev_1 + ... + ev_32)), 1e-10)``: features of small scale are shrunk heavily,
    features of large scale not at all.
    """
    return max(float(np.exp(-variances[:N_SHRINKAGE_COMPONENTS].sum())), SHRINKAGE_FLOOR)


def fit_discriminant(
    basis: PrincipalBasis,
    moments: ClassMoments,
    *,
    shrinkage: float | None,
    n_dims: int,
) -> Discriminant:
    """Discriminant axes and posterior of labelled rows in principal coordinates.

    Parameters
    ----------
    basis : PrincipalBasis
        The principal components.

    moments : ClassMoments
        Moments of the classes in principal coordinates; every class has a row.

    shrinkage : float or None
        Share of the isotropic target; None for the adaptive one.

    n_dims : int
        Dimensions over which the target spreads the trace of a scatter.

    Returns
    -------
    discriminant : Discriminant
        The fitted discriminant.
    """
    if shrinkage is None:
        t = adaptive_shrinkage(basis.variances)
    else:
        t = max(float(shrinkage), SHRINKAGE_FLOOR)
    with one_blas_thread:
        if t > SHRINKAGE_FLOOR:
            axes, coef = _shrunk(moments, t, n_dims, basis)
        else:
            axes, coef = _unshrunk(moments, basis)
    with_priors = np.log(moments.priors)
    return Discriminant(
        basis=basis,
        shrinkage=t,
        n_dims=n_dims,
        centers=moments.means,
        axes=with_fixed_signs(axes),
        coef=coef,
        intercept=with_priors - 0.5 * np.einsum("ck,kc->c", moments.means, coef),
    )


def _shrunk(moments, t, n_dims, basis):
    """Axes and coefficients with ``W = (1 - t) S_w + t w I``, w the mean within variance.

    The axes solve ``(T - W) e = lambda W e``, where ``T - W = (1 - t) S_b + t b I``.
    Subtracting ``(b / w) W`` from both sides leaves
    ``(1 - t) (S_b - (b / w) S_w) e = (lambda - b / w) W e``: the same axes in the same order.
    In this form t -> 1, where T - W and W both become multiples of the identity, has a limit
    instead of an arbitrary answer.

    Directions along which nothing varies have lambda = b / w, which is also that of the only
    direction where one has all variance. Of such equals, the direction that varies comes first.
    """
    within, between = moments.within, moments.between
    # Collapsed classes leave no within-class variance to divide by.
    w = max(np.trace(within) / n_dims, _EPS * basis.variances[0])
    b = np.trace(between) / n_dims
    regular = (1.0 - t) * within / w + t * np.eye(len(within))
    contrast = (between / b if b > 0 else between) - within / w
    contrast[basis.is_noise, basis.is_noise] -= TIE * t
    _, vectors = eigh(contrast, regular)
    n_axes = min(len(moments.counts) - 1, len(within))
    axes = vectors[:, ::-1][:, :n_axes] / np.sqrt(w)
    coef = cho_solve(cho_factor(regular), moments.means.T) / w
    return axes, coef


def _unshrunk(moments, basis):
    """Axes and coefficients without shrinkage, in the span of the within-class scatter.

    The steps are those of scikit-learn 1.9's ``LinearDiscriminantAnalysis(solver="svd")``,
    done on the scatter instead of on the rows.
    """
    whitening = within_whitening(moments, basis)
    offsets = moments.means - moments.priors @ moments.means
    spread = np.sqrt(moments.priors)[:, None] * (offsets @ whitening)
    _, singular, directions = np.linalg.svd(spread, full_matrices=False)
    used = singular > RANK_TOLERANCE * singular[0]
    axes = whitening @ directions[used].T
    return axes, axes @ (axes.T @ moments.means.T)


def within_whitening(moments: ClassMoments, basis: PrincipalBasis) -> np.ndarray:
    """Return the axes, shape (k, q), along which the scatter within the classes is 1."""
    real = np.flatnonzero(~basis.is_noise)
    within = moments.within[np.ix_(real, real)]
    # A component without within-class scatter is perfectly collapsed, which is the best case.
    # The lower bound retains it, with a deviation at rounding level, and avoids division by 0.
    variances = np.maximum(np.diag(within), _EPS * basis.variances[0])
    deviations = np.sqrt(variances)
    correlation = within / np.outer(deviations, deviations)
    np.fill_diagonal(correlation, 1.0)
    squares, vectors = eigh(correlation)
    in_span = squares > RANK_TOLERANCE**2
    whitening = np.zeros((len(moments.within), int(in_span.sum())))
    whitening[real] = vectors[:, in_span] / deviations[:, None] / np.sqrt(squares[in_span])
    return whitening
