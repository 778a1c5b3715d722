"""Posterior of every row under the discriminant of all others, without fitting it n times.

Without row i of class c, with r = h_i - mu_c, the class mean is mu_c - r / (n_c - 1) and the
scatter within the classes is (n S_w - b r r') / (n - 1), with b = n_c / (n_c - 1). In the
eigenbasis of S_w the regularised scatter is then a diagonal matrix plus a term of rank one,
whose inverse is known (Sherman and Morrison). All posteriors together cost a few products of
(n, k) and (k, C) matrices.

A bootstrap uses continuous weights of the rows, and leaves out each row with all its weight. Of
rows drawn with replacement, a copy could stay among those that are fitted.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from .._linalg.moments import ClassMoments
from .._utils.arrays import namespace, to_device_of
from .._utils.components import Components
from .._utils.resampling import Draws
from .batched import NormSums, run_in_batches, transpose_stack
from .discriminant import SHRINKAGE_FLOOR, Discriminant, fit_discriminant, within_whitening
from .projection import Projection, balanced_folds
from .weighted import WeightedRows

# Share of the scatter that must be left along the direction of a row that is left out; with
# less, the scatter without the row has no inverse beyond rounding.
_LEAST_LEFT = 1e-8


@dataclass(frozen=True)
class LeaveOneOut:
    """Discriminants without one row each, in coordinates in which S_w is diagonal.

    For a stack of moments, as of many resamples, the arrays are stacks.

    Attributes
    ----------
    rotation : ndarray of shape (..., k, q)
        From principal coordinates to those in which S_w is diagonal.

    variances : ndarray of shape (..., q)
        Variances within the classes along these coordinates.

    means : ndarray of shape (..., n_classes, q)
        Class means in these coordinates.

    counts : ndarray of shape (..., n_classes)
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
            variances, rotation = np.linalg.eigh(moments.within)
        else:
            t, rotation = 0.0, within_whitening(moments.within, discriminant.basis)
            variances = np.ones_like(rotation[..., 0, :])
        return cls(
            rotation=rotation,
            variances=np.clip(variances, 0.0, None),
            means=moments.means @ rotation,
            counts=moments.counts,
            shrinkage=t,
            n_dims=discriminant.n_dims,
            least=float(np.finfo(float).eps * discriminant.basis.variances[0]),
        )

    def posterior(self, H: Any, y: np.ndarray, weights: np.ndarray | None = None) -> Any:
        """Posterior probability of every class for rows that are left out.

        A row without which the scatter has no inverse gets the priors. So does the only row of
        its class, whose own class has none.

        A row of weight w counts w times in the moments, and is left out as often: a row that a
        bootstrap has drawn twice must not see its own copy.

        Parameters
        ----------
        H : array of shape (n_rows, k)
            Principal coordinates of some of the rows.

        y : ndarray of shape (n_rows,)
            Their classes.

        weights : ndarray of shape (..., n_rows), default=None
            Weight of each, positive; 1 if None.

        Returns
        -------
        P : array of shape (..., n_rows, n_classes)
            Probabilities, where `H` lies.
        """
        xp = namespace(H)
        rows = np.arange(len(y))
        w = np.ones(len(y)) if weights is None else weights
        own, rest = self.counts[..., y], self.counts.sum(-1)[..., None] - w
        alone = own - w <= _LEAST_LEFT * own
        # The only row of its class is not used; this keeps what is computed of it finite.
        others = np.where(alone, own, own - w)
        share, weight = w / others, w * own / others
        means = to_device_of(self.means, H)
        across = means.swapaxes(-1, -2)
        G = H @ to_device_of(self.rotation, H)
        R = G - means[..., to_device_of(y, H), :]
        squares = (R * R).sum(-1)
        diagonal = self._diagonal(squares, to_device_of(weight, H), to_device_of(rest, H))
        # Products with the inverse of the diagonal, of each row i and class j.
        RD = R / diagonal
        mean_row = (G / diagonal) @ across
        mean_mean = (1.0 / diagonal) @ (across * across)
        mean_r = RD @ across
        r_row, r_r = (RD * G).sum(-1), (RD * R).sum(-1)
        # The class mean moves without its row.
        place = ..., to_device_of(rows, H), to_device_of(y, H)
        step = to_device_of(share, H)
        mean_mean[place] += step * (step * r_r - 2.0 * mean_r[place])
        mean_row[place] -= step * r_row
        mean_r[place] -= step * r_r
        a = (1.0 - self.shrinkage) * to_device_of(weight / rest, H)
        left = 1.0 - a * r_r
        singular = left < _LEAST_LEFT
        gain = (a / xp.where(singular, xp.ones_like(left), left))[..., None]
        logit = mean_row + gain * mean_r * r_row[..., None]
        logit -= 0.5 * (mean_mean + gain * mean_r * mean_r)
        undecided = singular | to_device_of(alone, H)
        logit[undecided] = 0.0
        logit += to_device_of(self._log_priors(y, w), H)
        logit -= (logit.max(-1) if xp is np else logit.amax(-1))[..., None]
        P = xp.exp(logit)
        return P / P.sum(-1)[..., None]

    def _diagonal(self, squares: Any, weight: Any, rest: Any) -> Any:
        """Diagonal of the regularised scatter without each row, before its term of rank one."""
        t, n = self.shrinkage, self.counts.sum(-1)[..., None].astype(float)
        plain = to_device_of((1.0 - t) * n * self.variances, squares)[..., None, :]
        plain = plain / rest[..., None]
        total = to_device_of(n * self.variances.sum(-1)[..., None], squares)
        trace = (total - weight * squares) / rest
        target = (trace / self.n_dims).clip(self.least, None) if t else 0.0 * trace
        return plain + t * target[..., None]

    def _log_priors(self, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Logarithm of the priors without each row; minus infinity for a class without rows."""
        left = np.repeat(self.counts[..., None, :].astype(float), len(y), axis=-2)
        left[..., np.arange(len(y)), y] -= weights
        with np.errstate(divide="ignore"):
            return np.log(left.clip(0.0, None) / left.sum(axis=-1, keepdims=True))


def left_out_seli(
    rows: WeightedRows, weights: np.ndarray, discriminant: Discriminant
) -> tuple[float, np.ndarray]:
    """Return SELI of rows that are held out in folds, and the variances that it comes from.

    Parameters
    ----------
    rows : WeightedRows
        Rows in the coordinates of the discriminant.

    weights : ndarray of shape (n_samples,)
        Weight of each row.

    discriminant : Discriminant
        Discriminant of all rows, whose coordinates and shrinkage are used.

    Returns
    -------
    norm : float
        SELI.

    variances : ndarray of shape (3, q)
        Variances along the axes as `Discriminant.variances_of` gives them, summed over the rows.
    """
    folds = balanced_folds(rows.codes)
    training = np.tile(weights, (len(folds), 1))
    for of_rest, fold in zip(training, folds, strict=True):
        of_rest[fold] = 0.0
    sums = np.zeros((3, min(rows.H.shape[1], len(rows.parts) - 1)))
    for fold, moments in zip(folds, rows.moments(training), strict=True):
        fitted = fit_discriminant(
            discriminant.basis,
            moments,
            shrinkage=discriminant.shrinkage,
            n_dims=discriminant.n_dims,
        )
        H, w = rows.H[fold], weights[fold]
        within = rows.scatter(H - fitted.centers[rows.codes[fold]], w)
        variances = fitted.variances_of(within, rows.scatter(H, w))
        sums[:, : variances.shape[1]] += variances
    return held_out_seli(sums, float(weights.sum()))


def held_out_seli(sums: np.ndarray, n: float) -> tuple[float, np.ndarray]:
    """Return SELI of held-out rows, and the variances that it comes from.

    The coordinates are scaled to unit variance within classes. For the fitted rows, this is the
    nuclear norm of the coordinates.
    """
    used = sums[:, sums[1] > 0]
    within = np.maximum(used[0], np.finfo(float).eps * used[2])
    return float(np.sqrt(n * used[2] / within).sum()), used


def resampled_left_out(
    projection: Projection,
    discriminant: Discriminant,
    draws: Draws,
    components_of: Callable[..., Components],
    measured: Collection[str],
) -> Components:
    """Return the components of an exact leave-one-out of every resample.

    The weights are those of the Bayesian bootstrap.

    Parameters
    ----------
    projection : Projection
        Fitted rows.

    discriminant : Discriminant
        Discriminant of the fitted rows. Its shrinkage is used for all resamples.

    draws : Draws
        Weights of the rows in each resample.

    components_of : callable
        As for `resampled_components`.

    measured : collection of str
        Names of the components that are needed.

    Returns
    -------
    components : Components
        One array of shape (n_resamples,) for each component.
    """
    rows = WeightedRows.of(projection, draws.codes)
    n, k = rows.H.shape

    def measure(weights: np.ndarray) -> list[Components]:
        norms = NormSums(len(weights))
        left_out = LeaveOneOut.of(discriminant, rows.stacked_moments(weights))
        P = left_out.posterior(rows.H, rows.codes, weights)
        own = (P[:, np.arange(n), rows.codes] * weights).sum(axis=1)
        if "vc" in measured:
            P *= np.sqrt(weights)[:, :, None]
            for part in rows.parts:
                block, across = P[:, part], transpose_stack(P[:, part])
                tall = block.shape[1] > block.shape[2]
                norms.add(np.arange(len(P)), across @ block if tall else block @ across)
        norms.finish()
        seli = [
            left_out_seli(rows, w, discriminant) if "seli" in measured else None for w in weights
        ]
        posteriors = zip(norms.sums, own, strict=True)
        return [components_of(*parts) for parts in zip(seli, posteriors, strict=True)]

    # Intermediate results are some four times as large as what is held, and belong in a cache.
    values = 4 * (n * (3 * k + 5 * len(rows.parts)) + 4 * k * k)
    return run_in_batches(measure, draws.by_class(bayesian=True), values)
