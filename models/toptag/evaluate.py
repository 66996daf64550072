"""Measure a tagger on jets it was not trained on: figures of merit and ROC curve.

Run from the repository's root: python -m models.toptag.evaluate --help
"""

from __future__ import annotations

from pathlib import Path

import click
import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import mplhep
import numpy as np
from rich.console import Console
from rich.table import Table

from models.toptag.dataset import read_sample
from models.toptag.metrics import SIGNAL_EFFICIENCY, BoolArray, FloatArray, Metrics, evaluate_scores, roc_curve
from models.toptag.onnx_model import top_probability

TOP_MASS_WINDOW_GEV = (155.0, 195.0)
MODEL = Path("evtfw/data/toptag.onnx")
SAMPLE = Path("evtfw/data/toptag_sample.root")
PLOT = Path("models/toptag/roc.png")


def plot_roc(score: FloatArray, is_top: BoolArray, metrics: Metrics, label: str, path: Path) -> None:
    """Draw background rejection against signal efficiency, as the top-tagging literature does.

    Args:
        score: Top probability, [n].
        is_top: Truth, bool [n].
        metrics: Figures of the same jets, written into the legend.
        label: Name of the sample.
        path: PNG file to write.
    """
    eps_background, eps_signal = roc_curve(score, is_top)
    n_qcd_passing = eps_background * metrics.n_qcd
    # Fewer than one background jet has no rejection; below ten, the curve is noise and is drawn faint.
    seen, solid = n_qcd_passing >= 1, n_qcd_passing >= 10
    with plt.style.context(mplhep.style.ATLAS):
        figure, axes = plt.subplots(figsize=(8, 6))
        name = f"{label}\nAUC {metrics.auc:.4f}, accuracy {metrics.accuracy:.4f}"
        axes.plot(eps_signal[solid], 1.0 / eps_background[solid], color="tab:blue", label=name)
        few = seen & ~solid
        axes.plot(
            eps_signal[few],
            1.0 / eps_background[few],
            color="tab:blue",
            alpha=0.3,
            label="fewer than 10 QCD jets pass",
        )
        axes.plot(
            SIGNAL_EFFICIENCY,
            metrics.background_rejection,
            "o",
            color="tab:red",
            label=rf"$1/\varepsilon_B$ = {metrics.background_rejection:.0f} at $\varepsilon_S$ = 30%",
        )
        grid = np.linspace(0.01, 1.0, 200)
        axes.plot(grid, 1.0 / grid, ":", color="grey", label="guessing")
        axes.set_yscale("log")
        axes.set_xlim(0.0, 1.0)
        axes.set_ylim(1.0, 3.0 * metrics.n_qcd)
        axes.set_xlabel(r"top efficiency $\varepsilon_S$")
        axes.set_ylabel(r"QCD rejection $1/\varepsilon_B$")
        axes.legend(loc="upper right", fontsize=13)
        figure.savefig(path, dpi=100, bbox_inches="tight")
        plt.close(figure)


@click.command(context_settings={"show_default": True})
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", default=MODEL, type=click.Path(exists=True, path_type=Path), help="ONNX file.")
@click.option("--plot", default=PLOT, type=click.Path(path_type=Path), help="PNG file of the ROC curve to write.")
@click.option("--threads", default=1, type=click.IntRange(1), help="onnxruntime's threads.")
def main(files: tuple[Path, ...], model: Path, plot: Path, threads: int) -> None:
    """Evaluate MODEL on the selected jets of all FILES together, by default those of the shipped sample."""
    paths = list(files) or [SAMPLE]
    try:
        sample = read_sample(paths)
        score = top_probability(model, sample.images, threads=threads)
        metrics = evaluate_scores(score, sample.is_top)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    label = ", ".join(path.name for path in paths)
    plot_roc(score, sample.is_top, metrics, label, plot)

    low, high = TOP_MASS_WINDOW_GEV
    in_window = (sample.mass_gev > low) & (sample.mass_gev < high)
    table = Table(title=f"{model.name} on {label}", show_header=False)
    for name, value in (
        ("top jets", f"{metrics.n_top}"),
        ("QCD jets", f"{metrics.n_qcd}"),
        ("AUC", f"{metrics.auc:.5f}"),
        ("accuracy", f"{metrics.accuracy:.4f}"),
        ("1/eps_B at eps_S = 30%", f"{metrics.background_rejection:.0f}"),
        (f"tops with mass in {low:.0f}-{high:.0f} GeV", f"{np.mean(in_window[sample.is_top]):.1%}"),
        (f"QCD jets with mass in {low:.0f}-{high:.0f} GeV", f"{np.mean(in_window[~sample.is_top]):.1%}"),
        ("ROC curve", str(plot)),
    ):
        table.add_row(name, value)
    Console().print(table)


if __name__ == "__main__":
    main()
