"""Normalisations folded into the products before them, and transpositions that undo each other left out."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from evtfw.external.emulator.network import Conv, Dense, Floats, Layer, Scale, Transpose
from evtfw.external.emulator.reading.reader import Affine

MayFold: TypeAlias = Callable[[Layer, Affine], bool]
"""Whether the first layer may take in the second; its values between the two are then never rounded."""


def fold(layers: Sequence[Layer], outputs: Sequence[str], may_fold: MayFold) -> tuple[list[Layer], dict[str, str]]:
    """Fold what may be folded and write the rest as `Scale` layers.

    Args:
        layers: as read.
        outputs: of the network.
        may_fold: see `MayFold`.

    Returns:
        The layers, and for each layer that was folded the name of the one that has taken it in.
    """
    folded: dict[str, str] = {}
    current = list(layers)
    while (step := _step(current, outputs, may_fold, folded)) is not None:
        current = step
    return _without_dead([scale for layer in current for scale in _plain(layer)], outputs), folded


def _step(layers: list[Layer], outputs: Sequence[str], may_fold: MayFold, folded: dict[str, str]) -> list[Layer] | None:
    """Apply the first rule that fits; None if there is nothing left to do."""
    uses = Counter(tensor for layer in layers for tensor in layer.inputs)
    uses.update(outputs)
    makers = {layer.output: index for index, layer in enumerate(layers)}
    for index, layer in enumerate(layers):
        before_index = makers.get(layer.inputs[0], -1)
        if before_index < 0 or not isinstance(layer, (Affine, Transpose)):
            continue
        before = layers[before_index]
        if isinstance(layer, Transpose) and isinstance(before, Transpose):
            return _joined(layers, index, before, layer)
        if not isinstance(layer, Affine) or uses[before.output] > 1:
            continue
        replaced = _absorbed(before, layer, may_fold)
        if replaced is not None:
            if not isinstance(before, Transpose):
                taken, by = (layer, before) if not isinstance(before, Affine) else (before, layer)
                folded[taken.name] = by.name
            rest = [other for i, other in enumerate(layers) if i not in (before_index, index)]
            return [*rest[:before_index], *replaced, *rest[before_index:]]
    return None


def _joined(layers: list[Layer], index: int, first: Transpose, second: Transpose) -> list[Layer]:
    """Make one transposition of two; none if they undo each other."""
    order = tuple(first.order[axis] for axis in second.order)
    if order != tuple(range(len(order))):
        joined = dataclasses.replace(second, inputs=first.inputs, order=order)
        return [*layers[:index], joined, *layers[index + 1 :]]
    return _renamed([*layers[:index], *layers[index + 1 :]], second.output, first.inputs[0])


def _renamed(layers: list[Layer], old: str, new: str) -> list[Layer]:
    return [
        dataclasses.replace(layer, inputs=tuple(new if tensor == old else tensor for tensor in layer.inputs))
        if old in layer.inputs
        else layer
        for layer in layers
    ]


def _absorbed(before: Layer, affine: Affine, may_fold: MayFold) -> list[Layer] | None:
    """Return what stands for a layer and the affine one behind it; None if they stay apart."""
    scale, shift = affine.scale, affine.shift
    if isinstance(before, Transpose):
        middle = f"{affine.output}/before"
        moved = dataclasses.replace(
            affine, inputs=before.inputs, output=middle, axis=before.order[affine.axis], shape=_source_shape(before)
        )
        return [moved, dataclasses.replace(before, inputs=(middle,), output=affine.output)]
    if not may_fold(before, affine):
        return None
    if isinstance(before, Dense) and affine.axis == len(before.shape) - 1:
        weight, bias = before.weight * scale, _bias(before.bias, scale, shift)
        return [dataclasses.replace(before, weight=weight, bias=bias, output=affine.output)]
    if isinstance(before, Conv) and affine.axis == 0:
        weight = before.weight * scale.reshape(-1, *(1,) * (before.weight.ndim - 1))
        return [dataclasses.replace(before, weight=weight, bias=_bias(before.bias, scale, shift), output=affine.output)]
    if isinstance(before, Affine) and (before.axis == affine.axis or _is_constant(before) or _is_constant(affine)):
        return [_both(before, affine)]
    return None


def _both(first: Affine, second: Affine) -> Affine:
    """Make one affine layer of two along the same axis, or of which one is the same for all channels."""
    wider = first if _is_constant(second) else second
    size = wider.scale.size
    scale, more, shift, later = (
        values if values.size == size else np.full(size, values[0])
        for values in (first.scale, second.scale, first.shift, second.shift)
    )
    return dataclasses.replace(
        second,
        inputs=first.inputs,
        axis=wider.axis,
        scale=scale * more,
        shift=shift * more + later,
        is_bias=first.is_bias and second.is_bias,
    )


def _source_shape(transpose: Transpose) -> tuple[int, ...]:
    shape = [0] * len(transpose.order)
    for new, old in enumerate(transpose.order):
        shape[old] = transpose.shape[new]
    return tuple(shape)


def _is_constant(affine: Affine) -> bool:
    return bool(np.ptp(affine.scale) == 0 and np.ptp(affine.shift) == 0)


def _bias(bias: Floats | None, scale: Floats, shift: Floats) -> Floats | None:
    folded = shift if bias is None else bias * scale + shift
    return None if bias is None and not folded.any() else np.array(folded)


def _plain(layer: Layer) -> list[Layer]:
    """Write an affine layer as a `Scale`, between transpositions if its axis is not the channel's."""
    if not isinstance(layer, Affine):
        return [layer]
    fields = {"name": layer.name, "scale": layer.scale, "shift": layer.shift}
    if layer.axis == 0:
        return [Scale(inputs=layer.inputs, output=layer.output, shape=layer.shape, **fields)]  # type: ignore[arg-type]
    axes = list(range(len(layer.shape)))
    order = (layer.axis, *(axis for axis in axes if axis != layer.axis))
    back = tuple(order.index(axis) for axis in axes)
    first, scaled = f"{layer.name}/channels_first", f"{layer.name}/scaled"
    shape = tuple(layer.shape[axis] for axis in order)
    return [
        Transpose(name=first, inputs=layer.inputs, output=first, shape=shape, order=order),
        Scale(inputs=(first,), output=scaled, shape=shape, **fields),  # type: ignore[arg-type]
        Transpose(
            name=f"{layer.name}/channels_back", inputs=(scaled,), output=layer.output, shape=layer.shape, order=back
        ),
    ]


def _without_dead(layers: list[Layer], outputs: Sequence[str]) -> list[Layer]:
    """Leave out layers whose values nobody takes."""
    needed, kept = set(outputs), []
    for layer in reversed(layers):
        if layer.output in needed:
            kept.append(layer)
            needed.update(layer.inputs)
    return kept[::-1]
