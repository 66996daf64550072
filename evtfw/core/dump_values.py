"""Python expressions that make given values again."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import enum
import functools
import math
import sys
from collections.abc import Mapping
from pathlib import Path, PurePath
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np
from pydantic import BaseModel

from evtfw.core.dump_imports import Imports, NotWritable
from evtfw.core.dump_layout import Expression, Group, call, quoted

_NAMED = (type, FunctionType, BuiltinFunctionType)


def write_value(value: Any, imports: Imports) -> Expression:
    """Return an expression that makes the value; what it needs is added to ``imports``.

    Understood are numbers, strings, containers, paths, enumerations, dataclasses, named tuples, pydantic models, NumPy
    arrays, scalars and types, functions and classes that can be imported, ``functools.partial`` of them, and every
    object whose ``repr`` is a call that makes it.

    Raises:
        NotWritable: if there is no such expression.
    """
    for writer in (_plain, _container, _numpy, _named, _record):
        written = writer(value, imports)
        if written is not None:
            return written
    return _by_repr(value, imports)


def _plain(value: Any, imports: Imports) -> Expression | None:
    kind = type(value)
    if value is None or value is Ellipsis or kind in (bool, int):
        return repr(value)
    if kind is float:
        return repr(value).replace("e+", "e") if math.isfinite(value) else f'float("{value}")'
    if kind is complex:
        return call("complex", [("", write_value(part, imports)) for part in (value.real, value.imag)])
    if kind is str:
        return quoted(value)
    if kind is bytes:
        return f"b{quoted(value.decode('ascii'))}" if value.isascii() else f'bytes.fromhex("{value.hex()}")'
    if isinstance(value, PurePath):
        name = "Path" if isinstance(value, Path) else kind.__name__
        return call(f"{imports.module('pathlib')}.{name}", [("", quoted(str(value)))])
    return None


def _container(value: Any, imports: Imports) -> Expression | None:
    kind = type(value)
    if kind in (list, tuple):
        items = tuple(("", write_value(v, imports)) for v in value)
        opening, closing = "[]" if kind is list else "()"
        return Group(opening, items, closing, trailing_comma=kind is tuple and len(items) == 1)
    if kind in (set, frozenset):
        items = tuple(("", w) for w in sorted((write_value(v, imports) for v in value), key=str))
        group = Group("{", items, "}")
        if not items:
            return f"{kind.__name__}()"
        return group if kind is set else call("frozenset", [("", group)])
    if kind is dict:
        entries = ((f"{write_value(k, imports)}: ", write_value(v, imports)) for k, v in value.items())
        return Group("{", tuple(entries), "}")
    return None


def _numpy(value: Any, imports: Imports) -> Expression | None:
    if isinstance(value, np.dtype):
        return call(f"{imports.module('numpy')}.dtype", [("", quoted(_dtype(value)))])
    if isinstance(value, np.generic):
        return call(f"{imports.module('numpy')}.{type(value).__name__}", [("", write_value(value.item(), imports))])
    if isinstance(value, np.ufunc):
        return f"{imports.module('numpy')}.{value.__name__}"
    if type(value) is not np.ndarray:
        return None
    function = f"{imports.module('numpy')}.{'array' if value.size else 'zeros'}"
    content = write_value(value.tolist() if value.size else value.shape, imports)
    return call(function, [("", content), ("dtype=", quoted(_dtype(value.dtype)))])


def _dtype(dtype: np.dtype[Any]) -> str:
    if dtype.hasobject or dtype.names is not None:
        raise NotWritable(f"arrays of type {dtype} have no short text")
    return str(dtype)


def _named(value: Any, imports: Imports) -> Expression | None:
    """What is imported: classes, functions, class methods and members of enumerations."""
    if isinstance(value, _NAMED) or (isinstance(value, MethodType) and isinstance(value.__self__, type)):
        return imports.name(value)
    if isinstance(value, enum.Enum):
        kind = type(value)
        if kind.__members__.get(str(value.name)) is value:
            return f"{imports.name(kind)}.{value.name}"
        return call(imports.name(kind), [("", write_value(value.value, imports))])
    return None


def _record(value: Any, imports: Imports) -> Expression | None:
    """What has fields: dataclasses, pydantic models, named tuples, partial functions."""
    kind = type(value)
    if isinstance(value, functools.partial):
        arguments = [("", write_value(v, imports)) for v in (value.func, *value.args)]
        keywords = [(f"{k}=", write_value(v, imports)) for k, v in value.keywords.items()]
        return call(imports.name(kind), arguments + keywords)
    if dataclasses.is_dataclass(value) and not kind.__dataclass_params__.repr:  # its own repr is how users write it
        with contextlib.suppress(NotWritable):
            return _by_repr(value, imports)
    if dataclasses.is_dataclass(value):
        names = [f.name for f in dataclasses.fields(value) if f.init]
    elif isinstance(value, BaseModel):
        names = list(kind.model_fields)
    elif isinstance(value, tuple) and hasattr(kind, "_fields"):
        names = list(kind._fields)
    else:
        return None
    return call(imports.name(kind), [(f"{name}=", write_value(getattr(value, name), imports)) for name in names])


def _by_repr(value: Any, imports: Imports) -> Expression:
    """For objects whose ``repr`` is a call; that it makes the same is proved by making it."""
    module = sys.modules.get(type(value).__module__)
    known = {**(vars(module) if module else {}), "inf": math.inf, "nan": math.nan, type(value).__name__: type(value)}
    try:
        tree = ast.parse(repr(value), mode="eval").body
        if not isinstance(tree, ast.Call) or repr(_evaluate(tree, known)) != repr(value):
            raise NotWritable("its repr() is not a call that makes it")
        function = _evaluate(tree.func, known)
        arguments = [("", _evaluate(node, known)) for node in tree.args]
        keywords = [(f"{keyword.arg}=", _evaluate(keyword.value, known)) for keyword in tree.keywords]
    except NotWritable:
        raise
    except Exception as error:
        raise NotWritable("its repr() is not a call that makes it") from error
    return call(imports.name(function), [(name, write_value(v, imports)) for name, v in arguments + keywords])


def _evaluate(node: ast.expr, known: Mapping[str, Any]) -> Any:
    """Evaluate what a ``repr`` may be made of: constants, containers, names of its own module, and calls of these."""
    match node:
        case ast.Call():
            keywords = {str(k.arg): _evaluate(k.value, known) for k in node.keywords}
            return _evaluate(node.func, known)(*[_evaluate(a, known) for a in node.args], **keywords)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Name()):
            return -_evaluate(node.operand, known)  # -inf
        case ast.Name():
            return known[node.id] if node.id in known else sys.modules[node.id]
        case ast.Attribute(value=ast.Name(id=module)) if hasattr(sys.modules.get(module), node.attr):
            return getattr(sys.modules[module], node.attr)  # datetime.date: the module, not the class in it
        case ast.Attribute():
            return getattr(_evaluate(node.value, known), node.attr)
        case ast.List() | ast.Tuple():
            items = [_evaluate(item, known) for item in node.elts]
            return items if isinstance(node, ast.List) else tuple(items)
        case ast.Dict():
            keys = [_evaluate(key, known) for key in node.keys if key is not None]
            return dict(zip(keys, [_evaluate(v, known) for v in node.values], strict=True))
        case _:
            return ast.literal_eval(node)
