"""``evtfw emulate``: models in the arithmetic of an FPGA, made, costed and looked at before there is hardware."""

from __future__ import annotations

import click

from evtfw.cli.emulate_convert import convert
from evtfw.cli.emulate_profile import profile
from evtfw.cli.emulate_report import report
from evtfw.cli.emulate_scan import scan
from evtfw.cli.session import Group, paragraphs


@click.group(
    cls=Group,
    short_help="convert models to an FPGA's arithmetic; what they cost there",
    epilog=paragraphs(
        [
            "A converted model runs as backend 'fpga:FILE?device=…'; 'evtfw describe fpga' tells its options.",
        ],
    ),
)
def emulate() -> None:
    """Convert a model to the arithmetic of an FPGA, and learn what the device would answer, when, and at what cost."""


emulate.add_command(convert)
emulate.add_command(report)
emulate.add_command(profile)
emulate.add_command(scan)
