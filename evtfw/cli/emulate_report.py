"""``evtfw emulate report``: what a converted model costs on an FPGA."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evtfw.cli.session import Command, Session, paragraphs, write_text

if TYPE_CHECKING:
    from evtfw.external.emulator.cost.design import Design, Strategy
    from evtfw.external.emulator.cost.model_file import EmulatedModel
    from evtfw.external.emulator.cost.optimiser import AdderGraph
    from evtfw.external.emulator.cost.report import ModelCost
    from evtfw.external.emulator.cost.synthesis import Synthesised

_output = click.Path(dir_okay=False, path_type=Path)


@click.command(
    cls=Command,
    short_help="cycles, DSPs, LUTs, memory and energy of a converted model",
    epilog=paragraphs(
        [
            "Examples:",
            "  evtfw emulate report jets.onnx",
            "  evtfw emulate report jets.onnx --device ku115 --strategy resource --reuse-factor 4 --html cost.html",
            "  evtfw emulate report jets.onnx --strategy da --synthesise",
        ],
        [
            "A raised letter tells where a figure comes from: o the optimiser da4ml, p published, f a formula fitted",
            "to published designs, e estimated; none: counted. The formulas are listed at the end.",
        ],
    ),
)
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--device", metavar="NAME", help="FPGA, e.g. vu9p, ku115, u250, arria10; default: that of the card, or vu9p"
)
@click.option("--reuse-factor", type=click.IntRange(1), metavar="N", help="of all layers; default: as configured, or 1")
@click.option("--strategy", type=click.Choice(["latency", "resource", "da"]), help="default: as configured, or latency")
@click.option("--clock-mhz", type=click.FloatRange(0, min_open=True), default=200.0, show_default=True, metavar="MHZ")
@click.option("--link-gbit", type=click.FloatRange(0, min_open=True), default=10.0, show_default=True, metavar="GBIT/S")
@click.option("--html", type=_output, metavar="FILE", help="write a page with plots")
@click.option("--json", "json_file", type=_output, metavar="FILE", help="write all figures")
@click.option(
    "--synthesise", is_flag=True, help="check the LUTs of dense and convolution layers by yosys; takes minutes"
)
@click.option(
    "--da4ml-limit",
    "limit_s",
    type=click.FloatRange(0),
    default=20.0,
    show_default=True,
    metavar="SECONDS",
    help="for finding adder graphs; 0: do without",
)
@click.pass_obj
def report(session: Session, /, *, model: Path, html: Path | None, json_file: Path | None, **options: Any) -> None:
    """Tell what MODEL, an ONNX file that 'evtfw emulate convert' wrote, costs on an FPGA, and whether it fits.

    Latency and resources are those that hls4ml's designs have; for trees, conifer's.
    """
    from evtfw.cli.emulate_report_page import page
    from evtfw.external.emulator.cost.model_file import read_model
    from evtfw.external.emulator.cost.optimiser import left_out
    from evtfw.external.emulator.cost.report import as_dict, least_reuse, model_cost

    emulated = read_model(model)
    design = _design(emulated, options)
    graphs, synthesised = _graphs(emulated, options)
    cost = model_cost(emulated, design, options["link_gbit"], graphs)
    reuse = None if cost.fits else least_reuse(emulated, design)
    _show(session, cost, reuse, graphs, synthesised)
    if graphs and (missing := left_out(emulated, graphs)):
        session.say(f"no graphs of adders for {', '.join(missing)}: too large, or not found within --da4ml-limit")
    if json_file is not None:
        found = {name: {"luts": graph.luts, "depth": graph.depth} for name, graph in graphs.items()}
        luts = {name: layer.luts for name, layer in synthesised.items()}
        everything = {**as_dict(cost), "da4ml": found, "yosys_luts": luts, "least_reuse_factor": reuse}
        write_text(json_file, json.dumps(everything, indent=1) + "\n")
    if html is not None:
        write_text(html, page(cost, graphs, synthesised, reuse))


def _show(
    session: Session,
    cost: ModelCost,
    reuse: int | None,
    graphs: dict[str, AdderGraph],
    synthesised: dict[str, Synthesised],
) -> None:
    from evtfw.cli import emulate_report_tables as tables

    out = session.out
    out.print(tables.headline(cost), style="bold", soft_wrap=True)
    out.print(tables.cost_table(cost))
    for line in tables.remarks(cost, reuse):
        out.print(line, soft_wrap=True)
    if graphs:
        out.print("\nMultiplications as graphs of adders (da4ml)", style="bold")
        out.print(tables.adder_table(cost, graphs, synthesised))
    out.print(f"\n{tables.throughput(cost.roofline)}", style="bold", soft_wrap=True)
    out.print(tables.roofline_table(cost.roofline))
    out.print("\nWhere the figures come from", style="bold")
    out.print(tables.origins(cost))


def _design(model: EmulatedModel, options: dict[str, Any]) -> Design:
    from evtfw.external.emulator.cost.design import Design
    from evtfw.external.emulator.cost.fpgas import find_fpga

    strategy: Strategy = options["strategy"] or "latency"
    reuse_factor: int = options["reuse_factor"] or 1
    if strategy == "da" and reuse_factor > 1:
        raise click.UsageError(
            "--strategy da has no reuse: its adders are made for their constants; leave --reuse-factor"
        )
    fpga = find_fpga(options["device"] or model.card.device or "vu9p")
    follows_card = options["strategy"] is None and options["reuse_factor"] is None
    return Design(fpga, strategy, reuse_factor, options["clock_mhz"], follows_card)


def _graphs(model: EmulatedModel, options: dict[str, Any]) -> tuple[dict[str, AdderGraph], dict[str, Synthesised]]:
    from evtfw.external.emulator.cost import optimiser, synthesis

    if options["synthesise"]:
        synthesised = synthesis.synthesise(model)
        return {name: layer.graph for name, layer in synthesised.items()}, synthesised
    is_wanted = options["strategy"] == "da" or (options["limit_s"] and optimiser.is_available())
    return (optimiser.optimise(model, time_limit_s=options["limit_s"]) if is_wanted else {}), {}
