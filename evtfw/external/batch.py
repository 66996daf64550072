"""Requests on their way through a `Batcher`: waiting, and together in a batch."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable
from typing import Any

from evtfw.core.completion import Cancellable, Completion
from evtfw.core.errors import Cancelled
from evtfw.external.contract import Tensors


@dataclasses.dataclass(slots=True, eq=False)
class Waiting:
    """A request that waits for its turn.

    Args:
        inputs: the named arrays.
        rows: along axis 0.
        kind: only requests of an equal one can be put together.
        done: who waits.
        since_ns: on the job's clock.
        priority: as in `Request`.
        is_alone: whether it must not share a batch, because one with it failed.
    """

    inputs: Tensors
    rows: int
    kind: tuple[Any, ...]
    done: Completion
    since_ns: int
    priority: int
    is_alone: bool = False


class Batch(Completion):
    """Requests that were sent together; the completion that the inner backend ends.

    It is given up only when all of its requests were.

    Args:
        ended: called once with the batch and its outcome.
        members: in the order of their rows.
        has_slot: whether a slot of the inner backend is taken by it.
        sent_ns: on the job's clock.
    """

    __slots__ = ("_ended", "_inner_work", "has_slot", "members", "sent_ns")

    def __init__(
        self,
        ended: Callable[[Batch, Any, BaseException | None], None],
        members: list[Waiting],
        has_slot: bool,
        sent_ns: int,
    ) -> None:
        self._ended = [ended]  # list.pop is atomic: whoever gets the callback ends the batch
        self._inner_work: weakref.ref[Cancellable] | None = None
        self.members = members
        self.has_slot = has_slot
        self.sent_ns = sent_ns
        deadlines = [waiting.done.deadline_ns for waiting in members]
        known = [deadline_ns for deadline_ns in deadlines if deadline_ns is not None]
        super().__init__(max(known) if len(known) == len(deadlines) else None)

    @property
    def name(self) -> str:
        """See `Completion.name`."""
        more = f" and {len(self.members) - 1} more" if len(self.members) > 1 else ""
        return f"{self.members[0].done.name}{more}"

    @property
    def is_done(self) -> bool:
        """See `Completion.is_done`."""
        return not self._ended

    def on_cancel(self, work: Cancellable) -> None:
        """See `Completion.on_cancel`."""
        self._inner_work = weakref.ref(work)

    def cancel(self) -> None:
        """One of the requests was given up: leave the batch to the others, if there are any."""
        if not all(waiting.done.is_done for waiting in self.members):
            return
        work = self._inner_work() if self._inner_work is not None else None
        if work is not None:
            work.cancel()
        self.fail(Cancelled(f"all requests of the batch were given up: {self.name}"))

    def _finish(self, reply: Any, error: BaseException | None) -> bool:
        try:
            ended = self._ended.pop()
        except IndexError:
            return False
        ended(self, reply, error)
        return True
