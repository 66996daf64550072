"""``sim:NAME?latency_ms=…``: a backend that behaves like a service far away, as its URL describes it."""

from __future__ import annotations

import dataclasses
import random
import threading
from collections.abc import Callable
from typing import TypeAlias

from evtfw.core.completion import Completion
from evtfw.core.errors import (
    BadRequest,
    ExternalError,
    ServerUnavailable,
)
from evtfw.core.resource import JobContext
from evtfw.core.simulation import VirtualClock
from evtfw.external.contract import (
    Backend,
    ModelDescription,
    Provenance,
    Reply,
    Request,
    Tensors,
    inputs_of,
)
from evtfw.external.sim.faults import FailureRates, Outage
from evtfw.external.sim.latency import LatencyModel
from evtfw.external.sim.request import SimRequest
from evtfw.external.sim.server import Servers
from evtfw.external.validate import NonFinite, Validator

Answer: TypeAlias = Callable[[Tensors], Tensors]


def echo(inputs: Tensors) -> Tensors:
    """Return the inputs."""
    return inputs


@dataclasses.dataclass(frozen=True, slots=True)
class SimStatistics:
    """Counts since `SimBackend.open`.

    Args:
        requests: taken.
        answered: that ended in a reply.
        failed: how many ended in each kind of error, by the name of its class.
        given_up: by whoever asked, also after a deadline.
        longest_queue: most requests that waited at the same time.
        busy_s: time for which servers were held, summed over them.
    """

    requests: int = 0
    answered: int = 0
    failed: tuple[tuple[str, int], ...] = ()
    given_up: int = 0
    longest_queue: int = 0
    busy_s: float = 0.0


class SimBackend(Backend):
    """Simulates a service: requests wait for one of its servers, hold it for a random time, and may fail.

    Time passes on the job's clock, real or virtual; there is no thread per request. The same seed and the same order of
    requests give the same times and failures. The URL is ``sim:NAME?OPTION=VALUE&…``:

    * latency, see `LatencyModel`: ``latency_ms`` (the mean), ``distribution``, ``p99_ms``, ``sigma``, ``shape``,
      ``min_ms``, ``max_ms``, ``per_row_ms``, ``network_ms``;
    * the service: ``servers`` (requests at the same time; 0, the default: all), ``queue`` (how many may wait);
      ``max_batch`` puts a `Batcher` before it, with ``max_delay_s``;
    * failures, see `FailureRates` and `Outage`: ``unavailable``, ``deadline``, ``hang``, ``bad_reply``, ``nan``,
      ``drop``; ``down_from_s``, ``down_for_s``, ``down_every_s``, ``when_down``;
    * values: ``of=URL`` asks another backend, at once; ``inputs`` and ``outputs`` give tensors as for ``mock:``;
      ``answer=zeros`` (the default where outputs are given) or ``echo``; ``nonfinite`` as for ``cpu:``;
    * ``seed``.

    Args:
        model: of the latency.
        servers: requests worked on at the same time; 0: all.
        queue_limit: requests that wait at most; None: no limit.
        failures: rates.
        outage: when the service is down.
        seed: of times and failures.
        answer: makes the outputs; short, because it runs in the thread of the clock.
        inner: makes them instead; opened and closed with this one.
        description: checked against; that of ``inner`` if there is one.
        nonfinite: what to do about NaN and infinity in outputs.
    """

    def __init__(
        self,
        model: LatencyModel | None = None,
        *,
        servers: int = 0,
        queue_limit: int | None = None,
        failures: FailureRates | None = None,
        outage: Outage | None = None,
        seed: int = 0,
        answer: Answer = echo,
        inner: Backend | None = None,
        description: ModelDescription | None = None,
        nonfinite: NonFinite = "fail",
        url: str = "sim:",
    ) -> None:
        self.url = url
        self._model = model or LatencyModel()
        self._server_count = servers
        self._queue_limit = queue_limit
        self._failures = failures or FailureRates()
        self._outage = outage or Outage()
        self._seed = seed
        self._make_outputs = answer
        self._inner = inner
        self._description = description or ModelDescription("sim", max_batch_size=None)
        self._nonfinite: NonFinite = nonfinite
        self._servers: Servers | None = None
        # Re-entrant, since a completion that is garbage-collected may come back with another request at any point.
        self._drawing = threading.RLock()
        self._counting = threading.RLock()

    @classmethod
    def from_url(cls, url: str) -> Backend:
        """See `Backend.from_url`."""
        from evtfw.external.sim.url import backend_from_url

        return backend_from_url(url)

    def open(self, context: JobContext) -> None:
        """See `Backend.open`."""
        if self._outage.when_down == "refuse" and self._outage.is_down(0):
            raise ServerUnavailable(f"{self.url} cannot be reached: it is down from the start, as was asked for")
        if self._inner is not None:
            self._inner.open(context)
            self._description = self._inner.describe()
        self._clock = context.clock
        self._streams = max(1, context.streams)
        model = self._description
        self._validator = Validator(model, self.url)
        self._provenance = Provenance(self.url, model=model.name, version=model.version, sha256=model.sha256)
        self._draw_time = self._model.sampler(random.Random(f"{self._seed} times"))
        self._draw_failure = random.Random(f"{self._seed} failures").random
        self._requests = self._answered = self._given_up = 0
        self._failed: dict[str, int] = {}
        self._servers = Servers(
            context.clock, self.url, count=self._server_count, queue_limit=self._queue_limit, outage=self._outage
        )

    def close(self) -> None:
        """See `Backend.close`."""
        if self._servers is not None:
            self._servers.close()
        if self._inner is not None:
            self._inner.close()

    def flush(self) -> None:
        """See `Backend.flush`."""
        if self._inner is not None:
            self._inner.flush()

    @property
    def slots(self) -> int:
        """See `Backend.slots`."""
        return self._server_count or (self._streams if self._servers is not None else 1)

    @property
    def local_threads(self) -> int:
        """Those of the inner backend; none on a virtual clock, which stands still while they compute."""
        return 0 if self._inner is None or self._is_virtual else self._inner.local_threads

    @property
    def statistics(self) -> SimStatistics:
        """What happened so far."""
        if self._servers is None:
            return SimStatistics()
        with self._counting:
            return SimStatistics(
                self._requests,
                self._answered,
                tuple(sorted(self._failed.items())),
                self._given_up,
                self._servers.longest_queue,
                self._servers.busy_ns * 1e-9,
            )

    @property
    def _is_virtual(self) -> bool:
        return self._servers is not None and isinstance(self._clock, VirtualClock)

    def describe(self) -> ModelDescription:
        """See `Backend.describe`."""
        return self._description

    def submit(self, request: Request | Tensors, done: Completion) -> None:
        """See `Backend.submit`."""
        servers = self._servers
        if servers is None:
            done.fail(ExternalError(f"{self.url} is not open"))
            return
        try:
            rows = self._validator.rows_of_request(inputs_of(request))
        except BadRequest as error:
            done.fail(error)
            return
        with self._drawing:
            self._requests += 1
            failure = self._failures.choose(self._draw_failure())
            time_ms = self._draw_time()
        if self._description.is_batched:
            time_ms += self._model.per_row_ms * rows
        job = SimRequest(self, servers, request, done, rows, failure, round(time_ms * 1e6))
        done.on_cancel(job)
        if failure == "unavailable":
            job.refuse(ServerUnavailable(f"{self.url} refused a request, as was asked for"))
        else:
            servers.submit(job)

    def _count(self, outcome: Reply | BaseException) -> None:
        with self._counting:
            if isinstance(outcome, Reply):
                self._answered += 1
            else:
                name = type(outcome).__name__
                self._failed[name] = self._failed.get(name, 0) + 1

    def _count_given_up(self) -> None:
        with self._counting:
            self._given_up += 1
