"""Train the jet network in floating point, then with six bits; export both, and the formats as hls4ml writes them.

Run from the repository's root: python -m models.l1jets.train --help
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console

from evtfw.external.emulator.formats.fixed_point import FixedPoint
from evtfw.modules import FEATURES
from models.l1jets.card import scaling_of, write_card
from models.l1jets.dataset import JetSample, read_sample
from models.l1jets.network import Formats, JetNet, QuantisedJetNet, export, fitted
from models.toptag.metrics import Metrics, evaluate_scores

LIMIT = 8.0
BITS = 6
LOGITS_FORMAT = "ap_fixed<16,6,RND_CONV,SAT>"
# The ten topmost bits of a sum address hls4ml's tables. Its own formats reach to 32 and to 128, so that
# probabilities come in coarse steps and add up to as much as 1.25; two exponentials of at most 1 need less.
SOFTMAX = {
    "Precision": {"result": "ap_ufixed<18,1,RND_CONV,SAT>", "accum": "ap_ufixed<18,2>"},
    "exp_table_t": "ap_ufixed<18,1,RND,SAT>",
    "inv_inp_t": "ap_ufixed<12,2,RND,SAT>",
    "inv_table_t": "ap_ufixed<18,1,RND,SAT>",
}
FEATURES_FORMAT = FixedPoint(16, 6, True, "RND_CONV", "SAT")

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What, besides the data, decides the weights.

    Attributes:
        epochs: Passes over the training jets in floating point.
        quantised_epochs: Further passes with quantised weights and activations.
        batch_size: Jets per step.
        learning_rate_max: Peak of the one-cycle schedule, AdamW; a quarter of it for the quantised passes.
        seed: Of the initial weights and the order of jets.
    """

    epochs: int
    quantised_epochs: int
    batch_size: int
    learning_rate_max: float
    seed: int


def fit(network: torch.nn.Module, inputs: Float32Array, is_top: npt.NDArray[np.bool_], recipe: Recipe, epochs: int,
        learning_rate: float) -> None:  # fmt: skip
    """Train a network in place.

    Args:
        network: Of logits.
        inputs: Standardised features, [n, 16].
        is_top: Truth, [n].
        recipe: Batch size.
        epochs: Passes over all jets.
        learning_rate: Peak of the one-cycle schedule.
    """
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=1e-4)
    steps = len(inputs) // recipe.batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=epochs * steps)
    values, classes = torch.from_numpy(inputs), torch.from_numpy(np.where(is_top, 0, 1))
    network.train()
    for _ in range(epochs):
        order = torch.randperm(len(values))
        for step in range(steps):
            rows = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
            loss = torch.nn.functional.cross_entropy(network(values[rows]), classes[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    network.eval()


@torch.no_grad()
def chosen_formats(network: JetNet, inputs: Float32Array) -> Formats:
    """Formats of `BITS` bits whose ranges hold all weights, and 99.9% of the activations that are not 0."""
    weight = tuple(fitted(float(layer.weight.abs().max()), BITS, is_signed=True) for layer in network.dense)
    bias = tuple(fitted(float(layer.bias.abs().max()), BITS, is_signed=True) for layer in network.dense)
    activation, values = [], torch.from_numpy(inputs)
    for layer in network.dense[:-1]:
        values = torch.relu(layer(values))
        activation.append(fitted(float(np.quantile(values[values > 0].numpy(), 0.999)), BITS, is_signed=False))
    return Formats(FEATURES_FORMAT, weight, bias, tuple(activation))


def configuration(formats: Formats) -> dict[str, object]:
    """The formats as a configuration of hls4ml: sums are wide enough to be exact, so that only the rest rounds."""
    layers: dict[str, object] = {"features": {"Precision": {"result": written(formats.features)}}}
    fraction = formats.features.width - formats.features.integer
    for i, (weight, bias) in enumerate(zip(formats.weight, formats.bias, strict=True)):
        fraction = max(fraction + weight.width - weight.integer, bias.width - bias.integer)
        total = f"ap_fixed<{fraction + 12},12>"
        is_last = i == len(formats.activation)
        layers[f"dense_{i + 1}"] = {
            "Precision": {
                "weight": written(weight),
                "bias": written(bias),
                "accum": total,
                "result": LOGITS_FORMAT if is_last else total,
            }
        }
        if not is_last:
            layers[f"relu_{i + 1}"] = {"Precision": {"result": written(formats.activation[i])}}
            fraction = formats.activation[i].width - formats.activation[i].integer
    layers["softmax"] = SOFTMAX
    return {"Model": {"Precision": "ap_fixed<16,6>", "ReuseFactor": 1, "Strategy": "Latency"}, "LayerName": layers}


def written(to: FixedPoint) -> str:
    """As hls4ml writes it."""
    return f"ap_{'' if to.is_signed else 'u'}fixed<{to.width},{to.integer},{to.rounding},{to.overflow}>"


@torch.no_grad()
def measured(network: torch.nn.Module, inputs: Float32Array, sample: JetSample) -> Metrics:
    """Figures of merit, in double precision, where quantised sums are exact."""
    logits = network.double()(torch.from_numpy(inputs.astype(np.float64)))
    scores = torch.softmax(logits, dim=1)[:, 0].numpy()
    network.float()
    return evaluate_scores(scores, sample.is_top)


@click.command(context_settings={"show_default": True})
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--held-out", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--out", default="evtfw/data/l1jets.onnx", type=click.Path(path_type=Path), help="Floating-point network."
)
@click.option(
    "--folder", default="models/l1jets", type=click.Path(path_type=Path), help="Where the sources of the conversion go."
)
@click.option("--epochs", default=30, type=click.IntRange(1), help="Passes in floating point.")
@click.option("--quantised-epochs", default=30, type=click.IntRange(1), help="Passes with six bits.")
@click.option("--batch-size", default=256, type=click.IntRange(1), help="Jets per step.")
@click.option("--learning-rate", default=4e-3, type=float, help="Peak of the one-cycle schedule.")
@click.option("--seed", default=1, type=int, help="Of weights and order.")
def main(*, files: tuple[Path, ...], held_out: Path, out: Path, folder: Path, epochs: int, quantised_epochs: int,
         batch_size: int, learning_rate: float, seed: int) -> None:  # fmt: skip
    """Train on the jets of FILES; write OUT with its card, and FOLDER/l1jets_q6.onnx with FOLDER/l1jets_q6.json."""
    recipe = Recipe(epochs, quantised_epochs, batch_size, learning_rate, seed)
    console = Console()
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    sample, other = read_sample(list(files)), read_sample([held_out])
    scaling = scaling_of(sample.features, LIMIT)
    inputs, held_out_inputs = scaling(sample.features), scaling(other.features)

    network = JetNet()
    fit(network, inputs, sample.is_top, recipe, epochs, learning_rate)
    export([(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in network.dense], out)
    metrics = measured(network, held_out_inputs, other)
    console.print("float", metrics)
    write_card(
        out,
        names=FEATURES,
        scaling=asdict(scaling),
        training={**asdict(recipe), "files": [f"{path.stem}.root" for path in files], "torch": torch.__version__},
        held_out={"files": [f"{held_out.stem}.root"], **asdict(metrics)},
    )

    formats = chosen_formats(network, inputs)
    console.print(f"6 bits after training: {measured(QuantisedJetNet(network, formats), held_out_inputs, other)}")
    quantised = QuantisedJetNet(network, formats)
    fit(quantised, inputs, sample.is_top, recipe, quantised_epochs, learning_rate / 4)
    export([(w.detach().numpy(), b.detach().numpy()) for w, b in quantised.quantised()], folder / "l1jets_q6.onnx")
    (folder / "l1jets_q6.json").write_text(json.dumps(configuration(formats), indent=1) + "\n")
    console.print(f"6 bits in training: {measured(quantised, held_out_inputs, other)}")


if __name__ == "__main__":
    main()
