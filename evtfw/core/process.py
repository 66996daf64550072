"""The configuration: a process, its modules under their labels, and the paths that schedule them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evtfw.core.errors import ConfigurationError, nearest
from evtfw.core.module import Decision, Location, Module, calling_location


class ProcessOptions(BaseModel):
    """How a job runs. ``process.options.NAME = value`` in a configuration; the command line has the last word."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    threads: int = Field(0, ge=0, description="worker threads; 0: as many as there are cores")
    streams: int = Field(0, ge=0, description="events in flight; 0: chosen from the threads and the external modules")
    max_events: int | None = Field(None, ge=0, description="stop after so many events")
    skip_events: int = Field(0, ge=0, description="pass over so many events first")
    events: tuple[str, ...] = Field(
        (), description="only these events: 'RUN:LUMI:EVENT' or a range 'RUN:LUMI:FIRST-RUN:LUMI:LAST'"
    )
    lumi_mask: str | None = Field(None, description='CMS JSON file {"RUN": [[FIRST, LAST], ...]}: only these blocks')
    on_error: Literal["rethrow", "continue"] = Field(
        "rethrow", description="when a module raises: end the job, or skip what depends on it and go on"
    )
    continue_on: tuple[str, ...] = Field(
        (), description="exception type names for which to continue, whatever on_error"
    )
    rethrow_on: tuple[str, ...] = Field((), description="exception type names for which to rethrow, whatever on_error")
    max_bytes_in_flight: int | None = Field(
        None,
        gt=0,
        description="start no further event while products of those in flight are larger than this, in bytes",
    )
    bulk_events: int = Field(
        0, ge=0, description="events given at once to modules that take several; 0: as many as take some milliseconds"
    )
    switch_interval_s: float | None = Field(
        0.0005, gt=0, description="interpreter switch interval in seconds; None leaves it as it is"
    )
    check_products: bool = Field(
        False, description="slow: check that modules read and put only what they declare, and freeze arrays once put"
    )


class UnknownLabelError(ConfigurationError, AttributeError):
    """``process.LABEL`` was never assigned."""


class Sequence:
    """Modules in an order, to be put on paths as one item."""

    def __init__(self, *items: Any) -> None:
        self.items = list(items)
        self.label = ""
        self._location = calling_location()

    @property
    def location(self) -> Location:
        """Where the configuration wrote it."""
        return self._location

    def modules(self) -> Iterator[Module | Decision]:
        """The modules and filter decisions in order, nested sequences unfolded, tasks left out."""
        for item in self.items:
            if isinstance(item, Sequence) and not isinstance(item, Task):
                yield from item.modules()
            elif isinstance(item, (Module, Decision)):
                yield item

    def tasks(self) -> Iterator[Task]:
        """The tasks associated, nested ones too."""
        for item in self.items:
            if isinstance(item, Task):
                yield item
            if isinstance(item, Sequence):
                yield from item.tasks()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.items))})"


class Path(Sequence):
    """A sequence whose filters decide; its result is one entry in TriggerResults."""


class EndPath(Sequence):
    """A sequence that does not decide: analyzers and outputs."""


class Task(Sequence):
    """Modules that run only when a product of theirs is consumed."""

    def modules(self) -> Iterator[Module | Decision]:
        """Modules of the task and of the tasks in it."""
        for item in self.items:
            if isinstance(item, Task):
                yield from item.modules()
            elif isinstance(item, (Module, Decision)):
                yield item


class Process:
    """A job's description. Attributes name modules and paths; the attribute's name is the label.

    >>> from evtfw import Process, Path, Producer
    >>> process = Process("DEMO")
    >>> process.maker = Producer()
    >>> process.path = Path(process.maker)
    >>> list(process.modules)
    ['maker']
    """

    def __init__(self, name: str, options: ProcessOptions | None = None) -> None:
        members: dict[str, Any] = {
            "name": name,
            "options": options if options is not None else ProcessOptions(),  # type: ignore[call-arg]
            "modules": {},
            "sequences": {},
        }
        self.__dict__.update(members)

    name: str
    options: ProcessOptions
    modules: dict[str, Module]
    """Modules by label, the source included."""
    sequences: dict[str, Sequence]
    """Sequences, paths, end paths and tasks by label."""

    def __setattr__(self, label: str, item: Any) -> None:
        if label == "options":
            self.__dict__["options"] = ProcessOptions.model_validate(item)
            return
        if label in ("name", "modules", "sequences") or label.startswith("_"):
            raise ConfigurationError(f"{calling_location()}: process.{label} cannot be set; choose another label")
        previous = getattr(item, "label", None)
        if isinstance(item, (Module, Sequence)) and previous and previous != label and self._find(previous) is item:
            raise ConfigurationError(
                f"{calling_location()}: process.{label} is the same object as process.{previous}; "
                f"write process.{label} = process.{previous}.clone()"
            )
        if isinstance(item, Module):
            self.sequences.pop(label, None)
            self.modules[label] = item
        elif isinstance(item, Sequence):
            self.modules.pop(label, None)
            self.sequences[label] = item
        else:
            raise ConfigurationError(
                f"{calling_location()}: process.{label} is a {type(item).__name__}; it must be a module, Path, "
                "EndPath, Sequence or Task"
            )
        item.label = label

    def _find(self, label: str) -> Module | Sequence | None:
        return self.modules.get(label) or self.sequences.get(label)

    def __getattr__(self, label: str) -> Any:
        if label.startswith("__"):
            raise AttributeError(label)
        item = self._find(label)
        if item is None:
            raise UnknownLabelError(
                f"{calling_location()}: process {self.name} has no '{label}'"
                + nearest(label, [*self.modules, *self.sequences])
            )
        return item

    def __delattr__(self, label: str) -> None:
        if self.modules.pop(label, None) is None and self.sequences.pop(label, None) is None:
            raise ConfigurationError(
                f"{calling_location()}: process {self.name} has no '{label}' to delete"
                + nearest(label, [*self.modules, *self.sequences])
            )

    def set_options(self, **changes: Any) -> None:
        """Change options by name; all mistakes are reported together."""
        try:
            self.options = ProcessOptions.model_validate({**self.options.model_dump(), **changes})
        except ValidationError as error:
            raise ConfigurationError(
                f"process.options.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()
            ) from None

    def __repr__(self) -> str:
        return f"<Process {self.name!r}: {len(self.modules)} modules, {len(self.sequences)} paths and sequences>"
