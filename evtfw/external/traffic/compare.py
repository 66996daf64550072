"""How two replies to the same request differ."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evtfw.external.contract import Tensors


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """What is found by comparing.

    Args:
        text: what differs beyond the tolerances, for the user; empty if nothing does.
        max_abs: largest absolute difference of two numbers, within the tolerances or not.
        max_rel: largest difference relative to the main reply's number.
    """

    text: str = ""
    max_abs: float = 0.0
    max_rel: float = 0.0


def compare(main: Tensors, second: Tensors, *, rtol: float, atol: float) -> Difference:
    """Compare named outputs: numbers a and b (the main reply's) may differ by ``atol + rtol * abs(b)``.

    NaN equals NaN, and infinity itself. Strings and truth values must be equal.
    """
    texts: list[str] = []
    max_abs = max_rel = 0.0
    for name in sorted({*main, *second}):
        if name not in main or name not in second:
            texts.append(f"'{name}' comes from {'the second' if name in second else 'the first'} only")
            continue
        ours, theirs = main[name], second[name]
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            texts.append(f"'{name}': {theirs.dtype} {list(theirs.shape)}, not {ours.dtype} {list(ours.shape)}")
            continue
        found = _compare_arrays(name, ours, theirs, rtol, atol)
        max_abs, max_rel = max(max_abs, found.max_abs), max(max_rel, found.max_rel)
        texts += [found.text] if found.text else []
    return Difference("; ".join(texts), max_abs, max_rel)


def _compare_arrays(name: str, ours: NDArray[Any], theirs: NDArray[Any], rtol: float, atol: float) -> Difference:
    if not ours.size or ours.tobytes() == theirs.tobytes():
        return Difference()
    if ours.dtype.kind not in "iufc":
        count = int(np.count_nonzero(ours != theirs))
        return Difference(f"'{name}': {count} of {ours.size} elements" if count else "")
    wide = np.complex128 if ours.dtype.kind == "c" else np.float64
    expected, given = ours.astype(wide), theirs.astype(wide)
    with np.errstate(all="ignore"):
        is_equal = (expected == given) | (np.isnan(expected) & np.isnan(given))
        absolute = np.where(is_equal, 0.0, np.abs(given - expected))
        absolute[np.isnan(absolute)] = np.inf
        size = np.abs(expected)
        relative = np.where(is_equal, 0.0, absolute / size)
        relative[np.isnan(relative)] = np.inf
        is_off = ~is_equal & ~((absolute <= atol + rtol * size) & np.isfinite(expected))
    max_abs, max_rel = float(absolute.max()), float(relative.max())
    if not is_off.any():
        return Difference("", max_abs, max_rel)
    at = np.unravel_index(int(np.argmax(np.where(is_off, absolute, -1.0))), ours.shape)
    where = f"[{', '.join(str(int(n)) for n in at)}]" if at else ""
    count = int(np.count_nonzero(is_off))
    text = f"'{name}': {count} of {ours.size} elements, e.g. {name}{where} {theirs[at]}, not {ours[at]}"
    return Difference(text, max_abs, max_rel)
