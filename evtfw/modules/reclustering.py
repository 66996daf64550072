"""Jets clustered again from their constituents, by FastJet, with its binary tree of mergers.

FastJet's own interface to arrays takes milliseconds a call, which pays for batches of many events only. Here the same
compiled functions are called on one event: some 40 µs per jet of 50 particles, and as much for its tree. FastJet
contrib's soft drop takes 500 µs per jet through that interface, which is why `evtfw.modules.softdrop` walks the tree.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evtfw.modules.constituents import Constituents

_NO_LIMIT = 1000.0  # FastJet's largest radius: everything given is clustered into one jet


@dataclasses.dataclass(frozen=True, slots=True)
class Tree:
    """How one jet was put together.

    Args:
        px_gev, py_gev, pz_gev, energy_gev: four-momenta of the nodes in GeV: its particles first, then what
            they were merged to; float64 [2 * n_particles - 1].
        mergers: the two nodes that each further one was made of.
        root: the node that is the whole jet; -1 if it has no particles.
    """

    px_gev: NDArray[np.float64]
    py_gev: NDArray[np.float64]
    pz_gev: NDArray[np.float64]
    energy_gev: NDArray[np.float64]
    mergers: dict[int, tuple[int, int]]
    root: int

    def particles(self, node: int) -> list[int]:
        """Return which of the jet's particles a node was made of; none for the root of an empty jet, -1."""
        found, nodes = [], [node] if node >= 0 else []
        while nodes:
            node = nodes.pop()
            if node in self.mergers:
                nodes += self.mergers[node]
            else:
                found.append(node)
        return found


class Reclustering:
    """Clusters the constituents of jets with one of FastJet's algorithms.

    FastJet keeps the interpreter lock, so that calls from several threads are safe and take turns.

    Args:
        algorithm: ``cambridge``, ``kt`` or ``antikt``.
    """

    def __init__(self, algorithm: str = "cambridge") -> None:
        import fastjet
        from fastjet import _ext, _swig

        _swig.ClusterSequence.set_fastjet_banner_stream(None)
        self._cluster = _ext.interfacemulti
        self._definition = fastjet.JetDefinition(getattr(fastjet, f"{algorithm}_algorithm"), _NO_LIMIT)

    def sequences(self, constituents: Constituents) -> Any:
        """Return FastJet's cluster sequences, one per jet, as its array interface has them."""
        offsets = constituents.offsets.astype(np.int32)
        return self._cluster(*four_momenta(constituents), offsets[:-1], offsets[1:], self._definition)

    def trees(self, constituents: Constituents) -> list[Tree]:
        """Return the tree of each jet."""
        sequences = self.sequences(constituents)
        *momenta, node_offsets = sequences.to_numpy_jets()
        order, order_offsets = sequences.to_numpy_unique_history_order()
        nodes, steps, ends = node_offsets.tolist(), order_offsets.tolist(), constituents.offsets.tolist()
        history = order.tolist()
        trees = []
        for i in range(len(ends) - 1):
            mergers, root = _mergers(history[steps[i] : steps[i + 1]], ends[i + 1] - ends[i])
            px, py, pz, energy = (p[nodes[i] : nodes[i + 1]] for p in momenta)
            trees.append(Tree(px, py, pz, energy, mergers, root))
        return trees


def four_momenta(constituents: Constituents) -> tuple[NDArray[np.float64], ...]:
    """Return px, py, pz and energy in GeV; float64 [m] each."""
    pt, eta, phi = (x.astype(np.float64) for x in (constituents.pt_gev, constituents.eta, constituents.phi))
    px, py, pz = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    return px, py, pz, np.sqrt(pt * pt + pz * pz + np.square(constituents.mass_gev, dtype=np.float64))


def _mergers(history: list[int], n_particles: int) -> tuple[dict[int, tuple[int, int]], int]:
    """Read the mergers and the root of a jet from FastJet's unique history order.

    It names the nodes in reverse Polish order. Its last step is no merger, but the end of the jet.

    >>> _mergers([0, 2, 3, 1, 4, 5], n_particles=3)
    ({3: (2, 0), 4: (1, 3)}, 4)
    """
    mergers = {}
    stack: list[int] = []
    push, pop = stack.append, stack.pop
    for node in history[:-1]:
        if node >= n_particles:
            mergers[node] = (pop(), pop())
        push(node)
    return mergers, stack[-1] if stack else -1
