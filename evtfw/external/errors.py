"""What services say when they refuse: kinds of `ExternalError` that routing treats differently."""

from __future__ import annotations

from evtfw.core.errors import ExternalError, ServerUnavailable


class Overloaded(ServerUnavailable):
    """The service has too much to do and refused at once; another server, or the same one later, may take it."""


class ModelNotFound(ServerUnavailable):
    """The server does not serve this model (any more); another one may."""


class AccessDenied(ExternalError):
    """The server does not know the client's token or certificate, or does not allow what was asked."""
