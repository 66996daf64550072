"""Constituents of jets, found through the cross-reference of the PFNano layout."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evtfw.core.declare import Input, Output, Parameter
from evtfw.core.errors import InputError
from evtfw.core.event import Event
from evtfw.core.module import Producer
from evtfw.modules.jets import FloatColumn, IndexColumn, Jets, taken


@dataclasses.dataclass(frozen=True, slots=True)
class Constituents:
    """The particles in each jet of an event, jet by jet.

    Args:
        pt_gev: transverse momenta in GeV, float32 [m].
        eta: pseudorapidities, float32 [m].
        phi: azimuths in radians, float32 [m].
        mass_gev: masses in GeV, float32 [m].
        jet: which jet each belongs to, int64 [m], ascending.
        offsets: those of jet i are ``offsets[i]`` to ``offsets[i + 1] - 1``; int64 [n_jets + 1].
    """

    pt_gev: NDArray[np.float32]
    eta: NDArray[np.float32]
    phi: NDArray[np.float32]
    mass_gev: NDArray[np.float32]
    jet: NDArray[np.int64]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.pt_gev)


def follow_references(
    jet_of_link: IndexColumn, candidate_of_link: IndexColumn, selected: NDArray[Any], n_jets: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the candidates of the selected jets, jet by jet, otherwise in the order of the links.

    Args:
        jet_of_link: jet in the whole collection, of each link; [n_links].
        candidate_of_link: particle candidate, of each link; [n_links].
        selected: positions of the selected jets in the collection; [n_selected].
        n_jets: size of the collection.

    Returns:
        Number of the jet among the selected ones (ascending), and candidate: int64 [m] each.

    >>> follow_references(np.array([0, 0, 1]), np.array([7, 9, 8]), selected=np.array([1]), n_jets=2)
    (array([0]), array([8]))
    """
    number_of_jet = np.full(n_jets, -1)
    number_of_jet[selected] = np.arange(len(selected))
    jet = number_of_jet.take(jet_of_link)
    wanted = (jet >= 0).nonzero()[0]
    jet = jet.take(wanted)
    candidate = candidate_of_link.take(wanted)
    if (jet[1:] < jet[:-1]).any():
        by_jet = np.argsort(jet, kind="stable")
        jet, candidate = jet[by_jet], candidate[by_jet]
    return jet, candidate.astype(np.int64)


class JetConstituents(Producer):
    """Finds the particles of each selected jet by cross-reference."""

    collection = Parameter[str]("the collection that the jets were selected from", default="FatJet")
    candidates = Parameter[str]("collection of the particle candidates", default="PFCands")
    cross = Parameter[str]("collection that links jets and candidates", default="FatJetPFCands")
    jet_index_name = Parameter[str]("name of its branch with the jets, after '_'", default="jetIdx")
    candidate_index_name = Parameter[str]("name of its branch with the candidates, after '_'", default="pFCandsIdx")

    jets = Input[Jets]("selected jets", default="jets")
    all_jets_pt = Input[FloatColumn](
        "pT of all jets, which tells their number; [n]", default="source:{collection}_pt", unit="GeV"
    )
    jet_of_link = Input[IndexColumn]("jet of each link, [n_links]", default="source:{cross}_{jet_index_name}")
    candidate_of_link = Input[IndexColumn](
        "candidate of each link, [n_links]", default="source:{cross}_{candidate_index_name}"
    )
    pt = Input[FloatColumn]("transverse momenta of the candidates, [m]", default="source:{candidates}_pt", unit="GeV")
    eta = Input[FloatColumn]("their pseudorapidities, [m]", default="source:{candidates}_eta")
    phi = Input[FloatColumn]("their azimuths, [m]", default="source:{candidates}_phi", unit="rad")
    mass = Input[FloatColumn]("their masses, [m]", default="source:{candidates}_mass", unit="GeV")
    weight = Input[FloatColumn](
        "what to scale their four-momenta with, e.g. 'source:PFCands_puppiWeight' for PUPPI jets; [m]",
        optional=True,
    )

    constituents = Output[Constituents]("the particles in each selected jet, jet by jet")

    def produce(self, event: Event) -> None:
        """Put the constituents of all selected jets."""
        jets, pt = event[self.jets], event[self.pt]
        jet_of_link, candidate_of_link = event[self.jet_of_link], event[self.candidate_of_link]
        self._check_references(event, jet_of_link, candidate_of_link)
        jet, candidate = follow_references(jet_of_link, candidate_of_link, jets.index, len(event[self.all_jets_pt]))
        pt_gev, mass_gev = taken(pt, candidate), taken(event[self.mass], candidate)
        weights = event.get(self.weight)
        if weights is not None:
            weight = taken(weights, candidate)
            pt_gev, mass_gev = pt_gev * weight, mass_gev * weight
        event[self.constituents] = Constituents(
            pt_gev=pt_gev,
            eta=taken(event[self.eta], candidate),
            phi=taken(event[self.phi], candidate),
            mass_gev=mass_gev,
            jet=jet,
            offsets=jet.searchsorted(np.arange(len(jets) + 1)),
        )

    def _check_references(self, event: Event, jet_of_link: IndexColumn, candidate_of_link: IndexColumn) -> None:
        if len(jet_of_link) != len(candidate_of_link):
            raise InputError(
                f"event {event.id}: {self.cross}_{self.jet_index_name} has {len(jet_of_link)} values, but "
                f"{self.cross}_{self.candidate_index_name} has {len(candidate_of_link)}; the input is corrupt"
            )
        for links, name, collection, size in (
            (jet_of_link, self.jet_index_name, self.collection, len(event[self.all_jets_pt])),
            (candidate_of_link, self.candidate_index_name, self.candidates, len(event[self.pt])),
        ):
            if len(links) and (np.minimum.reduce(links) < 0 or np.maximum.reduce(links) >= size):
                position = int(((links < 0) | (links >= size)).argmax())
                raise InputError(
                    f"event {event.id}: {self.cross}_{name}[{position}] is {links[position]}, but {collection} has "
                    f"{size} objects; the input is corrupt, or '{collection}' is not the collection it refers to"
                )
