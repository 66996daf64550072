"""A backend made from a function on this machine: it runs in threads of its own, never in those of the job."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeAlias

from evtfw.core.clock import Clock
from evtfw.core.completion import Completion
from evtfw.core.errors import EvtfwError, ExternalError
from evtfw.core.resource import JobContext
from evtfw.external.contract import Backend, ModelDescription, Provenance, Reply, Request, Tensors, Times, inputs_of
from evtfw.external.delivery import deliver

_Work: TypeAlias = tuple[Tensors, Completion, int]


class PooledBackend(Backend):
    """Runs a function in a small pool of daemon threads that sleep while there is nothing to do.

    It trusts its requests and its function: put a `Batcher` around it, which checks both. The function should release
    the interpreter lock; it is called from all threads of the pool at the same time.

    Args:
        run: makes the named outputs from the named inputs.
        description: of what ``run`` does.
        threads: how many requests run at the same time. 0: each runs in `submit`, in the thread that calls it; for a
            virtual clock, which stands still meanwhile.
        name: of the threads: ``evtfw-NAME-N``.
        url: for messages and provenance.
    """

    def __init__(
        self, run: Callable[[Tensors], Tensors], description: ModelDescription, *, threads: int, name: str, url: str
    ) -> None:
        self.url = url
        self._run = run
        self._description = description
        self._provenance = Provenance(
            url, model=description.name, version=description.version, sha256=description.sha256
        )
        self._slots = threads
        self._name = name
        self._work: SimpleQueue[_Work | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._is_open = False

    @property
    def slots(self) -> int:
        """See `Backend.slots`."""
        return max(1, self._slots)

    @property
    def local_threads(self) -> int:
        """See `Backend.local_threads`."""
        return self._slots

    def describe(self) -> ModelDescription:
        """See `Backend.describe`."""
        return self._description

    def open(self, context: JobContext) -> None:
        """See `Backend.open`."""
        self._clock: Clock = context.clock
        self._is_open = True
        try:
            for number in range(self._slots):
                thread = threading.Thread(target=self._serve, name=f"evtfw-{self._name}-{number}", daemon=True)
                thread.start()
                self._threads.append(thread)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let calls that run end, fail what waits, and end the threads."""
        self._is_open = False
        self._fail_waiting()
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        self._fail_waiting()

    def submit(self, request: Request | Tensors, done: Completion) -> None:
        """See `Backend.submit`."""
        if not self._is_open:
            done.fail(ExternalError(f"{self.url} is not open"))
        elif self._slots:
            self._work.put((inputs_of(request), done, self._clock.now_ns()))
        else:
            self._answer(inputs_of(request), done, self._clock.now_ns())

    def _serve(self) -> None:
        while True:
            work = self._work.get()
            if work is None:
                return
            self._answer(*work)
            del work  # an idle thread must not keep a request's arrays alive

    def _answer(self, inputs: Tensors, done: Completion, submitted_ns: int) -> None:
        if done.is_done:
            return
        start_ns = self._clock.now_ns()
        outcome: Reply | BaseException
        try:
            outputs = self._run(inputs)
            times = Times(queue_ns=start_ns - submitted_ns, compute_ns=self._clock.now_ns() - start_ns)
            outcome = Reply(outputs, self._provenance, times)
        except (EvtfwError, MemoryError) as error:
            outcome = error
        except BaseException as error:
            outcome = ExternalError(f"{self.url} failed: {type(error).__name__}: {error}")
            outcome.__cause__ = error
        deliver(done, outcome)

    def _fail_waiting(self) -> None:
        while True:
            try:
                work = self._work.get_nowait()
            except Empty:
                return
            if work is not None:
                deliver(work[1], ExternalError(f"{self.url} was closed before the request's turn came"))
