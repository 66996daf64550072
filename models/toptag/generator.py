"""Hard collisions from Pythia 8: hadronic top pairs and QCD jets at 14 TeV, as flat arrays of particles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import awkward as ak
import numpy as np
import pythia8mc

from models.toptag.kinematics import eta_phi
from models.toptag.particles import Batch, IntArray, Particles, Tops

ProcessName = Literal["top", "qcd"]

# The reference dataset (Kasieczka et al., Zenodo 2603256): 14 TeV, no multiple interactions, no pile-up.
# Particles with c tau > 10 mm reach the detector, as the LHC experiments simulate them.
COMMON_SETTINGS = (
    "Print:quiet = on",
    "Beams:eCM = 14000.",
    "PartonLevel:MPI = off",
    "ParticleDecays:limitTau0 = on",
    "ParticleDecays:tau0Max = 10.",
    "Random:setSeed = on",
)
# The cut on the hard scattering's pT lies so far below the jets' 550 GeV that it does not shape their spectrum
# above it; the upper one only saves time (jets of 650 GeV from harder partons that radiate a lot are rare).
PROCESS_SETTINGS: dict[ProcessName, tuple[str, ...]] = {
    "top": (
        "Top:gg2ttbar = on",
        "Top:qqbar2ttbar = on",
        "24:onMode = off",
        "24:onIfAny = 1 2 3 4 5",
        "PhaseSpace:pTHatMin = 480.",
        "PhaseSpace:pTHatMax = 900.",
    ),
    "qcd": ("HardQCD:all = on", "PhaseSpace:pTHatMin = 480.", "PhaseSpace:pTHatMax = 900."),
}
SEED_MAX = 900_000_000

TOP, W_BOSON = 6, 24
NEUTRINOS = (12, 14, 16)
# Pythia's code for the last copy of a parton: after its shower and the beams' primordial kT.
LAST_COPY_STATUS = -62


class Generator:
    """An endless source of simulated collisions; the same seed gives the same events.

    Args:
        process: "top" for all-hadronic top pairs, "qcd" for jets of light quarks, gluons, charm and bottom.
        seed: 1 to 900 000 000.

    Raises:
        ValueError: The seed is out of Pythia's range.
        RuntimeError: Pythia refuses a setting or cannot start.
    """

    def __init__(self, process: ProcessName, seed: int) -> None:
        if not 1 <= seed <= SEED_MAX:
            raise ValueError(f"seed {seed} is out of Pythia's range: 1 to {SEED_MAX}")
        self._pythia = pythia8mc.Pythia("", False)
        for setting in (*COMMON_SETTINGS, *PROCESS_SETTINGS[process], f"Random:seed = {seed}"):
            if not self._pythia.readString(setting):
                raise RuntimeError(f"Pythia {pythia8mc.__version__} refused the setting '{setting}'")
        if not self._pythia.init():
            raise RuntimeError(f"Pythia could not start the process '{process}'")

    def batches(self, n_events: int) -> Iterator[Batch]:
        """Yield batches of events for ever.

        Args:
            n_events: Events tried per batch; the few that Pythia gives up on are missing.

        Yields:
            One batch.
        """
        while True:
            events = self._pythia.nextBatch(n_events)
            yield Batch(len(events), self._particles(events.prt), _tops(events.prt))

    def _particles(self, record: ak.Array) -> Particles:
        visible = record.status > 0
        for neutrino in NEUTRINOS:
            visible = visible & (abs(record.id) != neutrino)
        chosen = record[visible]
        flat = ak.flatten(chosen)
        pdg_id = ak.to_numpy(flat.id).astype(np.int64)
        kinds, kind = np.unique(pdg_id, return_inverse=True)
        charge_of_kind = np.array([round(self._pythia.particleData.charge(int(code))) for code in kinds])
        return Particles(
            event=np.repeat(np.arange(len(chosen)), ak.to_numpy(ak.num(chosen))),
            px_gev=ak.to_numpy(flat.p.px),
            py_gev=ak.to_numpy(flat.p.py),
            pz_gev=ak.to_numpy(flat.p.pz),
            energy_gev=ak.to_numpy(flat.p.e),
            pdg_id=pdg_id,
            charge=charge_of_kind[kind],
        )


def _tops(record: ak.Array) -> Tops:
    """Find each last top, its b quark and the quarks of its W."""
    is_last_top = (abs(record.id) == TOP) & (record.status == LAST_COPY_STATUS)
    n_particles = ak.to_numpy(ak.num(record))
    first = np.cumsum(n_particles) - n_particles
    flat = ak.flatten(record)
    code = np.abs(ak.to_numpy(flat.id))
    daughters = np.stack([ak.to_numpy(flat.daughter1), ak.to_numpy(flat.daughter2)], axis=1)

    top_rows = np.flatnonzero(ak.to_numpy(ak.flatten(is_last_top)))
    event = np.searchsorted(first, top_rows, side="right") - 1
    rows = [
        [top, *_decay_quarks(top, first[e], code, daughters)]
        for top, e in zip(top_rows.tolist(), event.tolist(), strict=True)
    ]
    family = np.array(rows, dtype=np.int64).reshape(-1, 4)
    p4_gev = np.stack([ak.to_numpy(flat.p[axis]) for axis in ("px", "py", "pz", "e")], axis=1)[family]
    eta, phi = eta_phi(p4_gev[..., 0], p4_gev[..., 1], p4_gev[..., 2])
    return Tops(event, p4_gev[:, 0], eta, phi)


def _decay_quarks(top: int, first: int, code: IntArray, daughters: IntArray) -> tuple[int, int, int]:
    """Rows of the b quark and of the quarks of the W; daughters count from the event's first row."""
    boson, quark = (first + int(row) for row in daughters[top])
    if code[boson] != W_BOSON:
        boson, quark = quark, boson
    while code[first + daughters[boson][0]] == W_BOSON:
        boson = first + int(daughters[boson][0])
    return quark, first + int(daughters[boson][0]), first + int(daughters[boson][1])
