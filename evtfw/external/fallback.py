"""``fallback(FIRST, SECOND, …)``: the first backend that serves, at the start of a job and for each request."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import Any, Final, NamedTuple

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
from evtfw.external.routing.opening import Reopener
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


class _Order(NamedTuple):
    """Who serves, in order of preference, and why the first of them is not the first choice."""

    serving: tuple[Backend, ...]
    reason: str


_NOBODY: Final = _Order((), "")


class FallbackBackend(Backend):
    """Hands each request to the first of several backends; if that fails, to the next.

    At the start all are opened, so that a fallback that cannot serve is known then. Those that cannot be reached are
    left out; they are tried again in the background, and used in their place once they can be. It is an error if none
    is left, or if they do not take and give the same tensors. A request goes to the next backend upon any
    `ExternalError` except those that would be the same there: `BadRequest`, `Cancelled`, and whatever comes after the
    deadline. The user is told once about each backend that failed; each reply says why it came from another than the
    first, in `Provenance.fallback_reason`.

    Args:
        choices: in order of preference; opened and closed with this one.
        url: for messages.
    """

    def __init__(self, choices: list[Backend], *, url: str = "") -> None:
        self.url = url or f"fallback({', '.join(choice.url for choice in choices)})"
        self._choices = choices
        self._order = _NOBODY
        self._problems: dict[int, str] = {}
        self._said: set[str] = set()
        self._say: Callable[[str], None] = _say_nothing
        self._reopener: Reopener | None = None

    def open(self, context: JobContext) -> None:
        """See `Backend.open`."""
        self._clock, self._say = context.clock, context.say
        try:
            lines = self._open_all(context)
            check_alike(self._order.serving)
        except BaseException:
            self.close()
            raise
        for line in [*lines, *differences(self._order.serving), f"using {self._in_order()}"]:
            self._say(line)

    def _open_all(self, context: JobContext) -> list[str]:
        """Open what can be opened and return why the others cannot."""
        self._problems, self._said, lines = {}, set(), []
        self._reopener = Reopener(self._choices, context, self._joined, self._failed_again, random.Random())
        for number, choice in enumerate(self._choices):
            try:
                choice.open(context)
            except ExternalError as error:
                choice.close()
                self._problems[number] = problem = named(choice, error)
                is_hopeless = not isinstance(error, ServerUnavailable)
                lines.append(f"cannot use {problem}{'' if is_hopeless else '; tried again from time to time'}")
                if not is_hopeless:
                    self._reopener.later(number)
        if len(lines) == len(self._choices):
            raise ServerUnavailable(f"none of the backends can serve: {'; '.join(self._problems.values())}")
        self._arrange()
        return lines

    def _arrange(self) -> None:
        """Work out the order. Requests on their way keep the one that they began with."""
        numbers = [number for number in range(len(self._choices)) if number not in self._problems]
        reasons = [problem for number, problem in sorted(self._problems.items()) if number < numbers[0]]
        self._order = _Order(tuple(self._choices[number] for number in numbers), "; ".join(reasons))

    def _in_order(self) -> str:
        first, *rest = [backend.summary for backend in self._order.serving]
        return first + (f", and if it fails {', then '.join(rest)}" if rest else "")

    # Choices that could not be reached at the start; called in the background

    def _joined(self, number: int) -> None:
        choice, serving = self._choices[number], self._order.serving
        if not serving:
            return  # closed meanwhile
        check_alike([serving[0], choice])
        for line in differences([serving[0], choice]):
            self._say(line)
        del self._problems[number]
        self._arrange()
        self._say(f"{choice.url} can be reached now: using {self._in_order()}")

    def _failed_again(self, number: int, error: ExternalError) -> None:
        self._problems[number] = named(self._choices[number], error)
        if self._order.serving:
            self._arrange()

    def close(self) -> None:
        """See `Backend.close`."""
        self._order = _NOBODY
        reopener, self._reopener = self._reopener, None
        if reopener is not None:
            reopener.close()  # closes the choices, too

    def flush(self) -> None:
        """See `Backend.flush`."""
        for choice in self._order.serving:
            choice.flush()

    @property
    def slots(self) -> int:
        """See `Backend.slots`."""
        serving = self._order.serving
        return serving[0].slots if serving else 1

    @property
    def local_threads(self) -> int:
        """Those of the first choice: the others compute only when it fails."""
        serving = self._order.serving
        return serving[0].local_threads if serving else 0

    @property
    def summary(self) -> str:
        """See `Backend.summary`."""
        serving = self._order.serving
        return serving[0].summary if serving else self.url

    def describe(self) -> ModelDescription:
        """Return what the first choice that can be reached serves."""
        serving = self._order.serving
        if not serving:
            raise ExternalError(f"{self.url} is not open yet")
        return serving[0].describe()

    def submit(self, request: Request | Tensors, done: Completion) -> None:
        """See `Backend.submit`."""
        order = self._order
        if len(order.serving) == 1 and not order.reason:
            order.serving[0].submit(request, done)
        elif order.serving:
            _Attempt(self, request, done, order).send()
        else:
            done.fail(ExternalError(f"{self.url} is not open"))

    def _may_go_on(self, error: BaseException, failed: Backend, following: Backend | None, done: Completion) -> bool:
        """Return whether to try the backend that follows; tell the user once."""
        if not isinstance(error, ExternalError) or isinstance(error, (BadRequest, Cancelled)):
            return False
        if following is None or done.is_done or done.remaining_s(self._clock) == 0.0:
            return False
        if failed.url not in self._said:
            self._said.add(failed.url)
            self._say(f"{failed.url} failed ({error}); its requests go to {following.url}")
        return True


def _say_nothing(line: str) -> None:
    """Before it is open, there is nobody to tell."""


class _Attempt:
    """A request on its way along the choices; kept alive by the completion that is in flight."""

    __slots__ = ("_backend", "_done", "_failures", "_position", "_reason", "_request", "_serving")

    def __init__(self, backend: FallbackBackend, request: Request | Tensors, done: Completion, order: _Order) -> None:
        self._backend = backend
        self._serving, self._reason = order
        self._request = request
        self._done = done
        self._position = 0
        self._failures = 0

    def send(self) -> None:
        """Submit to the backend whose turn it is."""
        self._serving[self._position].submit(self._request, CallbackCompletion(self._ended, parent=self._done))

    def _ended(self, reply: Any, error: BaseException | None) -> None:
        if error is None:
            deliver(self._done, self._with_reason(reply))
            return
        failed, *rest = self._serving[self._position :]
        if self._backend._may_go_on(error, failed, rest[0] if rest else None, self._done):
            self._reason = "; ".join(filter(None, (self._reason, named(failed, error))))
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
