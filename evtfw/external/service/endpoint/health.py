"""``grpc.health.v1.Health/Check``, which load balancers and Kubernetes ask. Its two messages have one field each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evtfw.external.errors import ModelNotFound
from evtfw.external.protobuf_wire import number
from evtfw.external.service.endpoint.calls import Behaviour
from evtfw.external.service.endpoint.rpc import Call
from evtfw.external.service.wire.protobuf import fields_of

if TYPE_CHECKING:
    from evtfw.external.service.service import Service

_SERVICES = (b"", b"inference.GRPCInferenceService")
_SERVING, _NOT_SERVING = 1, 2


def health_behaviour(service: Service) -> Behaviour:
    """Return what answers whether a service is ready."""

    def check(message: bytes, _: Call) -> bytes:
        asked = b""
        for field in fields_of(message, 0, len(message), at_most=8):
            if field.number == 1:
                asked = message[field.start : field.stop]
        if asked not in _SERVICES:
            raise ModelNotFound("there is no such service here")
        return number(1, _SERVING if service.is_ready else _NOT_SERVING)

    return check
