"""Priors: what is known of candidates without looking at the target data."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from .._scoring.normalization import LEAST_KNOWN, PRIOR, finite_values, normalize, summed

# Priors that only ModelSelector can look up, and what they need.
_OF_MODELS = {"imagenet": "names of timm models", "weights": "the weights of networks"}


def check_prior(
    prior: Mapping[str, float] | Sequence[Mapping[str, float]] | None,
    names: Iterable[str],
    normalization: str,
) -> dict[str, float] | None:
    """Return the prior of the candidates that have one.

    Parameters
    ----------
    prior : dict of str to float, list of dict, or None
        Numbers by the names of candidates; larger is better. The dicts of a list are records,
        each on a scale of its own: they are min-max scaled over the candidates that a record
        has, and averaged. Names that are not candidates are ignored.

    names : iterable of str
        Names of the candidates.

    normalization : str
        Normalisation of the ranking.

    Returns
    -------
    known : dict of str to float, or None
        The prior by name; None without one.

    Raises
    ------
    TypeError
        If `prior` is neither a dict nor a list of dicts.

    ValueError
        If it is empty, has a number that is not finite or none of the candidates, or if the
        normalisation does not compare candidates.
    """
    if prior is None:
        return None
    refuse_absolute(normalization)
    names = list(names)
    if isinstance(prior, Mapping):
        return numbers_of(prior, names, "prior")
    if isinstance(prior, str) and prior in _OF_MODELS:
        raise TypeError(
            f"prior={prior!r} needs {_OF_MODELS[prior]}, which are not known of feature matrices. "
            "Use ModelSelector, or a dict of name to number."
        )
    if isinstance(prior, str) or not isinstance(prior, Sequence):
        raise TypeError(
            f"prior must be a dict of name to number, or a list of such dicts, got {prior!r:.60}."
        )
    if not prior:
        raise ValueError("prior is an empty list: give at least 1 record, or None.")
    records = [finite_values(record, f"prior[{i}]") for i, record in enumerate(prior)]
    return _averaged(records, names)


def refuse_absolute(normalization: str) -> None:
    """Raise a ValueError if the normalisation does not compare candidates."""
    if normalization == "absolute":
        raise ValueError(
            "prior cannot be added under normalization='absolute': a prior has no scale of its "
            "own, only one over the candidates. Use another normalization, or no prior."
        )


def published_notes(
    published: Mapping[str, float],
    names: Sequence[str],
    components: Mapping[str, np.ndarray],
    normalization: str,
    weights: Mapping[str, float],
) -> list[str]:
    """Say which candidate would be first with published accuracies as a prior.

    Parameters
    ----------
    published : dict of str to float
        Published ImageNet accuracies by the names of candidates.

    names : sequence of str
        Names of the candidates.

    components : dict of str to ndarray of shape (n_candidates,)
        Components of the ranking; NaN for candidates that failed.

    normalization : {"minmax", "zscore", "rank"}
        Normalisation of the ranking.

    weights : dict of str to float
        Weights of the components; that of the prior is 1.

    Returns
    -------
    notes : list of str
        One note; none where the accuracies of fewer than three candidates are known.
    """
    scored = np.isfinite(sum(components.values()))
    accuracies = np.array([published.get(name, np.nan) for name in names])
    known = np.where(scored, accuracies, np.nan)
    n_known = int(np.isfinite(known).sum())
    if n_known < LEAST_KNOWN:
        return []
    plain, _, _ = summed(components, normalization, weights)
    total, _, _ = summed({**components, PRIOR: known}, normalization, {**weights, PRIOR: 1.0})
    # As a ranking does, the first of equal ones.
    first, before = int(np.nanargmax(total)), int(np.nanargmax(plain))
    return [
        f"with published ImageNet accuracy as prior (known for {n_known} of {len(names)} "
        f"candidates), {names[first]} would be first{' as well' if first == before else ''}; see "
        'prior="imagenet"'
    ]


def _averaged(records: Sequence[Mapping[str, float]], names: Sequence[str]) -> dict[str, float]:
    """Mean of the min-max scaled values of each candidate over the records that have it."""
    scaled: dict[str, list[float]] = {name: [] for name in names}
    for i, record in enumerate(records):
        known = numbers_of(record, names, f"prior[{i}]")
        values, _ = normalize(np.array(list(known.values())), "minmax", PRIOR)
        for name, value in zip(known, values, strict=True):
            scaled[name].append(float(value))
    return {name: float(np.mean(values)) for name, values in scaled.items() if values}


def numbers_of(
    values: Mapping[str, float], names: Sequence[str], argument: str
) -> dict[str, float]:
    """Return the numbers of the candidates; raise a ValueError if there are none."""
    given = finite_values(values, argument)
    known = {name: given[name] for name in names if name in given}
    if not known:
        raise ValueError(
            f"{argument} has none of the candidates: it has {list(given)[:5]}, and they are "
            f"{list(names)[:5]}."
        )
    return known
