"""Jobs made of modules that do nothing, or read one product and put one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal

from benchmarks.graphs import Graph
from evtfw import Event, Input, Output, Path, Process, Producer
from evtfw.io.empty_source import EmptySource

Load = Literal["no-op", "get + put"]


def do_nothing(self: Any, event: Event) -> None:
    """Body of a no-op module."""


def copy_first(self: Any, event: Event) -> None:
    """Body of a module with one get and one put."""
    event[self.product] = event[self.input_0]


BODIES: dict[Load, Callable[[Any, Event], None]] = {"no-op": do_nothing, "get + put": copy_first}


@functools.cache
def module_class(inputs: int, load: Load) -> type[Producer]:
    """Make the class of a module with so many inputs."""
    members: dict[str, Any] = {f"input_{k}": Input[object]("what an earlier module made") for k in range(inputs)}
    return type("Plain", (Producer,), {**members, "product": Output[object]("a copy"), "produce": BODIES[load]})


def graph_process(graph: Graph, events: int, load: Load) -> Process:
    """Make a job of such modules. With a load, modules at the beginning read a column of the source."""
    process = Process("PLAIN")
    process.source = EmptySource(events=events, payload_bytes=1 if load == "get + put" else 0)
    for i, reads in enumerate(graph):
        references = [f"m{other}" for other in reads]
        if not reads and load == "get + put":
            references = ["source:payload"]
        inputs = {f"input_{k}": reference for k, reference in enumerate(references)}
        setattr(process, f"m{i}", module_class(len(inputs), load)(**inputs))
    process.path = Path(*(getattr(process, f"m{i}") for i in range(len(graph))))
    return process
