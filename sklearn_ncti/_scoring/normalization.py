"""How components of many candidates become comparable and are added."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

NORMALIZATIONS = ("minmax", "zscore", "rank", "absolute")

# The paper scales the variability to [-1, 0] and the other two to [0, 1]. The shift is the
# same for all candidates and so never changes the order.
_MINMAX_SHIFT = {"vc": -1.0}

#: Values that differ by at most this share of the largest of them are equal. Features come from
#: float32 networks: other batches, threads or processors move a component by some 1e-8 of its
#: size, and a difference that another machine would not show must not decide a place.
EQUAL_SHARE = 1e-6


#: Weights up to this leave sums of weighted components finite.
LARGEST_WEIGHT = 1e100


def check_normalization(normalization: str) -> None:
    """Raise a ValueError unless `normalization` is a known one."""
    if normalization not in NORMALIZATIONS:
        raise ValueError(
            f"normalization must be one of {list(NORMALIZATIONS)}, got {normalization!r}."
        )


def check_weights(weights: Mapping[str, float] | None, names: Sequence[str]) -> dict[str, float]:
    """Return the weight of every component in `names`, 1 where `weights` names none."""
    given = {} if weights is None else finite_values(weights, "weights")
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise ValueError(f"weights has unknown components {unknown}; known are {list(names)}.")
    out = {name: given.get(name, 1.0) for name in names}
    if min(out.values()) < 0 or max(out.values()) == 0:
        raise ValueError(f"weights must be at least 0 and not all 0, got {out}.")
    if max(out.values()) > LARGEST_WEIGHT:
        raise ValueError(
            f"weights must be at most {LARGEST_WEIGHT:g}, got {out}. Divide all by one constant."
        )
    return out


def merge_equal(values: np.ndarray, size: float | None = None) -> np.ndarray:
    """Give values that are equal up to rounding one value.

    Sorted values whose neighbours are at most `EQUAL_SHARE` of `size` apart are equal; all get
    the largest of them. Values without an equal stay as they are.

    Parameters
    ----------
    values : ndarray of shape (n_candidates,)
        Values of one kind; those that are not finite stay as they are.

    size : float, default=None
        What the differences are compared with; None for the largest absolute value.

    Returns
    -------
    merged : ndarray of shape (n_candidates,)
        The values, in which equal ones compare equal.
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
    """Normalise one component over the candidates; NaN marks those that have none.

    Parameters
    ----------
    values : ndarray of shape (n_candidates,)
        Raw values; larger is better.

    normalization : {"minmax", "zscore", "rank"}
        The rule.

    name : str
        Name of the component; "vc" goes to [-1, 0] where others go to [0, 1].

    Returns
    -------
    normalized : ndarray of shape (n_candidates,)
        Zero for all where the component does not vary.

    varies : bool
        Whether it does.
    """
    ok = np.isfinite(values)
    out = np.full(len(values), np.nan)
    valid = merge_equal(values[ok])
    if np.ptp(valid) == 0:
        out[ok] = 0.0
        return out, False
    if normalization == "zscore":
        out[ok] = (valid - valid.mean()) / valid.std()
        return out, True
    if normalization == "rank":
        # Mean of the ranks that ties share.
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
        Values of each component; larger is better, NaN for a candidate that has none. For
        "absolute", the parts that need no normalisation.

    normalization : {"minmax", "zscore", "rank", "absolute"}
        The rule.

    weights : dict of str to float
        Weight of every component in the sum.

    Returns
    -------
    total : ndarray of shape (n_candidates,)
        The weighted sum; sums that are equal up to rounding are one value.

    normalized : dict of str to ndarray of shape (n_candidates,)
        What is added, before it is weighted.

    idle : list of str
        Components that do not vary over the candidates, and add 0.
    """
    normalized, idle = {}, []
    for name, values in components.items():
        if normalization == "absolute":
            values = merge_equal(values)
        else:
            values, varies = normalize(values, normalization, name)
            idle += [] if varies else [name]
        normalized[name] = values
    parts = np.array([weights[name] * values for name, values in normalized.items()])
    # Parts can cancel, so that the sums themselves say nothing about the size of rounding.
    return merge_equal(parts.sum(axis=0), _largest(np.abs(parts).sum(axis=0))), normalized, idle


def _largest(values: np.ndarray) -> float:
    return float(values.max(where=np.isfinite(values), initial=0.0))


def finite_values(mapping, argument: str) -> dict[str, float]:
    """`mapping` as a non-empty dict of finite floats, or an error that names `argument`."""
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


def _is_finite(value) -> bool:
    """Whether a value is a number that float64 holds."""
    try:
        return math.isfinite(value)
    except (TypeError, OverflowError):
        return False
