"""The two number formats of boosted trees: of what is compared, and of what is summed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Final

from evtfw.core.errors import ConfigurationError, nearest
from evtfw.external.emulator.formats.fixed_point import FixedPoint

_NAMES: Final = {
    "precision": ("precision", "Precision"),
    "input": ("input", "input_precision", "InputPrecision"),
    "threshold": ("threshold", "threshold_precision", "ThresholdPrecision"),
    "weight": ("weight", "weight_precision", "WeightPrecision"),
    "score": ("score", "score_precision", "ScorePrecision"),
}
"""Our names and those of conifer's configuration."""


@dataclasses.dataclass(frozen=True, slots=True)
class TreeFormats:
    """How an ensemble is computed; conifer's names in brackets.

    Args:
        threshold: of features and thresholds (``InputPrecision``, ``ThresholdPrecision``: its C++ wants them equal).
        score: of leaves, sums and the factor on sums (``ScorePrecision``).
        weight: of the number 1 that conifer multiplies a feature with before comparing it (``WeightPrecision``); it
            matters only where the format does not hold 1. None: as ``threshold``.
    """

    threshold: FixedPoint
    score: FixedPoint
    weight: FixedPoint | None = None

    def __str__(self) -> str:
        weight = "" if self.weight in (None, self.threshold) else f"; weight={self.weight}"
        if self.threshold == self.score and not weight:
            return str(self.score)
        return f"threshold={self.threshold}; score={self.score}{weight}"

    def unit_weight(self) -> float:
        """What the factor of 1 on features becomes in its format."""
        return float((self.weight or self.threshold).quantise(1.0))

    @classmethod
    def parse(cls, given: str | Mapping[str, str] | TreeFormats) -> TreeFormats:
        """Read formats.

        Args:
            given: one format for all, e.g. ``ap_fixed<16,6>``; several by name, separated by semicolons, e.g.
                ``threshold=ap_fixed<12,6>; score=ap_fixed<18,8>``; or a dictionary of these names or of conifer's
                (``Precision``, ``ThresholdPrecision``, …; others in it are not ours).

        Raises:
            ConfigurationError: it is none of these, or one that conifer's C++ has not either.
        """
        if isinstance(given, TreeFormats):
            return given
        named = _by_name(given) if isinstance(given, str) else given
        texts = {name: named[k] for name, keys in _NAMES.items() for k in keys if named.get(k) is not None}
        # conifer's MultiPrecisionConfig has the same defaults.
        compared = texts.get("input", texts.get("precision"))
        threshold = texts.get("threshold", compared)
        score = texts.get("score", texts.get("precision"))
        if threshold is None or score is None:
            raise ConfigurationError(
                f"formats of trees '{given}' lack one for {'thresholds' if threshold is None else 'scores'}; write one "
                f"for all, e.g. ap_fixed<16,6>, or 'threshold=ap_fixed<12,6>; score=ap_fixed<18,8>'"
            )
        formats = cls(
            FixedPoint.parse(threshold),
            FixedPoint.parse(score),
            FixedPoint.parse(texts["weight"]) if "weight" in texts else None,
        )
        if compared is not None and "input" in texts and FixedPoint.parse(compared) != formats.threshold:
            raise ConfigurationError(
                f"inputs are {compared}, but thresholds are {threshold}; conifer's C++ compares values of one format "
                f"only: give both the same"
            )
        return formats


def _by_name(text: str) -> dict[str, str]:
    if "=" not in text:
        return {"precision": text}
    found = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, equals, value = (word.strip() for word in part.partition("="))
        if not equals or name not in _NAMES:
            raise ConfigurationError(
                f"formats of trees '{text}': '{part}' is no NAME=FORMAT{nearest(name, _NAMES)}; e.g. "
                f"'threshold=ap_fixed<12,6>; score=ap_fixed<18,8>'"
            )
        found[name] = value
    return found
