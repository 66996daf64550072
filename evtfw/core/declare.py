"""What a module class declares: parameters, inputs, outputs and accumulators.

A declaration is written once on the class and serves four readers: the compiler (validation and wiring),
``evtfw describe``, the reference documentation, and the running module, which reads the *value* under the same
name: a validated parameter, or the index of a product in the event.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, Self, TypeVar, get_args, overload

from evtfw.core.errors import InternalError

T = TypeVar("T")
Scope = Literal["event", "lumi", "run"]


class _Required:
    """Marks a parameter or an input without a default."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Final = _Required()


if TYPE_CHECKING:

    class Token(int, Generic[T]):
        """Index of a product of type T in an event; ``event[token]`` is the product."""

else:

    class Token(int):
        """Index of a product in an event; at run time a plain integer."""

        def __class_getitem__(cls, item: object) -> type:
            return cls


class _Declaration(Generic[T]):
    """A named, typed, documented member of a module class.

    At run time the instance's ``__dict__`` holds the value under the same name and hides the declaration
    (a non-data descriptor), so reading costs a plain attribute access.
    """

    def __init__(self, doc: str, unit: str | None) -> None:
        self.doc = doc
        self.unit = unit
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @property
    def type(self) -> Any:
        """The type given in brackets, or ``object``."""
        alias = getattr(self, "__orig_class__", None)
        return get_args(alias)[0] if alias is not None else object

    def _unbound(self, instance: object) -> InternalError:
        return InternalError(
            f"{type(instance).__name__}.{self.name} has a value only in a module that a compiled job made; "
            "in tests use evtfw.testing.run_module()"
        )


class Parameter(_Declaration[T]):
    """A value that the configuration may set, validated before the first event.

    Args:
        doc: what it means, for the user.
        default: its value if the configuration gives none; without one the parameter is required.
        unit: physical unit, e.g. ``"GeV"``; shown in descriptions.
        ge, gt, le, lt: bounds, inclusive or not.
        choices: the only values allowed.
    """

    def __init__(
        self,
        doc: str,
        *,
        default: Any = REQUIRED,
        unit: str | None = None,
        ge: float | None = None,
        gt: float | None = None,
        le: float | None = None,
        lt: float | None = None,
        choices: tuple[Any, ...] | None = None,
    ) -> None:
        super().__init__(doc, unit)
        self.default = default
        self.bounds = {k: v for k, v in (("ge", ge), ("gt", gt), ("le", le), ("lt", lt)) if v is not None}
        self.choices = choices

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> Self | T:
        if instance is None:
            return self
        if self.default is REQUIRED:
            raise AttributeError(f"parameter '{self.name}' of {owner.__name__} was not given a value")
        return self.default  # type: ignore[no-any-return]


class Input(_Declaration[T]):
    """A product that the module reads: ``event[self.NAME]``.

    The configuration names it as ``"label"`` or ``"label:product"``.

    Args:
        doc: what is expected; give shapes and dtypes.
        default: reference used if the configuration gives none; ``{parameter}`` in braces is filled from the
            module's own parameters, e.g. ``"source:{collection}_pt"``.
        unit: physical unit of the values.
        optional: the module runs even if the product is absent; it then reads it with ``event.get``, which
            returns None.
        scope: whether the product belongs to the event, the luminosity block or the run.
    """

    def __init__(
        self,
        doc: str,
        *,
        default: str | None = None,
        unit: str | None = None,
        optional: bool = False,
        scope: Scope = "event",
    ) -> None:
        super().__init__(doc, unit)
        self.default = default
        self.optional = optional
        self.scope: Scope = scope

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Token[T]: ...
    def __get__(self, instance: object | None, owner: type) -> Self | Token[T]:
        if instance is None:
            return self
        raise self._unbound(instance)


@dataclasses.dataclass(frozen=True, slots=True)
class ProductInfo:
    """One product as its reader sees it: where it comes from, and its index in the event."""

    label: str
    name: str
    token: Token[Any]
    type: Any
    doc: str = ""
    unit: str | None = None

    @property
    def reference(self) -> str:
        """``label:name``, as a configuration writes it."""
        return f"{self.label}:{self.name}"


class InputList(_Declaration[T]):
    """Products chosen by patterns, for modules that take whatever is there (outputs, above all).

    The configuration gives a list of rules, the last match wins: ``"jets"``, ``"toptag:scores"``, ``"source:Jet_*"``,
    ``"*"`` (all products of modules that run anyway, not the source's columns), ``"drop jets:cand*"``. At run time
    ``self.NAME`` is a tuple of `ProductInfo`. All are optional: read them with ``event.get(info.token)``.
    """

    def __init__(self, doc: str, *, default: tuple[str, ...] = (), scope: Scope = "event") -> None:
        super().__init__(doc, None)
        self.default = default
        self.scope: Scope = scope

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> tuple[ProductInfo, ...]: ...
    def __get__(self, instance: object | None, owner: type) -> Self | tuple[ProductInfo, ...]:
        if instance is None:
            return self
        raise self._unbound(instance)


class Output(_Declaration[T]):
    """A product that the module puts: ``event[self.NAME] = value``. Immutable once put.

    Args:
        doc: what it is; give shapes and dtypes.
        unit: physical unit of the values.
        scope: put into the event (``event``), the luminosity block (``lumi[self.NAME] = …`` in ``begin_lumi`` or
            ``end_lumi``), or the run.
    """

    def __init__(self, doc: str, *, unit: str | None = None, scope: Scope = "event") -> None:
        super().__init__(doc, unit)
        self.scope: Scope = scope

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Token[T]: ...
    def __get__(self, instance: object | None, owner: type) -> Self | Token[T]:
        if instance is None:
            return self
        raise self._unbound(instance)


class Accumulator(_Declaration[T]):
    """A sum over all events, such as a histogram: each module instance fills its own, the job adds them with ``+``.

    Args:
        doc: what is accumulated; used as the title of a plot.
        make: makes an empty one from the module instance (its parameters are set).
        unit: physical unit of the quantity.
    """

    def __init__(self, doc: str, *, make: Callable[[Any], T], unit: str | None = None) -> None:
        super().__init__(doc, unit)
        self.make = make

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> Self | T:
        if instance is None:
            return self
        value = self.make(instance)
        instance.__dict__[self.name] = value
        return value
