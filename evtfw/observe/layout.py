"""A tidy drawing of a directed acyclic graph in layers, after Sugiyama, Tagawa and Toda (1981).

Nodes go to layers by their longest path from a root; an edge over several layers gets a *bend* in each between; layers
are ordered by the means of their neighbours until no fewer edges cross; then every layer is moved towards its
neighbours as far as the widths of its nodes allow.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

_ORDERING_SWEEPS = 16
_PLACING_SWEEPS = 24
_STRAIGHTNESS = 20.0  # weight of an edge between two bends: long edges should be straight

Edge = tuple[int, int]


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """Where nodes and edges are.

    Args:
        x: horizontal centre of each node, from 0.
        layer: of each node, from 0 at the top.
        routes: for each edge the horizontal positions of its ends and bends, one in each layer that it touches.
        width: of the whole drawing.
    """

    x: tuple[float, ...]
    layer: tuple[int, ...]
    routes: Mapping[Edge, tuple[float, ...]]
    width: float

    @property
    def layers(self) -> int:
        """Number of layers."""
        return max(self.layer, default=-1) + 1


def reduce_edges(size: int, edges: Sequence[Edge]) -> list[Edge]:
    """Leave out the edges that follow from others: a to c where there is a way over b.

    Args:
        size: number of nodes.
        edges: (from, to) of an acyclic graph.

    >>> reduce_edges(3, [(0, 1), (1, 2), (0, 2)])
    [(0, 1), (1, 2)]
    """
    before: list[list[int]] = [[] for _ in range(size)]
    for start, end in edges:
        before[end].append(start)
    ancestors = [0] * size
    for node in _in_order(size, before):
        for parent in before[node]:
            ancestors[node] |= ancestors[parent] | 1 << parent
    implied = {(a, c) for c in range(size) for b in before[c] for a in before[c] if a != b and ancestors[b] >> a & 1}
    return [edge for edge in dict.fromkeys(edges) if edge not in implied]


def layered_layout(widths: Sequence[float], edges: Sequence[Edge], gap: float = 24.0) -> Layout:
    """Lay out nodes of given widths, connected by acyclic ``edges`` (from, to); ``gap`` is kept between neighbours."""
    graph = _Layers(list(widths), edges)
    if not graph.rows:
        return Layout((), (), {}, 0.0)
    graph.order()
    x = graph.place(gap)
    left = min(x[n] - graph.widths[n] / 2 for n in range(len(x)))
    right = max(x[n] + graph.widths[n] / 2 for n in range(len(x)))
    count = len(widths)
    routes = {edge: tuple(x[n] - left for n in chain) for edge, chain in graph.chains.items()}
    return Layout(tuple(value - left for value in x[:count]), tuple(graph.layer[:count]), routes, right - left)


class _Layers:
    """The graph with bends: nodes first, then bends of no width."""

    def __init__(self, widths: list[float], edges: Sequence[Edge]) -> None:
        self.widths = widths
        self._nodes = len(widths)
        before: list[list[int]] = [[] for _ in widths]
        for start, end in edges:
            before[end].append(start)
        self.layer = [0] * self._nodes
        for node in _in_order(self._nodes, before):
            self.layer[node] = max((self.layer[parent] + 1 for parent in before[node]), default=0)
        self.above: list[list[int]] = [[] for _ in widths]
        self.below: list[list[int]] = [[] for _ in widths]
        self.chains = {edge: self._chain(edge) for edge in dict.fromkeys(edges)}
        self.rows: list[list[int]] = [[] for _ in range(max(self.layer, default=-1) + 1)]
        for number, layer in enumerate(self.layer):
            self.rows[layer].append(number)

    def _chain(self, edge: Edge) -> list[int]:
        start, end = edge
        chain = [start]
        for layer in range(self.layer[start] + 1, self.layer[end]):
            chain.append(len(self.widths))
            self.widths.append(0.0)
            self.layer.append(layer)
            self.above.append([])
            self.below.append([])
        chain.append(end)
        for upper, lower in itertools.pairwise(chain):
            self.below[upper].append(lower)
            self.above[lower].append(upper)
        return chain

    def order(self) -> None:
        """Order each row by the mean position of its neighbours, downwards and upwards; keep the best."""
        best, fewest = [list(row) for row in self.rows], self._crossings()
        for sweep in range(_ORDERING_SWEEPS):
            downwards = sweep % 2 == 0
            neighbours = self.above if downwards else self.below
            for row in self.rows if downwards else reversed(self.rows):
                place = {n: i for other in self.rows for i, n in enumerate(other)}
                means = {n: _mean([place[m] for m in neighbours[n]], place[n]) for n in row}
                row.sort(key=means.__getitem__)
            crossings = self._crossings()
            if crossings < fewest:
                best, fewest = [list(row) for row in self.rows], crossings
        self.rows = best

    def _crossings(self) -> int:
        total = 0
        for upper, lower in itertools.pairwise(self.rows):
            place = {n: i for i, n in enumerate(lower)}
            ends = [place[m] for n in upper for m in sorted(self.below[n], key=place.__getitem__)]
            total += sum(a > b for i, a in enumerate(ends) for b in ends[i + 1 :])
        return total

    def place(self, gap: float) -> list[float]:
        """Return the horizontal centre of each node and bend."""
        x = [0.0] * len(self.widths)
        for row in self.rows:
            offsets = self._offsets(row, gap)
            for number, offset in zip(row, offsets, strict=True):
                x[number] = offset - offsets[-1] / 2
        for sweep in range(_PLACING_SWEEPS):
            rows = self.rows if sweep % 2 == 0 else self.rows[::-1]
            for row in rows:
                wanted = [self._wanted(number, x) for number in row]
                for number, value in zip(row, _spread(wanted, self._offsets(row, gap)), strict=True):
                    x[number] = value
        return x

    def _offsets(self, row: list[int], gap: float) -> list[float]:
        offsets = [0.0]
        for left, right in itertools.pairwise(row):
            offsets.append(offsets[-1] + (self.widths[left] + self.widths[right]) / 2 + gap)
        return offsets

    def _wanted(self, number: int, x: list[float]) -> tuple[float, float]:
        """Where a node would like to be, and how much."""
        total, weights = 0.0, 0.0
        for other in self.above[number] + self.below[number]:
            weight = _STRAIGHTNESS if number >= self._nodes and other >= self._nodes else 1.0
            total += weight * x[other]
            weights += weight
        return (total / weights, weights) if weights else (x[number], 0.1)


def _spread(wanted: list[tuple[float, float]], offsets: list[float]) -> list[float]:
    """Return the positions nearest to the wanted ones, by weighted squares, that keep their order and distances.

    Less its offset, each position must not be below its predecessor's: an isotonic regression, solved exactly by
    pooling neighbours that violate it.
    """
    blocks: list[tuple[float, float, int]] = []  # mean, weight, members
    for (position, weight), offset in zip(wanted, offsets, strict=True):
        block = (position - offset, weight, 1)
        while blocks and blocks[-1][0] > block[0]:
            mean, other, members = blocks.pop()
            total = other + block[1]
            block = ((mean * other + block[0] * block[1]) / total, total, members + block[2])
        blocks.append(block)
    levels = [mean for mean, _, members in blocks for _ in range(members)]
    return [level + offset for level, offset in zip(levels, offsets, strict=True)]


def _mean(values: list[int], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _in_order(size: int, before: list[list[int]]) -> list[int]:
    """Nodes so that each comes after the ones before it."""
    left = [len(set(parents)) for parents in before]
    after: list[list[int]] = [[] for _ in range(size)]
    for node, parents in enumerate(before):
        for parent in set(parents):
            after[parent].append(node)
    ready = [node for node in range(size) if not left[node]]
    for node in ready:  # grows while it is read
        for child in after[node]:
            left[child] -= 1
            if not left[child]:
                ready.append(child)
    return ready
