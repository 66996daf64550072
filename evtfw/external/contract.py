"""What a backend is, and the values that travel between modules and backends.

A module hands named arrays to `Backend.submit` together with a completion and goes on; the completion is resolved with
a `Reply` or failed with an `ExternalError`, exactly once, from any thread. Whatever composes backends is a backend.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol, Self, TypeAlias, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from evtfw.core.completion import Completion
from evtfw.core.errors import nearest
from evtfw.core.resource import JobContext

Tensors: TypeAlias = Mapping[str, NDArray[Any]]
"""Named arrays. They are lent: nobody changes them until the reply is there, and replies are never changed."""


@dataclasses.dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a model.

    Args:
        name: its name in the model.
        dtype: element type; ``object`` for strings.
        shape: all axes, the batch axis included; None (or -1) where any length will do.
        doc: what it means.

    >>> print(TensorSpec("image", np.dtype("float32"), (-1, 64, 64, 1)))
    image: float32 [?, 64, 64, 1]
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]
    doc: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", np.dtype(self.dtype))
        object.__setattr__(self, "shape", tuple(None if n is None or n < 0 else int(n) for n in self.shape))

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype} [{', '.join('?' if n is None else str(n) for n in self.shape)}]"


@dataclasses.dataclass(frozen=True, slots=True)
class ModelDescription:
    """What a backend serves.

    Args:
        name: the model's name.
        version: as the server or the model's card gives it; empty if unknown.
        inputs: tensors of a request. None at all: any request is taken.
        outputs: tensors of a reply. None at all: any reply is taken.
        max_batch_size: how many rows along axis 0 one request may have; None for any number. 0: axis 0 is not a batch
            of independent rows, so requests are neither gathered nor split.
        platform: what computes, e.g. ``onnxruntime``.
        sha256: checksum of the model's file, hexadecimal; empty if unknown.
        source_sha256: of the file that it was converted from, likewise.
    """

    name: str
    version: str = ""
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    max_batch_size: int | None = 0
    platform: str = ""
    sha256: str = ""
    source_sha256: str = ""

    @property
    def is_batched(self) -> bool:
        """Whether axis 0 of every tensor is a batch of independent rows."""
        return self.max_batch_size != 0


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """Named arrays with what else a service may want to know; `Backend.submit` takes plain mappings too.

    Args:
        inputs: by the names of the model's inputs.
        id: returned by services that check it; backends make one where it is empty.
        priority: larger is served earlier where the service knows priorities; 0 is its default.
    """

    inputs: Tensors
    id: str = ""
    priority: int = 0


def inputs_of(request: Request | Tensors) -> Tensors:
    """Return the named arrays of a request in either form."""
    return request.inputs if request.__class__ is Request else cast(Tensors, request)


@dataclasses.dataclass(frozen=True, slots=True)
class Provenance:
    """Who made a reply.

    Args:
        backend: URL of the backend that answered.
        server: host and port, for a remote one.
        model, version, sha256: as in `ModelDescription`.
        attempts: how many times the request was sent until it was answered.
        fallback_reason: why it was not answered by the first choice; empty if it was.
        device: the emulated device that `Times.device_ns` is of; empty where nothing is emulated.
    """

    backend: str
    server: str = ""
    model: str = ""
    version: str = ""
    sha256: str = ""
    attempts: int = 1
    fallback_reason: str = ""
    device: str = ""


class Times(NamedTuple):
    """Where the time of a request went, in nanoseconds on the job's clock; 0 where it is not known.

    An emulated device adds what a real one would have taken. That is modelled time, and no part of what passed here.

    Args:
        serialise_ns: making and reading messages.
        network_ns: on the way, both directions.
        queue_ns: waiting for others, here and in the service.
        compute_ns: of the whole batch that the request was part of.
        batch_rows: rows of that batch.
        held_ns: computed, and kept back until the emulated device would have answered.
        late_ns: after the emulated device would have answered, because computing here took longer; 0 also where replies
            do not keep the device's pace.
        device_ns: modelled: transfers and computing on the emulated device, with nothing else to do; 0 without one.
        device_queue_ns: modelled: waiting there for other requests.
    """

    serialise_ns: int = 0
    network_ns: int = 0
    queue_ns: int = 0
    compute_ns: int = 0
    batch_rows: int = 0
    held_ns: int = 0
    late_ns: int = 0
    device_ns: int = 0
    device_queue_ns: int = 0

    def shared(self, queue_ns: int, batch_rows: int) -> Times:
        """Return those of one request of the batch."""
        serialise_ns, network_ns, _, compute_ns, _, *rest = self
        return Times(serialise_ns, network_ns, queue_ns, compute_ns, batch_rows, *rest)


NO_TIMES = Times()


class _NoOutput(KeyError):
    def __str__(self) -> str:
        return str(self.args[0])


class Reply(Mapping[str, NDArray[Any]]):
    """Named output arrays: ``reply["probability"]``. Arrays may be views into a larger batch.

    Attributes:
        outputs: the arrays by name.
        provenance: who made them.
        times: where the time went.
        nonfinite: names of outputs with NaN or infinity, where the backend's policy is to flag them.
    """

    __slots__ = ("nonfinite", "outputs", "provenance", "times")

    def __init__(
        self, outputs: Tensors, provenance: Provenance, times: Times = NO_TIMES, nonfinite: tuple[str, ...] = ()
    ) -> None:
        self.outputs = outputs
        self.provenance = provenance
        self.times = times
        self.nonfinite = nonfinite

    def __getitem__(self, name: str) -> NDArray[Any]:
        try:
            return self.outputs[name]
        except KeyError:
            raise _NoOutput(
                f"the reply of {self.provenance.backend} has no output '{name}'{nearest(name, self.outputs)}"
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.outputs)

    def __len__(self) -> int:
        return len(self.outputs)

    def __repr__(self) -> str:
        arrays = ", ".join(f"{name}: {a.dtype} {list(a.shape)}" for name, a in self.outputs.items())
        return f"<Reply of {self.provenance.backend}: {arrays}>"


@runtime_checkable
class Recipe(Protocol):
    """A value that a configuration writes for a composed backend: comparable, picklable, its ``repr`` is Python.

    The name before the parenthesis of its ``repr`` can be imported from the module of its type.
    """

    def make(self) -> Backend:
        """Make the backend, not opened yet."""


class Backend(abc.ABC):
    """Turns named input arrays into named output arrays, asynchronously. Implements `evtfw.core.resource.Resource`.

    Subclasses define `from_url`, `open`, `describe` and `submit`. All methods but `open` and `close` may be called from
    any thread. A backend may be opened again after it was closed.
    """

    url: str = ""
    """As the configuration writes it."""

    @classmethod
    def from_configuration(cls, value: Any) -> Self:
        """Make a backend from an URL such as ``"cpu:toptag"`` or a `Recipe`; a backend passes through.

        Raises:
            ValueError: for an unknown scheme, unknown or wrong options; the message has the nearest valid names.
        """
        from evtfw.external.urls import make_backend

        backend = make_backend(value)
        if not isinstance(backend, cls):
            raise ValueError(f"{value!r} is a {type(backend).__name__}, but a {cls.__name__} is needed")  # noqa: TRY004 (of all that is wrong, as a Resource must)
        return backend

    @classmethod
    def from_url(cls, url: str) -> Backend:
        """Make it from an URL of the scheme that it is registered for.

        Raises:
            ValueError: the URL is wrong; the message is for the user.
        """
        raise ValueError(f"{cls.__name__} cannot be made from an URL such as {url!r}")

    @abc.abstractmethod
    def open(self, context: JobContext) -> None:
        """Get ready to serve; threads are started here.

        Raises:
            ExternalError: it cannot serve (another backend might).
            ConfigurationError: what the configuration asks for does not exist.
        """

    def close(self) -> None:
        """End threads and connections; requests still waiting fail. Harmless if `open` failed or was not called."""

    def flush(self) -> None:
        """Send what is being collected for a larger batch: no further requests will come before some reply does."""

    @property
    def slots(self) -> int:
        """How many requests it works on at the same time; more wait in its queue."""
        return 1

    @property
    def local_threads(self) -> int:
        """Threads of its own that compute on this machine; known once open. The job takes them into account."""
        return 0

    @property
    def summary(self) -> str:
        """A few words for the user on what serves; known once open."""
        return self.url

    @abc.abstractmethod
    def describe(self) -> ModelDescription:
        """Return what it serves; known once open."""

    @abc.abstractmethod
    def submit(self, request: Request | Tensors, done: Completion) -> None:
        """Take a request; end ``done`` with a `Reply` or an `ExternalError`, from any thread, also before returning.

        Never blocks and never raises: arrays that do not fit the model fail ``done`` with `BadRequest`, which names the
        tensor, what was expected and what was given. What waits is bounded by the job: each of its streams has at most
        one request per module in flight.
        """

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"
