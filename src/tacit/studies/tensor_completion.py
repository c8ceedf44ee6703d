"""The tensor half of the norms study (Razin, Cohen 2020, section 6).

A tensor of low CP rank is completed from few entries by a CP factorization of full width: started near zero, descent
finds low rank, so that the target is recovered. Beside it stands the linear method, which leaves all unobserved entries
zero. Stages: `train` one factorization, `complete_linearly`, `collect`, judge the `claims`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tacit import store, streams
from tacit.analysis.tensor_rank import estimate_rank
from tacit.settings.factorizations import CPProblem, Descent
from tacit.settings.norms import Ranks
from tacit.studies import ledger
from tacit.studies.descents import EVALUATIONS

STUDY = "norms"
SOURCE = "Razin, Cohen 2020, section 6"
MANY = 0.3
"""Share of the entries from which on observations are enough for the claims."""

RUN = store.Kind(
    "tensor completion run",
    {**EVALUATIONS, "rank": store.Array("int64")},
)
LINEAR = store.Kind(
    "linear completion of a tensor",
    {"normalized_reconstruction_error": store.Array("float64"), "rank": store.Array("int64")},
)
"""Kinds of file."""

AXES = ["shape", "target_rank", "num_observations", "init_std", "seed"]
"""What tells a run from the others, as columns of the table; a linear completion has no init_std and no seed."""

RUNS = store.Table(keys=(*AXES, "method"), numbers=("error", "rank"), others=("fitted", "epochs"))
"""What the table must be."""


def train(
    dataset: store.Record,
    descent: Descent,
    ranks: Ranks,
    *,
    num_observations: int,
    init_std: float,
    seed: int,
    checkpoint: str | Path,
) -> dict[str, np.ndarray]:
    """Complete the tensor of `dataset` from its first `num_observations` entries; return the history of the descent.

    One row an evaluation, as of tacit.training.descent.descend, with `normalized_reconstruction_error`; and, without
    rows, `rank`, the estimated CP rank of the end tensor. Raises as `descend` does; an interrupted descent continues
    from `checkpoint`.
    """
    # Here, because the other stages do without torch, whose import takes seconds.
    import torch

    from tacit import devices
    from tacit.nn.factorizations import CPFactorization, set_normal
    from tacit.training.descent import descend
    from tacit.training.observations import observations as observe

    descent = descent.model_copy(update={"num_observations": num_observations})
    target = dataset.arrays["target"]
    with devices.acquire() as device:
        observed = observe(dataset, descent, rows=slice(0, num_observations), device=device)
        model = CPFactorization(target.shape, target.size // max(target.shape))
        set_normal(model, streams.numpy_generator(STUDY, "tensor", "init", seed), std=init_std)
        model = model.to(device, observed.values.dtype)
        whole = torch.from_numpy(target).to(device, observed.values.dtype)
        history = descend(
            model,
            observed,
            descent,
            measure=lambda _, end: {
                "normalized_reconstruction_error": torch.linalg.vector_norm(end - whole)
                / torch.linalg.vector_norm(whole)
            },
            stream=(STUDY, "tensor", "train", seed),
            checkpoint=checkpoint,
            settings={"init_std": init_std, "seed": seed, "dataset": dataset.settings, "descent": descent.plain()},
        )
        end = model.end_tensor().detach().cpu().numpy()
    return history | {"rank": _rank(end, ranks, "model", seed)}


def complete_linearly(dataset: store.Record, ranks: Ranks, *, num_observations: int) -> dict[str, np.ndarray]:
    """Return `normalized_reconstruction_error` and `rank` of the tensor that is the target where observed, else zero.

    It is what gradient descent on the tensor itself gives. Raises DivergenceError if that is not finite.
    """
    from tacit.training import finite

    target, indices = dataset.arrays["target"], dataset.arrays["indices"][:num_observations]
    completed = np.zeros(target.size)
    completed[indices] = target.ravel()[indices]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        error = np.linalg.norm(completed - target.ravel()) / np.linalg.norm(target)
    # Before its rank is looked for, as no fit to what is no number ends.
    finite.check(
        {"tensor": completed, "normalized_reconstruction_error": error},
        when=f"of the linear completion from {num_observations} observations, {dict(dataset.settings)}",
        advice="choose another norm, rank or seed of the problem",
    )
    return {
        "normalized_reconstruction_error": np.array(error),
        "rank": _rank(completed.reshape(target.shape), ranks, "linear", 0),
    }


def _rank(tensor: np.ndarray, ranks: Ranks, what: str, seed: int) -> np.ndarray:
    generator = streams.numpy_generator(STUDY, "tensor", "rank", what, seed)
    return np.array(
        estimate_rank(
            tensor, tolerance=ranks.tolerance, sweeps=ranks.sweeps, restarts=ranks.restarts, generator=generator
        )
    )


def collect(runs: Iterable[str | Path], linear: Iterable[str | Path]) -> pd.DataFrame:
    """Return one row a run and one a linear completion: AXES, `method`, epochs, fitted, error, rank."""
    rows = []
    for path in runs:
        run = store.read(path, kind=RUN)
        rows.append(
            _axes(run.settings)
            | {
                "method": "factorization",
                "init_std": run.settings["init_std"],
                "seed": run.settings["seed"],
                "epochs": int(run.arrays["iterations"][-1]),
                "fitted": bool(run.arrays["train_mse"][-1] < run.settings["descent"]["tolerance"]),
                "error": float(run.arrays["normalized_reconstruction_error"][-1]),
                "rank": int(run.arrays["rank"]),
            }
        )
    for path in linear:
        run = store.read(path, kind=LINEAR)
        error, rank = run.arrays["normalized_reconstruction_error"], run.arrays["rank"]
        rows.append(
            _axes(run.settings) | {"method": "linear", "fitted": True, "error": float(error), "rank": int(rank)}
        )
    table = pd.DataFrame(rows)
    return table.sort_values(["shape", "target_rank", "method", *AXES[2:]], ignore_index=True)


def _axes(settings: Mapping) -> dict[str, object]:
    problem = CPProblem.from_plain(settings["problem"])
    shape = " x ".join(map(str, problem.shape))
    return {"shape": shape, "target_rank": problem.rank, "num_observations": settings["num_observations"]}


def tables(
    runs: Iterable[str | Path],
    linear: Iterable[str | Path],
    *,
    planned: Iterable[tuple[Sequence[int], int]],
    missing: int,
) -> dict[str, pd.DataFrame]:
    """Return the table of runs and linear completions, and what is claimed of them.

    `planned` are shape and rank of the targets asked for, `missing` the number of files that are not there.
    """
    collected = collect(runs, linear)
    targets = [(" x ".join(map(str, shape)), rank) for shape, rank in planned]
    return {"runs": collected, "claims": claims(collected, targets=targets, missing=missing)}


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    """Return medians and quartiles over seeds of error and rank by setting; rank -1, no estimate, is left out."""
    keys = ["shape", "target_rank", "method", "init_std", "num_observations"]
    # Linear completions have no scale of initialisation.
    grouped = table.assign(rank=table["rank"].where(table["rank"] >= 0)).groupby(keys, dropna=False)
    parts = {"seeds": grouped.size()}
    for name in ("error", "rank"):
        for label, share in (("median", 0.5), ("low", 0.25), ("high", 0.75)):
            parts[f"{name}_{label}"] = grouped[name].quantile(share)
    return pd.DataFrame(parts).reset_index()


def claims(table: pd.DataFrame, *, targets: Iterable[tuple[str, int]], missing: int) -> pd.DataFrame:
    """Judge what the paper states: rows of the ledger for each target, by its shape as in the table and its rank.

    All are about numbers of observations from MANY of the entries on. Within a seed, settings are averaged.
    """
    book = ledger.Ledger(STUDY, missing=missing)
    for shape, rank in targets:
        entries = np.prod([int(size) for size in shape.split(" x ")])
        own = table[(table["shape"] == shape) & (table["target_rank"] == rank)]
        many = own[own["num_observations"] >= MANY * entries]
        runs = many[many["method"] == "factorization"]
        linear = many[many["method"] == "linear"].set_index("num_observations")["error"]
        where = f"Completing {shape} of rank {rank} from {100 * MANY:.0f} % of the entries on,"
        name = f"{shape.replace(' ', '')}_rank_{rank}"
        right = ledger.proportion(runs["rank"] == rank, runs["seed"])
        text = f"{where} end tensors have the rank of the target in most runs"
        book.judge(f"rank_{name}", SOURCE, text, right, above=ledger.MOST, unit="of runs")
        beyond = np.log(runs["error"] / runs["num_observations"].map(linear)).dropna()
        text = f"{where} the factorization errs less than a tenth of the linear method"
        book.judge(f"recovers_{name}", SOURCE, text, _ratio(beyond, runs["seed"]), below=0.1, unit="times")
        # A setting by start and seed; only those that both starts have.
        by_start = runs.pivot(index=["num_observations", "seed"], columns="init_std", values="error")
        if len(by_start.columns) > 1:
            small, large = by_start.columns[0], by_start.columns[-1]
            gain = np.log(by_start[small] / by_start[large]).dropna()
            text = f"{where} a start of {small:g} errs less than one of {large:g}"
            ratio = _ratio(gain, gain.index.get_level_values("seed"))
            book.judge(f"small_start_{name}", SOURCE, text, ratio, below=1, unit="times")
    return book.table()


def _ratio(logs: pd.Series, seeds: Any) -> ledger.Estimate:
    """Estimate the ratio whose logarithms are given, of each seed averaged over settings."""
    return ledger.geometric_mean(np.exp(logs.groupby(seeds).mean()))
