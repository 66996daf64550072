"""What a module is: the kinds a user subclasses, and how they may run concurrently."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from evtfw.core.declare import Accumulator, Input, InputList, Output, Parameter, _Declaration

if TYPE_CHECKING:
    from evtfw.core.completion import Completion
    from evtfw.core.event import Event, LuminosityBlock, Run

Kind = Literal["producer", "filter", "analyzer", "output", "source", "external"]


@dataclasses.dataclass(frozen=True, slots=True)
class Concurrency:
    """How many calls into a module may run at the same time, and on how many instances."""

    kind: Literal["stream", "shared", "limited"]
    limit: int = 0

    def __str__(self) -> str:
        return self.kind if not self.limit else ("one" if self.limit == 1 else f"limited({self.limit})")


STREAM = Concurrency("stream")
"""One instance per stream: members are safe without locks. The default."""
SHARED = Concurrency("shared")
"""One instance for all streams, called concurrently: it must be thread-safe."""
ONE = Concurrency("limited", 1)
"""One instance, one call at a time."""


def limited(n: int) -> Concurrency:
    """One instance, at most ``n`` calls at a time."""
    if n < 1:
        raise ValueError(f"limited({n}): at least one call must be allowed")
    return Concurrency("limited", n)


@dataclasses.dataclass(frozen=True, slots=True)
class Location:
    """File and line of a configuration."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def calling_location() -> Location:
    """Return the nearest caller outside the framework's core."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__", "")).startswith("evtfw.core."):
        frame = frame.f_back
    return Location("?", 0) if frame is None else Location(frame.f_code.co_filename, frame.f_lineno)


class Module:
    """Base of all modules.

    In a configuration, calling the class makes a *description*: it keeps the parameters and input references given
    and where it was written. Running instances are made from it when the job is compiled: one per stream, or one.
    Do not define ``__init__``: use `begin_job`, which runs once on each running instance.
    """

    kind: ClassVar[Kind]
    concurrency: ClassVar[Concurrency] = STREAM
    resources: ClassVar[tuple[str, ...]] = ()
    """Names of things that only one module may use at a time, e.g. a library that is not thread-safe."""
    releases_gil: ClassVar[bool] = False
    """Whether a call spends long without the interpreter lock, so that running beside its neighbours pays."""
    declarations: ClassVar[dict[str, _Declaration[Any]]] = {}

    label: str
    _location: Location

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            raise TypeError(
                f"{cls.__name__} defines __init__, but evtfw makes its instances; set members in begin_job(), which "
                "runs once on each instance"
            )
        members = {name: value for base in reversed(cls.__mro__) for name, value in vars(base).items()}
        cls.declarations = {name: value for name, value in members.items() if isinstance(value, _Declaration)}

    def __init__(self, **settings: Any) -> None:
        self.__dict__.update(settings)
        self._location = calling_location()

    @property
    def settings(self) -> dict[str, Any]:
        """What the configuration set on this description (parameters and input references)."""
        return {k: v for k, v in self.__dict__.items() if not k.startswith("_") and k != "label"}

    def clone(self, **changes: Any) -> Self:
        """Return a copy of this description with some settings changed."""
        copy = type(self)(**{**self.settings, **changes})
        copy._location = calling_location()
        return copy

    def __repr__(self) -> str:
        label = self.__dict__.get("label")
        return f"<{type(self).__name__}{f' {label!r}' if label else ''}>"

    # Transitions. A module overrides the ones it needs; the others cost nothing.

    def begin_job(self) -> None:
        """Called once on each instance before the first event: the place to load and allocate."""

    def end_job(self) -> None:
        """Called once on each instance after the last event, also if the job failed."""

    def begin_stream(self, stream: int) -> None:
        """Called once per stream, on the instance that serves it."""

    def end_stream(self, stream: int) -> None:
        """Called once per stream, on the instance that serves it."""

    def begin_run(self, run: Run) -> None:
        """Stream modules: when their stream enters the run. Others: once, before any event of the run."""

    def end_run(self, run: Run) -> None:
        """Stream modules: when their stream leaves the run. Others: once, after all events of the run."""

    def begin_lumi(self, lumi: LuminosityBlock) -> None:
        """Stream modules: when their stream enters the block. Others: once, before any event of the block."""

    def end_lumi(self, lumi: LuminosityBlock) -> None:
        """Stream modules: when their stream leaves the block. Others: once, after all events of the block."""

    @classmethod
    def declared(cls, kind: type[_Declaration[Any]]) -> dict[str, Any]:
        """Declarations of one kind (`Parameter`, `Input`, `InputList`, `Output`, `Accumulator`) by name."""
        return {name: d for name, d in cls.declarations.items() if isinstance(d, kind)}

    @classmethod
    def summary(cls) -> str:
        """First line of the docstring."""
        return (inspect.getdoc(cls) or "").partition("\n")[0]


class Producer(Module):
    """Makes products from products. Subclasses define `produce`."""

    kind = "producer"

    def produce(self, event: Event) -> None:
        """Read inputs with ``event[self.INPUT]`` and put every output with ``event[self.OUTPUT] = …``."""
        raise NotImplementedError


class BulkProducer(Producer):
    """Makes the products of several events at a time. Subclasses define `produce_bulk`.

    Worth it where NumPy or a library costs as much per call as for the values of an event: what a call costs is shared
    by all events of the bulk. Modules that come before any external work get bulks of as many events as take some
    milliseconds; the others, and jobs with ``max_bytes_in_flight``, get events one by one.
    """

    def produce_bulk(self, events: Sequence[Event]) -> None:
        """Put every output into each event, as if it were alone: which events come together is chance.

        If it raises, it is called again for each of the events alone, so that only those fail that must.

        Args:
            events: at least one, in the order of the input, all of one luminosity block.
        """
        raise NotImplementedError

    def produce(self, event: Event) -> None:
        """A bulk of one."""
        self.produce_bulk((event,))


class Filter(Module):
    """Decides whether its path goes on. Subclasses define `filter`; it may put products too."""

    kind = "filter"

    def filter(self, event: Event) -> bool:
        """Return whether the event passes."""
        raise NotImplementedError

    def __invert__(self) -> Decision:
        """``~process.veto`` in a path: go on if the filter rejects."""
        return Decision(self, "reject")


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """A filter in a path whose decision is inverted or ignored."""

    module: Filter
    want: Literal["pass", "reject", "ignore"]


def ignore(module: Filter) -> Decision:
    """Put a filter on a path for its products only: the path goes on whatever it decides."""
    return Decision(module, "ignore")


class Analyzer(Module):
    """Looks at events and puts nothing into them. Subclasses define `analyze`."""

    kind = "analyzer"

    def analyze(self, event: Event) -> None:
        """Read inputs and fill accumulators or members."""
        raise NotImplementedError


class OutputModule(Module):
    """Keeps events. It sees each event exactly once: `write`, or `skip` if the event did not get to it.

    The life of an output is ``begin_job`` (open), ``write``/``skip`` per event from any thread, ``end_job`` (write what
    is left and complete the file; if ``job_failed`` is set, what was written so far).
    """

    kind = "output"
    concurrency: ClassVar[Concurrency] = SHARED
    select = Parameter[tuple[str, ...]](
        "paths of which at least one must accept the event; '~NAME' if it must reject it; none: all events", default=()
    )
    trigger_results = Input["TriggerResults"]("results of all paths", default="TriggerResults:results", optional=True)

    keeps_events: ClassVar[bool] = True
    """Whether events can be written by it; one that only writes histograms does not decide about their fate."""
    job_failed: bool = False

    @property
    def blocked_s(self) -> float:
        """Time that workers spent waiting in `write`, in seconds, summed over workers; for the job's summary."""
        return 0.0

    def write(self, event: Event) -> bool:
        """Take the event; return whether it is kept."""
        raise NotImplementedError

    def skip(self, event: Event) -> None:
        """The event ended without getting here (failed, or behind a shut gate)."""

    def collect(self, accumulators: dict[str, dict[str, Any]]) -> None:
        """Get the sums of all accumulators, ``{label: {name: value}}``, before ``end_job``."""


class ExternalWorkModule(Module):
    """Hands its work to a backend: `acquire` submits and returns, `produce` runs when the reply is there.

    ``timeout_s`` bounds the whole way of a request through queues, network, retries and fallbacks.
    """

    kind = "external"
    timeout_s = Parameter[float]("time allowed from acquire to the reply", default=60.0, unit="s", gt=0)

    def acquire(self, event: Event, done: Completion) -> None:
        """Submit the work and pass ``done`` on; it must be resolved or failed exactly once, from any thread."""
        raise NotImplementedError

    def produce(self, event: Event, reply: Any) -> None:
        """Put the outputs from the reply. Runs only after a successful reply."""
        raise NotImplementedError


class TriggerResults:
    """Results of all paths of one event, by the path's name; a product: ``TriggerResults:results``."""

    __slots__ = ("accepted", "failed", "names")

    def __init__(self, names: tuple[str, ...], accepted: tuple[bool, ...], failed: tuple[bool, ...]) -> None:
        self.names = names
        self.accepted = accepted
        self.failed = failed

    def __getitem__(self, path: str) -> bool:
        """Whether the path accepted the event."""
        return self.accepted[self.names.index(path)]

    def any_of(self, selection: tuple[str, ...]) -> bool:
        """Whether one of the paths accepts (``NAME``) or rejects without failing (``~NAME``); no path named: True."""
        if not selection:
            return True
        for item in selection:
            index = self.names.index(item.removeprefix("~"))
            if self.accepted[index] if item[0] != "~" else not (self.accepted[index] or self.failed[index]):
                return True
        return False

    @property
    def states(self) -> tuple[str, ...]:
        """For each path: accepted, rejected or failed."""
        both = zip(self.accepted, self.failed, strict=True)
        return tuple("failed" if failed else "accepted" if accepted else "rejected" for accepted, failed in both)

    def __repr__(self) -> str:
        return f"TriggerResults({', '.join(f'{n}={s}' for n, s in zip(self.names, self.states, strict=True))})"


__all__ = [
    "ONE", "SHARED", "STREAM", "Accumulator", "Analyzer", "BulkProducer", "Concurrency", "Decision",
    "ExternalWorkModule", "Filter", "Input", "InputList", "Location", "Module", "Output", "OutputModule", "Parameter",
    "Producer", "TriggerResults", "calling_location", "ignore", "limited",
]  # fmt: skip
