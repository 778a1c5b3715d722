"""`Components`: what a scorer measures, as it is and on a scale of its own."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np


@dataclass(frozen=True)
class Components:
    """Components of one candidate: numbers, or one array for each over many resamples.

    Parameters
    ----------
    raw : dict of str to float or ndarray
        Components by name; larger is better for each. They are comparable between candidates
        that were scored on the same rows.

    absolute : dict of str to float or ndarray, default=None
        The same components on a scale that needs no other candidate, for
        ``normalization="absolute"``. If None, those of `raw`.

    Examples
    --------
    >>> from sklearn_ncti import Components
    >>> components = Components(raw={"ncc": 0.8, "vc": -4.2}, absolute={"ncc": 0.8, "vc": 0.6})
    >>> components.of("minmax")
    {'ncc': 0.8, 'vc': -4.2}
    >>> components.of("absolute")
    {'ncc': 0.8, 'vc': 0.6}
    """

    raw: Mapping[str, Any]
    absolute: Mapping[str, Any] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.absolute is None:
            object.__setattr__(self, "absolute", self.raw)
        if list(self.raw) != list(self.absolute):
            raise ValueError(
                f"absolute must have the components of raw, {list(self.raw)}, in their order; "
                f"got {list(self.absolute)}."
            )

    @property
    def names(self) -> list[str]:
        """Names of the components."""
        return list(self.raw)

    def of(self, normalization: str | None) -> Mapping[str, Any]:
        """Return the components that a normalisation takes."""
        return self.absolute if normalization == "absolute" else self.raw

    @classmethod
    def stack(cls, many: Iterable[Self], axis: int = 0) -> Self:
        """Put the components of many candidates, or resamples, into one array each.

        Parameters
        ----------
        many : iterable of Components
            Components of the same names.

        axis : int, default=0
            Axis of the arrays along which they lie.

        Returns
        -------
        components : Components
            One array for each component.
        """
        items = list(many)
        names = items[0].names
        return cls(
            {name: np.stack([item.raw[name] for item in items], axis=axis) for name in names},
            {name: np.stack([item.absolute[name] for item in items], axis=axis) for name in names},
        )
