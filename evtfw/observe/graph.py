"""The module graph of a job as DOT, Mermaid or SVG."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from html import escape
from importlib.resources import files

from evtfw.core.observer import JobInfo, NodeInfo
from evtfw.observe.layout import Layout, layered_layout, reduce_edges
from evtfw.observe.timing import Timing
from evtfw.observe.units import duration, percent

_DOT_STYLES = {
    "source": 'shape=cds, fillcolor="#d8dee9"',
    "filter": 'shape=hexagon, fillcolor="#f7e3b5"',
    "external": 'shape=box, style="filled,rounded,bold", fillcolor="#d9ccf0"',
    "analyzer": 'shape=note, fillcolor="#cfe8d5"',
    "output": 'shape=cylinder, fillcolor="#f3cfc6"',
    "framework": 'shape=box, style="filled,dashed", fillcolor="#eeeeee"',
}
_MERMAID_SHAPES = {
    "source": "([{}])",
    "filter": "{{{{{}}}}}",
    "external": "[[{}]]",
    "output": "[({})]",
}
_KINDS = ("source", "producer", "filter", "external", "analyzer", "output", "framework")
_HEIGHT, _LAYER, _MARGIN = 42, 78, 14
_LETTER, _SMALL_LETTER, _PADDING = 7.6, 6.3, 30

_ARROW = (
    '<defs><marker id="evtfw-arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="9" markerHeight="9" '
    'markerUnits="userSpaceOnUse" orient="auto"><path d="M0,0.8 L7.5,4 L0,7.2 z" class="arrow"/></marker></defs>'
)


def job_edges(info: JobInfo, *, every: bool = False) -> list[tuple[int, int]]:
    """Return (from, to) of the nodes that wait for each other.

    Args:
        every: also those that follow from others.
    """
    edges = [(need, node.index) for node in info.nodes for need in node.needs]
    acquires = {node.label: node.index for node in info.nodes if node.phase == "acquire"}
    edges += [(acquires[n.label], n.index) for n in info.nodes if n.phase == "produce" and n.label in acquires]
    return list(dict.fromkeys(edges)) if every else reduce_edges(len(info.nodes), edges)


def _title(node: NodeInfo) -> str:
    return f"{node.label} {node.phase}" if node.phase in ("acquire", "produce") else node.label


def _is_wait(info: JobInfo, edge: tuple[int, int]) -> bool:
    """Whether an edge is the way of a request to its reply."""
    start, end = info.nodes[edge[0]], info.nodes[edge[1]]
    return start.phase == "acquire" and end.phase == "produce" and start.label == end.label


def to_dot(info: JobInfo, *, every: bool = False) -> str:
    """Return the graph in the language of Graphviz; ``every`` shows the edges too that follow from others."""
    lines = [
        f"digraph {_quoted(info.process)} {{",
        '  node [style=filled, fillcolor="#dbe7f5", shape=box, fontname="Helvetica"];',
        '  edge [color="#666666"];',
    ]
    for node in info.nodes:
        style = _DOT_STYLES.get(node.kind, "")
        label = _quoted(f"{_title(node)}\n{node.type}")
        lines.append(f"  n{node.index} [label={label}{', ' + style if style else ''}];")
    for edge in job_edges(info, every=every):
        wait = " [style=dashed, label=reply]" if _is_wait(info, edge) else ""
        lines.append(f"  n{edge[0]} -> n{edge[1]}{wait};")
    return "\n".join([*lines, "}", ""])


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def to_mermaid(info: JobInfo, *, every: bool = False) -> str:
    """Return the graph in the language of Mermaid, which GitHub and MyST draw."""
    lines = ["flowchart TD"]
    for node in info.nodes:
        shape = _MERMAID_SHAPES.get(node.kind, "[{}]")
        text = f'"{_title(node)}<br/><small>{node.type}</small>"'
        lines.append(f"  n{node.index}{shape.format(text)}")
    for edge in job_edges(info, every=every):
        arrow = "-. reply .->" if _is_wait(info, edge) else "-->"
        lines.append(f"  n{edge[0]} {arrow} n{edge[1]}")
    return "\n".join([*lines, ""])


def to_svg(info: JobInfo, *, every: bool = False, timing: Timing | None = None) -> str:
    """Return a drawing that stands alone or within a page, for light and dark surroundings.

    Args:
        timing: writes the mean time and the share of each step into it, and shades it by the share.
    """
    notes = _notes(info, timing)
    widths = [_width(node, notes[node.index][0]) for node in info.nodes]
    edges = job_edges(info, every=every)
    layout = layered_layout(widths, edges)
    legend, legend_width = _legend(info, max(1, layout.layers) * _LAYER + 8)
    width = max(layout.width + 2 * _MARGIN, legend_width)
    height = max(1, layout.layers) * _LAYER - (_LAYER - _HEIGHT) + 2 * _MARGIN + 30
    left = (width - layout.width) / 2
    style = files("evtfw.observe").joinpath("graph.css").read_text()
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="evtfw-graph" viewBox="0 0 {width:.0f} {height:.0f}"',
        f'width="{width:.0f}" height="{height:.0f}" role="img" aria-label="Module graph of {escape(info.process)}">',
        f"<style>{style}</style>",
        _ARROW,
        f'<g transform="translate({left:.1f} {_MARGIN})">',
        *(_edge(info, edge, layout) for edge in edges),
        *(_node(node, widths[node.index], layout, notes[node.index]) for node in info.nodes),
        "</g>",
        legend,
        "</svg>",
    ]
    return "\n".join(parts)


def _notes(info: JobInfo, timing: Timing | None) -> Mapping[int, tuple[str, float]]:
    """Second line and share of the time of each node."""
    if timing is None or not timing.module_wall_ns:
        return {node.index: (node.type, 0.0) for node in info.nodes}
    notes = {node.index: (node.type, 0.0) for node in info.nodes}
    for module in timing.modules:
        for step in (module.step, module.acquire):
            if step is not None and step.wall.count:
                share = step.wall.total_ns / timing.module_wall_ns
                notes[step.node.index] = (f"{duration(step.wall.mean_ns * 1e-9)} · {percent(share)}", share)
    return notes


def _width(node: NodeInfo, note: str) -> float:
    return max(len(_title(node)) * _LETTER, len(note) * _SMALL_LETTER, 50) + _PADDING


def _node(node: NodeInfo, width: float, layout: Layout, note: tuple[str, float]) -> str:
    x, y = layout.x[node.index], layout.layer[node.index] * _LAYER
    text, share = note
    kind = node.kind if node.kind in _KINDS else "producer"
    radius = _HEIGHT / 2 if kind in ("filter", "source") else 7
    box = f'x="{x - width / 2:.1f}" y="{y}" width="{width:.1f}" height="{_HEIGHT}" rx="{radius:.0f}"'
    return (
        f'<g class="node {kind}"><title>{escape(_title(node))}: {escape(node.type)}, {escape(node.kind)}, '
        f"segment {node.segment}</title><rect {box}/>"
        f'<rect {box} class="share" opacity="{0.75 * share:.2f}"/>'
        f'<text x="{x:.1f}" y="{y + 18}">{escape(_title(node))}</text>'
        f'<text x="{x:.1f}" y="{y + 33}" class="note">{escape(text)}</text></g>'
    )


def _edge(info: JobInfo, edge: tuple[int, int], layout: Layout) -> str:
    """A curve that leaves and arrives vertically, through the bends."""
    xs = layout.routes[edge]
    top = layout.layer[edge[0]] * _LAYER + _HEIGHT
    points = [(xs[0], float(top))]
    for number, x in enumerate(xs[1:-1], start=1):
        middle = (layout.layer[edge[0]] + number) * _LAYER
        points += [(x, middle), (x, middle + _HEIGHT)]
    points.append((xs[-1], layout.layer[edge[1]] * _LAYER - 1.0))
    path = [f"M{points[0][0]:.1f},{points[0][1]:.0f}"]
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        half = (y0 + y1) / 2
        path.append(
            f"L{x1:.1f},{y1:.0f}" if x0 == x1 else f"C{x0:.1f},{half:.0f} {x1:.1f},{half:.0f} {x1:.1f},{y1:.0f}"
        )
    kind = "edge wait" if _is_wait(info, edge) else "edge"
    return f'<path class="{kind}" d="{" ".join(path)}" marker-end="url(#evtfw-arrow)"/>'


def _legend(info: JobInfo, y: float) -> tuple[str, float]:
    """The colours of the kinds that occur, and the width it takes."""
    present = [kind for kind in _KINDS if any(node.kind == kind for node in info.nodes)]
    parts, x = [], float(_MARGIN)
    for kind in present:
        parts.append(f'<g class="node {kind}"><rect x="{x:.0f}" y="{y - 10:.0f}" width="12" height="12" rx="3"/></g>')
        parts.append(f'<text class="legend" x="{x + 17:.0f}" y="{y:.0f}">{kind}</text>')
        x += 17 + len(kind) * _SMALL_LETTER + 16
    return "".join(parts), x
