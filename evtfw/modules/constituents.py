"""Constituents of jets, found through the cross-reference of the PFNano layout."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evtfw.core.declare import Input, Output, Parameter, Token
from evtfw.core.errors import InputError
from evtfw.core.event import Event
from evtfw.core.module import BulkProducer
from evtfw.modules.jets import FloatColumn, IndexColumn, Jets, taken, together


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

    @property
    def n_jets(self) -> int:
        """Number of jets."""
        return len(self.offsets) - 1


def joined(parts: Sequence[Constituents]) -> Constituents:
    """Put together the constituents of several events, at least one; their jets are numbered through."""
    if len(parts) == 1:
        return parts[0]
    first_jets = np.cumsum([0, *(part.n_jets for part in parts)])
    starts = np.cumsum([0, *(len(part) for part in parts)])
    offsets = np.concatenate([part.offsets[:-1] for part in parts]) + np.repeat(starts[:-1], np.diff(first_jets))
    return Constituents(
        pt_gev=np.concatenate([part.pt_gev for part in parts]),
        eta=np.concatenate([part.eta for part in parts]),
        phi=np.concatenate([part.phi for part in parts]),
        mass_gev=np.concatenate([part.mass_gev for part in parts]),
        jet=np.concatenate([part.jet for part in parts]) + np.repeat(first_jets[:-1], np.diff(starts)),
        offsets=np.append(offsets, starts[-1]),
    )


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


class JetConstituents(BulkProducer):
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

    def produce_bulk(self, events: Sequence[Event]) -> None:
        """Put the constituents of all selected jets."""
        jets = [event[self.jets] for event in events]
        n_all, n_selected = self._counts(events, self.all_jets_pt), np.array([len(j) for j in jets])
        n_links, n_candidates = self._counts(events, self.jet_of_link), self._counts(events, self.pt)
        jet_of_link, candidate_of_link = (
            np.concatenate([event[column] for event in events]) for column in (self.jet_of_link, self.candidate_of_link)
        )
        self._check_references(events, jet_of_link, candidate_of_link, n_links, n_all, n_candidates)
        first_all, first_candidate = starts_of(n_all), starts_of(n_candidates)
        jet, candidate = follow_references(
            jet_of_link + np.repeat(first_all, n_links),
            candidate_of_link + np.repeat(first_candidate, n_links),
            np.concatenate([j.index for j in jets]) + np.repeat(first_all, n_selected),
            int(n_all.sum()),
        )
        pt_gev, eta, phi, mass_gev = (
            taken(together(events, column), candidate) for column in (self.pt, self.eta, self.phi, self.mass)
        )
        if events[0].get(self.weight) is not None:
            weight = taken(together(events, self.weight), candidate)
            pt_gev, mass_gev = pt_gev * weight, mass_gev * weight
        offsets = jet.searchsorted(np.arange(n_selected.sum() + 1))
        last = 0
        for event, n_jets in zip(events, n_selected.tolist(), strict=True):
            first, last = last, last + n_jets
            start, end = offsets[first], offsets[last]
            event[self.constituents] = Constituents(
                pt_gev=pt_gev[start:end],
                eta=eta[start:end],
                phi=phi[start:end],
                mass_gev=mass_gev[start:end],
                jet=jet[start:end] - first,
                offsets=offsets[first : last + 1] - start,
            )

    @staticmethod
    def _counts(events: Sequence[Event], column: Token[Any]) -> NDArray[np.int64]:
        return np.array([len(event[column]) for event in events])

    def _check_references(
        self,
        events: Sequence[Event],
        jet_of_link: IndexColumn,
        candidate_of_link: IndexColumn,
        n_links: NDArray[np.int64],
        n_all: NDArray[np.int64],
        n_candidates: NDArray[np.int64],
    ) -> None:
        n_others = self._counts(events, self.candidate_of_link)
        if (n_others != n_links).any():
            number = int((n_others != n_links).argmax())
            raise InputError(
                f"event {events[number].id}: {self.cross}_{self.jet_index_name} has {n_links[number]} values, but "
                f"{self.cross}_{self.candidate_index_name} has {n_others[number]}; the input is corrupt"
            )
        for links, name, collection, sizes in (
            (jet_of_link, self.jet_index_name, self.collection, n_all),
            (candidate_of_link, self.candidate_index_name, self.candidates, n_candidates),
        ):
            is_bad = (links < 0) | (links >= np.repeat(sizes, n_links))
            if is_bad.any():
                position = int(is_bad.argmax())
                number = int(starts_of(n_links).searchsorted(position, side="right")) - 1
                raise InputError(
                    f"event {events[number].id}: {self.cross}_{name}[{position - starts_of(n_links)[number]}] is "
                    f"{links[position]}, but {collection} has {sizes[number]} objects; the input is corrupt, or "
                    f"'{collection}' is not the collection it refers to"
                )


def starts_of(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where each group begins if groups of these sizes lie one after another."""
    return np.cumsum(counts) - counts
