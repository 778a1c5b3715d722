"""Which models of a catalogue are wanted: bounds, names, licenses and data sets."""

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ._catalogue import Catalogue

# Licenses that allow any use, commercial use among them, changes, and passing on, and ask for no
# more than that the license or the author is named. All others put conditions on what the
# weights may be used for, and must be read.
PERMISSIVE = ("apache-2.0", "bsd-3-clause", "cc-by-4.0", "mit")

# What stands for an empty text in the catalogue.
UNKNOWN = "unknown"

# The column that each bound is on.
_BOUNDED = {
    "parameters": "n_parameters",
    "gmacs": "gmacs",
    "input_size": "input_size",
    "top1": "top1",
    "cpu_throughput": "cpu_throughput",
    "gpu_throughput": "gpu_throughput",
}


@dataclass(frozen=True)
class Filters:
    """Conditions that a model must meet, all of them; those that are None are not asked for.

    The fields are the parameters of `Catalogue.filter`, which describes them. They apply in
    this order.
    """

    names: str | Sequence[str] | None = None
    license: str | Sequence[str] | None = None
    pretrained_on: str | Sequence[str] | None = None
    self_supervised: bool | None = None
    min_parameters: float | None = None
    max_parameters: float | None = None
    min_gmacs: float | None = None
    max_gmacs: float | None = None
    min_input_size: int | None = None
    max_input_size: int | None = None
    min_top1: float | None = None
    max_top1: float | None = None
    min_cpu_throughput: float | None = None
    min_gpu_throughput: float | None = None

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) is not None for field in fields(self))

    def kept(self, catalogue: "Catalogue", among: np.ndarray | None = None) -> np.ndarray:
        """Return the positions of the models that meet all conditions.

        Parameters
        ----------
        catalogue : Catalogue
            The models.

        among : ndarray of int, default=None
            Positions of the models to choose from. None for all.

        Returns
        -------
        kept : ndarray of int
            Positions of the models that are left, in the same order.

        Raises
        ------
        TypeError or ValueError
            If a condition cannot be read, or names an unknown license or data set; or if no
            model is left. The message then names the filter that removed the last one.
        """
        # All are checked before the first of them can leave nothing.
        masks = list(self._masks(catalogue))
        kept = np.arange(len(catalogue)) if among is None else np.asarray(among, dtype=int)
        for label, mask in masks:
            before, kept = len(kept), kept[mask[kept]]
            if before and not len(kept):
                raise ValueError(
                    f"no model is left: {label} removes the last {before} of "
                    f"{len(catalogue) if among is None else len(among)}. Loosen it, or one of "
                    "the filters before it; an unknown value meets no bound."
                )
        return kept

    def _masks(self, catalogue) -> Iterator[tuple[str, np.ndarray]]:
        """Yield each condition that is asked for, in words, and which models meet it."""
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None:
                yield f"{field.name}={value!r}", _mask(field.name, value, catalogue)


def license_kind(license: str) -> str:
    """Return the kind of a license: "permissive", "conditions" or "unknown"."""
    if not license:
        return UNKNOWN
    return "permissive" if license in PERMISSIVE else "conditions"


def match_names(names: np.ndarray, pattern: str) -> np.ndarray:
    """Return which names a wildcard stands for, or a name with or without its tag, as in timm."""
    patterns = [pattern] if "." in pattern else [pattern, f"{pattern}.*"]
    return np.array([any(fnmatchcase(name, p) for p in patterns) for name in names], dtype=bool)


def _mask(name: str, value, catalogue) -> np.ndarray:
    if name in _CHOICES:
        return _CHOICES[name](name, value, catalogue)
    bound, _, quantity = name.partition("_")
    number = _number(name, value)
    column = catalogue[_BOUNDED[quantity]]
    # A comparison with NaN is False.
    return column >= number if bound == "min" else column <= number


def _number(name, value) -> float:
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
        raise TypeError(f"{name} must be a number; got {value!r}.")
    if not np.isfinite(value) or value < 0:
        raise ValueError(f"{name} must be a finite number of at least 0; got {value!r}.")
    return float(value)


def _texts(name, value) -> list[str]:
    texts = [value] if isinstance(value, str) else list(value)
    if not texts or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"{name} must be a string or a list of strings; got {value!r}.")
    return texts


def _by_name(name, value, catalogue) -> np.ndarray:
    mask = np.zeros(len(catalogue), dtype=bool)
    for pattern in _texts(name, value):
        found = match_names(catalogue["name"], pattern)
        if not found.any():
            close = difflib.get_close_matches(pattern, catalogue["name"].tolist(), n=3)
            hint = f" The closest names: {', '.join(close)}." if close else ""
            raise ValueError(
                f"{name}: {pattern!r} matches none of the {len(catalogue)} models of the "
                f"catalogue.{hint}"
            )
        mask |= found
    return mask


def _by_license(name, value, catalogue) -> np.ndarray:
    words = _texts(name, value)
    expanded = [
        text for word in words for text in (PERMISSIVE if word == "permissive" else [word])
    ]
    return _among(name, expanded, catalogue["license"], ("permissive", *PERMISSIVE))


def _by_data(name, value, catalogue) -> np.ndarray:
    return _among(name, _texts(name, value), catalogue["pretrained_on"], ())


def _among(name, words, column, extra) -> np.ndarray:
    """Return which values are among some words, each of which must be a known one."""
    values = np.where(column == "", UNKNOWN, column)
    known = set(values.tolist()) | set(extra)
    unknown = [word for word in words if word not in known]
    if unknown:
        raise ValueError(
            f"{name} has {unknown[0]!r}, which is none of: {', '.join(sorted(known))}."
        )
    return np.isin(values, words)


def _by_supervision(name, value, catalogue) -> np.ndarray:
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True, False or None; got {value!r}.")
    return catalogue["self_supervised"] == bool(value)


_CHOICES: dict[str, Callable] = {
    "names": _by_name,
    "license": _by_license,
    "pretrained_on": _by_data,
    "self_supervised": _by_supervision,
}
