"""A backend over several servers of the same model."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

from evtfw.core.completion import Completion
from evtfw.core.errors import ExternalError, ServerUnavailable
from evtfw.core.resource import JobContext
from evtfw.external.alike import check_alike, differences, named
from evtfw.external.contract import Backend, ModelDescription, Request, Tensors
from evtfw.external.routing.breaker import State
from evtfw.external.routing.dispatcher import Dispatcher
from evtfw.external.routing.opening import Reopener, open_all
from evtfw.external.routing.options import RoutingOptions
from evtfw.external.routing.server import Server, ServerStatistics


class Router(Backend):
    """Shares requests among servers of one model and keeps a job alive whatever they do.

    * A request goes to the server with the least expected time: measured time of a reply by requests in flight.
    * Each server has at most so many in flight as it serves without them queueing up there (`limit`); more wait here,
      in order of priority and arrival. The job bounds how many: one per stream and module.
    * What fails because a server refuses, hangs or is gone is sent again within its deadline, elsewhere first, else
      after a back-off (`budget`); what would fail again is not: bad requests and replies, denied access, model errors.
    * A server that fails three times in a row is left alone for a time that doubles, and tried with single requests
      (`breaker`). If none is left, requests wait a little and then fail, so that a fallback can take over.
    * Servers that cannot be reached at the start are left out and opened in the background when they can be.

    A single server gains retries, time limits and the breaker from it.

    Args:
        backends: one for each server; opened and closed with this one.
        options: how to deal with them.
        seed: of the jitter, for tests.
        url: for messages.
    """

    def __init__(
        self,
        backends: Sequence[Backend],
        *,
        options: RoutingOptions | None = None,
        seed: int | None = None,
        url: str = "",
    ) -> None:
        self.backends = tuple(backends)
        self.url = url or f"route({', '.join(backend.url for backend in backends)})"
        self._options = options or RoutingOptions()
        self._random = random.Random(seed)
        self._servers: list[Server] = []
        self._dispatcher: Dispatcher | None = None
        self._model: ModelDescription | None = None
        self._reopener: Reopener | None = None

    def open(self, context: JobContext) -> None:
        """Open all servers at the same time; see `Backend.open`."""
        self._context = context
        outcomes = open_all(self.backends, context)
        try:
            lines = self._begin(outcomes)
        except BaseException:
            self.close()
            raise
        for line in lines:
            context.say(line)

    def _begin(self, outcomes: list[BaseException | None]) -> list[str]:
        for error in outcomes:
            if error is not None and not isinstance(error, ExternalError):
                raise error
        opened = [backend for backend, error in zip(self.backends, outcomes, strict=True) if error is None]
        problems = [named(b, error) for b, error in zip(self.backends, outcomes, strict=True) if error is not None]
        if not opened:
            alone = outcomes[0] if len(outcomes) == 1 else None
            raise alone or ServerUnavailable(f"none of the servers can be reached: {'; '.join(problems)}")
        check_alike(opened)
        self._model = _common(opened)
        limit = self._options.limit
        self._servers = [Server(b, number, self._random, limit) for number, b in enumerate(self.backends)]
        for server, error in zip(self._servers, outcomes, strict=True):
            if error is not None:
                server.breaker.state = State.UNOPENED
                server.breaker.reason = str(error)
        self._dispatcher = Dispatcher(
            self._servers,
            options=self._options,
            clock=self._context.clock,
            say=self._context.say,
            streams=self._context.streams,
            random_source=self._random,
            url=self.url,
        )
        self._reopener = Reopener(self.backends, self._context, self._joined, self._failed_again, self._random)
        for number, error in enumerate(outcomes):
            if error is not None:
                self._reopener.later(number)
        missing = [f"cannot use {'; '.join(problems)}; tried again from time to time"] if problems else []
        return [*missing, *differences(opened)]

    def close(self) -> None:
        """See `Backend.close`."""
        dispatcher, self._dispatcher = self._dispatcher, None
        reopener, self._reopener = self._reopener, None
        if dispatcher is not None:
            dispatcher.close()
        if reopener is not None:
            reopener.close()
        else:
            for backend in self.backends:
                backend.close()

    def flush(self) -> None:
        """See `Backend.flush`."""
        for server in self._servers:
            if server.breaker.state is not State.UNOPENED:
                server.backend.flush()

    @property
    def slots(self) -> int:
        """How many requests the servers that serve take together, as measured until now."""
        return max(1, sum(server.limit.value for server in self._servers if server.is_serving))

    @property
    def local_threads(self) -> int:
        """Of all that are used: they compute at the same time."""
        return sum(server.backend.local_threads for server in self._servers if server.is_serving)

    @property
    def summary(self) -> str:
        """See `Backend.summary`."""
        serving = [server.backend.summary for server in self._servers if server.is_serving]
        return " and ".join(serving) or self.url

    def describe(self) -> ModelDescription:
        """Return what the servers have in common."""
        if self._model is None:
            raise ExternalError(f"{self.url} is not open yet")
        return self._model

    def statistics(self) -> tuple[ServerStatistics, ...]:
        """Return what was counted for each server since it was opened."""
        return tuple(server.statistics() for server in self._servers)

    def submit(self, request: Request | Tensors, done: Completion) -> None:
        """See `Backend.submit`."""
        dispatcher = self._dispatcher
        if dispatcher is None:
            done.fail(ExternalError(f"{self.url} is not open"))
        else:
            dispatcher.submit(request, done)

    # Servers that could not be reached

    def _joined(self, number: int) -> None:
        """One can be reached now. Raises ConfigurationError if it serves something else than the others."""
        server, first = self._servers[number], self._servers[0]
        check_alike([next(s.backend for s in self._servers if s.breaker.state is not State.UNOPENED), server.backend])
        for line in differences([first.backend, server.backend]) if first.is_serving else ():
            self._context.say(line)
        if (dispatcher := self._dispatcher) is not None:
            dispatcher.joined(server)

    def _failed_again(self, number: int, error: ExternalError) -> None:
        self._servers[number].breaker.reason = str(error)


def _common(backends: Sequence[Backend]) -> ModelDescription:
    """Return the first description, with the smallest limit to a batch that a server has."""
    first = backends[0].describe()
    limits = [size for b in backends if (size := b.describe().max_batch_size) is not None]
    return dataclasses.replace(first, max_batch_size=min(limits)) if limits else first
