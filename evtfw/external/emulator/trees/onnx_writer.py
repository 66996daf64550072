"""Trees in fixed-point arithmetic as an ONNX model, bit for bit what conifer's C++ computes.

conifer's ``conifer.h`` (backend ``cpp``) rounds features and thresholds to one format and leaves to another; adds the
leaves to the initial value one tree after another, each sum brought back into the format; and multiplies by ``norm``.
Here the operator ``TreeEnsembleRegressor`` compares integers and adds integers, in floating point that holds them
exactly: in whatever order it adds, the sum is the same.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from evtfw.core.errors import ConfigurationError
from evtfw.external.emulator.fixed.arithmetic import add, multiply
from evtfw.external.emulator.fixed.graph import (
    FLOAT32,
    FLOAT64,
    OPSET,
    SIGNIFICAND_BITS,
    GraphBuilder,
    Signal,
)
from evtfw.external.emulator.fixed.rounding import quantise
from evtfw.external.emulator.formats.fixed_point import FixedPoint
from evtfw.external.emulator.network import Tensor
from evtfw.external.emulator.trees.ensemble import Ensemble, Floats
from evtfw.external.emulator.trees.formats import TreeFormats
from evtfw.external.emulator.trees.sums import SumPlan
from evtfw.external.emulator.trees.tree_node import TREE_DOMAIN, TREE_OPSET, tree_attributes

if TYPE_CHECKING:
    import onnx

FEATURES: Final = "features"
SCORES: Final = "scores"
PROBABILITIES: Final = "probabilities"
"""Names of the model's input and outputs."""


def write(
    ensemble: Ensemble, formats: TreeFormats, *, name: str, has_probabilities: bool = False
) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Write trees as an ONNX model and return it with remarks for its card.

    Its input is ``features``, float32 [n, features]; its output ``scores``, [n, scores], float32 if that holds every
    value of the format of scores, else float64.

    Args:
        ensemble: to write.
        formats: of its arithmetic.
        name: of the model.
        has_probabilities: whether there is a second output, ``probabilities``, of the same shape: the logistic or
            softmax function of the scores, computed in floating point on the host.

    Raises:
        ConfigurationError: it cannot be computed exactly, or has no probabilities.
    """
    graph = _TreeGraph(name)
    graph.reserve((SCORES, PROBABILITIES))
    features = _features(graph, ensemble, formats)
    plan = SumPlan.of(ensemble, formats.score)
    sums = _sums(graph, ensemble, formats, features, plan)
    scores = _normalised(graph, ensemble, formats.score, sums)
    dtype = FLOAT32 if formats.score.width <= SIGNIFICAND_BITS[FLOAT32] else FLOAT64
    graph.add_output(SCORES, scores, dtype)
    if has_probabilities:
        graph.add_output(PROBABILITIES, _probabilities(graph, ensemble, scores, dtype), dtype)
    model = graph.model()
    if ensemble.feature_names:
        from onnx import helper

        helper.set_model_props(model, {FEATURES: json.dumps(ensemble.feature_names)})
    return model, tuple(_notes(ensemble, formats, plan, dtype))


class _TreeGraph(GraphBuilder):
    """A graph that may have a node of ONNX's operators for machine learning."""

    opsets: ClassVar[Mapping[str, int]] = {"": OPSET, TREE_DOMAIN: TREE_OPSET}


def _features(graph: GraphBuilder, ensemble: Ensemble, formats: TreeFormats) -> Signal:
    """What is compared: integers in a type that holds them."""
    tensor = Tensor(FEATURES, (ensemble.features,), FLOAT32)
    features = quantise(graph, graph.add_input(tensor), formats.threshold, layer=FEATURES)
    weight = formats.unit_weight()
    if weight != 1:
        # conifer multiplies by a weight of 1, as near as its format comes.
        weights = _constant(graph, np.array([weight]), formats.weight or formats.threshold)
        product = multiply(graph, features, weights, layer=FEATURES)
        features = quantise(graph, product, formats.threshold, layer=FEATURES)
    return graph.cast(features, FLOAT32 if features.bits <= SIGNIFICAND_BITS[FLOAT32] else FLOAT64)


def _sums(graph: GraphBuilder, ensemble: Ensemble, formats: TreeFormats, features: Signal, plan: SumPlan) -> Signal:
    """Initial values plus leaves, brought back into their format where conifer does it and it matters."""
    thresholds = [
        [formats.threshold.quantise(tree.threshold) * 2.0**features.scale for tree in trees] for trees in ensemble.trees
    ]
    attributes = tree_attributes(ensemble, thresholds, plan, features.dtype)
    output = graph.node("TreeEnsembleRegressor", [features.name], name="trees", domain=TREE_DOMAIN, **attributes)
    total = _constant(graph, formats.score.quantise(ensemble.initial), formats.score)
    for group in plan.groups:
        for digit in group.digits:
            columns = _columns(graph, output, digit.columns, plan.targets)
            fraction = digit.fraction
            part = Signal(columns, total.shape, fraction, fraction, digit.lowest, digit.highest, FLOAT32)
            total = add(graph, total, part, layer=SCORES)
        # The digits' bounds are wider than those of the leaves that they make up.
        total = quantise(graph, _bounded(total, group.lowest, group.highest), formats.score, layer=SCORES)
    return total


def _bounded(signal: Signal, lowest: float, highest: float) -> Signal:
    return dataclasses.replace(signal, lowest=max(signal.lowest, lowest), highest=min(signal.highest, highest))


def _columns(graph: GraphBuilder, tensor: str, columns: range, count: int) -> str:
    if len(columns) == count:
        return tensor
    return graph.node("Gather", [tensor, graph.constant(list(columns), np.int64, name="columns")], axis=1)


def _normalised(graph: GraphBuilder, ensemble: Ensemble, score: FixedPoint, sums: Signal) -> Signal:
    factor = float(score.quantise(ensemble.norm))
    if factor == 1:
        return sums
    product = multiply(graph, sums, _constant(graph, np.array([factor]), score), layer=SCORES)
    return quantise(graph, product, score, layer=SCORES)


def _constant(graph: GraphBuilder, values: Floats, format_: FixedPoint) -> Signal:
    """Values of a format, [count], as integers."""
    name = graph.constant(values * 2.0**format_.fraction, FLOAT64)
    ends = float(values.min()), float(values.max())
    return Signal(name, values.shape, format_.fraction, format_.fraction, *ends, FLOAT64, format_)


def _probabilities(graph: GraphBuilder, ensemble: Ensemble, scores: Signal, dtype: np.dtype[Any]) -> Signal:
    if ensemble.link == "identity":
        raise ConfigurationError(
            f"{graph.name}: the scores of this {ensemble.kind} model are no logarithms of odds (it is a regressor, a "
            f"forest, or has a link of its own), so there are no probabilities to add; leave them out"
        )
    name = graph.node("Sigmoid", [SCORES]) if ensemble.link == "logistic" else graph.node("Softmax", [SCORES], axis=1)
    return Signal(name, scores.shape, 0, None, 0.0, 1.0, dtype)


def _notes(ensemble: Ensemble, formats: TreeFormats, plan: SumPlan, dtype: np.dtype[Any]) -> Iterator[str]:
    yield from ensemble.notes
    score, threshold = formats.score, formats.threshold
    if dtype != FLOAT32:
        yield f"the scores are {dtype.name}, as float32 does not hold every value of {score}"
    weight, factor = formats.unit_weight(), float(score.quantise(ensemble.norm))
    if weight != 1:
        yield (
            f"conifer multiplies each feature by 1 before it compares it, which {formats.weight or threshold} does not "
            f"hold: by {weight:g} in truth; give one more bit before the point"
        )
    if ensemble.norm == 1 != factor:
        yield (
            f"conifer multiplies the scores by 1, which {score} does not hold: by {factor:g} in truth; give one more "
            f"bit before the point"
        )
    thresholds = np.concatenate([tree.threshold[~tree.is_leaf] for trees in ensemble.trees for tree in trees])
    beyond = np.count_nonzero((thresholds < threshold.lowest) | (thresholds >= threshold.highest + threshold.step))
    if beyond:
        yield f"{beyond} of {thresholds.size} thresholds are beyond the range of {threshold}"
    lowest, highest = plan.extremes(ensemble.initial, score)
    if lowest < score.lowest or highest > score.highest:
        yield (
            f"sums can leave the range of {score} where all trees agree: as far as {lowest:g} or {highest:g}"
            + ("" if score.overflow == "WRAP" else f"; {_ORDER}")
        )


_ORDER: Final = (
    "they are added one after another, as in conifer's C++; its HLS firmware adds in pairs, so that sums that saturate "
    "on the way can differ there"
)
