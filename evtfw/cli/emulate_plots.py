"""Plots of ``evtfw emulate``; in a page they take its colours, for light and dark."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evtfw.cli.emulate_report_tables import per_second
from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.cost.roofline import LINKS, Roofline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    "ink": "#1b2430",
    "soft": "#667283",
    "line": "#e3e8ef",
    "accent": "#2f6fde",
    "external": "#7c3aed",
    "good": "#1f9d6b",
    "bad": "#d64545",
    "warn": "#d9902f",
    "plain": "#b6c0cd",
}
"""Of a plot on white; in a page, the variables of the same names stand for them."""


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """Return an empty plot in the house's look.

    Args:
        width, height: in inches.
    """
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(COLOURS["plain"])
    axes.tick_params(which="both", colors=COLOURS["soft"], labelsize=9)
    axes.xaxis.label.set_color(COLOURS["soft"])
    axes.yaxis.label.set_color(COLOURS["soft"])
    axes.grid(visible=True, color=COLOURS["line"], linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def as_svg(figure: Figure) -> str:
    """Return a plot for a page, in the page's colours and font."""
    import matplotlib as mpl

    text = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "evtfw"}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    drawing = text.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    for name, colour in COLOURS.items():
        drawing = drawing.replace(colour, f"var(--{name})")
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", drawing)
    return re.sub(r'<svg([^>]*?) height="[^"]*"', r'<svg\1 style="width:100%;height:auto"', drawing, count=1)


def save(figure: Figure, file: Path) -> None:
    """Write a plot: PNG, PDF or SVG by the file's ending.

    Raises:
        ConfigurationError: if that is not possible.
    """
    try:
        figure.savefig(file, dpi=150)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"cannot write {file}: {error}") from error


def roofline_plot(roofline: Roofline, title: str) -> Figure:
    """Draw multiplications per second against multiplications per byte of the link.

    A model lies on the vertical line of its intensity; the lowest of the roofs above it bounds its throughput.
    """
    figure, axes = new_figure(10, 4.2)
    intensity = roofline.intensity
    grid = np.logspace(np.log10(intensity) - 2.2, np.log10(intensity) + 2.2, 200)
    kernel = roofline.kernel_per_s * roofline.multiplications
    label = f"this design, {per_second(roofline.kernel_per_s)}"
    links = {**LINKS, f"{roofline.link_gbit_s:g} Gbit/s": roofline.link_gbit_s}
    if roofline.link_gbit_s in LINKS.values():
        links = dict(LINKS)
    for number, (name, gbit_s) in enumerate(sorted(links.items(), key=lambda pair: pair[1])):
        is_chosen = gbit_s == roofline.link_gbit_s
        slope = grid * gbit_s * 1e9 / 8
        axes.plot(grid, slope, color=COLOURS["warn" if is_chosen else "plain"], linewidth=2.2 if is_chosen else 1.1)
        place = 16 + 11 * number
        _label(axes, grid[place], slope[place], name, "warn" if is_chosen else "soft", above=number % 2 == 0)
    roofs = ((roofline.peak_per_s, f"all DSPs of the {title}", "soft", 1.1, "--"), (kernel, label, "accent", 2.2, "-"))
    for height, name, colour, width, style in roofs:
        axes.axhline(height, color=COLOURS[colour], linewidth=width, linestyle=style)
        _label(axes, grid[-1], height, name, colour, above=height == max(kernel, roofline.peak_per_s), at_right=True)
    reached = roofline.attainable_per_s * roofline.multiplications
    axes.axvline(intensity, color=COLOURS["soft"], linewidth=0.8, linestyle=":")
    axes.plot([intensity], [reached], "o", color=COLOURS["bad"], markersize=8)
    rate = f"  {per_second(roofline.attainable_per_s)} inferences"
    axes.annotate(rate, (intensity, reached), va="top", color=COLOURS["bad"], weight="bold", size=10)
    axes.set(
        xscale="log", yscale="log", xlim=(grid[0], grid[-1]), ylim=(grid[0] * 1e8, 8 * max(kernel, roofline.peak_per_s))
    )
    axes.set(xlabel="multiplications per byte on the link", ylabel="multiplications per second")
    return figure


def _label(axes: Axes, x: Any, y: Any, text: str, colour: str, *, above: bool, at_right: bool = False) -> None:
    """Write a name beside a line."""
    axes.annotate(
        text,
        (x, y),
        xytext=(-4 if at_right else 4 if not above else -4, 3 if above else -4),
        textcoords="offset points",
        color=COLOURS[colour],
        size=9,
        ha="right" if at_right or above else "left",
        va="bottom" if above else "top",
        clip_on=True,
    )
