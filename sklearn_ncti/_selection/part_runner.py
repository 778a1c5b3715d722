"""`PartRunner`: candidates on nested parts of the rows, where only new images are extracted."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from .._scoring.candidate import CandidateResult
from ..backbones._base import BaseBackbone
from .context import FitContext, rows_of, with_images
from .features import Extracted
from .jobs import FitTask, run_candidates


class PartRunner:
    """Scores candidates on parts of the rows, each of which contains the one before.

    Features of backbones are kept for the next part. Other transformers may depend on all rows
    that they are fitted to, and are fitted again to every part.

    Parameters
    ----------
    context : FitContext
        All rows, and a folder for the features.

    Attributes
    ----------
    unreadable : dict of int to str
        Positions among all rows of images that cannot be read, and why.
    """

    def __init__(self, context: FitContext) -> None:
        self._context = context
        self._rows = np.array([], dtype=int)
        self._features: dict[str, Extracted] = {}
        self.unreadable: dict[int, str] = {}

    @property
    def n_rows(self) -> int:
        """Number of rows of the current part that can be read."""
        return len(self._rows) - len(self.unreadable)

    def run(
        self,
        candidates: Sequence[tuple[str, Any]],
        new_rows: np.ndarray,
        tasks: Sequence[FitTask],
        n_jobs: int | None,
    ) -> list[CandidateResult]:
        """Add rows to the part, and score candidates on all rows of it.

        Parameters
        ----------
        candidates : sequence of (str, transformer)
            The candidates; after the first part, some of those before.

        new_rows : ndarray of int
            Positions of the new rows.

        tasks : sequence of FitTask
            Tasks of the candidates.

        n_jobs : int or None
            Number of candidates that run at the same time.

        Returns
        -------
        results : list of CandidateResult
            Results in the order of the candidates.
        """
        self._rows = np.concatenate([self._rows, new_rows])
        takes_images = [isinstance(model, BaseBackbone) for _, model in candidates]
        found: dict[int, CandidateResult] = {}
        for of_images in (True, False):
            chosen = [i for i, takes in enumerate(takes_images) if takes == of_images]
            if not chosen:
                continue
            own = [candidates[i] for i in chosen]
            rows = new_rows if of_images else self._rows
            earlier = self._features if of_images else None
            results, context = run_candidates(
                own,
                self._context_of(rows, own, of_images),
                [tasks[i] for i in chosen],
                n_jobs,
                earlier,
            )
            self.unreadable |= {int(rows[i]): why for i, why in context.unreadable.items()}
            found |= dict(zip(chosen, results, strict=True))
            if of_images:
                self._keep({result.name: result.extracted for result in results})
        return [replace(found[i], extracted=None) for i in range(len(candidates))]

    def _keep(self, extracted: Mapping[str, Extracted | None]) -> None:
        """Keep the features of this part, and remove the files of the one before."""
        for before in self._features.values():
            with suppress(OSError):
                os.unlink(getattr(before.features, "filename", ""))
        self._features = {name: item for name, item in extracted.items() if item is not None}

    def _context_of(
        self, rows: np.ndarray, candidates: Sequence[tuple[str, Any]], of_images: bool
    ) -> FitContext:
        """Return the context of some rows."""
        places = {int(row): i for i, row in enumerate(rows)}
        whole = self._context
        # The checks of scikit-learn want all rows as they are.
        is_whole = np.array_equal(rows, np.arange(len(whole.y)))
        context = replace(
            whole,
            X=whole.X if is_whole else rows_of(whole.X, rows),
            kept_in=whole.kept_in if of_images else None,
            y=whole.y[rows],
            images=None,
            images_identity=None,
            unreadable={places[row]: why for row, why in self.unreadable.items() if row in places},
            # Weights are measured once, with the first part.
            needs_weighted_alpha=whole.needs_weighted_alpha and not self._features,
        )
        return with_images(context, [model for _, model in candidates])

    def features_of_all(self, name: str, model: Any) -> Extracted | None:
        """Return what the `transform` of a candidate gives for all rows, if it was extracted.

        The rows are in the order of the parts.
        """
        extracted = self._features.get(name)
        if extracted is None or len(self._rows) < len(self._context.y):
            return None
        if model.outputs_for(self._context.responses)[0] != model.output:
            return None
        return replace(extracted, features=np.array(extracted.features))
