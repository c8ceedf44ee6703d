"""Figures of residual networks in the depth limit: norms and single weights along depth, p-variation against depth."""

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
from tacit.settings.depth_limit import VARIANT
from tacit.studies.depth_limit import ENTRIES, PROFILES, RUNS, VARIATION, of_shown
from tacit.studies.tables import over_seeds_of


def draw_norms(numbers: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw norms of rescaled weights against k / L, a line a depth, a column an alpha, a row a rule of the rate."""
    figure, places = panels.grid(numbers, height=1.75)
    for (rule, alpha), place in places.items():
        own = numbers[(numbers["rule"] == rule) & (numbers["alpha"] == alpha)]
        _draw_depths(place, own, "mean")
        colours = panels.colours_of(sorted(own["depth"].unique()))
        for depth, line in own.groupby("depth"):
            colour = colours[depth]
            place.fill_between(line["position"], line["low"], line["high"], color=colour, alpha=0.14, linewidth=0)
        if rule == "fixed":
            place.set_ylim(0, 1.08 * own["high"].fillna(own["mean"]).clip(upper=1.5 * own["mean"].max()).max())
        elif place.get_ylim()[0] < 0:
            place.set_ylim(0, None)
        place.set_title(f"$\\alpha={alpha:g}$")
    panels.label_rows(places, "$\\|L^{\\beta}W_k\\|_F$")
    panels.legend_of_depths(figure, numbers)
    style.note(figure, panels.note_on(settings, numbers["seeds"], missing))
    return figure


def draw_weights(numbers: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw single rescaled weights against k / L, a panel an entry, a line a depth; of several seeds the first bold."""
    entries = list(dict.fromkeys(zip(numbers["row"], numbers["column"], strict=True)))
    columns = min(3, len(entries))
    rows = -(-len(entries) // columns)
    figure, axes = style.new(style.PAGE, 0.75 + 1.55 * rows, nrows=rows, ncols=columns, squeeze=False)
    for place in axes.flat[len(entries) :]:
        place.set_axis_off()
    first = numbers["seed"].min()
    for place, (row, column) in zip(axes.flat, entries, strict=False):
        own = numbers[(numbers["row"] == row) & (numbers["column"] == column)]
        for seed, of_seed in own.groupby("seed"):
            _draw_depths(place, of_seed, "value", faint=seed != first)
        place.axhline(0, color="0.75", linewidth=0.6, zorder=0)
        place.set(ylabel=f"$L^{{\\beta}}W_k[{row},{column}]$")
    panels.legend_of_depths(figure, numbers)
    rule = "rate as L^(2 alpha - 1)" if numbers["rule"].iloc[0] == "scaled" else "fixed rate"
    several = "first seed bold, others faint" if numbers["seed"].nunique() > 1 else ""
    parts = [f"alpha {numbers['alpha'].iloc[0]:g}", rule, *filter(None, [several])]
    style.note(figure, panels.note_on(settings, [numbers["seed"].nunique()], missing, *parts, spread=""))
    return figure


def draw_variation(numbers: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw p-variation norms of trained rescaled weights against depth, a line a p, with the distance of the path's
    ends, and beside them the loss.
    """
    variation = numbers[numbers["quantity"] == "variation"]
    figure, places = panels.grid(variation, height=1.75, beside=True)
    exponents = sorted(variation["p"].unique())
    depths = sorted(numbers["depth"].unique())
    for (rule, alpha), place in places.items():
        if alpha is None:
            panels.draw_by_alpha(place, numbers, "loss", rule, depths)
            place.set_title("training loss")
            continue
        own = panels.of_panel(numbers, "variation", rule, alpha)
        ends = panels.of_panel(numbers, "ends", rule, alpha)
        place.plot(ends["depth"], ends["mean"], color="0.5", linewidth=2.6, alpha=0.5, zorder=1, solid_capstyle="butt")
        labels = []
        labelled = len(exponents) <= panels.LABELS
        for number, p in enumerate(exponents):
            line = own[own["p"] == p]
            panels.draw_line(place, line, number, f"C{number % 6}")
            labels.append((line, f"C{number % 6}", _power(line) if labelled else ""))
        panels.frame_depths(place, depths, room=3 if labelled else 1.2)
        if own["mean"].max() > 8 * own["mean"].min() > 0:
            place.set_yscale("log")
            several = ends["mean"].min() * 100 > own["mean"].max()
            place.yaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5) if several else (1,)))
            place.yaxis.set_major_formatter(matplotlib.ticker.StrMethodFormatter("{x:g}"))
            place.yaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
        else:
            place.set_ylim(0, 1.05 * own["high"].fillna(own["mean"]).max())
        panels.label_ends(place, labels)
        place.set_title(f"$\\alpha={alpha:g}$")
    panels.label_rows(places, "$p$-variation norm")
    handles = [
        Line2D([], [], color=f"C{n % 6}", linestyle=style.line(n), label=f"$p={p:g}$", **panels.marker(n))
        for n, p in enumerate(exponents)
    ]
    handles.append(Line2D([], [], color="0.5", linewidth=2.6, alpha=0.5, label="distance of ends"))
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 7), handlelength=2.6)
    powers = ["powers of L" + ("" if variation["power_low"].isna().all() else " with 95 % interval")]
    powers = powers if len(exponents) <= panels.LABELS and variation["power"].notna().any() else []
    style.note(figure, panels.note_on(settings, variation["seeds"], missing, *powers))
    return figure


def _draw_depths(axes: Any, own: pd.DataFrame, quantity: str, *, faint: bool = False) -> None:
    depths = sorted(own["depth"].unique())
    colours = panels.colours_of(depths)
    for number, depth in enumerate(depths):
        line = own[own["depth"] == depth]
        axes.plot(
            line["position"], line[quantity], color=colours[depth], linestyle=style.line(number),
            linewidth=0.7 if faint else 1.1, alpha=0.5 if faint else 1, zorder=2 if faint else 3,
        )  # fmt: skip
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1])
    axes.set_xlabel("$k/L$")


def _power(own: pd.DataFrame) -> str:
    """Return the power of the depth that a line goes with, and half of its interval, as they are written."""
    power, low, high = own[["power", "power_low", "power_high"]].iloc[0]
    if np.isnan(power):
        return ""
    # Without the sign of a zero.
    spread = "" if np.isnan(low) else f"\\pm{(high - low) / 2:.2f}"
    return f"$L^{{{round(power, 2) + 0.0:.2f}{spread}}}$"


# Numbers.


def _profiles(tables: Mapping[str, pd.DataFrame], settings: Settings) -> pd.DataFrame:
    return panels.there(tables["profiles"])


def _entries(tables: Mapping[str, pd.DataFrame], settings: Settings) -> pd.DataFrame:
    """Return the entries of the scaled rate, or of the fixed one where there is no other."""
    entries = panels.there(tables["entries"])
    return entries[entries["rule"] == ("scaled" if "scaled" in set(entries["rule"]) else "fixed")]


def _variation(tables: Mapping[str, pd.DataFrame], settings: Settings) -> pd.DataFrame:
    """Return norms, distances of ends and losses by rule, alpha, depth and, of norms, p."""
    shown = settings["shown"]
    norms = panels.there(of_shown(tables["variation"], shown)).dropna(subset="mean").assign(quantity="variation")
    others = []
    for key, own in of_shown(tables["runs"], shown).groupby([*VARIANT, "depth"], sort=False):
        axes = dict(zip([*VARIANT, "depth"], key, strict=True))
        for quantity, column in (("ends", "end_distance"), ("loss", "final_loss")):
            others.append({**axes, "quantity": quantity, **over_seeds_of(own[column].to_numpy(float))})
    powers = ["power", "power_low", "power_high"]
    columns = [*VARIANT, "depth", "quantity", "p", "mean", "low", "high", "seeds", *powers]
    return pd.concat([norms[columns], pd.DataFrame(others)], ignore_index=True).reindex(columns=columns)


NORMS = Drawing({"profiles": PROFILES}, _profiles, draw_norms)
WEIGHTS = Drawing({"entries": ENTRIES}, _entries, draw_weights)
VARIATIONS = Drawing({"runs": RUNS, "variation": VARIATION}, _variation, draw_variation)
