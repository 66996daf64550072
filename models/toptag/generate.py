"""Simulate labelled top and QCD jets and write them as a ROOT file.

Run from the repository's root: python -m models.toptag.generate --help
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import awkward as ak
import click
import numpy as np
from rich.progress import MofNCompleteColumn, Progress

from models.toptag.detector import reconstruct
from models.toptag.writer import write_events

if TYPE_CHECKING:
    from models.toptag.generator import ProcessName

# Large enough for NumPy, small enough for 1 GB of memory.
EVENTS_PER_BATCH = 200


def simulate(process: ProcessName, n_jets: int, seed: int, progress: Progress) -> ak.Array:
    """Simulate events until they hold a number of selected jets.

    Args:
        process: "top" or "qcd".
        n_jets: Selected jets wanted; the last event may bring one more.
        seed: Decides everything.
        progress: Where the jets are counted.

    Returns:
        Events in the form that `write_events` takes.
    """
    # Imported here, so that a machine without Pythia and fastjet still shows --help.
    from models.toptag.generator import Generator
    from models.toptag.jets import build_events

    rng = np.random.default_rng(seed)
    bar = progress.add_task(f"{process} jets", total=n_jets)
    parts: list[ak.Array] = []
    found = 0
    batches = Generator(process, seed).batches(EVENTS_PER_BATCH)
    while found < n_jets:
        batch = next(batches)
        events = build_events(reconstruct(batch.particles, rng), batch)
        total = found + np.cumsum(ak.to_numpy(ak.sum(events["FatJet"]["selected"], axis=1)))
        events = events[: np.searchsorted(total, n_jets) + 1]
        parts.append(events)
        found = int(total[len(events) - 1]) if len(events) else found
        progress.update(bar, completed=min(found, n_jets))
    return ak.concatenate(parts)


@click.command(context_settings={"show_default": True})
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--top", "n_top", default=1000, type=click.IntRange(0), help="Selected top jets.")
@click.option("--qcd", "n_qcd", default=1000, type=click.IntRange(0), help="Selected QCD jets.")
@click.option("--seed", default=1, type=click.IntRange(1, 450_000_000), help="The same seed gives the same file.")
@click.option("--events-per-lumi", default=100, type=click.IntRange(1), help="Events per luminosity block.")
@click.option("--first-lumi", default=1, type=click.IntRange(1), help="Number of the first luminosity block.")
def main(*, output: Path, n_top: int, n_qcd: int, seed: int, events_per_lumi: int, first_lumi: int) -> None:
    """Simulate all-hadronic top pairs and QCD jets at 14 TeV and write OUTPUT, a ROOT file.

    Events of both kinds are mixed at random. Jets are anti-kT with R = 0.8; those with pT of 550 to 650 GeV and
    |eta| < 2, matched to a top in top events, have FatJet_selected set. Takes about 15 s for 1000 jets of each kind.
    Needs pythia8mc and fastjet.
    """
    if n_top + n_qcd == 0:
        raise click.UsageError("nothing to do: --top and --qcd are both 0")
    try:
        with Progress(*Progress.get_default_columns(), MofNCompleteColumn()) as progress:
            # Neighbouring seeds must not share events: tops use odd, QCD even seeds.
            parts = []
            if n_top:
                parts.append(simulate("top", n_top, 2 * seed - 1, progress))
            if n_qcd:
                parts.append(simulate("qcd", n_qcd, 2 * seed, progress))
    except ImportError as error:
        raise click.ClickException(
            f"{error.name} is missing: see models/toptag/README.md for the installation"
        ) from error
    events = ak.concatenate(parts)
    events = events[np.random.default_rng(seed).permutation(len(events))]
    write_events(output, events, events_per_lumi=events_per_lumi, first_lumi=first_lumi)
    selected = events["FatJet"]["selected"]
    click.echo(
        f"{output}: {len(events)} events, {ak.sum(events['FatJet']['isTop'][selected] == 1)} top and "
        f"{ak.sum(events['FatJet']['isTop'][selected] == 0)} QCD jets, {output.stat().st_size / 1e6:.1f} MB"
    )


if __name__ == "__main__":
    main()
