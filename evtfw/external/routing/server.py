"""What a router knows of one server."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Mapping
from typing import Final

from evtfw.core.errors import DeadlineExceeded, ServerUnavailable
from evtfw.external.contract import Backend
from evtfw.external.errors import ModelNotFound, Overloaded
from evtfw.external.routing.breaker import Breaker, State
from evtfw.external.routing.latency import Latency
from evtfw.external.routing.limit import INITIAL, Limit

_FORGET_NS: Final = 10_000_000_000
_AVOID_NS: Final = 200_000_000


@dataclasses.dataclass(frozen=True, slots=True)
class ServerStatistics:
    """One server since the router was opened.

    Args:
        url: the server's.
        state: ``serving``, ``left alone``, ``being tried`` or ``not reached yet``.
        reason: why it was left alone last; empty if it never was.
        requests: sent to it, retries and hedges included.
        successes: answered in time with a reply.
        failures: number of failed requests by the name of the error.
        abandoned: requests that were of no use any more before the server answered.
        late_replies: what came for a request that had ended: after its time limit, or twice.
        retries: requests sent to it because another attempt had failed.
        hedges: requests sent to it because another server took long.
        hedges_won: how many of these answered first.
        ejections: how often it was left alone.
        in_flight: requests at the moment.
        limit: how many it may have at the moment.
        mean_s: exponentially weighted mean time of its replies, s; 0 before the first.
        p50_s, p95_s: quantiles of the last 128 replies, s; 0 before there are 20.
    """

    url: str
    state: str
    reason: str
    requests: int
    successes: int
    failures: Mapping[str, int]
    abandoned: int
    late_replies: int
    retries: int
    hedges: int
    hedges_won: int
    ejections: int
    in_flight: int
    limit: int
    mean_s: float
    p50_s: float
    p95_s: float


class Server:
    """A server of a router: its backend, what was measured, and the state of its breaker.

    Args:
        backend: sends to this server only.
        number: its place among the router's servers.
        random_source: for the breaker.
        limit: how many requests it gets at the same time; 0 finds out.
    """

    def __init__(self, backend: Backend, number: int, random_source: random.Random, limit: int) -> None:
        self.backend = backend
        self.number = number
        self.url = backend.url
        self.breaker = Breaker(random_source)
        self.limit = Limit(limit, max(INITIAL, min(backend.slots, 64)))
        self.latency = Latency()
        self.in_flight = 0
        self.avoid_until_ns = 0
        self.last_reply_ns = -1
        self._silence_ns = self._silent_until_ns = 0
        self.failures: Counter[str] = Counter()
        self.requests = self.successes = self.abandoned = self.late_replies = 0
        self.retries = self.hedges = self.hedges_won = self.ejections = 0

    @property
    def is_serving(self) -> bool:
        """Whether its breaker is closed."""
        return self.breaker.state is State.CLOSED

    @property
    def has_room(self) -> bool:
        """Whether it can be sent a request now."""
        return self.breaker.state is State.CLOSED and self.in_flight < self.limit.value

    def cost(self, now_ns: int, typical_ns: float) -> float:
        """Expected time of one more request: measured time of a reply by what is in flight.

        It counts four times for a moment after the server refused a request or did not answer in time.

        Args:
            now_ns: the time; what was measured long ago counts less.
            typical_ns: stands in for what was not measured yet.
        """
        latency = self.latency
        mean_ns = latency.mean_ns or typical_ns
        age_ns = now_ns - latency.last_ns
        if mean_ns > typical_ns and age_ns > _FORGET_NS:
            mean_ns = max(typical_ns, mean_ns * _FORGET_NS / age_ns)
        return (self.in_flight + 1) * mean_ns * (4.0 if now_ns < self.avoid_until_ns else 1.0)

    def was_silent(self, sent_ns: int, now_ns: int) -> bool:
        """Note that a request was not answered in time. Returns whether it had time enough to speak against the server.

        That is twice what the server usually needs: for this request, or together with others since its last reply
        that were given up too soon to tell (those side by side count once). Else requests with little time would never
        find out that a slow server hangs.
        """
        self._silence_ns += now_ns - max(sent_ns, min(self._silent_until_ns, now_ns))
        self._silent_until_ns = now_ns
        return max(now_ns - sent_ns, self._silence_ns) >= 2 * self.latency.mean_ns

    def answered(self, sent_ns: int, now_ns: int) -> None:
        """A reply came."""
        self.successes += 1
        self.last_reply_ns = self._silent_until_ns = now_ns
        self._silence_ns = 0
        taken_ns = now_ns - sent_ns
        self.latency.record(taken_ns, now_ns)
        self.limit.succeeded(taken_ns, self.in_flight + 1)

    def failed(self, error: BaseException, sent_ns: int, now_ns: int) -> tuple[bool, bool]:
        """Count an error. Returns whether it speaks against the server, and whether one is enough to leave it alone."""
        self.failures[type(error).__name__] += 1
        if isinstance(error, Overloaded):
            self.avoid_until_ns = now_ns + _AVOID_NS
            self.limit.refused(now_ns)
            return False, False
        if isinstance(error, DeadlineExceeded):
            if not self.was_silent(sent_ns, now_ns):
                return False, False  # it was sent late, or the deadline is short
            self.avoid_until_ns = now_ns + _AVOID_NS
            self.limit.refused(now_ns)
            self.latency.record(now_ns - sent_ns, now_ns)
            return True, self.last_reply_ns < sent_ns
        if isinstance(error, ServerUnavailable):
            return True, isinstance(error, ModelNotFound)
        return False, False

    def statistics(self) -> ServerStatistics:
        """Return what was counted."""
        return ServerStatistics(
            url=self.url,
            state=self.breaker.state.value,
            reason=self.breaker.reason,
            requests=self.requests,
            successes=self.successes,
            failures=dict(self.failures),
            abandoned=self.abandoned,
            late_replies=self.late_replies,
            retries=self.retries,
            hedges=self.hedges,
            hedges_won=self.hedges_won,
            ejections=self.ejections,
            in_flight=self.in_flight,
            limit=self.limit.value,
            mean_s=self.latency.mean_ns * 1e-9,
            p50_s=self.latency.p50_ns * 1e-9,
            p95_s=self.latency.p95_ns * 1e-9,
        )
