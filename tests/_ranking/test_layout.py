"""Text fits on axes of any size, and names are shown literally."""

import numpy as np
import pytest

from sklearn_ncti._ranking.layout import (
    available_area,
    fit_rows,
    fit_text,
    literal,
    max_chars,
    scale_text,
    shorten,
    text_scale,
    text_size,
)

matplotlib = pytest.importorskip("matplotlib")
Figure = pytest.importorskip("matplotlib.figure").Figure


def axes_of_width(inches, **kwargs):
    return Figure(figsize=(inches, 4.0), **kwargs).subplots()


@pytest.mark.parametrize("length", [1, 5, 47, 48, 49, 500])
@pytest.mark.parametrize("limit", [6, 20, 48, 1000])
def test_shortened_names_keep_both_ends(length, limit):
    name = "".join(chr(ord("a") + i % 26) for i in range(length))
    short = shorten(name, limit)
    assert len(short) == min(length, limit, 48)
    if len(short) < length:
        head, tail = short.split("…")
        assert name.startswith(head)
        assert name.endswith(tail)
        assert len(head) < len(tail)
    else:
        assert short == name


def test_at_least_six_characters_are_kept():
    assert len(shorten("a long name", 0)) == 6


@pytest.mark.parametrize("parse_math", [True, False])
def test_dollars_are_literal(parse_math):
    with matplotlib.rc_context({"text.parse_math": parse_math}):
        assert literal("a$b$") == (r"a\$b\$" if parse_math else "a$b$")
        assert literal("tab\tand\x1b") == r"tab\tand\x1b"


def test_area_of_axes_without_a_grid_is_the_figure():
    figure = Figure()
    ax = figure.add_axes([0.3, 0.3, 0.2, 0.2])
    np.testing.assert_allclose(available_area(ax).extents, figure.bbox.extents)


def test_areas_of_a_grid_tile_the_figure():
    figure = Figure()
    axes = figure.subplots(2, 3)
    areas = [available_area(ax) for ax in axes.flat]
    total = sum(area.width * area.height for area in areas)
    assert total == pytest.approx(figure.bbox.width * figure.bbox.height)
    for ax, area in zip(axes.flat, areas, strict=True):
        frame = ax.get_window_extent()
        assert area.x0 < frame.x0 < frame.x1 < area.x1
        assert area.y0 < frame.y0 < frame.y1 < area.y1


def test_area_of_a_nested_grid_is_inside_of_its_cell():
    figure = Figure()
    outer = figure.add_gridspec(1, 2)
    left = figure.add_subplot(outer[0, 0])
    inner = outer[0, 1].subgridspec(2, 1)
    nested = [figure.add_subplot(inner[i, 0]) for i in range(2)]
    for ax in nested:
        assert available_area(ax).x0 == pytest.approx(available_area(left).x1)
    assert available_area(nested[0]).y0 == pytest.approx(available_area(nested[1]).y1)


@pytest.mark.parametrize(("inches", "scale"), [(10, 1.0), (5, 1.0), (4, 0.8), (1, 0.6)])
def test_text_shrinks_on_narrow_axes(inches, scale):
    ax = axes_of_width(inches)
    assert text_scale(ax) == pytest.approx(scale)
    assert text_size(ax) == pytest.approx(scale * matplotlib.rcParams["font.size"])
    before = ax.title.get_size()
    scale_text(ax)
    assert ax.title.get_size() == pytest.approx(before if scale == 1 else text_size(ax))


def test_more_characters_fit_on_wider_axes():
    assert max_chars(axes_of_width(3)) < max_chars(axes_of_width(6)) < max_chars(axes_of_width(12))


def test_a_line_of_the_allowed_length_fits():
    ax = axes_of_width(6)
    text = ax.set_title("n" * max_chars(ax), fontsize=text_size(ax))
    ax.figure.draw_without_rendering()
    assert text.get_window_extent().width < available_area(ax).width


def test_many_rows_get_small_names():
    ax = axes_of_width(6, layout="constrained")
    sizes, lengths = zip(*(fit_rows(ax, n) for n in (2, 20, 40, 1000)), strict=True)
    assert sizes[0] == text_size(ax)
    assert sizes[0] >= sizes[1] > sizes[2] > sizes[3] == 3.0
    assert lengths[0] < lengths[3]


@pytest.mark.parametrize("layout", [None, "constrained", "tight"])
def test_axes_shrink_only_without_a_layout_engine(layout):
    ax = axes_of_width(6, layout=layout)
    ax.set_xlabel("\n" * 5 + "a label below the figure")
    before = ax.get_position().bounds
    fit_text(ax)
    assert (ax.get_position().bounds == before) == (layout is not None)
    assert ax.get_in_layout()
    ax.figure.draw_without_rendering()
    box = ax.xaxis.label.get_window_extent()
    assert box.y0 >= 0


def test_axes_with_no_room_at_all_keep_their_size():
    ax = axes_of_width(6)
    ax.set_xlabel("line\n" * 100)
    before = ax.get_position().bounds
    fit_text(ax)
    assert ax.get_position().bounds == before
