"""How text fits on axes: the area that is available, sizes of text, and shortened names."""

from typing import Any

import numpy as np

from .._utils.optional import import_optional
from .._utils.terminal import printable

# Longer names are shortened in the middle: both ends tell variants of one network apart.
_MAX_NAME_CHARS = 48
#: Mean width of a character relative to the font size, for estimates before anything is drawn.
CHAR_WIDTH = 0.62


def shorten(name: str, max_chars: int = _MAX_NAME_CHARS) -> str:
    """Return a name of limited length that Matplotlib shows literally."""
    max_chars = min(max(max_chars, 6), _MAX_NAME_CHARS)
    name = printable(name)
    if len(name) > max_chars:
        head = max_chars // 3
        name = f"{name[:head]}…{name[head + 1 - max_chars :]}"
    return literal(name)


def literal(name: str) -> str:
    """Return a name in a form that Matplotlib shows as it is, never as a formula."""
    parsed = import_optional("matplotlib", extra="plot").rcParams["text.parse_math"]
    return printable(name).replace("$", r"\$" if parsed else "$")


def available_area(ax: Any) -> Any:
    """Return the part of the figure that belongs to these axes, as a Bbox in pixels.

    It reaches halfway to the neighbours in the grid, so that it has room for titles and labels.
    """
    whole = ax.figure.bbox.frozen()
    spec = ax.get_subplotspec()
    if spec is None:
        return whole
    x0, y0, x1, y1 = 0.0, 0.0, 1.0, 1.0
    # A grid inside another grid has the cell that the outer one gives it.
    for level in (spec.get_topmost_subplotspec(), spec):
        grid, rows, columns = level.get_gridspec(), level.rowspan, level.colspan
        bottoms, tops, lefts, rights = grid.get_grid_positions(ax.figure)
        if columns.start > 0:
            x0 = (rights[columns.start - 1] + lefts[columns.start]) / 2
        if columns.stop < grid.ncols:
            x1 = (rights[columns.stop - 1] + lefts[columns.stop]) / 2
        if rows.start > 0:
            y1 = (bottoms[rows.start - 1] + tops[rows.start]) / 2
        if rows.stop < grid.nrows:
            y0 = (bottoms[rows.stop - 1] + tops[rows.stop]) / 2
    corners = whole.min + whole.size * [[x0, y0], [x1, y1]]
    return import_optional("matplotlib.transforms", extra="plot").Bbox(corners)


def text_scale(ax: Any) -> float:
    """Return the factor for sizes of text and marks: below 1 on narrow axes."""
    return float(np.clip(available_area(ax).width / (5 * ax.figure.dpi), 0.6, 1.0))


def text_size(ax: Any) -> float:
    """Return the font size for these axes, in points."""
    usual = import_optional("matplotlib", extra="plot").rcParams["font.size"]
    return text_scale(ax) * float(usual)


def max_chars(ax: Any) -> int:
    """Return the number of characters that fit into one line below or above the axes."""
    points = 0.6 * available_area(ax).width * 72 / ax.figure.dpi
    return int(points / (CHAR_WIDTH * text_size(ax)))


def fit_rows(ax: Any, n_rows: int) -> tuple[float, int]:
    """Return the font size and the length of names with which rows of bars have room.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        The axes; names stand to the left of them.

    n_rows : int
        Number of rows.

    Returns
    -------
    size : float
        Font size of the names, in points.

    max_chars : int
        Number of characters that fit; half of the width is left to the bars.
    """
    size = text_size(ax)
    pixel = ax.figure.dpi / 72
    area, frame = available_area(ax), ax.get_window_extent()
    # Above and below the rows are a legend and an axis.
    width, height = area.width, area.height - 6 * size * pixel
    if ax.figure.get_layout_engine() is None:
        width, height = frame.x1 - area.x0, min(height, frame.height)
    size = min(size, max(height / pixel / (1.4 * n_rows), 3.0))
    return size, int(width / 2 / (CHAR_WIDTH * size * pixel))


def legend_above(ax: Any, n_columns: int) -> None:
    """Put the legend above the axes, so that bars and points have the whole width."""
    # Aligned on the right: on the left it could cover names next to the axes.
    where = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "ncols": n_columns}
    space = {"columnspacing": 1.2, "handletextpad": 0.5, "borderaxespad": 0.2}
    ax.legend(**where, **space, frameon=False, fontsize=text_size(ax))


def fit_text(ax: Any) -> None:
    """Shrink text on narrow axes, and shrink axes whose text would leave their area."""
    scale_text(ax)
    # A layout engine makes room for text by itself.
    if ax.figure.get_layout_engine() is None:
        _shrink_axes(ax)


def scale_text(ax: Any) -> None:
    """Shrink title, labels and ticks on narrow axes."""
    if text_scale(ax) == 1:
        return
    size = text_size(ax)
    ax.tick_params(axis="x", labelsize=size)
    # Without a label, the ticks are names, which have a size of their own.
    if ax.get_ylabel():
        ax.tick_params(axis="y", labelsize=size)
    for text in (ax.title, ax.xaxis.label, ax.yaxis.label):
        text.set_size(size)


def _shrink_axes(ax: Any) -> None:
    """Shrink axes until their text is inside of the available area."""
    # Text may become a little wider at another resolution.
    area = available_area(ax).expanded(0.97, 0.97)
    for _ in range(3):
        frame, outside = ax.get_window_extent(), ax.get_tightbbox()
        low = np.maximum(frame.min, area.min + frame.min - outside.min)
        high = np.minimum(frame.max, area.max + frame.max - outside.max)
        if np.all(low <= frame.min) and np.all(high >= frame.max):
            return
        # Tiny axes would be worse than text that is cut off.
        if np.any(high - low < 0.2 * area.size):
            return
        corners = ax.figure.transSubfigure.inverted().transform([low, high])
        ax.set_position(type(area)(corners))
        # `set_position` excludes the axes from layouts and from tight bounding boxes.
        ax.set_in_layout(True)
