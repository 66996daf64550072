"""Comparing and naming the types of products."""

from __future__ import annotations

import types
import typing
from typing import Any, get_args, get_origin

import numpy as np


def expanded(annotation: Any) -> Any:
    """What a type alias stands for; NumPy 2.5 makes ``NDArray`` one on Python 3.12 and later.

    >>> expanded(list[int])
    list[int]
    """
    alias = get_origin(annotation) or annotation
    if type(alias).__name__ != "TypeAliasType":
        return annotation
    arguments = get_args(annotation)
    return expanded(alias.__value__[arguments] if arguments else alias.__value__)


def fits(given: Any, wanted: Any) -> bool:
    """Whether a product of type ``given`` may be read as ``wanted``; what is not known, fits.

    >>> from numpy.typing import NDArray
    >>> fits(NDArray[np.float32], np.ndarray), fits(NDArray[np.float32], NDArray[np.int32]), fits(int, float)
    (True, False, True)
    """
    given, wanted = expanded(given), expanded(wanted)
    if wanted in (Any, object) or given in (Any, object) or isinstance(wanted, (str, typing.TypeVar)):
        return True
    if isinstance(given, (str, typing.TypeVar)):
        return True
    if get_origin(wanted) in (typing.Union, types.UnionType):
        return any(fits(given, option) for option in get_args(wanted))
    if get_origin(given) in (typing.Union, types.UnionType):
        return all(fits(option, wanted) for option in get_args(given))
    given_class, wanted_class = get_origin(given) or given, get_origin(wanted) or wanted
    if not (isinstance(given_class, type) and isinstance(wanted_class, type)):
        return True
    if wanted_class is np.ndarray and given_class is np.ndarray:
        return _fits_dtype(given, wanted)
    return issubclass(given_class, wanted_class) or _is_number_for(given_class, wanted_class)


def _is_number_for(given: type, wanted: type) -> bool:
    integers = (int, np.integer)
    if wanted is float:
        return issubclass(given, (*integers, float, np.floating)) and given is not bool
    return (wanted is int and issubclass(given, np.integer)) or (wanted is bool and issubclass(given, np.bool_))


def scalar_type(array: Any) -> Any:
    """The scalar type of an NDArray annotation, or None if it has none."""
    for argument in get_args(expanded(array)):
        if get_origin(argument) is np.dtype:
            inner = get_args(argument)[0]
            return inner if isinstance(inner, type) else None
    return None


def _fits_dtype(given: Any, wanted: Any) -> bool:
    have, need = scalar_type(given), scalar_type(wanted)
    return have is None or need is None or issubclass(have, need) or issubclass(need, have)


def describe_type(annotation: Any) -> str:
    """A type as users write it.

    >>> from numpy.typing import NDArray
    >>> describe_type(NDArray[np.float32]), describe_type(list[int]), describe_type(object)
    ('NDArray[float32]', 'list[int]', 'anything')
    """
    annotation = expanded(annotation)
    if annotation in (Any, object):
        return "anything"
    if get_origin(annotation) is typing.Annotated:
        return describe_type(get_args(annotation)[0])
    if get_origin(annotation) is np.ndarray:
        scalar = scalar_type(annotation)
        return f"NDArray[{scalar.__name__}]" if scalar is not None else "ndarray"
    if get_origin(annotation) is None and isinstance(annotation, type):
        return annotation.__name__
    return str(annotation).replace("typing.", "")
