"""Tables of compressed networks, and what Khodak, Tenenholtz, Mackey, Fusi 2021 claim of them.

Each experiment (`tacit.settings.compressed.EXPERIMENTS`) has a table of runs and claims. Accuracies are those after the
last epoch; the best of all epochs, chosen on the test set as the original does, is in the table too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tacit import store
from tacit.settings.compressed import DENSE, Variant
from tacit.studies import classifiers, ledger
from tacit.studies.classifiers import Answers
from tacit.studies.compressed import AXES, RUN, STUDY

_SIZES = ("parameters", "dense_parameters", "rank_scale", "empty_layers")
RUNS = store.Table(
    keys=AXES,
    numbers=(
        "test_accuracy", "best_accuracy", "test_top5_accuracy", "test_loss", "train_loss", "share", "frobenius_norm",
        *_SIZES,
    ),
    others=("chosen_accuracy", "non_orthogonality"),
)  # fmt: skip
"""`share` is parameters over those of the dense network; `best_accuracy` the best on the test set of all epochs,
`chosen_accuracy` the one of the epoch that is best on what was held out, if anything was; `train_loss` is the mean over
the last epoch; `frobenius_norm` and `non_orthogonality` are means over layers at the end."""

SOURCE = "Khodak, Tenenholtz, Mackey, Fusi 2021"
QUOTED = f"{SOURCE}, section on compression, table 1 as others quote it"
RECOVERED = 0.5
"""Percentage points by which a network may stay behind the dense one, and recover its accuracy; the quoted gap is
0.15."""


def tables(runs: Iterable[str | Path], *, experiment: str, missing: int, **of_claims: Any) -> dict[str, pd.DataFrame]:
    """Return a table of the runs of an experiment, and what is claimed of it.

    `of_claims` are the settings that its claims need; `missing` is the number of runs that are not there.
    """
    rows, answers = [], {}
    for path in runs:
        run = store.read(path, kind=RUN)
        axes = {name: run.settings[name] for name in AXES}
        answers[tuple(axes.values())] = run.arrays["test_correct"].astype(float)
        rows.append(axes | _ends(run.arrays) | {name: run.attributes[name] for name in _SIZES})
    found = pd.DataFrame(rows, columns=[*AXES, *RUNS.numbers, *RUNS.others])
    found["share"] = found["parameters"] / found["dense_parameters"]
    book = ledger.Ledger(STUDY, missing=missing)
    _CLAIMS[experiment](book, answers, **of_claims)
    return {"runs": found.sort_values([*AXES], ignore_index=True), "claims": book.table()}


def _ends(arrays: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return what a run came to."""
    steps = len(arrays["step_loss"]) // max(int(arrays["epoch"][-1]), 1)
    found = {name: arrays[name][-1] for name in ("test_accuracy", "test_top5_accuracy", "test_loss")}
    found |= {"train_loss": arrays["step_loss"][-steps:].mean(), "frobenius_norm": arrays["frobenius_norms"][-1].mean()}
    orthogonality = arrays.get("non_orthogonality")
    found["non_orthogonality"] = np.nan if orthogonality is None else orthogonality[-1].mean()
    return found | classifiers.best_and_chosen(arrays)


# Claims.


def _combined(answers: Answers, where: Sequence[Any], weights: Mapping[Variant, float]) -> ledger.Estimate | None:
    """Estimate a sum of accuracies of variants of one network, each times its weight, in percentage points."""
    return classifiers.combined(answers, {(*where, *variant): weight for variant, weight in weights.items()})


def _judge_compression(
    book: ledger.Ledger, answers: Answers, *, panels: Sequence[Mapping[str, Any]], sparse: Sequence[str]
) -> None:
    """Judge that spectral start and Frobenius decay help together, and not alone, and how sparse networks compare."""
    for panel in panels:
        where, ratio = [panel[name] for name in ("source", "network", "depth", "width")], panel["ratio"]
        # Short, to be read in a figure of all claims: the image set only where there are several.
        several = len({panel["source"] for panel in panels}) > 1
        name = "_".join(map(str, where if several else where[1:]))
        name_of = f"{panel['network']} {panel['depth']} of width {panel['width']}"
        words = f"{panel['source']}, {name_of} at {ratio:g} of its parameters, or what ranks allow"
        low = {
            (start, decay): Variant("low_rank", ratio, start, decay)
            for start in ("regular", "spectral")
            for decay in ("weight", "frobenius")
        }
        neither, both = low["regular", "weight"], low["spectral", "frobenius"]
        spectral, frobenius = low["spectral", "weight"], low["regular", "frobenius"]

        def judge(
            id: str, text: str, weights: Mapping[Variant, float], *, source: str = QUOTED, where=where, **side: float
        ) -> None:
            found = _combined(answers, where, weights)
            book.judge(id, source, text, found, unit="percentage points", **side)

        text = f"{words}: spectral start and Frobenius decay are better than neither"
        judge(f"both_{name}", text, {both: 1, neither: -1}, above=0)
        text = f"{words}: the spectral start alone is worse than neither"
        judge(f"spectral_alone_{name}", text, {spectral: 1, neither: -1}, below=0)
        text = f"{words}: Frobenius decay alone is worse than neither"
        judge(f"frobenius_alone_{name}", text, {frobenius: 1, neither: -1}, below=0)
        text = f"{words}: both together give more than the sum of what each gives alone"
        judge(f"together_{name}", text, {both: 1, neither: 1, spectral: -1, frobenius: -1}, above=0)
        text = f"{words}: with both, accuracy is not more than {RECOVERED:g} points below the dense network's"
        judge(f"recovered_{name}", text, {both: 1, DENSE: -1}, above=-RECOVERED)
        for method in sparse:
            text = f"{words}: with both, low rank is better than the sparse network of {NAMES[method]}"
            other = Variant(method, ratio, "dense", "weight")  # type: ignore[arg-type]
            judge(f"beats_{method}_{name}", text, {both: 1, other: -1}, source=SOURCE, above=0)


NAMES = {
    "dense": "dense",
    "low_rank": "low rank",
    "snip": "SNIP",
    "grasp": "GraSP",
    "random_tickets": "random tickets",
    "tensor_train": "Tensor-Train",
    "tucker": "Tucker",
}
"""Of methods, as they are written."""


def _judge_tensors(
    book: ledger.Ledger,
    answers: Answers,
    *,
    where: Mapping[str, Any],
    levels: Sequence[Mapping[str, float]],
    decays: Sequence[str],
) -> None:
    """Judge that low rank with both beats tensors, and that both help tensors too; of the decays that there are."""
    if "frobenius" not in decays:
        return
    place = [where[name] for name in ("source", "network", "depth", "width")]
    for number, level in enumerate(levels, start=1):
        name_of = f"{where['network']} {where['depth']} of width {where['width']}"
        words = f"{where['source']}, {name_of}, about {level['low_rank']:g} of its parameters"
        variants = {
            (method, start, decay): Variant(method, size, start, decay)  # type: ignore[arg-type]
            for method, size in level.items()
            for start in ("regular", "spectral")
            for decay in ("weight", "frobenius")
        }
        for method in ("tensor_train", "tucker"):
            text = f"{words}: with spectral start and Frobenius decay, low rank errs less than {NAMES[method]}"
            both = [variants[name, "spectral", "frobenius"] for name in ("low_rank", method)]
            found = _combined(answers, place, {both[0]: -1, both[1]: 1})
            book.judge(f"less_than_{method}_{number}", SOURCE, text, found, below=0, unit="percentage points")
        for method in level if "weight" in decays else ():
            text = f"{words}: {NAMES[method]} errs less with spectral start and Frobenius decay than with neither"
            one, other = variants[method, "spectral", "frobenius"], variants[method, "regular", "weight"]
            found = _combined(answers, place, {one: -1, other: 1})
            book.judge(f"both_{method}_{number}", SOURCE, text, found, below=0, unit="percentage points")


_CLAIMS: dict[str, Callable[..., None]] = {"compression": _judge_compression, "tensors": _judge_tensors}
