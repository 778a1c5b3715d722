"""LabelPlacer, which writes names next to points without covering anything."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .._utils.optional import import_optional
from .layout import CHAR_WIDTH, literal, shorten, text_size


class LabelPlacer:
    """Write each name near its point, where it covers no other name, point or line.

    Positions are measured in pixels, and a layout may move or scale the axes until they are
    drawn. An instance therefore serves as the `textcoords` of the first name: Matplotlib calls
    it each time that name is drawn, and the call places all names.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        The axes.

    points : ndarray of shape (n_names, 2)
        Points in data coordinates. The first ones are given their positions first.

    names : list of str
        Name of each point.

    halo : bool, default=False
        Whether names get a white rim and bold type, to be legible on top of other points.
    """

    def __init__(
        self, ax: Any, points: np.ndarray, names: Sequence[str], *, halo: bool = False
    ) -> None:
        effects = import_optional("matplotlib.patheffects", extra="plot")
        rim = [effects.withStroke(linewidth=2.5, foreground="white")] if halo else []
        ax.margins(0.08)
        self.ax, self.points, self.names = ax, points, names
        self.notes: list[Any] = []
        for point, name in zip(points, names, strict=True):
            note = ax.annotate(
                literal(name),
                xy=point,
                xytext=(0, 0),
                textcoords=self if not self.notes else "offset points",
                va="bottom",
                fontweight="bold" if halo else "normal",
                path_effects=rim,
                zorder=5,
                arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.6, "shrinkB": 3},
            )
            # Names stay within the frame, so a layout need not reserve room for them.
            note.set_in_layout(False)
            self.notes.append(note)
        self._placed_for: tuple[float, ...] | None = None

    def __call__(self, renderer: Any) -> Any:
        """Place all names, and return the transform of the first one from points to pixels."""
        transforms = import_optional("matplotlib.transforms", extra="plot")
        pixel = self.ax.figure.dpi / 72
        anchors = self.ax.transData.transform(self.points)
        situation = (*self.ax.get_window_extent().extents, pixel, *anchors.ravel())
        if situation != self._placed_for:
            self._placed_for = situation
            usual = 0.8 * text_size(self.ax)
            # Shrink until all fit; at the smallest size, names without room are hidden.
            if not any(self._place(renderer, anchors, pixel, usual * s) for s in (1.0, 0.85)):
                self._place(renderer, anchors, pixel, usual * 0.7)
        return transforms.Affine2D().scale(pixel).translate(*anchors[0])

    def _place(self, renderer: Any, anchors: np.ndarray, pixel: float, size: float) -> bool:
        """Place all names at one font size, and return whether all fit."""
        text = import_optional("matplotlib.text", extra="plot").Text
        frame = self.ax.get_window_extent()
        max_chars = int(0.9 * frame.width / (CHAR_WIDTH * size * pixel))
        canvas = _Canvas(frame, anchors, line_spots(self.ax, 3 * pixel), pixel)
        all_fit = True
        for i, (note, name) in enumerate(zip(self.notes, self.names, strict=True)):
            # A hidden text has no extent.
            note.set_visible(True)
            note.set_size(size)
            note.set_text(shorten(name, max_chars))
            box = text.get_window_extent(note, renderer)
            extent = np.array([box.width, box.height])
            low, leader, is_free = canvas.find_position(i, extent)
            all_fit = all_fit and is_free
            # The first name stays visible: Matplotlib calls this placer only to draw it.
            note.set_visible(i == 0 or is_free)
            if note.get_visible():
                canvas.occupy(low, extent, leader)
                note.set_position((low - anchors[i]) / pixel)
                note.arrow_patch.set_visible(len(leader) > 0)
        return all_fit


class _Canvas:
    """What names must not cover, in pixels; boxes are rows of x0, y0, x1, y1.

    Parameters
    ----------
    frame : matplotlib.transforms.Bbox
        Frame of the axes.

    anchors : ndarray of shape (n_names, 2)
        Points that are named.

    spots : ndarray of shape (n_spots, 2)
        Spots on lines that have been drawn, see `line_spots`.

    pixel : float
        Pixels in a point of text.
    """

    def __init__(self, frame: Any, anchors: np.ndarray, spots: np.ndarray, pixel: float) -> None:
        self.frame, self.anchors, self.pixel = frame, anchors, pixel
        self.reach = 5 * pixel
        self.points = _boxes_around(anchors, self.reach)
        self.lines = _boxes_around(spots, pixel)
        self.names, self.leaders = np.empty((0, 4)), np.empty((0, 4))

    def find_position(self, i: int, extent: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
        """Find the nearest free position of a name.

        Parameters
        ----------
        i : int
            Position of its point among the anchors.

        extent : ndarray of shape (2,)
            Width and height of the name.

        Returns
        -------
        low : ndarray of shape (2,)
            Lower left corner of the name.

        leader : ndarray of shape (n_spots, 2)
            Spots on the line from the name to its point; empty if the two are close.

        is_free : bool
            Whether nothing is covered there.
        """
        low = label_positions(self.anchors[i], extent, self.frame, self.reach)
        gap = np.maximum(np.maximum(low - self.anchors[i], self.anchors[i] - low - extent), 0)
        distance = np.hypot(*gap.T).round(1)
        obstacles = [self.points, self.names, self.leaders, self.lines]
        covered = count_overlaps(low, low + extent, obstacles)
        order = np.lexsort([distance, covered])
        order = order[: max((covered == 0).sum(), 1)]
        # If possible, a position from which the leader crosses no other name or point.
        for best in [*order, order[0]]:
            leader = np.empty((0, 2))
            if distance[best] > 1.5 * self.reach:
                leader = self._leader(i, low[best], extent)
            crossed = [np.delete(self.points, i, axis=0), self.names]
            if not count_overlaps(leader, leader, crossed).any():
                break
        return low[best], leader, not covered[best]

    def _leader(self, i: int, low: np.ndarray, extent: np.ndarray) -> np.ndarray:
        start = np.clip(self.anchors[i], low, low + extent)
        return _spots_between(start, self.anchors[i], 3 * self.pixel)[1:]

    def occupy(self, low: np.ndarray, extent: np.ndarray, leader: np.ndarray) -> None:
        """Mark the box of a name, and its leader, as taken."""
        self.names = np.append(self.names, [[*low, *(low + extent)]], axis=0)
        rim = _boxes_around(leader, self.pixel)
        self.leaders = np.append(self.leaders, rim, axis=0)


def label_positions(anchor: np.ndarray, size: np.ndarray, frame: Any, reach: float) -> np.ndarray:
    """Return candidate positions of a name, in the order of preference.

    Parameters
    ----------
    anchor : ndarray of shape (2,)
        The point, in pixels.

    size : ndarray of shape (2,)
        Width and height of the name.

    frame : matplotlib.transforms.Bbox
        Frame of the axes. Positions that leave it are removed, unless all do.

    reach : float
        Distance between the point and a name next to it.

    Returns
    -------
    low : ndarray of shape (n_positions, 2)
        Lower left corners: right, left, above and below the point, then farther away.
    """
    right, left = anchor[0] + reach, anchor[0] - reach - size[0]
    above, below = anchor[1] + reach, anchor[1] - reach - size[1]
    middle = anchor - size / 2
    near = [[right, middle[1]], [left, middle[1]], [middle[0], above], [middle[0], below]]
    steps = np.arange(-24, 25)
    far = np.stack(np.meshgrid(steps * size[1], steps * size[1] / 2), axis=-1).reshape(-1, 2)
    far = far * [1.5, 1.0]
    low = np.concatenate([near, *(corner + far for corner in near[:2])])
    inside = ((low >= frame.min) & (low + size <= frame.max)).all(axis=1)
    return low[inside] if inside.any() else low[:1]


def count_overlaps(low: np.ndarray, high: np.ndarray, boxes: Sequence[np.ndarray]) -> np.ndarray:
    """Return how many of `boxes` overlap each box from `low` to `high`.

    Parameters
    ----------
    low, high : ndarray of shape (n, 2)
        Lower left and upper right corners.

    boxes : list of ndarray of shape (n_boxes, 4)
        Boxes as rows of x0, y0, x1, y1.

    Returns
    -------
    counts : ndarray of shape (n,)
        Number of overlaps; boxes that only touch do not overlap.
    """
    x0, y0, x1, y1 = np.concatenate(boxes).T
    overlap = (low[:, :1] < x1) & (high[:, :1] > x0) & (low[:, 1:] < y1) & (high[:, 1:] > y0)
    counts: np.ndarray = np.count_nonzero(overlap, axis=1)
    return counts


def line_spots(ax: Any, step: float) -> np.ndarray:
    """Return spots on all lines of the axes, in pixels, at most `step` apart."""
    spots = [np.empty((0, 2))]
    for line in ax.lines:
        ends = line.get_transform().transform(line.get_xydata())
        if line.get_linestyle() != "None":
            spots += [_spots_between(start, end, step) for start, end in pairwise(ends)]
    return np.concatenate(spots)


def _spots_between(start: np.ndarray, end: np.ndarray, step: float) -> np.ndarray:
    n = 2 + int(np.hypot(*(end - start)) / step)
    return np.linspace(start, end, n)


def _boxes_around(spots: np.ndarray, reach: float) -> np.ndarray:
    return np.concatenate([spots - reach, spots + reach], axis=1)
