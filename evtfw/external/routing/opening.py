"""Opening servers: all together at the start, and later, in the background, those that could not be reached."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue

from evtfw.core.resource import JobContext
from evtfw.external.contract import Backend


def open_all(backends: Sequence[Backend], context: JobContext) -> list[BaseException | None]:
    """Open all at the same time and return for each the error, or None."""
    outcomes: list[BaseException | None] = [None] * len(backends)

    def open_one(number: int) -> None:
        outcomes[number] = try_open(backends[number], context)

    threads = [
        threading.Thread(target=open_one, args=(number,), name=f"evtfw-open-{number}", daemon=True)
        for number in range(1, len(backends))
    ]
    for thread in threads:
        thread.start()
    open_one(0)
    for thread in threads:
        thread.join()
    return outcomes


def try_open(backend: Backend, context: JobContext) -> BaseException | None:
    """Open one. Returns the error, after closing it, or None."""
    try:
        backend.open(context)
    except BaseException as error:
        backend.close()
        return error
    return None


class Helper:
    """A daemon thread for what may take long, started with the first piece of work."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._work: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def run(self, work: Callable[[], object]) -> None:
        """Call ``work()`` in the thread, after what was given before."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._work.put(work)

    def stop(self) -> None:
        """End after what was given, without waiting for it."""
        self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            del work
