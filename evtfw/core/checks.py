"""``check_products``: modules get a view of the event that lets them do only what they declare.

Slow, for tests and for hunting down a module that changes other modules' products: reading what is not declared as an
input, putting what is not declared as an output, and putting twice raise `ProductError`; arrays are frozen once put.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from evtfw.core.declare import Output
from evtfw.core.errors import ProductError
from evtfw.core.event import Absent, Event
from evtfw.core.module import Module

if TYPE_CHECKING:
    from evtfw.core.plan import Node, Plan
    from evtfw.core.steps import Step


class CheckedEvent:
    """The event as one module may see it."""

    def __init__(self, event: Event, node: Node, plan: Plan, puts: dict[int, str]) -> None:
        self._event: Any = event
        self._node = node
        self._plan = plan
        self._puts = puts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._event, name)

    def __getitem__(self, token: int) -> Any:
        if token not in self._node.reads and token not in self._puts and token < len(self._plan.slots):
            raise ProductError(
                f"module '{self._node.label}' reads product '{self._plan.slots[token]}', which it does not "
                "declare as an Input"
            )
        return self._event[token]

    def get(self, token: int) -> Any:
        """See `evtfw.core.event.ProductHolder.get`."""
        product = self[token]
        return None if product.__class__ is Absent else product

    def __setitem__(self, token: int, product: Any) -> None:
        if token not in self._puts:
            raise ProductError(
                f"module '{self._node.label}' puts product '{self._plan.slots[token]}', which it does not "
                "declare as an Output"
            )
        if self._event[token].__class__ is not Absent:
            raise ProductError(f"module '{self._node.label}' puts its product '{self._puts[token]}' a second time")
        freeze(product)
        self._event[token] = product


def freeze(product: Any) -> None:
    """Make the arrays of a product read-only: an array, or a dataclass, mapping or sequence of arrays."""
    if isinstance(product, np.ndarray):
        product.flags.writeable = False
    elif dataclasses.is_dataclass(product) and not isinstance(product, type):
        for field in dataclasses.fields(product):
            freeze(getattr(product, field.name))
    elif isinstance(product, dict):
        for value in product.values():
            freeze(value)
    elif isinstance(product, (list, tuple)):
        for value in product:
            freeze(value)


def own_slots(module: Module) -> dict[int, str]:
    """Slots of the products that a module puts into events, with their names."""
    outputs = type(module).declared(Output).items()
    return {module.__dict__[name]: name for name, output in outputs if output.scope == "event"}


def make_checked(step: Step, node: Node, module: Module | None, event: Event, plan: Plan) -> Step:
    """Wrap a module's step so that it gets a checked view of its stream's event."""
    if module is None:
        return step
    view: Any = CheckedEvent(event, node, plan, own_slots(module))

    def run(_: Event) -> object:
        return step(view)

    return run
