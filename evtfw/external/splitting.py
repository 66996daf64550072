"""A request that is larger than a batch may be: sent in parts, answered as one."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np

from evtfw.core.completion import CallbackCompletion, Completion
from evtfw.external.contract import Reply, Tensors, Times
from evtfw.external.delivery import deliver


def split(inputs: Tensors, rows: int, part_rows: int, done: Completion) -> Iterator[tuple[Tensors, int, Completion]]:
    """Yield parts of a request: arrays (views), number of rows, and who waits for the part.

    When all parts are answered, ``done`` gets their rows together; if one fails, ``done`` fails and the others are
    given up.

    Args:
        inputs: the named arrays.
        rows: along axis 0.
        part_rows: rows of a part at most.
        done: who waits for the whole.
    """
    firsts = range(0, rows, part_rows)
    join = _Join(done, len(firsts))
    for number, first in enumerate(firsts):
        part = {name: array[first : first + part_rows] for name, array in inputs.items()}
        yield part, min(part_rows, rows - first), join.part(number)


class _Join:
    """Collects the replies to the parts; kept alive by the parts' completions."""

    def __init__(self, done: Completion, count: int) -> None:
        self._done = done
        self._replies: list[Reply | None] = [None] * count
        self._missing = list(range(count))  # popped from the end, atomically: whoever gets 0 was the last
        self._parts: list[weakref.ref[CallbackCompletion]] = []
        done.on_cancel(self)

    def part(self, number: int) -> CallbackCompletion:
        """Make the completion of a part."""
        name, deadline_ns = self._done.name, self._done.deadline_ns
        part = CallbackCompletion(functools.partial(self._ended, number), name=name, deadline_ns=deadline_ns)
        self._parts.append(weakref.ref(part))
        if self._done.is_done:
            part.cancel()
        return part

    def cancel(self) -> None:
        """The whole is of no use any more."""
        for reference in reversed(self._parts):  # those not sent yet first, or they would take the slots that get free
            part = reference()
            if part is not None:
                part.cancel()

    def _ended(self, number: int, reply: Any, error: BaseException | None) -> None:
        if error is not None:
            deliver(self._done, error)
            self.cancel()
            return
        self._replies[number] = reply
        if self._missing.pop() == 0:
            deliver(self._done, _joined([reply for reply in self._replies if reply is not None]))


def _joined(replies: list[Reply]) -> Reply:
    times = [reply.times for reply in replies]
    slowest = max(times, key=lambda t: t.device_ns + t.device_queue_ns)
    return Reply(
        {name: np.concatenate([reply[name] for reply in replies]) for name in replies[0]},
        replies[0].provenance,
        Times(
            serialise_ns=sum(t.serialise_ns for t in times),
            network_ns=max(t.network_ns for t in times),
            queue_ns=max(t.queue_ns for t in times),
            compute_ns=sum(t.compute_ns for t in times),
            batch_rows=max(t.batch_rows for t in times),
            held_ns=max(t.held_ns for t in times),
            late_ns=max(t.late_ns for t in times),
            device_ns=slowest.device_ns,
            device_queue_ns=slowest.device_queue_ns,
        ),
        tuple(dict.fromkeys(name for reply in replies for name in reply.nonfinite)),
    )
