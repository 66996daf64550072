"""What a client is told when a call fails: a status code, and a message without the service's own paths."""

from __future__ import annotations

import logging
from typing import Any, Final

import grpc

from evtfw.core.errors import BadRequest, Cancelled, DeadlineExceeded, EvtfwError, ServerUnavailable
from evtfw.external.errors import AccessDenied, ModelNotFound, Overloaded

_log = logging.getLogger("evtfw.serve")

_CODES: Final[tuple[tuple[type[BaseException], grpc.StatusCode], ...]] = (
    (Overloaded, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (ModelNotFound, grpc.StatusCode.NOT_FOUND),
    (BadRequest, grpc.StatusCode.INVALID_ARGUMENT),
    (DeadlineExceeded, grpc.StatusCode.DEADLINE_EXCEEDED),
    (AccessDenied, grpc.StatusCode.UNAUTHENTICATED),
    (Cancelled, grpc.StatusCode.CANCELLED),
    (ServerUnavailable, grpc.StatusCode.UNAVAILABLE),
)
_LONGEST: Final = 1000


class CallFailed(EvtfwError):
    """A failure whose status is known already.

    Args:
        code: for the client.
        message: for the client.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class NotImplementedHere(EvtfwError):
    """The call exists, but this service does not offer it."""


class Refused(EvtfwError):
    """The call exists, but it is switched off."""


def status_of(error: BaseException, model: Any = None) -> tuple[grpc.StatusCode, str]:
    """Return the status code and message for an error.

    Errors that are not the client's are logged with all they say; the client is told only that there was one.

    Args:
        error: any.
        model: the `HostedModel` that it came from; its backend's URL, which may be a path, is replaced by its name.
    """
    if isinstance(error, CallFailed):
        return error.code, str(error)
    if isinstance(error, NotImplementedHere):
        return grpc.StatusCode.UNIMPLEMENTED, str(error)
    if isinstance(error, Refused):
        return grpc.StatusCode.UNAVAILABLE, str(error)
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code, _public(str(error), model)
    name = f"model '{model.name}'" if model is not None else "the service"
    _log.error(
        "%s failed: %s: %s",
        name,
        type(error).__name__,
        error,
        exc_info=None if isinstance(error, EvtfwError) else error,
    )
    return grpc.StatusCode.INTERNAL, f"{name} failed; the service's log says why"


def _public(message: str, model: Any) -> str:
    url = getattr(getattr(model, "backend", None), "url", "")
    if url:
        message = message.replace(url, f"model '{model.name}'")
    return message if len(message) <= _LONGEST else f"{message[:_LONGEST]}..."
