"""Universal Binary JSON (draft 12 of ubjson.org), as XGBoost writes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

_NUMBERS: Final = {"i": ">i1", "U": ">u1", "I": ">i2", "l": ">i4", "L": ">i8", "d": ">f4", "D": ">f8"}
_CONSTANTS: Final = {"Z": None, "T": True, "F": False}


def loads(data: bytes) -> Any:
    """Return what a document holds; arrays of numbers of one type come as numpy arrays.

    Raises:
        ValueError: it is no such document.
    """
    try:
        return _Reader(data).value()
    except (IndexError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"no UBJSON: {error}") from error


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def value(self, kind: str = "") -> Any:
        kind = kind or self._marker()
        if kind in _NUMBERS:
            return self._numbers(kind, 1)[0].item()
        if kind in _CONSTANTS:
            return _CONSTANTS[kind]
        readers: dict[str, Callable[[], Any]] = {
            "S": self._text,
            "C": lambda: self._bytes(1).decode(),
            "[": self._array,
            "{": self._object,
        }
        if kind not in readers:
            raise ValueError(f"no UBJSON: {kind!r} at byte {self._at - 1} is no type")
        return readers[kind]()

    def _array(self) -> Any:
        kind, count = self._header()
        if kind in _NUMBERS and count is not None:
            return self._numbers(kind, count)
        if count is not None:
            return [self.value(kind) for _ in range(count)]
        values = []
        while not self._skip("]"):
            values.append(self.value())
        return values

    def _object(self) -> dict[str, Any]:
        kind, count = self._header()
        if count is not None:
            return {self._text(): self.value(kind) for _ in range(count)}
        values = {}
        while not self._skip("}"):
            name = self._text()
            values[name] = self.value()
        return values

    def _header(self) -> tuple[str, int | None]:
        """The type and the number of what follows, if they are given once for all."""
        kind = self._marker() if self._skip("$") else ""
        return kind, int(self.value()) if self._skip("#") else None

    def _text(self) -> str:
        return self._bytes(int(self.value())).decode()

    def _numbers(self, kind: str, count: int) -> Any:
        dtype = np.dtype(_NUMBERS[kind])
        return np.frombuffer(self._bytes(count * dtype.itemsize), dtype).astype(dtype.newbyteorder("="))

    def _marker(self) -> str:
        return self._bytes(1).decode("latin-1")

    def _skip(self, marker: str) -> bool:
        found = self._data[self._at : self._at + 1] == marker.encode()
        self._at += found
        return found

    def _bytes(self, count: int) -> bytes:
        if not 0 <= count <= len(self._data) - self._at:
            raise ValueError(f"no UBJSON: it ends at byte {len(self._data)}, but {count} more belong at {self._at}")
        self._at += count
        return self._data[self._at - count : self._at]
