"""``replay("FILE")``: answers what a file says was answered."""

from __future__ import annotations

import dataclasses
import threading

from evtfw.core.clock import Timer
from evtfw.core.completion import Completion
from evtfw.core.errors import BadRequest, ExternalError
from evtfw.core.resource import JobContext
from evtfw.external.contract import Backend, ModelDescription, Reply, Request, Tensors, inputs_of
from evtfw.external.delivery import deliver
from evtfw.external.traffic.reader import TrafficFile
from evtfw.external.traffic.tensors import NotRecordable, Signature, pack, request_key
from evtfw.external.urls import OptionReader, parse_url
from evtfw.external.validate import Validator


def replay(path: str, *, latencies: bool = False) -> Replay:
    """Return a backend value for a configuration: answer as a file of `evtfw.external.traffic.record.record` says.

    Args:
        path: the file.
        latencies: let each reply take as long as it did, on the job's clock; else it is there at once.

    >>> replay("traffic.evtrec", latencies=True)
    replay('traffic.evtrec', latencies=True)
    """
    return Replay(path, latencies)


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Replay:
    """What `replay` returns; a `Recipe`."""

    path: str
    latencies: bool = False

    def make(self) -> ReplayBackend:
        """Make the backend."""
        return ReplayBackend(self.path, latencies=self.latencies, url=repr(self))

    def __repr__(self) -> str:
        return f"replay({self.path!r}{', latencies=True' if self.latencies else ''})"


class ReplayBackend(Backend):
    """Finds each request's reply by what was asked, in any order and from any number of streams.

    The URL is ``replay:FILE``, with ``?latencies=1`` to let replies take as long as they did. Outputs are bit for bit
    those that were recorded, errors are repeated. If a request was made several times, the replies come in the order of
    then, and the last again and again. A request that was not recorded fails with what is different about it.

    Args:
        path: the file.
        latencies: as in `replay`.
        url: for messages and provenance.
    """

    def __init__(self, path: str, *, latencies: bool = False, url: str = "") -> None:
        self.url = url or f"replay:{path}"
        self._path = path
        self._latencies = latencies
        self._file: TrafficFile | None = None
        self._given: dict[str, int] = {}
        self._lock = threading.RLock()
        self._on_their_way: set[_Delayed] = set()

    @classmethod
    def from_url(cls, url: str) -> ReplayBackend:
        """See `Backend.from_url`."""
        parsed = parse_url(url)
        options = OptionReader(parsed)
        latencies = options.choice("latencies", "0", ("0", "1")) == "1"
        options.finish()
        if not parsed.path or parsed.authority:
            raise ValueError(f"'{url}': write replay:FILE, e.g. 'replay:traffic.evtrec'")
        return cls(parsed.path, latencies=latencies, url=url)

    def open(self, context: JobContext) -> None:
        """See `Backend.open`."""
        self._clock = context.clock
        self.close()
        file = TrafficFile(self._path, self.url)
        if not file.is_complete:
            context.say(f"'{self._path}' was not completed; its first {file.count} replies are replayed")
        self._given = {}
        self._model = file.model or ModelDescription("")
        self._validator = Validator(self._model, self.url)
        self._file = file

    def close(self) -> None:
        """See `Backend.close`."""
        with self._lock:
            waiting, self._on_their_way = self._on_their_way, set()
        for delayed in waiting:
            delayed.refuse(ExternalError(f"{self.url} was closed before the reply was due"))
        file, self._file = self._file, None
        if file is not None:
            file.close()

    @property
    def slots(self) -> int:
        """As many as the recorded backend had."""
        return self._file.slots if self._file is not None else 1

    @property
    def summary(self) -> str:
        """See `Backend.summary`."""
        if self._file is None:
            return self.url
        return f"{self._file.count} replies of {self._file.backend} in '{self._path}'"

    def describe(self) -> ModelDescription:
        """Return what was served when it was recorded."""
        if self._file is None:
            raise ExternalError(f"{self.url} is not open yet")
        return self._model

    def submit(self, request: Request | Tensors, done: Completion) -> None:
        """See `Backend.submit`."""
        file = self._file
        if file is None:
            done.fail(ExternalError(f"{self.url} is not open"))
            return
        inputs = inputs_of(request)
        try:
            signature, parts = pack(inputs)
        except (NotRecordable, AttributeError, TypeError) as error:
            done.fail(self._misfit(inputs) or BadRequest(f"request to {self.url}: {error}"))
            return
        key = request_key(f"{self._model.name}/{self._model.version}", signature, parts)
        found = file.replies(key)
        if not found:
            done.fail(self._unknown(file, inputs, signature))
            return
        with self._lock:
            number = self._given.get(key, 0)
            self._given[key] = number + 1
        record = found[min(number, len(found) - 1)]
        outcome = file.outcome(record, with_times=self._latencies)
        if self._latencies:
            self._deliver_later(done, outcome, max(0.0, record.head["took_ns"] * 1e-9))
        else:
            deliver(done, outcome)

    def _deliver_later(self, done: Completion, outcome: Reply | ExternalError, delay_s: float) -> None:
        delayed = _Delayed(self, done, outcome)
        with self._lock:
            self._on_their_way.add(delayed)
        done.on_cancel(delayed)
        delayed.timer = self._clock.call_later(delay_s, delayed.deliver)

    def _misfit(self, inputs: Tensors) -> BadRequest | None:
        try:
            self._validator.rows_of_request(inputs)
        except BadRequest as error:
            return error
        return None

    def _unknown(self, file: TrafficFile, inputs: Tensors, signature: Signature) -> ExternalError:
        return self._misfit(inputs) or ExternalError(file.unknown(signature))

    def _leaves(self, delayed: _Delayed) -> bool:
        with self._lock:
            if delayed not in self._on_their_way:
                return False
            self._on_their_way.discard(delayed)
            return True


class _Delayed:
    """A reply that is due later."""

    __slots__ = ("__weakref__", "_backend", "_done", "_outcome", "timer")

    def __init__(self, backend: ReplayBackend, done: Completion, outcome: Reply | ExternalError) -> None:
        self._backend = backend
        self._done = done
        self._outcome = outcome
        self.timer: Timer | None = None

    def deliver(self) -> None:
        """It is due."""
        if self._backend._leaves(self):
            deliver(self._done, self._outcome)

    def refuse(self, error: ExternalError) -> None:
        """It will not be due any more."""
        if self.timer is not None:
            self.timer.cancel()
        deliver(self._done, error)

    def cancel(self) -> None:
        """Nobody waits for it."""
        if self._backend._leaves(self) and self.timer is not None:
            self.timer.cancel()
