"""A ranking of images as one self-contained HTML file."""

import base64
import html
import io
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import metadata, resources
from typing import Any

import numpy as np

from .._ranking.display import RankingDisplay
from .._ranking.ranking import Ranking
from .._ranking.table import notes
from .._scoring.columns import (
    COLUMNS,
    Column,
    component_columns,
    number_text,
    scorer_columns,
    value_format,
)
from .._utils.optional import import_optional
from .._utils.terminal import printable
from .._version import __version__
from ..backbones._images import BadImageError, read_image

# Limits of the example images, which keep the file small: classes, images of each class, and
# pixels of the longer side.
_CLASSES_WITH_EXAMPLES = 24
_EXAMPLES = 4
_SIDE = 96

# Columns of the registry before and after those of the components. Those without values are
# left out.
_FIRST = ("rank", "model", "score", "score_low", "score_high")
_LAST = ("images_per_second", "n_features", "n_parameters", "license")

_PACKAGES = ("scikit-learn", "numpy", "scipy", "torch", "torchvision", "timm", "pillow")

_CITATION = """\
@inproceedings{ncti2023,
  author    = {Wang and Luo and Zheng and Huang and Baktashmotlagh},
  title     = {How Far Pre-trained Models Are from Neural Collapse on the Target Dataset
               Informs their Transferability},
  booktitle = {ICCV},
  year      = {2023},
  pages     = {5549--5558}
}"""


def ranking_report(
    ranking: Ranking,
    paths: Sequence[str],
    labels: np.ndarray,
    *,
    settings: Mapping[str, Any],
    n_skipped: int = 0,
) -> str:
    """Return a report on a ranking of timm models over image files.

    Parameters
    ----------
    ranking : Ranking
        Ranking of candidates whose names ``timm.create_model`` accepts.

    paths : sequence of str
        Image files that the candidates were ranked on, including skipped ones.

    labels : ndarray of shape (n_images,)
        Class of each image.

    settings : dict of str to object
        Options of the run, shown in the report.

    n_skipped : int, default=0
        Number of unreadable images among `paths`, which were left out.

    Returns
    -------
    html : str
        HTML document that contains its pictures, style and script, and loads nothing.

    Raises
    ------
    ImportError
        If matplotlib or pillow is not installed.
    """
    classes, counts = np.unique(labels, return_counts=True)
    images = f"{len(paths) - n_skipped} images of {len(classes)} classes"
    if n_skipped:
        images += f" ({n_skipped} more could not be read and were left out)"
    parts = [
        f"<h1>Fine-tune first: {_escaped(ranking.best)}</h1>",
        f'<p class="faint">{len(ranking)} candidates ranked on {images}, '
        f"{datetime.now():%Y-%m-%d %H:%M}</p>",
        "<p>The order is a prediction made without any fine-tuning. Fine-tune the first few "
        "candidates, not only the first.</p>",
        *_ranking_part(ranking),
        *_pictures_part(ranking),
        *_errors_part(ranking),
        *_data_part(list(paths), labels, classes, counts),
        "<h2>Fine-tune it</h2>",
        f"<pre>{_escaped(fine_tuning_code(ranking.best, len(classes)), keep=chr(10))}</pre>",
        "<h2>Settings and versions</h2>",
        _definitions({**settings, **_versions()}),
        "<h2>Cite</h2>",
        f"<pre>{_escaped(_CITATION, keep=chr(10))}</pre>",
        f"<p>Computed with sklearn_ncti {_escaped(__version__)}; name its version too.</p>",
    ]
    return _page(f"Ranking: {_escaped(ranking.best)}", parts)


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
            f"<style>\n{_asset('style.css')}</style>\n</head>\n<body>",
            *parts,
            f"<script>\n{_asset('sort.js')}</script>\n</body>\n</html>\n",
        ]
    )


def fine_tuning_code(name: str, n_classes: int) -> str:
    """Return the first lines of code to fine-tune a candidate with timm."""
    return "\n".join(
        [
            "import timm",
            "",
            f"model = timm.create_model({name!r}, pretrained=True, num_classes={n_classes})",
            "config = timm.data.resolve_model_data_config(model)",
            "transform = timm.data.create_transform(**config, is_training=True)",
        ]
    )


def _ranking_part(ranking: Ranking) -> list[str]:
    """Return the table, the notes below it and the meanings of its columns."""
    columns = [c for c in _shown_columns(ranking) if _has_values(ranking.results.get(c.name))]
    styles = {c.name: value_format(c.format, ranking.results[c.name]) for c in columns}
    rows = []
    for i in ranking.order:
        failed = ranking.results["error"][i] != ""
        cells = [
            _cell(ranking.results[c.name][i], styles[c.name], failed and c.name == "score")
            for c in columns
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    # Failed candidates have their own part, with their whole errors.
    shown = [_escaped(note.text) for note in notes(ranking) if not note.is_failure]
    return [
        "<h2>Ranking</h2>",
        f'<div class="box"><table class="sortable"><thead><tr>{"".join(map(_head, columns))}'
        "</tr></thead>",
        f"<tbody>{''.join(rows)}</tbody></table></div>",
        f'<p class="faint">{"<br>".join(shown)}</p>',
        "<details><summary>What the columns mean</summary>",
        f"{_definitions({column.header: column.meaning for column in columns})}</details>",
    ]


def _shown_columns(ranking: Ranking) -> list[Column]:
    """Return the columns of the table, whether they have values or not."""
    components = [component_columns(name) for name in ranking.weights]
    return [
        *(COLUMNS[name] for name in _FIRST),
        *(normalized for _, normalized in components),
        *(raw for raw, _ in components),
        *(COLUMNS[name] for name in _LAST),
        *(scorer_columns(name)[0] for name in ranking.scorers),
    ]


def _has_values(column: np.ndarray | None) -> bool:
    """Return whether at least one candidate has a value in a column."""
    if column is None:
        return False
    return bool((column != "").any() if column.dtype == object else np.isfinite(column).any())


def _head(column: Column) -> str:
    """Return the head of a column, with a button that sorts by it."""
    kind = "number" if column.format else "word"
    # A first click sorts numbers from large to small, but ranks from small to large.
    first = "descending" if column.format and column.name != "rank" else "ascending"
    now = ' aria-sort="ascending"' if column.name == "rank" else ""
    return (
        f'<th scope="col" class="{kind}" data-kind="{kind}" data-first="{first}"{now}>'
        f'<button type="button" title="{_escaped(column.meaning)}">{_escaped(column.header)}'
        "</button></th>"
    )


def _cell(value: Any, style: str, failed: bool) -> str:
    """Return a value as a cell of the table. The key is what the script sorts by."""
    if not style:
        text = _escaped(value)
        return f'<td class="word" data-key="{text}">{text}</td>'
    if failed:
        return '<td class="failed" data-key="">failed</td>'
    if not np.isfinite(value):
        return '<td data-key="">-</td>'
    return f'<td data-key="{value!s}">{number_text(value, style)}</td>'


def _pictures_part(ranking: Ranking) -> list[str]:
    """Return the components, and the scores against a cost if one is known."""
    pictures: list[tuple[str, str | None, str]] = [
        ("components", None, "Contribution of each component to the score.")
    ]
    scored = ranking.results["error"] == ""
    for cost in ("images_per_second", "n_parameters"):
        if cost in ranking.results and _has_values(ranking.results[cost][scored]):
            pictures.append(("pareto", cost, "Score and cost of each candidate."))
            break
    part = ["<h2>Pictures</h2>"]
    for kind, shown_cost, caption in pictures:
        svg = _svg(RankingDisplay.from_ranking(ranking, cost=shown_cost), kind)
        label = f'role="img" aria-label="{_escaped(caption)}"'
        part.append(
            f'<figure class="box"><div {label}>{svg}</div>'
            f"<figcaption>{_escaped(caption)}</figcaption></figure>"
        )
    return part


def _svg(display: RankingDisplay, kind: str) -> str:
    """Return a picture as SVG markup, without metadata, so that equal runs give equal text."""
    matplotlib = import_optional("matplotlib", extra="plot")
    file = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.hashsalt": kind, "svg.fonttype": "path"}):
        display._draw_alone(kind).savefig(file, format="svg", metadata=nothing)
    svg = file.getvalue()
    return svg[svg.index("<svg") :]


def _errors_part(ranking: Ranking) -> list[str]:
    """Return the errors of the candidates that failed, or nothing if none did."""
    errors = [(i, ranking.results["error"][i]) for i in ranking.order]
    rows = [
        f'<tr><td class="word">{_escaped(ranking.results["model"][i])}</td>'
        f'<td class="word"><pre>{_escaped(error, keep=chr(10))}</pre></td></tr>'
        for i, error in errors
        if error
    ]
    if not rows:
        return []
    return [
        "<h2>Candidates that failed</h2>",
        f'<div class="box"><table><tbody>{"".join(rows)}</tbody></table></div>',
    ]


def _data_part(
    paths: list[str], labels: np.ndarray, classes: np.ndarray, counts: np.ndarray
) -> list[str]:
    """Return the classes with their numbers of images and examples."""
    rows = []
    for i, (name, count) in enumerate(zip(classes, counts, strict=True)):
        examples = ""
        if i < _CLASSES_WITH_EXAMPLES:
            examples = "".join(_examples(paths, np.flatnonzero(labels == name)))
        rows.append(
            f'<tr><td class="word">{_escaped(name)}</td><td>{count}</td>'
            f'<td class="word examples">{examples}</td></tr>'
        )
    more = len(classes) - _CLASSES_WITH_EXAMPLES
    return [
        "<h2>Data set</h2>",
        f"<p>{counts.sum()} images in {len(classes)} classes, from {counts.min()} to "
        f"{counts.max()} of each.{f' Examples of {more} classes are left out.' * (more > 0)}</p>",
        '<div class="box"><table><thead><tr><th class="word">class</th><th>images</th>'
        '<th class="word">examples</th></tr></thead>',
        f"<tbody>{''.join(rows)}</tbody></table></div>",
    ]


def _examples(paths: list[str], indices: np.ndarray) -> list[str]:
    """Return small copies of a few readable images of one class, as markup."""
    examples: list[str] = []
    # Twice as many candidates as needed, because some may be unreadable: every second one
    # first, then those between.
    spaced = indices[np.arange(2 * _EXAMPLES) * len(indices) // (2 * _EXAMPLES)]
    for index in dict.fromkeys(np.concatenate([spaced[::2], spaced[1::2]]).tolist()):
        if len(examples) == _EXAMPLES:
            break
        try:
            image = read_image(paths, index, "RGB")
        except BadImageError:
            continue
        image.thumbnail((_SIDE, _SIDE))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=80)
        data = base64.b64encode(file.getvalue()).decode("ascii")
        examples.append(f'<img alt="" src="data:image/jpeg;base64,{data}">')
    return examples


def _definitions(items: Mapping[str, Any]) -> str:
    """Return terms and their values as a definition list."""
    lines = (
        f"<dt>{_escaped(name)}</dt><dd>{_escaped(_shown(value))}</dd>"
        for name, value in items.items()
    )
    return f"<dl>{''.join(lines)}</dl>"


def _escaped(text: object, keep: str = "") -> str:
    """Return text with markup and unprintable characters escaped."""
    return html.escape(printable(text, keep))


def _shown(value: Any) -> str:
    """Return a setting as text."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "-" if value is None else str(value)


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
