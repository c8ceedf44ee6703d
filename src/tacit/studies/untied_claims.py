"""What the papers on untied weights claim, judged by the runs at the learning rates that are shown.

Sanford, Ardeshir, Hsu 2022; d'Ascoli, Sagun, Bruna, Biroli 2019; and what only a control can tell, which neither paper
has: the CNN that goes on, still tied, at the learning rate of the untied networks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tacit import store
from tacit.settings.untied import Shown, Solution
from tacit.studies import ledger
from tacit.studies.ledger import Estimate
from tacit.studies.untied import STUDY
from tacit.studies.untied_results import SCRATCH, best_epochs, collect_interpolations, ends, read, table_of

SOURCE = "Sanford, Ardeshir, Hsu 2022"
DENSE_SOURCE = "d'Ascoli, Sagun, Bruna, Biroli 2019"
CONTROL_SOURCE = f"beyond {SOURCE}: tied control"
_POINTS = "percentage points"

BARRIER = 0.1
"""From which on a path counts as having one; none is below 0, as a path has its ends on it."""

_AT_SPLIT, _EPOCH_AFTER, _END = range(3)

Answers = Mapping[tuple[str, int], Mapping[int, np.ndarray]]
"""By network and split (SCRATCH: none), and by seed: right or not, (3, test images) of 0 and 1, at the split, an epoch
after it, and at the end."""


class Planned(NamedTuple):
    """What was asked for at the learning rates that are shown, whether or not its runs are there."""

    scratch: Sequence[str]
    """Networks from scratch."""
    lcn: Sequence[int]
    """Splits that are shown."""
    cnn: Sequence[int]
    """Those of them that have a control."""
    fcn: Sequence[int]
    """Splits of fully connected networks."""


def answers_of(runs: Iterable[store.Record], shown: Shown) -> Answers:
    """Return the answers of the runs at the learning rates that are shown."""
    found: dict[tuple[str, int], dict[int, np.ndarray]] = {}
    for run in runs:
        settings = run.settings
        split = settings.get("split", SCRATCH)
        rates = settings.get("cnn_learning_rate", settings["learning_rate"]), settings["learning_rate"]
        asked = shown.cnn_learning_rate, shown.cnn_learning_rate if split == SCRATCH else shown.learning_rate
        if rates != asked:
            continue
        first = int(np.argmin(np.abs(run.arrays["epoch"] - 1)))
        network = found.setdefault((settings["network"], split), {})
        network[settings["seed"]] = run.arrays["test_correct"][[0, first, -1]].astype(float)
    return found


def tables(
    runs: Iterable[str | Path], *, shown: Mapping[str, Any], planned: Mapping[str, Any], missing: int
) -> dict[str, pd.DataFrame]:
    """Return the table of runs, the best epochs of each, and what is claimed of those `shown` (plain settings).

    `planned` is what was asked for (Planned), `missing` the number of runs that are not there.
    """
    # Once for both, as reading proves the whole file.
    records, asked = list(map(read, runs)), Shown.from_plain(shown)
    collected = table_of(records)
    judged = claims(collected, answers_of(records, asked), asked, Planned(**planned), missing=missing)
    return {"runs": collected, "best": best_epochs(collected), "claims": judged}


def interpolation_tables(
    runs: Iterable[str | Path], *, pairs: Iterable[tuple[str, str]], methods: Iterable[str], missing: int
) -> dict[str, pd.DataFrame]:
    """Return the table of interpolations, and what is claimed of those between `pairs` by `methods`."""
    table = collect_interpolations(runs)
    return {"interpolations": table, "claims": path_claims(table, pairs=pairs, methods=methods, missing=missing)}


def claims(runs: pd.DataFrame, answers: Answers, shown: Shown, planned: Planned, *, missing: int) -> pd.DataFrame:
    """Judge what the papers state: a row of the ledger a claim. A claim on what was not planned is left out.

    Networks of one seed share the CNN that they come from, batches and test images, and are compared as such.
    """
    book = ledger.Ledger(STUDY, missing=missing)
    last, splits = ends(runs, shown), sorted(planned.lcn)
    worst = last.groupby("seed")["train_accuracy"].min()
    text = "Networks fit the training set: the least train accuracy of any of them is above 99 %"
    book.judge("fit", SOURCE, text, ledger.mean(worst), above=99, unit="%")
    _judge_norms(book, last, splits, planned.scratch)
    _judge_accuracies(book, answers, splits, planned.scratch)
    _judge_control(book, answers, sorted({*splits} & {*planned.cnn}))
    _judge_dense(book, answers, sorted(planned.fcn), planned.scratch)
    return book.table()


def _judge_norms(book: ledger.Ledger, last: pd.DataFrame, splits: Sequence[int], scratch: Sequence[str]) -> None:
    """The norm at the end, which is not defined where the mean margin of a seed is not positive."""
    norms = last.pivot(index="seed", columns=["network", "split"], values="log_normalized_norm")

    def of(*keys: tuple[str, int]) -> pd.DataFrame:
        return norms.reindex(columns=pd.MultiIndex.from_tuples(keys)).dropna()

    untied = [("lcn", split) for split in splits]
    if len(splits) > 1:
        text = "The later the split, the greater the normalized norm at the end (slope over doublings of the split)"
        found = ledger.slope(np.log2(splits), of(*untied).to_numpy())
        book.judge("norm_rises", SOURCE, text, found, above=0, unit="nats per doubling")
    both = of(("cnn", SCRATCH), *untied)
    text = "Untied networks end with a smaller normalized norm than the CNN, whichever the split shown"
    above = both[untied].max(axis=1) - both["cnn", SCRATCH]
    book.judge("norm_below_cnn", SOURCE, text, ledger.mean(above), below=0, unit="nats, at most")
    if "lcn" in scratch:
        both = of(("lcn", SCRATCH), untied[0])
        text = "An LCN from scratch ends with a smaller normalized norm than that of the earliest split"
        less = both["lcn", SCRATCH] - both[untied[0]]
        book.judge("scratch_norm", SOURCE, text, ledger.mean(less), below=0, unit="nats")


def _judge_accuracies(book: ledger.Ledger, answers: Answers, splits: Sequence[int], scratch: Sequence[str]) -> None:
    """How networks generalise beside the CNN that they come from."""
    first, *later = splits
    text = f"Split at epoch {first}, the earliest, a network generalises worse than the CNN"
    found = _gain(answers, ("lcn", first), ("cnn", SCRATCH))
    book.judge("earliest_worse", SOURCE, text, found, below=0, unit=_POINTS)
    if "lcn" in scratch:
        text = "An LCN from scratch generalises worse than the CNN"
        found = _gain(answers, ("lcn", SCRATCH), ("cnn", SCRATCH))
        book.judge("scratch_worse", SOURCE, text, found, below=0, unit=_POINTS)
    if later:
        confidence = ledger.simultaneous(len(later))
        gains = {
            f"epoch {split}": _gain(answers, ("lcn", split), ("cnn", SCRATCH), confidence=confidence) for split in later
        }
        there = {name: gain for name, gain in gains.items() if gain is not None}
        text = "Split at one of the later epochs, a network generalises better than the CNN"
        book.judge(
            "later_better", SOURCE, text, ledger.greatest(there) if there else None, above=0, unit=_POINTS
        )  # fmt: skip


def _judge_control(book: ledger.Ledger, answers: Answers, splits: Sequence[int]) -> None:
    """How much the lower learning rate does, and how much the freed weights; intervals of all splits hold together."""
    confidence = ledger.simultaneous(max(len(splits), 1))
    for split in splits:
        tied, untied = ("cnn", split), ("lcn", split)
        text = f"Of the gain in the first epoch after a split at {split} the tied control has more than half"
        both = [(1, tied, _EPOCH_AFTER), (-1, tied, _AT_SPLIT), (-0.5, untied, _EPOCH_AFTER), (0.5, untied, _AT_SPLIT)]
        gain = _accuracy(answers, (1, untied, _EPOCH_AFTER), (-1, untied, _AT_SPLIT), confidence=confidence)
        found = _accuracy(answers, *both, confidence=confidence)
        if gain is not None and not gain.low > 0:
            # Half of no gain is nothing to have more of.
            found = Estimate(np.nan, np.nan, np.nan, gain.runs, "no gain that is more than chance")
        book.judge(f"first_epoch_{split}", CONTROL_SOURCE, text, found, above=0, unit=f"{_POINTS} above half")
        text = f"Split at epoch {split}, untied weights generalise better than tied ones at their rate"
        found = _gain(answers, untied, tied, confidence=confidence)
        book.judge(f"untied_better_{split}", CONTROL_SOURCE, text, found, above=0, unit=_POINTS)


def _judge_dense(book: ledger.Ledger, answers: Answers, splits: Sequence[int], scratch: Sequence[str]) -> None:
    """Fully connected networks."""
    others = {"cnn": "the CNN it comes from"} | ({"fcn": "one from scratch"} if "fcn" in scratch else {})
    for split in splits:
        for network, words in others.items():
            text = f"A fully connected network, a CNN until epoch {split}, generalises better than {words}"
            found = _gain(answers, ("fcn", split), (network, SCRATCH))
            book.judge(f"fcn_{split}_over_{network}", DENSE_SOURCE, text, found, above=0, unit=_POINTS)


def _gain(
    answers: Answers, network: tuple[str, int], other: tuple[str, int], *, confidence: float = ledger.CONFIDENCE
) -> Estimate | None:
    """Estimate by how much one network is better than another in the end."""
    return _accuracy(answers, (1, network, _END), (-1, other, _END), confidence=confidence)


def _accuracy(
    answers: Answers, *terms: tuple[float, tuple[str, int], int], confidence: float = ledger.CONFIDENCE
) -> Estimate | None:
    """Estimate a sum of test accuracies (%), each with a factor, at one of the times of `answers`.

    None if no seed has all of them.
    """
    runs = [answers.get(network, {}) for _, network, _ in terms]
    seeds = sorted(set.intersection(*map(set, runs)))
    if not seeds:
        return None
    values = [
        np.sum([factor * run[seed][time] for (factor, _, time), run in zip(terms, runs, strict=True)], axis=0)
        for seed in seeds
    ]
    return ledger.scaled(ledger.contrast([np.stack(values)], confidence=confidence), 100)


def path_claims(
    table: pd.DataFrame, *, pairs: Iterable[tuple[str, str]], methods: Iterable[str], missing: int
) -> pd.DataFrame:
    """Judge what is said of the paths between networks, from a table of interpolations: rows of the ledger a pair.

    The barrier of a path is by how much its highest test loss exceeds that of its worse end.
    """
    book = ledger.Ledger(STUDY, missing=missing)
    for origin, target in pairs:
        own = table[(table["origin"] == origin) & (table["target"] == target)]
        barriers = {method: _barriers(own[own["method"] == method]) for method in methods}
        words = f"{_spoken(origin)} and {_spoken(target)}"
        if "linear" in barriers:
            text = f"On the straight line between {words} test loss has a barrier of more than {BARRIER} nats"
            found = ledger.mean(barriers["linear"])
            book.judge(f"barrier_{origin}_{target}", DENSE_SOURCE, text, found, above=BARRIER, unit="nats")
        if {"linear", "string"} <= barriers.keys():
            text = f"Along a string between {words} the barrier is less than half of that on the straight line"
            less = (barriers["string"] - barriers["linear"] / 2).dropna()
            found = ledger.mean(less)
            book.judge(f"string_{origin}_{target}", DENSE_SOURCE, text, found, below=0, unit="nats above half")
    return book.table()


def _barriers(paths: pd.DataFrame) -> pd.Series:
    """Return the barrier of each seed."""
    by_seed = paths.sort_values("alpha").groupby("seed")["test_loss"]
    return by_seed.max() - np.maximum(by_seed.first(), by_seed.last())


def _spoken(solution: str) -> str:
    network, split, epoch = Solution.named(solution)
    at = "" if epoch is None else f" at its epoch {epoch}"
    return (f"the {network.upper()}" if split is None else f"the {network.upper()} split at {split}") + at
