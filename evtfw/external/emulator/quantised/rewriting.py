"""A float network becomes one in the arithmetic of a device for large networks."""

from __future__ import annotations

import collections
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

from numpy.typing import NDArray

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.card import LayerCard
from evtfw.external.emulator.formats.fixed8 import Fixed8
from evtfw.external.emulator.formats.msfp import Msfp
from evtfw.external.emulator.quantised.cards import layer_cards, with_formats
from evtfw.external.emulator.quantised.fixed8 import Fixed8Rewriter
from evtfw.external.emulator.quantised.folding import fold
from evtfw.external.emulator.quantised.graph import Graph
from evtfw.external.emulator.quantised.msfp import MsfpRewriter
from evtfw.external.emulator.quantised.targets import Target, find_targets

if TYPE_CHECKING:
    from onnx import ModelProto

_MOVES: Final = frozenset(
    {"Relu", "Clip", "MaxPool", "GlobalMaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice"}
    | {"Concat", "Shape", "Gather", "Split", "Resize", "Pad"}
)
"""Operators that make no new values."""


def rewrite(
    model: ModelProto,
    format: str,  # noqa: A002 - the word of the command line
    calibration: Mapping[str, NDArray[Any]] | None = None,
    *,
    keep: Collection[str] = (),
) -> tuple[ModelProto, tuple[LayerCard, ...], tuple[str, ...]]:
    """Return a model with quantised convolutions and dense layers, the cards of its layers, and notes.

    Inputs and outputs keep names, shapes and types. Batch normalisations become part of the layers before them. What
    comes before the first layer and after the last, a softmax for example, is the host's and stays in float32.

    Args:
        model: in float32, with its weights in it; it is not changed.
        format: as `Fixed8.parse` and `Msfp.parse` read it, e.g. ``fixed8``, ``msfp12``, ``msfp<8,3,16>``.
        calibration: for each input of the model some hundred rows like those that it will see, [rows, ...]; ``fixed8``
            takes its scales from them, ``msfp`` needs none.
        keep: names of nodes that shall stay in float.

    Raises:
        ConfigurationError: the format is unknown, the calibration is missing or does not fit, or the model has nothing
            to quantise, or what cannot be rewritten at all; the message names the node.
    """
    number_format = _parse(format)
    if isinstance(number_format, Fixed8) and calibration is None:
        raise ConfigurationError(
            f"format '{format}' takes its scales from rows that run through the float model, and none are given; pass "
            "some hundred rows of each input as calibration"
        )
    graph = fold(model)
    targets, notes = find_targets(graph, keep)
    if isinstance(number_format, Msfp):
        targets, more = _without_depthwise(targets)
        notes += more
    cards = layer_cards(graph, targets)
    if isinstance(number_format, Fixed8):
        rewriter: Fixed8Rewriter | MsfpRewriter = Fixed8Rewriter(graph, targets, number_format, calibration or {})
    else:
        rewriter = MsfpRewriter(graph, targets, number_format)
    notes += _notes_on_the_rest(graph, {*targets, *rewriter.exact_nodes()})
    formats, more = rewriter.rewrite()
    return graph.model(), with_formats(cards, formats), tuple(more + notes)


def _parse(text: str) -> Fixed8 | Msfp:
    return Fixed8.parse(text) if text.strip().startswith("fixed") else Msfp.parse(text)


def _without_depthwise(targets: dict[str, Target]) -> tuple[dict[str, Target], list[str]]:
    """Leave out layers that have no axis for boxes."""
    left = {name: target for name, target in targets.items() if not target.is_depthwise}
    if not left:
        problem = (
            "all convolutions of the model are depthwise, and msfp has boxes of channels that are summed; use fixed8"
        )
        raise ConfigurationError(problem)
    why = "it is depthwise, so that no channels are summed that could share an exponent"
    return left, [f"Conv '{name}' is left in float32: {why}" for name in targets if name not in left]


def _notes_on_the_rest(graph: Graph, exact: Collection[str]) -> list[str]:
    """Say which operators compute in float32, beside those that only move or compare values."""
    counts = collections.Counter(n.op_type for n in graph.nodes if n.name not in exact and n.op_type not in _MOVES)
    named = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    return [f"computed in float32: {named}"] if named else []
