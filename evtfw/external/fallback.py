"""``fallback(FIRST, SECOND, …)``: the first backend that serves, at the start of a job and for each request."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from evtfw.core.completion import CallbackCompletion, Completion
from evtfw.core.errors import (
    BadRequest,
    Cancelled,
    ExternalError,
    ServerUnavailable,
)
from evtfw.core.resource import JobContext
from evtfw.external.alike import check_alike, differences, named
from evtfw.external.contract import Backend, ModelDescription, Recipe, Reply, Request, Tensors
from evtfw.external.delivery import deliver
from evtfw.external.urls import make_backend


def fallback(*choices: str | Backend | Recipe | None) -> Fallback:
    """Return a backend value for a configuration: try the choices in order, at the start and for each request.

    Args:
        choices: URLs, or values such as another ``fallback(…)``; None and empty ones are left out, so that an argument
            which was not given can stand here.

    Raises:
        ValueError: nothing is left.

    >>> fallback(None, "cpu:toptag")
    fallback('cpu:toptag')
    """
    left = tuple(choice for choice in choices if choice is not None and choice != "")
    if not left:
        raise ValueError("fallback() needs at least one backend, e.g. fallback(args.backend, 'cpu:toptag')")
    return Fallback(left)


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Fallback:
    """What `fallback` returns; a `Recipe`."""

    choices: tuple[str | Backend | Recipe, ...]

    def make(self) -> FallbackBackend:
        """Make the backend. Raises ValueError as `make_backend` does, for any of the choices."""
        return FallbackBackend([make_backend(choice) for choice in self.choices], url=repr(self))

    def __repr__(self) -> str:
        return f"fallback({', '.join(map(repr, self.choices))})"


class FallbackBackend(Backend):
    """Hands each request to the first of several backends; if that fails, to the next.

    At the start all are opened, so that a fallback that cannot serve is known then. Those that cannot be reached are
    left out; it is an error if none is left, or if they do not take and give the same tensors. A request goes to the
    next backend upon any `ExternalError` except those that would be the same there: `BadRequest`, `Cancelled`, and
    whatever comes after the deadline. The user is told once about each backend that failed; each reply says why it came
    from another than the first, in `Provenance.fallback_reason`.

    Args:
        choices: in order of preference; opened and closed with this one.
        url: for messages.
    """

    def __init__(self, choices: list[Backend], *, url: str = "") -> None:
        self.url = url or f"fallback({', '.join(choice.url for choice in choices)})"
        self._choices = choices
        self._serving: list[Backend] = []
        self._reason = ""
        self._said: set[int] = set()
        self._say: Callable[[str], None] = _say_nothing

    def open(self, context: JobContext) -> None:
        """See `Backend.open`."""
        self._clock, self._say = context.clock, context.say
        try:
            problems = self._open_all(context)
            check_alike(self._serving)
        except BaseException:
            self.close()
            raise
        lines = [*(f"cannot use {problem}" for problem in problems), *differences(self._serving)]
        rest = [choice.summary for choice in self._serving[1:]]
        lines.append(
            f"using {self._serving[0].summary}" + (f", and if it fails {', then '.join(rest)}" if rest else "")
        )
        for line in lines:
            self._say(line)

    def _open_all(self, context: JobContext) -> list[str]:
        """Open what can be opened and return why the others cannot."""
        serving: list[Backend] = []
        problems: list[str] = []
        self._reason = ""
        for choice in self._choices:
            try:
                choice.open(context)
            except ExternalError as error:
                choice.close()
                problems.append(named(choice, error))
                continue
            serving.append(choice)
            if len(serving) == 1:
                self._reason = "; ".join(problems)
        if not serving:
            raise ServerUnavailable(f"none of the backends can serve: {'; '.join(problems)}")
        self._serving, self._said = serving, set()
        return problems

    def close(self) -> None:
        """See `Backend.close`."""
        self._serving = []
        for choice in self._choices:
            choice.close()

    def flush(self) -> None:
        """See `Backend.flush`."""
        for choice in self._serving:
            choice.flush()

    @property
    def slots(self) -> int:
        """See `Backend.slots`."""
        return self._serving[0].slots if self._serving else 1

    @property
    def local_threads(self) -> int:
        """Those of the first choice: the others compute only when it fails."""
        return self._serving[0].local_threads if self._serving else 0

    @property
    def summary(self) -> str:
        """See `Backend.summary`."""
        return self._serving[0].summary if self._serving else self.url

    def describe(self) -> ModelDescription:
        """Return what the first choice that can be reached serves."""
        if not self._serving:
            raise ExternalError(f"{self.url} is not open yet")
        return self._serving[0].describe()

    def submit(self, request: Request | Tensors, done: Completion) -> None:
        """See `Backend.submit`."""
        if len(self._serving) == 1 and not self._reason:
            self._serving[0].submit(request, done)
        elif self._serving:
            _Attempt(self, request, done, self._reason).send()
        else:
            done.fail(ExternalError(f"{self.url} is not open"))

    def _next(self, position: int, error: BaseException, done: Completion) -> bool:
        """Return whether to try the backend after this position; tell the user once."""
        if not isinstance(error, ExternalError) or isinstance(error, (BadRequest, Cancelled)):
            return False
        if position + 1 >= len(self._serving) or done.is_done or done.remaining_s(self._clock) == 0.0:
            return False
        if position not in self._said:
            self._said.add(position)
            self._say(
                f"{self._serving[position].url} failed ({error}); its requests go to {self._serving[position + 1].url}"
            )
        return True


def _say_nothing(line: str) -> None:
    """Before it is open, there is nobody to tell."""


class _Attempt:
    """A request on its way along the choices; kept alive by the completion that is in flight."""

    __slots__ = ("_backend", "_done", "_failures", "_position", "_reason", "_request", "_serving")

    def __init__(self, backend: FallbackBackend, request: Request | Tensors, done: Completion, reason: str) -> None:
        self._backend = backend
        self._serving = backend._serving
        self._request = request
        self._done = done
        self._reason = reason
        self._position = 0
        self._failures = 0

    def send(self) -> None:
        """Submit to the backend whose turn it is."""
        self._serving[self._position].submit(self._request, CallbackCompletion(self._ended, parent=self._done))

    def _ended(self, reply: Any, error: BaseException | None) -> None:
        if error is None:
            deliver(self._done, self._with_reason(reply))
        elif self._backend._next(self._position, error, self._done):
            self._reason = "; ".join(filter(None, (self._reason, named(self._serving[self._position], error))))
            self._position += 1
            self._failures += 1
            self.send()
        else:
            deliver(self._done, error)

    def _with_reason(self, reply: Reply) -> Reply:
        if not self._reason:
            return reply
        provenance = dataclasses.replace(
            reply.provenance,
            attempts=reply.provenance.attempts + self._failures,
            fallback_reason="; ".join(filter(None, (self._reason, reply.provenance.fallback_reason))),
        )
        return Reply(reply.outputs, provenance, reply.times, reply.nonfinite)
