"""The tensor half of the norms study (Razin, Cohen 2020, section 6).

A tensor of low CP rank is completed from few entries by a CP factorization of full width: started near zero, descent
finds low rank, so that the target is recovered. Beside it stands the linear method, which leaves all unobserved entries
zero. Stages: `train` one factorization, `complete_linearly`, `collect`, judge the `claims`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from tacit import store, streams
from tacit.analysis.tensor_rank import estimate_rank
from tacit.settings.factorizations import CPProblem, Descent
from tacit.settings.norms import Ranks
from tacit.studies.descents import EVALUATIONS
from tacit.studies.tables import judged

STUDY = "norms"
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


def tables(runs: Iterable[str | Path], linear: Iterable[str | Path]) -> dict[str, pd.DataFrame]:
    """Return the table of runs and linear completions, and what is claimed of them."""
    collected = collect(runs, linear)
    return {"runs": collected, "claims": claims(collected)}


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


def claims(table: pd.DataFrame) -> pd.DataFrame:
    """Judge what the paper states: one row a claim, with what was measured and whether it held.

    All are about numbers of observations from 30 % of the entries on; without any there is nothing to be judged.
    """
    rows = []
    for (shape, rank), group in table.groupby(["shape", "target_rank"], sort=False):
        entries = np.prod([int(size) for size in shape.split(" x ")])
        many = group[group["num_observations"] >= 0.3 * entries]
        runs, linear = many[many["method"] == "factorization"], many[many["method"] == "linear"]
        where = f"{shape}, rank {rank}, from 30 % of the entries on"
        if len(runs):
            right = (runs["rank"] == rank).mean()
            claim = f"{where}: end tensors have the rank of the target"
            rows.append(judged(claim, f"{100 * right:.0f} % of runs", right >= 0.9))
        if len(runs) and len(linear):
            errors = runs["error"].median(), linear["error"].median()
            claim = f"{where}: the factorization errs far less than the linear method"
            rows.append(
                judged(claim, f"median error {errors[0]:.2g} against {errors[1]:.2g}", errors[1] > 10 * errors[0])
            )
        by_start = runs.groupby("init_std")["error"].median()
        if len(by_start) > 1:
            small, large = by_start.iloc[0], by_start.iloc[-1]
            measured = f"median error {small:.2g} with {by_start.index[0]:g}, {large:.2g} with {by_start.index[-1]:g}"
            rows.append(judged(f"{where}: a smaller start errs less", measured, small < large))
    return pd.DataFrame(rows, columns=["claim", "measured", "held"])
