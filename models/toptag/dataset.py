"""Selected jets of a PFNano-like ROOT file as images and labels, for training and evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import awkward as ak
import numpy as np
import numpy.typing as npt
import uproot

from evtfw.modules.images import jet_images

Float32Array = npt.NDArray[np.float32]

TREE = "Events"
BRANCHES = (
    "FatJet_pt",
    "FatJet_eta",
    "FatJet_phi",
    "FatJet_mass",
    "FatJet_isTop",
    "FatJet_selected",
    "PFCands_pt",
    "PFCands_eta",
    "PFCands_phi",
    "FatJetPFCands_jetIdx",
    "FatJetPFCands_pFCandsIdx",
)


@dataclass(frozen=True, slots=True)
class JetSample:
    """Selected jets, one row each.

    Attributes:
        images: float32 [n, pixels, pixels, 1], see `jet_images`.
        is_top: bool [n].
        mass_gev: Jet mass in GeV, float32 [n].
    """

    images: Float32Array
    is_top: npt.NDArray[np.bool_]
    mass_gev: Float32Array

    def __len__(self) -> int:
        return len(self.is_top)


def read_sample(paths: list[Path], *, pixels: int = 64, half_width: float = 1.2) -> JetSample:
    """Read the selected jets of all files.

    Args:
        paths: ROOT files in the layout of `evtfw/data/toptag_sample.root`.
        pixels: Pixels per side of an image.
        half_width: Half the side of an image in eta and phi.

    Returns:
        The jets in file order.

    Raises:
        ValueError: A file lacks the tree or one of `BRANCHES`.
    """
    parts = [_read_file(path, pixels, half_width) for path in paths]
    return JetSample(
        images=np.concatenate([part.images for part in parts]),
        is_top=np.concatenate([part.is_top for part in parts]),
        mass_gev=np.concatenate([part.mass_gev for part in parts]),
    )


def _read_file(path: Path, pixels: int, half_width: float) -> JetSample:
    with uproot.open(path) as file:
        if TREE not in file:
            raise ValueError(f"{path}: no tree '{TREE}'; it has {', '.join(file.keys()) or 'nothing'}")
        missing = [name for name in BRANCHES if name not in file[TREE]]
        if missing:
            raise ValueError(f"{path}: tree '{TREE}' lacks {', '.join(missing)}: not a file of models.toptag.generate")
        events = file[TREE].arrays(list(BRANCHES))

    first_jet = _offsets(events["FatJet_pt"])
    first_candidate = _offsets(events["PFCands_pt"])
    links_per_event = ak.to_numpy(ak.num(events["FatJetPFCands_jetIdx"]))
    jet = _flat(events["FatJetPFCands_jetIdx"]) + np.repeat(first_jet, links_per_event)
    candidate = _flat(events["FatJetPFCands_pFCandsIdx"]) + np.repeat(first_candidate, links_per_event)

    selected = _flat(events["FatJet_selected"])
    row_of_jet = np.cumsum(selected) - 1
    wanted = selected[jet]
    images = jet_images(
        _flat(events["PFCands_pt"])[candidate[wanted]],
        _flat(events["PFCands_eta"])[candidate[wanted]],
        _flat(events["PFCands_phi"])[candidate[wanted]],
        row_of_jet[jet[wanted]],
        _flat(events["FatJet_pt"])[selected],
        _flat(events["FatJet_eta"])[selected],
        _flat(events["FatJet_phi"])[selected],
        pixels=pixels,
        half_width=half_width,
    )
    return JetSample(images, _flat(events["FatJet_isTop"])[selected] == 1, _flat(events["FatJet_mass"])[selected])


def _offsets(jagged: ak.Array) -> npt.NDArray[np.int64]:
    """Index of each event's first element in the flattened array."""
    counts: npt.NDArray[np.int64] = ak.to_numpy(ak.num(jagged))
    return np.cumsum(counts) - counts


def _flat(jagged: ak.Array) -> npt.NDArray[np.generic]:
    values: npt.NDArray[np.generic] = ak.to_numpy(ak.flatten(jagged))
    return values
