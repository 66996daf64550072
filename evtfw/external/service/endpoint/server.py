"""The endpoint: which calls there are, who answers them, and where they come in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Self

import grpc

from evtfw.external.service.endpoint.calls import UNAUTHENTICATED, UNKNOWN, Arrivals, Gate, unary
from evtfw.external.service.endpoint.control import PREFIX, Control
from evtfw.external.service.endpoint.health import health_behaviour
from evtfw.external.service.endpoint.infer import Inference
from evtfw.external.service.endpoint.predict import Prediction
from evtfw.external.service.endpoint.regions import Regions
from evtfw.external.service.endpoint.rpc import Handler, Metadata, RpcServer
from evtfw.external.service.endpoint.security import Security
from evtfw.external.service.endpoint.stream import stream_handler
from evtfw.external.service.wire.limits import Limits

if TYPE_CHECKING:
    from evtfw.external.service.service import Service

_HANDSHAKE_S: Final = 10


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
        self._handlers: Mapping[bytes, Handler] = {}
        self._server: RpcServer | None = None
        self._port = 0

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
        self._handlers = self._made_handlers()
        server = RpcServer(_options(self._limits), self._route)
        self._port = server.listen(self._address, credentials)
        server.start()
        self._server = server

    def stop(self, grace_s: float = 0.0) -> None:
        """Refuse new calls, give those that run ``grace_s`` seconds, and end. Harmless if it does not run."""
        server, self._server = self._server, None
        if server is not None:
            server.stop(grace_s)

    @property
    def is_running(self) -> bool:
        """Whether it listens."""
        return self._server is not None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _route(self, method: bytes, metadata: Metadata) -> Handler:
        """Find who answers a call, once it is known that the caller may ask."""
        if not self._security.admits(metadata):
            return UNAUTHENTICATED
        return self._handlers.get(method, UNKNOWN)

    def _made_handlers(self) -> Mapping[bytes, Handler]:
        limits = self._limits
        inference = Inference(self._service, limits, self._regions)
        calls, arrivals = Gate(limits.calls, "calls"), Arrivals(limits)
        prediction = Prediction(self._service, inference, limits).behaviours()
        control = Control(self._service, limits, self._regions, may_load=self._may_load).behaviours()
        others = {**control, "/grpc.health.v1.Health/Check": health_behaviour(self._service)}
        gate = Gate(limits.control_calls, "calls")
        handlers = {
            PREFIX + "ModelInfer": unary(inference.answer, calls, arrivals),
            PREFIX + "ModelStreamInfer": stream_handler(inference, limits),
            **{name: unary(answer, calls, arrivals) for name, answer in prediction.items()},
            **{name: unary(answer, gate, arrivals) for name, answer in others.items()},
        }
        return {name.encode(): handler for name, handler in handlers.items()}


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
        *_without_compression(grpc.__version__),
    ]


def _without_compression(version: str) -> list[tuple[str, int]]:
    """Return the option that refuses compressed messages, for the versions of gRPC that unpack before they measure.

    >>> _without_compression("1.84.0"), _without_compression("1.67.1")
    ([], [('grpc.compression_enabled_algorithms_bitset', 1)])
    """
    measures_first = tuple(map(int, version.split(".")[:2])) >= (1, 84)
    return [] if measures_first else [("grpc.compression_enabled_algorithms_bitset", 1)]
