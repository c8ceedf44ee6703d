"""What the runs of the rank dynamics study show: tables of all of them, and what is claimed of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tacit import store
from tacit.settings.rank_dynamics import FACTORIZATIONS, FactorizationName
from tacit.studies import ledger
from tacit.studies.rank_dynamics import RUN, STUDY
from tacit.studies.tables import MissingRunsError, rows_with

SOURCE = "Razin, Maman, Cohen 2022, sections 3 to 5"

_KEYS = ("factorization", "task", "seed")
RUNS = store.Table(
    keys=_KEYS,
    numbers=("iterations", "fitted_at", "train_mse", "normalized_reconstruction_error", "target_rank"),
    others=("fitted",),
)
COMPONENTS = store.Table(
    keys=(*_KEYS, "quantity", "component"),
    numbers=("final", "half_rise"),
    others=("learned", "next_at_half_rise"),
)
CURVES = store.Table(keys=(*_KEYS, "quantity", "component", "iteration"), numbers=("value",))
"""What the tables must be."""

_OF_RUNS = ("iterations", "train_mse", "normalized_reconstruction_error")

SIGNIFICANT = 0.015
"""A component counts as learned if it ends above this share of the largest."""

LEARNED = 100 * SIGNIFICANT
"""The same in per cent."""

MAX_POINTS = 700
"""Points of a curve that are kept for drawing."""


def collect(runs: Iterable[str | Path]) -> Tables:
    """Return tables of all runs: one row a run, one a component of each, one a point of its curve."""
    rows, components, histories = [], [], []
    for path in runs:
        # What is kept, if it is, may be large.
        there = list(store.contents(path).arrays)
        quantities = _followed(there)
        run = store.read(path, kind=RUN, names=[*_OF_RUNS, *quantities])
        name = {key: run.settings[key] for key in ("factorization", "task", "seed")}
        history = run.arrays
        iterations, fitted = history["iterations"], history["train_mse"] < run.settings["descent"]["tolerance"]
        rows.append(
            name
            | {
                "iterations": iterations[-1],
                "fitted_at": iterations[np.argmax(fitted)] if fitted.any() else iterations[-1],
                "fitted": bool(fitted.any()),
                "train_mse": history["train_mse"][-1],
                "normalized_reconstruction_error": history["normalized_reconstruction_error"][-1],
                "target_rank": _rank_of_target(run.settings["problem"]),
            }
        )
        for quantity in quantities:
            curve = history[quantity]
            components.append(describe_components(iterations, curve).assign(**name, quantity=quantity))
            histories.append((name | {"quantity": quantity}, iterations, curve, int(rows[-1]["fitted_at"])))
    order = ["factorization", "task", "seed"]
    return Tables(
        _sorted(pd.DataFrame(rows), order),
        _sorted(pd.concat(components), [*order, "quantity", "component"]),
        _sorted(_thinned(histories), [*order, "quantity", "component", "iteration"]),
    )


def tables(
    runs: Iterable[str | Path], *, planned: Iterable[tuple[FactorizationName, str, int]], missing: int
) -> dict[str, pd.DataFrame]:
    """Return the tables that `collect` does, and what is claimed of the runs.

    `planned` are factorization, task and rank of the target of what was asked for, `missing` the number of runs that
    are not there.
    """
    found = collect(runs)
    return {**found._asdict(), "claims": claims(found.runs, found.components, planned=planned, missing=missing)}


class Tables(NamedTuple):
    """What `collect` returns."""

    runs: pd.DataFrame
    """factorization, task, seed, iterations, fitted_at (first evaluation below tolerance), fitted, train_mse,
    normalized_reconstruction_error, target_rank"""
    components: pd.DataFrame
    """factorization, task, seed, quantity, component (from 1), and the columns of `describe_components`"""
    curves: pd.DataFrame
    """factorization, task, seed, quantity, component, iteration, value"""


def describe_components(iterations: np.ndarray, curve: np.ndarray) -> pd.DataFrame:
    """Return of each column of `curve` (n, k), descending in every row: how it ends and when it rose.

    Columns: component (from 1), final, learned (it ends above SIGNIFICANT of the largest), half_rise (first of the
    `iterations` (n,) at which it exceeds half of what it ends with), next_at_half_rise (what share of its own final
    value the next one has then; missing for the last).
    """
    final = curve[-1]
    first = np.argmax(curve > final / 2, axis=0)
    later = np.full(len(final), np.nan, curve.dtype)
    with np.errstate(divide="ignore", invalid="ignore"):
        later[:-1] = curve[first[:-1], np.arange(1, len(final))] / final[1:]
    return pd.DataFrame(
        {
            "component": np.arange(1, len(final) + 1),
            "final": final,
            "learned": final > SIGNIFICANT * final.max(),
            "half_rise": iterations[first],
            "next_at_half_rise": later,
        }
    )


def _followed(names: list[str]) -> list[str]:
    """Return which of these quantities are drawn or judged: not those of single modes, or of layers."""
    local = [name for name in names if name.startswith("local_component_norms_")]
    spectra = [name for name in names if name.startswith("singular_values_") and len(_modes(name)) > 1]
    return [name for name in ("singular_values", "component_norms") if name in names] + local + spectra


def _modes(quantity: str) -> tuple[int, ...]:
    """Return the modes, from 1, that a quantity is named after, such as (1, 2) for local_component_norms_1_2."""
    return tuple(int(part) for part in quantity.split("_") if part.isdigit())


def main_quantities(components: pd.DataFrame) -> dict[FactorizationName, str]:
    """Return what the first figure draws of each model in the table; of a tree, the local components of its root."""
    found = {}
    for factorization, names in components.groupby("factorization", sort=False)["quantity"].unique().items():
        local = [name for name in names if name.startswith("local_component_norms_")]
        found[factorization] = max(local, key=lambda name: len(_modes(name))) if local else names[0]
    return found


def node_quantities(components: pd.DataFrame) -> list[str]:
    """Return what the second figure draws: an inner node, the root, the matricization of the node, one of no node.

    A tree may have no node but the root, and no other matricization may have been asked for. Raises MissingRunsError if
    the table has no run of a tree.
    """
    names = list(components.loc[components["factorization"] == "hierarchical", "quantity"].unique())
    local = [name for name in names if name.startswith("local_component_norms_") and "level" not in name]
    if not local:
        raise MissingRunsError("no run of a hierarchical factorization is there yet, so there are no nodes to draw")
    root = max(local, key=lambda name: len(_modes(name)))
    inside, outside = _matricizations(names)
    of_node = {_modes(name): name for name in inside}
    node = next((name for name in sorted(local) if _modes(name) in of_node), root)
    spectrum = [of_node[_modes(node)]] if _modes(node) in of_node else []
    return list(dict.fromkeys([node, root, *spectrum, *outside[:1]]))


def _matricizations(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return which of `names` are singular values of matricizations of nodes of the tree, and of other modes.

    A set of modes has the spectrum of the others, so it is no other if those are a node's, or a single mode.
    """
    nodes = {_modes(name) for name in names if name.startswith("local_component_norms_")}
    whole = max(nodes, key=len, default=())
    spectra = sorted(name for name in names if name.startswith("singular_values_"))
    inside = [name for name in spectra if _modes(name) in nodes]
    rest = {name: tuple(mode for mode in whole if mode not in _modes(name)) for name in spectra}
    outside = [name for name in spectra if name not in inside and rest[name] not in nodes and len(rest[name]) > 1]
    return inside, outside


def _rank_of_target(problem: Mapping[str, Any]) -> int:
    """Return the rank that the root of the target has."""
    return problem["rank"] if "rank" in problem else problem["ranks"][-1]


def _thinned(histories: list[tuple[dict, np.ndarray, np.ndarray, int]]) -> pd.DataFrame:
    """Return all curves as one table, each until a tenth after the last seed of its setting was first fitted.

    A history is name, iterations, curve, and the iteration at which the run was first fitted. Of each setting the same
    iterations of all seeds are kept, at most MAX_POINTS, and the last of each run.
    """
    ends: dict[tuple, int] = {}
    for name, _, _, fitted_at in histories:
        setting = (name["factorization"], name["task"])
        ends[setting] = max(ends.get(setting, 0), int(1.1 * fitted_at))
    parts = []
    for name, iterations, curve, _ in histories:
        end, first = ends[name["factorization"], name["task"]], int(iterations[0])
        step = -(-(end // first) // MAX_POINTS) * first
        drawn = np.flatnonzero(iterations <= max(end, first))
        rows = np.unique([*drawn[iterations[drawn] % step == 0], drawn[-1]])
        count = curve.shape[1]
        parts.append(
            pd.DataFrame(
                name
                | {
                    "component": np.tile(np.arange(1, count + 1), len(rows)),
                    "iteration": np.repeat(iterations[rows], count),
                    "value": curve[rows].ravel(),
                }
            )
        )
    return pd.concat(parts)


def _sorted(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    order = {name: number for number, name in enumerate(FACTORIZATIONS)}
    others = [name for name in table.columns if name not in columns]
    return table[columns + others].sort_values(
        columns, ignore_index=True, key=lambda column: column.map(order) if column.name == "factorization" else column
    )


def summarize(curves: pd.DataFrame, runs: pd.DataFrame, drawn: Iterable[tuple[FactorizationName, str]]) -> pd.DataFrame:
    """Return median, least and greatest value over seeds of the curves of each model and quantity in `drawn`.

    A run that has ended before the others stays where it was. A last column is the number of seeds.
    """
    parts = []
    drawn = set(drawn)
    for (factorization, task), ended in runs.groupby(["factorization", "task"], sort=False):
        chosen = curves[(curves["factorization"] == factorization) & (curves["task"] == task)]
        chosen = chosen[[(factorization, quantity) in drawn for quantity in chosen["quantity"]]]
        if chosen.empty:
            continue
        wide = chosen.pivot(index="iteration", columns=["quantity", "component", "seed"], values="value").ffill()
        grouped = wide.T.groupby(level=["quantity", "component"])
        found = [getattr(grouped, name)().T.stack(["quantity", "component"]) for name in ("median", "min", "max")]
        table = pd.concat(found, axis=1, keys=["median", "low", "high"]).reset_index()
        parts.append(table.assign(factorization=factorization, task=task, seeds=len(ended)))
    columns = ["factorization", "task", "quantity", "component", "iteration", "median", "low", "high", "seeds"]
    return _sorted(pd.concat(parts)[columns], columns[:5])


def claims(
    runs: pd.DataFrame,
    components: pd.DataFrame,
    *,
    planned: Iterable[tuple[FactorizationName, str, int]],
    missing: int,
) -> pd.DataFrame:
    """Judge what the paper states: rows of the ledger for each factorization and task."""
    book, share = ledger.Ledger(STUDY, missing=missing), "% of the largest"
    for factorization, task, rank in planned:
        own = rows_with(components, factorization=factorization, task=task)
        errors = 100 * rows_with(runs, factorization=factorization, task=task)["normalized_reconstruction_error"]
        quantity = main_quantities(own).get(factorization, "")
        shares, label = _shares(own, quantity), quantity.replace("_", " ") or "components"
        where, name = f"{factorization.capitalize()} factorization, {task}:", f"{factorization}_{task}"
        text = f"{where} the target is recovered to 2 %"
        book.judge(f"recovers_{name}", SOURCE, text, ledger.mean(errors), below=2, unit="%")
        text = f"{where} component {rank} of the {label}, as many as the target has, is learned"
        book.judge(f"learns_{name}", SOURCE, text, _at(shares, rank), above=LEARNED, unit=share)
        text = f"{where} component {rank + 1} of the {label}, one more than the target has, is not learned"
        book.judge(f"stops_{name}", SOURCE, text, _at(shares, rank + 1), below=LEARNED, unit=share)
        if rank > 1:
            first = own[(own["quantity"] == quantity) & (own["component"] < rank)]
            worst = 100 * first.groupby("seed")["next_at_half_rise"].max()
            text = f"{where} when a component is at half its end, the next is at less than half of its own"
            most = ledger.mean(worst.dropna())
            book.judge(f"one_by_one_{name}", SOURCE, text, most, below=50, unit="% of its end, at most")
        inside, outside = _matricizations(own["quantity"].unique())
        for matricization in (*inside, *outside):
            modes = _modes(matricization)
            if len(modes) == 1:
                continue
            found, of_tree = _at(_shares(own, matricization), rank + 1), matricization in inside
            text = (
                f"{where} the matricization of modes {', '.join(map(str, modes))}, "
                f"{'a node' if of_tree else 'no node'} of the tree, has {'no' if of_tree else 'a'} singular value "
                f"number {rank + 1}"
            )
            bound = {"below" if of_tree else "above": LEARNED}
            book.judge(f"modes_{'_'.join(map(str, modes))}_{name}", SOURCE, text, found, **bound, unit=share)
    return book.table()


def _shares(components: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """Return what each component of a quantity ends with, in per cent of the largest: a row a seed, a column each."""
    own = components[components["quantity"] == quantity]
    final = own.pivot(index="seed", columns="component", values="final")
    return 100 * final.div(final.max(axis=1), axis=0)


def _at(shares: pd.DataFrame, component: int) -> ledger.Estimate | None:
    """Estimate the share of a component; None if there is none."""
    if component not in shares:
        return None
    return ledger.mean(shares[component].dropna())
