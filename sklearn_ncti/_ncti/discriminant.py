"""Shrinkage, discriminant axes and posterior from the moments of classes.

All computations are in the k dimensions of the principal basis. They need only second moments
of a few dozen columns, and no factorization of a matrix with one row per sample.
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

#: Smallest value of the shrinkage. At this value, the scatter is not shrunk.
SHRINKAGE_FLOOR = 1e-10

#: Relative singular value below which a direction is dropped if there is no shrinkage.
RANK_TOLERANCE = 1e-4

#: Amount by which the eigenvalue of axes without variance is reduced, so that they follow other
#: axes of the same eigenvalue. It exceeds rounding errors of the eigenvalues, which are about 1.
TIE = 1e-10

#: Number of principal components whose variances determine the adaptive shrinkage.
N_SHRINKAGE_COMPONENTS = 32

#: Total variance of features under the scale-free shrinkage. The adaptive rule stops to shrink
#: where the leading variances add up to -log(1e-10) = 23. Most networks are far above that, so
#: that the published recipe does not shrink them; here this holds for features with more than
#: 72 per cent of their variance in the leading components.
SCALE_FREE_VARIANCE = 32.0


@dataclass(frozen=True)
class Discriminant:
    """Linear discriminant of labelled features in their principal coordinates.

    Attributes
    ----------
    basis : PrincipalBasis
        Principal components of the features.

    shrinkage : float
        Weight of the isotropic target in the regularized scatters.

    n_dims : int
        Number of dimensions by which the isotropic target divides the trace of a scatter.

    centers : ndarray of shape (n_classes, k)
        Class means.

    axes : ndarray of shape (k, q)
        Discriminant axes in descending order of the ratio of between-class to within-class
        scatter.

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
        """Return class probabilities of rows, shape (n_samples, n_classes)."""
        xp = namespace(H)
        P = H @ to_device_of(self.coef, H)
        P += to_device_of(self.intercept, H)
        P -= xp.amax(P, 1)[:, None]
        xp.exp(P, out=P)
        P /= P.sum(1)[:, None]
        return P

    def posterior_by_class(self, H: Any, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the nuclear norm of the posterior rows of each class, and sums of own entries.

        The own entry of a row is the probability of its true class.
        """
        n_classes = len(self.centers)
        return class_nuclear_norms(self.posterior, H, y, n_classes, n_classes)

    def variances_of(self, within: np.ndarray, total: np.ndarray) -> np.ndarray:
        """Return the variances of rows along every discriminant axis.

        Parameters
        ----------
        within : ndarray of shape (k, k)
            Scatter of the rows about the fitted means of their classes.

        total : ndarray of shape (k, k)
            Scatter of the rows about the fitted mean.

        Returns
        -------
        variances : ndarray of shape (3, q)
            e'We and e'Te, both regularized in the same way as the fitted scatters, and
            e'S_t e, which is not regularized.
        """
        plain = np.einsum("ij,ij->j", self.axes, total @ self.axes)
        return np.array([self._along_axes(within), self._along_axes(total), plain])

    def _along_axes(self, scatter: np.ndarray) -> np.ndarray:
        """Return the regularized scatter ``e'Se`` along every axis, shape (q,)."""
        own = np.einsum("ij,ij->j", self.axes, scatter @ self.axes)
        if self.shrinkage <= SHRINKAGE_FLOOR:
            return own
        target = np.trace(scatter) / self.n_dims * (self.axes**2).sum(axis=0)
        return (1.0 - self.shrinkage) * own + self.shrinkage * target


def canonical_correlations(within: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Return the canonical correlations ``sqrt(1 - e'We / e'Te)`` of the axes e.

    For rows that were not fitted, e'We can exceed e'Te. The correlation is then 0.
    """
    ratio = np.divide(within, total, out=np.ones_like(within), where=total > 0)
    return np.sqrt(np.clip(1.0 - ratio, 0.0, 1.0))


def adaptive_shrinkage(variances: np.ndarray) -> float:
    """Return the shrinkage that the authors' code computes from the explained variances.

    It is ``max(exp(-(ev_1 + ... + ev_32)), 1e-10)``: scatters of features of small scale are
    shrunk heavily, those of features of large scale not at all.
    """
    return max(float(np.exp(-variances[:N_SHRINKAGE_COMPONENTS].sum())), SHRINKAGE_FLOOR)


def scale_free_factor(basis: PrincipalBasis) -> float:
    """Return the number that brings the fitted features to one total variance."""
    return float(np.sqrt(SCALE_FREE_VARIANCE / basis.total_variance))


def scale_free_shrinkage(basis: PrincipalBasis) -> float:
    """Return the adaptive shrinkage of features that are brought to one total variance.

    Multiplying the features by a number then changes nothing.
    """
    return adaptive_shrinkage(basis.variances * scale_free_factor(basis) ** 2)


def fit_discriminant(
    basis: PrincipalBasis,
    moments: ClassMoments,
    *,
    shrinkage: float,
    n_dims: int,
) -> Discriminant:
    """Return the discriminant of labelled rows in principal coordinates.

    Parameters
    ----------
    basis : PrincipalBasis
        Principal components of the features.

    moments : ClassMoments
        Moments of the classes in principal coordinates. Every class has at least one row.

    shrinkage : float
        Weight of the isotropic target. If None, the adaptive shrinkage is used.

    n_dims : int
        Number of dimensions by which the target divides the trace of a scatter.

    Returns
    -------
    discriminant : Discriminant
        Fitted discriminant.
    """
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


def _shrunk(
    moments: ClassMoments, t: float, n_dims: int, basis: PrincipalBasis
) -> tuple[np.ndarray, np.ndarray]:
    """Return axes and coefficients for ``W = (1 - t) S_w + t w I``, w the mean within variance.

    The axes solve ``(T - W) e = lambda W e``, where ``T - W = (1 - t) S_b + t b I``.
    Subtracting ``(b / w) W`` from both sides gives
    ``(1 - t) (S_b - (b / w) S_w) e = (lambda - b / w) W e``, with the same axes in the same
    order. For t -> 1, T - W and W both become multiples of the identity. The second form has a
    limit there, whereas the axes of the first form become arbitrary.

    Directions without any variance have lambda = b / w. If only one direction has variance, its
    lambda is the same. Directions with variance then precede those without.
    """
    within, between = moments.within, moments.between
    # Collapsed classes have no within-class variance to divide by.
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


def _unshrunk(moments: ClassMoments, basis: PrincipalBasis) -> tuple[np.ndarray, np.ndarray]:
    """Return axes and coefficients without shrinkage, in the span of the within-class scatter.

    The steps are those of ``LinearDiscriminantAnalysis(solver="svd")`` of scikit-learn 1.9,
    applied to the scatter instead of the rows.
    """
    whitening = within_whitening(moments.within, basis)
    offsets = moments.means - moments.priors @ moments.means
    spread = np.sqrt(moments.priors)[:, None] * (offsets @ whitening)
    _, singular, directions = np.linalg.svd(spread, full_matrices=False)
    used = singular > RANK_TOLERANCE * singular[0]
    axes = whitening @ directions[used].T
    return axes, axes @ (axes.T @ moments.means.T)


def within_whitening(within: np.ndarray, basis: PrincipalBasis) -> np.ndarray:
    """Return the axes along which the scatter within the classes is 1.

    Parameters
    ----------
    within : ndarray of shape (..., k, k)
        Scatter within the classes, or a stack of them.

    basis : PrincipalBasis
        Principal components.

    Returns
    -------
    whitening : ndarray of shape (..., k, q)
        The axes. Those without scatter are 0, for which nothing has a coordinate along them.
    """
    real = np.flatnonzero(~basis.is_noise)
    correlation = within[..., real[:, None], real]
    # A component without within-class scatter is perfectly collapsed, which is the best case.
    # The lower bound retains it, with a deviation at rounding level, and avoids division by 0.
    variances = np.maximum(np.diagonal(correlation, axis1=-2, axis2=-1), _EPS * basis.variances[0])
    deviations = np.sqrt(variances)[..., None]
    correlation = correlation / (deviations * deviations.swapaxes(-1, -2))
    diagonal = np.arange(len(real))
    correlation[..., diagonal, diagonal] = 1.0
    squares, vectors = np.linalg.eigh(correlation)
    least = RANK_TOLERANCE**2
    lengths = np.where(squares > least, 1 / np.sqrt(np.maximum(squares, least)), 0.0)
    whitening = np.zeros((*within.shape[:-1], len(real)))
    whitening[..., real, :] = vectors / deviations * lengths[..., None, :]
    return whitening
