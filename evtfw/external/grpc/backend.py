"""`GrpcBackend`: what every backend that speaks gRPC shares. A subclass says how its messages are written and read."""

from __future__ import annotations

import abc
import concurrent.futures
import dataclasses
import itertools
import threading
import uuid
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from evtfw.core.clock import Clock
from evtfw.core.completion import Completion
from evtfw.core.errors import (
    BadReply,
    BadRequest,
    Cancelled,
    ConfigurationError,
    DeadlineExceeded,
    EvtfwError,
    ExternalError,
    ServerUnavailable,
)
from evtfw.core.resource import JobContext
from evtfw.external.contract import (
    Backend,
    ModelDescription,
    Provenance,
    Reply,
    Request,
    Tensors,
    Times,
    inputs_of,
)
from evtfw.external.delivery import deliver
from evtfw.external.errors import AccessDenied, Overloaded
from evtfw.external.grpc.bridge import Call, GivenUp, SharedChannel, bridge
from evtfw.external.grpc.options import GrpcOptions
from evtfw.external.grpc.status import error_of
from evtfw.external.grpc.transport import StatusError, in_callback
from evtfw.external.urls import BackendUrl, OptionReader
from evtfw.external.validate import Validator

Piece: TypeAlias = bytes | bytearray | memoryview | NDArray[Any]
Payload: TypeAlias = bytes | Sequence[Piece]
"""A message, or the pieces that make it up when joined; C-contiguous arrays stand for their bytes."""

E = TypeVar("E", bound=ExternalError)

CLOSE_S = 5.0
"""How long `GrpcBackend.close` waits for gRPC to give up what is on its way."""

_NOT_SERVING = b"\x08\x02"
_PREFIX = f"{uuid.uuid4().hex[:12]}-"
_numbers = itertools.count(1)


class Decoded(NamedTuple):
    """What a reply says beyond its arrays; a plain mapping of arrays will do where it says nothing.

    Args:
        outputs: by the names of the model's outputs.
        version: of the model that answered, if it may differ from the description's.
        queue_ns, compute_ns, batch_rows: as in `Times`, in the service.
        held_ns, late_ns, device_ns, device_queue_ns: as in `Times`, of a device that the service emulates.
    """

    outputs: Tensors
    version: str = ""
    queue_ns: int = 0
    compute_ns: int = 0
    batch_rows: int = 0
    held_ns: int = 0
    late_ns: int = 0
    device_ns: int = 0
    device_queue_ns: int = 0


class GrpcBackend(Backend):
    """A model behind one gRPC server. Subclasses define `method`, `encode`, `decode` and `model` or `connect`.

    All backends of a process share one connection per server, with one thread that takes its replies. Requests and
    replies are checked against the model's description; deadlines, cancellation, security and errors are taken care of.

    Args:
        authority: host and port of the server.
        url: for messages and provenance.
        options: security, limits and waiting.
    """

    method: ClassVar[str]
    """What is called for a request: ``/package.Service/Method``."""

    model: ModelDescription = ModelDescription("")
    """What the server serves, where `connect` does not ask the server."""

    def __init__(self, authority: str, *, url: str, options: GrpcOptions = GrpcOptions()) -> None:  # noqa: B008 (frozen)
        self.url = url
        self.authority = authority
        self.options = options
        self._metadata = options.metadata()
        self._lock = threading.Lock()
        self._channel: SharedChannel | None = None
        self._validator: Validator | None = None
        self._in_flight: dict[_Exchange, None] = {}
        self._all_ended = threading.Condition(self._lock)

    @classmethod
    def from_url(cls, url: str) -> Backend:
        """Make it from ``SCHEME://HOST:PORT/…``; TLS where the scheme ends with an s.

        Several servers may stand in the URL, separated by commas; see `evtfw.external.routing.remote.remote_backend`.
        """
        from evtfw.external.routing.remote import remote_backend

        return remote_backend(url, cls.client)

    @classmethod
    def client(cls, authority: str, url: BackendUrl, reader: OptionReader) -> GrpcBackend:
        """Make the backend of one server among those of an URL. Subclasses that read more of the URL override this.

        Raises:
            ValueError: with a message for the user.
        """
        options = GrpcOptions.read(reader, is_tls=url.scheme.endswith("s"))
        return cls(authority, url=str(url), options=options)

    @abc.abstractmethod
    def encode(self, request: Request) -> Payload:
        """Write the message of a request that was checked; its ``id`` is filled in. Called in any thread.

        Raises:
            BadRequest: it cannot be written.
        """

    @abc.abstractmethod
    def decode(self, message: bytes, request: Request) -> Decoded | Tensors:
        """Read the reply to a request. Arrays may be views into the message. Called in the connection's thread.

        Raises:
            BadReply: it cannot be read, or belongs to another request.
        """

    def connect(self) -> ModelDescription:
        """Find out what the server serves, with `call_now`; `open` calls it. By default, ask for its health.

        Raises:
            ExternalError: it cannot serve.
        """
        try:
            health = self.call_now("/grpc.health.v1.Health/Check", b"")
        except (AccessDenied, DeadlineExceeded, Overloaded):
            raise
        except ExternalError as error:
            if error.__class__ is ServerUnavailable:
                raise
            return self.model  # it answers, but has nothing to say about its health
        if health == _NOT_SERVING:
            raise ServerUnavailable(f"{self.url}: {self.authority} says that it does not serve now")
        return self.model

    def call_now(self, method: str, payload: Payload, timeout_s: float | None = None) -> bytes:
        """Call any method of the server and wait for the reply, for `connect`.

        Args:
            method: ``/package.Service/Method``.
            payload: the message.
            timeout_s: `GrpcOptions.connect_timeout_s` if not given.

        Raises:
            ExternalError: of the kind that the status means.
        """
        if in_callback():
            raise ExternalError(f"{self.url}: the thread that takes replies cannot wait for another one")
        limit_s = self.options.connect_timeout_s if timeout_s is None else timeout_s
        call = _Errand(self._connected(), method, self._joined(payload), timeout_s=limit_s, metadata=self._metadata)
        call.start()
        message, error = call.outcome.result()
        if error is not None:
            raise self._meaning(error)
        return message

    def open(self, context: JobContext) -> None:
        """See `Backend.open`."""
        if self._channel is not None:
            raise ConfigurationError(f"{self.url} is open already: give each job its own backend object, or the URL")
        self._clock: Clock = context.clock
        self._channel = bridge.connect(self.authority, self.options)
        try:
            description = self.connect()
        except DeadlineExceeded as error:
            self.close()
            limit_s = self.options.connect_timeout_s
            raise ServerUnavailable(f"{self.url}: {self.authority} does not answer within {limit_s:g} s") from error
        except BaseException:
            self.close()
            raise
        self._description = description
        self._provenance = Provenance(
            self.url, self.authority, description.name, description.version, description.sha256
        )
        self._validator = Validator(description, self.url)

    def close(self) -> None:
        """Fail what is on its way and let go of the connection."""
        self._validator = None
        for exchange in list(self._in_flight):
            exchange.cancel()
        if not in_callback():
            with self._lock:
                self._all_ended.wait_for(lambda: not self._in_flight, CLOSE_S)
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.release()

    def describe(self) -> ModelDescription:
        """See `Backend.describe`."""
        if self._validator is None:
            raise ExternalError(f"{self.url} is not open yet")
        return self._description

    def submit(self, request: Request | Tensors, done: Completion) -> None:
        """See `Backend.submit`."""
        validator, channel = self._validator, self._channel
        if validator is None or channel is None:
            done.fail(ExternalError(f"{self.url} is not open"))
            return
        try:
            exchange = self._prepared(request, done, validator, channel)
        except EvtfwError as error:
            deliver(done, error)
            return
        except Exception as error:
            deliver(done, _caused(ExternalError(f"{self.url}: cannot write the request: {_words(error)}"), error))
            return
        self._in_flight[exchange] = None
        done.on_cancel(exchange)
        exchange.start()

    def _prepared(
        self, request: Request | Tensors, done: Completion, validator: Validator, channel: SharedChannel
    ) -> _Exchange:
        """Check a request and write its message."""
        start_ns = self._clock.now_ns()
        timeout_s = done.remaining_s(self._clock)
        if timeout_s == 0.0:
            raise DeadlineExceeded(f"{self.url}: the deadline passed before the request was sent")
        inputs = inputs_of(request)
        rows = validator.rows_of_request(inputs)
        if request.__class__ is not Request or not request.id:
            request = Request(inputs, f"{_PREFIX}{next(_numbers)}", getattr(request, "priority", 0))
        exchange = _Exchange(
            channel,
            self.method,
            self._joined(self.encode(request)),
            timeout_s=self.options.default_timeout_s if timeout_s is None else timeout_s,
            metadata=self._metadata,
        )
        exchange.backend, exchange.done, exchange.request, exchange.rows = self, done, request, rows
        exchange.sent_ns = self._clock.now_ns()
        exchange.encode_ns = exchange.sent_ns - start_ns
        return exchange

    def _outcome(
        self, exchange: _Exchange, message: bytes | None, error: BaseException | None
    ) -> Reply | BaseException:
        """Make what the completion ends with."""
        if message is None:
            return self._meaning(error)
        arrived_ns = self._clock.now_ns()
        try:
            decoded = self.decode(message, exchange.request)
            if not isinstance(decoded, Decoded):
                decoded = Decoded(decoded)
            if self._validator is not None:
                self._validator.check_reply(decoded.outputs, exchange.rows)
        except EvtfwError as wrong:
            return wrong
        except Exception as wrong:
            return _caused(BadReply(f"{self.url}: cannot read the reply: {_words(wrong)}"), wrong)
        provenance = self._provenance
        if decoded.version and decoded.version != provenance.version:
            provenance = dataclasses.replace(provenance, version=decoded.version, sha256="")
        in_service_ns = decoded.queue_ns + decoded.compute_ns + decoded.held_ns
        times = Times(
            serialise_ns=exchange.encode_ns + self._clock.now_ns() - arrived_ns,
            network_ns=max(0, arrived_ns - exchange.sent_ns - in_service_ns),
            queue_ns=decoded.queue_ns,
            compute_ns=decoded.compute_ns,
            batch_rows=decoded.batch_rows,
            held_ns=decoded.held_ns,
            late_ns=decoded.late_ns,
            device_ns=decoded.device_ns,
            device_queue_ns=decoded.device_queue_ns,
        )
        return Reply(decoded.outputs, provenance, times)

    def _ended(self, exchange: _Exchange) -> None:
        self._in_flight.pop(exchange, None)
        if self._validator is None and not self._in_flight:  # somebody waits in close()
            with self._lock:
                self._all_ended.notify_all()

    def _meaning(self, error: BaseException | None) -> ExternalError:
        """Return the framework's error for what gRPC raised."""
        if isinstance(error, StatusError):
            return _caused(error_of(error.code(), error.details(), self.url), error)
        if isinstance(error, GivenUp):
            if self._validator is None:
                return ExternalError(f"{self.url} was closed before it answered")
            return Cancelled(f"{self.url}: the request was given up")
        return _caused(ExternalError(f"{self.url}: gRPC failed: {_words(error)}"), error)

    def _joined(self, payload: Payload) -> bytes:
        """Return the message in one piece, if it is not too large."""
        if isinstance(payload, bytes):
            size_bytes = len(payload)
        else:
            size_bytes = sum([p.nbytes if isinstance(p, (np.ndarray, memoryview)) else len(p) for p in payload])
        if size_bytes > self.options.max_message_bytes:
            raise BadRequest(
                f"{self.url}: the request of {size_bytes} bytes is larger than the service takes "
                f"(max_message_bytes={self.options.max_message_bytes}); send smaller batches (max_batch)"
            )
        return payload if isinstance(payload, bytes) else b"".join(cast("Sequence[bytes]", payload))

    def _connected(self) -> SharedChannel:
        if self._channel is None:
            raise ExternalError(f"{self.url} is not open")
        return self._channel


class _Exchange(Call):
    """A request of a module and who waits for its reply."""

    __slots__ = ("backend", "done", "encode_ns", "request", "rows", "sent_ns")

    backend: GrpcBackend
    done: Completion
    request: Request
    rows: int
    sent_ns: int
    encode_ns: int

    def ended(self, message: bytes | None, error: BaseException | None) -> None:
        """See `Call.ended`."""
        if not self.done.is_done:
            try:
                outcome = self.backend._outcome(self, message, error)
            except BaseException as unexpected:
                outcome = unexpected
            deliver(self.done, outcome)
        self.backend._ended(self)


class _Errand(Call):
    """A call that somebody waits for."""

    __slots__ = ("outcome",)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.outcome: concurrent.futures.Future[tuple[bytes, BaseException | None]] = concurrent.futures.Future()

    def ended(self, message: bytes | None, error: BaseException | None) -> None:
        """See `Call.ended`."""
        self.outcome.set_result((message or b"", error))


def _words(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {error}"


def _caused(error: E, cause: BaseException | None) -> E:
    error.__cause__ = cause
    return error
