"""From completions, which end in any thread, to the event loop that waits for them."""

from __future__ import annotations

import asyncio
import collections
import weakref
from typing import Any

from evtfw.core.completion import Cancellable, Completion
from evtfw.external.contract import Reply


class Handover:
    """Carries outcomes into an event loop; many that come close together wake it once.

    Args:
        loop: it runs in another thread than those that end completions.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ended: collections.deque[tuple[asyncio.Future[Reply], Any, BaseException | None]] = collections.deque()
        self._is_woken = False

    def waiter(self, name: str, deadline_ns: int | None) -> Waiter:
        """Return a completion that the loop can wait for."""
        return Waiter(self, self._loop.create_future(), name, deadline_ns)

    def put(self, future: asyncio.Future[Reply], reply: Any, error: BaseException | None) -> None:
        """End a future with a reply or an error; from any thread."""
        self._ended.append((future, reply, error))
        if not self._is_woken:
            self._is_woken = True
            try:
                self._loop.call_soon_threadsafe(self._drain)
            except RuntimeError:  # the loop was closed: nobody waits any more
                self._ended.clear()

    def _drain(self) -> None:
        self._is_woken = False  # before the loop below: what is put from now on wakes again
        ended = self._ended
        while ended:
            future, reply, error = ended.popleft()
            if future.done():
                continue
            if error is None:
                future.set_result(reply)
            else:
                future.set_exception(error)


class Waiter(Completion):
    """A completion whose outcome is awaited.

    Attributes:
        future: ends in its loop.
    """

    __slots__ = ("_guard", "_handover", "_work", "future")

    def __init__(self, handover: Handover, future: asyncio.Future[Reply], name: str, deadline_ns: int | None) -> None:
        self._handover = handover
        self._guard = [None]  # list.pop is atomic: whoever gets the element ends the completion
        self._work: weakref.ref[Cancellable] | None = None
        self.future = future
        super().__init__(name, deadline_ns)

    @property
    def is_done(self) -> bool:
        """See `Completion.is_done`."""
        return not self._guard

    def on_cancel(self, work: Cancellable) -> None:
        """See `Completion.on_cancel`."""
        self._work = weakref.ref(work)
        if not self._guard and self.future.cancelled():
            work.cancel()

    def cancel(self) -> None:
        """Give up: the work in flight is cancelled and its outcome is of no interest."""
        try:
            self._guard.pop()
        except IndexError:
            return
        self.future.cancel()
        work = self._work() if self._work is not None else None
        if work is not None:
            work.cancel()

    def _finish(self, reply: Any, error: BaseException | None) -> bool:
        try:
            self._guard.pop()
        except IndexError:
            return False
        self._handover.put(self.future, reply, error)
        return True
