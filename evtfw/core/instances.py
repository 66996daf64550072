"""Running instances of modules: one per stream, or one for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from evtfw.core.binding import Binder, BoundModule, Product
from evtfw.core.declare import Accumulator, Input, InputList, Output, ProductInfo, Token
from evtfw.core.module import STREAM, Module


def make_instance(module: BoundModule, token_of: Callable[[Product], int], none_token: int) -> Module:
    """Make a running instance: parameters as values, inputs and outputs as tokens.

    Args:
        token_of: index of a product in its holder.
        none_token: index of a slot that is always absent, for optional inputs without a product.
    """
    instance = object.__new__(module.cls)
    members = instance.__dict__
    members.update(module.parameters)
    members["label"] = module.label
    members["_location"] = module.description._location
    for name in module.cls.declared(Input):
        product = module.inputs.get(name)
        members[name] = none_token if product is None else token_of(product)
    for name in module.cls.declared(InputList):
        members[name] = tuple(
            ProductInfo(p.label, p.name, Token(token_of(p)), p.type, p.doc, p.unit) for p in module.lists.get(name, ())
        )
    for name, output in module.cls.declared(Output).items():
        members[name] = token_of(Product(module.label, name, output.type, output.scope))
    return instance


class Instances:
    """All running instances of a job.

    Args:
        labels: the modules that run, in the order of the schedule.
        slots: references of the products in an event.
        scoped_slots: references of the products of lumis and runs.
    """

    def __init__(
        self, binder: Binder, labels: list[str], slots: list[str], scoped_slots: Mapping[str, list[str]], streams: int
    ) -> None:
        tables = {"event": slots, **scoped_slots}
        index = {scope: {ref: i for i, ref in enumerate(refs)} for scope, refs in tables.items()}
        none_token = len(slots)

        def token_of(product: Product) -> int:
            return index[product.scope].get(product.reference, none_token)

        self.of: dict[str, list[Module]] = {}
        for label in labels:
            bound = binder.modules[label]
            count = streams if bound.cls.concurrency == STREAM else 1
            self.of[label] = [make_instance(bound, token_of, none_token) for _ in range(count)]

    def serving(self, label: str, stream: int) -> Module:
        """The instance that serves a stream."""
        instances = self.of[label]
        return instances[stream if len(instances) > 1 else 0]

    def all(self) -> Iterator[Module]:
        """All instances, in the order of the schedule."""
        for instances in self.of.values():
            yield from instances

    def for_stream(self, stream: int) -> list[Module]:
        """The instances of the stream's own, in the order of the schedule."""
        return [i[stream if len(i) > 1 else 0] for i in self.of.values() if type(i[0]).concurrency == STREAM]

    def for_job(self) -> list[Module]:
        """The instances that serve all streams."""
        return [i[0] for i in self.of.values() if type(i[0]).concurrency != STREAM]

    def accumulators(self) -> dict[str, dict[str, Any]]:
        """The sums of all accumulators, by label and name."""
        sums: dict[str, dict[str, Any]] = {}
        for label, instances in self.of.items():
            for name in type(instances[0]).declared(Accumulator):
                values = [getattr(i, name) for i in instances]
                total = values[0]
                for value in values[1:]:
                    total += value
                sums.setdefault(label, {})[name] = total
        return sums
