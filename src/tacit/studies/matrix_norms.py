"""The matrix half of the norms study (Razin, Cohen 2020, sections 3 and 5).

A deep matrix factorization that is to complete [[?, z], [z', eps]] lowers its loss by letting every norm grow while the
rank falls. Stages: `train` one factorization, `collect` the runs, judge the `claims`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tacit import store, streams
from tacit.analysis import matrix_norms as analysis
from tacit.errors import DivergenceError
from tacit.nn import deep_matrices
from tacit.settings.factorizations import MatrixProblem
from tacit.settings.norms import MatrixDescent, ObservedMatrix, Variant, determinant_sign
from tacit.studies.tables import judged

STUDY = "norms"
RUN = store.Kind(
    "matrix norms run",
    {
        "epochs": store.Array("int64", "points"),
        "loss_before": store.Array("float", "points"),
        "end": store.Array("float", "points rows columns"),
        "singular_values": store.Array("float64", "points *"),
        **{
            name: store.Array("float64", "points")
            for name in (
                "loss",
                "mse",
                "entry",
                "unobserved",
                "reconstruction_error",
                "normalized_reconstruction_error",
                "frobenius_norm",
                "nuclear_norm",
                "spectral_norm",
                "effective_rank",
                "rank",
                "distance_to_rank_one",
            )
        },
        "schatten_*": store.Array("float64", "points"),
        "determinant": store.Array("float64", "points", optional=True),
        # Lines of theory end where it says nothing.
        "theory_*": store.Array("float64", "points", finite=False),
    },
)
"""Kind of file."""

AXES = ["problem", "depth", "learning_rate", "init_scale", "balanced", "seed"]
"""What tells a run from the others, as columns of tables; a problem is named as ObservedMatrix does."""

RUNS = store.Table(keys=AXES, numbers=("epochs", "loss", "unobserved"), others=("fitted",))
CURVES = store.Table(keys=(*AXES, "epochs"), numbers=("loss", "unobserved"))
"""What the tables must be."""

MARKS = (0.13, 0.013, 0.0013, 0.00013)
"""Losses at which the published figures mark a curve when it first falls below."""

MAX_POINTS = 250
"""Points of a run that are kept for drawing."""


def train(problem: ObservedMatrix, variant: Variant, descent: MatrixDescent, *, seed: int) -> dict[str, np.ndarray]:
    """Fit one factorization; return its path, one row an evaluation that was written down (K of them).

    `epochs` done; `loss_before`, of the last step of these, as the rule of stopping sees it; `loss` of the end matrix
    after it; `mse`, the mean square over the observations; and `end` (K, m, n) itself; its first `entry`, and the size
    of that, `unobserved`; `reconstruction_error` and `normalized_reconstruction_error` (the unobserved entry of a block
    counts as 0); what tacit.analysis.matrix_norms.measure returns; and the lines of `theory`. Starts of one seed,
    shape, depth, balance, task and sign differ by their scale alone. Raises DivergenceError.
    """
    # Here, because the other stages do without them, and compiled functions take a second to load.
    from tacit.training import finite, matrix_descent

    name = f"{problem.name}, {variant.plain()}, seed {seed}"
    start = deep_matrices.draw_start(
        problem.shape,
        variant.depth,
        initialization=descent.initialization,
        scale=variant.init_scale,
        scale_of=descent.scale_of,
        balanced=variant.balanced,
        sign=determinant_sign(problem, descent),
        generator=streams.numpy_generator(STUDY, "matrix", "init", seed, variant.depth, int(variant.balanced)),
    )
    weights = deep_matrices.pad(start, descent.precision)
    observed, target = observe(problem)
    try:
        path = matrix_descent.descend(
            weights,
            observed,
            learning_rate=variant.learning_rate,
            epochs=descent.epochs,
            evaluate_every=descent.evaluate_every,
            tolerance=descent.tolerance,
            patience=descent.patience,
        )
    except DivergenceError as error:
        raise DivergenceError(f"{name}: {error}") from error
    ends = path.ends.astype(np.float64)
    if len(observed.values):
        residuals = np.einsum("mij,kij->km", observed.matrices, ends) - observed.values
    else:
        residuals = ((ends - observed.target) * observed.mask).reshape(len(ends), -1)
    ends = ends[:, : problem.shape[0], : problem.shape[1]]
    found = {
        "epochs": path.epochs,
        "loss_before": path.losses,
        "loss": (residuals**2).sum(1) / 2,
        "end": path.ends[:, : problem.shape[0], : problem.shape[1]],
        "entry": ends[:, 0, 0],
        "unobserved": np.abs(ends[:, 0, 0]),
    }
    distance = np.sqrt(((ends - target) ** 2).sum((1, 2)))
    found |= {"reconstruction_error": distance, "normalized_reconstruction_error": distance / np.linalg.norm(target)}
    found["mse"] = 2 * found["loss"] / (len(observed.values) or observed.mask.sum())
    precision = float(np.finfo(descent.precision).eps)
    found |= analysis.measure(ends, schatten=descent.schatten, precision=precision)
    # Not the lines of theory, which end where it says nothing.
    finite.check(found, when=f"of {name}", advice="lower the learning rate or the scale of initialisation")
    return found | theory(problem, found["loss"], schatten=descent.schatten)


def theory(problem: ObservedMatrix, loss: np.ndarray, *, schatten: Iterable[float]) -> dict[str, np.ndarray]:
    """Return the lines of theory at these losses (K,), for blocks of 2 x 2; of other problems there are none.

    `theory_entry`, a lower bound on |unobserved entry|, and `theory_closed_form`, what it follows to leading order; for
    z = z' = 1 and eps = 0 also `theory_envelope`, the sharp one, and the theorem's bounds on norms (`theory_norm` and
    `theory_schatten_<p>`, from below), `theory_effective_rank` and `theory_distance` (from above).
    """
    if problem.task != "block" or problem.shape != (2, 2):
        return {}
    with np.errstate(divide="ignore"):
        lines = {
            "theory_entry": analysis.perturbed_bound(loss, observed=problem.observed),
            "theory_closed_form": analysis.perturbed_entry(loss, observed=problem.observed),
        }
        if problem.observed == (1.0, 1.0, 0.0):
            lines |= {
                "theory_entry": analysis.entry_bound(loss),
                "theory_envelope": analysis.envelope(loss),
                "theory_norm": analysis.norm_bound(loss),
                "theory_effective_rank": analysis.effective_rank_bound(loss),
                "theory_distance": analysis.distance_bound(loss),
            }
            for p in schatten:
                lines[f"theory_schatten_{p:g}"] = analysis.norm_bound(loss, constant=analysis.schatten_constant(p))
    return lines


def observe(problem: ObservedMatrix) -> tuple[Any, np.ndarray]:
    """Return what is observed of a problem (tacit.training.matrix_descent.Observed), and its target (m, n)."""
    from tacit.training.matrix_descent import Observed

    rows, columns = problem.shape
    longest = max(problem.shape)
    whole, mask = np.zeros((longest, longest)), np.zeros((longest, longest))
    none = np.zeros((0, longest, longest)), np.zeros(0)
    if problem.task == "block":
        target = np.eye(rows, columns)
        target[:2, :2] = [[0, problem.observed[0]], problem.observed[1:]]
        whole[:rows, :columns], mask[:rows, :columns] = target, 1
        mask[0, 0] = 0
        return Observed(whole, mask, *none), target
    from tacit.data import sensing

    random = MatrixProblem(
        seed=problem.seed, shape=problem.shape, norm=problem.norm, num_samples=problem.num_samples, rank=problem.rank,
        symmetric=problem.symmetric,
    )  # fmt: skip
    made = sensing.of_matrix(random, problem.task)
    target = made["target"]
    whole[:rows, :columns] = target
    if problem.task == "completion":
        mask[np.unravel_index(made["indices"], problem.shape)] = 1
        return Observed(whole, mask, *none), target
    matrices = np.zeros((problem.num_samples, longest, longest))
    matrices[:, :rows, :columns] = made["matrices"]
    return Observed(whole, mask, matrices, made["values"]), target


class Tables(NamedTuple):
    """What `collect` returns."""

    runs: pd.DataFrame
    """AXES, fitted, and what was measured when the loss was first seen below the tolerance, or at last"""
    curves: pd.DataFrame
    """AXES, epochs, and what was measured along the run, thinned"""


def collect(runs: Iterable[str | Path]) -> Tables:
    """Return tables of all runs."""
    rows, curves = [], []
    for path in runs:
        run = store.read(path, kind=RUN)
        names = [name for name, values in run.arrays.items() if values.ndim == 1]
        table = pd.DataFrame({name: run.arrays[name] for name in names})
        variant, problem = run.settings["variant"], ObservedMatrix.from_plain(run.settings["problem"])
        axes = {"problem": problem.name} | {name: variant[name] for name in AXES[1:-1]} | {"seed": run.settings["seed"]}
        fitted = table["loss"] < run.settings["descent"]["tolerance"]
        place = int(np.argmax(fitted)) if fitted.any() else len(table) - 1
        rows.append(axes | {"fitted": bool(fitted.any())} | table.iloc[place].to_dict())
        marked = [int(np.argmax(table["loss"] < mark)) for mark in (0.1, *MARKS) if (table["loss"] < mark).any()]
        keep = np.unique(np.r_[0 : len(table) : max(1, len(table) // MAX_POINTS), marked, place].astype(int))
        curves.append(table.iloc[keep].assign(**axes)[AXES + names])
    order = {"ignore_index": True}
    return Tables(
        pd.DataFrame(rows).astype({"epochs": int}).sort_values(AXES, **order),
        pd.concat(curves).sort_values([*AXES, "epochs"], **order),
    )


def published_tables(runs: Iterable[str | Path]) -> dict[str, pd.DataFrame]:
    """Return tables of runs of the published problem, and what is claimed of them."""
    found = collect(runs)
    return {**found._asdict(), "claims": claims(*found)}


def perturbed_tables(runs: Iterable[str | Path]) -> dict[str, pd.DataFrame]:
    """Return tables of runs of perturbed problems, and what is claimed of them."""
    found = collect(runs)
    return {**found._asdict(), "claims": perturbed_claims(*found)}


def further_tables(runs: Iterable[str | Path]) -> dict[str, pd.DataFrame]:
    """Return tables of runs of any problem, of which nothing is claimed."""
    return collect(runs)._asdict()


def at_loss(curves: pd.DataFrame, loss: float) -> pd.DataFrame:
    """Return the first row of each run with a loss below `loss`; runs without any are left out."""
    return curves[curves["loss"] < loss].groupby(AXES, as_index=False).first()


def until_fitted(curves: pd.DataFrame, tolerance: float) -> pd.DataFrame:
    """Return the rows of each run up to the first with a loss below the tolerance."""
    fitted = (curves["loss"] < tolerance).groupby([curves[name] for name in AXES]).cumsum()
    return curves[(fitted == 0) | ((fitted == 1) & (curves["loss"] < tolerance))].reset_index(drop=True)


def claims(runs: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Judge what the paper states of the published problem: one row a claim, what was measured, whether it held.

    A claim of which no run can say anything is left out.
    """
    rows = []
    start, end = at_loss(curves[curves["depth"] >= 3], 0.1), runs[runs["depth"] >= 3]
    if len(start):
        norms = ("frobenius_norm", "nuclear_norm")
        grown = [end[name].median() / start[name].median() for name in norms]
        measured = f"median Frobenius norm {grown[0]:.1f} times, nuclear norm {grown[1]:.1f} times as large"
        claim = "While the loss falls from 0.1 to its end the norms grow (depth 3 and more)"
        rows.append(judged(claim, measured, min(grown) > 2))
        ranks = end["effective_rank"].max()
        claim = "At the end the effective rank is near 1, the least there is (depth 3 and more)"
        rows.append(judged(claim, f"at most {ranks:.4f}", ranks < 1.1))
    over = curves[(curves["determinant"] >= 0) & curves["theory_envelope"].notna()]
    if len(over):
        least = (over["unobserved"] / over["theory_envelope"]).min()
        claim = "As long as the determinant is positive the unobserved entry is at least what theory says"
        rows.append(judged(claim, f"{least:.5f} of the envelope at least", least > 1 - 1e-3))
    close = over[over["balanced"] & (over["depth"] >= 3) & (over["loss"] < 0.01)]
    if len(close):
        ratio = close["unobserved"] / close["theory_envelope"]
        claim = "Balanced starts follow the envelope to 0.5 % once the loss is below 0.01 (depth 3 and more)"
        rows.append(judged(claim, f"{ratio.min():.5f} to {ratio.max():.5f} of it", ratio.max() < 1.005))
    shallow = runs[runs["depth"] == 2]
    if len(shallow):
        negative, most = int((shallow["determinant"] < 0).sum()), shallow["unobserved"].max()
        claim = "At depth 2 the determinant becomes negative on the way, and the entry stays bounded"
        measured = f"negative at the end of {negative} of {len(shallow)} runs, entry at most {most:.2f}"
        rows.append(judged(claim, measured, negative == len(shallow) and most < 20))
    return pd.DataFrame(rows, columns=["claim", "measured", "held"])


def perturbed_claims(runs: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Judge what the paper states of perturbed problems: one row a claim, what was measured, whether it held.

    Runs that leave zero towards the other sign of the entry than z z' eps has cannot converge as theory says, and are
    left out of the first claims. A claim of which no run can say anything is left out.
    """
    rows, least = [], []
    for problem, group in runs.groupby("problem", sort=False):
        first, second, corner = observed_in(problem)
        sign = np.sign(first * second)
        deep = group[group["depth"] >= 3]
        regular = deep[deep["fitted"] & (sign * deep["entry"] * corner >= 0)]
        if len(deep):
            limit = abs(first * second / corner) if corner else np.inf
            claim = f"With eps = {corner:g} the unobserved entry grows towards {limit:g} (depth 3 and more)"
            measured, ratio = f"0 of {len(deep)} runs fitted that way", np.inf
            if len(regular):
                ratio = (regular["unobserved"] / regular["theory_closed_form"]).median()
                measured = (
                    f"median {regular['unobserved'].median():.2f} at loss {regular['loss'].median():.2g}, "
                    f"{ratio:.3f} of the closed form ({len(regular)} of {len(deep)} runs)"
                )
            rows.append(judged(claim, measured, abs(ratio - 1) < 0.05))
        own = curves[
            (curves["problem"] == problem) & (sign * curves["determinant"] >= 0) & (curves["theory_entry"] > 0)
        ]
        least += list(own["unobserved"] / own["theory_entry"])
    if least:
        claim = "As long as the determinant has the sign of z z' the unobserved entry is at least what theory says"
        rows.append(judged(claim, f"{min(least):.5f} of the bound at least", min(least) > 1 - 1e-3))
    return pd.DataFrame(rows, columns=["claim", "measured", "held"])


def observed_in(problem: str) -> tuple[float, float, float]:
    """Return z, z', eps of a block by its name."""
    first, second, corner = map(float, problem.split("_")[1:])
    return first, second, corner
