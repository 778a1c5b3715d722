"""Posterior of every row under the discriminant of all others, without fitting it n times.

Without row i of class c, with r = h_i - mu_c, the class mean is mu_c - r / (n_c - 1) and the
scatter within the classes is (n S_w - b r r') / (n - 1), with b = n_c / (n_c - 1). In the
eigenbasis of S_w the regularised scatter is then a diagonal matrix plus a term of rank one,
whose inverse is known (Sherman and Morrison). All posteriors together cost a few products of
(n, k) and (k, C) matrices.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.linalg import eigh

from .._linalg.moments import ClassMoments
from .._utils.arrays import namespace, to_device_of
from .discriminant import SHRINKAGE_FLOOR, Discriminant, within_whitening

# Share of the scatter that must be left along the direction of a row that is left out; with
# less, the scatter without the row has no inverse beyond rounding.
_LEAST_LEFT = 1e-8


@dataclass(frozen=True)
class LeaveOneOut:
    """Discriminants without one row each, in coordinates in which S_w is diagonal.

    Attributes
    ----------
    rotation : ndarray of shape (k, q)
        From principal coordinates to those in which S_w is diagonal.

    variances : ndarray of shape (q,)
        Variances within the classes along these coordinates.

    means : ndarray of shape (n_classes, q)
        Class means in these coordinates.

    counts : ndarray of shape (n_classes,)
        Rows of each class.

    shrinkage : float
        Share of the isotropic target; 0 for none.

    n_dims : int
        Dimensions over which the target spreads the trace.

    least : float
        Least variance of the isotropic target.
    """

    rotation: np.ndarray
    variances: np.ndarray
    means: np.ndarray
    counts: np.ndarray
    shrinkage: float
    n_dims: int
    least: float

    @classmethod
    def of(cls, discriminant: Discriminant, moments: ClassMoments) -> Self:
        """Prepare the rows of these moments, with the shrinkage of their discriminant."""
        t = discriminant.shrinkage
        if t > SHRINKAGE_FLOOR:
            variances, rotation = eigh(moments.within)
        else:
            t, rotation = 0.0, within_whitening(moments, discriminant.basis)
            variances = np.ones(rotation.shape[1])
        return cls(
            rotation=rotation,
            variances=np.clip(variances, 0.0, None),
            means=moments.means @ rotation,
            counts=moments.counts,
            shrinkage=t,
            n_dims=discriminant.n_dims,
            least=float(np.finfo(float).eps * discriminant.basis.variances[0]),
        )

    def posterior(self, H: Any, y: np.ndarray) -> Any:
        """Posterior probability of every class for rows that are left out.

        A row without which the scatter has no inverse gets the priors. So does the only row of
        its class, whose own class has none.

        Parameters
        ----------
        H : array of shape (n_rows, k)
            Principal coordinates of some of the rows.

        y : ndarray of shape (n_rows,)
            Their classes.

        Returns
        -------
        P : array of shape (n_rows, n_classes)
            Probabilities, where `H` lies.
        """
        xp = namespace(H)
        n, rows = int(self.counts.sum()), np.arange(len(y))
        own = self.counts[y]
        # The only row of its class is not used; 2 keeps what is computed of it finite.
        others = np.maximum(own, 2) - 1.0
        share, weight = 1.0 / others, (others + 1.0) / others
        means = to_device_of(self.means, H)
        G = H @ to_device_of(self.rotation, H)
        R = G - means[to_device_of(y, H)]
        squares = (R * R).sum(1)
        diagonal = self._diagonal(squares, to_device_of(weight, H), n)
        # Products with the inverse of the diagonal, of each row i and class j.
        RD = R / diagonal
        mean_row = (G / diagonal) @ means.T
        mean_mean = (1.0 / diagonal) @ (means * means).T
        mean_r = RD @ means.T
        r_row, r_r = (RD * G).sum(1), (RD * R).sum(1)
        # The class mean moves without its row.
        place = to_device_of(rows, H), to_device_of(y, H)
        step = to_device_of(share, H)
        mean_mean[place] += step * (step * r_r - 2.0 * mean_r[place])
        mean_row[place] -= step * r_row
        mean_r[place] -= step * r_r
        a = (1.0 - self.shrinkage) * to_device_of(weight, H) / (n - 1)
        left = 1.0 - a * r_r
        singular = left < _LEAST_LEFT
        gain = (a / xp.where(singular, xp.ones_like(left), left))[:, None]
        logit = mean_row + gain * mean_r * r_row[:, None]
        logit -= 0.5 * (mean_mean + gain * mean_r * mean_r)
        undecided = singular | to_device_of(own == 1, H)
        logit[undecided] = 0.0
        logit += to_device_of(self._log_priors(y), H)
        logit -= logit.max(1)[:, None] if xp is np else logit.max(1).values[:, None]
        P = xp.exp(logit)
        return P / P.sum(1)[:, None]

    def _diagonal(self, squares: Any, weight: Any, n: int) -> Any:
        """Diagonal of the regularised scatter without each row, before its term of rank one."""
        t = self.shrinkage
        plain = to_device_of((1.0 - t) * n / (n - 1) * self.variances, squares)
        trace = (n * float(self.variances.sum()) - weight * squares) / (n - 1)
        target = (trace / self.n_dims).clip(self.least, None) if t else 0.0 * trace
        return plain + t * target[:, None]

    def _log_priors(self, y: np.ndarray) -> np.ndarray:
        """Logarithm of the priors without each row; minus infinity for a class without rows."""
        left = np.repeat(self.counts[None].astype(float), len(y), axis=0)
        left[np.arange(len(y)), y] -= 1.0
        with np.errstate(divide="ignore"):
            return np.log(left / (self.counts.sum() - 1))
