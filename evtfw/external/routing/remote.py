"""From an URL with one or several servers to a backend: what clients of remote services return from `from_url`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from evtfw.external.batcher import Batcher
from evtfw.external.contract import Backend
from evtfw.external.routing.options import RoutingOptions
from evtfw.external.routing.router import Router
from evtfw.external.urls import BackendUrl, OptionReader, parse_url
from evtfw.external.validate import NON_FINITE_POLICIES

MAX_DELAY_S = 0.002
"""What was collected while all servers were busy is handed to the router after so long."""


class RemoteBackend(Batcher):
    """A batcher in front of a router over the servers of one model.

    Args:
        clients: one for each server.
        routing: how to deal with them.
        batching: arguments of `Batcher`.
        url: for messages.
    """

    def __init__(
        self, clients: Sequence[Backend], *, routing: RoutingOptions, batching: dict[str, Any], url: str
    ) -> None:
        self.router = Router(clients, options=routing, url=url)
        self.batching = batching
        super().__init__(self.router, paced=True, **batching)


def remote_backend(url: str, make_client: Callable[[str, BackendUrl, OptionReader], Backend]) -> RemoteBackend:
    """Make the backend of an URL such as ``triton+grpc://a:8001,b:8001/toptag?retries=2``.

    Read here are the options of `RoutingOptions`, and ``max_batch``, ``max_delay_s`` and ``nonfinite`` of `Batcher`.

    Args:
        url: as the configuration writes it; servers are separated by commas.
        make_client: called for each server with its host and port, the URL with this server only, and the reader of the
            options, from which it reads its own.

    Raises:
        ValueError: for the user: no server, or a wrong option.
    """
    parsed = parse_url(url)
    authorities = [authority.strip() for authority in parsed.authority.split(",")]
    if not all(authorities):
        raise ValueError(
            f"'{url}' names no server; write {parsed.scheme}://HOST:PORT/MODEL, several as HOST:PORT,HOST:PORT"
        )
    if len(set(authorities)) != len(authorities):
        raise ValueError(f"'{url}' names a server twice")
    reader = OptionReader(parsed)
    routing = RoutingOptions.read(reader)
    batching = {
        "max_batch": reader.integer("max_batch", 0, at_least=0) or None,
        "max_delay_s": reader.number("max_delay_s", MAX_DELAY_S, at_least=0.0),
        "nonfinite": reader.choice("nonfinite", "fail", NON_FINITE_POLICIES),
    }
    clients = []
    for authority in authorities:
        client = make_client(authority, dataclasses.replace(parsed, authority=authority, options={}), reader)
        clients.append(client)
    reader.finish()
    return RemoteBackend(clients, routing=routing, batching=batching, url=url)
