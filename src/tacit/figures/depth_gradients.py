"""The figure on Omega along trainings of deep residual networks, and the power laws that it follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tacit.figures import depth_panels as panels
from tacit.figures import style
from tacit.figures.drawing import Drawing, Settings
from tacit.studies.depth_gradients import GRADIENTS as TABLE
from tacit.studies.depth_gradients import LAWS, mean_law
from tacit.studies.tables import over_seeds_of

_LAW = "0.25"
"""Colour of fits."""
_MARKED: dict[str, Any] = {"linewidth": 0.9, "marker": "x", "markersize": 3, "markevery": 4}


def draw(numbers: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw Omega against epochs, a line a depth, with the fit of the deepest; and beside them rates against depth."""
    omega = numbers[numbers["quantity"] == "omega"]
    figure, places = panels.grid(omega, height=1.75, beside=True)
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
    panels.legend_of_depths(figure, omega, fit)
    style.note(figure, panels.note_on(settings, omega["seeds"], missing))
    return figure


def _formula(numbers: pd.DataFrame, rule: str, alpha: float) -> str:
    """Return the law of the deepest network as it is written."""
    parameters = (panels.of_panel(numbers, name, rule, alpha)["mean"].iloc[-1] for name in ("size", "rate", "shift"))
    return panels.formula(*parameters)


# Numbers.


def _numbers(tables: Mapping[str, pd.DataFrame], settings: Settings) -> pd.DataFrame:
    """Return means and 95 % intervals over seeds: of Omega by epoch, with the mean of laws, and of these."""
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
        fits = laws[np.logical_and.reduce([laws[name] == value for name, value in axes.items()])]
        law = mean_law(fits, epoch).item()
        found = over_seeds_of(own["omega"].to_numpy(float))
        rows.append(axes | {"quantity": "omega", "epoch": epoch, "kept": own["kept"].mean()} | found | {"law": law})
    columns = [*keys, "quantity", "epoch", "kept", "mean", "low", "high", "seeds", "law"]
    return pd.DataFrame(rows, columns=columns).sort_values(["quantity", *keys, "epoch"], ignore_index=True)


GRADIENTS = Drawing({"gradients": TABLE, "power_laws": LAWS}, _numbers, draw)
