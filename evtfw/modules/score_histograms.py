"""Histograms that compare the scores of several versions of a classifier, jet by jet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evtfw.core.declare import Accumulator, Input, InputList, Parameter
from evtfw.core.errors import ConfigurationError
from evtfw.core.event import Event
from evtfw.core.module import Analyzer
from evtfw.modules.histograms import EVENTS_PER_FILL, within_unity

if TYPE_CHECKING:
    from hist import Hist

DECISIONS = ("both pass", "only reference", "only this", "both fail")
"""What becomes of a jet at the threshold."""


def _score(module: ScoreComparison) -> Hist[Any]:
    return _histogram("score", "score", module.bins, 0.0, 1.0, module.versions)


def _difference(module: ScoreComparison) -> Hist[Any]:
    label = f"score $-$ score of {module.reference_label}"
    return _histogram("difference", label, module.bins, -module.difference_max, module.difference_max, module.others)


def _histogram(name: str, label: str, bins: int, low: float, high: float, versions: list[str]) -> Hist[Any]:
    import hist

    axis = hist.axis.Regular(bins, low, high, name=name, label=label)
    return hist.Hist(hist.axis.StrCategory(versions, name="version"), axis, label="jets")


def _decision(module: ScoreComparison) -> Hist[Any]:
    import hist

    label = f"decision at a score of {module.score_min:g}, reference {module.reference_label}"
    return hist.Hist(
        hist.axis.StrCategory(module.others, name="version"),
        hist.axis.StrCategory(DECISIONS, name="decision", label=label),
        label="jets",
    )


class ScoreComparison(Analyzer):
    """Histograms of the scores of several versions of a classifier, of their differences and of their decisions."""

    bins = Parameter[int]("bins of each histogram", default=50, ge=1)
    difference_max = Parameter[float]("largest difference from the reference", default=0.25, gt=0)
    score_min = Parameter[float]("lowest score that passes, for the decisions", default=0.5)

    reference = Input[NDArray[np.float32]]("scores to compare with, float32 [n]")
    scores = InputList[NDArray[np.float32]]("scores of all versions, the reference among them; float32 [n] each")

    score = Accumulator["Hist[Any]"]("scores of all versions, 1 within the last bin", make=_score)
    difference = Accumulator["Hist[Any]"]("differences from the reference", make=_difference)
    decision = Accumulator["Hist[Any]"]("jets that pass in both, one or none of the versions", make=_decision)

    @property
    def versions(self) -> list[str]:
        """Labels of the modules whose scores are compared."""
        return [info.label for info in self.scores]

    @property
    def others(self) -> list[str]:
        """The same without the reference."""
        return [info.label for info in self.scores if info.token != self.reference]

    @property
    def reference_label(self) -> str:
        """Label of the reference."""
        return next(info.label for info in self.scores if info.token == self.reference)

    def begin_job(self) -> None:
        """Begin with nothing collected."""
        if all(info.token != self.reference for info in self.scores) or not self.others:
            raise ConfigurationError(
                f"module '{self.label}': scores must name the reference and at least one version more; it names "
                f"{', '.join(info.reference for info in self.scores) or 'nothing'}"
            )
        self._tokens = [(info.label, info.token) for info in self.scores]
        self._collected: dict[str, list[NDArray[np.float32]]] = {name: [] for name in self.versions}
        self._events = 0

    def analyze(self, event: Event) -> None:
        """Collect the scores; they are filled for many events at once."""
        scores = {label: values for label, token in self._tokens if (values := event.get(token)) is not None}
        if len(scores) < len(self._tokens):
            return
        for label, values in scores.items():
            self._collected[label].append(values)
        self._events += 1
        if self._events == EVENTS_PER_FILL:
            self._fill()

    def end_stream(self, stream: int) -> None:
        """Fill what is left."""
        self._fill()

    def _fill(self) -> None:
        if not self._events:
            return
        values = {label: np.concatenate(arrays) for label, arrays in self._collected.items()}
        reference = values[self.reference_label]
        for label, scores in values.items():
            # Fixed-point arithmetic often gives a score of exactly 1: it belongs into the last bin, not above it.
            self.score.fill(label, within_unity(scores))
            if label == self.reference_label:
                continue
            self.difference.fill(label, scores - reference)
            number = 2 * (reference < self.score_min) + (scores < self.score_min)
            # In the order of DECISIONS: both, only the reference, only this, none.
            self.decision.fill(label, np.array(DECISIONS).take(number))
        for arrays in self._collected.values():
            arrays.clear()
        self._events = 0
