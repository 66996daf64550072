"""Train boosted trees on the same inputs as the jet network, and keep them as XGBoost writes them.

Run from the repository's root: python -m models.l1jets.trees --help
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import xgboost

from models.l1jets.card import scaling_of_card
from models.l1jets.dataset import read_sample
from models.toptag.metrics import evaluate_scores

TREES, DEPTH, LEARNING_RATE = 100, 4, 0.15


@click.command(context_settings={"show_default": True})
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--held-out", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--card", default="evtfw/data/l1jets.json", type=click.Path(path_type=Path), help="Has the scaling.")
@click.option(
    "--out", default="models/l1jets/l1jets_trees.json", type=click.Path(path_type=Path), help="Trees to write."
)
@click.option("--seed", default=1, type=int, help="Of the rows each tree sees.")
def main(*, files: tuple[Path, ...], held_out: Path, card: Path, out: Path, seed: int) -> None:
    """Train on the jets of FILES and write OUT."""
    scaling = scaling_of_card(card)
    sample, other = read_sample(list(files)), read_sample([held_out])
    trees = xgboost.XGBClassifier(
        n_estimators=TREES,
        max_depth=DEPTH,
        learning_rate=LEARNING_RATE,
        subsample=0.8,
        tree_method="hist",
        random_state=seed,
        n_jobs=1,
    )
    trees.fit(scaling(sample.features), sample.is_top.astype(np.int32))
    trees.save_model(out)
    scores = trees.predict_proba(scaling(other.features))[:, 1]
    click.echo(f"{out}: {evaluate_scores(scores, other.is_top)}")


if __name__ == "__main__":
    main()
