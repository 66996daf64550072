"""What the physics modules of configs/toptag.py cost on one core, event by event, without the framework around them.

    python benchmarks/jet_images.py

The target is 5000 jet images a second.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import uproot

from evtfw import data
from evtfw.modules import Constituents, jet_images
from evtfw.modules.constituents import follow_references
from evtfw.modules.jets import selected
from evtfw.modules.reclustering import Reclustering
from evtfw.modules.softdrop import Groomed, soft_drop
from evtfw.modules.subjettiness import subjettiness

JET_COLUMNS = ("FatJet_pt", "FatJet_eta", "FatJet_phi")
LINK_COLUMNS = ("FatJetPFCands_jetIdx", "FatJetPFCands_pFCandsIdx")
CANDIDATE_COLUMNS = ("PFCands_pt", "PFCands_eta", "PFCands_phi", "PFCands_mass")

Columns = dict[str, np.ndarray]


def read_events(file: str, count: int) -> list[Columns]:
    columns = uproot.open(file)["Events"].arrays([*JET_COLUMNS, *LINK_COLUMNS, *CANDIDATE_COLUMNS], entry_stop=count)
    return [{name: np.asarray(event[name]) for name in columns.fields} for event in columns]


def choose(event: Columns) -> np.ndarray:
    return selected(event["FatJet_pt"], event["FatJet_eta"], pt_min_gev=550.0, pt_max_gev=650.0, abs_eta_max=2.0)


def find_constituents(event: Columns, chosen: np.ndarray) -> Constituents:
    links, candidates = (event[name] for name in LINK_COLUMNS)
    jet, candidate = follow_references(links, candidates, chosen, len(event["FatJet_pt"]))
    particles = (event[name].take(candidate) for name in CANDIDATE_COLUMNS)
    return Constituents(*particles, jet, jet.searchsorted(np.arange(len(chosen) + 1)))


def draw(jets: Columns, particles: Constituents) -> np.ndarray:
    axes = (jets[name] for name in JET_COLUMNS)
    return jet_images(particles.pt_gev, particles.eta, particles.phi, particles.jet, *axes)


def cpu_s(work: Callable[..., Any], arguments: list[tuple[Any, ...]], repetitions: int) -> float:
    """Process CPU time of the fastest of several passes over all events."""
    passes = []
    for _ in range(repetitions):
        start = time.process_time()
        for given in arguments:
            work(*given)
        passes.append(time.process_time() - start)
    return min(passes)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the physics modules on one core.")
    parser.add_argument("--file", default=str(data.path("toptag_sample.root")))
    parser.add_argument("--events", type=int, default=1000)
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()

    events = read_events(options.file, options.events)
    chosen = [choose(event) for event in events]
    jets = [
        {name: event[name][positions] for name in JET_COLUMNS} for event, positions in zip(events, chosen, strict=True)
    ]
    particles = [find_constituents(*pair) for pair in zip(events, chosen, strict=True)]
    cambridge, kt = Reclustering("cambridge"), Reclustering("kt")

    def groom(constituents: Constituents) -> Groomed:
        return soft_drop(cambridge.trees(constituents))

    def measure(constituents: Constituents) -> np.ndarray:
        return subjettiness(kt, constituents, axes="OnePass_KT_Axes", beta=1.0, radius=0.8)

    alone = [(constituents,) for constituents in particles]
    stages: dict[str, tuple[Callable[..., Any], list[tuple[Any, ...]]]] = {
        "selection": (choose, [(event,) for event in events]),
        "constituents": (find_constituents, list(zip(events, chosen, strict=True))),
        "images": (draw, list(zip(jets, particles, strict=True))),
        "softdrop": (groom, alone),
        "subjettiness": (measure, alone),
    }
    n_jets = sum(map(len, chosen))
    seconds = {name: cpu_s(work, given, options.repetitions) for name, (work, given) in stages.items()}
    report = {
        "events": len(events),
        "jets": n_jets,
        "particles_per_jet": round(sum(map(len, particles)) / n_jets, 1),
        "images_per_s": round(n_jets / seconds["images"]),
        "cpu_us_per_event": {name: round(s / len(events) * 1e6, 1) for name, s in seconds.items()},
        "cpu_us_per_jet": {name: round(s / n_jets * 1e6, 1) for name, s in seconds.items()},
    }
    json.dump(report, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
