"""`NewWeights`: weights that a fit has downloaded, and may delete."""

from collections.abc import Sequence
from typing import Any

from ..backbones._backbone import Backbone
from ..backbones._hub import delete_folder, repository_folders


class NewWeights:
    """Weights in the hub's cache that were not in it when this object was made.

    Only timm's own repositories count. One of which the cache held anything before is never
    deleted.
    """

    def __init__(self) -> None:
        self._before = set(repository_folders())

    def delete(
        self, candidates: Sequence[tuple[str, Any]], staying: Sequence[tuple[str, Any]]
    ) -> None:
        """Delete new weights that candidates used, and that those that stay do not need.

        Parameters
        ----------
        candidates, staying : sequence of (str, transformer)
            The candidates, and those of them whose weights are needed again.
        """
        wanted = _repositories(candidates) - _repositories(staying) - self._before
        for repository, folder in repository_folders().items():
            if repository in wanted:
                delete_folder(folder)


def _repositories(candidates) -> set[str]:
    models = [model for _, model in candidates if isinstance(model, Backbone)]
    return {name for model in models if (name := model.hub_repository())}
