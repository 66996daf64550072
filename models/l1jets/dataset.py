"""Features and labels of the jets in files of `models.toptag.generate`, found by a job of evtfw's own modules.

Run from the repository's root: python -m models.l1jets.dataset --help
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from evtfw import Accumulator, Analyzer, EndPath, Event, Input, Job, Process
from evtfw import Path as EventPath
from evtfw.io.root_source import RootSource
from evtfw.modules import FEATURES, JetConstituents, JetFeatures, Jets, JetSelector

PT_MIN_GEV, PT_MAX_GEV, ABS_ETA_MAX = 550.0, 650.0, 2.0

Rows = list[npt.NDArray[Any]]


def no_rows(_: Any) -> Rows:
    """Nothing collected yet."""
    return []


class Collect(Analyzer):
    """Keeps features and labels in memory."""

    jets = Input[Jets]("selected jets", default="jets")
    features = Input[npt.NDArray[np.float32]]("their features, [n, 16]", default="features")
    truth = Input[npt.NDArray[np.int32]]("1 top, 0 QCD, -1 neither; of all jets", default="source:FatJet_isTop")

    rows = Accumulator[Rows]("features, one array an event", make=no_rows)
    labels = Accumulator[Rows]("labels, one array an event", make=no_rows)

    def analyze(self, event: Event) -> None:
        """Keep the jets whose label is certain."""
        truth = event[self.truth][event[self.jets].index]
        self.rows.append(event[self.features][truth >= 0])
        self.labels.append(truth[truth >= 0] == 1)


@dataclass(frozen=True, slots=True)
class JetSample:
    """Jets, one row each.

    Attributes:
        features: float32 [n, 16], as `evtfw.modules.jet_features.FEATURES` says.
        is_top: bool [n].
    """

    features: npt.NDArray[np.float32]
    is_top: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.is_top)


def read_sample(paths: list[Path]) -> JetSample:
    """Measure the jets of all files: about 0.5 ms a jet.

    Args:
        paths: ROOT files in the layout of `evtfw/data/toptag_sample.root`, or files that `main` made of them.

    Returns:
        The jets in file order.
    """
    parts = [_kept(path) if path.suffix == ".npz" else _measured(path) for path in paths]
    return JetSample(np.concatenate([p.features for p in parts]), np.concatenate([p.is_top for p in parts]))


def _kept(path: Path) -> JetSample:
    with np.load(path) as arrays:
        return JetSample(arrays["features"], arrays["is_top"])


def _measured(path: Path) -> JetSample:
    process = Process("FEATURES")
    process.source = RootSource(files=[str(path)])
    process.jets = JetSelector(pt_min_gev=PT_MIN_GEV, pt_max_gev=PT_MAX_GEV, abs_eta_max=ABS_ETA_MAX)
    process.constituents = JetConstituents()
    process.features = JetFeatures()
    process.path = EventPath(process.jets, process.constituents, process.features)
    process.collect = Collect()
    process.end = EndPath(process.collect)
    process.set_options(threads=1, streams=1)  # one event after the other: rows are in the order of the file
    result = Job(process).run()
    if result.error is not None:
        raise result.error
    found = result.accumulators["collect"]
    return JetSample(np.concatenate(found["rows"]), np.concatenate(found["labels"]))


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for NAME.npz.")
def main(*, files: tuple[Path, ...], out: Path) -> None:
    """Measure the jets of FILES once, so that several trainings can read them at once."""
    out.mkdir(parents=True, exist_ok=True)
    for file in files:
        sample = read_sample([file])
        target = out / f"{file.stem}.npz"
        np.savez_compressed(target, features=sample.features, is_top=sample.is_top, names=np.array(FEATURES))
        click.echo(f"{target}: {np.count_nonzero(sample.is_top)} top and {np.count_nonzero(~sample.is_top)} QCD jets")


if __name__ == "__main__":
    main()
