"""``record("FILE", backend)``: keeps what a backend was asked and what it answered in a file."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from typing import Any

import numpy as np

from evtfw.core.completion import CallbackCompletion, Completion
from evtfw.core.errors import DeadlineExceeded
from evtfw.core.resource import JobContext
from evtfw.external.contract import Backend, ModelDescription, Recipe, Reply, Request, Tensors, inputs_of
from evtfw.external.delivery import deliver
from evtfw.external.nested import read_url
from evtfw.external.traffic.messages import error_fields, model_head, provenance_fields
from evtfw.external.traffic.tensors import Signature, pack, request_key
from evtfw.external.traffic.writer import TrafficWriter
from evtfw.external.urls import OptionReader, make_backend, parse_url


def record(path: str, backend: str | Backend | Recipe) -> Record:
    """Return a backend value for a configuration: ask ``backend``, and keep requests and replies in a file.

    Args:
        path: the file, which `evtfw.external.traffic.replay.replay` reads; complete at the end of the job.
        backend: URL or value.

    >>> record("traffic.evtrec", "cpu:toptag")
    record('traffic.evtrec', 'cpu:toptag')
    """
    return Record(path, backend)


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Record:
    """What `record` returns; a `Recipe`."""

    path: str
    backend: str | Backend | Recipe

    def make(self) -> RecordBackend:
        """Make the backend. Raises ValueError as `make_backend` does."""
        return RecordBackend(self.path, make_backend(self.backend), url=repr(self))

    def __repr__(self) -> str:
        return f"record({self.path!r}, {self.backend!r})"


class RecordBackend(Backend):
    """Passes requests on, and keeps a digest of each with its reply or error and the time it took.

    The URL is ``record:FILE?of=URL``; an ampersand, a plus (but in the scheme) and a percent sign in the inner URL are
    written ``%26``, ``%2B`` and ``%25``. The file is written by a thread of its own; while it grows it has a name that
    ends in ``.part``. If the disk is full, the job goes on and fails at its end.

    Args:
        path: the file.
        inner: answers; opened and closed with this one.
        url: for messages.
    """

    def __init__(self, path: str, inner: Backend, *, url: str = "") -> None:
        self.url = url or f"record:{path}"
        self._path = path
        self._inner = inner
        self._writer: TrafficWriter | None = None

    @classmethod
    def from_url(cls, url: str) -> RecordBackend:
        """See `Backend.from_url`."""
        parsed = parse_url(url)
        options = OptionReader(parsed)
        of = read_url(options, "of")
        options.finish()
        if not parsed.path or parsed.authority or not of:
            raise ValueError(f"'{url}': write record:FILE?of=URL, e.g. 'record:traffic.evtrec?of=cpu:toptag'")
        return cls(parsed.path, make_backend(of), url=url)

    def open(self, context: JobContext) -> None:
        """See `Backend.open`."""
        self._clock, self._say = context.clock, context.say
        self._inner.open(context)
        writer = TrafficWriter(self._path)
        self._writer = writer
        model = self._inner.describe()
        self._model = f"{model.name}/{model.version}"
        head = model_head(model, self._inner.url, self._inner.slots)
        writer.put(lambda: (head, ()), 0)
        self._numbers = itertools.count()

    def close(self) -> None:
        """Close the inner backend and complete the file. Raises OutputError if it could not be written."""
        self._inner.close()
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
            self._say(f"recorded {writer.records - 1} replies in '{self._path}'")

    def flush(self) -> None:
        """See `Backend.flush`."""
        self._inner.flush()

    @property
    def slots(self) -> int:
        """See `Backend.slots`."""
        return self._inner.slots

    @property
    def local_threads(self) -> int:
        """See `Backend.local_threads`."""
        return self._inner.local_threads

    @property
    def summary(self) -> str:
        """See `Backend.summary`."""
        return f"{self._inner.summary}, recorded in '{self._path}'"

    def describe(self) -> ModelDescription:
        """See `Backend.describe`."""
        return self._inner.describe()

    def submit(self, request: Request | Tensors, done: Completion) -> None:
        """See `Backend.submit`."""
        if self._writer is None:
            self._inner.submit(request, done)
            return
        try:
            # They are lent until the reply is there; their digest is made later, by the thread that writes.
            kept = {name: array.copy() for name, array in inputs_of(request).items()}
        except AttributeError:
            self._inner.submit(request, done)  # which says what is wrong with it
            return
        self._inner.submit(request, _Recorded(self, self._writer, kept, done, next(self._numbers)))


class _Recorded(CallbackCompletion):
    """A request in flight: passes on what becomes of it, after it was handed to the writer."""

    __slots__ = ("_backend", "_inputs", "_number", "_since_ns", "_writer")

    def __init__(
        self, backend: RecordBackend, writer: TrafficWriter, inputs: Tensors, done: Completion, number: int
    ) -> None:
        super().__init__(_nothing, parent=done)  # a callback of its own would keep it alive
        self._backend = backend
        self._writer = writer
        self._inputs = inputs
        self._number = number
        self._since_ns = backend._clock.now_ns()

    def cancel(self) -> None:
        """Keep that there was no reply for so long, and give up."""
        try:
            self._guard.pop()  # whoever gets it ends the request
        except IndexError:
            pass
        else:
            waited_s = (self._backend._clock.now_ns() - self._since_ns) * 1e-9
            error = DeadlineExceeded(f"no reply had come after {waited_s:.3f} s, when the request was given up")
            self._keep(error, may_wait=False)
        super().cancel()

    def _keep(self, outcome: Reply | BaseException, *, may_wait: bool = True) -> None:
        took_ns = self._backend._clock.now_ns() - self._since_ns
        size_bytes = sum(array.nbytes for array in self._inputs.values())
        if isinstance(outcome, Reply):
            size_bytes += sum(array.nbytes for array in outcome.outputs.values())
        make = functools.partial(_record, self._backend._model, self._inputs, outcome, self._number, took_ns)
        self._writer.put(make, size_bytes, may_wait=may_wait)
        self._inputs = {}

    def _finish(self, reply: Any, error: BaseException | None) -> bool:
        try:
            self._guard.pop()
        except IndexError:
            return False
        outcome = reply if error is None else error
        self._keep(outcome)
        if self.parent is not None:
            deliver(self.parent, outcome)
        return True


def _nothing(reply: Any, error: BaseException | None) -> None:
    """What is to be done is in `_Recorded._finish`."""


def _record(
    model: str, inputs: Tensors, outcome: Reply | BaseException, number: int, took_ns: int
) -> tuple[dict[str, Any], list[bytes | memoryview]]:
    signature, parts = pack(inputs)
    head: dict[str, Any] = {
        "kind": "reply",
        "key": request_key(model, signature, parts),
        "number": number,
        "took_ns": took_ns,
        "request": signature,
    }
    if not isinstance(outcome, Reply):
        return head | error_fields(outcome), []
    outputs, body = _packed(outcome)
    provenance = provenance_fields(outcome.provenance)
    return head | {
        "outputs": outputs,
        "provenance": provenance,
        "times": outcome.times,
        "nonfinite": outcome.nonfinite,
    }, body


def _packed(reply: Reply) -> tuple[Signature, list[bytes | memoryview]]:
    signature: Signature = []
    body: list[bytes | memoryview] = []
    for name, array in reply.outputs.items():
        part_signature, part = pack({name: np.asarray(array)})
        signature += part_signature
        body += part
    return signature, body
