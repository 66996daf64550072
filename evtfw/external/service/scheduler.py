"""From requests to executions: one queue per model, batches from it, and a free instance for each batch.

Whoever brings news (a request, the end of an execution, somebody giving up, time passing) leaves it in a mailbox and
then does what there is to do, unless another thread is at it already: that one sees the mailbox before it leaves. So
nobody waits for a lock, and a completion that is dropped or ended at any point can call back in safely. Requests are
ended outside, when the next batch is on its way.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from evtfw.core.clock import Clock, Timer
from evtfw.core.completion import Completion
from evtfw.core.errors import BadReply, Cancelled, DeadlineExceeded, ExternalError, ServerUnavailable
from evtfw.external.batch import Batch
from evtfw.external.contract import Backend, Provenance, Reply, Tensors
from evtfw.external.delivery import deliver
from evtfw.external.errors import Overloaded
from evtfw.external.service.admission import Admission
from evtfw.external.service.queue import Queued, RequestQueue
from evtfw.external.service.settings import ServingSettings
from evtfw.external.service.statistics import ModelStatistics, Recorder
from evtfw.external.validate import Validator

_NOT_THE_REQUESTS_FAULT = (ServerUnavailable, DeadlineExceeded, Cancelled)

Outcome: TypeAlias = Reply | BaseException
_Ends: TypeAlias = list[tuple[Completion, Outcome]]


class _Execution(Batch):
    """A batch with what is measured of it."""

    __slots__ = ("input_ns", "number", "queued", "rows")

    def __init__(
        self, number: int, ended: Callable[[Any, Any, BaseException | None], None], queued: list[Queued], now_ns: int
    ) -> None:
        super().__init__(ended, list(queued), has_slot=True, sent_ns=now_ns)
        self.number = number
        self.queued = queued
        self.rows = sum(q.rows for q in queued)
        self.input_ns = 0


class Scheduler:
    """Serves one model.

    Rules: levels are served in their order and within a level the oldest request first; of eight batches one begins
    with the oldest request of all levels. A request is refused at once (`Overloaded`) if its level's queue or the
    memory for waiting arrays is full, or if what is before it is expected to take longer than its deadline allows; it
    is ended (`DeadlineExceeded`) when its time in the queue is over, and when its turn comes so late that not even
    the expected time of its own execution is left. So an overloaded model spends its time on what can still be used.

    Args:
        name: of the model, for messages.
        backend: does the work; open.
        validator: of the model as served.
        settings: limits and batches.
        clock: the service's time.
    """

    def __init__(
        self, name: str, backend: Backend, validator: Validator, settings: ServingSettings, clock: Clock
    ) -> None:
        self.name = name
        self.recorder = Recorder()
        self.instances = settings.instances or max(1, backend.slots)
        self._backend = backend
        self._validator = validator
        self._settings = settings
        self._clock = clock
        model = validator.description
        self._is_batched = model.is_batched
        self._provenance = Provenance(backend.url, model=model.name, version=model.version, sha256=model.sha256)
        self._mailbox: deque[tuple[Any, ...]] = deque()
        self._working = threading.Lock()
        self._queue = RequestQueue(max(1, settings.priority_levels))
        self._turn = 0
        self._timer: Timer | None = None
        self._timer_ns = 0
        max_rows = (model.max_batch_size or 1) if settings.is_batching else 1
        self._admission = Admission(settings, self._queue, self.instances, max_rows)
        # Numbers of executions; not these themselves, or one that the backend drops would not be noticed.
        self._running = self._admission.running
        self._refusal = ""
        self._is_idle: threading.Event | None = None

    # News, from any thread

    def take(self, queued: Queued) -> None:
        """Take a request that fits the model; it will be ended, now or later."""
        queued.give_up = self._given_up
        self._tell(self._arrived, queued)

    def refuse(self, done: Completion, error: BaseException) -> None:
        """Fail a request that does not fit the model, and count it."""
        self._tell(self._not_fitting, done, error)

    def stop(self, why: str, *, fail_waiting: bool = False) -> threading.Event:
        """Take no more requests; they fail with `ServerUnavailable` and this reason.

        Args:
            why: for messages, e.g. ``is draining``.
            fail_waiting: also those that wait.

        Returns:
            Set when nothing waits or runs any more.
        """
        idle = threading.Event()
        self._tell(self._stopped, why, fail_waiting, idle)
        return idle

    def statistics(self) -> ModelStatistics:
        """Return counts of all requests that ended so far."""
        with self._working:
            statistics = self.recorder.statistics()
        self._work()
        return statistics

    @property
    def is_accepting(self) -> bool:
        """Whether it takes requests."""
        return not self._refusal

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._queue)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the arrays that wait."""
        return self._queue.size_bytes

    @property
    def running(self) -> int:
        """How many executions there are now."""
        return len(self._running)

    def _given_up(self, queued: Queued) -> None:
        self._tell(self._cancelled, queued)

    def _ended(self, execution: _Execution, reply: Any, error: BaseException | None) -> None:
        self._tell(self._executed, execution, reply, error, self._clock.now_ns())

    def _tell(self, *news: Any) -> None:
        self._mailbox.append(news)
        self._work()

    def _work(self) -> None:
        ends: _Ends = []
        while self._mailbox and self._working.acquire(blocking=False):
            try:
                while self._mailbox:
                    handle, *what = self._mailbox.popleft()
                    handle(ends, *what)
                    self._execute(ends)
            finally:
                self._working.release()
            for done, outcome in ends:
                deliver(done, outcome)
            ends.clear()

    # What news mean; one thread at a time

    def _arrived(self, ends: _Ends, queued: Queued) -> None:
        done = queued.done
        problem = self._refusal or self._admission.refusal(queued, self._clock.now_ns())
        if problem:
            error = ServerUnavailable(problem) if self._refusal else Overloaded(f"model '{self.name}' {problem}")
            self._end(ends, queued, "reject", error)
            return
        done.on_cancel(queued)
        if done.is_done:
            self._end(ends, queued, "cancel", None)
            return
        self._queue.push(queued)

    def _not_fitting(self, ends: _Ends, done: Completion, error: BaseException) -> None:
        self.recorder.ended("fail", 0)
        ends.append((done, error))

    def _cancelled(self, ends: _Ends, queued: Queued) -> None:
        if self._queue.remove(queued):
            self._end(ends, queued, "cancel", None)

    def _tick(self, ends: _Ends) -> None:
        self._timer = None
        for queued in self._queue.expired(self._clock.now_ns()):
            self._expire(ends, queued)

    def _stopped(self, ends: _Ends, why: str, fail_waiting: bool, idle: threading.Event) -> None:
        self._refusal = f"model '{self.name}' {why}"
        self._is_idle = idle
        if fail_waiting:
            for queued in list(self._queue.in_order(1)):
                self._queue.remove(queued)
                self._end(ends, queued, "reject", ServerUnavailable(self._refusal))

    def _end(self, ends: _Ends, queued: Queued, outcome: str, end: Outcome | None) -> None:
        """Count the end of a request and, if somebody waits for it, note it for delivery."""
        self.recorder.ended(outcome, self._clock.now_ns() - queued.since_ns)
        if end is not None:
            ends.append((queued.done, end))

    def _expire(self, ends: _Ends, queued: Queued) -> None:
        if queued.done.is_done:
            self._end(ends, queued, "cancel", None)
            return
        waited_s = (self._clock.now_ns() - queued.since_ns) * 1e-9
        error = DeadlineExceeded(f"model '{self.name}': the request waited {waited_s:.3g} s, its time is over")
        self._end(ends, queued, "reject", error)

    # Batches

    def _execute(self, ends: _Ends) -> None:
        """Give work to free instances."""
        while self._queue and len(self._running) < self.instances:
            now_ns = self._clock.now_ns()
            batch, due_ns = self._gather(ends, now_ns)
            if not batch:
                self._wake_at(due_ns)
                break
            self._launch(batch, now_ns)
        if self._queue:
            self._wake_at(self._queue.next_expiry_ns())
        elif self._is_idle is not None and not self._running:
            self._is_idle.set()

    def _wake_at(self, due_ns: int | None) -> None:
        if due_ns is None or (self._timer is not None and self._timer_ns <= due_ns):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ns = due_ns
        delay_s = max(0.0, (due_ns - self._clock.now_ns()) * 1e-9)
        self._timer = self._clock.call_later(delay_s, self._time_has_come)

    def _time_has_come(self) -> None:
        self._tell(self._tick)

    def _gather(self, ends: _Ends, now_ns: int) -> tuple[list[Queued], int | None]:
        """Take the next batch out of the queue, or say until when company is waited for."""
        for queued in self._queue.expired(now_ns):
            self._expire(ends, queued)
        self._turn += 1
        late: list[Queued] = []
        batch = self._candidates(now_ns, late)
        if not batch and late:
            batch = [late.pop()]  # if all are late the last may just make it, and the estimate is put to the test
        for queued in late:
            self._queue.remove(queued)
            self._expire(ends, queued)
        if not batch:
            return [], None
        batch, due_ns = self._shaped(batch, now_ns)
        for queued in batch:
            self._queue.remove(queued)
        return batch, due_ns

    def _candidates(self, now_ns: int, late: list[Queued]) -> list[Queued]:
        """Return the requests that could share the next batch, in order."""
        limit = self._admission.rows_of_a_batch()
        waiting = self._queue.rows_before(self._queue.levels)
        batch: list[Queued] = []
        rows = 0
        for queued in self._queue.in_order(self._turn):
            if queued.done.is_done or self._admission.is_late(queued, now_ns, waiting - queued.rows):
                late.append(queued)
                continue
            if batch and (queued.is_alone or rows + queued.rows > limit or queued.kind != batch[0].kind):
                break
            batch.append(queued)
            rows += queued.rows
            if queued.is_alone or rows >= limit:
                break
        return batch

    def _shaped(self, batch: list[Queued], now_ns: int) -> tuple[list[Queued], int | None]:
        """Cut the batch to a preferred size or to a fair share for each instance, or wait for more."""
        settings = self._settings
        if not self._is_batched or not settings.is_batching or batch[0].is_alone:
            return batch[:1], None
        rows, best = 0, 0
        for position, queued in enumerate(batch, 1):
            rows += queued.rows
            if rows in settings.preferred_batch_sizes:
                best = position
        if best:
            return batch[:best], None
        if (
            settings.max_queue_delay_s > 0
            and rows < self._admission.rows_of_a_batch()
            and len(batch) == len(self._queue)
        ):
            oldest = min(queued.since_ns for queued in batch)
            due_ns = oldest + round(settings.max_queue_delay_s * 1e9)
            if due_ns > now_ns and not self._refusal:
                return [], due_ns
        if settings.preferred_batch_sizes or settings.max_queue_delay_s > 0:
            return batch, None
        return batch[: -(-len(self._queue) // self.instances)], None

    def _launch(self, batch: list[Queued], now_ns: int) -> None:
        execution = _Execution(self._turn, self._ended, batch, now_ns)
        self._running[self._turn] = (now_ns, execution.rows)
        try:
            inputs = batch[0].inputs if len(batch) == 1 else _together(batch)
            if len(batch) > 1:
                execution.input_ns = self._clock.now_ns() - now_ns
            for queued in batch:
                queued.done.on_cancel(execution)
            self._backend.submit(inputs, execution)
        except BaseException as error:
            execution.fail(error)

    # Ends of executions

    def _executed(
        self, ends: _Ends, execution: _Execution, reply: Any, error: BaseException | None, now_ns: int
    ) -> None:
        self._running.pop(execution.number, None)
        if error is None:
            try:
                self._validator.check_reply(reply.outputs, execution.rows)
                self._admission.time.add(execution.rows, now_ns - execution.sent_ns)
                self._answer(ends, execution, reply, now_ns)
            except Exception as bad:
                error = bad if isinstance(bad, ExternalError) else BadReply(f"{self._backend.url}: {bad!r}")
        if error is None:
            return
        if len(execution.queued) > 1 and not self._refusal and not isinstance(error, _NOT_THE_REQUESTS_FAULT):
            for queued in reversed(execution.queued):
                queued.is_alone = True
                queued.done.on_cancel(queued)
                if queued.done.is_done:
                    self._end(ends, queued, "cancel", None)
                else:
                    self._queue.push_back(queued)
            return
        for queued in execution.queued:
            is_over = queued.done.is_done
            self._end(ends, queued, "cancel" if is_over else "fail", None if is_over else error)

    def _answer(self, ends: _Ends, execution: _Execution, reply: Reply, now_ns: int) -> None:
        """Hand everybody their rows; the outputs are views into the batch's."""
        members, times = execution.queued, reply.times
        is_shared = len(members) > 1
        compute_ns = times.compute_ns or now_ns - execution.sent_ns - execution.input_ns
        first = answered = answered_rows = 0
        for queued in members:
            outputs = reply.outputs
            if is_shared:
                outputs = {name: array[first : first + queued.rows] for name, array in outputs.items()}
                first += queued.rows
            if queued.done.is_done:
                self._end(ends, queued, "cancel", None)
                continue
            queue_ns = execution.sent_ns - queued.since_ns + times.queue_ns
            own = times._replace(
                queue_ns=queue_ns, compute_ns=compute_ns, batch_rows=times.batch_rows or execution.rows
            )
            self.recorder.waited(queue_ns)
            self._end(ends, queued, "success", Reply(outputs, reply.provenance, own, reply.nonfinite))
            answered, answered_rows = answered + 1, answered_rows + queued.rows
        output_ns = self._clock.now_ns() - now_ns
        self.recorder.executed(execution.rows, answered, answered_rows, (execution.input_ns, compute_ns, output_ns))


def _together(batch: list[Queued]) -> Tensors:
    return {name: np.concatenate([queued.inputs[name] for queued in batch]) for name in batch[0].inputs}
