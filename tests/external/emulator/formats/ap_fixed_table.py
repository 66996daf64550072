"""The real ``ap_fixed`` of Xilinx' headers, as hls4ml brings them, in one small compiled library."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import numpy as np

from evtfw.external.emulator.formats.fixed_point import FixedPoint

PROGRAM = """
#include "ap_fixed.h"
typedef ap_fixed<{fine_width}, {fine_integer}> fine;
template <class T> void from_double(const double *x, double *y, long n) {{
    for (long i = 0; i < n; i++) {{ T t = x[i]; y[i] = t.to_double(); }}
}}
template <class T> void from_fixed(const double *x, double *y, long n) {{
    for (long i = 0; i < n; i++) {{ fine f = x[i]; T t = f; y[i] = t.to_double(); }}
}}
typedef void (*function)(const double *, double *, long);
extern "C" void convert(int k, int is_from_fixed, const double *x, double *y, long n) {{
    static const function all[][2] = {{ {entries} }};
    all[k][is_from_fixed](x, y, n);
}}
"""


class ApFixedTable:
    """Conversions to some formats; ``fine`` is the format of values that are fixed-point already."""

    def __init__(self, formats: list[FixedPoint], fine: FixedPoint, folder: Path) -> None:
        import hls4ml

        self._formats = formats
        types = [cpp_type(given) for given in formats]
        entries = ",\n".join(f"{{from_double<{kind}>, from_fixed<{kind}>}}" for kind in types)
        source = folder / "table.cpp"
        source.write_text(PROGRAM.format(entries=entries, fine_width=fine.width, fine_integer=fine.integer))
        headers = Path(hls4ml.__file__).parent / "templates/vivado/ap_types"
        command = ["g++", "-O0", "-w", "-std=c++14", "-fPIC", "-shared", f"-I{headers}", str(source)]
        library = folder / "table.so"
        subprocess.run([*command, "-o", str(library)], check=True)
        self._library = ctypes.CDLL(str(library))

    def convert(self, target: FixedPoint, values: np.ndarray, *, is_from_fixed: bool = False) -> np.ndarray:
        given = np.ascontiguousarray(values, dtype=np.float64)
        made = np.zeros_like(given)
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in (given, made)]
        self._library.convert(self._formats.index(target), int(is_from_fixed), *pointers, ctypes.c_long(given.size))
        return made


def cpp_type(given: FixedPoint) -> str:
    sign = "" if given.is_signed else "u"
    return f"ap_{sign}fixed<{given.width}, {given.integer}, AP_{given.rounding}, AP_{given.overflow}>"
