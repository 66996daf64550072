"""The job of configs/toptag.py as a script without a framework: what evtfw is measured against.

uproot, NumPy, onnxruntime and fastjet, batch by batch: the same columns, cuts, images, soft drop, network, output file
and histograms. Everything that can be is vectorised over the events of a batch. The Python stages and the network take
turns; the network has all threads.

    python benchmarks/handwritten_toptag.py --threads 2 --output handwritten.root
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import awkward as ak
import fastjet
import hist
import numpy as np
import onnxruntime
import uproot

DATA = Path(__file__).resolve().parent.parent / "evtfw" / "data"
COLUMNS = [
    *("run", "luminosityBlock", "event", "FatJet_pt", "FatJet_eta", "FatJet_phi", "FatJet_mass"),
    *("FatJetPFCands_jetIdx", "FatJetPFCands_pFCandsIdx", "PFCands_pt", "PFCands_eta", "PFCands_phi", "PFCands_mass"),
]
JET_COLUMNS = {"pt_gev": "pt", "eta": "eta", "phi": "phi", "mass_gev": "mass", "index": "index"}
PIXELS, HALF_WIDTH = 64, 1.2
Z_CUT = 0.1


class Stopwatch:
    """Sums up the time of named stages."""

    def __init__(self):
        self.seconds = defaultdict(float)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - start


def flat(array: ak.Array) -> np.ndarray:
    return ak.to_numpy(ak.flatten(array, axis=1))


def starts_of(counts: np.ndarray) -> np.ndarray:
    return np.cumsum(counts) - counts


def select(events: ak.Array, options: argparse.Namespace) -> ak.Array:
    passes = (
        (events.FatJet_pt >= options.pt_min_gev)
        & (events.FatJet_pt < options.pt_max_gev)
        & (abs(events.FatJet_eta) < options.abs_eta_max)
    )
    fields = {name: events[f"FatJet_{name}"][passes] for name in ("pt", "eta", "phi", "mass")}
    fields["index"] = ak.values_astype(ak.local_index(events.FatJet_pt, axis=1)[passes], np.int32)
    return ak.zip(fields)


def constituents(events: ak.Array, jets: ak.Array) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The jet of each constituent, numbered through the batch and ascending, and the constituents' columns."""
    n_jets = ak.to_numpy(ak.num(events.FatJet_pt, axis=1))
    n_candidates = ak.to_numpy(ak.num(events.PFCands_pt, axis=1))
    n_links = ak.to_numpy(ak.num(events.FatJetPFCands_jetIdx, axis=1))
    event_of_link = np.repeat(np.arange(len(events)), n_links)
    number = np.full(n_jets.sum(), -1)
    chosen = np.repeat(starts_of(n_jets), ak.to_numpy(ak.num(jets, axis=1))) + flat(jets.index)
    number[chosen] = np.arange(len(chosen))
    jet = number[starts_of(n_jets)[event_of_link] + flat(events.FatJetPFCands_jetIdx)]
    candidate = starts_of(n_candidates)[event_of_link] + flat(events.FatJetPFCands_pFCandsIdx)
    jet, candidate = jet[jet >= 0], candidate[jet >= 0]
    order = np.argsort(jet, kind="stable")
    jet, candidate = jet[order], candidate[order]
    return jet, {name: flat(events[f"PFCands_{name}"])[candidate] for name in ("pt", "eta", "phi", "mass")}


def images(jets: ak.Array, jet: np.ndarray, particles: dict[str, np.ndarray]) -> np.ndarray:
    """float32 [n_jets, 64, 64, 1], the recipe of arXiv:1904.08986."""
    eta, phi = flat(jets.eta).astype(np.float64), flat(jets.phi).astype(np.float64)
    x = (particles["eta"] - eta[jet]) * np.where(eta < 0, -1.0, 1.0)[jet]
    y = np.mod(particles["phi"] - phi[jet] + np.pi, 2 * np.pi) - np.pi
    row = np.floor((x + HALF_WIDTH) * (PIXELS / (2 * HALF_WIDTH))).astype(int)
    column = np.floor((y + HALF_WIDTH) * (PIXELS / (2 * HALF_WIDTH))).astype(int)
    inside = (row >= 0) & (row < PIXELS) & (column >= 0) & (column < PIXELS)
    jet, row, column = jet[inside], row[inside], column[inside]
    pt = particles["pt"][inside].astype(np.float64)
    sums = np.bincount(jet, pt, len(eta))
    pixels = np.bincount((jet * PIXELS + row) * PIXELS + column, pt * (255.0 / sums)[jet], len(eta) * PIXELS**2)
    return pixels.reshape(-1, PIXELS, PIXELS, 1).astype(np.float32)


def cluster(n_jets: int, jet: np.ndarray, particles: dict[str, np.ndarray]) -> fastjet.ClusterSequence:
    pt, eta, phi, mass = (particles[name].astype(np.float64) for name in ("pt", "eta", "phi", "mass"))
    px, py, pz = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    momenta = ak.zip({"px": px, "py": py, "pz": pz, "E": np.sqrt(pt**2 + pz**2 + mass**2)}, with_name="Momentum4D")
    definition = fastjet.JetDefinition(fastjet.cambridge_algorithm, 1000.0)
    return fastjet.ClusterSequence(ak.unflatten(momenta, np.bincount(jet, minlength=n_jets)), definition)


def softdrop_with_contrib(sequence: fastjet.ClusterSequence) -> np.ndarray:
    """Mass, z and delta_r by FastJet contrib, which fastjet's array interface makes 500 µs a jet."""
    groomed = sequence.exclusive_jets_softdrop_grooming(njets=1, beta=0.0, symmetry_cut=Z_CUT, R0=0.8)
    return np.stack([groomed.msoftdrop, groomed.symmetrysoftdrop, groomed.deltaRsoftdrop], axis=1)


def softdrop_with_tree(sequence: fastjet.ClusterSequence) -> np.ndarray:
    """The same from the tree of mergers, 60 µs a jet. FastJet's history names its nodes in reverse Polish order."""
    nodes = sequence.jets()
    pt = np.hypot(nodes.px, nodes.py).to_list()
    px, py, pz, energy = (nodes[name].to_list() for name in ("px", "py", "pz", "E"))
    groomed = []
    for i, history in enumerate(sequence.unique_history_order().to_list()):
        n_particles = (len(pt[i]) + 1) // 2
        parents, stack = {}, []
        for node in history[:-1]:
            if node >= n_particles:
                parents[node] = (stack.pop(), stack.pop())
            stack.append(node)
        node, z, delta_r = stack[-1], 0.0, 0.0
        while node in parents:
            harder, softer = sorted(parents[node], key=pt[i].__getitem__, reverse=True)
            z = pt[i][softer] / (pt[i][softer] + pt[i][harder])
            if z > Z_CUT:
                (y1, phi1), (y2, phi2) = (
                    (
                        0.5 * math.log((energy[i][k] + pz[i][k]) / (energy[i][k] - pz[i][k])),
                        math.atan2(py[i][k], px[i][k]),
                    )
                    for k in (harder, softer)
                )
                delta_r = math.hypot(y1 - y2, math.remainder(phi1 - phi2, 2 * math.pi))
                break
            node, z = harder, 0.0
        squared = energy[i][node] ** 2 - px[i][node] ** 2 - py[i][node] ** 2 - pz[i][node] ** 2
        groomed.append((math.sqrt(max(squared, 0.0)), z, delta_r))
    return np.array(groomed)


def make_histograms() -> dict[str, hist.Hist]:
    ranges = {"pt": (0, 1000), "eta": (-2.5, 2.5), "mass": (0, 300), "softdrop_mass": (0, 300), "score": (0, 1)}
    return {
        f"{sample}_{name}": hist.Hist(hist.axis.Regular(50, *edges, name=name))
        for sample in ("alljets", "topjets")
        for name, edges in ranges.items()
    }


def fill(histograms: dict[str, hist.Hist], sample: str, jets: ak.Array, mass: ak.Array, scores: ak.Array) -> None:
    columns = {"pt": jets.pt, "eta": jets.eta, "mass": jets.mass, "softdrop_mass": mass, "score": scores}
    for name, values in columns.items():
        histograms[f"{sample}_{name}"].fill(flat(values))


def counter(column: str) -> str:
    return "njets" if column.startswith("jets_") else f"n{column}"


def write(output: uproot.WritableDirectory, columns: dict[str, ak.Array]) -> None:
    if "Events" not in output:
        output.mktree("Events", {name: array.type.content for name, array in columns.items()}, counter_name=counter)
    output["Events"].extend(columns)


def run(options: argparse.Namespace) -> dict[str, object]:
    fastjet._swig.ClusterSequence.set_fastjet_banner_stream(None)
    watch = Stopwatch()
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = max(1, options.threads // options.calls)
    session = onnxruntime.InferenceSession(options.model, session_options, providers=["CPUExecutionProvider"])
    soft_drop = softdrop_with_contrib if options.softdrop == "contrib" else softdrop_with_tree
    histograms = make_histograms()
    n_events = n_jets = n_written = 0
    begin, begin_cpu = time.perf_counter(), time.process_time()
    with (
        uproot.recreate(options.output, compression=uproot.ZLIB(1)) as output,
        ThreadPoolExecutor(options.calls) as pool,
    ):
        batches = uproot.iterate([f"{f}:Events" for f in options.files], COLUMNS, step_size=options.batch_events)
        while True:
            with watch("read"):
                events = next(batches, None)
            if events is None:
                break
            n_events += len(events)
            with watch("select"):
                jets = select(events, options)
                events, jets = events[ak.num(jets) > 0], jets[ak.num(jets) > 0]
                counts = ak.to_numpy(ak.num(jets, axis=1))
            n_jets += counts.sum()
            if not len(events):
                continue
            with watch("constituents"):
                jet, particles = constituents(events, jets)
            with watch("images"):
                pictures = images(jets, jet, particles)
            with watch("softdrop"):
                groomed = soft_drop(cluster(len(pictures), jet, particles)).astype(np.float32)
            with watch("network"):
                batches_of_jets = np.split(pictures, range(options.batch_jets, len(pictures), options.batch_jets))
                replies = pool.map(lambda batch: session.run(None, {"image": batch})[0][:, 0], batches_of_jets)
                scores = np.concatenate(list(replies))
            with watch("histograms"):
                scores = ak.unflatten(scores, counts)
                groomed = ak.unflatten(ak.zip(dict(zip(("mass_gev", "z", "delta_r"), groomed.T, strict=True))), counts)
                tagged = ak.any(scores >= options.score_min, axis=1)
                fill(histograms, "alljets", jets, groomed.mass_gev, scores)
                fill(histograms, "topjets", jets[tagged], groomed.mass_gev[tagged], scores[tagged])
            n_written += ak.sum(tagged)
            with watch("write"):
                columns = {name: events[name][tagged] for name in ("run", "luminosityBlock", "event")}
                columns |= {f"jets_{name}": jets[short][tagged] for name, short in JET_COLUMNS.items()}
                columns |= {f"softdrop_{name}": groomed[name][tagged] for name in groomed.fields}
                columns["toptag_scores"] = scores[tagged]
                write(output, columns)
        with watch("write"):
            for name, histogram in histograms.items():
                output[name] = histogram
    wall = time.perf_counter() - begin
    return {
        "events": int(n_events),
        "jets": int(n_jets),
        "written": int(n_written),
        "threads": options.threads,
        "wall_s": round(wall, 4),
        "cpu_s": round(time.process_time() - begin_cpu, 4),
        "events_per_s": round(n_events / wall, 1),
        "jets_per_s": round(n_jets / wall, 1),
        "network_jets_per_s": round(n_jets / watch.seconds["network"], 1),
        "stages_s": {name: round(seconds, 4) for name, seconds in watch.seconds.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Tag top quark jets without a framework.")
    parser.add_argument("--files", nargs="+", default=[str(DATA / "toptag_sample.root")])
    parser.add_argument("--model", default=str(DATA / "toptag.onnx"))
    parser.add_argument("--output", default="handwritten.root")
    parser.add_argument("--threads", type=int, default=2, help="of onnxruntime")
    parser.add_argument(
        "--calls", type=int, default=2, help="calls of the network at the same time, which share the threads"
    )
    parser.add_argument("--batch-events", type=int, default=1000, help="events read and treated at once")
    parser.add_argument("--batch-jets", type=int, default=16, help="images in a call of the network; 16 is fastest")
    parser.add_argument("--softdrop", choices=("tree", "contrib"), default="tree")
    parser.add_argument("--pt-min-gev", type=float, default=550.0)
    parser.add_argument("--pt-max-gev", type=float, default=650.0)
    parser.add_argument("--abs-eta-max", type=float, default=2.0)
    parser.add_argument("--score-min", type=float, default=0.9)
    json.dump(run(parser.parse_args()), sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
