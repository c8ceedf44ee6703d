"""The tensor half of the norms study (Razin, Cohen 2020, section 6).

A tensor of low CP rank is completed from few entries by a CP factorization of full width: started near zero, descent
finds low rank, so that the target is recovered. Beside it stands the linear method, which leaves all unobserved entries
zero. Stages: `train` one factorization, `complete_linearly`, `collect`, judge the `claims`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tacit import store, streams
from tacit.analysis.tensor_rank import estimate_rank
from tacit.settings.factorizations import CPProblem
from tacit.settings.norms import Ranks, TensorRun
from tacit.studies import ledger
from tacit.studies.descents import EVALUATIONS

STUDY = "norms"
SOURCE = "Razin, Cohen 2020, section 6"
MANY = 0.3
"""Share of the entries from which on observations are enough for the claims."""

RUN = store.Kind(
    "tensor completion run",
    {
        **EVALUATIONS,
        "rank": store.Array("int64", optional=True),
        "followed_iterations": store.Array("int64", "followed", optional=True),
        "followed_rank": store.Array("int64", "followed", optional=True),
        "end": store.Array("float", "...", optional=True),
        "weights_*": store.Array("float", "* *"),
    },
)
LINEAR = store.Kind(
    "linear completion of a tensor",
    {"normalized_reconstruction_error": store.Array("float64"), "rank": store.Array("int64", optional=True)},
)
TARGET = store.Kind("estimated rank of a target", {"rank": store.Array("int64")})
"""Kinds of file."""

AXES = ["shape", "target_rank", "num_observations", "init_std", "seed"]
"""What tells a run from the others, as columns of the table; a linear completion has no init_std and no seed."""

RUNS = store.Table(
    keys=(*AXES, "method"), numbers=("error",), others=("rank", "fitted", "epochs", "estimated_target_rank")
)
"""What the table must be; `rank`, `estimated_target_rank` are empty if they are not estimated, -1 if that failed."""


def train(
    dataset: store.Record,
    settings: TensorRun,
    *,
    num_observations: int,
    init_std: float,
    seed: int,
    checkpoint: str | Path,
) -> dict[str, np.ndarray]:
    """Complete the tensor of `dataset` from its first `num_observations` entries; return the history of the descent.

    One row an evaluation, as of tacit.training.descent.descend, with `normalized_reconstruction_error`. If they are
    asked for, also `rank`, the estimated CP rank of the end tensor, without rows; `followed_rank`, that at every so
    many evaluations, and `followed_iterations`, done until these; and what is kept: `end`, the end tensor, and by their
    names in a CPFactorization the factors, `weights_<iterations>_<name>`. Ranks are -1 where the estimate failed.
    Raises as `descend` does; an interrupted descent continues from `checkpoint`.
    """
    # Here, because the other stages do without torch, whose import takes seconds.
    import torch

    from tacit import devices
    from tacit.nn.factorizations import CPFactorization, set_normal
    from tacit.training.descent import descend
    from tacit.training.observations import observations as observe

    ranks = settings.ranks
    descent = settings.descent.model_copy(update={"num_observations": num_observations})
    identity = {"init_std": init_std, "seed": seed, "dataset": dataset.settings, "descent": descent.plain()}
    target = dataset.arrays["target"]
    with devices.acquire() as device:
        observed = observe(dataset, descent, rows=slice(0, num_observations), device=device)
        model = CPFactorization(target.shape, full_width(target.shape))
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
            follow=_follow(ranks, seed) if ranks.every else None,
            stream=(STUDY, "tensor", "train", seed),
            checkpoint=checkpoint,
            settings=identity | ({"ranks": ranks.plain()} if ranks.every else {}),
        )
        end = model.end_tensor().detach().cpu().numpy()
    if ranks.every:
        followed = slice(ranks.every - 1, None, ranks.every)
        history["followed_iterations"] = history["iterations"][followed]
        history["followed_rank"] = history["followed_rank"][followed]
    if ranks.ends:
        history["rank"] = _rank(end, ranks, "model", seed)
    if settings.keep == "last epoch":
        factors = {name: factor.cpu().numpy() for name, factor in model.state_dict().items()}
        last = history["iterations"][-1]
        history |= {"end": end} | {f"weights_{last}_{name}": factor for name, factor in factors.items()}
    return history


def full_width(shape: Sequence[int]) -> int:
    """Return the number of components that is enough for any tensor: the product of all modes but the largest."""
    return math.prod(shape) // max(shape)


def _follow(ranks: Ranks, seed: int) -> Callable[[int, Any], Mapping[str, np.int64]]:
    """Return what estimates the rank at every so many evaluations; of the others, which are dropped, it says -1."""

    def rank(evaluation: int, end: Any) -> Mapping[str, np.int64]:
        if evaluation % ranks.every:
            return {"followed_rank": np.int64(-1)}
        found = _rank(end.detach().cpu().numpy(), ranks, "followed", seed, evaluation)
        return {"followed_rank": np.int64(found)}

    return rank


def complete_linearly(dataset: store.Record, ranks: Ranks, *, num_observations: int) -> dict[str, np.ndarray]:
    """Return `normalized_reconstruction_error` and `rank` of the tensor that is the target where observed, else zero.

    It is what gradient descent on the tensor itself gives. Without `rank` if none is to be estimated. Raises
    DivergenceError if that is not finite.
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
    found = {"normalized_reconstruction_error": np.array(error)}
    return found | ({"rank": _rank(completed.reshape(target.shape), ranks, "linear", 0)} if ranks.ends else {})


def estimate_target(dataset: store.Record, ranks: Ranks) -> dict[str, np.ndarray]:
    """Return the estimated `rank` of the target itself, which may be another than the number of its components."""
    return {"rank": _rank(dataset.arrays["target"], ranks, "target", 0)}


def _rank(tensor: np.ndarray, ranks: Ranks, *what: str | int) -> np.ndarray:
    generator = streams.numpy_generator(STUDY, "tensor", "rank", *what)
    return np.array(
        estimate_rank(
            tensor, tolerance=ranks.tolerance, sweeps=ranks.sweeps, restarts=ranks.restarts, generator=generator
        )
    )


def collect(
    runs: Iterable[str | Path], linear: Iterable[str | Path], targets: Iterable[str | Path] = ()
) -> pd.DataFrame:
    """Return one row a run and one a linear completion: AXES, `method`, epochs, fitted, error, rank.

    With `targets`, files of their estimated ranks, also `estimated_target_rank`. Ranks not estimated are empty.
    """
    rows, estimated = [], {}
    for path in targets:
        target = store.read(path, kind=TARGET)
        estimated[_target(target.settings)] = int(target.arrays["rank"])
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
                "rank": _number(run.arrays.get("rank")),
            }
        )
    for path in linear:
        run = store.read(path, kind=LINEAR)
        error, rank = run.arrays["normalized_reconstruction_error"], _number(run.arrays.get("rank"))
        rows.append(_axes(run.settings) | {"method": "linear", "fitted": True, "error": float(error), "rank": rank})
    table = pd.DataFrame(rows)
    found = [estimated.get(target, np.nan) for target in zip(table["shape"], table["target_rank"], strict=True)]
    table = table.assign(rank=pd.to_numeric(table["rank"]), estimated_target_rank=found)
    return table.sort_values(["shape", "target_rank", "method", *AXES[2:]], key=in_order, ignore_index=True)


def in_order(column: pd.Series) -> pd.Series:
    """Return what a column is sorted by: a rank that is `full` comes after all numbers."""
    return pd.to_numeric(column, errors="coerce") if column.name == "target_rank" else column


def _number(rank: np.ndarray | None) -> int | None:
    return None if rank is None else int(rank)


def _axes(settings: Mapping) -> dict[str, Any]:
    shape, rank = _target(settings)
    return {"shape": shape, "target_rank": rank, "num_observations": settings["num_observations"]}


def _target(settings: Mapping) -> tuple[str, int | str]:
    problem = CPProblem.from_plain(settings["problem"])
    return " x ".join(map(str, problem.shape)), problem.rank


def tables(
    runs: Iterable[str | Path],
    linear: Iterable[str | Path],
    targets: Iterable[str | Path] = (),
    *,
    planned: Iterable[tuple[Sequence[int], int]],
    missing: int,
) -> dict[str, pd.DataFrame]:
    """Return the table of runs and linear completions, and what is claimed of them.

    `planned` are shape and rank of the targets of low rank asked for, `missing` the number of files that are not there.
    """
    collected = collect(runs, linear, targets)
    of_low_rank = [(" x ".join(map(str, shape)), rank) for shape, rank in planned]
    return {"runs": collected, "claims": claims(collected, targets=of_low_rank, missing=missing)}


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    """Return medians and quartiles over seeds of error and rank by setting, and the estimated rank of the target.

    Rank -1, no estimate, is left out.
    """
    keys = ["shape", "target_rank", "method", "init_std", "num_observations"]
    # Linear completions have no scale of initialisation.
    grouped = table.assign(rank=table["rank"].where(table["rank"] >= 0)).groupby(keys, dropna=False)
    parts = {"seeds": grouped.size()}
    for name in ("error", "rank"):
        for label, share in (("median", 0.5), ("low", 0.25), ("high", 0.75)):
            parts[f"{name}_{label}"] = grouped[name].quantile(share)
    parts["estimated_target_rank"] = grouped["estimated_target_rank"].first()
    return pd.DataFrame(parts).reset_index().sort_values(keys, key=in_order, kind="stable", ignore_index=True)


def claims(table: pd.DataFrame, *, targets: Iterable[tuple[str, int]], missing: int) -> pd.DataFrame:
    """Judge what the paper states: rows of the ledger for each target, by its shape as in the table and its rank.

    It states nothing of targets of full rank. All are about numbers of observations from MANY of the entries on. Within
    a seed, settings are averaged.
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
        # Where none is estimated, nothing can be told.
        estimated = runs[runs["rank"].notna()]
        right = ledger.proportion(estimated["rank"] == rank, estimated["seed"])
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
