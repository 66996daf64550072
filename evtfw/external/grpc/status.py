"""What a gRPC status means to the framework."""

from __future__ import annotations

from typing import Final

import grpc

from evtfw.core.errors import (
    BadReply,
    BadRequest,
    Cancelled,
    DeadlineExceeded,
    ExternalError,
    ServerUnavailable,
)
from evtfw.external.errors import AccessDenied, ModelNotFound, Overloaded

ERRORS: Final[dict[grpc.StatusCode, type[ExternalError]]] = {
    grpc.StatusCode.UNAVAILABLE: ServerUnavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.INVALID_ARGUMENT: BadRequest,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.NOT_FOUND: ModelNotFound,
    grpc.StatusCode.UNAUTHENTICATED: AccessDenied,
    grpc.StatusCode.PERMISSION_DENIED: AccessDenied,
    grpc.StatusCode.CANCELLED: Cancelled,
}
"""Any other status is an `ExternalError`."""

_TOO_LARGE_HERE = "Received message larger than max"


def error_of(code: grpc.StatusCode, details: str | None, where: str) -> ExternalError:
    """Return the error for a status.

    Args:
        code: of the call.
        details: what the server, or gRPC itself, said.
        where: the backend's URL, for the message.
    """
    details = details or ""
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE_HERE in details:
        # Said by this side of the connection about a reply, or by the server about the request: not a matter of load.
        return _too_large(details, where)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED and details in {"", "Deadline Exceeded"}:
        details = "no reply before the deadline"
    kind = ERRORS.get(code, ExternalError)
    return kind(f"{where}: {details or 'no further words'} ({code.name})")


def _too_large(details: str, where: str) -> ExternalError:
    if "CLIENT: " in details:
        return BadReply(f"{where}: the reply is larger than max_message_bytes allows ({details})")
    return BadRequest(f"{where}: a message is larger than the other side takes; send smaller batches ({details})")
