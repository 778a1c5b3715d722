"""The report of a ranking: one HTML document that loads nothing."""

import base64
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib import metadata, resources
from typing import Any

import numpy as np

from ..._utils.files import write_file
from ..._utils.terminal import encodable
from ..._version import __version__
from ..results import RankingResults, left_out_by_reason
from ..table import notes
from .fine_tuning import Pretrained, fine_tuning_code
from .markup import definitions, escaped
from .scatter import scatter_part
from .table import table_part
from .verdict import verdict_part

_PACKAGES = (
    *("scikit-learn", "numpy", "scipy", "torch", "torchvision", "timm", "pillow"),
    *("transformers", "tokenizers"),
)

_CITATION = """\
@inproceedings{ncti2023,
  author    = {Wang and Luo and Zheng and Huang and Baktashmotlagh},
  title     = {How Far Pre-trained Models Are from Neural Collapse on the Target Dataset
               Informs their Transferability},
  booktitle = {ICCV},
  year      = {2023},
  pages     = {5549--5558}
}"""


@dataclass(frozen=True)
class RankedData:
    """The rows that candidates were ranked on, as the report shows them.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        The classes.

    counts : ndarray of shape (n_classes,)
        Number of rows of each class.

    n_skipped : int
        Number of unreadable images, which are not in `counts`.

    examples : dict of int to list of bytes or str
        Small JPEG images, or texts, of classes, by position of the class. Empty if the rows are
        neither.
    """

    classes: np.ndarray
    counts: np.ndarray
    n_skipped: int = 0
    examples: Mapping[int, Sequence[bytes | str]] = field(default_factory=dict)

    @property
    def what(self) -> str:
        """The name of the rows: "images", "texts" or "rows"."""
        shown = [example for examples in self.examples.values() for example in examples]
        if not self.examples:
            return "rows"
        return "texts" if any(isinstance(example, str) for example in shown) else "images"


def ranking_report(
    ranking: RankingResults,
    data: RankedData | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    pretrained: Pretrained | None = None,
    words: Callable[[str], str] = str,
) -> str:
    """Return a report on a ranking.

    Parameters
    ----------
    ranking : RankingResults
        The ranking.

    data : RankedData, default=None
        The rows that the candidates were ranked on. None if nothing is known of them.

    settings : dict of str to object, default=None
        Options of the run, shown in the report.

    pretrained : Pretrained, default=None
        Where the weights of the best candidate come from. None if it is no model of timm or
        transformers, or if that is not known.

    words : callable, default=str
        Function from a note or an error to the text that is shown.

    Returns
    -------
    html : str
        HTML document that contains its pictures, style and script, and loads nothing.
    """
    warnings = [f'<p class="warning">{escaped(words(text))}</p>' for text in ranking.notes]
    # Candidates without a score have their own parts; warnings come first.
    texts = [n.text for n in notes(ranking) if not n.is_failure]
    told = [words(text) for text in texts if text not in ranking.notes]
    parts = [
        *verdict_part(ranking),
        *warnings,
        f'<p class="faint">{_summary(ranking, data)}, {datetime.now():%Y-%m-%d %H:%M}</p>',
        *_fine_tuning_part(ranking, data, pretrained),
        "<h2>Ranking</h2>",
        *table_part(ranking),
        f'<p class="faint">{"<br>".join(map(escaped, told))}</p>',
        *scatter_part(ranking),
        *_errors_part(ranking, words),
        *_left_out_part(ranking, words),
        *([] if data is None else _data_part(data)),
        "<h2>Settings and versions</h2>",
        definitions({**(settings or {}), **_versions()}),
        "<h2>Cite</h2>",
        f"<pre>{escaped(_CITATION, keep=chr(10))}</pre>",
        f"<p>Computed with sklearn_ncti {escaped(__version__)}; name its version too.</p>",
    ]
    return encodable(_page(f"Ranking: {escaped(ranking.best)}", parts))


def write_report(
    path: str | os.PathLike[str], make: Callable[[], str], *, overwrite: bool
) -> None:
    """Write the report that a function returns, or raise before the work if a file exists.

    Raises
    ------
    FileExistsError
        If the file exists and may not be overwritten.
    """
    if os.path.exists(path) and not overwrite:
        raise FileExistsError(
            f"{os.fspath(path)!r} exists; name another file, or replace it with overwrite=True."
        )
    write_file(path, make().encode(), overwrite=overwrite)


def _page(title: str, parts: Sequence[str]) -> str:
    """Return a whole HTML document around its parts."""
    # The policy lets browsers enforce that the document loads nothing.
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    policy += "script-src 'unsafe-inline'"
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title>",
            f"<style>\n{_asset('report.css')}</style>\n</head>\n<body>",
            *parts,
            f"<script>\n{_asset('report.js')}</script>\n</body>\n</html>\n",
        ]
    )


def _summary(ranking: RankingResults, data: RankedData | None) -> str:
    """Return what was ranked, as one phrase."""
    n_left_out = int(ranking.left_out.sum())
    summary = f"{len(ranking) - n_left_out} candidates ranked"
    if n_left_out:
        summary += f", {n_left_out} left out,"
    if data is None:
        return summary.removesuffix(",")
    n_rows = data.counts.sum()
    most = max(ranking.results.get("n_samples", [n_rows]))
    some = f"up to {most} of " if most < n_rows else ""
    summary += f" on {some}{n_rows} {data.what} of {len(data.classes)} classes"
    if data.n_skipped:
        summary += f" ({data.n_skipped} more could not be read and were left out)"
    return summary


def _fine_tuning_part(
    ranking: RankingResults, data: RankedData | None, pretrained: Pretrained | None
) -> list[str]:
    """Return how to fine-tune the best candidate, where that is, or can be, known."""
    if pretrained is None and data is not None and data.what == "texts":
        return []
    intro = "Start from the pre-trained weights and train all layers with a small learning rate."
    if pretrained is None:
        intro = f"Where {ranking.best} is the name of a timm model, these lines fine-tune it."
    elif pretrained.package == "transformers":
        intro += (
            " The new head of transformers pools in its own way, whatever pooling and layer were "
            "ranked."
        )
    code = fine_tuning_code(
        Pretrained(ranking.best) if pretrained is None else pretrained,
        "..." if data is None else len(data.classes),
    )
    return [
        f"<details{' open' if pretrained else ''}><summary>How to fine-tune it</summary>",
        f"<p>{escaped(intro)}</p>",
        f"<pre>{escaped(code, keep=chr(10))}</pre></details>",
    ]


def _errors_part(ranking: RankingResults, words: Callable[[str], str]) -> list[str]:
    """Return the errors of the candidates that failed, or nothing if none did."""
    columns = ranking.results
    items = []
    for i in ranking.order:
        error = columns["error"][i]
        if not error or ranking.left_out[i]:
            continue
        first, _, rest = error.partition("\n")
        more = ""
        if rest:
            trace = escaped(error, keep="\n")
            more = f"<details><summary>traceback</summary><pre>{trace}</pre></details>"
        items.append(
            f"<dt>{escaped(columns['model'][i])}</dt><dd>{escaped(words(first))}{more}</dd>"
        )
    if not items:
        return []
    return ["<h2>Candidates that failed</h2>", f'<dl class="errors">{"".join(items)}</dl>']


def _left_out_part(ranking: RankingResults, words: Callable[[str], str]) -> list[str]:
    """Return the candidates that were not started by reason, or nothing if all were."""
    reasons = left_out_by_reason(ranking)
    if not reasons:
        return []
    texts = {words(reason): ", ".join(names) for reason, names in reasons.items()}
    return ["<h2>Candidates left out</h2>", definitions(texts)]


def _data_part(data: RankedData) -> list[str]:
    """Return the classes with their numbers of rows and examples."""
    blocks = []
    for i, (name, count) in enumerate(zip(data.classes, data.counts, strict=True)):
        examples = "".join(map(_example, data.examples.get(i, ())))
        blocks.append(
            f"<figure><figcaption><b>{escaped(name)}</b> {count}</figcaption>{examples}</figure>"
        )
    more = len(data.classes) - len(data.examples) if data.examples else 0
    return [
        "<h2>Data set</h2>",
        f"<p>{data.counts.sum()} {data.what} in {len(data.classes)} classes, from "
        f"{data.counts.min()} to {data.counts.max()} of each."
        f"{f' Examples of {more} classes are left out.' * (more > 0)}</p>",
        f'<div class="classes">{"".join(blocks)}</div>',
    ]


def _example(example: bytes | str) -> str:
    """Return an image, or a text, as markup."""
    if isinstance(example, str):
        return f"<p>{escaped(example)}</p>"
    data = base64.b64encode(example).decode("ascii")
    return f'<img alt="" src="data:image/jpeg;base64,{data}">'


def _versions() -> dict[str, str]:
    """Return the versions of the installed packages that affect the result."""
    versions = {"sklearn_ncti": __version__, "Python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions | {"platform": platform.platform()}


def _asset(name: str) -> str:
    """Return the text of a file of this folder."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
