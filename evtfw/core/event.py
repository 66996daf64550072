"""What travels through a job: events, luminosity blocks and runs, and the products they hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

from evtfw.core.declare import Token
from evtfw.core.errors import ProductError

if TYPE_CHECKING:
    from evtfw.core.source import Chunk, Column

T = TypeVar("T")


class EventId(NamedTuple):
    """The three numbers that identify a collision."""

    run: int
    lumi: int
    event: int

    def __str__(self) -> str:
        return f"{self.run}:{self.lumi}:{self.event}"


class LumiId(NamedTuple):
    """The two numbers that identify a luminosity block."""

    run: int
    lumi: int

    def __str__(self) -> str:
        return f"{self.run}:{self.lumi}"


class Absent:
    """Stands in the place of a product that is not there; whatever is done with it raises `ProductError`.

    So reading a product costs one list access and still nobody can take a missing product for a value.
    """

    __slots__ = ("reason", "reference")

    def __init__(self, reference: str, reason: str) -> None:
        self.reference = reference
        self.reason = reason

    def __repr__(self) -> str:
        return f"<no product {self.reference}: {self.reason}>"

    def _raise(self, *_: object, **__: object) -> NoReturn:
        raise ProductError(f"product '{self.reference}' {self.reason}")

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__") and name.endswith("__") and not name.startswith("__array"):
            raise AttributeError(name)
        self._raise()

    __getitem__ = __len__ = __iter__ = __bool__ = __call__ = __array__ = __float__ = __int__ = __index__ = _raise
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __neg__ = _raise
    __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __matmul__ = __pow__ = __mod__ = __and__ = __or__ = _raise


if TYPE_CHECKING:

    class _Slots:
        def __init__(self, slots: list[Any]) -> None: ...
        def __getitem__(self, token: Token[T]) -> T: ...
        def __setitem__(self, token: Token[T] | slice, product: T | list[Any]) -> None: ...
        def __iter__(self) -> Iterator[Any]: ...

else:
    _Slots = list


class ProductHolder(_Slots):
    """Products by token: ``holder[self.jets]`` reads, ``holder[self.scores] = …`` puts."""

    def get(self, token: Token[T]) -> T | None:
        """Return the product, or None where it is absent (for optional inputs)."""
        product = self[token]
        return None if product.__class__ is Absent else product


class Run(ProductHolder):
    """A run and the products put into it."""

    def __init__(self, number: int, slots: list[Any]) -> None:
        super().__init__(slots)
        self.number = number


class LuminosityBlock(ProductHolder):
    """A luminosity block and the products put into it."""

    def __init__(self, lumi_id: LumiId, run: Run, slots: list[Any]) -> None:
        super().__init__(slots)
        self.id = lumi_id
        self.run = run


class Event(ProductHolder):
    """One collision in flight: a stream's slots, reused for each of its events.

    Attributes:
        index: number of the event in the order of the input, from 0.
        stream: number of the stream that processes it.
        chunk, row: where its columns are.
        columns: slot and column of all that is read from the source.
        lumi: its luminosity block; ``event.lumi.run`` is its run.
        has_failures: whether a module failed in this event (policy ``continue``).
    """

    index: int
    stream: int
    chunk: Chunk
    row: int
    columns: list[tuple[Token[Any], Column]]
    lumi: LuminosityBlock
    has_failures: bool

    @property
    def id(self) -> EventId:
        """Run, luminosity block and event number."""
        return self.chunk.event_id(self.row)

    def __repr__(self) -> str:
        return f"<Event {self.id} in stream {self.stream}>"


def make_event(slots: list[Any], stream: int) -> Event:
    """Make the event of a stream; ``slots`` is the list of absent products it starts from."""
    event = Event(slots)
    event.stream = stream
    event.has_failures = False
    return event
