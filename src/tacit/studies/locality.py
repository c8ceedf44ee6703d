"""What the studies on locality have in common: a task of growing difficulty, trained with and without a regulariser.

After Razin, Maman, Cohen 2022, section 6. Runs are gathered in a table, summarised by difficulty and coefficient of the
long-range regulariser, and the paper's claims are judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tacit import store
from tacit.studies import ledger
from tacit.studies.tables import over_seeds

METRICS = {
    **{name: store.Array("float64", "epochs") for name in ("train_loss", "train_accuracy", "regularization")},
    **{name: store.Array("float64", "tests") for name in ("test_loss", "test_accuracy", "learning_rate")},
}
"""What a run file has of every epoch, and of those that are tested, the last among them; what
`tacit.training.networks.METRICS` names."""

ARRAYS = METRICS | {
    # Where not every epoch is tested.
    "test_epochs": store.Array("int64", "tests", optional=True),
    "test_correct": store.Array("uint8", "images"),
    "weights_*": store.Array("float32 int64", "..."),
}
"""What a run file has: METRICS, whether the last epoch's answer to each test image is right, and the state of the
network at the epochs that are kept, weights_<epoch>_<name>."""

CHANCE = 50.0
"""Test accuracy in per cent of guessing."""

SOURCE = "Razin, Maman, Cohen 2022, section 6"


class Axis(NamedTuple):
    """What makes the runs of a study differ in difficulty, and what it is called."""

    study: str
    kind: store.Kind
    """Kind of the run files."""
    difficulty: str
    """Setting and column, such as path_length."""
    words: str
    """The same in a sentence, such as "path length"."""
    unit: str = ""
    one_test_set: bool = False
    """Whether networks of all difficulties are tested on the same images."""


class Planned(NamedTuple):
    """The grid that was asked for, whether or not its runs are there."""

    difficulties: Sequence[float]
    coefficients: Sequence[float]


def table_of(axis: Axis) -> store.Table:
    """Return what the table of runs must be."""
    return store.Table(keys=(axis.difficulty, "coefficient", "seed"), numbers=("epochs", *METRICS))


def collect(axis: Axis, runs: Iterable[str | Path]) -> pd.DataFrame:
    """Return one row a run: its setting, its number of epochs, and the metrics of its last epoch."""
    return _table(axis, [store.read(path, kind=axis.kind, names=list(METRICS)) for path in runs])


def _table(axis: Axis, runs: Iterable[store.Record]) -> pd.DataFrame:
    rows = []
    for run in runs:
        row = {name: run.settings[name] for name in (axis.difficulty, "coefficient", "seed")}
        row["epochs"] = len(run.arrays["train_accuracy"])
        row |= {name: values[-1] for name, values in run.arrays.items() if name in METRICS}
        rows.append(row)
    return pd.DataFrame(rows).sort_values([axis.difficulty, "coefficient", "seed"], ignore_index=True)


Correct = Mapping[tuple[float, float], Mapping[int, np.ndarray]]
"""By difficulty and coefficient, and by seed: whether the answer to each test image was right, (n,) of 0 and 1."""


def _correct(axis: Axis, runs: Iterable[store.Record]) -> Correct:
    found: dict[tuple[float, float], dict[int, np.ndarray]] = {}
    for run in runs:
        setting = run.settings[axis.difficulty], run.settings["coefficient"]
        found.setdefault(setting, {})[run.settings["seed"]] = run.arrays["test_correct"]
    return found


def tables(
    axis: Axis, runs: Iterable[str | Path], *, planned: Mapping[str, Any], missing: int
) -> dict[str, pd.DataFrame]:
    """Return the table of runs, and what is claimed of them.

    `planned` are the difficulties and coefficients asked for, `missing` the number of their runs that are not there.
    """
    # Once for both, as reading proves the whole file.
    records = [store.read(path, kind=axis.kind, names=[*METRICS, "test_correct"]) for path in runs]
    collected = _table(axis, records)
    judged = claims(axis, collected, _correct(axis, records), Planned(**planned), missing=missing)
    return {"runs": collected, "claims": judged}


def summarize(axis: Axis, runs: pd.DataFrame) -> pd.DataFrame:
    """Return test accuracy in per cent by difficulty and coefficient: mean, standard deviation, number of seeds.

    The standard deviation is the unbiased one; the published figures have that of the seeds at hand.
    """
    accuracy = 100 * runs.set_index(["coefficient", axis.difficulty])["test_accuracy"]
    return over_seeds(accuracy.groupby(level=[0, 1])).reset_index()


def claims(axis: Axis, runs: pd.DataFrame, correct: Correct, planned: Planned, *, missing: int) -> pd.DataFrame:
    """Judge what the paper states: a row of the ledger a claim, on the easiest and hardest task and least and most
    regulariser of the grid that was planned.

    A claim that compares with what was not planned, such as a second difficulty, is left out.
    """
    easy, hard = min(planned.difficulties), max(planned.difficulties)
    strong = max(planned.coefficients)
    falls, plain, regular = easy < hard, 0 in planned.coefficients, strong > 0
    unit = f" {axis.unit}" if axis.unit else ""
    at_hard, with_, points = f"at {axis.words} {hard}{unit}", f"with coefficient {strong:g}", "percentage points"

    def measured(**terms: Sequence[tuple[float, float, int]]) -> ledger.Estimate | None:
        return _measure(correct, terms, one_test_set=axis.one_test_set)

    book = ledger.Ledger(axis.study, missing=missing)
    worst = 100 * runs.groupby("seed")["train_accuracy"].min()
    text = "Networks fit the training set: the least train accuracy of any setting is above 99 %"
    book.judge("fit", SOURCE, text, ledger.mean(worst), above=99, unit="%")
    if plain and falls:
        text = f"Without the regulariser, accuracy {at_hard} is below that at {easy}{unit}"
        found = measured(easy=[(easy, 0, 1)], hard=[(hard, 0, -1)])
        book.judge("falls", SOURCE, text, found, above=0, unit=points)
    if plain:
        text = f"Without the regulariser, accuracy {at_hard} is less than 5 points above chance"
        found = measured(hard=[(hard, 0, 1)])
        book.judge("near_chance", SOURCE, text, found and ledger.shifted(found, -CHANCE), below=5, unit=points)
    if plain and regular:
        text = f"Accuracy {at_hard} {with_} is above that without"
        found = measured(hard=[(hard, strong, 1), (hard, 0, -1)])
        book.judge("regularizer_helps", SOURCE, text, found, above=0, unit=points)
    if plain and regular and falls:
        text = f"From {axis.words} {easy} to {hard}{unit}, accuracy falls less {with_} than without"
        found = measured(easy=[(easy, strong, -1), (easy, 0, 1)], hard=[(hard, strong, 1), (hard, 0, -1)])
        book.judge("falls_less", SOURCE, text, found, above=0, unit=points)
    return book.table()


def _measure(
    correct: Correct, terms: Mapping[str, Sequence[tuple[float, float, int]]], *, one_test_set: bool
) -> ledger.Estimate | None:
    """Estimate a signed sum of accuracies in percentage points, or return None if there are no runs of one of them.

    Terms, difficulty, coefficient and sign, that are of one group share their test images; with `one_test_set` all do.
    """
    groups = [[term for group in terms.values() for term in group]] if one_test_set else list(terms.values())
    blocks = []
    for group in groups:
        runs = [(correct.get((difficulty, coefficient), {}), sign) for difficulty, coefficient, sign in group]
        seeds = sorted(set.intersection(*(set(by_seed) for by_seed, _ in runs)))
        if not seeds:
            return None
        blocks.append(np.stack([sum(sign * by_seed[seed].astype(float) for by_seed, sign in runs) for seed in seeds]))
    return ledger.scaled(ledger.contrast(blocks), 100)
