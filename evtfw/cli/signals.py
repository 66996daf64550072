"""What signals do to a running job: finish events in flight, leave at once, or tell what is going on."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType, TracebackType
from typing import Protocol, Self

_SHOW_CURSOR = "\x1b[?25h"


def fail_on_closed_pipes() -> None:
    """Let a lost connection or reader be an error that can be handled, not the end of the process."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)


class Stoppable(Protocol):
    """What the handlers need of a job."""

    def stop(self, reason: str) -> None:
        """Take no further events."""

    def describe_activity(self) -> str:
        """What every stream and thread is doing."""


class JobSignals:
    """Handlers of SIGINT, SIGTERM and SIGUSR1 around a job's run, in the main thread.

    The first SIGINT or SIGTERM stops the job at an event boundary, the second leaves at once; SIGUSR1 writes what
    streams and threads are doing to standard error. The handlers use ``os.write``, which may interrupt other output.
    """

    def __init__(self, job: Stoppable) -> None:
        self._job = job
        self._received = False
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        self._install(signal.SIGINT, self._stop)
        self._install(signal.SIGTERM, self._stop)
        if hasattr(signal, "SIGUSR1"):
            self._install(signal.SIGUSR1, self._describe)
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _install(self, number: signal.Signals, handler: object) -> None:
        self._before[number] = signal.signal(number, handler)  # type: ignore[arg-type]

    def _stop(self, number: int, _: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self._received:
            _tell(f"{_SHOW_CURSOR if sys.stderr.isatty() else ''}\n{name} again: leaving at once\n")
            os._exit(128 + number)
        self._received = True
        self._job.stop(name)
        _tell(f"\n{name}: events in flight are being finished; once more to leave at once\n")

    def _describe(self, _: int, __: FrameType | None) -> None:
        _tell(f"{self._job.describe_activity().rstrip()}\n")


def _tell(text: str) -> None:
    try:
        os.write(2, text.encode())
    except OSError:
        return  # nobody reads it
