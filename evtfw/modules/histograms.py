"""Histograms of jets and of what was found about them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evtfw.core.declare import Accumulator, Input, Parameter
from evtfw.core.event import Event
from evtfw.core.module import SHARED, Analyzer
from evtfw.modules.jets import Jets

if TYPE_CHECKING:
    from hist import Hist

EVENTS_PER_FILL = 1024  # a call of hist's fill costs as much as 2000 values in it
_BELOW_ONE = np.nextafter(np.float32(1.0), np.float32(0.0))


def within_unity(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return scores of which those of exactly 1 lie in the last bin of an axis from 0 to 1, not above it."""
    return np.minimum(scores, _BELOW_ONE)


def _pt(module: JetHistograms) -> Hist[Any]:
    return _histogram("pt", "jet $p_T$ [GeV]", module.bins, 0.0, module.pt_max_gev)


def _eta(module: JetHistograms) -> Hist[Any]:
    return _histogram("eta", r"jet $\eta$", module.bins, -module.abs_eta_max, module.abs_eta_max)


def _mass(module: JetHistograms) -> Hist[Any]:
    return _histogram("mass", "jet mass [GeV]", module.bins, 0.0, module.mass_max_gev)


def _softdrop_mass(module: TopTagHistograms) -> Hist[Any]:
    return _histogram("softdrop_mass", "jet soft-drop mass [GeV]", module.bins, 0.0, module.mass_max_gev)


def _score(module: TopTagHistograms) -> Hist[Any]:
    return _histogram("score", "top quark score", module.bins, 0.0, 1.0)


def _histogram(name: str, label: str, bins: int, low: float, high: float) -> Hist[Any]:
    import hist

    return hist.Hist(hist.axis.Regular(bins, low, high, name=name, label=label), label="jets")


class JetHistograms(Analyzer):
    """Histograms of transverse momentum, pseudorapidity and mass of jets."""

    concurrency = SHARED

    bins = Parameter[int]("bins of each histogram", default=50, ge=1)
    pt_max_gev = Parameter[float]("upper edge for transverse momenta", default=1000.0, unit="GeV", gt=0)
    abs_eta_max = Parameter[float]("edges for pseudorapidities", default=2.5, gt=0)
    mass_max_gev = Parameter[float]("upper edge for masses", default=300.0, unit="GeV", gt=0)

    jets = Input[Jets]("jets", default="jets")

    pt = Accumulator["Hist[Any]"]("transverse momentum of jets", make=_pt, unit="GeV")
    eta = Accumulator["Hist[Any]"]("pseudorapidity of jets", make=_eta)
    mass = Accumulator["Hist[Any]"]("mass of jets", make=_mass, unit="GeV")

    def begin_job(self) -> None:
        """Begin with nothing collected; the histograms are made now, before events wait for it."""
        names = self.declared(Accumulator)
        self._filling = threading.Lock()
        self._collected: dict[str, list[NDArray[Any]]] = {name: [] for name in names}
        for name in names:
            getattr(self, name)

    def values(self, event: Event) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yield what to fill, by the accumulator's name; for subclasses with further histograms. Thread-safe."""
        jets = event[self.jets]
        yield "pt", jets.pt_gev
        yield "eta", jets.eta
        yield "mass", jets.mass_gev

    def analyze(self, event: Event) -> None:
        """Collect the values; they are filled for many events at once."""
        for name, values in self.values(event):
            self._collected[name].append(values)
        if len(self._collected["pt"]) >= EVENTS_PER_FILL:
            self._fill()

    def end_stream(self, stream: int) -> None:
        """Fill what is left."""
        self._fill()

    def _fill(self) -> None:
        with self._filling:
            for name, arrays in self._collected.items():
                values = arrays[:]
                del arrays[: len(values)]  # other threads may have appended some meanwhile
                if values:
                    getattr(self, name).fill(np.concatenate(values))


class TopTagHistograms(JetHistograms):
    """Histograms of jets with their soft-drop mass and top quark score."""

    softdrop_mass_gev = Input[NDArray[np.float32]](
        "soft-drop masses, float32 [n]", default="softdrop:mass_gev", unit="GeV"
    )
    scores = Input[NDArray[np.float32]]("top quark scores, float32 [n]", default="toptag:scores")

    softdrop_mass = Accumulator["Hist[Any]"]("soft-drop mass of jets", make=_softdrop_mass, unit="GeV")
    score = Accumulator["Hist[Any]"]("top quark score of jets", make=_score)

    def values(self, event: Event) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yield what to fill, by the accumulator's name."""
        yield from super().values(event)
        yield "softdrop_mass", event[self.softdrop_mass_gev]
        yield "score", within_unity(event[self.scores])
