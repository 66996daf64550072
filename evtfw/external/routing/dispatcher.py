"""The state machine of a router: which request goes to which server when, and what follows from each outcome.

All methods that start with an underscore are steps of `Turns`, or called by one: one at a time, without blocking. What
they decide is done afterwards, outside: sending, cancelling, delivering, telling the user.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Sequence
from typing import Final

from evtfw.core.clock import Clock, Timer
from evtfw.core.completion import Completion
from evtfw.core.errors import Cancelled, DeadlineExceeded, ExternalError, ServerUnavailable
from evtfw.external.contract import Reply, Request, Tensors
from evtfw.external.delivery import deliver
from evtfw.external.errors import Overloaded
from evtfw.external.routing.breaker import State
from evtfw.external.routing.budget import RetryBudget, back_off_s
from evtfw.external.routing.call import NEVER, Attempt, Call
from evtfw.external.routing.health import Health
from evtfw.external.routing.options import RoutingOptions
from evtfw.external.routing.server import Server
from evtfw.external.routing.timelimits import attempt_limit_ns
from evtfw.external.routing.turns import Actions, Turns

_RETRIED: Final = (ServerUnavailable, DeadlineExceeded)
_SHORTEST_NS: Final = 10_000_000


class Dispatcher:
    """Takes requests and ends each exactly once, at its deadline at the latest.

    Args:
        servers: in the order of the configuration.
        options: of the router.
        clock: the job's.
        say: tells the user a line.
        streams: events in flight at most; so many can go elsewhere at once when a server dies.
        random_source: for jitter.
        url: for messages.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        *,
        options: RoutingOptions,
        clock: Clock,
        say: Callable[[str], None],
        streams: int,
        random_source: random.Random,
        url: str,
    ) -> None:
        self._servers = list(servers)
        self._options = options
        self._clock = clock
        self._random = random_source
        self._url = url
        self._turns = Turns()
        self._health = Health(self._servers, clock.now_ns(), say)
        self._budget = RetryBudget(max(10.0, 2.0 * streams))
        self._calls: set[Call] = set()
        self._waiting: list[tuple[tuple[int, int], Call]] = []
        self._numbers = itertools.count()
        self._timer: Timer | None = None
        self._alarm_ns = NEVER
        self._is_closed = False

    @property
    def in_router(self) -> int:
        """Requests that have not ended."""
        return len(self._calls)

    def submit(self, request: Request | Tensors, done: Completion) -> None:
        """Take a request. From any thread; never blocks and never raises."""
        priority = request.priority if request.__class__ is Request else 0
        call = Call(request, done, (-priority, next(self._numbers)), self._clock.now_ns(), self._cancelled)
        done.on_cancel(call)
        self._turns.take(self._submitted, call)

    def joined(self, server: Server) -> None:
        """A server that could not be reached at the start can be now."""
        self._turns.take(self._joined, server)

    def close(self) -> None:
        """Fail what has not ended, and take nothing more."""
        self._turns.take(self._closed, None)

    # What happens

    def _cancelled(self, call: Call) -> None:
        self._turns.take(self._given_up, call)

    def _ended(self, attempt: Attempt) -> None:
        self._turns.take(self._answered, attempt)

    def _submitted(self, call: Call, actions: Actions) -> None:
        if call.is_over or call.done.is_done:
            return
        if self._is_closed:
            actions.append((deliver, (call.done, ExternalError(f"{self._url} was closed"))))
            return
        self._budget.deposit()
        self._calls.add(call)
        if not self._waiting:
            server = self._choose(call, call.since_ns)
            if server is not None:
                self._send(call, server, call.since_ns, actions)
                return
        self._wait(call)
        self._dispatch(call.since_ns, actions)

    def _given_up(self, call: Call, actions: Actions) -> None:
        now_ns = self._clock.now_ns()
        is_new = not call.is_over
        self._release(call, now_ns, actions, is_late=now_ns >= call.deadline_ns)
        if is_new:
            self._dispatch(now_ns, actions)

    def _answered(self, attempt: Attempt, actions: Actions) -> None:
        now_ns = self._clock.now_ns()
        call, server, error = attempt.call, attempt.server, attempt.error
        if isinstance(error, Cancelled) and not call.is_over and not call.done.is_done:
            error = _given_up_by(server, error)
        call.active.pop(attempt.number, None)
        server.in_flight -= 1
        self._judge(attempt, error, now_ns, actions)
        if call.is_over:
            server.late_replies += 1
        elif error is None:
            server.hedges_won += attempt.is_hedge
            self._end(call, call.final_reply(attempt.reply, attempt.sent_ns), now_ns, actions)
        else:
            self._failed(call, server, error, now_ns, actions)
        if self._waiting:
            self._dispatch(now_ns, actions)

    def _joined(self, server: Server, actions: Actions) -> None:
        now_ns = self._clock.now_ns()
        self._health.joined(server, now_ns, actions)
        self._dispatch(now_ns, actions)

    def _closed(self, _: None, actions: Actions) -> None:
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        now_ns = self._clock.now_ns()
        for call in list(self._calls):
            self._end(call, ExternalError(f"{self._url} was closed before the request was answered"), now_ns, actions)
        self._waiting.clear()
        self._health.last_words(actions)

    # Sending

    def _choose(self, call: Call, now_ns: int) -> Server | None:
        """Return who shall get the request now: a server that is to be tried again, or the least expected time."""
        servers = self._servers
        if len(servers) == 1 and servers[0].has_room:
            return servers[0]
        typical_ns = min((s.latency.mean_ns for s in servers if s.latency.mean_ns), default=1.0)
        may_probe = not call.sends or (self._health.is_down and now_ns < self._give_up_ns)
        best, best_cost = None, (True, 0.0, 0)
        for server in servers:
            if server.has_room:
                cost = (server.number in call.failed, server.cost(now_ns, typical_ns), server.requests)
                if best is None or cost < best_cost:
                    best, best_cost = server, cost
            elif may_probe and server.breaker.is_probe_due(now_ns):
                return server
        return best

    def _send(self, call: Call, server: Server, now_ns: int, actions: Actions, *, is_hedge: bool = False) -> None:
        limit_ns = attempt_limit_ns(call, server, now_ns, self._options, is_alone=self._health.serving <= 1)
        if call.was_late and self._health.is_down:
            limit_ns = min(limit_ns, max(self._give_up_ns, now_ns + _SHORTEST_NS))
        is_probe = server.breaker.state is State.OPEN
        if is_probe:
            server.breaker.probe()
        call.sends += 1
        server.requests += 1
        server.in_flight += 1
        attempt = Attempt(call, server, now_ns, limit_ns, self._ended)
        if is_probe:
            attempt.is_probe = True
        if is_hedge:
            attempt.is_hedge = True
            server.hedges += 1
        elif call.reasons:
            server.retries += 1
        elif self._options.hedge and len(self._servers) > 1 and server.latency.is_measured:
            call.hedge_ns = now_ns + server.latency.unusual_ns
        call.active[attempt.number] = attempt.reference
        call.due_ns = due_ns = min(limit_ns, call.due_ns, call.hedge_ns)
        if due_ns < self._alarm_ns:
            self._set_alarm(due_ns, now_ns)
        actions.append((attempt.send, ()))

    def _wait(self, call: Call) -> None:
        heapq.heappush(self._waiting, (call.order, call))
        if call.due_ns < self._alarm_ns:
            self._set_alarm(call.due_ns, self._clock.now_ns())

    def _dispatch(self, now_ns: int, actions: Actions) -> None:
        """Send what can be sent. Called whenever something waits and a server may have room."""
        waiting = self._waiting
        while waiting:
            call = waiting[0][1]
            if not call.is_over and now_ns >= call.deadline_ns:
                self._expire(call, now_ns, actions)  # nobody could answer it in time, so nobody is blamed for that
            if call.is_over:
                heapq.heappop(waiting)
                continue
            server = self._choose(call, now_ns)
            if server is None:
                break
            heapq.heappop(waiting)
            self._send(call, server, now_ns, actions)
        if waiting and self._health.is_down:
            self._bear_with_it(now_ns, actions)

    @property
    def _give_up_ns(self) -> int:
        """Until when requests wait for a server to come back, if none serves."""
        return self._health.down_since_ns + int(self._options.wait_s * 1e9)

    def _bear_with_it(self, now_ns: int, actions: Actions) -> None:
        """No server serves: wait for one to come back, but not for long, and not up to the deadline."""
        give_up_ns, left = self._give_up_ns, []
        until_ns = self._health.next_probe_ns
        for entry in self._waiting:
            call = entry[1]
            call_until_ns = min(give_up_ns, call.patience_ns)
            if call.is_over:
                continue
            if now_ns >= call_until_ns:
                self._end(call, self._health.nobody(self._url), now_ns, actions)
            else:
                left.append(entry)
                until_ns = min(until_ns, call_until_ns)
        heapq.heapify(left)
        self._waiting = left
        if left and until_ns < self._alarm_ns:
            self._set_alarm(max(until_ns, now_ns), now_ns)

    def _judge(self, attempt: Attempt, error: BaseException | None, now_ns: int, actions: Actions) -> None:
        was_down = self._health.is_down
        self._health.judge(attempt, error, now_ns, actions)
        if self._health.is_down and not was_down:
            for call in self._calls:  # what backs off waits together with the others now
                if call.wake_ns != NEVER:
                    self._rouse(call)

    def _rouse(self, call: Call) -> None:
        call.wake_ns = NEVER
        call.plan()
        self._wait(call)

    # Ending

    def _failed(self, call: Call, server: Server, error: BaseException, now_ns: int, actions: Actions) -> None:
        """An attempt failed: leave it to the other one in flight, try again, or end."""
        call.reasons.append(str(error) if server.url in str(error) else f"{server.url}: {error}")
        call.failed, call.last_error = (*call.failed, server.number), error
        call.hedge_ns = NEVER
        call.was_late |= isinstance(error, DeadlineExceeded)
        is_final = not isinstance(error, _RETRIED) or now_ns >= call.deadline_ns
        if call.active and not is_final:
            call.plan()
            return
        retries = self._options.retries
        # When nobody serves, the probes are few already, and `wait_s` says how long to go on.
        if is_final or (len(call.reasons) > retries and not (retries and self._health.is_down)):
            self._end(call, call.final_error(self._url), now_ns, actions)
            return
        is_other_free = any(s.has_room and s.number not in call.failed for s in self._servers)
        if self._health.is_down or (is_other_free and self._budget.take(now_ns)):
            self._wait(call)
            self._dispatch(now_ns, actions)
            return
        pause_s = back_off_s(len(call.reasons), self._random, is_overloaded=isinstance(error, Overloaded))
        wake_ns = now_ns + int(pause_s * 1e9)
        if wake_ns >= call.patience_ns:
            self._end(call, call.final_error(self._url), now_ns, actions)
            return
        call.wake_ns = call.due_ns = wake_ns
        call.failed = ()
        if wake_ns < self._alarm_ns:
            self._set_alarm(wake_ns, now_ns)

    def _end(self, call: Call, outcome: Reply | BaseException, now_ns: int, actions: Actions) -> None:
        self._release(call, now_ns, actions, is_late=False)
        actions.append((deliver, (call.done, outcome)))

    def _release(self, call: Call, now_ns: int, actions: Actions, *, is_late: bool) -> None:
        """Forget a request, and stop what is in flight for it."""
        call.is_over = True
        self._calls.discard(call)
        if call.active:
            for number in list(call.active):
                self._stop(call, number, now_ns, actions, is_late=is_late)

    def _stop(self, call: Call, number: int, now_ns: int, actions: Actions, *, is_late: bool) -> bool:
        """Give up an attempt. Returns False if it has ended: then its outcome is the next step."""
        attempt = call.active[number]()
        if attempt is None or not attempt.abandon():
            return False
        del call.active[number]
        server = attempt.server
        server.in_flight -= 1
        if is_late and server.was_silent(attempt.sent_ns, now_ns):
            self._judge(attempt, DeadlineExceeded(self._late(server, attempt, now_ns)), now_ns, actions)
        else:
            self._health.abandoned(attempt, now_ns)
        actions.append((attempt.stop, ()))
        return True

    # Time

    def _set_alarm(self, due_ns: int, now_ns: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._alarm_ns = due_ns
        self._timer = self._clock.call_later(max(0, due_ns - now_ns) * 1e-9, self._ring)

    def _ring(self) -> None:
        self._turns.take(self._look, None)

    def _look(self, _: None, actions: Actions) -> None:
        """See to all requests whose time has come, and set the alarm for the next."""
        if self._is_closed:
            return
        now_ns = self._clock.now_ns()
        self._timer, self._alarm_ns = None, NEVER
        for call in sorted((call for call in self._calls if call.due_ns <= now_ns), key=lambda call: call.order):
            if not call.is_over:
                self._look_at(call, now_ns, actions)
        self._dispatch(now_ns, actions)
        due_ns = min((call.due_ns for call in self._calls), default=NEVER)
        if due_ns < self._alarm_ns:
            self._set_alarm(due_ns, now_ns)

    def _look_at(self, call: Call, now_ns: int, actions: Actions) -> None:
        if now_ns >= call.deadline_ns:
            self._expire(call, now_ns, actions)
            return
        if call.wake_ns <= now_ns:
            self._wake(call, now_ns, actions)
        for number, reference in list(call.active.items()):
            attempt = reference()
            if attempt is not None and attempt.limit_ns <= now_ns:
                late = DeadlineExceeded(self._late(attempt.server, attempt, now_ns))
                if self._stop(call, number, now_ns, actions, is_late=True):
                    self._failed(call, attempt.server, late, now_ns, actions)
            if call.is_over:
                return
        if call.hedge_ns <= now_ns:
            self._hedge(call, now_ns, actions)
        call.plan()

    def _wake(self, call: Call, now_ns: int, actions: Actions) -> None:
        """Its back-off is over: it may be sent again as soon as the budget allows it."""
        if self._health.is_down or self._budget.take(now_ns):
            self._rouse(call)
            return
        call.wake_ns = now_ns + int((back_off_s(len(call.reasons), self._random) + self._budget.wait_s) * 1e9)
        if call.wake_ns >= call.patience_ns:
            self._end(call, call.final_error(self._url), now_ns, actions)

    def _hedge(self, call: Call, now_ns: int, actions: Actions) -> None:
        call.hedge_ns = NEVER
        asked = {attempt.server.number for ref in call.active.values() if (attempt := ref()) is not None}
        others = [server for server in self._servers if server.has_room and server.number not in asked]
        if asked and others and self._budget.take(now_ns):
            server = min(others, key=lambda server: (server.cost(now_ns, 1.0), server.requests))
            self._send(call, server, now_ns, actions, is_hedge=True)

    def _expire(self, call: Call, now_ns: int, actions: Actions) -> None:
        asked = [attempt.server.url for ref in call.active.values() if (attempt := ref()) is not None]
        where = f"waiting for {' and '.join(asked)}" if asked else "waiting for its turn"
        reasons = f", after {'; '.join(call.reasons)}" if call.reasons else ""
        self._release(call, now_ns, actions, is_late=True)
        taken_s = (call.deadline_ns - call.since_ns) * 1e-9
        late = f"{self._url}: the deadline passed {taken_s:.3g} s after the request, {where}{reasons}"
        actions.append((deliver, (call.done, DeadlineExceeded(late))))

    @staticmethod
    def _late(server: Server, attempt: Attempt, now_ns: int) -> str:
        return f"{server.url}: no reply within {(now_ns - attempt.sent_ns) * 1e-9:.3g} s"


def _given_up_by(server: Server, error: Cancelled) -> ServerUnavailable:
    """Return the error for what nobody here gave up: a server does that to the requests it has when it shuts down."""
    meant = ServerUnavailable(f"{server.url}: the server gave the request up ({error})")
    meant.__cause__ = error
    return meant
