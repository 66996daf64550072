"""Convert the top tagger to 8-bit fixed point, and write into its card how good it is.

Run from the repository's root: python -m models.toptag.convert --help
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from evtfw.external.emulator.conversion import convert
from models.l1jets.convert import annotate
from models.toptag.dataset import read_sample
from models.toptag.onnx_model import top_probability

MODEL = Path("evtfw/data/toptag.onnx")
CALIBRATION_JETS = 512
DEVICE = "brainwave-arria10"


@click.command(context_settings={"show_default": True})
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--held-out", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", default="evtfw/data/toptag_fpga.onnx", type=click.Path(path_type=Path), help="Model to write.")
def main(*, file: Path, held_out: Path, out: Path) -> None:
    """Take the scales of values from the first jets of FILE, a training sample, and measure on --held-out."""
    # A copy of the rows: the images of the whole file need not stay.
    images = np.array(read_sample([file]).images[:CALIBRATION_JETS])
    convert(
        MODEL, format="fixed8", calibration={"image": images}, out=out, name="toptag", device=DEVICE, overwrite=True
    )
    sample = read_sample([held_out])
    scores, original = (top_probability(model, sample.images) for model in (out, MODEL))
    annotate(out, scores, original, sample.is_top, held_out.name)


if __name__ == "__main__":
    main()
