"""Train the jet-image network, export it to ONNX and write its card.

Run from the repository's root: python -m models.toptag.train --help
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
import onnx
import torch
from rich.console import Console
from rich.progress import Progress

from models.toptag.card import write_card
from models.toptag.dataset import JetSample, read_sample
from models.toptag.metrics import Metrics, evaluate_scores
from models.toptag.network import Probability, TopTagNet
from models.toptag.onnx_model import top_probability

PIXELS = 64
HALF_WIDTH = 1.2
WEIGHT_DECAY = 0.01
# Read by onnxruntime 1.31 and by every Triton onnxruntime backend since 2022.
OPSET = 18


@dataclass(frozen=True, slots=True)
class Recipe:
    """What, besides the data, decides the weights.

    Attributes:
        epochs: Passes over the training jets.
        batch_size: Jets per step.
        learning_rate_max: Peak of the one-cycle schedule, AdamW.
        seed: Of the initial weights, the order of jets, the mirrored images and dropout.
        threads: torch's threads; another number rounds sums differently.
        bfloat16: Compute layers in bfloat16 (weights stay float32): twice as fast where the processor knows it.
    """

    epochs: int
    batch_size: int
    learning_rate_max: float
    seed: int
    threads: int
    bfloat16: bool


def fit(sample: JetSample, recipe: Recipe, progress: Progress) -> TopTagNet:
    """Train a network from scratch.

    Args:
        sample: Training jets.
        recipe: Hyperparameters and seed.
        progress: Where the steps are shown.

    Returns:
        The trained network in evaluation mode.
    """
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(recipe.threads)
    network = TopTagNet(PIXELS)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate_max, weight_decay=WEIGHT_DECAY)
    steps_per_epoch = len(sample) // recipe.batch_size
    n_steps = recipe.epochs * steps_per_epoch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate_max, total_steps=n_steps)
    images = torch.from_numpy(sample.images)
    classes = torch.from_numpy(np.where(sample.is_top, 0, 1))

    network.train()
    bar = progress.add_task("training", total=n_steps)
    for epoch in range(recipe.epochs):
        order = torch.randperm(len(sample))
        loss_sum = 0.0
        for step in range(steps_per_epoch):
            rows = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=recipe.bfloat16):
                logits = network(mirrored(images[rows]))
            loss = torch.nn.functional.cross_entropy(logits.float(), classes[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            loss_sum += float(loss.detach())
            progress.advance(bar)
        progress.console.print(f"epoch {epoch + 1}/{recipe.epochs}: training loss {loss_sum / steps_per_epoch:.4f}")
    network.eval()
    return network


def mirrored(images: torch.Tensor) -> torch.Tensor:
    """Mirror each image in eta and in phi with a probability of one half each: physics has no preferred side.

    Args:
        images: float32 [n, pixels, pixels, 1].

    Returns:
        A new tensor of the same shape.
    """
    for axis in (1, 2):
        chosen = torch.rand(len(images)) < 0.5
        images = torch.where(chosen[:, None, None, None], images.flip(axis), images)
    return images


def export(network: TopTagNet, path: Path) -> None:
    """Write the network with its softmax as ONNX with a free batch dimension.

    Args:
        network: A trained network in evaluation mode.
        path: The file to write.
    """
    program = torch.onnx.export(
        Probability(network.to(memory_format=torch.contiguous_format)).eval(),  # type: ignore[call-overload]
        (torch.zeros(2, PIXELS, PIXELS, 1),),
        input_names=["image"],
        output_names=["probability"],
        dynamic_shapes={"image": {0: torch.export.Dim("n")}},
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    model = program.model_proto
    for node in model.graph.node:
        # The exporter's stack traces name this machine's folders and would change the checksum elsewhere.
        del node.metadata_props[:]
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)


def held_out_metrics(model: Path, paths: list[Path]) -> Metrics:
    """Figures of merit of an exported model on jets that it was not trained on.

    Args:
        model: The ONNX file.
        paths: ROOT files of another seed than the training's.

    Returns:
        AUC, accuracy and background rejection.
    """
    sample = read_sample(paths, pixels=PIXELS, half_width=HALF_WIDTH)
    return evaluate_scores(top_probability(model, sample.images), sample.is_top)


@click.command(context_settings={"show_default": True})
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--held-out",
    required=True,
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File of another seed, for the card's figures; may be repeated.",
)
@click.option("--out", default="evtfw/data/toptag.onnx", type=click.Path(path_type=Path), help="ONNX file to write.")
@click.option("--epochs", default=6, type=click.IntRange(1), help="Passes over the jets.")
@click.option("--batch-size", default=64, type=click.IntRange(1), help="Jets per step.")
@click.option("--learning-rate", default=2e-3, type=float, help="Peak of the one-cycle schedule.")
@click.option("--seed", default=1, type=int, help="Of weights, order, mirroring and dropout.")
@click.option("--threads", default=2, type=click.IntRange(1), help="torch's threads.")
@click.option("--bfloat16/--float32", default=True, help="Arithmetic of the layers while training.")
def main(
    *,
    files: tuple[Path, ...],
    held_out: tuple[Path, ...],
    out: Path,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    threads: int,
    bfloat16: bool,
) -> None:
    """Train on the selected jets of FILES, written by models.toptag.generate; write OUT and its card OUT.json."""
    recipe = Recipe(epochs, batch_size, learning_rate, seed, threads, bfloat16)
    console = Console()
    started = time.monotonic()
    try:
        sample = read_sample(list(files), pixels=PIXELS, half_width=HALF_WIDTH)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    console.print(f"{np.count_nonzero(sample.is_top)} top and {np.count_nonzero(~sample.is_top)} QCD jets")
    with Progress(console=console) as progress:
        network = fit(sample, recipe, progress)
    export(network, out)
    metrics = held_out_metrics(out, list(held_out))
    write_card(
        out,
        image={
            "pixels": PIXELS,
            "half_width": HALF_WIDTH,
            "flip_eta": True,
            "weight": "pt/pt_jet",
            "normalise_sum": 255.0,
            "axes": "eta, phi",
        },
        training={
            **asdict(recipe),
            "optimizer": f"AdamW, weight decay {WEIGHT_DECAY}, one-cycle learning rate",
            "augmentation": "mirrored in eta and phi at random",
            "n_top": int(np.count_nonzero(sample.is_top)),
            "n_qcd": int(np.count_nonzero(~sample.is_top)),
            "files": [path.name for path in files],
            "torch": torch.__version__,
            "wall_time_s": round(time.monotonic() - started),
        },
        held_out={"files": [path.name for path in held_out], **asdict(metrics)},
    )
    console.print(metrics)


if __name__ == "__main__":
    main()
