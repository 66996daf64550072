"""The one-shot handle that ``acquire`` passes on and a backend resolves.

Contract (see docs/design.md): resolved or failed exactly once, from any thread; a second call is refused (returns
False) and counted; a completion that is garbage-collected unresolved fails with `CompletionDropped`; one that is
never resolved meets its deadline.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Protocol

from evtfw.core.clock import Clock
from evtfw.core.errors import CompletionDropped


class Cancellable(Protocol):
    """Work in flight that can be given up."""

    def cancel(self) -> None:
        """Give up; the completion was failed already. Must not block and must not raise."""


class Completion:
    """Base of all completions. Subclasses say where the outcome goes, in `_finish`.

    Attributes:
        deadline_ns: on the job's clock, when the caller gives up; None for never.
    """

    __slots__ = ("__weakref__", "deadline_ns")

    def __init__(self, deadline_ns: int | None = None) -> None:
        self.deadline_ns = deadline_ns

    @property
    def name(self) -> str:
        """For messages: the module and event that wait. Worked out when it is asked for."""
        return ""

    def resolve(self, reply: Any) -> bool:
        """End with a reply. Returns False if it had ended already (the reply is discarded and counted)."""
        return self._finish(reply, None)

    def fail(self, error: BaseException) -> bool:
        """End with an error. Returns False if it had ended already."""
        return self._finish(None, error)

    @property
    def is_done(self) -> bool:
        """Whether it was resolved, failed, or abandoned by its deadline: further work on it is useless."""
        raise NotImplementedError

    def on_cancel(self, work: Cancellable) -> None:
        """Ask for ``work.cancel()`` when the event is abandoned or the deadline passed. Held weakly."""
        raise NotImplementedError

    def remaining_s(self, clock: Clock) -> float | None:
        """Seconds left until the deadline (not below 0), or None without one."""
        if self.deadline_ns is None:
            return None
        return max(0.0, (self.deadline_ns - clock.now_ns()) * 1e-9)

    def _finish(self, reply: Any, error: BaseException | None) -> bool:
        raise NotImplementedError

    def __del__(self) -> None:
        if not self.is_done:
            name = f" for {self.name}" if self.name else ""
            self._finish(None, CompletionDropped(f"the backend let go of the completion{name} without resolving it"))


class CallbackCompletion(Completion):
    """A completion that calls back: the link between composed backends, and handy in tests.

    Args:
        callback: called once with ``(reply, None)`` or ``(None, error)``, in the thread that ends it.
        parent: whose deadline, name and cancellation it takes over.
    """

    __slots__ = ("_guard", "_name", "_work", "parent")

    def __init__(
        self,
        callback: Callable[[Any, BaseException | None], object],
        *,
        parent: Completion | None = None,
        name: str = "",
        deadline_ns: int | None = None,
    ) -> None:
        self._guard = [callback]  # list.pop is atomic: whoever gets the callback ends the completion
        self._work: weakref.ref[Cancellable] | None = None
        self._name = name
        self.parent = parent
        super().__init__(deadline_ns or (parent.deadline_ns if parent is not None else None))
        if parent is not None:
            parent.on_cancel(self)

    @property
    def name(self) -> str:
        """See `Completion.name`."""
        return self._name or (self.parent.name if self.parent is not None else "")

    @property
    def is_done(self) -> bool:
        """See `Completion.is_done`."""
        return not self._guard

    def on_cancel(self, work: Cancellable) -> None:
        """See `Completion.on_cancel`."""
        self._work = weakref.ref(work)

    def cancel(self) -> None:
        """Abandon: the callback is not called, the work in flight is cancelled."""
        self._guard.clear()
        work = self._work() if self._work is not None else None
        if work is not None:
            work.cancel()

    def _finish(self, reply: Any, error: BaseException | None) -> bool:
        try:
            callback = self._guard.pop()
        except IndexError:
            return False
        callback(reply, error)
        return True
