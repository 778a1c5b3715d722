"""A ranking of image folders as one HTML file that needs nothing else."""

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
from .._ranking.table import notes
from .._utils.optional import import_optional
from .._utils.terminal import printable
from .._version import __version__
from ..backbones._images import BadImageError, read_image

# What classes are shown by; a file with more would be too large to send round.
_CLASSES_WITH_EXAMPLES = 24
_EXAMPLES = 4
_SIDE = 96

# Headers, columns of results, formats, and what to say of them, as far as they are there.
_COLUMNS = (
    ("rank", "rank", "d", "1 is the candidate to fine-tune first; equal scores share a rank"),
    ("model", "model", "", "name of the candidate"),
    ("score", "score", ".3f", "sum of the components after scaling; larger is better"),
    ("from", "score_low", ".3f", "lower end of the interval of the score over resampled rows"),
    ("to", "score_high", ".3f", "upper end of that interval"),
    ("seli", "normalized_seli", ".3f", "how far the features part the classes, scaled"),
    ("ncc", "normalized_ncc", ".3f", "how sure the nearest class center is of the truth, scaled"),
    ("vc", "normalized_vc", ".3f", "how far the rows of one class have become one point, scaled"),
    ("raw seli", "seli", ".1f", "the component before scaling"),
    ("raw ncc", "ncc", ".3f", "the component before scaling, in [0, 1]"),
    ("raw vc", "vc", ".3f", "the component before scaling"),
    (
        "images/s",
        "images_per_second",
        ".1f",
        "speed of this run; none for features that were kept",
    ),
    ("features", "n_features", ".0f", "width of the features"),
    ("parameters", "n_parameters", ",.0f", "of the network without its classifier"),
    ("license", "license", "", "of the weights, as timm states it"),
)

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
    ranking: Any,
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
        The ranking; its candidates are names that ``timm.create_model`` takes.

    paths : sequence of str
        The image files that were ranked on.

    labels : ndarray of shape (n_images,)
        Class of each.

    settings : dict of str to object
        What the run was made with, to be shown.

    n_skipped : int, default=0
        Images among them that could not be read and were left out.

    Returns
    -------
    html : str
        A document that loads nothing: pictures, style and script are inside.

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
        "<p>The order is a forecast made without any fine-tuning. Try the first few, not only "
        "the first.</p>",
        *_ranking_part(ranking),
        *_pictures_part(ranking),
        *_errors_part(ranking),
        *_data_part(list(paths), labels, classes, counts),
        "<h2>Fine-tune it</h2>",
        f"<pre>{_escaped(fine_tuning_code(ranking.best, len(classes)), keep=chr(10))}</pre>",
        "<h2>Settings and versions</h2>",
        _definitions(settings | _versions()),
        "<h2>Cite</h2>",
        f"<pre>{_escaped(_CITATION, keep=chr(10))}</pre>",
        f"<p>Computed with sklearn_ncti {_escaped(__version__)}; name its version too.</p>",
    ]
    # The policy makes the promise of the docstring one that browsers keep.
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    policy += "script-src 'unsafe-inline'"
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Ranking: {_escaped(ranking.best)}</title>",
            f"<style>\n{_asset('style.css')}</style>\n</head>\n<body>",
            *parts,
            f"<script>\n{_asset('sort.js')}</script>\n</body>\n</html>\n",
        ]
    )


def fine_tuning_code(name: str, n_classes: int) -> str:
    """Return the lines of timm that fine-tuning a candidate begins with."""
    return "\n".join(
        [
            "import timm",
            "",
            f"model = timm.create_model({name!r}, pretrained=True, num_classes={n_classes})",
            "config = timm.data.resolve_model_data_config(model)",
            "transform = timm.data.create_transform(**config, is_training=True)",
        ]
    )


def _ranking_part(ranking) -> list[str]:
    columns = [c for c in _COLUMNS if _is_told(ranking.results.get(c[1]))]
    columns += [(name, name, ".3f", "another scorer, beside") for name in ranking.scorers]
    heads = []
    for header, name, style, meaning in columns:
        kind = "number" if style else "word"
        # The largest first, where larger is better.
        first = "descending" if style and name != "rank" else "ascending"
        now = ' aria-sort="ascending"' if name == "rank" else ""
        heads.append(
            f'<th scope="col" class="{kind}" data-kind="{kind}" data-first="{first}"{now}>'
            f'<button type="button" title="{_escaped(meaning)}">{_escaped(header)}</button></th>'
        )
    rows = []
    for i in ranking._order:
        failed = ranking.results["error"][i] != ""
        cells = [
            _cell(ranking.results[name][i], style, failed and name == "score")
            for _, name, style, _ in columns
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    meanings = {header: meaning for header, _, _, meaning in columns}
    # Errors have a part of their own.
    told = [_escaped(note) for note in notes(ranking) if not note.startswith("failed: ")]
    return [
        "<h2>Ranking</h2>",
        f'<div class="box"><table class="sortable"><thead><tr>{"".join(heads)}</tr></thead>',
        f"<tbody>{''.join(rows)}</tbody></table></div>",
        f'<p class="faint">{"<br>".join(told)}</p>',
        "<details><summary>What the columns mean</summary>",
        f"{_definitions(meanings)}</details>",
    ]


def _is_told(column) -> bool:
    """Whether at least one candidate has a value in a column."""
    if column is None:
        return False
    return bool((column != "").any() if column.dtype == object else np.isfinite(column).any())


def _cell(value, style, failed) -> str:
    if not style:
        text = _escaped(value)
        return f'<td class="word" data-key="{text}">{text}</td>'
    if failed:
        return '<td class="failed" data-key="">failed</td>'
    if not np.isfinite(value):
        return '<td data-key="">-</td>'
    return f'<td data-key="{value!s}">{value:{style}}</td>'


def _pictures_part(ranking) -> list[str]:
    pictures = [("components", None, "What each component adds to the score.")]
    scored = ranking.results["error"] == ""
    for cost in ("images_per_second", "n_parameters"):
        if cost in ranking.results and _is_told(ranking.results[cost][scored]):
            pictures.append(("pareto", cost, "Scores against what the candidates cost."))
            break
    found = ["<h2>Pictures</h2>"]
    for kind, cost, caption in pictures:
        svg = _svg(RankingDisplay.from_ranking(ranking, cost=cost), kind)
        label = f'role="img" aria-label="{_escaped(caption)}"'
        found.append(
            f'<figure class="box"><div {label}>{svg}</div>'
            f"<figcaption>{_escaped(caption)}</figcaption></figure>"
        )
    return found


def _svg(display, kind) -> str:
    matplotlib = import_optional("matplotlib", extra="plot")
    file = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.hashsalt": kind, "svg.fonttype": "path"}):
        display._draw_alone(kind).savefig(file, format="svg", metadata=nothing)
    svg = file.getvalue()
    return svg[svg.index("<svg") :]


def _errors_part(ranking) -> list[str]:
    errors = [(i, ranking.results["error"][i]) for i in ranking._order]
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


def _data_part(paths, labels, classes, counts) -> list[str]:
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


def _examples(paths, places) -> list[str]:
    """Small copies of a few images of one class, evenly spaced among those that can be read."""
    found = []
    # Twice as many as are shown, in case some are bad: first every second one, then the others.
    spaced = places[np.arange(2 * _EXAMPLES) * len(places) // (2 * _EXAMPLES)]
    for place in dict.fromkeys(np.concatenate([spaced[::2], spaced[1::2]]).tolist()):
        if len(found) == _EXAMPLES:
            break
        try:
            image = read_image(paths, place, "RGB")
        except BadImageError:
            continue
        image.thumbnail((_SIDE, _SIDE))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=80)
        data = base64.b64encode(file.getvalue()).decode("ascii")
        found.append(f'<img alt="" src="data:image/jpeg;base64,{data}">')
    return found


def _definitions(items: Mapping[str, Any]) -> str:
    """Return terms and what belongs to them as a list of definitions."""
    lines = (
        f"<dt>{_escaped(name)}</dt><dd>{_escaped(_shown(value))}</dd>"
        for name, value in items.items()
    )
    return f"<dl>{''.join(lines)}</dl>"


def _escaped(text: object, keep: str = "") -> str:
    """Return text that is neither markup nor what documents must not hold or would hide."""
    return html.escape(printable(text, keep))


def _shown(value) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "-" if value is None else str(value)


def _versions() -> dict[str, str]:
    found = {"sklearn_ncti": __version__, "Python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found | {"platform": platform.platform()}


def _asset(name: str) -> str:
    """Return the text of a file of this folder."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
