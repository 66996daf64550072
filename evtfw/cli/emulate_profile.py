"""``evtfw emulate profile``: the range of each layer's values and weights, and the bits that they need."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from evtfw.cli.session import Command, Session, paragraphs, write_text

if TYPE_CHECKING:
    from evtfw.external.emulator.cost.profile import LayerProfile

_existing = click.Path(exists=True, dir_okay=False, path_type=Path)
_output = click.Path(dir_okay=False, path_type=Path)


@click.command(
    cls=Command,
    short_help="ranges and rounding errors of each layer; the bits it needs",
    epilog=paragraphs(
        [
            "Examples:",
            "  evtfw emulate profile jets.onnx --format 'ap_fixed<16,6>' --data jets.npz",
            "  evtfw emulate profile jets.onnx --format hls4ml --config hls4ml.yml --data jets.npz --plot ranges.png",
        ],
        [
            "What lies left of a format's range in the drawing becomes 0, to the right it overflows.",
        ],
    ),
)
@click.argument("model", type=_existing)
@click.option(
    "--format", "format_", default="ap_fixed<16,6>", show_default=True, metavar="FORMAT", help="as for convert"
)
@click.option("--config", type=_existing, metavar="FILE", help="hls4ml's configuration, with --format hls4ml")
@click.option(
    "--data", type=_existing, metavar="FILE", help=".npz with an array for each input; default: random numbers"
)
@click.option("--rows", type=click.IntRange(1), default=1000, show_default=True, metavar="N", help="events to look at")
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.01,
    show_default=True,
    help="rounding error that advised formats may have, relative to the values",
)
@click.option("--plot", type=_output, metavar="FILE", help="write a plot: .png, .pdf or .svg")
@click.option("--html", type=_output, metavar="FILE", help="write a page with the plot")
@click.option("--json", "json_file", type=_output, metavar="FILE", help="write all figures")
@click.pass_obj
def profile(
    session: Session,
    /,
    *,
    model: Path,
    format_: str,
    config: Path | None,
    data: Path | None,
    rows: int,
    tolerance: float,
    plot: Path | None,
    html: Path | None,
    json_file: Path | None,
) -> None:
    """Run events through MODEL, an ONNX file in floating point, and through the same in a fixed-point format.

    Shows for each layer the range of its values and weights, the error that rounding made up to there, and the
    narrowest format that holds all values and rounds them within the tolerance.
    """
    from evtfw.cli.emulate_profile_table import LEGEND, profile_table
    from evtfw.external.emulator.cost.events import read_events
    from evtfw.external.emulator.cost.profile import profile_of
    from evtfw.external.emulator.cost.traces import trace
    from evtfw.external.onnx_model import OnnxModel, SessionSettings

    specs = OnnxModel(model, SessionSettings()).description.inputs
    events = read_events(specs, data, rows)
    profiles = [profile_of(one, tolerance) for one in trace(model, format_, config, events.inputs)]
    title = f"{model.name} in {format_ if config is None else config.name}, {events.rows} events: {events.origin}"
    session.out.print(title, style="bold", soft_wrap=True)
    session.out.print(profile_table(profiles))
    session.out.print(LEGEND, style="dim")
    if plot is not None:
        from evtfw.cli.emulate_plots import save
        from evtfw.cli.emulate_range_plot import range_plot

        save(range_plot(profiles), plot)
    if html is not None:
        from evtfw.cli.emulate_range_plot import range_page

        write_text(html, range_page(model.name, title, profiles))
    if json_file is not None:
        write_text(json_file, _json(profiles))


def _json(profiles: Sequence[LayerProfile]) -> str:
    import dataclasses
    import json

    return json.dumps([dataclasses.asdict(one) for one in profiles], indent=1, default=str) + "\n"
