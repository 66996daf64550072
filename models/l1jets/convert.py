"""Convert the six-bit network and the trees to the arithmetic of an FPGA, and write into their cards how good they are.

Run from the repository's root: python -m models.l1jets.convert --help
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import onnxruntime
import xgboost

from evtfw.external.emulator.card import ModelCard
from evtfw.external.emulator.conversion import convert
from models.l1jets.card import scaling_of_card
from models.l1jets.dataset import read_sample
from models.toptag.metrics import evaluate_scores

SOURCES = Path(__file__).parent
DEVICE = "hls4ml-vu9p"
TREE_FORMATS = "threshold=ap_fixed<12,5>; score=ap_fixed<18,6>"
NAMES = ("l1jets_q6", "l1jets_trees")
"""Shipped as NAME_fpga.onnx."""

Float32Array = npt.NDArray[np.float32]


def converted(name: str, folder: Path) -> Path:
    """Convert one of `NAMES` from its source beside this file.

    Args:
        name: which.
        folder: where NAME_fpga.onnx and its card go; they are replaced.
    """
    out = folder / f"{name}_fpga.onnx"
    if name == "l1jets_trees":
        source, formats, configuration = SOURCES / "l1jets_trees.json", TREE_FORMATS, None
    else:
        source, formats, configuration = SOURCES / "l1jets_q6.onnx", "hls4ml", SOURCES / "l1jets_q6.json"
    return convert(
        source, format=formats, configuration=configuration, out=out, name=name, device=DEVICE, overwrite=True
    )


def top_scores(model: Path, inputs: Float32Array) -> Float32Array:
    """Top probability of each row: the network's first class, or the logistic function of the trees' score."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {"features": inputs})
    if output.shape[1] == 1:
        return 0.5 + 0.5 * np.tanh(0.5 * output[:, 0])
    return np.asarray(output[:, 0])


def tree_scores(model: Path, inputs: Float32Array) -> Float32Array:
    """Top probability of each row by the trees as XGBoost grew them, in floating point."""
    trees = xgboost.XGBClassifier()
    trees.load_model(model)
    return np.asarray(trees.predict_proba(inputs)[:, 1])


def annotate(
    model: Path, scores: Float32Array, original: Float32Array, is_top: npt.NDArray[np.bool_], sample: str
) -> None:
    """Write into a card how good a model is, as emulated, against its floating-point original.

    Args:
        model: the converted one.
        scores: its top probabilities, [n].
        original: those of the original, [n].
        is_top: truth, [n].
        sample: what the jets are called.
    """
    metrics, wanted = evaluate_scores(scores, is_top), evaluate_scores(original, is_top)
    same = float(np.mean((scores > 0.5) == (original > 0.5)))
    note = (
        f"{sample}, {len(is_top)} jets, as emulated: AUC {metrics.auc:.4f}, accuracy {metrics.accuracy:.4f}; "
        f"the original in floating point: {wanted.auc:.4f}, {wanted.accuracy:.4f}; same side of 0.5 for {same:.1%}"
    )
    card = ModelCard.read(model)
    card.model_copy(update={"notes": (*card.notes, note)}).write(model)
    click.echo(f"{model.name}: {note}")


@click.command(context_settings={"show_default": True})
@click.option("--held-out", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--folder", default="evtfw/data", type=click.Path(path_type=Path), help="Has l1jets.onnx; for the rest.")
def main(*, held_out: Path, folder: Path) -> None:
    """Convert both versions and measure them on the jets of --held-out."""
    sample = read_sample([held_out])
    inputs = scaling_of_card(folder / "l1jets.json")(sample.features)
    originals = {
        "l1jets_q6": top_scores(folder / "l1jets.onnx", inputs),
        "l1jets_trees": tree_scores(SOURCES / "l1jets_trees.json", inputs),
    }
    for name in NAMES:
        model = converted(name, folder)
        annotate(model, top_scores(model, inputs), originals[name], sample.is_top, f"{held_out.stem}.root")


if __name__ == "__main__":
    main()
