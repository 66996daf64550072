"""The gRPC server: an event loop in a thread of its own.

gRPC's other kind of server keeps a thread for each request that waits for a model. Here a request that waits is only a
suspended function, which a cancelled call ends at once.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Self

import grpc
import grpc.aio

from evtfw.core.errors import ConfigurationError, InternalError
from evtfw.external.loops import new_event_loop
from evtfw.external.service.endpoint.calls import UNAUTHENTICATED, UNKNOWN, Gate, unary
from evtfw.external.service.endpoint.completions import Handover
from evtfw.external.service.endpoint.control import PREFIX, Control
from evtfw.external.service.endpoint.health import health_behaviour
from evtfw.external.service.endpoint.infer import Inference
from evtfw.external.service.endpoint.predict import Prediction
from evtfw.external.service.endpoint.regions import Regions
from evtfw.external.service.endpoint.security import Security
from evtfw.external.service.endpoint.stream import stream_handler
from evtfw.external.service.wire.limits import Limits

if TYPE_CHECKING:
    from evtfw.external.service.service import Service

_HANDSHAKE_S: Final = 10
_START_S: Final = 30.0
_STOP_S: Final = 10.0


class Endpoint:
    """Offers a service to clients of the KServe v2 protocol, as Triton speaks it.

    Args:
        service: started and closed by whoever made it.
        address: ``HOST:PORT`` to listen on, port 0 for any free one; or ``unix:PATH``. See
            `evtfw.external.service.endpoint.security.check_address` for which are wise.
        security: TLS and token; nothing if left out.
        limits: of requests and calls.
        shared_memory: whether clients of this machine may hand over tensors in shared memory.
        may_load: whether clients may load and unload models, if the service can.
    """

    def __init__(
        self,
        service: Service,
        address: str = "127.0.0.1:0",
        *,
        security: Security | None = None,
        limits: Limits | None = None,
        shared_memory: bool = False,
        may_load: bool = False,
    ) -> None:
        self._service = service
        self._address = address
        self._security = security or Security()
        self._limits = limits or Limits()
        self._regions = Regions(self._limits) if shared_memory else None
        self._may_load = may_load
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._started = threading.Event()
        self._error: BaseException | None = None
        self._port = 0
        self._is_running = False
        self._grace_s = 0.0

    @property
    def port(self) -> int:
        """The port it listens on; known once started."""
        return self._port

    @property
    def address(self) -> str:
        """Where clients reach it; known once started."""
        return (
            self._address if self._address.startswith("unix:") else f"{self._address.rpartition(':')[0]}:{self._port}"
        )

    def start(self) -> None:
        """Listen.

        Raises:
            ConfigurationError: the address cannot be listened on, or a certificate cannot be used.
        """
        credentials = self._security.credentials()
        self._started.clear()
        self._error = None
        self._thread = threading.Thread(target=self._run, args=(credentials,), name="evtfw-endpoint", daemon=True)
        self._thread.start()
        if not self._started.wait(_START_S):
            raise InternalError("the gRPC server did not start")
        self._thread.join(0 if self.is_running else _STOP_S)
        self._raise_error()

    def stop(self, grace_s: float = 0.0) -> None:
        """Refuse new calls, give those that run ``grace_s`` seconds, and end. Harmless if it does not run."""
        thread, loop = self._thread, self._loop
        if thread is None or loop is None:
            return
        self._grace_s = grace_s
        loop.call_soon_threadsafe(self._stopping.set)
        thread.join(grace_s + _STOP_S)
        self._thread = self._loop = None

    @property
    def is_running(self) -> bool:
        """Whether it listens."""
        return self._is_running

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self, credentials: Any) -> None:
        try:
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                runner.run(self._serve(credentials))
        except BaseException as error:
            self._error = error
        finally:
            self._started.set()

    async def _serve(self, credentials: Any) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        server = grpc.aio.server(options=_options(self._limits))
        server.add_generic_rpc_handlers((_Methods(self._handlers(), self._security),))
        try:
            if credentials is None:
                self._port = server.add_insecure_port(self._address)
            else:
                self._port = server.add_secure_port(self._address, credentials)
        except RuntimeError:
            raise ConfigurationError(
                f"cannot listen on '{self._address}': the address is wrong or in use, or the certificate does not fit"
            ) from None
        await server.start()
        self._is_running = True
        self._started.set()
        try:
            await self._stopping.wait()
        finally:
            self._is_running = False
            await server.stop(self._grace_s)

    def _handlers(self) -> Mapping[str, Any]:
        limits = self._limits
        inference = Inference(self._service, Handover(asyncio.get_running_loop()), limits, self._regions)
        calls = Gate(limits.calls, "calls")
        handlers = {
            PREFIX + "ModelInfer": unary(inference.answer, calls, limits.receive_s),
            PREFIX + "ModelStreamInfer": stream_handler(inference, limits),
        }
        control = Control(self._service, limits, self._regions, may_load=self._may_load)
        prediction = Prediction(self._service, inference, limits).behaviours()
        predict = {name: unary(answer, calls, limits.receive_s) for name, answer in prediction.items()}
        behaviours = {**control.behaviours(), "/grpc.health.v1.Health/Check": health_behaviour(self._service)}
        gate = Gate(limits.control_calls, "calls")
        return handlers | predict | {name: unary(answer, gate, limits.receive_s) for name, answer in behaviours.items()}


class _Methods(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Finds who answers a call, once it is known that the caller may ask."""

    def __init__(self, handlers: Mapping[str, Any], security: Security) -> None:
        self._handlers = handlers
        self._admits: Callable[[Any], bool] | None = security.admits if security.token else None

    def service(self, handler_call_details: Any) -> Any:
        if self._admits is not None and not self._admits(handler_call_details.invocation_metadata):
            return UNAUTHENTICATED
        return self._handlers.get(handler_call_details.method, UNKNOWN)


def _options(limits: Limits) -> list[tuple[str, int]]:
    """Return gRPC's options: it can bound messages, connections and pings, but not the memory of what arrives."""
    return [
        ("grpc.max_receive_message_length", limits.message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_allowed_incoming_connections", limits.connections),
        ("grpc.max_concurrent_streams", limits.connection_streams),
        ("grpc.max_connection_idle_ms", int(limits.idle_s * 1000)),
        ("grpc.server_handshake_timeout_ms", _HANDSHAKE_S * 1000),
        ("grpc.max_metadata_size", 16 << 10),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", int(limits.keepalive_s * 1000)),
        ("grpc.so_reuseport", 0),
    ]
