"""Figures of merit of a tagger from its scores: ROC curve, AUC, accuracy, background rejection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]
BoolArray = npt.NDArray[np.bool_]

# The working point at which the top-tagging literature quotes 1/eps_B (Butter et al., arXiv:1902.09914).
SIGNAL_EFFICIENCY = 0.3


@dataclass(frozen=True, slots=True)
class Metrics:
    """How well scores tell tops from QCD jets.

    Attributes:
        n_top: Number of top jets.
        n_qcd: Number of QCD jets.
        auc: Area under the ROC curve.
        accuracy: Share of jets on their own side of a score of 0.5.
        background_rejection: 1/eps_B at eps_S = 30%; infinite if no QCD jet passes.
    """

    n_top: int
    n_qcd: int
    auc: float
    accuracy: float
    background_rejection: float


def roc_curve(score: FloatArray, is_top: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Efficiencies at every distinct threshold, from the tightest to the loosest.

    Args:
        score: Top probability, [n].
        is_top: Truth, bool [n].

    Returns:
        Background and signal efficiency, float64 [n_thresholds + 1]; both start at 0 and end at 1.
    """
    order = np.argsort(-score, kind="stable")
    # Jets of equal score pass together: only the last of each group is a point of the curve.
    last_of_group = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    top = np.cumsum(is_top[order])[last_of_group]
    qcd = np.cumsum(~is_top[order])[last_of_group]
    return np.append(0.0, qcd / qcd[-1]), np.append(0.0, top / top[-1])


def evaluate_scores(score: FloatArray, is_top: BoolArray) -> Metrics:
    """All figures of merit.

    Args:
        score: Top probability, [n].
        is_top: Truth, bool [n]; both classes must be present.

    Returns:
        The figures; the rejection is read off at the threshold whose eps_S is nearest to 30%, as in the literature.

    Raises:
        ValueError: One class is missing.
    """
    n_top = int(np.count_nonzero(is_top))
    if n_top in (0, len(is_top)):
        raise ValueError(f"a ROC curve needs both classes: {n_top} top and {len(is_top) - n_top} QCD jets given")
    eps_background, eps_signal = roc_curve(score, is_top)
    at_working_point = eps_background[np.argmin(np.abs(eps_signal - SIGNAL_EFFICIENCY))]
    return Metrics(
        n_top=n_top,
        n_qcd=len(is_top) - n_top,
        auc=float(np.trapezoid(eps_signal, eps_background)),
        accuracy=float(np.mean((score > 0.5) == is_top)),
        background_rejection=float(1.0 / at_working_point) if at_working_point > 0.0 else float("inf"),
    )
