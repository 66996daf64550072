"""Random processes for property tests: graphs with filters, external work, failures, and a log of all calls."""

from __future__ import annotations

import dataclasses
import zlib
from typing import Any, ClassVar

from hypothesis import strategies as st

from evtfw import (
    ONE,
    SHARED,
    STREAM,
    Analyzer,
    BulkProducer,
    ConfigurationError,
    EndPath,
    ExternalWorkModule,
    Filter,
    Input,
    InputList,
    Job,
    JobResult,
    Output,
    Parameter,
    Path,
    Process,
    Producer,
    Task,
    ignore,
    limited,
)
from evtfw.testing import ListSource, SimulatedRuntime

CONCURRENCIES = {"stream": STREAM, "shared": SHARED, "one": ONE, "two": limited(2)}
OUTCOMES = ["reply", "reply", "reply", "now", "fail", "never", "dropped", "twice", "raise"]


@dataclasses.dataclass
class ModuleSpec:
    """One random module; ``fails_in`` are the events (from 1) in which it misbehaves."""

    kind: str
    inputs: list[int]
    is_required: bool
    concurrency: str
    resource: bool
    releases_gil: bool
    fails_in: list[int]
    outcome: str
    breaks_bulks: bool = False


@dataclasses.dataclass
class JobSpec:
    """A random job: modules, paths as lists of (module, decision), and events."""

    modules: list[ModuleSpec]
    paths: list[list[tuple[int, str]]]
    recorded: list[int]
    events: int
    events_per_lumi: int
    bulk_events: int = 1


@dataclasses.dataclass
class World:
    """What the modules of one run share: the clock, the seed of latencies, and the log of calls."""

    runtime: SimulatedRuntime
    seed: int
    calls: list[tuple[str, str, int]] = dataclasses.field(default_factory=list)
    kept: list[Any] = dataclasses.field(default_factory=list)
    records: dict[int, Any] = dataclasses.field(default_factory=dict)


def mix(*values: Any) -> int:
    """A deterministic number from anything."""
    return zlib.crc32(repr(values).encode())


class _Common:
    world: ClassVar[World]
    spec: ClassVar[ModuleSpec]
    number = Parameter[int]("index of the module", default=0)
    value = Output[int]("a number that depends on all inputs")

    def compute(self: Any, event: Any) -> int:
        names = [f"i{k}" for k in range(len(self.spec.inputs))]
        read = [event[getattr(self, n)] + 0 if self.spec.is_required else event.get(getattr(self, n)) for n in names]
        return mix(self.number, event.id.event, read)

    def log(self: Any, what: str, event: Any) -> None:
        self.world.calls.append((self.label, what, event.index))

    def misbehave(self: Any, event: Any) -> bool:
        return event.id.event in self.spec.fails_in


class _Producer(_Common, Producer):
    def produce(self, event: Any) -> None:
        self.log("run", event)
        value = self.compute(event)
        if self.misbehave(event):
            raise ValueError(f"planned failure of {self.label}")
        event[self.value] = value


class _BulkProducer(_Common, BulkProducer):
    """One that may fail for a whole bulk, after some of the products were put."""

    def produce_bulk(self, events: Any) -> None:
        if len({event.lumi.id for event in events}) != 1:
            raise AssertionError("a bulk of several luminosity blocks")
        bad = len(events) > 1 and (self.spec.breaks_bulks or any(self.misbehave(event) for event in events))
        for event in events[:1] if bad else events:
            if not bad:
                self.log("run", event)
            value = self.compute(event)
            if self.misbehave(event):
                raise ValueError(f"planned failure of {self.label}")
            event[self.value] = value
        if bad:
            raise ValueError(f"planned failure of {self.label} for a bulk")


class _Filter(_Common, Filter):
    def filter(self, event: Any) -> bool:
        self.log("run", event)
        value = self.compute(event)
        if self.misbehave(event):
            raise ValueError(f"planned failure of {self.label}")
        event[self.value] = value
        return value % 3 != 0


class _External(_Common, ExternalWorkModule):
    def acquire(self, event: Any, done: Any) -> None:
        self.log("acquire", event)
        value = self.compute(event)
        outcome = self.spec.outcome if self.misbehave(event) else "reply"
        delay_s = mix(self.world.seed, self.label, event.id.event) % 1000 * 1e-3
        later = self.world.runtime.clock.call_later
        if outcome == "raise":
            raise ValueError("planned failure in acquire")
        if outcome == "now":
            done.resolve(value)
        elif outcome == "fail":
            later(delay_s, lambda: done.fail(RuntimeError("planned failure of the service")))
        elif outcome == "never":
            self.world.kept.append(done)
        elif outcome == "twice":
            later(delay_s, lambda: done.resolve(value))
            later(2 * delay_s + 1e-3, lambda: done.resolve(value + 1))
        elif outcome != "dropped":
            later(delay_s, lambda: done.resolve(value))

    def produce(self, event: Any, reply: Any) -> None:
        self.log("produce", event)
        event[self.value] = reply


class Recorder(Analyzer):
    """Notes everything that is there at the end of an event."""

    concurrency = SHARED
    world: ClassVar[World]
    products = InputList[int]("all products", default=("*",))
    results = Input[object]("results", default="TriggerResults:results", optional=True)

    def analyze(self, event: Any) -> None:
        found = {p.reference: event.get(p.token) for p in self.products}
        results = event.get(self.results)
        record = (found, results.states if results is not None else None, event.id)
        if event.index in self.world.records:
            raise AssertionError(f"event {event.index} recorded twice")
        self.world.records[event.index] = record


BASES = {"producer": _Producer, "bulk": _BulkProducer, "filter": _Filter, "external": _External}


def make_module(number: int, spec: ModuleSpec, world: World) -> Any:
    """Make the description of a random module."""
    members: dict[str, Any] = {
        "world": world,
        "spec": spec,
        "concurrency": CONCURRENCIES[spec.concurrency],
        "resources": ("library",) if spec.resource else (),
        "releases_gil": spec.releases_gil,
    }
    for position in range(len(spec.inputs)):
        members[f"i{position}"] = Input[int]("input", optional=not spec.is_required)
    references = {f"i{position}": f"m{other}" for position, other in enumerate(spec.inputs)}
    return type(f"Random{spec.kind}", (BASES[spec.kind],), members)(number=number, **references)


def make_process(spec: JobSpec, world: World) -> Process:
    """Make the process of a random job, with a recorder on an end path."""
    process = Process("RANDOM")
    process.source = ListSource.of([{} for _ in range(spec.events)], spec.events_per_lumi)
    for number, module in enumerate(spec.modules):
        setattr(process, f"m{number}", make_module(number, module, world))
    for number, items in enumerate(spec.paths):
        modules = [_decided(getattr(process, f"m{m}"), decision) for m, decision in items]
        setattr(process, f"path{number}", Path(*modules))
    process.spare = Task(*[getattr(process, f"m{n}") for n in range(len(spec.modules))])
    process.recorder = type("Recorder", (Recorder,), {"world": world})(products=[f"m{n}" for n in spec.recorded])
    process.end = EndPath(process.recorder)
    process.options.on_error = "continue"
    process.options.bulk_events = spec.bulk_events
    return process


def _decided(module: Any, decision: str) -> Any:
    if not isinstance(module, Filter):
        return module
    return {"pass": module, "reject": ~module, "ignore": ignore(module)}[decision]


@st.composite
def module_specs(draw: Any, number: int, events: int) -> ModuleSpec:
    """A random module that reads from modules before it."""
    return ModuleSpec(
        kind=draw(st.sampled_from(["producer", "bulk", "bulk", "filter", "external"])),
        inputs=draw(st.lists(st.integers(0, number - 1), max_size=3, unique=True)) if number else [],
        is_required=draw(st.booleans()),
        concurrency=draw(st.sampled_from(["stream", "stream", "shared", "one", "two"])),
        resource=draw(st.integers(0, 5)) == 0,
        releases_gil=draw(st.integers(0, 4)) == 0,
        fails_in=draw(st.lists(st.integers(1, events), max_size=2)),
        outcome=draw(st.sampled_from(OUTCOMES)),
        breaks_bulks=draw(st.integers(0, 3)) == 0,
    )


@st.composite
def job_specs(draw: Any) -> JobSpec:
    """A random job that compiles."""
    events = draw(st.integers(1, 12))
    modules = [draw(module_specs(n, events)) for n in range(draw(st.integers(1, 9)))]
    decisions = st.sampled_from(["pass", "pass", "reject", "ignore"])
    paths = []
    for _ in range(draw(st.integers(1, 3))):
        members = sorted(draw(st.lists(st.integers(0, len(modules) - 1), max_size=6, unique=True)))
        paths.append([(m, draw(decisions)) for m in members])
    recorded = sorted({m for path in paths for m, _ in path} | draw(st.sets(st.integers(0, len(modules) - 1))))
    spec = JobSpec(modules, paths, recorded, events, draw(st.integers(1, 5)), draw(st.integers(1, 6)))
    try:
        Job(make_process(spec, World(SimulatedRuntime(), 0)), runtime=SimulatedRuntime())
    except ConfigurationError:  # an input is needed where its filter may have stopped the path: make inputs optional
        for module in modules:
            module.is_required = False
    return spec


def run_job(spec: JobSpec, *, seed: int, streams: int, chains: bool) -> tuple[JobResult, World]:
    """Run a random job on the simulated runtime."""
    runtime = SimulatedRuntime(seed, chains=chains)
    world = World(runtime, seed)
    process = make_process(spec, world)
    process.options.streams = streams
    return Job(process, runtime=runtime).run(), world
