"""QONNX's nodes: what they round to; see the operators of qonnx (``qonnx.custom_op.general``)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from evtfw.core.errors import nearest
from evtfw.external.emulator.formats.fixed_point import FixedPoint, FixedPointGrid, Rounding
from evtfw.external.emulator.network import Floats, Quantise, Scale

if TYPE_CHECKING:
    from evtfw.external.emulator.reading.onnx_graph import Node, OnnxGraph
    from evtfw.external.emulator.reading.reader import Reader

QUANTISERS: Final = frozenset({"Quant", "IntQuant", "BipolarQuant", "Trunc"})

_ROUNDINGS: Final[dict[str, Rounding]] = {
    "ROUND": "RND_CONV",
    "HALF_EVEN": "RND_CONV",
    "FLOOR": "TRN",
    "DOWN": "TRN_ZERO",
    "HALF_UP": "RND_INF",
    "HALF_DOWN": "RND_ZERO",
}
"""ap_fixed's name of each of QONNX's modes; CEIL and UP (away from zero) have none."""

_CHANNELS_LAST: Final = "qonnx.custom_op.channels_last"


def quantise(reader: Reader, node: Node) -> None:
    """A Quant or IntQuant of values."""
    name, output, shape = reader.place(node)
    source = reader.tensor(node)
    format_ = _format(reader.graph, node, len(shape))
    reader.add(Quantise(name=name, inputs=(source,), output=output, shape=shape, format=format_))


def bipolar(reader: Reader, node: Node) -> None:
    """A BipolarQuant of values: ``scale`` from 0 on, ``-scale`` below.

    Rounding down to one saturating bit gives -1 below 0 and 0 else; the scaling that follows makes the two values.
    """
    name, output, shape = reader.place(node)
    source = reader.tensor(node)
    scale = float(_powers(node, reader.graph.constants[node.inputs[1]]).reshape(-1)[0])
    sign = reader.unique(f"{name}/sign")
    one_bit = FixedPoint(1, 1, rounding="TRN", overflow="SAT")
    ones = np.ones(shape[0])
    reader.add(Quantise(name=sign, inputs=(source,), output=sign, shape=shape, format=one_bit))
    reader.add(Scale(name=name, inputs=(sign,), output=output, shape=shape, scale=2 * scale * ones, shift=scale * ones))
    reader.weight_formats[name] = reader.bias_formats[name] = _covering(np.array(2 * scale), 3)


def truncate(reader: Reader, node: Node) -> None:
    """A Trunc with its output's scale (version 2): rounding to the input's grid, then to the output's."""
    from evtfw.external.emulator.reading.reader import Unsupported

    if len(node.inputs) != 6:
        raise Unsupported("only version 2 of Trunc, with a scale of its output, is emulated; export by qonnx >= 1.0")
    name, output, shape = reader.place(node)
    source = reader.tensor(node)
    constants = reader.graph.constants
    _check_zero(node, constants[node.inputs[2]])
    is_signed, is_narrow = bool(node.attributes.get("signed", 1)), bool(node.attributes.get("narrow", 0))
    width, rounding = int(constants[node.inputs[5]]), _rounding(node, "FLOOR")
    step = _powers(node, constants[node.inputs[1]])
    # Wide enough for whatever comes: this step rounds, the next one bounds.
    grid = _fixed(step, 40, is_signed=True, is_narrow=False, rounding="RND_CONV", rank=len(shape))
    final = _fixed(
        _powers(node, constants[node.inputs[4]]),
        width,
        is_signed=is_signed,
        is_narrow=is_narrow,
        rounding=rounding,
        rank=len(shape),
    )
    rounded = reader.unique(f"{name}/grid")
    reader.add(Quantise(name=rounded, inputs=(source,), output=rounded, shape=shape, format=grid))
    reader.add(Quantise(name=name, inputs=(rounded,), output=output, shape=shape, format=final))


def quantised_constant(graph: OnnxGraph, node: Node) -> tuple[Floats, FixedPoint]:
    """Return what a quantiser makes of a constant, and a format that holds all of it.

    Raises:
        Unsupported: its scale is no power of two, its zero point not 0, or it truncates.
    """
    from evtfw.external.emulator.reading.reader import Unsupported

    constants = graph.constants
    missing = [name for name in node.inputs if name not in constants]
    if missing or node.op == "Trunc":
        raise Unsupported(f"the constant behind {node} is not just quantised; fold the graph by 'qonnx-cleanup'")
    values = constants[node.inputs[0]].astype(np.float64)
    scale = _powers(node, constants[node.inputs[1]])
    if node.op == "BipolarQuant":
        return np.where(values >= 0, scale, -scale), _covering(scale, 2)
    _check_zero(node, constants[node.inputs[2]])
    width, is_signed = int(constants[node.inputs[3]]), bool(node.attributes.get("signed", 1))
    if width == 1 and is_signed:
        return np.where(values / scale >= 0, scale, -scale), _covering(scale, 2)
    lowest = -(2 ** (width - 1)) + bool(node.attributes.get("narrow", 0)) if is_signed else 0
    highest = 2 ** (width - is_signed) - 1 - (not is_signed and bool(node.attributes.get("narrow", 0)))
    rounded = _rounded(np.clip(values / scale, lowest, highest), str(node.attributes.get("rounding_mode", "ROUND")))
    return rounded * scale, _covering(scale, width, is_signed=is_signed)


def _rounded(values: Floats, mode: str) -> Floats:
    signs, sizes = np.sign(values), np.abs(values)
    rules: dict[str, Callable[[], Floats]] = {
        "CEIL": lambda: np.ceil(values),
        "FLOOR": lambda: np.floor(values),
        "UP": lambda: signs * np.ceil(sizes),
        "DOWN": lambda: np.trunc(values),
        "HALF_UP": lambda: signs * np.floor(sizes + 0.5),
        "HALF_DOWN": lambda: signs * np.ceil(sizes - 0.5),
    }
    return np.asarray(rules.get(mode.upper(), lambda: np.round(values))(), np.float64)


def _format(graph: OnnxGraph, node: Node, rank: int) -> FixedPoint | FixedPointGrid:
    from evtfw.external.emulator.reading.reader import Unsupported

    missing = [name for name in node.inputs[1:4] if name not in graph.constants]
    if missing:
        raise Unsupported(f"its {missing[0]} is computed; scale, zero point and width must be constant")
    scale, zero, width = (graph.constants[name] for name in node.inputs[1:4])
    _check_zero(node, zero)
    if width.size != 1 or int(width.reshape(-1)[0]) != float(width.reshape(-1)[0]):
        raise Unsupported("it has several or broken widths; one whole number of bits is emulated")
    bits, is_signed = int(width.reshape(-1)[0]), bool(node.attributes.get("signed", 1))
    if bits == 1 and is_signed:
        raise Unsupported("1 signed bit means +1 and -1; write it as BipolarQuant, or use 2 bits")
    return _fixed(
        _powers(node, scale),
        bits,
        is_signed=is_signed,
        is_narrow=bool(node.attributes.get("narrow", 0)),
        rounding=_rounding(node, "ROUND"),
        rank=rank,
    )


def _rounding(node: Node, default: str) -> Rounding:
    from evtfw.external.emulator.reading.reader import Unsupported

    mode = str(node.attributes.get("rounding_mode", default)).upper()
    if mode not in _ROUNDINGS:
        raise Unsupported(f"ap_fixed has no rounding mode '{mode}'{nearest(mode, _ROUNDINGS)}")
    return _ROUNDINGS[mode]


def _fixed(
    scale: Floats, width: int, *, is_signed: bool, is_narrow: bool, rounding: Rounding, rank: int
) -> FixedPoint | FixedPointGrid:
    """Return the format of integers of some width times a scale, one or one for each channel."""
    from evtfw.external.emulator.reading.reader import Unsupported

    if is_narrow and not is_signed:
        raise Unsupported("a narrow range without sign has no ap_fixed format; use narrow=0")
    overflow = "SAT_SYM" if is_narrow else "SAT"
    exponents = np.round(np.log2(scale)).astype(np.int64)
    if exponents.min() == exponents.max():
        return FixedPoint(width, width + int(exponents.flat[0]), is_signed, rounding, overflow)  # type: ignore[arg-type]
    exponents = exponents.reshape((1,) * (rank + 1 - exponents.ndim) + exponents.shape)
    if exponents.shape[0] != 1:
        raise Unsupported(f"its scale {scale.shape} differs from row to row of a batch")
    return FixedPointGrid(
        is_signed=np.full_like(exponents[0], is_signed, dtype=np.bool_),
        integer=width - is_signed + exponents[0],
        fraction=-exponents[0],
        rounding=rounding,
        overflow=overflow,  # type: ignore[arg-type]
    )


def _covering(scale: Floats, width: int, *, is_signed: bool = True) -> FixedPoint:
    """Return the narrowest format of integers of some width times any of the scales."""
    exponents = np.round(np.log2(scale)).astype(np.int64)
    integer = width + int(exponents.max())
    return FixedPoint(integer - int(exponents.min()), integer, is_signed)


def _powers(node: Node, scale: NDArray[Any]) -> Floats:
    from evtfw.external.emulator.reading.reader import Unsupported

    values = scale.astype(np.float64)
    broken = [value for value in values.reshape(-1) if value <= 0 or not math.log2(value).is_integer()]
    if broken:
        power = f"2**{round(math.log2(broken[0]))}" if broken[0] > 0 else "one"
        raise Unsupported(
            f"scale {broken[0]:g} of {node} is no power of two, so no fixed-point format has its steps; "
            f"train with power-of-two scales (nearest here: {power})"
        )
    return values


def _check_zero(node: Node, zero: NDArray[Any]) -> None:
    from evtfw.external.emulator.reading.reader import Unsupported

    if np.any(zero != 0):
        raise Unsupported(f"{node} has a zero point of {zero.reshape(-1)[0]:g}; fixed-point formats have 0")


def with_standard_nodes(proto: Any) -> Any:
    """Write QONNX's channels-last nodes as ONNX' own between transpositions; the model is changed and returned."""
    from onnx import helper

    if not any(node.domain == _CHANNELS_LAST for node in proto.graph.node):
        return proto
    nodes = []
    for node in proto.graph.node:
        if node.domain != _CHANNELS_LAST:
            nodes.append(node)
            continue
        axes = _spatial_axes(node)
        first, last = (0, axes + 1, *range(1, axes + 1)), (0, *range(2, axes + 2), 1)
        name, source, output = node.name or node.output[0], node.input[0], node.output[0]
        node.domain, node.input[0], node.output[0] = "", f"{output}/channels_first_in", f"{output}/channels_first_out"
        nodes += [
            helper.make_node("Transpose", [source], [node.input[0]], name=f"{name}/channels_first", perm=first),
            node,
            helper.make_node("Transpose", [node.output[0]], [output], name=f"{name}/channels_last", perm=last),
        ]
        if node.op_type == "Conv":
            weight = f"{node.input[1]}/channels_first"
            nodes.insert(-2, helper.make_node("Transpose", [node.input[1]], [weight], perm=first))
            node.input[1] = weight
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return proto


def _spatial_axes(node: Any) -> int:
    kernels = [attribute.ints for attribute in node.attribute if attribute.name == "kernel_shape"]
    return len(kernels[0]) if kernels else 2
