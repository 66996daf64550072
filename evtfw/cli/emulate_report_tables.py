"""How a model's cost looks in a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from evtfw.external.emulator.cost.figures import ORIGINS, QUANTITIES, RESOURCES, SOURCES, Figure, Origin
from evtfw.external.emulator.cost.published import designs_of
from evtfw.external.emulator.cost.report import TIGHT, ModelCost
from evtfw.external.emulator.cost.roofline import LINKS, Roofline
from evtfw.observe.units import count, duration

if TYPE_CHECKING:
    from evtfw.external.emulator.cost.layers import LayerCost
    from evtfw.external.emulator.cost.optimiser import AdderGraph
    from evtfw.external.emulator.cost.synthesis import Synthesised

MARKS = {"counted": " ", "optimised": "ᵒ", "published": "ᵖ", "fitted": "ᶠ", "estimated": "ᵉ"}
"""What stands behind a figure to tell its origin."""
_BAR = 40


def energy(picojoules: float) -> str:
    """Three digits of an energy.

    >>> energy(0.5), energy(3412.0), energy(2e9)
    ('0.50 pJ', '3.41 nJ', '2.00 mJ')
    """
    units = ((1e9, "mJ"), (1e6, "µJ"), (1e3, "nJ"), (1.0, "pJ"))
    scale, unit = next((pair for pair in units if picojoules >= pair[0]), units[-1])
    value = picojoules / scale
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {unit}"


def value_of(name: str, figure: Figure) -> str:
    """Return a figure as text, without its mark."""
    if name == "energy_pj":
        return energy(figure.value) if figure.value else "-"
    return count(math.ceil(figure.value)) if figure.value else "-"


def _cell(name: str, figure: Figure) -> Text:
    mark = MARKS[figure.origin] if figure.value else " "
    return Text.assemble(value_of(name, figure), (mark, "dim"))


def bits_of_layer(layer: LayerCost) -> str:
    """Bits of values and of weights."""
    return f"{layer.input_bits}:{layer.weight_bits}" if layer.weight_bits else str(layer.input_bits)


def headline(cost: ModelCost) -> str:
    """Say what was built how."""
    design = cost.design
    choices = f"strategy {design.strategy}, reuse factor {design.reuse_factor}"
    if design.follows_card and any(layer.reuse_factor or layer.strategy for layer in cost.card.layers):
        choices = "strategies and reuse factors of its configuration"
    how = f"{choices}, {design.clock_mhz:g} MHz"
    return f"{cost.card.name} in {cost.card.format} on {design.fpga.title}: {how}"


def cost_table(cost: ModelCost) -> Table:
    """Return a row for each layer, their sum, and the share of the FPGA."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("layer", style="cyan", overflow="fold")
    table.add_column("kind")
    for heading in ("bits", "mult.", "≠0", "≠2ⁿ", *(f"{q.heading} " for q in QUANTITIES)):
        table.add_column(heading, justify="right", no_wrap=True)
    for layer in cost.layers:
        products = (layer.multiplications, layer.non_zero, layer.true_multiplications)
        table.add_row(
            layer.name,
            layer.kind,
            bits_of_layer(layer),
            *(count(number) if number else "-" for number in products),
            *(_cell(q.name, layer.figures[q.name]) for q in QUANTITIES),
        )
    sums = (sum(getattr(layer, name) for layer in cost.layers) for name in _PRODUCTS)
    table.add_section()
    totals = (_cell(q.name, cost.totals[q.name]) for q in QUANTITIES)
    table.add_row("total", "", "", *(count(number) if number else "-" for number in sums), *totals, style="bold")
    shares = cost.shares()
    table.add_row("of the FPGA", *[""] * 5, *(_share(shares.get(q.name)) for q in QUANTITIES))
    for design in designs_of(cost.card):
        cells = (_cell(q.name, Figure(design.figures.get(q.name, 0.0), "published")) for q in QUANTITIES)
        bits = ":".join(str(max(values)) for values in (design.value_bits, design.weight_bits))
        table.add_row(Text(f"{design.name}, {design.fpga}", "dim"), "", bits, *[""] * 3, *cells, style="dim")
    return table


_PRODUCTS = ("multiplications", "non_zero", "true_multiplications")


def _share(share: float | None) -> Text:
    if share is None:
        return Text()
    style = "red" if share > 1 else "yellow" if share > TIGHT else "green"
    return Text(f"{100 * share:.{1 if share < 0.0995 else 0}f}% ", style)


def remarks(cost: ModelCost, reuse: int | None) -> Iterator[Text]:
    """Yield what to say below the table: whether it fits, time and energy."""
    shares = cost.shares()
    worst = max(RESOURCES, key=lambda name: shares[name])
    name = cost.design.fpga.title
    if not cost.fits:
        advice = f"a reuse factor of {reuse} makes it fit" if reuse else "no reuse factor helps"
        yield Text.assemble(
            ("✗ ", "bold red"), f"does not fit the {name}: {worst.upper()} {shares[worst]:.0%}; {advice}"
        )
    elif cost.is_tight:
        yield Text.assemble(("! ", "bold yellow"), f"hardly fits the {name}: {worst.upper()} {shares[worst]:.0%}")
    else:
        yield Text.assemble(("✓ ", "bold green"), f"fits the {name}: {worst.upper()} {shares[worst]:.1%} at most")
    if cost.card.arithmetic in ("fixed8", "msfp"):
        its_own = (
            f"  as a design of its own with values in {cost.card.format}; overlays such as Brainwave are of fixed size"
        )
        yield Text(its_own, "yellow")
    interval = cost.design.nanoseconds(cost.totals["interval_cycles"].value) * 1e-9
    yield Text(f"  latency {duration(cost.latency_ns * 1e-9)}, a new inference each {duration(interval)}")
    spent = cost.totals["energy_pj"].value
    if cost.float32_pj and spent:
        saved = f"; in float32 {energy(cost.float32_pj)}, {cost.float32_pj / spent:.1f} times as much"
        yield Text(f"  arithmetic takes {energy(spent)} an inference{saved}")


def origins(cost: ModelCost) -> Table:
    """Return what stands behind the figures."""
    figures = [figure for layer in cost.layers for figure in layer.figures.values()] + list(cost.totals.values())
    found = {(figure.origin, figure.source) for figure in figures if figure.value and figure.source}
    rows = [(f"{MARKS[origin]} {origin}", source) for origin, source in sorted(found, key=_rank)]
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(style="dim", overflow="fold")
    for mark, source in rows:
        table.add_row(mark, SOURCES[source])
    if designs_of(cost.card):
        table.add_row(f"{MARKS['published']} published", "; ".join(sorted({d.source for d in designs_of(cost.card)})))
    return table


def _rank(pair: tuple[Origin, str]) -> tuple[int, str]:
    return ORIGINS.index(pair[0]), pair[1]


def adder_table(cost: ModelCost, graphs: Mapping[str, AdderGraph], synthesised: Mapping[str, Synthesised]) -> Table:
    """Return the LUTs of multiplications by constants: this report's, da4ml's and yosys'."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("layer", style="cyan", overflow="fold")
    headings = ["DSP above", "LUT above", "LUT da4ml", "adders in a row"]
    for heading in headings + (["LUT yosys", "da4ml : yosys"] if synthesised else []):
        table.add_column(heading, justify="right", no_wrap=True)
    for layer in cost.layers:
        graph = graphs.get(layer.name)
        if graph is not None:
            above = [value_of(name, layer.figures[name]) for name in ("dsp", "lut")]
            checked = _checked(synthesised.get(layer.name)) if synthesised else []
            table.add_row(layer.name, *above, count(graph.luts), f"{graph.depth:.0f}", *checked)
    return table


def _checked(layer: Synthesised | None) -> list[str]:
    if layer is None or layer.luts is None:
        return ["too large", "-"]
    return [count(layer.luts), f"{layer.graph.luts / max(1, layer.luts):.3f}"]


def roofline_table(roofline: Roofline) -> Table:
    """Return bars of inferences per second: the design's, and what links bring; logarithmic."""
    rows = [("this design", roofline.kernel_per_s, "cyan")]
    links = {**LINKS, f"{roofline.link_gbit_s:g} Gbit/s": roofline.link_gbit_s}
    chosen = next(name for name, gbit_s in links.items() if gbit_s == roofline.link_gbit_s)
    if chosen in LINKS:
        links = dict(LINKS)
    for name, gbit_s in sorted(links.items(), key=lambda pair: pair[1]):
        rows.append((name, roofline.link_per_s(gbit_s), "yellow" if name == chosen else "dim"))
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    rates = [rate for _, rate, _ in rows if rate > 0]
    low, high = math.log10(min(rates)) - 0.5, math.log10(max(rates))
    for name, rate, style in rows:
        length = round(_BAR * (math.log10(rate) - low) / (high - low)) if rate > 0 else 0
        note = " ← bound" if name == (chosen if roofline.is_link_bound else "this design") else ""
        table.add_row(Text(name, "" if style == "dim" else style), per_second(rate), Text("━" * length + note, style))
    return table


def throughput(roofline: Roofline) -> str:
    """Say what bounds the throughput."""
    sizes = f"{count(roofline.input_bytes)} bytes in, {count(roofline.output_bytes)} out"
    bound = "link" if roofline.is_link_bound else "design"
    return f"Throughput, {sizes}: {per_second(roofline.attainable_per_s)} at most, bound by the {bound}"


def per_second(rate: float) -> str:
    """Three digits of a rate with its unit.

    >>> per_second(200e6), per_second(650.0), per_second(19531.25)
    ('200 M/s', '650 /s', '19.5 k/s')
    """
    scale, unit = next(((s, u) for s, u in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if rate >= s), (1.0, ""))
    return f"{rate / scale:.3g} {unit}/s"
