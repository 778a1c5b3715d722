"""Normalisation of components over the candidates, their weighted sum, and equality of values."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

NORMALIZATIONS = ("minmax", "zscore", "rank", "absolute")

# The paper scales the variability to [-1, 0] and the other two to [0, 1]. The shift is the
# same for all candidates, so it never changes their order.
_MINMAX_SHIFT = {"vc": -1.0}

#: Relative tolerance: values that differ by at most this fraction of the largest are equal.
#: Features come from float32 networks. Other batches, threads or processors change a component
#: by a relative 1e-8 or so, and a difference that depends on the machine must not decide a rank.
EQUAL_SHARE = 1e-6

#: The component of what is known without the target data. Candidates may be without it.
PRIOR = "prior"

#: Known values from which on missing ones are imputed by a line, and not by their mean.
LEAST_KNOWN = 3

#: Largest weight for which sums of weighted components are certainly finite.
LARGEST_WEIGHT = 1e100


def check_normalization(normalization: str) -> None:
    """Raise a ValueError if `normalization` is unknown."""
    if normalization not in NORMALIZATIONS:
        raise ValueError(
            f"normalization must be one of {list(NORMALIZATIONS)}, got {normalization!r}."
        )


def check_weights(weights: Mapping[str, float] | None, names: Sequence[str]) -> dict[str, float]:
    """Return the weight of every component in `names`; it is 1 unless `weights` has another."""
    given = {} if weights is None else finite_values(weights, "weights")
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise ValueError(f"weights has unknown components {unknown}; known are {list(names)}.")
    out = {name: given.get(name, 1.0) for name in names}
    largest = max(abs(weight) for weight in out.values())
    if largest == 0:
        raise ValueError(f"weights must not all be 0, got {out}.")
    if largest > LARGEST_WEIGHT:
        raise ValueError(
            f"weights must be at most {LARGEST_WEIGHT:g} in size, got {out}. Divide all by one "
            "constant."
        )
    return out


def merge_equal(values: np.ndarray, size: float | None = None) -> np.ndarray:
    """Replace values that are equal up to rounding by one value.

    Neighbours in sorted order are equal if they differ by at most `EQUAL_SHARE` times `size`.
    A run of equal values is replaced by its largest value; other values are unchanged.

    Parameters
    ----------
    values : ndarray of shape (n_candidates,)
        Values of one component or score; those that are not finite are unchanged.

    size : float, default=None
        Scale of the tolerance. If None, the largest absolute value is used.

    Returns
    -------
    merged : ndarray of shape (n_candidates,)
        Values in which equal ones compare equal.
    """
    merged = np.array(values, dtype=float)
    finite = np.flatnonzero(np.isfinite(merged))
    if len(finite) == 0:
        return merged
    order = finite[np.argsort(-merged[finite], kind="stable")]
    falling = merged[order]
    size = np.abs(falling).max() if size is None else size
    first = np.concatenate([[True], falling[:-1] - falling[1:] > EQUAL_SHARE * size])
    merged[order] = falling[first][np.cumsum(first) - 1]
    return merged


def normalize(values: np.ndarray, normalization: str, name: str) -> tuple[np.ndarray, bool]:
    """Normalise one component over the candidates.

    Parameters
    ----------
    values : ndarray of shape (n_candidates,)
        Raw values; larger is better. NaN marks candidates without a value.

    normalization : {"minmax", "zscore", "rank"}
        Kind of normalisation.

    name : str
        Name of the component; "vc" is scaled to [-1, 0] where others are scaled to [0, 1].

    Returns
    -------
    normalized : ndarray of shape (n_candidates,)
        Normalised values. They are all zero if the component is constant.

    varies : bool
        Whether the component varies over the candidates.
    """
    ok = np.isfinite(values)
    out = np.full(len(values), np.nan)
    valid = merge_equal(values[ok])
    if len(valid) == 0 or np.ptp(valid) == 0:
        out[ok] = 0.0
        return out, False
    if normalization == "zscore":
        out[ok] = (valid - valid.mean()) / valid.std()
        return out, True
    if normalization == "rank":
        # Ties share the mean of their ranks (up to a factor, which scaling removes).
        rising = np.sort(valid)
        valid = np.searchsorted(rising, valid, "left") + np.searchsorted(rising, valid, "right")
    out[ok] = (valid - valid.min()) / np.ptp(valid) + _MINMAX_SHIFT.get(name, 0.0)
    return out, True


def summed(
    components: Mapping[str, np.ndarray], normalization: str, weights: Mapping[str, float]
) -> tuple[np.ndarray, dict[str, np.ndarray], list[str]]:
    """Normalise components over the candidates and add them.

    Parameters
    ----------
    components : dict of str to ndarray of shape (n_candidates,)
        Values of each component; larger is better, NaN for a candidate without a value. For
        "absolute", the absolute components, which need no normalisation. The component "prior"
        is imputed for candidates that have the others but not this one; see `impute`.

    normalization : {"minmax", "zscore", "rank", "absolute"}
        Kind of normalisation.

    weights : dict of str to float
        Weight of each component in the sum.

    Returns
    -------
    total : ndarray of shape (n_candidates,)
        Weighted sum of each candidate; sums that are equal up to rounding have one value.

    normalized : dict of str to ndarray of shape (n_candidates,)
        Normalised components, before they are weighted.

    constant : list of str
        Components that are constant over the candidates, and so contribute 0.
    """
    normalized: dict[str, np.ndarray] = {}
    constant: list[str] = []
    for name, values in components.items():
        if name == PRIOR:
            continue
        if normalization == "absolute":
            values = merge_equal(values)
        else:
            values, varies = normalize(values, normalization, name)
            constant += [] if varies else [name]
        normalized[name] = values
    if PRIOR in components:
        known, varies = normalize(components[PRIOR], normalization, PRIOR)
        constant += [] if varies else [PRIOR]
        others = [weights[name] * values for name, values in normalized.items()]
        normalized[PRIOR] = impute(known, sum(others, np.zeros(len(known))))
    parts = np.array([weights[name] * values for name, values in normalized.items()])
    # Parts may cancel. The scale of rounding errors is that of the parts, not of their sum.
    total = merge_equal(parts.sum(axis=0), _largest(np.abs(parts).sum(axis=0)))
    return total, normalized, constant


def impute(prior: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Fill in a normalised prior where it is missing.

    The missing values are those of the least-squares line of the prior on the sum of the other
    components, clipped to the range of the known values. With fewer than three known values,
    or a sum that does not vary, they are the mean of the known values; with none, 0.

    Parameters
    ----------
    prior : ndarray of shape (n_candidates,)
        Normalised prior; NaN where it is missing.

    others : ndarray of shape (n_candidates,)
        Weighted sum of the other components; NaN for candidates that failed.

    Returns
    -------
    imputed : ndarray of shape (n_candidates,)
        The prior of all candidates that have the other components; NaN for those that failed.
    """
    scored = np.isfinite(others)
    known = scored & np.isfinite(prior)
    filled = np.where(scored, prior, np.nan)
    missing = scored & ~known
    if not missing.any():
        return filled
    x, y = others[known], prior[known]
    filled[missing] = y.mean() if len(y) else 0.0
    if len(x) >= LEAST_KNOWN and np.ptp(merge_equal(x)) > 0:
        offsets = x - x.mean()
        slope = offsets @ y / (offsets @ offsets)
        line = y.mean() + slope * (others[missing] - x.mean())
        filled[missing] = np.clip(line, y.min(), y.max())
    return filled


def _largest(values: np.ndarray) -> float:
    return float(values.max(where=np.isfinite(values), initial=0.0))


def finite_values(mapping: Any, argument: str) -> dict[str, float]:
    """Return `mapping` with floats as values, after checking that all are finite numbers.

    Parameters
    ----------
    mapping : dict of str to float
        Values by name.

    argument : str
        Name of the argument, for error messages.

    Returns
    -------
    values : dict of str to float
        Finite values by name; never empty.

    Raises
    ------
    TypeError
        If `mapping` is not a mapping.

    ValueError
        If it is empty, or a value is not a finite number.
    """
    if not isinstance(mapping, Mapping):
        raise TypeError(
            f"{argument} must be a dict of name to number, got {type(mapping).__name__}."
        )
    if not mapping:
        raise ValueError(f"{argument} is empty.")
    for name, value in mapping.items():
        if not _is_finite(value):
            raise ValueError(f"{argument}[{name!r}] is {value!r:.60}; it must be a finite number.")
    return {name: float(value) for name, value in mapping.items()}


def _is_finite(value: Any) -> bool:
    """Return whether a value is a finite number in float64."""
    try:
        return math.isfinite(value)
    except (TypeError, OverflowError):
        return False
