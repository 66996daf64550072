"""``route(URL, URL, …)``: several servers of one model as one backend, for configurations."""

from __future__ import annotations

import dataclasses

from evtfw.core.errors import nearest
from evtfw.external.contract import Backend, Recipe
from evtfw.external.routing.options import RoutingOptions
from evtfw.external.routing.remote import RemoteBackend
from evtfw.external.routing.router import Router
from evtfw.external.urls import make_backend

_OPTIONS = {field.name: field for field in dataclasses.fields(RoutingOptions)}


def route(*choices: str | Backend | Recipe | None, **options: float) -> Route:
    """Return a backend value for a configuration: share the requests among servers of the same model.

    Unlike `fallback`, all of them are used at the same time, whoever is free and fast.

    Args:
        choices: URLs or other values, also of different schemes; None and empty ones are left out.
        options: of `RoutingOptions`.

    Raises:
        ValueError: nothing is left, or there is no such option.

    >>> route("mock:a", "mock:b", retries=2)
    route('mock:a', 'mock:b', retries=2)
    """
    left = tuple(choice for choice in choices if choice is not None and choice != "")
    if not left:
        raise ValueError(
            "route() needs at least one backend, e.g. route('triton+grpc://a:8001/m', 'triton+grpc://b:8001/m')"
        )
    for name in options:
        if name not in _OPTIONS:
            raise ValueError(f"route() has no option '{name}'{nearest(name, _OPTIONS)}")
    return Route(left, tuple(sorted(options.items())))


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Route:
    """What `route` returns; a `Recipe`."""

    choices: tuple[str | Backend | Recipe, ...]
    options: tuple[tuple[str, float], ...] = ()

    def make(self) -> Backend:
        """Make the backend. Raises ValueError as `make_backend` does, for any of the choices.

        Remote choices are taken apart into their servers, so that there is one router and one batcher for all.
        """
        made = [make_backend(choice) for choice in self.choices]
        options = RoutingOptions(**dict(self.options))  # type: ignore[arg-type]
        remote = [backend for backend in made if isinstance(backend, RemoteBackend)]
        if len(remote) < len(made):
            return Router(made, options=options, url=repr(self))
        clients = [client for backend in remote for client in backend.router.backends]
        return RemoteBackend(clients, routing=options, batching=remote[0].batching, url=repr(self))

    def __repr__(self) -> str:
        options = [f"{name}={value!r}" for name, value in self.options]
        return f"route({', '.join([*map(repr, self.choices), *options])})"
