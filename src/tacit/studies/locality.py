"""What the studies on locality have in common: a task of growing difficulty, trained with and without a regulariser.

After Razin, Maman, Cohen 2022, section 6. Runs are gathered in a table, summarised by difficulty and coefficient of the
long-range regulariser, and the paper's claims are judged.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from tacit import store
from tacit.studies.tables import judged_gap, over_seeds

METRICS = {
    name: store.Array("float64", "epochs")
    for name in ("train_loss", "train_accuracy", "regularization", "test_loss", "test_accuracy", "learning_rate")
}
"""What a run file has of every epoch; what `tacit.training.networks.METRICS` names."""


class Axis(NamedTuple):
    """What makes the runs of a study differ in difficulty, and what it is called."""

    kind: store.Kind
    """Kind of the run files."""
    difficulty: str
    """Setting and column, such as path_length."""
    words: str
    """The same in a sentence, such as "path length"."""
    unit: str = ""


def table_of(axis: Axis) -> store.Table:
    """Return what the table of runs must be."""
    return store.Table(keys=(axis.difficulty, "coefficient", "seed"), numbers=("epochs", *METRICS))


def collect(axis: Axis, runs: Iterable[str | Path]) -> pd.DataFrame:
    """Return one row a run: its setting, its number of epochs, and the metrics of its last epoch."""
    rows = []
    for path in runs:
        run = store.read(path, kind=axis.kind)
        row = {name: run.settings[name] for name in (axis.difficulty, "coefficient", "seed")}
        row["epochs"] = len(run.arrays["test_accuracy"])
        row |= {name: values[-1] for name, values in run.arrays.items()}
        rows.append(row)
    return pd.DataFrame(rows).sort_values([axis.difficulty, "coefficient", "seed"], ignore_index=True)


def tables(axis: Axis, runs: Iterable[str | Path]) -> dict[str, pd.DataFrame]:
    """Return the table of runs, and what is claimed of them."""
    collected = collect(axis, runs)
    return {"runs": collected, "claims": claims(axis, collected)}


def summarize(axis: Axis, runs: pd.DataFrame) -> pd.DataFrame:
    """Return test accuracy in per cent by difficulty and coefficient: mean, standard deviation, number of seeds.

    The standard deviation is that of the seeds at hand (not the unbiased one), as in the published figures.
    """
    accuracy = 100 * runs.set_index(["coefficient", axis.difficulty])["test_accuracy"]
    return over_seeds(accuracy.groupby(level=[0, 1])).reset_index()


def claims(axis: Axis, runs: pd.DataFrame) -> pd.DataFrame:
    """Judge what the paper states in this run: one row a claim, with what was measured and whether it held.

    A difference of means counts if it exceeds two standard errors and 2 percentage points; from one seed nothing can be
    judged. A claim that compares with what was not run at all, such as a second difficulty, is left out.
    """
    easy, hard = runs[axis.difficulty].min(), runs[axis.difficulty].max()
    strong = runs["coefficient"].max()
    falls, plain = easy < hard, (runs["coefficient"] == 0).any()

    def accuracies(difficulty: float, coefficient: float) -> pd.Series:
        chosen = (runs[axis.difficulty] == difficulty) & (runs["coefficient"] == coefficient)
        return 100 * runs.loc[chosen, "test_accuracy"]

    plain_easy, plain_hard = accuracies(easy, 0.0), accuracies(hard, 0.0)
    strong_easy, strong_hard = accuracies(easy, strong), accuracies(hard, strong)
    unit, name = (f" {axis.unit}" if axis.unit else ""), f"coefficient {strong:g}"
    rows = []
    if falls and plain:
        rows.append(
            _judge(
                f"Without the regulariser, accuracy at {axis.words} {hard}{unit} is below that at {easy}{unit}",
                plain_easy.mean() - plain_hard.mean(),
                plain_easy,
                plain_hard,
            )
        )
    if strong > 0 and plain:
        rows.append(
            _judge(
                f"At {axis.words} {hard}{unit}, accuracy with {name} is above that without",
                strong_hard.mean() - plain_hard.mean(),
                strong_hard,
                plain_hard,
            )
        )
    if strong > 0 and plain and falls:
        rows.append(
            _judge(
                f"From {axis.words} {easy} to {hard}{unit}, accuracy falls less with {name} than without",
                (strong_hard.mean() - strong_easy.mean()) - (plain_hard.mean() - plain_easy.mean()),
                strong_hard,
                strong_easy,
                plain_hard,
                plain_easy,
            )
        )
    return pd.DataFrame(rows, columns=["claim", "measured", "held"])


def _judge(claim: str, gap: float, *samples: pd.Series) -> dict[str, str]:
    """Return a row of the table of claims; `gap` is a signed sum of the means of `samples`."""
    error = sum(sample.sem() ** 2 for sample in samples) ** 0.5
    return judged_gap(claim, gap, error, seeds=min(map(len, samples)), least=2)
