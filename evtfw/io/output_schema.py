"""From products to columns: which columns a product becomes, their names and their types.

====================================  =======================================================================
product                               columns
====================================  =======================================================================
number, bool                          ``label_name``
string                                ``label_name``
array [n] or [n, k, …]                ``label_name``, n values per event
dataclass, named tuple, dict          ``label_FIELD`` for each field, which must be one of the above; with more than one
                                      such product of a module, ``label_name_FIELD``
column of the source                  its own name
====================================  =======================================================================

``label_name`` is just ``label`` where label and name are the same. Half-precision values are widened to single.
"""

from __future__ import annotations

import dataclasses
import typing
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter, itemgetter
from typing import Any

import numpy as np

from evtfw.core.declare import ProductInfo
from evtfw.core.errors import OutputError
from evtfw.core.event import Absent
from evtfw.core.types import scalar_type
from evtfw.io.output_columns import MANY, ColumnType, first_type, writable


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """A column of the output.

    Args:
        name: in the file.
        type: what one event has in it.
        collection: columns of one collection have the same number of values in each event; empty: on its own.
        doc, unit, product: where it comes from, for the file's metadata.
    """

    name: str
    type: ColumnType
    collection: str = ""
    doc: str = ""
    unit: str | None = None
    product: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """A column that is filled from a product, and how to get at its value."""

    column: Column
    get: Callable[[Any], Any] | None


@dataclasses.dataclass(frozen=True, slots=True)
class ProductColumns:
    """What became of one product: its columns; none as long as no value of it was seen and its type does not tell."""

    info: ProductInfo
    fields: tuple[Field, ...]
    settled: bool
    shape: tuple[str, ...] = ()
    """Names of the fields, if it has any."""
    type: type | None = None
    """Class of the products that have these fields."""


def plan_product(info: ProductInfo, values: Sequence[Any], prefix: str, owner: str) -> ProductColumns:
    """Settle the columns of a product from its values in the first events, or from its declared type.

    Args:
        info: the product.
        values: of the first events, `Absent` where there is none.
        prefix: what the names of its fields begin with.
        owner: label of the output, for messages.

    Raises:
        OutputError: if it is of a type that cannot be written.
    """
    present = [value for value in values if value.__class__ is not Absent]
    if not present:
        return _from_declaration(info, prefix)
    getters = fields_of(present[0])
    if getters is None:
        column_type, settled = first_type(present)
        if column_type is None:
            raise unsupported(info, present[0], owner)
        return ProductColumns(info, (Field(_column(plain_name(info), column_type, info), None),), settled)
    fields, all_settled = [], True
    for name, get in getters.items():
        column_type, settled = first_type([get(value) for value in present])
        if column_type is None:
            raise unsupported(info, get(present[0]), owner, name)
        collection = prefix if column_type.kind == "jagged" else ""
        fields.append(Field(_column(f"{prefix}_{name}", column_type, info, collection, name), get))
        all_settled &= settled
    return ProductColumns(info, tuple(fields), all_settled, tuple(getters), type(present[0]))


def plain_name(info: ProductInfo) -> str:
    """Column of a product without fields."""
    return info.label if info.name == info.label else f"{info.label}_{info.name}"


def prefixes(infos: Iterable[ProductInfo], composite: Mapping[str, bool]) -> dict[str, str]:
    """What the columns of each product's fields begin with, by its reference."""
    infos = list(infos)
    per_module = Counter(info.label for info in infos if composite[info.reference])
    return {i.reference: i.label if per_module[i.label] <= 1 else plain_name(i) for i in infos}


def fields_of(value: Any) -> dict[str, Callable[[Any], Any]] | None:
    """Getters of a composite product's fields by name; None for others."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: attrgetter(field.name) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {name: attrgetter(name) for name in value._fields}
    if isinstance(value, dict):
        return {str(key): itemgetter(key) for key in value}
    return None


def unsupported(info: ProductInfo, value: Any, owner: str, field: str = "") -> OutputError:
    """The error for a product that has no place in a table."""
    what = f"{info.reference}{'.' + field if field else ''}"
    kind = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
    return OutputError(
        f"output '{owner}' cannot write product '{what}': it is {kind}, and columns are made from {MANY}; leave it "
        f"out with keep=[…, 'drop {info.reference}']"
    )


def check_names(columns: Sequence[Column], owner: str) -> None:
    """Raise `OutputError` if two columns have one name, or a name would not do in a file."""
    seen: dict[str, Column] = {}
    for column in columns:
        if not column.name.replace(".", "_").isidentifier():
            raise OutputError(
                f"output '{owner}': '{column.name}' (from '{column.product}') is no name for a column: use letters, "
                "digits and _"
            )
        other = seen.setdefault(column.name, column)
        if other is not column:
            raise OutputError(
                f"output '{owner}': products '{other.product or 'event id'}' and '{column.product or 'event id'}' "
                f"both give a column '{column.name}'; rename a module, or drop one of them"
            )


def _column(
    name: str, column_type: ColumnType, info: ProductInfo, collection: str = "", field: str = ""
) -> Column:  # fmt: skip
    reference = f"{info.reference}.{field}" if field else info.reference
    return Column(name, column_type, collection, info.doc, info.unit, reference)


def _from_declaration(info: ProductInfo, prefix: str) -> ProductColumns:
    """The columns as far as the declared type tells them."""
    plain = declared_type(info.type)
    if plain is not None:
        return ProductColumns(info, (Field(_column(plain_name(info), plain, info), None),), settled=False)
    declared = _declared_fields(info.type)
    types = {name: declared_type(hint) for name, hint in declared.items()}
    if not types or None in types.values():
        return ProductColumns(info, (), settled=False)
    get: Callable[[str], Callable[[Any], Any]] = itemgetter if typing.is_typeddict(info.type) else attrgetter
    fields = tuple(
        Field(_column(f"{prefix}_{n}", t, info, prefix if t.kind == "jagged" else "", n), get(n))
        for n, t in types.items()
        if t
    )
    return ProductColumns(info, fields, settled=False, shape=tuple(types), type=info.type)


def declares_fields(declared: Any) -> bool:
    """Whether products of this type have fields."""
    return bool(_declared_fields(declared))


def _declared_fields(declared: Any) -> dict[str, Any]:
    if not isinstance(declared, type):
        return {}
    if not (dataclasses.is_dataclass(declared) or hasattr(declared, "_fields") or typing.is_typeddict(declared)):
        return {}
    try:
        hints = typing.get_type_hints(declared)
    except (NameError, TypeError):  # written for type checkers only
        return {}
    names = (
        [field.name for field in dataclasses.fields(declared)] if dataclasses.is_dataclass(declared) else list(hints)
    )
    return {name: hints[name] for name in names if name in hints}


def declared_type(declared: Any) -> ColumnType | None:
    """The column type that a declaration such as ``NDArray[np.float32]`` or ``float`` tells, if it does."""
    if declared in (bool, int, float):
        return ColumnType("scalar", np.dtype(declared))
    if declared is str:
        return ColumnType("text", np.dtype(np.uint8))
    if isinstance(declared, type) and issubclass(declared, np.generic):
        return _certain(declared, "scalar")
    scalar = scalar_type(declared)
    return _certain(scalar, "jagged") if scalar is not None else None


def _certain(scalar: type, kind: typing.Literal["scalar", "jagged"]) -> ColumnType | None:
    try:
        dtype = writable(np.dtype(scalar))
    except TypeError:  # np.floating, Any: no certain type
        return None
    return ColumnType(kind, dtype) if dtype is not None else None
