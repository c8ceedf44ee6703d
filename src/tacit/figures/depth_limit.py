"""Figures of residual networks in the depth limit: norms and single weights along depth, p-variation against depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tacit.figures import style
from tacit.figures.drawing import Drawing, Settings
from tacit.settings.depth_limit import GRID, VARIANT
from tacit.studies.depth_limit import ENTRIES, PROFILES, RUNS, VARIATION, interval, is_shown

_TITLES = {"scaled": "rate ~ $L^{2\\alpha-1}$", "fixed": "rate fixed in depth"}
_SPREAD = "mean and 95 % interval over seeds"
_LINES: Sequence[Any] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)))
_MARKERS = ("o", "s", "^", "D", "v", "P")


def draw_norms(numbers: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw norms of rescaled weights against k / L, a line a depth, a panel an alpha and rule of the rate."""
    panels = _panels(numbers)
    columns = max(1, len({alpha for _, alpha in panels}))
    rules = list(dict.fromkeys(rule for rule, _ in panels))
    figure, axes = style.new(
        style.PAGE, 0.75 + 1.75 * max(1, len(rules)), nrows=max(1, len(rules)), ncols=columns, squeeze=False
    )
    alphas = sorted({alpha for _, alpha in panels})
    for row, rule in zip(axes, rules, strict=False):
        for place, alpha in zip(row, alphas, strict=True):
            if (rule, alpha) not in panels:
                place.set_axis_off()
                if alpha == 0.5:
                    place.text(0.5, 0.5, "at $\\alpha=0.5$ both\nrates are one", ha="center", va="center", color="0.4")
                continue
            own = numbers[(numbers["rule"] == rule) & (numbers["alpha"] == alpha)]
            _draw_depths(place, own)
            place.set_ylim(0, 1.08 * own["high"].clip(upper=1.5 * own["mean"].max()).max())
            place.set_title(f"$\\alpha={alpha:g}$, {_TITLES[rule]}")
            place.set_xlabel("$k/L$")
            if place is row[0] or (rule, alphas[0]) not in panels:
                place.set_ylabel("$\\|L^{\\beta}W_k\\|_F$")
    _legend_of_depths(figure, numbers)
    style.note(figure, _note(settings, numbers, missing))
    return figure


def draw_weights(numbers: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw single rescaled weights against k / L, a panel an entry, a line a depth."""
    entries = list(dict.fromkeys(zip(numbers["row"], numbers["column"], strict=True)))
    columns = min(3, len(entries))
    rows = -(-len(entries) // columns)
    figure, axes = style.new(style.PAGE, 0.75 + 1.55 * rows, nrows=rows, ncols=columns, squeeze=False)
    for place in axes.flat[len(entries) :]:
        place.set_axis_off()
    for place, (row, column) in zip(axes.flat, entries, strict=False):
        _draw_depths(place, numbers[(numbers["row"] == row) & (numbers["column"] == column)])
        place.axhline(0, color="0.75", linewidth=0.6, zorder=0)
        place.set(xlabel="$k/L$", ylabel=f"$L^{{\\beta}}W_k[{row},{column}]$")
    _legend_of_depths(figure, numbers)
    rule = numbers["rule"].iloc[0]
    alpha = f"alpha {numbers['alpha'].iloc[0]:g}, {'rate as L^(2 alpha - 1)' if rule == 'scaled' else 'fixed rate'}"
    style.note(figure, _note(settings, numbers, missing, alpha))
    return figure


def draw_variation(numbers: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw p-variation norms of trained rescaled weights against depth, a line a p, and beside them the loss."""
    variation = numbers[numbers["quantity"] == "variation"]
    panels = _panels(variation)
    rules = list(dict.fromkeys(rule for rule, _ in panels))
    alphas = sorted({alpha for _, alpha in panels})
    figure, axes = style.new(
        style.PAGE, 0.8 + 1.75 * max(1, len(rules)), nrows=max(1, len(rules)), ncols=len(alphas) + 1, squeeze=False
    )
    exponents = sorted(variation["p"].unique())
    depths = sorted(numbers["depth"].unique())
    for row, rule in zip(axes, rules, strict=False):
        for place, alpha in zip(row, alphas, strict=False):
            if (rule, alpha) not in panels:
                place.set_axis_off()
                if alpha == 0.5:
                    place.text(0.5, 0.5, "at $\\alpha=0.5$ both\nrates are one", ha="center", va="center", color="0.4")
                continue
            own = variation[(variation["rule"] == rule) & (variation["alpha"] == alpha)]
            for number, p in enumerate(exponents):
                _draw_line(place, own[own["p"] == p], number)
            _frame_depths(place, depths)
            place.set_title(f"$\\alpha={alpha:g}$, {_TITLES[rule]}", fontsize=7.5)
            if place is row[0] or (rule, alphas[0]) not in panels:
                place.set_ylabel("$p$-variation norm")
        place = row[-1]
        of_loss = numbers[(numbers["quantity"] == "loss") & (numbers["rule"] == rule)]
        for number, alpha in enumerate(alphas):
            own = of_loss[of_loss["alpha"] == alpha]
            if len(own):
                _draw_line(place, own, number, colours=("0.1", "0.35", "0.6"))
        _frame_depths(place, depths)
        place.set_title("training loss reached", fontsize=7.5)
        place.legend(
            handles=[
                Line2D([], [], color=("0.1", "0.35", "0.6")[n % 3], linestyle=_LINES[n % 4], marker=_MARKERS[n % 6],
                       markersize=3.5, label=f"$\\alpha={alpha:g}$")
                for n, alpha in enumerate(alphas) if (rule, alpha) in panels
            ],
            fontsize=6.5, handlelength=2.4,
        )  # fmt: skip
    handles = [
        Line2D([], [], color=f"C{n % 6}", linestyle=_LINES[n % 4], marker=_MARKERS[n % 6], markersize=3.5,
               label=f"$p={p:g}$")
        for n, p in enumerate(exponents)
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), handlelength=2.6)
    style.note(figure, _note(settings, variation, missing, "powers of L fitted to means"))
    return figure


def _panels(numbers: pd.DataFrame) -> list[tuple[str, float]]:
    """Return rule and alpha of each panel, scaled rates first."""
    there = set(zip(numbers["rule"], numbers["alpha"], strict=True))
    return sorted(there, key=lambda panel: (panel[0] != "scaled", panel[1]))


def _colours(depths: Sequence[int]) -> dict[int, Any]:
    return dict(zip(depths, matplotlib.colormaps["viridis"](np.linspace(0, 0.88, len(depths))), strict=True))


def _draw_depths(axes: Any, own: pd.DataFrame) -> None:
    depths = sorted(own["depth"].unique())
    colours = _colours(depths)
    for number, depth in enumerate(depths):
        line = own[own["depth"] == depth]
        axes.fill_between(
            line["position"], line["low"], line["high"], color=colours[depth], alpha=0.12, linewidth=0, zorder=1
        )
        axes.plot(
            line["position"], line["mean"], color=colours[depth], linestyle=_LINES[number % len(_LINES)], linewidth=1,
            zorder=3,
        )  # fmt: skip
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1])


def _legend_of_depths(figure: Figure, numbers: pd.DataFrame) -> None:
    depths = sorted(numbers["depth"].unique())
    colours = _colours(depths)
    handles = [
        Line2D([], [], color=colours[depth], linestyle=_LINES[number % len(_LINES)], linewidth=1.2, label=f"{depth:,}")
        for number, depth in enumerate(depths)
    ]
    figure.legend(
        handles=handles, title="depth $L$", title_fontsize=7, loc="outside upper center", ncols=min(len(handles), 8),
        handlelength=2.2, columnspacing=1.2,
    )  # fmt: skip


def _draw_line(axes: Any, own: pd.DataFrame, number: int, colours: Sequence[str] = ()) -> None:
    own = own.sort_values("depth")
    colour = colours[number % len(colours)] if colours else f"C{number % 6}"
    bars = np.maximum(np.stack([own["mean"] - own["low"], own["high"] - own["mean"]]), 0)
    axes.errorbar(
        own["depth"], own["mean"], bars, color=colour, linestyle=_LINES[number % len(_LINES)], linewidth=1,
        marker=_MARKERS[number % len(_MARKERS)], markersize=3.5, capsize=1.8, elinewidth=0.7,
    )  # fmt: skip
    if len(own) > 1 and (own["mean"] > 0).all():
        power = np.polyfit(np.log(own["depth"]), np.log(own["mean"]), 1)[0]
        last = own.iloc[-1]
        axes.annotate(
            f"$L^{{{power:.2f}}}$", (last["depth"], last["mean"]), (3, 0), textcoords="offset points", fontsize=6,
            color=colour, va="center",
        )  # fmt: skip


def _frame_depths(axes: Any, depths: Sequence[int]) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    some = depths if len(depths) <= 4 else [depths[0], depths[len(depths) // 2], depths[-1]]
    axes.set_xticks(some, labels=[f"{depth:,}" for depth in some], fontsize=6.5)
    axes.set_xticks([], minor=True)
    axes.set_xlim(depths[0] / 1.15, depths[-1] * 2)
    axes.set_xlabel("depth $L$")
    axes.yaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())


def _note(settings: Settings, numbers: pd.DataFrame, missing: int, *parts: str) -> str:
    grid, shown = settings["grid"], settings["shown"]
    data = grid["data"]["source"]
    described = (f"{data}, width {grid['dim']}", f"{shown['activation']}, {shown['initialization']}", *parts)
    return style.described(settings["scale"], *described, seeds=numbers["seeds"], missing=missing, spread=_SPREAD)


# Numbers.


def _profiles(tables: Mapping[str, pd.DataFrame], settings: Settings) -> pd.DataFrame:
    return tables["profiles"]


def _entries(tables: Mapping[str, pd.DataFrame], settings: Settings) -> pd.DataFrame:
    """Return the entries of the scaled rate, or of the fixed one where there is no other."""
    entries = tables["entries"]
    return entries[entries["rule"] == ("scaled" if "scaled" in set(entries["rule"]) else "fixed")]


def _variation(tables: Mapping[str, pd.DataFrame], settings: Settings) -> pd.DataFrame:
    """Return norms and losses by rule, alpha, depth and, of norms, p."""
    shown = settings["shown"]

    def chosen(table: pd.DataFrame) -> pd.DataFrame:
        return table[[row["experiment"] == GRID and is_shown(row, shown) for row in table.to_dict("records")]]

    norms = chosen(tables["variation"]).dropna(subset="mean").assign(quantity="variation")
    losses = []
    for key, own in chosen(tables["runs"]).groupby([*VARIANT, "depth"], sort=False):
        mean, low, high = interval(own["final_loss"].to_numpy())
        losses.append((*key, "loss", mean, low, high, len(own)))
    names = [*VARIANT, "depth", "quantity", "mean", "low", "high", "seeds"]
    columns = [*VARIANT, "depth", "quantity", "p", "mean", "low", "high", "seeds"]
    return pd.concat([norms[columns], pd.DataFrame(losses, columns=names)], ignore_index=True)[columns]


NORMS = Drawing({"profiles": PROFILES}, _profiles, draw_norms)
WEIGHTS = Drawing({"entries": ENTRIES}, _entries, draw_weights)
VARIATIONS = Drawing({"runs": RUNS, "variation": VARIATION}, _variation, draw_variation)
