"""Plots and page of ``evtfw emulate profile``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from evtfw.cli.emulate_page import figure_of, whole_page
from evtfw.cli.emulate_plots import COLOURS, as_svg, new_figure
from evtfw.cli.emulate_profile_table import log2_range, rows_of
from evtfw.observe.html_parts import section, table
from evtfw.observe.units import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from evtfw.external.emulator.cost.profile import LayerProfile


def range_plot(profiles: Sequence[LayerProfile]) -> Figure:
    """Draw magnitudes of values and weights as boxes over the ranges of their formats.

    Boxes are quartiles, whiskers go from 5% to 95%, ticks mark the ends.
    """
    rows = list(rows_of(profiles))
    figure, axes = new_figure(10, 1.2 + 0.32 * len(rows))
    low, high = log2_range(profiles)
    names = []
    layer = ""
    for number, (name, kind, row) in enumerate(rows):
        layer = name or layer
        place = len(rows) - number
        colour = COLOURS["external" if kind == "weights" else "accent"]
        if row.step:
            axes.barh(place, math.log2(row.reach / row.step), 0.82, math.log2(row.step), color=colour, alpha=0.13)
        if row.magnitudes:
            _box(axes, place, row.magnitudes, colour)
        names.append(f"{layer} weights" if kind == "weights" else layer)
    axes.set_yticks(range(len(rows), 0, -1), names)
    axes.set(xlim=(low, high), ylim=(0.4, len(rows) + 0.6))
    step = max(1, (high - low) // 12)
    ticks = list(range(low, high + 1, step))
    axes.set_xticks(ticks, [f"$2^{{{tick}}}$" for tick in ticks])
    axes.set_xlabel("absolute value; shaded: what the format has bits for")
    return figure


def _box(axes: Axes, place: float, magnitudes: Sequence[float], colour: str) -> None:
    """Draw quartiles, whiskers and ends; Matplotlib's own boxes lie differently in each of its versions."""
    least, whisker, lower, middle, upper, end, most = (math.log2(value) for value in magnitudes)
    axes.plot([whisker, end], [place, place], color=colour, linewidth=1.2, zorder=2)
    axes.vlines([whisker, end], place - 0.12, place + 0.12, color=colour, linewidth=1.2)
    axes.barh(place, upper - lower, 0.5, lower, color=colour, alpha=0.65, zorder=3)
    axes.vlines(middle, place - 0.25, place + 0.25, color=COLOURS["ink"], linewidth=1.2, zorder=4)
    axes.plot([least, most], [place, place], "|", color=colour, markersize=7)


def range_page(title: str, subtitle: str, profiles: Sequence[LayerProfile]) -> str:
    """Return the page."""
    caption = (
        "Boxes: the middle half of the values; whiskers: 5% to 95%; ticks: the least and the largest, zeros left out."
    )
    rows = []
    for name, kind, row in rows_of(profiles):
        numbers = (f"{row.lowest:.3g}", f"{row.highest:.3g}", percent(row.lost), percent(row.beyond))
        rows.append(
            (name, kind, row.format, str(row.advice), *numbers, percent(row.relative_error), f"{row.error_max:.2g}")
        )
    names = ("Layer", "", "Format", "Advice", "Least", "Largest", "Becomes 0", "Beyond", "Error", "Largest error")
    return whole_page(
        "evtfw emulate profile",
        title,
        subtitle,
        section("Ranges", figure_of(as_svg(range_plot(profiles)), caption)),
        section(
            "Layers",
            table(names, rows, left=4),
            note="Errors are those of all rounding up to there, relative to the size of the values.",
        ),
    )
