"""Tables of the study on untied weights, and summaries of them; without torch. `untied_claims` judges.

One table has everything: a row for each run and measured epoch. `age` counts epochs from the beginning of the CNN,
`epoch` from the beginning of the run itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tacit import store
from tacit.analysis import normalized_norms
from tacit.settings.untied import Shown
from tacit.studies.tables import MissingRunsError, over_seeds
from tacit.studies.untied import CONVOLUTIONS, INTERPOLATION, LAYER_NORMS, PERFORMANCE, RUN

RUN_KEYS = ["network", "cnn_learning_rate", "split", "learning_rate", "seed"]
SCRATCH = -1
"""The split, in what is drawn and judged, of a training from scratch, for which tables have none."""

PATH_KEYS = ["origin", "target", "cnn_learning_rate", "learning_rate", "seed"]

RUNS = store.Table(keys=(*RUN_KEYS, "epoch"), numbers=("age", *PERFORMANCE))
INTERPOLATIONS = store.Table(
    keys=(*PATH_KEYS, "method", "alpha"), numbers=("train_loss", "train_accuracy", "test_loss", "test_accuracy")
)
MARGIN_KEYS = ["network", "split", "low", "high"]
MARGINS = store.Table(keys=MARGIN_KEYS, numbers=("images", "seeds"))
BINS = 100
BEST = store.Table(keys=(*RUN_KEYS, "by"), numbers=("epoch", "age", "test_loss", "test_accuracy"))
"""What the tables must be."""


def collect(runs: Iterable[str | Path]) -> pd.DataFrame:
    """Return one table of all runs.

    Columns: network (cnn, lcn, fcn), cnn_learning_rate and split (empty for a training from scratch), learning_rate,
    seed, epoch, age; PERFORMANCE; norms of the whole network, and divided by each of the four margins, with inert
    weights and (`_live`) without; norms, distances and deviations of each layer, numbered from 1.
    """
    return table_of(map(read, runs))


def read(path: str | Path) -> store.Record:
    """Read of a run what is collected and judged, which is not its weights."""
    return store.read(path, kind=RUN, names=["epoch", *PERFORMANCE, *LAYER_NORMS, *CONVOLUTIONS, "test_correct"])


def table_of(runs: Iterable[store.Record]) -> pd.DataFrame:
    """Return one table of all runs, as `collect` does, of runs that were read."""
    table = pd.concat([_of_run(run) for run in runs], ignore_index=True)
    return table.sort_values([*RUN_KEYS, "epoch"], ignore_index=True, na_position="first")


def _of_run(run: store.Record) -> pd.DataFrame:
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


def best_epochs(runs: pd.DataFrame) -> pd.DataFrame:
    """Return of each run the measured epochs of least test loss and of greatest test accuracy, the first of equal ones.

    Columns: those that tell runs apart, `by` (test_loss, test_accuracy), epoch, age, loss and accuracy of train and
    test. They are chosen by the test set, which makes them better than the network is.
    """
    shown = [*RUN_KEYS, "epoch", "age", "train_loss", "train_accuracy", "test_loss", "test_accuracy"]
    groups = runs.groupby(RUN_KEYS, dropna=False, sort=False)
    found = {"test_loss": groups["test_loss"].idxmin(), "test_accuracy": groups["test_accuracy"].idxmax()}
    blocks = [runs.loc[rows, shown].assign(by=name) for name, rows in found.items()]
    table = pd.concat(blocks).sort_index(kind="stable")
    return table.sort_values([*RUN_KEYS, "by"], ignore_index=True, na_position="first")


def collect_margins(runs: Iterable[str | Path], *, shown: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """Return a histogram of the margins with which each network ends that is `shown` (plain settings).

    Of the CNN from scratch (its split is SCRATCH), and of locally connected networks and controls at the splits shown,
    over the images of all seeds: rows `network`, `split`, `low` and `high` end of a bin, number of `images` in it, of
    `seeds`; BINS bins, the same of all networks. Raises MissingRunsError if there are none of these.
    """
    asked = Shown.from_plain(shown)
    found: dict[tuple[str, int], list[np.ndarray]] = {}
    name = f"{asked.margin_of}_margins_{asked.margin}"
    for path in runs:
        settings = store.describe(path).settings
        key = settings["network"], settings.get("split", SCRATCH)
        rates = settings.get("cnn_learning_rate", settings["learning_rate"]), settings["learning_rate"]
        wanted = asked.cnn_learning_rate, asked.cnn_learning_rate if key[1] == SCRATCH else asked.learning_rate
        if rates == wanted and (key == ("cnn", SCRATCH) or (key[0] in ("cnn", "lcn") and key[1] in asked.splits)):
            found.setdefault(key, []).append(store.read(path, kind=RUN, names=[name]).arrays[name][-1])
    if not found:
        raise MissingRunsError("no network that is shown is there yet; run Snakemake again")
    margins = {key: np.concatenate(values) for key, values in sorted(found.items())}
    everything = np.concatenate([*margins.values()])
    edges = np.linspace(everything.min(), max(everything.max(), everything.min() + 1e-6), BINS + 1)
    blocks = [
        pd.DataFrame(
            {
                "network": network, "split": split, "low": edges[:-1], "high": edges[1:],
                "images": np.histogram(values, edges)[0], "seeds": len(found[network, split]),
            }
        )
        for (network, split), values in margins.items()
    ]  # fmt: skip
    return {"margins": pd.concat(blocks, ignore_index=True)}


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
    """Return mean and unbiased standard deviation over equal keys, one block of rows a quantity.

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
