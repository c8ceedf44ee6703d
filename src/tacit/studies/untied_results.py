"""Tables of the study on untied weights, and what they say of the claims of its papers; without torch.

One table has everything: a row for each run and measured epoch. `age` counts epochs from the beginning of the CNN,
`epoch` from the beginning of the run itself.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tacit import store
from tacit.analysis import normalized_norms
from tacit.settings.untied import Shown, Solution
from tacit.studies.tables import MissingRunsError, judged, judged_gap, over_seeds
from tacit.studies.untied import CONVOLUTIONS, INTERPOLATION, LAYER_NORMS, PERFORMANCE, RUN

RUN_KEYS = ["network", "cnn_learning_rate", "split", "learning_rate", "seed"]
SCRATCH = -1
"""The split, in what is drawn and judged, of a training from scratch, for which tables have none."""

PATH_KEYS = ["origin", "target", "cnn_learning_rate", "learning_rate", "seed"]

RUNS = store.Table(keys=(*RUN_KEYS, "epoch"), numbers=("age", *PERFORMANCE))
INTERPOLATIONS = store.Table(
    keys=(*PATH_KEYS, "method", "alpha"), numbers=("train_loss", "train_accuracy", "test_loss", "test_accuracy")
)
"""What the tables must be."""


def collect(runs: Iterable[str | Path]) -> pd.DataFrame:
    """Return one table of all runs.

    Columns: network (cnn, lcn, fcn), cnn_learning_rate and split (empty for a training from scratch), learning_rate,
    seed, epoch, age; PERFORMANCE; norms of the whole network, and divided by each of the four margins, with inert
    weights and (`_live`) without; norms, distances and deviations of each layer, numbered from 1.
    """
    table = pd.concat([_of_run(path) for path in runs], ignore_index=True)
    return table.sort_values([*RUN_KEYS, "epoch"], ignore_index=True, na_position="first")


def tables(runs: Iterable[str | Path], *, shown: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """Return the table of runs, and what is claimed of those that are `shown` (plain settings)."""
    collected = collect(runs)
    return {"runs": collected, "claims": claims(collected, Shown.from_plain(shown))}


def interpolation_tables(runs: Iterable[str | Path]) -> dict[str, pd.DataFrame]:
    """Return the table of interpolations."""
    return {"interpolations": collect_interpolations(runs)}


def _of_run(path: str | Path) -> pd.DataFrame:
    run = store.read(path, kind=RUN, names=["epoch", *PERFORMANCE, *LAYER_NORMS, *CONVOLUTIONS])
    arrays, settings = run.arrays, run.settings
    columns: dict[str, Any] = {name: settings.get(name, np.nan) for name in RUN_KEYS}
    columns |= {"epoch": arrays["epoch"], "age": arrays["epoch"] + settings.get("split", 0)}
    columns |= {name: arrays[name] for name in PERFORMANCE}
    tied = settings["network"] == "cnn"
    for suffix in ("", "_live"):
        columns |= {f"{name}{suffix}": values for name, values in _norms(arrays, suffix, tied=tied).items()}
    for name in (*LAYER_NORMS, *CONVOLUTIONS):
        for number, values in enumerate(arrays[name].T, start=1):
            columns[f"{_singular(name)}_{number}"] = values
    return pd.DataFrame(columns)


def _norms(arrays: Mapping[str, np.ndarray], suffix: str, *, tied: bool) -> dict[str, np.ndarray]:
    squared = arrays[f"squared_norms{suffix}"]
    whole = normalized_norms.squared_norm(squared)
    product = normalized_norms.log_product(squared)
    legacy = normalized_norms.log_product_legacy(squared, tied=tied)
    found = {"squared_norm": whole, "log_product": product, "log_product_legacy": legacy}
    for part in ("train", "test"):
        for kind in ("top2", "legacy"):
            margin = arrays[f"{part}_margin_{kind}"]
            by = f"by_{part}_{kind}"
            found[f"squared_norm_{by}"] = normalized_norms.over_margin(whole, margin)
            found[f"squared_norm_{by}_cube_root"] = normalized_norms.over_margin(whole, margin, power=1 / 3)
            found[f"log_normalized_norm_{by}"] = normalized_norms.minus_log_margin(product, margin)
            found[f"log_product_legacy_{by}"] = normalized_norms.minus_log_margin(legacy, margin)
            found[f"log_product_of_squares_{by}"] = normalized_norms.minus_log_margin(2 * product, margin)
    return found


def _singular(name: str) -> str:
    return name.replace("norms", "norm").replace("deviations", "deviation").replace("distances", "distance")


def normalized_norm(shown: Shown) -> str:
    """Return the column with the normalized norm that is shown."""
    return f"log_normalized_norm_by_{shown.margin_of}_{shown.margin}"


def choose(runs: pd.DataFrame, shown: Shown) -> pd.DataFrame:
    """Return the runs of the learning rates that are shown; of a training from scratch the split is SCRATCH."""
    scratch = runs["split"].isna() & (runs["learning_rate"] == shown.cnn_learning_rate)
    after = (runs["cnn_learning_rate"] == shown.cnn_learning_rate) & (runs["learning_rate"] == shown.learning_rate)
    return runs[scratch | after].assign(split=lambda table: table["split"].fillna(SCRATCH).astype(int))


def curves(runs: pd.DataFrame, shown: Shown) -> pd.DataFrame:
    """Return normalized norm, train and test accuracy (%) over epochs, by network and split: mean, std, seeds.

    Of the CNN and the locally connected network from scratch, but for their initial state, and of the splits shown.
    """
    chosen = choose(runs, shown)
    begun = (chosen["split"] == SCRATCH) & (chosen["epoch"] > 0)
    chosen = chosen[chosen["network"].isin(["cnn", "lcn"]) & (begun | chosen["split"].isin(shown.splits))]
    values = {
        "log_normalized_norm": chosen[normalized_norm(shown)],
        "train_accuracy": 100 * chosen["train_accuracy"],
        "test_accuracy": 100 * chosen["test_accuracy"],
    }
    return _summary(chosen[["network", "split", "epoch", "age"]], values)


def layer_curves(runs: pd.DataFrame, shown: Shown) -> pd.DataFrame:
    """Return by convolution, over epochs since the split, what is zero at it.

    Of locally connected networks the deviation from tying, of fully connected ones the off-local norm. Raises
    MissingRunsError if there are none.
    """
    chosen = choose(runs, shown)
    chosen = chosen[(chosen["split"] > 0) & (chosen["epoch"] > 0)]
    blocks = []
    for network, quantity in (("lcn", "deviation"), ("fcn", "off_local")):
        own = chosen[chosen["network"] == network]
        names = [name for name in own if re.fullmatch(rf"{quantity}_\d+", name)]
        if not own.empty:
            blocks.append(_summary(own[["network", "split", "epoch"]], {name: own[name] for name in names}))
    if not blocks:
        raise MissingRunsError("no untied network that continues from a CNN is there yet; run Snakemake again")
    return pd.concat(blocks, ignore_index=True)


def ends(runs: pd.DataFrame, shown: Shown) -> pd.DataFrame:
    """Return normalized norm, train and test accuracy (%) of each run at its end, a row a network, split and seed."""
    chosen = choose(runs, shown)
    last = chosen.loc[chosen.groupby(["network", "split", "seed"])["epoch"].idxmax()]
    return pd.DataFrame(
        {
            **{name: last[name] for name in ("network", "split", "seed", "epoch")},
            "log_normalized_norm": last[normalized_norm(shown)],
            "train_accuracy": 100 * last["train_accuracy"],
            "test_accuracy": 100 * last["test_accuracy"],
        }
    ).reset_index(drop=True)


def end_summary(runs: pd.DataFrame, shown: Shown) -> pd.DataFrame:
    """Return normalized norm and test accuracy of `ends` over seeds: mean, std, seeds."""
    last = ends(runs, shown)
    last = last[last["split"] != 0]
    return _summary(last[["network", "split"]], {name: last[name] for name in ("log_normalized_norm", "test_accuracy")})


def _summary(keys: pd.DataFrame, values: Mapping[str, pd.Series]) -> pd.DataFrame:
    """Return mean and standard deviation (of the seeds at hand) over equal keys, one block of rows a quantity.

    A normalized norm that some seeds do not have, their margin being negative, is left out.
    """
    by = list(keys)
    blocks = []
    for name, series in values.items():
        groups = keys.assign(value=series).groupby(by)["value"]
        whole = groups.count() == groups.size()
        blocks.append(over_seeds(groups)[whole].reset_index().assign(quantity=name))
    table = pd.concat(blocks, ignore_index=True)
    return table[["quantity", *by, "mean", "std", "seeds"]]


def collect_interpolations(files: Iterable[str | Path]) -> pd.DataFrame:
    """Return one row for each pair of networks, seed, method and alpha, with loss and accuracy."""
    blocks = []
    for path in files:
        record = store.read(path, kind=INTERPOLATION)
        for method in record.settings["methods"]:
            columns = {name: record.settings[name] for name in PATH_KEYS} | {"method": method}
            columns["alpha"] = record.arrays[f"{method}_alpha"]
            for name in ("train_loss", "train_accuracy", "test_loss", "test_accuracy"):
                columns[name] = record.arrays[f"{method}_{name}"]
            blocks.append(pd.DataFrame(columns))
    return pd.concat(blocks, ignore_index=True)


def interpolation_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return loss and accuracy (%) against alpha by pair and method: mean, std, seeds."""
    percent = {f"{part}_accuracy": 100 * table[f"{part}_accuracy"] for part in ("train", "test")}
    losses = {f"{part}_loss": table[f"{part}_loss"] for part in ("train", "test")}
    return _summary(table[["origin", "target", "method", "alpha"]], losses | percent)


def claims(runs: pd.DataFrame, shown: Shown) -> pd.DataFrame:
    """Judge what the papers state in this run, for the learning rates shown: claim, what was measured, whether it held.

    Differences are of runs of one seed; they count if their mean exceeds two standard errors. A claim on what was not
    run is left out.
    """
    last = ends(runs, shown)
    by_seed = {key: rows.set_index("seed") for key, rows in last.groupby(["network", "split"])}
    cnn = by_seed.get(("cnn", SCRATCH))
    splits = [split for split in sorted(shown.splits) if ("lcn", split) in by_seed]
    worst = last.loc[last["train_accuracy"].idxmin()]
    least = f"least: {worst['train_accuracy']:.1f} % ({_solution(worst)})"
    rows = [judged("All networks fit the training set (at least 99 %)", least, worst["train_accuracy"] >= 99)]
    if cnn is not None and splits:
        rows += _norm_claims(by_seed, cnn, splits)
        rows += _accuracy_claims(by_seed, cnn, splits)
        rows += _control_claims(runs, by_seed, shown, splits)
        rows += _dense_claims(by_seed, cnn)
    return pd.DataFrame(rows)


def _norm_claims(by_seed: Mapping[Any, pd.DataFrame], cnn: pd.DataFrame, splits: list[int]) -> list[dict[str, str]]:
    # Not skipping seeds without a norm: means over different seeds are no comparison.
    norms = [by_seed["lcn", split]["log_normalized_norm"].mean(skipna=False) for split in splits]
    own = cnn["log_normalized_norm"].mean(skipna=False)
    listed = ", ".join(f"{split}: {norm:.2f}" for split, norm in zip(splits, norms, strict=True))
    rows = []
    if len(splits) > 1:
        rising = all(early < late for early, late in itertools.pairwise(norms))
        rows.append(judged("The later the split, the greater the normalized norm at the end", listed, rising))
    claim = "Untied networks end with a smaller normalized norm than the CNN"
    rows.append(judged(claim, f"{listed}; CNN: {own:.2f}", max(norms) < own))
    if np.isnan([*norms, own]).any():
        held = "not to be judged, as margins are not positive"
        return [row | {"held": held} for row in rows]
    return rows


def _solution(row: pd.Series) -> Solution:
    return Solution(row["network"], None if row["split"] == SCRATCH else row["split"])


def _accuracy_claims(by_seed: Mapping[Any, pd.DataFrame], cnn: pd.DataFrame, splits: list[int]) -> list[dict[str, str]]:
    gains = {split: (by_seed["lcn", split]["test_accuracy"] - cnn["test_accuracy"]).dropna() for split in splits}
    first = splits[0]
    rows = [_gap(f"Split at epoch {first}, the earliest, a network generalises worse than the CNN", -gains.pop(first))]
    if later := {split: gain for split, gain in gains.items() if not gain.empty}:
        best = max(later, key=lambda split: later[split].mean())
        claim = f"Of later splits the best (epoch {best}, by test accuracy) generalises better than the CNN"
        rows.append(_gap(claim, later[best]))
    return rows


def _control_claims(
    runs: pd.DataFrame, by_seed: Mapping[Any, pd.DataFrame], shown: Shown, splits: list[int]
) -> list[dict[str, str]]:
    """Judge what only the control can tell: how much the lower learning rate does, and how much the freed weights."""
    both = [split for split in splits if ("cnn", split) in by_seed]
    rows = []
    chosen = choose(runs, shown)
    chosen = chosen[chosen["split"].isin(both) & chosen["epoch"].isin([0, 1])]
    accuracy = 100 * chosen.set_index(["network", "split", "seed", "epoch"])["test_accuracy"].unstack("epoch")
    if {0, 1} <= set(accuracy):
        first = (accuracy[1] - accuracy[0]).groupby(["network", "split"]).mean()
        jumps = ", ".join(f"{split}: {first['lcn', split]:+.1f} and {first['cnn', split]:+.1f}" for split in both)
        split = max(both, key=lambda number: first["lcn", number])
        untied, tied = first["lcn", split], first["cnn", split]
        claim = "The gain in test accuracy of the first epoch after a split is mostly that of the tied control too"
        rows.append(judged(claim, f"{jumps} points", untied > 0 and tied > 0.5 * untied))
    for split in both:
        gain = by_seed["lcn", split]["test_accuracy"] - by_seed["cnn", split]["test_accuracy"]
        rows.append(
            _gap(f"Split at epoch {split}, untied weights generalise better than tied ones at their rate", gain)
        )
    return rows


def _dense_claims(by_seed: Mapping[Any, pd.DataFrame], cnn: pd.DataFrame) -> list[dict[str, str]]:
    """Judge the claims of d'Ascoli et al. on fully connected networks."""
    splits = [split for network, split in by_seed if network == "fcn" and split != SCRATCH]
    rows = []
    if splits:
        best = max(splits, key=lambda split: by_seed["fcn", split]["test_accuracy"].mean())
        accuracy = by_seed["fcn", best]["test_accuracy"]
        if ("fcn", SCRATCH) in by_seed:
            scratch = by_seed["fcn", SCRATCH]["test_accuracy"]
            claim = f"A fully connected network, a CNN until epoch {best}, generalises better than one from scratch"
            rows.append(_gap(claim, accuracy - scratch))
        rows.append(
            _gap(
                f"A fully connected network, a CNN until epoch {best}, generalises better than the CNN (best by test)",
                accuracy - cnn["test_accuracy"],
            )
        )
    return rows


def _gap(claim: str, gains: pd.Series) -> dict[str, str]:
    """Return a row of the table of claims on differences in percentage points, one a seed."""
    gains = gains.dropna()
    return judged_gap(claim, gains.mean(), gains.sem(), seeds=len(gains))
