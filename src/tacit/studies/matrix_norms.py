"""The matrix half of the norms study (Razin, Cohen 2020, sections 3 and 5).

A deep matrix factorization that is to complete [[?, z], [z', eps]] lowers its loss by letting every norm grow while the
rank falls. Stages: `train` one factorization, `collect` the runs, judge the `claims`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tacit import store, streams
from tacit.analysis import matrix_norms as analysis
from tacit.data import observed_matrices
from tacit.errors import DivergenceError
from tacit.nn import deep_matrices
from tacit.settings.norms import MatrixDescent, Variant, determinant_sign
from tacit.settings.observed_matrices import ObservedMatrix
from tacit.studies import ledger

STUDY = "norms"
SOURCE, PERTURBED_SOURCE = "Razin, Cohen 2020, section 5", "Razin, Cohen 2020, robustness to perturbations"
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
        "weights_*": store.Array("float", "* *"),
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


def train(
    problem: ObservedMatrix,
    variant: Variant,
    descent: MatrixDescent,
    *,
    seed: int,
    digests: Mapping[str, str] | None = None,
) -> dict[str, np.ndarray]:
    """Fit one factorization; return its path, one row an evaluation that was written down (K of them).

    `epochs` done; `loss_before`, of the last step of these, as the rule of stopping sees it; `loss` of the end matrix
    after it; `mse`, the mean square over the observations; and `end` (K, m, n) itself; its first `entry`, and the size
    of that, `unobserved`; `reconstruction_error` and `normalized_reconstruction_error` (the unobserved entry of a block
    counts as 0); what tacit.analysis.matrix_norms.measure returns; and the lines of `theory`. If they are to be kept
    also, by their names in a MatrixFactorization, the factors at the end, `weights_<epochs done>_factors.<number>`.
    Starts of one seed, shape, depth, balance, task and sign differ by their scale alone. `digests` are those of a
    user's own files, by name. Raises DivergenceError, and as `observe` does.
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
    observed, target = observe(problem, digests=digests)
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
    found = _measure(path, problem, observed, target, descent)
    # Not the lines of theory, which end where it says nothing.
    finite.check(found, when=f"of {name}", advice="lower the learning rate or the scale of initialisation")
    if descent.keep == "last epoch":
        factors = deep_matrices.cut(weights, *problem.shape)
        found |= {f"weights_{path.epochs[-1]}_factors.{place}": factor for place, factor in enumerate(factors)}
    return found | theory(problem, found["loss"], schatten=descent.schatten)


def _measure(
    path: Any, problem: ObservedMatrix, observed: Any, target: np.ndarray, descent: MatrixDescent
) -> dict[str, np.ndarray]:
    """Return what is measured of the end matrices of a path, padded to squares as what is observed."""
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
    return found | analysis.measure(ends, schatten=descent.schatten, precision=precision)


def theory(problem: ObservedMatrix, loss: np.ndarray, *, schatten: Iterable[float]) -> dict[str, np.ndarray]:
    """Return the lines of theory at these losses (K,), for blocks of 2 x 2 of which all is observed; else none.

    `theory_entry`, a lower bound on |unobserved entry|, and `theory_closed_form`, what it follows to leading order; for
    z = z' = 1 and eps = 0 also `theory_envelope`, the sharp one, and the theorem's bounds on norms (`theory_norm` and
    `theory_schatten_<p>`, from below), `theory_effective_rank` and `theory_distance` (from above).
    """
    if not problem.has_theory:
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


def observe(problem: ObservedMatrix, *, digests: Mapping[str, str] | None = None) -> tuple[Any, np.ndarray]:
    """Return what is observed of a problem (tacit.training.matrix_descent.Observed), and its target (m, n).

    What is observed is padded with zeros to squares. `digests` and errors as of tacit.data.observed_matrices.observe.
    """
    from tacit.training.matrix_descent import Observed

    found = observed_matrices.observe(problem, digests=digests)
    (rows, columns), longest = problem.shape, max(problem.shape)
    whole, mask = np.zeros((longest, longest)), np.zeros((longest, longest))
    whole[:rows, :columns], mask[:rows, :columns] = found.target, found.mask
    matrices = np.zeros((len(found.values), longest, longest))
    matrices[:, :rows, :columns] = found.matrices
    return Observed(whole, mask, matrices, found.values), found.target


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


def published_tables(runs: Iterable[str | Path], *, planned: Iterable[int], missing: int) -> dict[str, pd.DataFrame]:
    """Return tables of runs of the published problem, and what is claimed of them.

    `planned` are the depths asked for, `missing` the number of their runs that are not there.
    """
    found = collect(runs)
    return {**found._asdict(), "claims": claims(*found, depths=planned, missing=missing)}


def perturbed_tables(runs: Iterable[str | Path], *, planned: Iterable[str], missing: int) -> dict[str, pd.DataFrame]:
    """Return tables of runs of perturbed problems, and what is claimed of them.

    `planned` are the names of the problems asked for, `missing` the number of their runs that are not there.
    """
    found = collect(runs)
    return {**found._asdict(), "claims": perturbed_claims(found.runs, problems=planned, missing=missing)}


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


def claims(runs: pd.DataFrame, curves: pd.DataFrame, *, depths: Iterable[int], missing: int) -> pd.DataFrame:
    """Judge what the paper states of the published problem: a row of the ledger a claim.

    Of depth 2, which the paper's figures show beside the others, each claim is one of its own. Within a seed, settings
    are averaged or the worst is taken; a claim on depths that were not planned is left out.
    """
    book, depths = ledger.Ledger(STUDY, missing=missing), set(depths)
    for name, words, own in (
        ("", "depth 3 and more", {depth for depth in depths if depth >= 3}),
        ("_depth_2", "depth 2", depths & {2}),
    ):
        if own:
            start = at_loss(curves[curves["depth"].isin(own)], 0.1)
            _judge_growth(book, runs[runs["depth"].isin(own)], start, name, words)
    if max(depths, default=0) >= 3:
        close = curves[curves["balanced"] & (curves["depth"] >= 3) & (curves["loss"] < 0.01)]
        excess = 100 * (close["unobserved"] / close["theory_envelope"] - 1).abs().groupby(close["seed"]).max()
        text = (
            "Balanced starts follow the least entry that is possible to 0.5 %, in the worst of their points below a "
            "loss of 0.01 (depth 3 and more)"
        )
        book.judge("follows_envelope", SOURCE, text, ledger.mean(excess), below=0.5, unit="%")
    if 2 in depths:
        shallow = runs[runs["depth"] == 2]
        negative = ledger.proportion(shallow["determinant"] < 0, shallow["seed"])
        text = (
            "At depth 2 the determinant has become negative at the end of most runs, where theory has it stay positive"
        )
        book.judge("determinant_depth_2", f"beyond {SOURCE}", text, negative, above=ledger.MOST, unit="of runs")
    return book.table()


def _judge_growth(book: ledger.Ledger, end: pd.DataFrame, start: pd.DataFrame, name: str, words: str) -> None:
    """Judge what grows between a loss of 0.1 and the end, and what is small there."""
    both = end.merge(start, on=AXES, how="left", suffixes=("", "_start"))

    def grown(quantity: str) -> ledger.Estimate:
        # Without a start in one setting nothing can be told of the seed, and so of the claim.
        logs = np.log(both[quantity] / both[f"{quantity}_start"])
        return ledger.geometric_mean(np.exp(logs.groupby(both["seed"]).agg(lambda own: own.mean(skipna=False))))

    for quantity, spoken in (
        ("unobserved", "the unobserved entry"),
        ("frobenius_norm", "the Frobenius norm"),
        ("nuclear_norm", "the nuclear norm"),
    ):
        text = f"From a loss of 0.1 to the end {spoken} grows more than tenfold ({words})"
        book.judge(f"{quantity}_grows{name}", SOURCE, text, grown(quantity), above=10, unit="times")
    text = f"At the end the distance to rank one is below the theorem's bound in the worst of the settings ({words})"
    share = end["distance_to_rank_one"] / end["theory_distance"]
    found = ledger.mean(share.groupby(end["seed"]).max())
    book.judge(f"distance_bounded{name}", SOURCE, text, found, below=1, unit="of the bound")
    text = (
        f"At the end the effective rank is below 1.1 in the worst of the settings, 1 being the least there is ({words})"
    )
    found = ledger.mean(end.groupby("seed")["effective_rank"].max())
    book.judge(f"rank_falls{name}", SOURCE, text, found, below=1.1, unit="effective rank")


def perturbed_claims(runs: pd.DataFrame, *, problems: Iterable[str], missing: int) -> pd.DataFrame:
    """Judge what the paper states of perturbed problems: two rows of the ledger a problem.

    Theory is of runs that leave zero towards the sign of z z' eps; whether they do is a claim of its own.
    """
    book = ledger.Ledger(STUDY, missing=missing)
    for problem in problems:
        first, second, corner = observed_in(problem)
        own = runs[(runs["problem"] == problem) & (runs["depth"] >= 3)]
        as_theory = own["fitted"] & (np.sign(first * second) * own["entry"] * corner >= 0)
        regular = own[as_theory]
        limit = f"{abs(first * second / corner):g}" if corner else "infinity"
        text = (
            f"With eps = {corner:g} the unobserved entry ends within 5 % of the closed form, on its way to {limit} "
            "(depth 3 and more, of runs fitted with the sign of z z' eps, mean over settings)"
        )
        off = 100 * (regular["unobserved"] / regular["theory_closed_form"] - 1).abs().groupby(regular["seed"]).mean()
        book.judge(f"perturbed_entry_{corner:g}", PERTURBED_SOURCE, text, ledger.mean(off), below=5, unit="%")
        text = f"With eps = {corner:g} most runs are fitted with the sign of z z' eps (depth 3 and more)"
        found = ledger.proportion(as_theory, own["seed"])
        book.judge(f"perturbed_sign_{corner:g}", PERTURBED_SOURCE, text, found, above=ledger.MOST, unit="of runs")
    return book.table()


def observed_in(problem: str) -> tuple[float, float, float]:
    """Return z, z', eps of a block by its name."""
    first, second, corner = map(float, problem.split("_")[1:])
    return first, second, corner
