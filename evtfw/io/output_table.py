"""The table that an output writes: rows of products in, blocks of columns out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from evtfw.core.declare import ProductInfo
from evtfw.core.errors import OutputError, ProductError
from evtfw.core.event import Absent
from evtfw.io.output_columns import Block, ColumnType, Places, gathered, joined, stacked, type_in
from evtfw.io.output_schema import (
    Column,
    ProductColumns,
    check_names,
    declared_type,
    declares_fields,
    fields_of,
    plan_product,
    prefixes,
)
from evtfw.io.row_queue import Row

ID_COLUMNS = (
    Column("run", ColumnType("scalar", np.dtype(np.uint32)), doc="run number"),
    Column("luminosityBlock", ColumnType("scalar", np.dtype(np.uint32)), doc="luminosity block in the run"),
    Column("event", ColumnType("scalar", np.dtype(np.uint64)), doc="event number"),
)
_BOOL = ColumnType("scalar", np.dtype(np.bool_))
_SETTLE_ROWS = 1000
PRODUCTS = 2
"""Where the products begin in what is kept of an event; see `Row`."""


class Table:
    """Turns events into columns whose types are settled by the first of them.

    Until each product was seen once, events wait: at most 1000, or ``patience_bytes``. A product that none of them has
    gets its columns from its declared type; if that does not tell, it has no column, and it is an error if it comes
    later.

    Args:
        owner: label of the output, for messages.
        products: kept products of modules; `Row` holds them in this order.
        columns: kept columns of the source, read from the chunks.
        flag_absent: add a column ``NAME_present`` for each product of a module.
        patience_bytes: memory for events that wait.
    """

    def __init__(
        self,
        owner: str,
        products: Sequence[ProductInfo],
        columns: Sequence[ProductInfo],
        *,
        flag_absent: bool,
        patience_bytes: int,
    ) -> None:
        self.owner = owner
        self.flag_absent = flag_absent
        self.path_names: tuple[str, ...] = ()
        """To be set before the first event that has results is encoded."""
        self.schema: tuple[Column, ...] = ()
        self._products = products
        # Event ids are there anyway.
        self._source = [info for info in columns if info.name not in {column.name for column in ID_COLUMNS}]
        self._plans: tuple[ProductColumns, ...] = ()
        self._source_columns: tuple[Column, ...] = ()
        self._waiting: list[Row] = []
        self._patience_bytes = patience_bytes
        self.is_settled = False

    def admit(self, rows: list[Row], *, last: bool = False) -> list[Row]:
        """Look at the types of these events; return those that can be encoded now, none while types are not known.

        Args:
            rows: the next events.
            last: settle with what is known.

        Raises:
            OutputError: if a product cannot be written.
        """
        if self.is_settled:
            return rows
        self._waiting += rows
        self._patience_bytes -= sum(_memory_of(value) for row in rows for value in row[3][PRODUCTS:])
        is_enough = len(self._waiting) >= _SETTLE_ROWS or self._patience_bytes <= 0
        if not self._settle(force=last or is_enough):
            return []
        rows, self._waiting = self._waiting, []
        return rows

    @property
    def unknown(self) -> list[str]:
        """Kept products without a column, because none was ever seen and their type does not tell."""
        return [plan.info.reference for plan in self._plans if not plan.fields]

    def _settle(self, *, force: bool) -> bool:
        rows = self._waiting
        values = {info.reference: [row[3][i] for row in rows] for i, info in enumerate(self._products, PRODUCTS)}
        composite = {info.reference: self._is_composite(info, values[info.reference]) for info in self._products}
        prefix = prefixes(self._products, composite)
        plans = tuple(plan_product(i, values[i.reference], prefix[i.reference], self.owner) for i in self._products)
        if not force and not all(plan.settled for plan in plans):
            return False
        self._plans = plans
        self._source_columns = tuple(self._plan_source(places_of(rows[:_SETTLE_ROWS])))
        self._paths = self.path_names
        paths = [Column(f"path_{name}", _BOOL, doc=f"path '{name}' accepted the event") for name in self._paths]
        fields = [field.column for plan in plans for field in plan.fields]
        flags = [self._flag(plan) for plan in plans if self.flag_absent and plan.fields]
        self.schema = (*ID_COLUMNS, *paths, *flags, *fields, *self._source_columns)
        check_names(self.schema, self.owner)
        self.is_settled = True
        return True

    def _is_composite(self, info: ProductInfo, values: Sequence[Any]) -> bool:
        first = next((value for value in values if value.__class__ is not Absent), None)
        return declares_fields(info.type) if first is None else fields_of(first) is not None

    def _flag(self, plan: ProductColumns) -> Column:
        name = f"{_stem(plan)}_present"
        return Column(name, _BOOL, doc=f"whether there was a {plan.info.reference}", product=plan.info.reference)

    def _plan_source(self, places: Places) -> Iterable[Column]:
        for info in self._source:
            column_type = type_in(places, info.name) if places else declared_type(info.type)
            if column_type is not None:
                collection = info.name.partition("_")[0] if column_type.kind == "jagged" else ""
                yield Column(info.name, column_type, collection, info.doc, info.unit, info.reference)
            elif places:
                raise OutputError(
                    f"output '{self.owner}' cannot write column '{info.name}' of '{places[0][0].origin}': its values "
                    f"are neither numbers nor strings; leave it out with keep=[…, 'drop {info.reference}']"
                )

    def encode(self, rows: list[Row]) -> dict[str, Block]:
        """Columns of these events, in the order of the schema or not.

        Raises:
            OutputError: if a product is of another type than before.
        """
        places = places_of(rows)
        blocks = self._encode_ids(places)
        results, _, *by_product = zip(*(row[3] for row in rows), strict=True)
        for i, name in enumerate(self._paths):
            accepted = [r.__class__ is not Absent and r.accepted[i] for r in results]
            blocks[f"path_{name}"] = Block(None, np.array(accepted, np.bool_))
        for plan, values in zip(self._plans, by_product, strict=True):
            self._encode_product(plan, values, rows, blocks)
        for column in self._source_columns:
            blocks[column.name] = gathered(column.name, places, column.type)
        return blocks

    def _encode_ids(self, places: Places) -> dict[str, Block]:
        parts = [(chunk.runs[at], chunk.lumis[at], chunk.events[at]) for chunk, at in places]
        return {
            column.name: joined([Block(None, part[i].astype(column.type.dtype)) for part in parts])
            for i, column in enumerate(ID_COLUMNS)
        }

    def _encode_product(
        self, plan: ProductColumns, values: Sequence[Any], rows: Sequence[Row], blocks: dict[str, Block]
    ) -> None:
        reference = plan.info.reference

        def where(i: int) -> str:
            _, chunk, row, _ = rows[i]
            event = chunk.event_id(row) if chunk is not None else "?"
            return f"output '{self.owner}': product '{reference}' of event {event}"

        if not plan.fields and any(value.__class__ is not Absent for value in values):
            raise OutputError(
                f"{_first_present(values, where)} is the first there is, and the columns were settled without it; "
                "declare what its module puts, e.g. Output[NDArray[np.float32]], so that they can be known before"
            )
        if self.flag_absent and plan.fields:
            present = [value.__class__ is not Absent for value in values]
            blocks[self._flag(plan).name] = Block(None, np.array(present, np.bool_))
        if plan.shape:
            _check_fields(plan, values, where)
        for field in plan.fields:
            parts = values if field.get is None else _parts(values, field.get)
            blocks[field.column.name] = stacked(parts, field.column.type, where, fill=self.flag_absent)


def places_of(rows: Sequence[Row]) -> Places:
    """Where events are: each run of them in one chunk."""
    chunks = np.fromiter((id(row[1]) for row in rows), np.int64, len(rows))
    numbers = np.fromiter((row[2] for row in rows), np.int64, len(rows))
    cuts = [0, *(np.flatnonzero(np.diff(chunks)) + 1).tolist(), len(rows)]
    runs = ((rows[start][1], numbers[start:stop]) for start, stop in itertools.pairwise(cuts) if start < stop)
    return [(chunk, at) for chunk, at in runs if chunk is not None]


def _memory_of(value: Any) -> int:
    fields = fields_of(value)
    parts = [value] if fields is None else [get(value) for get in fields.values()]
    return sum(part.nbytes for part in parts if isinstance(part, np.ndarray))


def _stem(plan: ProductColumns) -> str:
    column = plan.fields[0].column.name
    return column.removesuffix(f"_{plan.shape[0]}") if plan.shape else column


def _first_present(values: Sequence[Any], where: Callable[[int], str]) -> str:
    return where(next(i for i, value in enumerate(values) if value.__class__ is not Absent))


def _parts(values: Sequence[Any], get: Callable[[Any], Any]) -> list[Any]:
    """One field of each product; of those that are absent, the field is absent."""
    try:
        return [get(value) for value in values]
    except ProductError:
        return [value if value.__class__ is Absent else get(value) for value in values]


def _check_fields(plan: ProductColumns, values: Sequence[Any], where: Callable[[int], str]) -> None:
    """Raise `OutputError` if one of the products has other fields than those that became columns."""
    expected = {plan.type, Absent}
    keys = dict.fromkeys(plan.shape).keys()
    for i, value in enumerate(values):
        if value.__class__ not in expected or (value.__class__ is dict and value.keys() != keys):
            found = ", ".join(fields_of(value) or ()) or "none"
            raise OutputError(
                f"{where(i)} is a {type(value).__name__} with the fields {found}, but events before had a "
                f"{plan.type.__name__ if plan.type else 'product'} with {', '.join(plan.shape)}; columns are the "
                "same for all events: make the module put the same fields each time"
            )


def total_bytes(blocks: Mapping[str, Block]) -> int:
    """Memory that columns take."""
    return sum(block.size_bytes for block in blocks.values())
