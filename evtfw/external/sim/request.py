"""A request on its way through a simulated service."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from evtfw.core.completion import CallbackCompletion, Completion
from evtfw.core.errors import BadReply, CompletionDropped, DeadlineExceeded, EvtfwError, ExternalError
from evtfw.core.simulation import REAL_WAIT_S
from evtfw.external.contract import Reply, Request, Tensors, Times, inputs_of
from evtfw.external.delivery import deliver
from evtfw.external.sim.faults import NEVER_NS
from evtfw.external.sim.server import Job, Servers
from evtfw.external.validate import nonfinite_names

if TYPE_CHECKING:
    from evtfw.external.sim.backend import SimBackend


class SimRequest(Job):
    """A request in the simulated service, with its values on the way if another backend makes them."""

    __slots__ = ("_answered", "_backend", "_done", "_failure", "_inner_done", "_outcome", "_request", "_rows")

    def __init__(
        self,
        backend: SimBackend,
        servers: Servers,
        request: Request | Tensors,
        done: Completion,
        rows: int,
        failure: str,
        service_ns: int,
    ) -> None:
        priority = request.priority if isinstance(request, Request) else 0
        time_ns = NEVER_NS if failure == "hang" else service_ns
        super().__init__(servers, priority, time_ns, round(backend._model.network_ms * 1e6))
        self._backend = backend
        self._request: Request | Tensors = request
        self._done: Completion | None = done
        self._rows = rows
        self._failure = failure
        self._inner_done: weakref.ref[CallbackCompletion] | None = None  # the inner backend holds it, and may drop it
        self._outcome: Reply | BaseException | None = None
        self._answered = threading.Event() if backend._inner is not None and backend._is_virtual else None

    def is_useless(self, now_ns: int) -> bool:
        """See `Job.is_useless`."""
        done = self._done
        if done is None or done.is_done:
            self.forget()
            return True
        if done.deadline_ns is not None and done.deadline_ns <= now_ns:
            late = f"{self._backend.url}: the deadline passed while the request waited for its turn"
            self.refuse(DeadlineExceeded(late))
            return True
        return False

    def start(self) -> None:
        """Ask the inner backend, if there is one, so that its time does not add to the simulated one."""
        done, inner = self._done, self._backend._inner
        if inner is not None and done is not None and self._failure not in ("hang", "deadline", "drop"):
            inner_done = CallbackCompletion(self._inner_ended, name=done.name, deadline_ns=done.deadline_ns)
            self._inner_done = weakref.ref(inner_done)
            inner.submit(self._request, inner_done)

    def _inner_ended(self, reply: Any, error: BaseException | None) -> None:
        self._outcome = reply if error is None else error
        if self._answered is not None:
            self._answered.set()
        self.servers.post(self._inner_came)

    def _inner_came(self) -> None:
        if self.state == "due":
            self.state = "over"
            self._deliver()

    def answer(self) -> None:
        """See `Job.answer`."""
        if self._inner_done is None or self._outcome is not None:
            self._deliver()
        elif self._answered is not None:
            # Virtual time does not pass while the inner backend computes in real time.
            if not self._answered.wait(REAL_WAIT_S):
                self._outcome = ExternalError(f"{self._backend.url}: no reply within {REAL_WAIT_S:g} s of real time")
            self._deliver()
        else:
            self.state = "due"

    def _deliver(self) -> None:
        if self._failure == "drop":
            self._backend._count(CompletionDropped())
            self._done = None  # which is how its owner learns of it
        else:
            self._end(self._made())

    def _made(self) -> Reply | BaseException:
        url = self._backend.url
        if self._failure == "deadline":
            return DeadlineExceeded(f"{url}: the service took too long, as was asked for")
        if isinstance(self._outcome, BaseException):
            return self._outcome
        try:
            if self._outcome is not None:
                return self._checked(self._outcome.outputs)
            return self._checked(self._backend._make_outputs(inputs_of(self._request)))
        except EvtfwError as error:
            return error
        except Exception as error:
            failed = ExternalError(f"{url} failed: {type(error).__name__}: {error}")
            failed.__cause__ = error
            return failed

    def _checked(self, outputs: Tensors) -> Reply:
        """Return the reply with these outputs, or raise what a client finds wrong with it."""
        backend = self._backend
        if self._failure == "bad_reply":
            outputs = {name: array[np.newaxis] for name, array in outputs.items()}
        elif self._failure == "nan":
            outputs = {name: _with_nan(array) for name, array in outputs.items()}
        backend._validator.check_reply(outputs, self._rows)
        if self._failure == "bad_reply":
            raise BadReply(f"reply of {backend.url}: wrong shapes, as was asked for")
        flagged = nonfinite_names(outputs) if backend._nonfinite != "pass" else ()
        if flagged and backend._nonfinite == "fail":
            raise BadReply(f"reply of {backend.url}: NaN or infinity in {', '.join(flagged)}")
        times = Times(
            network_ns=self.network_ns,
            queue_ns=self.started_ns - self.arrived_ns,
            compute_ns=self.finished_ns - self.started_ns,
            batch_rows=self._rows,
        )
        return Reply(outputs, backend._provenance, times, flagged)

    def refuse(self, error: EvtfwError) -> None:
        """See `Job.refuse`."""
        self._give_up_inner()
        self._end(error)

    def forget(self) -> None:
        """See `Job.forget`."""
        self._give_up_inner()
        self._backend._count_given_up()
        self._done = None

    def _give_up_inner(self) -> None:
        inner_done = self._inner_done() if self._inner_done is not None else None
        if inner_done is not None:
            inner_done.cancel()

    def _end(self, outcome: Reply | BaseException) -> None:
        done, self._done = self._done, None
        if done is not None:
            self._backend._count(outcome)
            deliver(done, outcome)


def _with_nan(array: Any) -> Any:
    if array.dtype.kind not in "fc" or not array.size:
        return array
    array = array.copy()
    array.flat[0] = np.nan
    return array
