"""Jets of an event, and their selection."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from evtfw.core.declare import Input, Output, Parameter, Token
from evtfw.core.event import Event
from evtfw.core.module import BulkProducer

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

    def between(self, start: int, end: int) -> Jets:
        """Return the jets from ``start`` to ``end`` - 1, without copying."""
        return Jets(
            self.pt_gev[start:end],
            self.eta[start:end],
            self.phi[start:end],
            self.mass_gev[start:end],
            self.index[start:end],
        )


def selected(
    pt_gev: FloatColumn,
    eta: FloatColumn,
    *,
    pt_min_gev: float,
    pt_max_gev: float | None = None,
    abs_eta_max: float | None = None,
) -> NDArray[np.int64]:
    """Return the positions of the jets that pass, ascending.

    Args:
        pt_gev: transverse momenta in GeV, [n].
        eta: pseudorapidities, [n].
        pt_min_gev: lowest pT that passes.
        pt_max_gev: pT must be below.
        abs_eta_max: abs(eta) must be below.

    >>> selected(np.array([700.0, 600.0, 90.0]), np.array([2.7, 0.3, 0.1]), pt_min_gev=550.0, abs_eta_max=2.0)
    array([1])
    """
    passes = pt_gev >= pt_min_gev
    if pt_max_gev is not None:
        passes &= pt_gev < pt_max_gev
    if abs_eta_max is not None:
        passes &= np.abs(eta) < abs_eta_max
    return passes.nonzero()[0]


def hardest(
    positions: NDArray[np.int64], pt_gev: FloatColumn, starts: NDArray[np.int64], max_jets: int
) -> NDArray[np.int64]:
    """Return the positions, ascending, of the ``max_jets`` jets with the highest pT of each event.

    Args:
        positions: of the jets that pass, ascending.
        pt_gev: of all jets of all events.
        starts: position of the first jet of each event.

    >>> hardest(np.array([0, 1, 2]), np.array([5.0, 7.0, 6.0]), starts=np.array([0, 1]), max_jets=1)
    array([0, 1])
    """
    event = starts.searchsorted(positions, side="right")
    by_pt = np.lexsort((-pt_gev[positions], event))
    event = event[by_pt]
    rank = np.arange(len(event)) - event.searchsorted(event)
    return np.sort(positions[by_pt[rank < max_jets]])


class JetSelector(BulkProducer):
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

    def produce_bulk(self, events: Sequence[Event]) -> None:
        """Put the jets that pass."""
        pt, eta, phi, mass = (together(events, column) for column in (self.pt, self.eta, self.phi, self.mass))
        position = selected(
            pt, eta, pt_min_gev=self.pt_min_gev, pt_max_gev=self.pt_max_gev, abs_eta_max=self.abs_eta_max
        )
        starts = np.cumsum([0, *(len(event[self.pt]) for event in events)])
        if self.max_jets is not None:
            position = hardest(position, pt, starts, self.max_jets)
        edges = position.searchsorted(starts)
        index = (position - np.repeat(starts[:-1], np.diff(edges))).astype(np.int32)
        jets = Jets(taken(pt, position), taken(eta, position), taken(phi, position), taken(mass, position), index)
        for event, (start, end) in zip(events, itertools.pairwise(edges.tolist()), strict=True):
            event[self.jets] = jets.between(start, end)


def together(events: Sequence[Event], column: Token[FloatColumn]) -> FloatColumn:
    """Return a column of several events, one after another."""
    values: FloatColumn = np.concatenate([event[column] for event in events])
    return values


def share_out(
    events: Sequence[Event], counts: Iterable[int], columns: Mapping[Token[NDArray[Any]], NDArray[Any]]
) -> None:
    """Put its rows into each event, without copying.

    Args:
        counts: rows of each event.
        columns: by product, one row per object of all events.
    """
    end = 0
    for event, count in zip(events, counts, strict=True):
        start, end = end, end + count
        for product, column in columns.items():
            event[product] = column[start:end]


def taken(values: FloatColumn, index: NDArray[np.integer]) -> NDArray[np.float32]:
    """Return the values at some positions as float32."""
    return values.take(index).astype(np.float32, copy=False)
