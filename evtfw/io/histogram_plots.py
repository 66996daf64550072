"""Pictures of histograms."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
"""M. Petroff's sequence of ten, distinct also with colour-vision deficiencies (arXiv:2107.02270)."""
_STYLE: dict[str, Any] = {
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 11, "mathtext.fontset": "dejavusans",
    "axes.titlesize": 13, "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.titlepad": 12,
    "axes.labelsize": 12, "axes.edgecolor": "#333333", "axes.linewidth": 0.9, "axes.axisbelow": True,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.grid.axis": "y",
    "grid.color": "#e4e4e4", "grid.linewidth": 0.8, "xtick.minor.visible": True, "ytick.minor.visible": True,
    "legend.frameon": False, "legend.fontsize": 11, "figure.facecolor": "white", "svg.hashsalt": "evtfw",
}  # fmt: skip


def draw(categories: dict[str, Any], *, title: str, log: bool = False, format: str = "png") -> bytes:  # noqa: A002
    """Draw a histogram, or several over each other.

    Args:
        categories: `hist.Hist` of one axis, or a single one of two axes, by what the legend says.
        title: for a histogram without a name of its own.
        log: logarithmic vertical axis (colour scale in two dimensions).
        format: ``png``, ``pdf`` or ``svg``.

    Returns:
        The content of the picture's file.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # No pyplot: nothing of the user's own figures or backend is touched.
    with mpl.rc_context(cast(Any, _STYLE)):
        figure = Figure(figsize=(7.2, 4.8), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        first = next(iter(categories.values()), None)
        if first is not None and len(first.axes) == 2:
            _draw_plane(axes, first, log=log)
        elif first is not None:
            _draw_lines(axes, categories, log=log)
        axes.set_title(getattr(first, "name", None) or title)
        buffer = io.BytesIO()
        figure.savefig(buffer, format=format or "png")
    return buffer.getvalue()


def _draw_lines(axes: Axes, categories: dict[str, Any], *, log: bool) -> None:
    for number, (name, histogram) in enumerate(categories.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        edges, values, errors = _edges(histogram.axes[0]), histogram.values(), _errors(histogram)
        centres = (edges[1:] + edges[:-1]) / 2
        look: dict[str, Any] = {"color": colour, "zorder": 3 + number}
        if histogram.kind == "MEAN":
            half_widths = np.diff(edges) / 2
            axes.errorbar(
                centres, values, errors, half_widths, fmt="o", markersize=4, label=_legend(name, histogram), **look
            )
            continue
        if number == 0:  # the others stay lines, so that what is behind can be seen
            axes.stairs(values, edges, fill=True, alpha=0.22, **look)
        axes.stairs(values, edges, linewidth=1.7, label=_legend(name, histogram), **look)
        filled = values != 0
        axes.errorbar(centres[filled], values[filled], errors[filled], fmt="none", elinewidth=1.0, alpha=0.7, **look)
    first = next(iter(categories.values()))
    axis = first.axes[0]
    axes.set_xlabel(axis.label or axis.name or "", loc="right")
    axes.set_ylabel(_vertical_label(first), loc="top")
    edges = _edges(axis)
    axes.set_xlim(edges[0], edges[-1])
    if axis.traits.discrete and not axis.traits.ordered:
        axes.set_xticks(np.arange(len(axis)) + 0.5, [str(axis.value(i)) for i in range(len(axis))])
        axes.tick_params(axis="x", which="minor", bottom=False)
    if log and any((histogram.values() > 0).any() for histogram in categories.values()):
        axes.set_yscale("log")
    elif first.kind != "MEAN":
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.margins(y=0.12)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best", handlelength=1.4)


def _draw_plane(axes: Axes, histogram: Any, *, log: bool) -> None:
    from matplotlib.colors import LogNorm

    values = histogram.values()
    positive = values[values > 0]
    norm = LogNorm(positive.min(), positive.max()) if log and len(positive) else None
    mesh = axes.pcolormesh(
        *(_edges(axis) for axis in histogram.axes),
        np.ma.masked_equal(values, 0).T,
        cmap="viridis",
        norm=norm,
        rasterized=True,
    )
    axes.set_xlabel(histogram.axes[0].label or histogram.axes[0].name or "", loc="right")
    axes.set_ylabel(histogram.axes[1].label or histogram.axes[1].name or "", loc="top")
    axes.grid(visible=False)
    axes.figure.colorbar(mesh, ax=axes, pad=0.02, fraction=0.05).set_label(_counted(histogram), loc="top")


def _edges(axis: Any) -> NDArray[Any]:
    """Edges of the bins; categories have a width of one."""
    return np.asarray(axis.edges, np.float64)


def _errors(histogram: Any) -> NDArray[Any]:
    variances = histogram.variances()
    return np.asarray(np.sqrt(np.abs(np.nan_to_num(variances if variances is not None else histogram.values()))))


def _legend(category: str, histogram: Any) -> str:
    if histogram.kind == "MEAN":
        return category or "mean"
    total = float(histogram.sum(flow=True).value if hasattr(histogram.sum(), "value") else histogram.sum(flow=True))
    count = f"{total:,.0f}".replace(",", "\u2009") if abs(total) >= 100 or total == int(total) else f"{total:.3g}"
    return f"{category}  ({count})" if category else f"{count} {(histogram.label or 'entries').lower()}"


def _counted(histogram: Any) -> str:
    label = histogram.label or "Entries"
    return str(label[:1].upper() + label[1:])


def _vertical_label(histogram: Any) -> str:
    """``Jets / 10 GeV``: what the histogram's label says is counted, per width of bins on an axis ``… [GeV]``."""
    if histogram.kind == "MEAN":
        return histogram.label or "Mean"
    counted = _counted(histogram)
    axis = histogram.axes[0]
    widths = np.diff(axis.edges)
    unit = re.search(r"\[([^\]]+)\]\s*$", axis.label or "")
    if axis.traits.discrete or not np.allclose(widths, widths[0]):
        return f"{counted} / bin" if not axis.traits.discrete else counted
    return f"{counted} / {widths[0]:.3g}" + (f" {unit[1]}" if unit else "")
