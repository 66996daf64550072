"""How a configuration names a backend, ``SCHEME:[//HOST:PORT/]PATH[?OPTION=VALUE&…]``, and who is behind a scheme."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, unquote, urlencode

from evtfw.core.errors import nearest
from evtfw.external.contract import Backend, Recipe

ENTRY_POINT_GROUP = "evtfw.backends"

T = TypeVar("T", bound=str)
_registered: dict[str, type[Backend]] = {}


@dataclasses.dataclass(frozen=True, slots=True)
class BackendUrl:
    """An URL taken apart.

    Args:
        scheme: names the kind of backend.
        authority: host and port; empty for local backends.
        path: model and version, or a file; percent-decoded.
        options: what stands behind the question mark.

    >>> parse_url("cpu:/models/top.onnx?intra_op_threads=1")
    BackendUrl(scheme='cpu', authority='', path='/models/top.onnx', options={'intra_op_threads': '1'})
    >>> str(parse_url("triton+grpc://host:8001/toptag/1"))
    'triton+grpc://host:8001/toptag/1'
    """

    scheme: str
    authority: str = ""
    path: str = ""
    options: dict[str, str] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        authority = f"//{self.authority}" if self.authority else ""
        options = f"?{urlencode(self.options)}" if self.options else ""
        return f"{self.scheme}:{authority}{quote(self.path)}{options}"


def parse_url(url: str) -> BackendUrl:
    """Take an URL apart. Raises ValueError if it is none."""
    scheme, colon, rest = url.partition(":")
    if not colon or not scheme:
        raise ValueError(f"'{url}' is no backend URL; write SCHEME:MODEL, e.g. 'cpu:toptag'{_hint(url)}")
    rest, _, query = rest.partition("?")
    authority, path = "", rest
    if rest.startswith("//"):
        authority, slash, path = rest[2:].partition("/")
        path = slash + path
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    except ValueError:
        raise ValueError(f"'{url}': '?{query}' is not of the form ?OPTION=VALUE&OPTION=VALUE") from None
    options = dict(pairs)
    if len(options) != len(pairs):
        raise ValueError(f"'{url}': an option is given twice")
    return BackendUrl(scheme, authority, unquote(path), options)


def _hint(url: str) -> str:
    return f" (or 'cpu:{url}'?)" if url else ""


class OptionReader:
    """Reads an URL's options with their types; `finish` reports the ones that nobody asked for.

    >>> options = OptionReader(parse_url("cpu:toptag?threads=2&intra=1"))
    >>> options.integer("threads", 0, at_least=0)
    2
    >>> options.finish()
    Traceback (most recent call last):
    ValueError: 'cpu:toptag?threads=2&intra=1': there is no option 'intra'; did you mean 'threads'?
    """

    def __init__(self, url: BackendUrl) -> None:
        self._url = url
        self._known: list[str] = []

    def integer(self, name: str, default: int, *, at_least: int) -> int:
        """Return a whole number that is not below ``at_least``."""
        return int(self._number(name, default, at_least, int, "a whole number"))

    def number(self, name: str, default: float, *, at_least: float) -> float:
        """Return a number that is not below ``at_least``."""
        return self._number(name, default, at_least, float, "a number")

    def text(self, name: str, default: str) -> str:
        """Return any text."""
        self._known.append(name)
        return self._url.options.get(name, default)

    def choice(self, name: str, default: T, choices: Sequence[T]) -> T:
        """Return one of the choices."""
        given = self.text(name, default)
        for choice in choices:
            if choice == given:
                return choice
        raise ValueError(f"'{self._url}': {name} must be one of {', '.join(choices)}, not '{given}'")

    def finish(self) -> None:
        """Raise ValueError if there are options that were not read."""
        for name in self._url.options:
            if name not in self._known:
                raise ValueError(f"'{self._url}': there is no option '{name}'{nearest(name, self._known)}")

    def _number(self, name: str, default: float, at_least: float, kind: type[float], what: str) -> float:
        given = self.text(name, str(default))
        try:
            value = kind(given)
        except ValueError:
            value = None
        if value is None or not value >= at_least or value == float("inf"):
            raise ValueError(f"'{self._url}': {name} must be {what} not below {at_least}, not '{given}'")
        return value


def register_backend(scheme: str, backend: type[Backend]) -> None:
    """Let URLs of a scheme mean this class. Packages do it with an entry point in the group ``evtfw.backends``.

    Raises:
        ValueError: the scheme means another class already.
    """
    previous = _registered.get(scheme)
    if previous is not None and previous is not backend:
        raise ValueError(f"scheme '{scheme}' means {previous.__module__}.{previous.__qualname__} already")
    _registered[scheme] = backend


def known_schemes() -> list[str]:
    """Schemes registered by import or by installed packages, in alphabetical order."""
    return sorted({*_registered, *(entry.name for entry in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP))})


def backend_class(scheme: str) -> type[Backend]:
    """Return who stands behind a scheme. Raises ValueError with what to do if there is nobody."""
    found = _registered.get(scheme)
    if found is not None:
        return found
    entries = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP, name=scheme)
    for entry in entries:
        try:
            loaded = entry.load()
        except ImportError as error:
            raise ValueError(
                f"the backend for scheme '{scheme}' ({entry.value}) cannot be loaded: {error}; install what it needs"
            ) from error
        register_backend(scheme, loaded)
        return _registered[scheme]
    raise ValueError(
        f"no backend for scheme '{scheme}'{nearest(scheme, known_schemes())}; install a package that provides it "
        f"(entry point group {ENTRY_POINT_GROUP}), or call evtfw.external.urls.register_backend"
    )


def make_backend(value: Any) -> Backend:
    """Make a backend from what a configuration wrote: an URL, a `Recipe`, or a backend.

    Raises:
        ValueError: with a message for the user.
    """
    if isinstance(value, Backend):
        return value
    if isinstance(value, str):
        return backend_class(parse_url(value).scheme).from_url(value)
    if isinstance(value, Recipe) and not isinstance(value, type):
        return value.make()
    raise ValueError(f"{value!r} is no backend; give an URL such as 'cpu:toptag', or fallback(...) of several")
