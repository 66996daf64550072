"""What onnxruntime alone can do: threads that call the network on ready images, and nothing else.

python -m benchmarks.network_alone --threads=2 --jets-per-call=0 FILE...
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import awkward as ak
import numpy as np
import onnxruntime
import uproot
from numpy.typing import NDArray

from benchmarks import handwritten_toptag
from evtfw import data

CUTS = argparse.Namespace(pt_min_gev=550.0, pt_max_gev=650.0, abs_eta_max=2.0)


def images_by_event(files: list[str]) -> Iterator[NDArray[np.float32]]:
    """The images of each event with a jet, float32 [n_jets, 64, 64, 1]; a file named several times is read once."""
    for file in files:
        events = uproot.open(f"{file}:Events").arrays(handwritten_toptag.COLUMNS)
        jets = handwritten_toptag.select(events, CUTS)
        events, jets = events[ak.num(jets) > 0], jets[ak.num(jets) > 0]
        made = handwritten_toptag.images(jets, *handwritten_toptag.constituents(events, jets))
        yield from np.split(made, np.cumsum(ak.to_numpy(ak.num(jets)))[:-1])


def calls(files: list[str], jets_per_call: int) -> list[NDArray[np.float32]]:
    """The inputs of all calls; 0 jets per call: those of one event, as the job's requests are."""
    by_file = {file: list(images_by_event([file])) for file in set(files)}
    by_event = [images for file in files for images in by_file[file]]
    if not jets_per_call:
        return by_event
    together = np.concatenate(by_event)
    return [together[i : i + jets_per_call] for i in range(0, len(together), jets_per_call)]


def run(inputs: list[NDArray[np.float32]], threads: int) -> float:
    """Seconds that so many threads need, which share one session and compute with one core each."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(data.path("toptag.onnx")), settings, providers=["CPUExecutionProvider"])
    session.run(None, {"image": inputs[0]})
    numbers = itertools.count()

    def loop() -> None:
        while (number := next(numbers)) < len(inputs):
            session.run(None, {"image": inputs[number]})

    workers = [threading.Thread(target=loop) for _ in range(threads)]
    start_s = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - start_s


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the shipped network on the jet images of files.")
    parser.add_argument("files", nargs="+")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--jets-per-call", type=int, default=0, help="0: the jets of one event")
    options = parser.parse_args()
    inputs = calls(options.files, options.jets_per_call)
    events: list[Any] = [uproot.open(f"{file}:Events").num_entries for file in options.files]
    wall_s = run(inputs, options.threads)
    found = {"jets": sum(map(len, inputs)), "wall_s": wall_s, "events_per_s": sum(events) / wall_s}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
