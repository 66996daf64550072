"""What a job opens before the first event and closes after the last: backends, above all.

A parameter whose declared type has a classmethod ``from_configuration`` is such a resource: the compiler turns what the
configuration wrote (an URL, say) into one object per distinct value and job, shared by all modules and streams.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol, Self, runtime_checkable

from evtfw.core.clock import Clock


@dataclasses.dataclass(frozen=True, slots=True)
class JobContext:
    """What a resource may know of the job.

    Args:
        clock: the job's time; virtual in tests.
        threads: worker threads of the job, so that pools beside it can be sized.
        streams: events in flight at most.
        say: tells the user one line, e.g. which backend serves.
    """

    clock: Clock
    threads: int
    streams: int
    say: Callable[[str], None]


@runtime_checkable
class Resource(Protocol):
    """A thing with the life of a job."""

    @classmethod
    def from_configuration(cls, value: Any) -> Self:
        """Make it from what the configuration wrote. Raises ValueError with a message for the user."""

    @property
    def local_threads(self) -> int:
        """Threads of its own that compute on this machine while the job runs; known once open."""

    def open(self, context: JobContext) -> None:
        """Called once before the first event. Raises an EvtfwError if it cannot serve."""

    def close(self) -> None:
        """Called once after the last event, also if the job failed; ends threads and connections."""

    def flush(self) -> None:
        """The workers have nothing to do: send what is being collected for a larger batch. Must not block."""
