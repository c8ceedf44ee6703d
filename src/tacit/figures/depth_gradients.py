"""The figure on Omega along trainings, and the power laws that it follows.

Above that of deep residual networks, by epoch; below that of convolutional ones, by step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tacit.figures import depth_panels as panels
from tacit.figures import style
from tacit.figures.drawing import Drawing, Settings
from tacit.studies import depth_cifar
from tacit.studies.depth_gradients import GRADIENTS as TABLE
from tacit.studies.depth_gradients import LAWS, mean_law
from tacit.studies.tables import over_seeds_of, rows_with

_LAW = "0.25"
"""Colour of fits."""
_MARKED: dict[str, Any] = {"linewidth": 0.9, "marker": "x", "markersize": 3, "markevery": 4}
_BELOW, _BESIDE = 1.85, 4
"""Inches of a row of panels of convolutional networks, and how many there are beside each other."""


def draw(numbers: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw Omega against epochs, a line a depth, with the fit of the deepest; and beside them rates against depth.

    Below them Omega of convolutional networks against steps, a panel a depth, with its fit.
    """
    omega = numbers[numbers["quantity"] == "omega"]
    steps = numbers[numbers["quantity"] == "convolutional"]
    rows = -(-steps["depth"].nunique() // _BESIDE)
    figure, places = panels.grid(omega, height=1.75, beside=True, below=_BELOW * rows)
    depths = sorted(omega["depth"].unique())
    for (rule, alpha), place in places.items():
        if alpha is None:
            panels.draw_by_alpha(place, numbers, "rate", rule, depths)
            place.set_title("rate $\\rho$ of the fit")
            continue
        own = panels.of_panel(numbers, "omega", rule, alpha)
        colours = panels.colours_of(depths)
        for number, depth in enumerate(depths):
            line = own[own["depth"] == depth].sort_values("epoch")
            place.plot(
                line["epoch"], line["mean"], color=colours[depth], linestyle=style.line(number), linewidth=1.4, zorder=2
            )
            place.fill_between(line["epoch"], line["low"], line["high"], color=colours[depth], alpha=0.15, linewidth=0)
        law = own[own["depth"] == own["depth"].max()].sort_values("epoch").dropna(subset="law")
        place.plot(law["epoch"], law["law"], color=_LAW, **_MARKED, zorder=3)
        place.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(4, integer=True))
        place.set(
            xlabel="epoch $t$",
            title=f"$\\alpha={alpha:g}$",
            ylim=(0.95 * omega["mean"].min(), 1.04 * omega[["mean", "law"]].max(axis=None)),
        )
        if len(law):
            place.text(0.04, 0.05, _formula(numbers, rule, alpha), transform=place.transAxes, fontsize=6.5, color=_LAW)
    panels.label_rows(places, "$\\Omega(t)$")
    fit = Line2D([], [], color=_LAW, **_MARKED, label="fit, deepest")
    panels.legend_of_depths(figure.subfigs[0] if rows else figure, omega, fit)
    described = []
    if rows:
        _draw_convolutional(figure.subfigs[1], steps, numbers, settings["convolutional"]["omega_shown"])
        own = settings["convolutional"]
        described = [f"below {own['images']['source']}, width {own['network']['width']}"]
    style.note(figure, panels.note_on(settings, omega["seeds"], missing, *described))
    return figure


def _draw_convolutional(room: Any, steps: pd.DataFrame, numbers: pd.DataFrame, shown: str) -> None:
    """Draw Omega of convolutional networks, a point a step; short batches, which stand out, are marked."""
    depths = sorted(steps["depth"].unique())
    rows = -(-len(depths) // _BESIDE)
    axes = room.subplots(nrows=rows, ncols=-(-len(depths) // rows), squeeze=False, sharey=True).ravel()
    for place in axes[len(depths) :]:
        place.set_axis_off()
    for depth, place in zip(depths, axes, strict=False):
        own = steps[steps["depth"] == depth].sort_values("step")
        isolated = (own["short"] == 1) & (shown == "logged")
        points, out = own[~isolated], own[isolated]
        place.plot(
            points["step"], points["mean"], ".", color=style.BLUE, markersize=2, markeredgewidth=0, rasterized=True
        )
        place.plot(out["step"], out["mean"], "x", color=style.VERMILION, markersize=3.5, markeredgewidth=0.8)
        place.plot(own["step"], own["law"], color=_LAW, linewidth=1.2)
        if own["law"].notna().any():
            law = (_convolutional(numbers, name, depth) for name in ("size", "rate", "shift"))
            place.text(0.96, 0.95, panels.formula(*law), transform=place.transAxes, fontsize=6.5, ha="right", va="top")
        place.set(xlabel="step", yscale="log", title=f"{depth} layers, convolutional")
        # Room for the formula.
        drawn = steps["mean"][steps["mean"] > 0]
        place.set_ylim(0.8 * drawn.min(), 4 * drawn.max())
        place.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(4, integer=True))
    axes[0].set_ylabel("$\\Omega$ as logged" if shown == "logged" else "$\\Omega$")
    looks: dict[str, Any] = {"linestyle": "none", "markersize": 4}
    handles = [
        Line2D([], [], color=style.BLUE, marker=".", **looks, label="mean over seeds, by step"),
        Line2D([], [], color=_LAW, linewidth=1.2, label="fit, $t$ in epochs"),
    ]
    if shown == "logged" and (steps["short"] == 1).any():
        handles.insert(1, Line2D([], [], color=style.VERMILION, marker="x", **looks, label="short last batch"))
    room.legend(handles=handles, loc="outside upper center", ncols=len(handles))


def _convolutional(numbers: pd.DataFrame, name: str, depth: int) -> float:
    """Return a parameter of the law of convolutional networks of a depth."""
    is_it = (numbers["quantity"] == f"convolutional_{name}") & (numbers["depth"] == depth)
    return float(numbers[is_it]["mean"].iloc[0])


def _formula(numbers: pd.DataFrame, rule: str, alpha: float) -> str:
    """Return the law of the deepest network as it is written."""
    parameters = (panels.of_panel(numbers, name, rule, alpha)["mean"].iloc[-1] for name in ("size", "rate", "shift"))
    return panels.formula(*parameters)


# Numbers.


def _numbers(tables: Mapping[str, pd.DataFrame], settings: Settings) -> pd.DataFrame:
    """Return means and 95 % intervals over seeds: of Omega by epoch, or step, with the mean of laws, and of these."""
    gradients, laws = panels.there(tables["gradients"]), tables["power_laws"]
    keys = ["rule", "alpha", "depth"]
    rows: list[dict[str, Any]] = []
    for key, own in laws.groupby(keys):
        axes = dict(zip(keys, key, strict=True))
        for quantity in ("size", "rate", "shift"):
            values = own[quantity].dropna().to_numpy(float)
            if len(values):
                rows.append(axes | {"quantity": quantity} | over_seeds_of(values))
    for (*key, epoch), own in gradients.groupby([*keys, "epoch"]):
        axes = dict(zip(keys, key, strict=True))
        law = mean_law(rows_with(laws, **axes), epoch).item()
        found = over_seeds_of(own["omega"].to_numpy(float))
        rows.append(axes | {"quantity": "omega", "epoch": epoch, "kept": own["kept"].mean()} | found | {"law": law})
    if "convolutional" in tables:
        rows += _of_convolutional(
            tables["convolutional"], tables["convolutional_laws"], settings["convolutional"]["omega_shown"]
        )
    columns = [*keys, "quantity", "epoch", "step", "short", "kept", "mean", "low", "high", "seeds", "law"]
    return pd.DataFrame(rows, columns=columns).sort_values(["quantity", *keys, "epoch", "step"], ignore_index=True)


def _of_convolutional(gradients: pd.DataFrame, runs: pd.DataFrame, shown: str) -> list[dict[str, Any]]:
    """Return means over seeds of Omega by step, as logged or of single images, and of the parameters of its laws.

    Laws are fitted to Omega of single images; as logged their sizes are smaller by the square of a whole batch.
    """
    rows: list[dict[str, Any]] = []
    size_of_batch = gradients["images"].max()
    unit = size_of_batch**2 if shown == "logged" else 1
    for depth, own in gradients.groupby("depth"):
        laws = runs[runs["depth"] == depth].dropna(subset="rate")
        for name, factor in (("size", 1 / unit), ("rate", 1), ("shift", 1)):
            if len(laws):
                found = over_seeds_of(factor * laws[name].to_numpy(float))
                rows.append({"depth": depth, "quantity": f"convolutional_{name}"} | found)
        by_step = own.groupby("step").agg(
            time=("time", "first"),
            images=("images", "first"),
            kept=("kept", "mean"),
            mean=("omega_logged" if shown == "logged" else "omega", "mean"),
            seeds=("seed", "size"),
        )
        # If a run ended early, means end with it: beyond, they would be of others.
        by_step = by_step[by_step["seeds"] == own["seed"].nunique()]
        by_step = by_step.assign(
            depth=depth,
            quantity="convolutional",
            short=(by_step["images"] < size_of_batch).astype(int),
            law=mean_law(laws, by_step["time"]) / unit,
        )
        rows += by_step.drop(columns=["time", "images"]).reset_index().to_dict("records")
    return rows


GRADIENTS = Drawing(
    {
        "gradients": TABLE,
        "power_laws": LAWS,
        "convolutional": depth_cifar.GRADIENTS,
        "convolutional_laws": depth_cifar.RUNS,
    },
    _numbers,
    draw,
)
