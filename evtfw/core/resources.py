"""Serialised resources: things that only so many modules may use at a time, without a waiting thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evtfw.core.executor import Task


class SerialResource:
    """Lets ``limit`` users in; who does not get in is parked and submitted again when one leaves.

    Args:
        name: for messages.
        limit: users at a time.
        submit: runs a parked task again.
    """

    def __init__(self, name: str, limit: int, submit: Callable[[Task], None]) -> None:
        self.name = name
        self._free = limit
        self._submit = submit
        self._lock = threading.Condition(threading.Lock())
        self._parked: deque[Task] = deque()

    def try_enter(self, task: Task) -> bool:
        """Enter, or park ``task`` and return False."""
        with self._lock:
            if self._free:
                self._free -= 1
                return True
            self._parked.append(task)
            return False

    def enter(self) -> None:
        """Enter, waiting if need be: for transitions, which are rare and short."""
        with self._lock:
            while not self._free:
                self._lock.wait()
            self._free -= 1

    def leave(self) -> None:
        """Leave; the one parked longest tries again."""
        with self._lock:
            self._free += 1
            self._lock.notify()
            task = self._parked.popleft() if self._parked else None
        if task is not None:
            self._submit(task)


class ResourceTable:
    """All serialised resources of a job, by name."""

    def __init__(self, limits: Iterable[tuple[str, int]], submit: Callable[[Task], None]) -> None:
        self._table = {name: SerialResource(name, limit, submit) for name, limit in limits}

    def __getitem__(self, name: str) -> SerialResource:
        return self._table[name]

    def get(self, name: str) -> SerialResource | None:
        """The resource, or None if no module that runs uses it."""
        return self._table.get(name)
