"""Shapes of module graphs, the same for all frameworks: for each module, in topological order, what it reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

Graph: TypeAlias = list[tuple[int, ...]]


def chain(modules: int = 10) -> Graph:
    """Each module reads the one before."""
    return [(i - 1,) if i else () for i in range(modules)]


def fan(modules: int = 10) -> Graph:
    """Independent modules, and one more that reads all of them."""
    return [()] * modules + [tuple(range(modules))]


def random_dag(modules: int = 100, seed: int = 42) -> Graph:
    """Like a reconstruction job: five first modules, then each reads one to four earlier ones, mostly recent.

    The last one is the output: it joins everything that nobody else reads.
    """
    numbers = _lcg(seed)
    graph: Graph = []
    for i in range(modules - 1):
        if i < 5:
            graph.append(())
            continue
        read: set[int] = set()
        for _ in range(1 + next(numbers) % 4):
            reach = min(i, 30) if next(numbers) % 4 else i
            read.add(i - 1 - next(numbers) % reach)
        graph.append(tuple(sorted(read)))
    is_read = {other for reads in graph for other in reads}
    graph.append(tuple(i for i in range(modules - 1) if i not in is_read))
    return graph


def _lcg(seed: int) -> Iterator[int]:
    """Knuth's MMIX generator: equal graphs in every language that a peer is written in."""
    state = seed
    while True:
        state = (6364136223846793005 * state + 1442695040888963407) & (2**64 - 1)
        yield state >> 33


GRAPHS = {"chain of 10": chain(), "10 independent + join": fan(), "DAG of 100": random_dag()}
