"""Events to a ROOT file in PFNano's layout: `FatJet_*`, `PFCands_*` and the jagged cross-reference between them."""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import numpy as np
import numpy.typing as npt
import uproot

TREE = "Events"
RUN = 1  # CMS numbers all simulated events run 1.
# Read chunk by chunk, a job should see several clusters even in a small file.
EVENTS_PER_CLUSTER = 250
ZSTD_LEVEL = 5

# Stored mantissa bits, as NanoAOD does: a relative precision of 1e-4 in pT and 6e-5 in direction, far below the
# detector's, takes a quarter off the file.
CANDIDATE_MANTISSA_BITS = {"pt": 12, "eta": 13, "phi": 13, "mass": 12}

JET_COLLECTION, CANDIDATE_COLLECTION, LINK_COLLECTION = "FatJet", "PFCands", "FatJetPFCands"


def write_events(path: Path, events: ak.Array, *, events_per_lumi: int, first_lumi: int = 1) -> None:
    """Write events, numbered in their order, with consecutive luminosity blocks.

    Args:
        path: ROOT file to write; an existing one is replaced.
        events: Records with the fields `genTtbarId` (int32), `FatJet`, `PFCands` and `FatJetPFCands`
            (jagged records whose fields become `FatJet_pt` and so on).
        events_per_lumi: Events in each luminosity block but the last.
        first_lumi: Number of the first luminosity block.

    Raises:
        ValueError: There are no events.
    """
    if len(events) == 0:
        raise ValueError(f"{path}: no events to write")
    position = np.arange(len(events))
    columns = {
        "run": np.full(len(events), RUN, dtype=np.uint32),
        "luminosityBlock": (first_lumi + position // events_per_lumi).astype(np.uint32),
        "event": ((first_lumi - 1) * events_per_lumi + position + 1).astype(np.uint64),
        "genTtbarId": ak.to_numpy(events["genTtbarId"]).astype(np.int32),
        JET_COLLECTION: events[JET_COLLECTION],
        CANDIDATE_COLLECTION: _with_rounded_fields(events[CANDIDATE_COLLECTION]),
        LINK_COLLECTION: events[LINK_COLLECTION],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    # The final name appears only when the file is complete.
    part = path.with_name(path.name + ".part")
    with uproot.recreate(part, compression=uproot.ZSTD(ZSTD_LEVEL)) as file:
        for first in range(0, len(events), EVENTS_PER_CLUSTER):
            cluster = {name: column[first : first + EVENTS_PER_CLUSTER] for name, column in columns.items()}
            if first == 0:
                file.mktree(TREE, {name: _branch_type(column) for name, column in cluster.items()})
            file[TREE].extend(cluster)
    part.replace(path)


def round_mantissa(values: npt.NDArray[np.float32], bits: int) -> npt.NDArray[np.float32]:
    """Round to the nearest number with a shorter mantissa, so that the compressor finds zeros.

    Args:
        values: float32 of any shape, finite.
        bits: Mantissa bits kept, 1 to 22 of float32's 23.

    Returns:
        float32 of the same shape, off by at most a relative 2**-(bits + 1).
    """
    dropped = 23 - bits
    half = np.uint32(1 << (dropped - 1))
    mask = np.uint32(0xFFFFFFFF << dropped & 0xFFFFFFFF)
    return ((np.ascontiguousarray(values, dtype=np.float32).view(np.uint32) + half) & mask).view(np.float32)


def _with_rounded_fields(candidates: ak.Array) -> ak.Array:
    counts = ak.num(candidates)
    for field, bits in CANDIDATE_MANTISSA_BITS.items():
        flat = ak.to_numpy(ak.flatten(candidates[field]))
        rounded = round_mantissa(flat, bits)
        if field == "phi":
            # The nearest short number to pi is larger than pi.
            rounded = np.clip(rounded, np.float32(-np.pi), np.float32(np.pi))
        candidates = ak.with_field(candidates, ak.unflatten(rounded, counts), field)
    return candidates


def _branch_type(column: ak.Array | npt.NDArray[np.generic]) -> object:
    return column.dtype if isinstance(column, np.ndarray) else ak.type(column).content
