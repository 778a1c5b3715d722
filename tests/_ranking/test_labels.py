"""Labels cover neither each other nor points and lines, and stay within the frame."""

from itertools import combinations

import numpy as np
import pytest

from sklearn_ncti._ranking.labels import (
    LabelPlacer,
    count_overlaps,
    label_positions,
    line_spots,
)

Figure = pytest.importorskip("matplotlib.figure").Figure
Bbox = pytest.importorskip("matplotlib.transforms").Bbox
Text = pytest.importorskip("matplotlib.text").Text


def scattered(points, **size):
    """Axes with points; a name is drawn only if its point is within the limits."""
    ax = Figure(**size).subplots()
    ax.scatter(*np.transpose(points))
    ax.set(xlim=(0, 1), ylim=(0, 1))
    return ax


def label_boxes(placer):
    """Boxes of the visible names, without their leaders and the rounding at their edges."""
    placer.ax.figure.draw_without_rendering()
    visible = [note for note in placer.notes if note.get_visible()]
    return [Text.get_window_extent(note).padded(-0.01) for note in visible]


def test_overlaps_are_counted_as_one_by_one():
    rng = np.random.default_rng(0)
    low, start = rng.integers(0, 10, (20, 2)), rng.integers(0, 10, (30, 2))
    high, end = low + rng.integers(1, 4, low.shape), start + rng.integers(1, 4, start.shape)
    boxes = np.concatenate([start, end], axis=1)
    counted = count_overlaps(low, high, [boxes[:10], boxes[10:]])
    expected = [
        sum(
            a[0] < x1 and b[0] > x0 and a[1] < y1 and b[1] > y0
            for x0, y0, x1, y1 in boxes.tolist()
        )
        for a, b in zip(low.tolist(), high.tolist(), strict=True)
    ]
    assert counted.tolist() == expected
    assert 0 < counted.max() < 30


def test_boxes_that_touch_do_not_overlap():
    low, high = np.array([[0.0, 0.0]]), np.array([[1.0, 1.0]])
    touching = np.array([[1.0, 0.0, 2.0, 1.0], [0.0, -1.0, 1.0, 0.0]])
    assert count_overlaps(low, high, [touching]).tolist() == [0]
    assert count_overlaps(low, high, [np.empty((0, 4)), touching - 0.1]).tolist() == [1]


def test_positions_next_to_the_point_come_first():
    frame = Bbox([[0.0, 0.0], [400.0, 300.0]])
    anchor, size = np.array([200.0, 150.0]), np.array([60.0, 10.0])
    low = label_positions(anchor, size, frame, 5.0)
    np.testing.assert_allclose(low[:4], [[205, 145], [135, 145], [170, 155], [170, 135]])
    assert np.all(low >= 0)
    assert np.all(low + size <= [400, 300])


def test_positions_outside_of_the_frame_are_removed_unless_all_are():
    frame = Bbox([[0.0, 0.0], [100.0, 100.0]])
    anchor = np.array([98.0, 50.0])
    low = label_positions(anchor, np.array([60.0, 10.0]), frame, 5.0)
    np.testing.assert_allclose(low[0], [33, 45])
    too_wide = label_positions(anchor, np.array([200.0, 10.0]), frame, 5.0)
    np.testing.assert_allclose(too_wide, [[103, 45]])


def test_spots_follow_drawn_lines():
    ax = Figure().subplots()
    assert line_spots(ax, 3.0).shape == (0, 2)
    ax.plot([0, 1, 1], [0, 0, 1], "--")
    ax.plot([5.0], [5.0], "o")
    ax.plot([0, 9], [0, 9], "D", linestyle="None")
    spots = line_spots(ax, 3.0)
    steps = np.hypot(*np.diff(spots, axis=0).T)
    assert steps.max() <= 3.0
    np.testing.assert_allclose(spots[0], ax.transData.transform([0, 0]))
    np.testing.assert_allclose(spots[-1], ax.transData.transform([1, 1]))


@pytest.mark.parametrize("halo", [True, False])
def test_labels_of_close_points_do_not_overlap(halo):
    points = np.random.default_rng(0).uniform(0.4, 0.6, (12, 2))
    ax = scattered(points)
    placer = LabelPlacer(ax, points, [f"candidate {i}" for i in range(12)], halo=halo)
    boxes = label_boxes(placer)
    assert len(boxes) == 12
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    frame = ax.get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)


def test_labels_avoid_lines():
    ax = scattered([[0.5, 0.5]])
    ax.plot([0, 1], [0.5, 0.5])
    placer = LabelPlacer(ax, np.array([[0.5, 0.5]]), ["name"])
    (box,) = label_boxes(placer)
    _, y = ax.transData.transform([0.5, 0.5])
    assert not box.y0 < y < box.y1


def test_a_distant_label_has_a_leader():
    point = np.array([[0.5, 0.5]])
    alone = LabelPlacer(scattered(point), point, ["name"])
    label_boxes(alone)
    assert not alone.notes[0].arrow_patch.get_visible()
    # Lines all around leave no room next to the point.
    ax = scattered(point)
    angles = np.linspace(0, 2 * np.pi, 50)
    for radius in (0.02, 0.04, 0.06):
        ax.plot(0.5 + radius * np.cos(angles), 0.5 + radius * np.sin(angles))
    crowded = LabelPlacer(ax, point, ["name"])
    label_boxes(crowded)
    assert crowded.notes[0].arrow_patch.get_visible()


def test_labels_are_placed_again_only_when_the_axes_change(monkeypatch):
    points = np.array([[0.2, 0.2], [0.8, 0.8]])
    ax = scattered(points)
    LabelPlacer(ax, points, ["a", "b"])
    calls = []
    place = LabelPlacer._place
    monkeypatch.setattr(LabelPlacer, "_place", lambda *args: calls.append(1) or place(*args))
    ax.figure.draw_without_rendering()
    assert len(calls) == 1
    ax.figure.draw_without_rendering()
    assert len(calls) == 1
    ax.set_xlim(0, 5)
    ax.figure.draw_without_rendering()
    assert len(calls) == 2


def test_labels_without_room_are_hidden_but_for_the_first():
    points = np.full((60, 2), 0.5)
    ax = scattered(points, figsize=(1.6, 1.3))
    placer = LabelPlacer(ax, points, [f"a long name {i}" for i in range(60)])
    boxes = label_boxes(placer)
    assert placer.notes[0].get_visible()
    assert 1 <= len(boxes) < 60
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
