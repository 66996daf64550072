"""``evtfw emulate scan``: how good a network is with so many bits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from evtfw.cli.session import Command, Session, paragraphs, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from evtfw.external.emulator.cost.scan import Quality

_existing = click.Path(exists=True, dir_okay=False, path_type=Path)
_output = click.Path(dir_okay=False, path_type=Path)


if TYPE_CHECKING:
    _WidthsType = click.ParamType[range]
else:
    _WidthsType = click.ParamType  # generic only from click 8.4 on


class Widths(_WidthsType):
    """``4-16``, ``4-16:2`` or ``8``: widths in bits, both ends included."""

    name = "widths"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> range:
        """Return the widths."""
        if isinstance(value, range):
            return value
        span, _, step = str(value).partition(":")
        first, _, last = span.partition("-")
        try:
            found = range(int(first), int(last or first) + 1, int(step or 1))
        except ValueError:
            found = range(0)
        if not found or found[0] < 1:
            self.fail(f"'{value}' are no widths; write e.g. 4-16, or 4-16:2 for each second one", param, ctx)
        return found


@click.command(
    cls=Command,
    short_help="accuracy against bits",
    epilog=paragraphs(
        [
            "Examples:",
            "  evtfw emulate scan jets.onnx --widths 4-16 --integer 6 --data jets.npz --labels truth --plot bits.png",
            "  evtfw emulate scan jets.onnx --format fixed8 --format msfp12 --format 'ap_fixed<16,6>' --data jets.npz",
        ],
    ),
)
@click.argument("model", type=_existing)
@click.option("--format", "formats", multiple=True, metavar="FORMAT", help="as for convert; may be repeated")
@click.option("--widths", type=Widths(), metavar="A-B[:STEP]", help="try ap_fixed of these widths; default: 4-16")
@click.option(
    "--integer", type=int, default=6, show_default=True, metavar="BITS", help="before the point, with --widths"
)
@click.option("--modes", default="TRN,WRAP", show_default=True, metavar="ROUNDING,OVERFLOW", help="with --widths")
@click.option(
    "--data", type=_existing, metavar="FILE", help=".npz with an array for each input; default: random numbers"
)
@click.option(
    "--labels", default="", metavar="NAME", help="array with the classes, in the file of --data or a file .npy"
)
@click.option("--rows", type=click.IntRange(1), default=10_000, show_default=True, metavar="N", help="events to try")
@click.option("--plot", type=_output, metavar="FILE", help="write a plot: .png, .pdf or .svg")
@click.option("--html", type=_output, metavar="FILE", help="write a page with the plot")
@click.option("--json", "json_file", type=_output, metavar="FILE", help="write all figures")
@click.pass_obj
def scan(
    session: Session,
    /,
    *,
    model: Path,
    formats: tuple[str, ...],
    widths: range | None,
    integer: int,
    modes: str,
    data: Path | None,
    labels: str,
    rows: int,
    plot: Path | None,
    html: Path | None,
    json_file: Path | None,
) -> None:
    """Convert MODEL, an ONNX file in floating point, to several formats and compare what they make of the same events.

    With labels: accuracy and area under the curve; always: deviation from floating point and equal decisions.
    """
    from evtfw.external.emulator.cost import scan as scanning
    from evtfw.external.emulator.cost.events import read_events
    from evtfw.external.onnx_model import OnnxModel, SessionSettings

    if widths is None and not formats:
        widths = range(4, 17)
    wanted = [*formats, *(f"ap_fixed<{width},{integer},{modes}>" for width in widths or ())]
    events = read_events(OnnxModel(model, SessionSettings()).description.inputs, data, rows, labels)
    found = list(scanning.scan(model, wanted, events))
    title = f"{model.name}, {events.rows} events: {events.origin}"
    session.out.print(title, style="bold", soft_wrap=True)
    session.out.print(scan_table(found))
    if plot is not None:
        from evtfw.cli.emulate_plots import save

        save(scan_plot(found), plot)
    if html is not None:
        write_text(html, _page(model.name, title, found))
    if json_file is not None:
        import dataclasses
        import json

        write_text(json_file, json.dumps([dataclasses.asdict(one) for one in found], indent=1) + "\n")


_HEADINGS = ("format", "bits", "largest deviation", "rms", "same decision", "accuracy", "AUC")


def _cells(row: Quality) -> tuple[str, ...]:
    def share(value: float | None) -> str:
        return "-" if value is None else f"{value:.4f}"

    deviations = (f"{row.deviation_max:.3g}", f"{row.deviation_rms:.3g}") if row.format else ("-", "-")
    return (row.format or "float", str(row.bits), *deviations, *map(share, (row.agreement, row.accuracy, row.auc)))


def scan_table(found: Sequence[Quality]) -> Table:
    """Return a row for each format."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in _HEADINGS:
        is_text = heading == "format"
        table.add_column(heading, justify="left" if is_text else "right", style="cyan" if is_text else "", no_wrap=True)
    for row in found:
        table.add_row(*_cells(row))
    return table


def scan_plot(found: Sequence[Quality]) -> Figure:
    """Draw accuracy, area and equal decisions against bits; lines in floating point."""
    from matplotlib.ticker import MaxNLocator

    from evtfw.cli.emulate_plots import COLOURS, new_figure

    exact, *tried = found
    figure, axes = new_figure(10, 4)
    curves = (
        ("agreement", "same decision as float", "plain"),
        ("accuracy", "accuracy", "accent"),
        ("auc", "AUC", "good"),
    )
    for name, label, colour in curves:
        points = sorted((row.bits, value) for row in tried if (value := getattr(row, name)) is not None)
        if points:
            axes.plot(*zip(*points, strict=True), "o-", color=COLOURS[colour], label=label, markersize=5)
            axes.axhline(getattr(exact, name), color=COLOURS[colour], linestyle="--", linewidth=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("bits of a value; dashed: floating point")
    axes.legend(frameon=False, labelcolor=COLOURS["soft"])
    return figure


def _page(name: str, title: str, found: Sequence[Quality]) -> str:
    from evtfw.cli.emulate_page import figure_of, whole_page
    from evtfw.cli.emulate_plots import as_svg
    from evtfw.observe.html_parts import section, table

    drawing = figure_of(as_svg(scan_plot(found)), "Dashed: the network in floating point.")
    rows = [_cells(row) for row in found]
    return whole_page(
        "evtfw emulate scan", name, title, section("Bits", drawing), section("Formats", table(_HEADINGS, rows))
    )
