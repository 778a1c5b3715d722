"""The options of each command, as values with types.

The parser makes them, and nothing changes them afterwards.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from ..datasets._filters import Filters


@dataclass(frozen=True)
class Outputs:
    """Files that a command writes; None for a file that is not wanted."""

    json: Path | None = None
    csv: Path | None = None
    plot: Path | None = None
    html: Path | None = None
    force: bool = False

    def paths(self) -> dict[str, Path]:
        """Return the files that are wanted, by option."""
        named = {"json": self.json, "csv": self.csv, "plot": self.plot, "html": self.html}
        return {option: path for option, path in named.items() if path is not None}


@dataclass(frozen=True)
class ScoringOptions:
    """How candidates are scored and compared, in the commands `rank` and `score`."""

    normalization: str | None
    n_components: int
    variant: str
    shrinkage: float | str
    resamples: int
    random_state: int
    cv: int | str | None
    scorer: str
    baseline: Path | None
    prior: str | None


@dataclass(frozen=True)
class SearchOptions:
    """Successive halving in the command `rank`; None for what the selector has by default."""

    halving: bool
    max_time: float | None
    max_download: float | None
    n_best: int | None
    confidence: float | None
    factor: float | None

    def given(self) -> dict[str, Any]:
        """Return the parameters of `HalvingModelSelector` that were given."""
        values = asdict(self)
        del values["halving"]
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class RankOptions:
    """Options of the command `rank`."""

    command: ClassVar[str] = "rank"

    folder: str
    split: str | None
    images: str | None
    text: str | None
    labels: str | None
    models: list[str]
    limit_per_class: int | None
    pooling: str | None
    device: str
    batch_size: int
    precision: str
    workers: int | None
    jobs: int
    cache: Path | None
    skip_bad_images: bool
    dry_run: bool
    ask_above: float
    yes: bool
    filters: Filters
    search: SearchOptions
    scoring: ScoringOptions
    shortlist: int | None
    outputs: Outputs

    @property
    def rows(self) -> str:
        """What the models are ranked on: "images" or "texts"."""
        return "images" if self.text is None else "texts"

    def settings(self) -> dict[str, Any]:
        """Return all options but the output files, sorted by name."""
        settings = asdict(self)
        del settings["outputs"]
        for part in ("scoring", "filters", "search"):
            settings |= settings.pop(part)
        # The command line names models by patterns in an argument of its own.
        del settings["names"]
        return dict(sorted(settings.items()))


@dataclass(frozen=True)
class ScoreOptions:
    """Options of the command `score`."""

    command: ClassVar[str] = "score"

    files: list[Path]
    features: str | None
    labels: str | None
    scoring: ScoringOptions
    shortlist: int | None
    outputs: Outputs


@dataclass(frozen=True)
class ModelsOptions:
    """Options of the command `models`."""

    command: ClassVar[str] = "models"

    sort: str
    descending: bool
    filters: Filters
    outputs: Outputs


@dataclass(frozen=True)
class DemoOptions:
    """Options of the command `demo`."""

    command: ClassVar[str] = "demo"

    output: Path
    force: bool


Options = RankOptions | ScoreOptions | ModelsOptions | DemoOptions
