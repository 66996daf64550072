"""A model's cost as a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from evtfw.cli.emulate_page import figure_of, whole_page
from evtfw.cli.emulate_plots import as_svg, roofline_plot
from evtfw.cli.emulate_report_tables import MARKS, bits_of_layer, energy, headline, per_second, value_of
from evtfw.external.emulator.cost.figures import ORIGINS, QUANTITIES, RESOURCES, SOURCES, Figure
from evtfw.external.emulator.cost.published import designs_of
from evtfw.external.emulator.cost.report import TIGHT, ModelCost
from evtfw.observe.html_parts import Html, bar, section, strip, table, text, tile
from evtfw.observe.units import count, duration

if TYPE_CHECKING:
    from evtfw.external.emulator.cost.optimiser import AdderGraph
    from evtfw.external.emulator.cost.synthesis import Synthesised

_PALETTE = ("accent", "external", "cyan", "good", "warn", "magenta", "violet2", "good2")


def page(
    cost: ModelCost, graphs: Mapping[str, AdderGraph], synthesised: Mapping[str, Synthesised], reuse: int | None
) -> str:
    """Return the page.

    Args:
        cost: of the model.
        graphs: of adders, by layer.
        synthesised: what yosys made of them.
        reuse: reuse factor that makes the model fit if it does not.
    """
    advice = f"; a reuse factor of {reuse} would" if reuse else ""
    verdict = ("hardly fits" if cost.is_tight else "fits", "good") if cost.fits else (f"does not fit{advice}", "bad")
    caption = (
        "The lowest line above the model's multiplications per byte bounds its throughput: the link (sloped), or the "
        "design (flat). Tensors as a service gets them, both directions of the link at the same time."
    )
    drawing = as_svg(roofline_plot(cost.roofline, cost.design.fpga.title)) if cost.roofline.multiplications else ""
    return whole_page(
        "evtfw emulate report",
        cost.card.name,
        headline(cost),
        _tiles(cost),
        section("What it takes of the FPGA", _shares(cost)),
        section(
            "Layers", _layers(cost), note="Raised letters tell where a figure comes from; see the end of the page."
        ),
        section("Where the LUTs and multiplications are", *_strips(cost)),
        section("Throughput", figure_of(drawing, caption) if drawing else ""),
        section("Multiplications as graphs of adders (da4ml)", _graphs(cost, graphs, synthesised)),
        section("Published designs of these layers", _published(cost)),
        section("Where the figures come from", _origins(cost)),
        section("Notes of the conversion", *(Html(f"<p>{text(note)}</p>") for note in cost.card.notes)),
        pill=verdict,
    )


def _tiles(cost: ModelCost) -> Html:
    totals, roofline = cost.totals, cost.roofline
    interval = cost.design.nanoseconds(totals["interval_cycles"].value) * 1e-9
    products = sum(layer.multiplications for layer in cost.layers)
    spent = totals["energy_pj"].value
    saved = f"float32: {energy(cost.float32_pj)}" if cost.float32_pj else ""
    tiles = [
        tile(duration(cost.latency_ns * 1e-9), "latency", f"{value_of('', totals['latency_cycles'])} cycles"),
        tile(duration(interval), "initiation interval", f"{per_second(roofline.kernel_per_s)} inferences"),
        tile(count(products), "multiplications", f"{count(roofline.input_bytes)} bytes in"),
        tile(energy(spent) if spent else "-", "arithmetic's energy", saved),
    ]
    return Html(f'<div class="tiles">{"".join(tiles)}</div>')


def _shares(cost: ModelCost) -> Html:
    available = cost.design.fpga.available()
    rows = []
    for name, share in cost.shares().items():
        style = "bad" if share > 1 else "warn" if share > TIGHT else "good"
        rows.append((name.upper(), bar(share, style), _cell(name, cost.totals[name]), count(available[name])))
    return table(("Resource", "", "Needed", "There"), rows, left=2)


def _cell(name: str, figure: Figure) -> Html:
    mark = MARKS[figure.origin].strip() if figure.value else ""
    return Html(f'{value_of(name, figure)}<span class="soft" title="{SOURCES.get(figure.source, "")}">{mark}</span>')


def _layers(cost: ModelCost) -> Html:
    rows: list[tuple[object, ...]] = []
    for layer in cost.layers:
        products = (layer.multiplications, layer.non_zero, layer.true_multiplications)
        numbers = [count(number) if number else "-" for number in products]
        cells = [_cell(q.name, layer.figures[q.name]) for q in QUANTITIES]
        rows.append((layer.name, layer.kind, bits_of_layer(layer), *numbers, *cells))
    total = [_cell(q.name, cost.totals[q.name]) for q in QUANTITIES]
    rows.append((Html("<b>total</b>"), "", "", "", "", "", *(Html(f"<b>{cell}</b>") for cell in total)))
    names = ("Layer", "Kind", "Bits", "Mult.", "≠ 0", "≠ 2ⁿ", *(q.heading for q in QUANTITIES))
    return table(names, rows, left=2)


def _strips(cost: ModelCost) -> list[Html]:
    def parts(sizes: Iterable[float]) -> list[tuple[str, float, str, str]]:
        named = zip(cost.layers, sizes, strict=True)
        return [
            (layer.name, size, count(size), _PALETTE[number % len(_PALETTE)])
            for number, (layer, size) in enumerate(named)
            if size
        ]

    found = []
    for name in ("lut", "dsp"):
        some = parts(layer.figures[name].value for layer in cost.layers)
        if some:
            found += [Html(f"<h3>{name.upper()}</h3>"), strip(some)]
    products = parts(float(layer.multiplications) for layer in cost.layers)
    return [*found, Html("<h3>Multiplications</h3>"), strip(products)] if products else found


def _graphs(cost: ModelCost, graphs: Mapping[str, AdderGraph], synthesised: Mapping[str, Synthesised]) -> Html:
    rows = []
    for layer in cost.layers:
        graph, checked = graphs.get(layer.name), synthesised.get(layer.name)
        if graph is not None:
            luts = count(checked.luts) if checked and checked.luts is not None else "-"
            above = [value_of(name, layer.figures[name]) for name in ("dsp", "lut")]
            rows.append((layer.name, *above, count(graph.luts), f"{graph.depth:.0f}", luts))
    return table(("Layer", "DSP above", "LUT above", "LUT da4ml", "Adders in a row", "LUT yosys"), rows)


def _published(cost: ModelCost) -> Html:
    names = ("latency_cycles", *RESOURCES)
    rows = []
    for design in designs_of(cost.card):
        figures = [count(design.figures[name]) if name in design.figures else "-" for name in names]
        bits = ":".join(str(max(values)) for values in (design.value_bits, design.weight_bits))
        rows.append((f"{design.name} on {design.fpga}", design.source, bits, *figures))
    return table(("Design", "Source", "Bits", "Cycles", "DSP", "LUT", "FF", "BRAM"), rows, left=2)


def _origins(cost: ModelCost) -> Html:
    figures = [figure for layer in cost.layers for figure in layer.figures.values()] + list(cost.totals.values())
    found = {(figure.origin, figure.source) for figure in figures if figure.value and figure.source}
    rows = [
        (Html(f'<span class="pc">{MARKS[origin]}\u00a0{origin}</span>'), SOURCES[source])
        for origin, source in sorted(found, key=lambda pair: (ORIGINS.index(pair[0]), pair[1]))
    ]
    return table(("Origin", "Formula and source"), [*rows, ("FPGA", cost.design.fpga.source)], left=2)
