"""Other ways to run the same modules over events, in one thread: from the bare loop to Dask.

Each peer gets the modules' functions in topological order, what each reads, and a number of events. The event is a
plain list of products (thepipe: its own blob), made once, which is cheaper than any of them could do in earnest.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import io
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from benchmarks.graphs import Graph
from benchmarks.plain_jobs import BODIES, Load

Function = Callable[[Any], None]
Peer = Callable[[list[Function], Graph, int], None]


def make_functions(graph: Graph, load: Load) -> list[Function]:
    """The bodies of the modules as methods of plain objects; the last slot of the event is the source's."""
    body = BODIES[load]
    functions = []
    for i, reads in enumerate(graph):
        module = type("Plain", (), {"produce": body})()
        module.product = i
        module.input_0 = reads[0] if reads else len(graph)
        functions.append(module.produce)
    return functions


def new_event(graph: Graph) -> list[Any]:
    return [1] * (len(graph) + 1)


def bare_loop(functions: list[Function], graph: Graph, events: int) -> None:
    """No framework at all: Python's floor."""
    event = new_event(graph)
    for _ in range(events):
        for function in functions:
            function(event)


def future_per_module(functions: list[Function], graph: Graph, events: int) -> None:
    """concurrent.futures with one worker; a module waits for the futures that it reads."""
    event = new_event(graph)

    def call(function: Function, inputs: list[Future[None]]) -> None:
        for future in inputs:
            future.result()
        function(event)

    with ThreadPoolExecutor(1) as pool:
        for _ in range(events):
            futures: list[Future[None]] = []
            for function, reads in zip(functions, graph, strict=True):
                futures.append(pool.submit(call, function, [futures[other] for other in reads]))
            futures[-1].result()


def asyncio_tasks(functions: list[Function], graph: Graph, events: int) -> None:
    """A task per module in a task group per event."""
    event = new_event(graph)

    async def call(function: Function, inputs: list[asyncio.Task[None]]) -> None:
        for task in inputs:
            await task
        function(event)

    async def run() -> None:
        for _ in range(events):
            tasks: list[asyncio.Task[None]] = []
            async with asyncio.TaskGroup() as group:
                for function, reads in zip(functions, graph, strict=True):
                    tasks.append(group.create_task(call(function, [tasks[other] for other in reads])))

    asyncio.run(run())


def dask_threaded(functions: list[Function], graph: Graph, events: int) -> None:
    """Dask's threaded scheduler with one worker on a graph that is made once, for all events."""
    import dask.threaded
    from dask.delayed import delayed

    event = new_event(graph)

    def call(function: Function, *_: object) -> None:
        function(event)

    nodes: list[Any] = []
    for function, reads in zip(functions, graph, strict=True):
        nodes.append(delayed(call, pure=False)(delayed(function, traverse=False), *(nodes[k] for k in reads)))
    tasks, last = dict(nodes[-1].dask), nodes[-1].key
    for _ in range(events):
        dask.threaded.get(tasks, last, num_workers=1)


def thepipe_modules(functions: list[Function], graph: Graph, events: int) -> None:
    """A pipeline of KM3NeT's framework; modules run in the order in which they were attached."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        thepipe: Any = importlib.import_module("thepipe")
        logging.getLogger("thepipe").setLevel(logging.ERROR)
        pipeline = thepipe.Pipeline()
        source = len(graph)

        class Pump(thepipe.Module):  # type: ignore[misc]  # untyped
            def process(self, _: Any) -> Any:
                return {source: 1}

        pipeline.attach(Pump, "pump")
        for i, function in enumerate(functions):
            pipeline.attach(_blob_function(function), f"m{i}")
        pipeline.drain(events)


def _blob_function(function: Function) -> Callable[[Any], Any]:
    def process(blob: Any) -> Any:
        function(blob)
        return blob

    return process


PEERS: dict[str, tuple[Peer, int]] = {
    "bare loop": (bare_loop, 1_000_000),
    "thepipe": (thepipe_modules, 100_000),
    "asyncio, a task per module": (asyncio_tasks, 50_000),
    "concurrent.futures, a future per module": (future_per_module, 50_000),
    "Dask threaded": (dask_threaded, 10_000),
}
"""With each the number of module calls that is long enough to measure."""
