"""Gathers the requests of several events and modules into batches along axis 0, and hands everybody their rows."""

from __future__ import annotations

import dataclasses
import threading
from collections import deque
from typing import Any, Final

import numpy as np

from evtfw.core.clock import Timer
from evtfw.core.completion import Completion
from evtfw.core.errors import (
    BadReply,
    BadRequest,
    Cancelled,
    DeadlineExceeded,
    ExternalError,
    ServerUnavailable,
)
from evtfw.core.resource import JobContext
from evtfw.external.batch import Batch, Waiting
from evtfw.external.contract import Backend, ModelDescription, Provenance, Reply, Request, Tensors, inputs_of
from evtfw.external.delivery import deliver
from evtfw.external.pacing import Pace
from evtfw.external.splitting import split
from evtfw.external.validate import NonFinite, Validator, nonfinite_names

_NO_LIMIT: Final = 1 << 62
_NOT_THE_REQUESTS_FAULT = (ServerUnavailable, DeadlineExceeded, Cancelled)


@dataclasses.dataclass(frozen=True, slots=True)
class BatcherStatistics:
    """Counts since `Batcher.open`.

    Args:
        batches: sent and ended, in whatever way.
        requests: that were part of them.
        rows: of these requests.
        nonfinite_replies: replies with NaN or infinity, if the policy is not ``pass``.
        isolated: requests that were sent again alone because a batch with them failed.
    """

    batches: int = 0
    requests: int = 0
    rows: int = 0
    nonfinite_replies: int = 0
    isolated: int = 0


class Batcher(Backend):
    """Puts requests together while the inner backend is busy, and never lets it idle for the sake of a larger batch.

    A request is sent at once if the inner backend has a free slot. What comes while all slots are taken is collected,
    in order of arrival, and shared out when a slot gets free. So batches grow with the load and nobody waits for
    company. Requests that were given up meanwhile are left out; larger ones than ``max_batch`` are split and re-joined;
    one without rows is answered here. If a batch fails for a reason that may lie in one of its requests, each is sent
    again alone.

    Args:
        inner: does the work; opened and closed with the batcher.
        max_batch: rows of a batch at most; None: what the model allows.
        max_delay_s: after so long, or upon `flush`, what was collected is sent even though all slots are taken, for the
            inner backend's queue; None: never, which is best if the inner backend is local.
        paced: for servers: also while slots are free, requests that come within a moment go together, as long as the
            server has work meanwhile (see `Pace`); needs ``max_delay_s``. Replies were checked by the inner backend.
        gather_s: do not put together more than takes so long to compute, by the measured time per row, because who is
            first in a batch waits for all of it; None: no such limit.
        isolate: send requests of a failed batch again, alone.
        nonfinite: what to do about NaN and infinity in replies; judged per request.
    """

    def __init__(
        self,
        inner: Backend,
        *,
        max_batch: int | None = None,
        max_delay_s: float | None = None,
        gather_s: float | None = None,
        paced: bool = False,
        isolate: bool = True,
        nonfinite: NonFinite = "pass",
    ) -> None:
        self.inner = inner
        self.url = inner.url
        self._max_batch = max_batch
        self._max_delay_s = max_delay_s
        self._gather_s = gather_s
        self._paced = paced
        self._pace: Pace | None = None
        self._isolate = isolate
        self._nonfinite: NonFinite = nonfinite
        self.is_open = False
        """Whether it takes requests."""
        self._waiting: deque[Waiting] = deque()
        self._free_slots: list[None] = []
        # Only one thread sends at a time, and nobody waits for it: who finds it busy leaves the rest to it. An inner
        # backend that answers inside submit(), or a completion that is dropped at any point, can re-enter safely.
        self._sending = threading.Lock()
        self._overdue = False
        self._timer: Timer | None = None
        self._row_ns = 0.0
        self._counting = threading.Lock()
        self._batches = self._requests = self._rows = self._nonfinite_replies = self._isolated = 0

    @property
    def slots(self) -> int:
        """See `Backend.slots`."""
        return self.inner.slots

    @property
    def local_threads(self) -> int:
        """See `Backend.local_threads`."""
        return self.inner.local_threads

    @property
    def summary(self) -> str:
        """See `Backend.summary`."""
        return self.inner.summary

    @property
    def statistics(self) -> BatcherStatistics:
        """What was sent so far."""
        return BatcherStatistics(self._batches, self._requests, self._rows, self._nonfinite_replies, self._isolated)

    def describe(self) -> ModelDescription:
        """Return the inner description; requests of any size are taken."""
        inner = self.inner.describe()
        return dataclasses.replace(inner, max_batch_size=None) if inner.is_batched else inner

    def open(self, context: JobContext) -> None:
        """See `Backend.open`."""
        self.inner.open(context)
        self._clock = context.clock
        model = self.inner.describe()
        self._model = self.describe()
        self._validator = Validator(self._model, self.url)
        limits = [limit for limit in (self._max_batch, model.max_batch_size) if limit]
        self._row_limit = min(limits, default=_NO_LIMIT) if model.is_batched else 1
        self._provenance = Provenance(self.url, model=model.name, version=model.version, sha256=model.sha256)
        self._slots = max(1, self.inner.slots)
        self._free_slots = [None] * self._slots
        self._is_batched = model.is_batched
        self._pace = Pace() if self._paced and self._max_delay_s and model.is_batched else None
        self._has_kinds = not model.inputs or any(None in spec.shape[1:] for spec in model.inputs)
        self._batches = self._requests = self._rows = self._nonfinite_replies = self._isolated = 0
        self.is_open = True

    def close(self) -> None:
        """See `Backend.close`."""
        self.is_open = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            deliver(self._waiting.popleft().done, ExternalError(f"{self.url} was closed before the request was sent"))
        self.inner.close()

    def flush(self) -> None:
        """See `Backend.flush`."""
        if self._waiting and not self._is_pause(self._clock.now_ns()):
            self._send_all()
        self.inner.flush()

    def submit(self, request: Request | Tensors, done: Completion) -> None:
        """See `Backend.submit`."""
        if not self.is_open:
            done.fail(ExternalError(f"{self.url} is not open"))
            return
        inputs = inputs_of(request)
        try:
            rows = self._validator.rows_of_request(inputs)
        except BadRequest as error:
            done.fail(error)
            return
        if rows == 0 and self._is_batched and self._model.outputs:
            done.resolve(Reply(self._validator.empty_outputs(), self._provenance))
            return
        kind = self._kind(inputs) if self._has_kinds else ()
        priority = request.priority if isinstance(request, Request) else 0
        now_ns = self._clock.now_ns()
        if rows <= self._row_limit or not self._is_batched:
            self._waiting.append(Waiting(inputs, rows, kind, done, now_ns, priority))
        else:
            for part, part_rows, part_done in split(inputs, rows, self._row_limit, done):
                self._waiting.append(Waiting(part, part_rows, kind, part_done, now_ns, priority))
        if not self._is_pause(now_ns):
            self._dispatch()
        if self._waiting and self._max_delay_s is not None and self._timer is None:
            self._timer = self._clock.call_later(self._max_delay_s, self._delay_is_over)

    def _is_pause(self, now_ns: int) -> bool:
        """Whether what waits had better go with the next request, or when the next reply comes."""
        pace = self._pace
        return pace is not None and pace.is_pause(len(self._waiting), self._slots - len(self._free_slots), now_ns)

    def _kind(self, inputs: Tensors) -> tuple[Any, ...]:
        """Return what must be equal for requests to share a batch, where the model leaves it free."""
        if self._model.inputs:
            return tuple(inputs[spec.name].shape[1:] for spec in self._model.inputs)
        return tuple((name, inputs[name].dtype, inputs[name].shape[1:]) for name in sorted(inputs))

    def _delay_is_over(self) -> None:
        self._timer = None
        self._send_all()
        self.inner.flush()

    def _send_all(self) -> None:
        """Send what waits, also to a server whose slots are all taken."""
        if self._max_delay_s is not None and self._waiting:
            self._overdue = True
            self._dispatch()

    def _dispatch(self) -> None:
        """Send what can be sent. Whoever adds a request or frees a slot calls this afterwards."""
        while self._waiting and (self._free_slots or self._overdue):
            if not self._sending.acquire(blocking=False):
                return  # who holds it looks again after releasing
            try:
                if self._overdue:
                    self._overdue = False
                    while self._waiting:
                        self._send(takes_slot=bool(self._free_slots))
                while self._waiting and self._free_slots:
                    self._send(takes_slot=True)
            finally:
                self._sending.release()

    def _send(self, *, takes_slot: bool) -> None:
        members = self._take()
        if not members:
            return
        if takes_slot:
            self._free_slots.pop()
        batch = Batch(self._ended, members, takes_slot, self._clock.now_ns())
        if self._pace is not None:
            self._pace.sent(batch.sent_ns)
        try:
            for waiting in members:
                waiting.done.on_cancel(batch)
            self.inner.submit(_request(members), batch)
        except BaseException as error:
            batch.fail(error)

    def _take(self) -> list[Waiting]:
        """Take the next batch from the queue: a fair share of it for each slot, within the limits."""
        waiting, now_ns = self._waiting, self._clock.now_ns()
        share = len(waiting) if self._pace is not None else -(-len(waiting) // self._slots)
        limit = self._rows_together()
        members: list[Waiting] = []
        rows = 0
        while waiting and len(members) < share:
            first = waiting.popleft()
            deadline_ns = first.done.deadline_ns
            if first.done.is_done:
                continue
            if deadline_ns is not None and deadline_ns <= now_ns:
                late = f"{self.url}: the deadline passed while the request waited for its turn"
                deliver(first.done, DeadlineExceeded(late))
                continue
            if members and (first.is_alone or rows + first.rows > limit or first.kind != members[0].kind):
                waiting.appendleft(first)
                break
            members.append(first)
            rows += first.rows
            if first.is_alone or not self._is_batched:
                break
        return members

    def _rows_together(self) -> int:
        """Return how many rows may share a batch; one before the first batch was measured."""
        if self._pace is not None:
            return min(self._row_limit, self._pace.rows)
        if self._gather_s is None:
            return self._row_limit
        return min(self._row_limit, int(self._gather_s * 1e9 / self._row_ns)) if self._row_ns else 1

    def _ended(self, batch: Batch, reply: Reply, error: BaseException | None) -> None:
        members = batch.members
        rows = members[0].rows if len(members) == 1 else sum(waiting.rows for waiting in members)
        outcomes: list[Reply | BaseException]
        if error is None:
            try:
                self._measure(batch, reply, rows)
                if not self._paced:  # what speaks with servers has looked at it
                    self._validator.check_reply(reply.outputs, rows)
                outcomes = self._scattered(batch, reply, rows)
            except Exception as bad:
                error = bad
        if error is not None:
            outcomes = [error] * len(members)
        again = members if error is not None and self._is_worth_isolating(error, members) else []
        with self._counting:
            self._batches += 1
            self._requests += len(members)
            self._rows += rows
            self._isolated += len(again)
        for waiting in reversed(again):
            waiting.is_alone = True
            self._waiting.appendleft(waiting)
        if batch.has_slot:
            self._free_slots.append(None)
        if error is None:
            self._dispatch()  # the inner backend has work again before anybody looks at the results
        if not again:
            for waiting, outcome in zip(members, outcomes, strict=True):
                deliver(waiting.done, outcome)
        if error is not None:
            self._dispatch()  # whoever fails may give up other requests, which need not be sent then

    def _is_worth_isolating(self, error: BaseException, members: list[Waiting]) -> bool:
        return self._isolate and self.is_open and len(members) > 1 and not isinstance(error, _NOT_THE_REQUESTS_FAULT)

    def _measure(self, batch: Batch, reply: Reply, rows: int) -> None:
        if self._pace is not None:
            self._pace.answered(batch.sent_ns, rows, self._clock.now_ns())
        row_ns = reply.times.compute_ns / max(1, rows)
        self._row_ns = 0.8 * self._row_ns + 0.2 * row_ns if self._row_ns else row_ns

    def _scattered(self, batch: Batch, reply: Reply, rows: int) -> list[Reply | BaseException]:
        """Return each request's outcome; the outputs are views into the batch's."""
        bad = nonfinite_names(reply.outputs) if self._nonfinite != "pass" else ()
        times = reply.times
        outcomes: list[Reply | BaseException] = []
        first = 0
        for waiting in batch.members:
            outputs, flagged = reply.outputs, reply.nonfinite
            if len(batch.members) > 1:
                outputs = {name: array[first : first + waiting.rows] for name, array in outputs.items()}
                first += waiting.rows
            if bad:
                flagged = nonfinite_names({name: outputs[name] for name in bad})
                with self._counting:
                    self._nonfinite_replies += bool(flagged)
            if flagged and self._nonfinite == "fail":
                outcomes.append(BadReply(f"reply of {self.url}: NaN or infinity in {', '.join(flagged)}"))
                continue
            queue_ns = batch.sent_ns - waiting.since_ns + times.queue_ns
            split_times = times.shared(queue_ns, times.batch_rows or rows)
            outcomes.append(Reply(outputs, reply.provenance, split_times, flagged))
        return outcomes


def _request(members: list[Waiting]) -> Request | Tensors:
    if len(members) == 1:
        inputs, priority = members[0].inputs, members[0].priority
    else:
        inputs = {name: np.concatenate([waiting.inputs[name] for waiting in members]) for name in members[0].inputs}
        priority = max(waiting.priority for waiting in members)
    return Request(inputs, priority=priority) if priority else inputs
