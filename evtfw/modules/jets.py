"""Jets of an event, and their selection."""

from __future__ import annotations

import dataclasses
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from evtfw.core.declare import Input, Output, Parameter
from evtfw.core.event import Event
from evtfw.core.module import Producer

FloatColumn: TypeAlias = NDArray[np.float32] | NDArray[np.float64]
"""A branch of floating-point numbers, one value per object of the event."""
IndexColumn: TypeAlias = NDArray[np.int16] | NDArray[np.int32] | NDArray[np.int64] | NDArray[np.uint32]
"""A branch of references to the objects of another collection."""


@dataclasses.dataclass(frozen=True, slots=True)
class Jets:
    """The selected jets of an event, in the order of the input.

    Args:
        pt_gev: transverse momenta in GeV, float32 [n].
        eta: pseudorapidities, float32 [n].
        phi: azimuths in radians, float32 [n].
        mass_gev: masses in GeV, float32 [n].
        index: position of each jet in the collection it was selected from, int32 [n].
    """

    pt_gev: NDArray[np.float32]
    eta: NDArray[np.float32]
    phi: NDArray[np.float32]
    mass_gev: NDArray[np.float32]
    index: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.pt_gev)


def selected(
    pt_gev: FloatColumn,
    eta: FloatColumn,
    *,
    pt_min_gev: float,
    pt_max_gev: float | None = None,
    abs_eta_max: float | None = None,
    max_jets: int | None = None,
) -> NDArray[np.int64]:
    """Return the positions of the jets that pass, ascending.

    Args:
        pt_gev: transverse momenta in GeV, [n].
        eta: pseudorapidities, [n].
        pt_min_gev: lowest pT that passes.
        pt_max_gev: pT must be below.
        abs_eta_max: abs(eta) must be below.
        max_jets: of those that pass, only so many with the highest pT.

    >>> selected(np.array([700.0, 600.0, 90.0]), np.array([2.7, 0.3, 0.1]), pt_min_gev=550.0, abs_eta_max=2.0)
    array([1])
    """
    passes = pt_gev >= pt_min_gev
    if pt_max_gev is not None:
        passes &= pt_gev < pt_max_gev
    if abs_eta_max is not None:
        passes &= np.abs(eta) < abs_eta_max
    positions = passes.nonzero()[0]
    if max_jets is not None and len(positions) > max_jets:
        hardest = np.argsort(-pt_gev[positions], kind="stable")[:max_jets]
        positions = np.sort(positions[hardest])
    return positions


class JetSelector(Producer):
    """Selects jets by transverse momentum and pseudorapidity."""

    collection = Parameter[str](
        "name of the jet collection, the part of its branches' names before '_'", default="FatJet"
    )
    pt_min_gev = Parameter[float]("lowest transverse momentum", default=200.0, unit="GeV", ge=0)
    pt_max_gev = Parameter[float | None](
        "transverse momentum must be below; None: no limit", default=None, unit="GeV", gt=0
    )
    abs_eta_max = Parameter[float | None]("abs(eta) must be below; None: no limit", default=2.4, gt=0)
    max_jets = Parameter[int | None]("keep only so many jets with the highest pT; None: all", default=None, ge=1)

    pt = Input[FloatColumn]("transverse momenta, [n]", default="source:{collection}_pt", unit="GeV")
    eta = Input[FloatColumn]("pseudorapidities, [n]", default="source:{collection}_eta")
    phi = Input[FloatColumn]("azimuths, [n]", default="source:{collection}_phi", unit="rad")
    mass = Input[FloatColumn]("masses, [n]", default="source:{collection}_mass", unit="GeV")

    jets = Output[Jets]("the jets that pass, in the order of the input")

    def produce(self, event: Event) -> None:
        """Put the jets that pass."""
        pt, eta = event[self.pt], event[self.eta]
        index = selected(
            pt,
            eta,
            pt_min_gev=self.pt_min_gev,
            pt_max_gev=self.pt_max_gev,
            abs_eta_max=self.abs_eta_max,
            max_jets=self.max_jets,
        )
        event[self.jets] = Jets(
            pt_gev=taken(pt, index),
            eta=taken(eta, index),
            phi=taken(event[self.phi], index),
            mass_gev=taken(event[self.mass], index),
            index=index.astype(np.int32),
        )


def taken(values: FloatColumn, index: NDArray[np.integer]) -> NDArray[np.float32]:
    """Return the values at some positions as float32."""
    return values.take(index).astype(np.float32, copy=False)
