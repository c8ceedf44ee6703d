"""Figures of residual networks in the depth limit: norms and single weights along depth, p-variation against depth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tacit.figures import style
from tacit.figures.drawing import Drawing, Settings
from tacit.settings.depth_limit import VARIANT
from tacit.studies.depth_limit import ENTRIES, PROFILES, RUNS, VARIATION, interval, of_shown
from tacit.studies.tables import MissingRunsError

_RULES = {"scaled": "(rate $\\propto L^{2\\alpha-1}$)", "fixed": "(rate fixed in depth)"}
_MARKERS = ("o", "s", "^", "D", "v", "P")
_GREYS = ("0.1", "0.4", "0.55")
_COLUMNS = 4
"""Panels beside each other, at most."""
_LABELS = 10
"""Lines up to which each is labelled at its end."""


def draw_norms(numbers: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw norms of rescaled weights against k / L, a line a depth, a column an alpha, a row a rule of the rate."""
    figure, places = _grid(numbers, height=1.75)
    for (rule, alpha), place in places.items():
        own = numbers[(numbers["rule"] == rule) & (numbers["alpha"] == alpha)]
        _draw_depths(place, own, "mean")
        colours = _colours(sorted(own["depth"].unique()))
        for depth, line in own.groupby("depth"):
            colour = colours[depth]
            place.fill_between(line["position"], line["low"], line["high"], color=colour, alpha=0.22, linewidth=0)
        if rule == "fixed":
            place.set_ylim(0, 1.08 * own["high"].fillna(own["mean"]).clip(upper=1.5 * own["mean"].max()).max())
        elif place.get_ylim()[0] < 0:
            place.set_ylim(0, None)
        place.set_title(f"$\\alpha={alpha:g}$")
    _label_rows(places, "$\\|L^{\\beta}W_k\\|_F$")
    _legend_of_depths(figure, numbers)
    style.note(figure, _note(settings, numbers["seeds"], missing))
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
    _legend_of_depths(figure, numbers)
    rule = "rate as L^(2 alpha - 1)" if numbers["rule"].iloc[0] == "scaled" else "fixed rate"
    several = "first seed bold, others faint" if numbers["seed"].nunique() > 1 else ""
    parts = [f"alpha {numbers['alpha'].iloc[0]:g}", rule, *filter(None, [several])]
    style.note(figure, _note(settings, [numbers["seed"].nunique()], missing, *parts, spread=""))
    return figure


def draw_variation(numbers: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw p-variation norms of trained rescaled weights against depth, a line a p, with the distance of the path's
    ends, and beside them the loss.
    """
    variation = numbers[numbers["quantity"] == "variation"]
    figure, places = _grid(variation, height=1.75, beside=True)
    exponents = sorted(variation["p"].unique())
    depths = sorted(numbers["depth"].unique())
    alphas = sorted(variation["alpha"].unique())
    for (rule, alpha), place in places.items():
        if alpha is None:
            labels = []
            for number, own_alpha in enumerate(alphas):
                line = _of_panel(numbers, "loss", rule, own_alpha)
                if len(line):
                    colour = _GREYS[number % len(_GREYS)]
                    _draw_line(place, line, number, colour)
                    labels.append((line, colour, f"$\\alpha={own_alpha:g}$"))
            _frame_depths(place, depths, room=4.5)
            _label_ends(place, labels)
            place.set_title("training loss")
            continue
        own = _of_panel(numbers, "variation", rule, alpha)
        ends = _of_panel(numbers, "ends", rule, alpha)
        place.plot(ends["depth"], ends["mean"], color="0.5", linewidth=2.6, alpha=0.5, zorder=1, solid_capstyle="butt")
        labels = []
        labelled = len(exponents) <= _LABELS
        for number, p in enumerate(exponents):
            line = own[own["p"] == p]
            _draw_line(place, line, number, f"C{number % 6}")
            labels.append((line, f"C{number % 6}", _power(line) if labelled else ""))
        _frame_depths(place, depths, room=3 if labelled else 1.2)
        if own["mean"].max() > 8 * own["mean"].min() > 0:
            place.set_yscale("log")
            place.yaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
            place.yaxis.set_major_formatter(matplotlib.ticker.StrMethodFormatter("{x:g}"))
            place.yaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
        else:
            place.set_ylim(0, 1.05 * own["high"].fillna(own["mean"]).max())
        _label_ends(place, labels)
        place.set_title(f"$\\alpha={alpha:g}$")
    _label_rows(places, "$p$-variation norm")
    handles = [
        Line2D([], [], color=f"C{n % 6}", linestyle=style.line(n), label=f"$p={p:g}$", **_marker(n))
        for n, p in enumerate(exponents)
    ]
    handles.append(Line2D([], [], color="0.5", linewidth=2.6, alpha=0.5, label="distance of ends"))
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 7), handlelength=2.6)
    powers = ["powers of L" + ("" if variation["power_low"].isna().all() else " with 95 % interval")]
    powers = powers if len(exponents) <= _LABELS and variation["power"].notna().any() else []
    style.note(figure, _note(settings, variation["seeds"], missing, *powers))
    return figure


def _grid(
    numbers: pd.DataFrame, *, height: float, beside: bool = False
) -> tuple[Figure, dict[tuple[str, float | None], Any]]:
    """Return a figure with rows for each rule and a column an alpha, and its axes; one more a rule if `beside`.

    Alphas that do not fit beside each other go on in a row below.
    """
    panels = _panels(numbers)
    rules, alphas = list(dict.fromkeys(rule for rule, _ in panels)), sorted({alpha for _, alpha in panels})
    cells: list[float | None] = [*alphas, *([None] if beside else [])]
    rows_each = -(-len(cells) // _COLUMNS)
    columns, rows = -(-len(cells) // rows_each), rows_each * len(rules)
    figure, axes = style.new(style.PAGE, 0.75 + height * rows, nrows=rows, ncols=columns, squeeze=False)
    found: dict[tuple[str, float | None], Any] = {}
    for rule, of_rule in zip(rules, axes.reshape(len(rules), -1), strict=True):
        for place in of_rule[len(cells) :]:
            place.set_axis_off()
        for alpha, place in zip(cells, of_rule, strict=False):
            if alpha is None or (rule, alpha) in panels:
                found[rule, alpha] = place
                continue
            place.set_axis_off()
            if alpha == 0.5 and rule == "fixed":
                place.text(
                    0.5, 0.5, "at $\\alpha=0.5$ the two\nrules are the same", ha="center", va="center", color="0.4"
                )
    return figure, found


def _label_rows(places: Mapping[tuple[str, float | None], Any], label: str) -> None:
    """Write what is drawn, and which rule of the rate, beside the first axes of each row."""
    labelled = set()
    for (rule, alpha), place in places.items():
        if alpha is not None and rule not in labelled:
            place.set_ylabel(f"{label}\n{_RULES[rule]}")
            labelled.add(rule)


def _panels(numbers: pd.DataFrame) -> list[tuple[str, float]]:
    """Return rule and alpha of each panel, scaled rates first."""
    there = set(zip(numbers["rule"], numbers["alpha"], strict=True))
    return sorted(there, key=lambda panel: (panel[0] != "scaled", panel[1]))


def _colours(depths: Sequence[int]) -> dict[int, Any]:
    return dict(zip(depths, matplotlib.colormaps["viridis"](np.linspace(0, 0.88, len(depths))), strict=True))


def _draw_depths(axes: Any, own: pd.DataFrame, quantity: str, *, faint: bool = False) -> None:
    depths = sorted(own["depth"].unique())
    colours = _colours(depths)
    for number, depth in enumerate(depths):
        line = own[own["depth"] == depth]
        axes.plot(
            line["position"], line[quantity], color=colours[depth], linestyle=style.line(number),
            linewidth=0.7 if faint else 1.1, alpha=0.5 if faint else 1, zorder=2 if faint else 3,
        )  # fmt: skip
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1])
    axes.set_xlabel("$k/L$")


def _legend_of_depths(figure: Figure, numbers: pd.DataFrame) -> None:
    depths = sorted(numbers["depth"].unique())
    colours = _colours(depths)
    handles = [
        Line2D(
            [],
            [],
            color=colours[depth],
            linestyle=style.line(number),
            linewidth=1.2,
            label=f"{depth:,}",
        )
        for number, depth in enumerate(depths)
    ]
    figure.legend(
        handles=handles, title="depth $L$", title_fontsize=7, loc="outside upper center", ncols=min(len(handles), 8),
        handlelength=2.2, columnspacing=1.2,
    )  # fmt: skip


def _marker(number: int) -> dict[str, Any]:
    # The second is open and larger, as lines of exponents above 1 often lie on each other.
    is_open = number % 3 == 1
    return {
        "marker": _MARKERS[number % len(_MARKERS)],
        "markersize": 5.5 if is_open else 3.5,
        **({"markerfacecolor": "none"} if is_open else {}),
    }


def _of_panel(numbers: pd.DataFrame, quantity: str, rule: str, alpha: float) -> pd.DataFrame:
    """Return what is drawn of a quantity, from the least depth on."""
    there = (numbers["quantity"] == quantity) & (numbers["rule"] == rule) & (numbers["alpha"] == alpha)
    return numbers[there].sort_values("depth")


def _draw_line(axes: Any, own: pd.DataFrame, number: int, colour: str) -> None:
    # None of a single seed.
    bars = np.nan_to_num(np.stack([own["mean"] - own["low"], own["high"] - own["mean"]])).clip(0)
    axes.errorbar(
        own["depth"], own["mean"], bars, color=colour, linestyle=style.line(number), linewidth=1,
        capsize=1.8, elinewidth=0.7, **_marker(number),
    )  # fmt: skip


def _label_ends(axes: Any, lines: Sequence[tuple[pd.DataFrame, str, str]]) -> None:
    """Write a label beside the last point of each line, in its colour, so that none lies on another."""
    ends = [
        (*axes.transAxes.inverted().transform(axes.transData.transform(own[["depth", "mean"]].iloc[-1])), *rest)
        for own, *rest in lines
        if len(own)
    ]
    ends.sort(key=lambda end: end[1])
    for (x, y, colour, label), height in zip(ends, _apart(np.array([end[1] for end in ends])), strict=True):
        axes.annotate(
            label, (x, y), (x + 0.035, height), xycoords="axes fraction", textcoords="axes fraction", fontsize=6,
            color=colour, va="center",
        )  # fmt: skip


def _apart(heights: np.ndarray, *, gap: float = 0.075) -> np.ndarray:
    """Return increasing heights from 0 to 1 moved apart, where they are closer than `gap`, as little as that takes."""
    if not len(heights):
        return heights
    # Least squares under order, of what is left when the gaps are taken out: means of what is out of order.
    steps = gap * np.arange(len(heights))
    blocks: list[list[float]] = []
    for value in heights - steps:
        blocks.append([value])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    moved = np.concatenate([np.full(len(block), np.mean(block)) for block in blocks])
    return np.minimum(np.maximum(moved, 0.03), 1 - steps[-1]) + steps


def _power(own: pd.DataFrame) -> str:
    """Return the power of the depth that a line goes with, and half of its interval, as they are written."""
    power, low, high = own[["power", "power_low", "power_high"]].iloc[0]
    if np.isnan(power):
        return ""
    # Without the sign of a zero.
    spread = "" if np.isnan(low) else f"\\pm{(high - low) / 2:.2f}"
    return f"$L^{{{round(power, 2) + 0.0:.2f}{spread}}}$"


def _frame_depths(axes: Any, depths: Sequence[int], *, room: float) -> None:
    axes.set_xscale("log")
    some = sorted({depths[0], depths[-1]})
    axes.set_xticks(depths, labels=[f"{depth:,}" if depth in some else "" for depth in depths])
    axes.set_xticks([], minor=True)
    axes.set_xlim(depths[0] / 1.2, depths[-1] * room)
    axes.set_xlabel("depth $L$")


def _note(
    settings: Settings, seeds: Iterable[int], missing: int, *parts: str, spread: str = "mean and 95 % interval"
) -> str:
    grid, shown = settings["grid"], settings["shown"]
    described = (f"{grid['data']['source']}, width {grid['dim']}", f"{shown['activation']}, {shown['initialization']}")
    return style.described(settings["scale"], *described, *parts, seeds=seeds, missing=missing, spread=spread)


# Numbers.


def _there(numbers: pd.DataFrame) -> pd.DataFrame:
    """Return numbers of what is shown; raises MissingRunsError if there are none."""
    if numbers.empty:
        raise MissingRunsError("no run of what depth_limit.shown asks for is there yet; call Snakemake again")
    return numbers


def _profiles(tables: Mapping[str, pd.DataFrame], settings: Settings) -> pd.DataFrame:
    return _there(tables["profiles"])


def _entries(tables: Mapping[str, pd.DataFrame], settings: Settings) -> pd.DataFrame:
    """Return the entries of the scaled rate, or of the fixed one where there is no other."""
    entries = _there(tables["entries"])
    return entries[entries["rule"] == ("scaled" if "scaled" in set(entries["rule"]) else "fixed")]


def _variation(tables: Mapping[str, pd.DataFrame], settings: Settings) -> pd.DataFrame:
    """Return norms, distances of ends and losses by rule, alpha, depth and, of norms, p."""
    shown = settings["shown"]
    norms = _there(of_shown(tables["variation"], shown)).dropna(subset="mean").assign(quantity="variation")
    others = []
    for key, own in of_shown(tables["runs"], shown).groupby([*VARIANT, "depth"], sort=False):
        for quantity, column in (("ends", "end_distance"), ("loss", "final_loss")):
            others.append((*key, quantity, *map(float, interval(own[column].to_numpy())), len(own)))
    names = [*VARIANT, "depth", "quantity", "mean", "low", "high", "seeds"]
    powers = ["power", "power_low", "power_high"]
    columns = [*VARIANT, "depth", "quantity", "p", "mean", "low", "high", "seeds", *powers]
    return pd.concat([norms[columns], pd.DataFrame(others, columns=names)], ignore_index=True).reindex(columns=columns)


NORMS = Drawing({"profiles": PROFILES}, _profiles, draw_norms)
WEIGHTS = Drawing({"entries": ENTRIES}, _entries, draw_weights)
VARIATIONS = Drawing({"runs": RUNS, "variation": VARIATION}, _variation, draw_variation)
