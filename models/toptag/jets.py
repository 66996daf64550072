"""Large-radius jets of energy-flow candidates: clustering, top matching, selection, and the event record."""

from __future__ import annotations

from dataclasses import dataclass

import awkward as ak
import fastjet
import numpy as np
import numpy.typing as npt
import vector

from models.toptag.detector import Candidates
from models.toptag.kinematics import delta_r
from models.toptag.particles import Batch

vector.register_awkward()

# The reference dataset's jets and matching (Kasieczka et al., Zenodo 2603256).
RADIUS = 0.8
PT_MIN_GEV, PT_MAX_GEV = 550.0, 650.0
ETA_MAX = 2.0
MATCH_RADIUS = 0.8
# Softer jets are not written.
CLUSTER_PT_MIN_GEV = 200.0

IS_TOP, IS_QCD, UNMATCHED = 1, 0, -1


@dataclass(frozen=True, slots=True)
class Clustered:
    """Jets of a batch, in falling pT within each event.

    Attributes:
        jets: Momentum4D records, [n_events, n_jets].
        constituents: Indices of the event's candidates, int64 [n_events, n_jets, n_constituents].
    """

    jets: ak.Array
    constituents: ak.Array


def cluster(candidates: ak.Array) -> Clustered:
    """Cluster with anti-kT, R = 0.8.

    Args:
        candidates: Momentum4D records with `pt`, `eta`, `phi`, `mass` in GeV, [n_events, n_candidates].

    Returns:
        The jets above 200 GeV.
    """
    definition = fastjet.JetDefinition(fastjet.antikt_algorithm, RADIUS)
    sequence = fastjet.ClusterSequence(candidates, definition)
    jets = sequence.inclusive_jets(min_pt=CLUSTER_PT_MIN_GEV)
    constituents = sequence.constituent_index(min_pt=CLUSTER_PT_MIN_GEV)
    order = ak.argsort(jets.pt, axis=1, ascending=False)
    return Clustered(jets[order], ak.sort(constituents[order], axis=2))


def match_tops(
    eta: npt.NDArray[np.float64], phi: npt.NDArray[np.float64], event: npt.NDArray[np.int64], batch: Batch
) -> npt.NDArray[np.int64]:
    """Find the top whose direction and decay quarks all lie within 0.8 of a jet.

    Args:
        eta, phi: Jets' directions, [n_jets].
        event: Jets' events in the batch, [n_jets].
        batch: The generated events; each has two tops or none.

    Returns:
        Row in `batch.tops` or -1, int64 [n_jets].
    """
    row = np.full(len(eta), UNMATCHED, dtype=np.int64)
    if len(batch.tops.event) == 0:
        return row
    tops = np.arange(len(batch.tops.event)).reshape(batch.n_events, 2)[event]
    distance = delta_r(eta[:, None, None], phi[:, None, None], batch.tops.eta[tops], batch.tops.phi[tops])
    inside = np.all(distance < MATCH_RADIUS, axis=2)
    return np.where(np.any(inside, axis=1), tops[np.arange(len(eta)), np.argmax(inside, axis=1)], row)


def build_events(candidates: Candidates, batch: Batch) -> ak.Array:
    """Cluster, label and select the jets of a batch.

    Args:
        candidates: What the detector saw of the batch.
        batch: The generated events.

    Returns:
        Events with at least one selected jet, in the form that `writer.write_events` takes.
    """
    counts = np.bincount(candidates.event, minlength=batch.n_events)
    flat = ak.zip(
        {
            "pt": candidates.pt_gev.astype(np.float32),
            "eta": candidates.eta.astype(np.float32),
            "phi": candidates.phi.astype(np.float32),
            "mass": candidates.mass_gev.astype(np.float32),
            "pdgId": candidates.pdg_id.astype(np.int32),
            "charge": candidates.charge.astype(np.int32),
        },
        with_name="Momentum4D",
    )
    jagged = ak.unflatten(flat, counts)
    clustered = cluster(jagged)
    n_constituents = ak.num(clustered.constituents, axis=2)
    jet_of_link = ak.broadcast_arrays(ak.local_index(clustered.jets.pt, axis=1), clustered.constituents)[0]
    events = ak.zip(
        {
            "genTtbarId": np.full(batch.n_events, int(len(batch.tops.event) > 0), dtype=np.int32),
            "FatJet": _jet_record(clustered.jets, n_constituents, batch),
            "PFCands": ak.with_name(jagged, None),
            "FatJetPFCands": ak.zip(
                {
                    "jetIdx": ak.values_astype(ak.flatten(jet_of_link, axis=2), np.int32),
                    "pFCandsIdx": ak.values_astype(ak.flatten(clustered.constituents, axis=2), np.int32),
                }
            ),
        },
        depth_limit=1,
    )
    return events[ak.any(events["FatJet"]["selected"], axis=1)]


def _jet_record(jets: ak.Array, n_constituents: ak.Array, batch: Batch) -> ak.Array:
    n_jets = ak.to_numpy(ak.num(jets))
    pt_gev, eta, phi, mass_gev = (
        ak.to_numpy(ak.flatten(x)).astype(np.float64) for x in (jets.pt, jets.eta, jets.phi, jets.mass)
    )
    top = match_tops(eta, phi, np.repeat(np.arange(batch.n_events), n_jets), batch)
    matched = top >= 0
    has_tops = len(batch.tops.event) > 0
    is_top = np.where(matched, IS_TOP, UNMATCHED if has_tops else IS_QCD).astype(np.int32)
    gen_top = np.zeros((len(top), 4), dtype=np.float32)
    gen_top[matched] = batch.tops.p4_gev[top[matched]]
    # The float32 that is stored decides, so that a reader who repeats the cut finds the same jets.
    stored_pt = pt_gev.astype(np.float32)
    in_range = (stored_pt >= PT_MIN_GEV) & (stored_pt <= PT_MAX_GEV) & (np.abs(eta.astype(np.float32)) < ETA_MAX)
    record = {
        "pt": stored_pt,
        "eta": eta.astype(np.float32),
        "phi": phi.astype(np.float32),
        "mass": mass_gev.astype(np.float32),
        "isTop": is_top,
        "selected": in_range & (is_top != UNMATCHED),
        "nConstituents": ak.to_numpy(ak.flatten(n_constituents)).astype(np.int32),
        **{f"genTop_{axis}": gen_top[:, column] for column, axis in enumerate(("px", "py", "pz", "e"))},
    }
    return ak.unflatten(ak.zip(record), n_jets)
