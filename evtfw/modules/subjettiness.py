"""N-subjettiness: how well N axes describe a jet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evtfw.core.declare import Input, Output, Parameter
from evtfw.core.event import Event
from evtfw.core.module import BulkProducer
from evtfw.modules.constituents import Constituents, joined
from evtfw.modules.jets import share_out
from evtfw.modules.reclustering import Reclustering

_UNUSED = 999.0  # how FastJet's interface writes "not given"


def subjettiness(
    reclustering: Reclustering, constituents: Constituents, *, axes: str, beta: float, radius: float
) -> NDArray[np.float32]:
    """Return tau_1, tau_2 and tau_3 of each jet; float32 [n_jets, 3].

    Thaler and Van Tilburg, JHEP 03 (2011) 015, arXiv:1011.2268, with the normalised measure: the sum over particles
    of pT times the distance to the nearest axis to the power ``beta``, divided by that of pT times ``radius ** beta``.
    """
    taus = np.zeros((constituents.n_jets, 3), dtype=np.float32)
    if len(constituents):
        measured = reclustering.sequences(constituents).to_numpy_njettiness(
            "NormalizedMeasure", axes, [1, 2, 3], beta, radius, _UNUSED, int(_UNUSED), _UNUSED
        )
        taus[:] = measured[0].reshape(-1, 3)
    return taus


class Subjettiness(BulkProducer):
    """N-subjettiness tau_1, tau_2 and tau_3 of each jet."""

    axes = Parameter[str](
        "how the axes are found",
        default="OnePass_KT_Axes",
        choices=("KT_Axes", "WTA_KT_Axes", "OnePass_KT_Axes", "CA_Axes"),
    )
    beta = Parameter[float]("power of the distance", default=1.0, gt=0)
    radius = Parameter[float]("radius of the jets", default=0.8, gt=0)

    constituents = Input[Constituents]("particles in each jet", default="constituents")

    tau1 = Output[NDArray[np.float32]]("1-subjettiness, float32 [n]")
    tau2 = Output[NDArray[np.float32]]("2-subjettiness, float32 [n]")
    tau3 = Output[NDArray[np.float32]]("3-subjettiness, float32 [n]")

    def begin_job(self) -> None:
        """Load FastJet."""
        self._reclustering = Reclustering("kt")

    def produce_bulk(self, events: Sequence[Event]) -> None:
        """Measure all jets of the events."""
        parts = [event[self.constituents] for event in events]
        taus = subjettiness(self._reclustering, joined(parts), axes=self.axes, beta=self.beta, radius=self.radius)
        columns = dict(zip((self.tau1, self.tau2, self.tau3), taus.T.copy(), strict=True))
        share_out(events, (part.n_jets for part in parts), columns)
