"""Windows that slide over a row: what a convolution or a mean sees at each place, gathered (im2col).

The order of the places in a window is hls4ml's: along the axes first, channels innermost.
"""

from __future__ import annotations

import dataclasses
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.fixed.graph import GraphBuilder, Signal
from evtfw.external.emulator.fixed.layer_formats import size
from evtfw.external.emulator.network import Shape

Places: TypeAlias = NDArray[np.int64]


@dataclasses.dataclass(frozen=True, slots=True)
class Sliding:
    """How windows slide.

    Args:
        window, strides, dilations: for each axis after the channel's.
        pads: before each such axis, then after each.
    """

    window: Shape
    strides: Shape
    pads: Shape
    dilations: Shape

    def positions(self, shape: Shape) -> Shape:
        """Return how many windows fit along each axis of a row of ``shape``, channels first."""
        axes = len(self.window)
        spans = [d * (k - 1) + 1 for k, d in zip(self.window, self.dilations, strict=True)]
        padded = [n + a + b for n, a, b in zip(shape[1:], self.pads[:axes], self.pads[axes:], strict=True)]
        return tuple((n - span) // s + 1 for n, span, s in zip(padded, spans, self.strides, strict=True))

    def places(self, shape: Shape) -> Places:
        """Return where in a row each window's values are.

        Args:
            shape: of the row, channels first.

        Returns:
            [windows, values in a window], indices into the flattened axes after the channel's; beyond their end, at
            ``size(shape[1:])``, where the window covers padding.
        """
        axes = zip(shape[1:], self.positions(shape), self.window, self.strides, self.dilations, self.pads, strict=False)
        found, is_padding = np.zeros((1, 1), np.int64), np.zeros((1, 1), np.int64)
        for length, count, window, stride, dilation, pad in axes:
            along = (np.arange(count) * stride - pad)[:, None] + np.arange(window) * dilation
            found = _outer(found * length, along)
            is_padding = _outer(is_padding, ((along < 0) | (along >= length)).astype(np.int64))
        return np.where(is_padding > 0, size(shape[1:]), found)


def _outer(before: Places, along: Places) -> Places:
    """Return the sums of [windows, values] of the axes before and of one more, whose indices run fastest."""
    every = before[:, None, :, None] + along[None, :, None, :]
    return np.asarray(every.reshape(len(before) * len(along), -1))


def check_sliding(graph: GraphBuilder, layer: str, sliding: Sliding, source: Signal, shape: Shape) -> None:
    """Check that windows over a signal give a row of ``shape``, channels first.

    Raises:
        ConfigurationError: they do not; hls4ml rounds positions down and knows no other mode.
    """
    axes = len(sliding.window)
    if not 1 <= axes <= 2 or len(source.shape) != axes + 1:
        raise ConfigurationError(
            f"{graph.name}: layer '{layer}' slides windows {sliding.window} over rows of shape {source.shape}; "
            f"supported are one or two axes after the channel's"
        )
    positions = sliding.positions(source.shape)
    if shape[1:] not in (positions, ()) or (shape[1:] == () and size(positions) != 1):
        raise ConfigurationError(
            f"{graph.name}: windows of layer '{layer}' fit at {positions} positions, but its rows have shape {shape}; "
            f"positions are rounded down (no ceil_mode), so add pads at the end instead"
        )


def windows(graph: GraphBuilder, source: Signal, places: Places, *, padding: float = 0.0) -> Signal:
    """Gather windows.

    Args:
        graph: to add nodes to.
        source: rows, channels first.
        places: of each window, from `Sliding.places`.
        padding: value of what is not in the row.

    Returns:
        Rows of shape [windows, values in a window, channels].
    """
    channels, length = source.shape[0], size(source.shape[1:])
    shape = (*places.shape, channels)
    name = graph.node("Transpose", [source.name], perm=[0, *range(2, len(source.shape) + 1), 1])
    has_padding = bool((places == length).any())
    if np.array_equal(places.ravel(), np.arange(length)):
        return dataclasses.replace(source, name=reshaped(graph, name, shape), shape=shape)
    name = reshaped(graph, name, (length, channels))
    if has_padding:
        fill = graph.constant(padding * 2.0**source.scale, source.dtype)
        name = graph.node("Pad", [name, graph.constant([0, 0, 0, 0, 1, 0], np.int64), fill])
    name = graph.node("Gather", [name, graph.constant(places, np.int64)], axis=1)
    lowest = min(source.lowest, padding) if has_padding else source.lowest
    highest = max(source.highest, padding) if has_padding else source.highest
    return dataclasses.replace(source, name=name, shape=shape, lowest=lowest, highest=highest)


def channels_first(graph: GraphBuilder, source: Signal, shape: Shape) -> Signal:
    """Give rows of shape [windows, channels] the ``shape`` [channels, …]."""
    name = graph.node("Transpose", [source.name], perm=[0, 2, 1]) if source.shape[0] > 1 else source.name
    return dataclasses.replace(source, name=reshaped(graph, name, shape), shape=shape)


def reshaped(graph: GraphBuilder, name: str, shape: Shape) -> str:
    """Return a tensor whose rows have another shape."""
    return graph.node("Reshape", [name, graph.constant([0, *shape], np.int64)])
