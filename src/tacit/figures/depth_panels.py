"""What figures on depth have in common: panels by rule of the rate and alpha, lines by depth, labels at their ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure, FigureBase, SubFigure
from matplotlib.lines import Line2D

from tacit.figures import style
from tacit.figures.drawing import Settings
from tacit.studies.tables import MissingRunsError

_RULES = {"scaled": "(rate $\\propto L^{2\\alpha-1}$)", "fixed": "(rate fixed in depth)"}
_MARKERS = ("o", "s", "^", "D", "v", "P")
GREYS = ("0.1", "0.4", "0.55")
_COLUMNS = 4
"""Panels beside each other, at most."""
LABELS = 10
"""Lines up to which each is labelled at its end."""


def grid(
    numbers: pd.DataFrame, *, height: float, beside: bool = False, below: float = 0
) -> tuple[Figure, dict[tuple[str, float | None], Any]]:
    """Return a figure with rows for each rule and a column an alpha, and its axes; one more a rule if `beside`.

    Alphas that do not fit beside each other go on in a row below. With room `below`, in inches, the panels are in the
    first of two subfigures, and the second is empty.
    """
    panels = _panels(numbers)
    rules, alphas = list(dict.fromkeys(rule for rule, _ in panels)), sorted({alpha for _, alpha in panels})
    cells: list[float | None] = [*alphas, *([None] if beside else [])]
    rows_each = -(-len(cells) // _COLUMNS)
    columns, rows = -(-len(cells) // rows_each), rows_each * len(rules)
    figure = style.blank(style.PAGE, 0.75 + height * rows + below)
    room: FigureBase = figure
    if below:
        rooms: Any = figure.subfigures(2, height_ratios=[0.75 + height * rows, below])
        room = rooms[0]
    axes = room.subplots(nrows=rows, ncols=columns, squeeze=False)
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


def label_rows(places: Mapping[tuple[str, float | None], Any], label: str) -> None:
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


def colours_of(depths: Sequence[int]) -> dict[int, Any]:
    """Return the colour of each depth, from dark to light."""
    return dict(zip(depths, matplotlib.colormaps["viridis"](np.linspace(0, 0.88, len(depths))), strict=True))


def legend_of_depths(figure: Figure | SubFigure, numbers: pd.DataFrame, *more: Line2D) -> None:
    """Put a legend of the depths above the panels, with `more` behind them."""
    depths = sorted(numbers["depth"].unique())
    colours = colours_of(depths)
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
    handles += more
    figure.legend(
        handles=handles, title="depth $L$", title_fontsize=7, loc="outside upper center", ncols=min(len(handles), 8),
        handlelength=2.2, columnspacing=1.2,
    )  # fmt: skip


def marker(number: int) -> dict[str, Any]:
    """Return how the points of line `number` are marked."""
    # The second is open and larger, as lines of exponents above 1 often lie on each other.
    is_open = number % 3 == 1
    return {
        "marker": _MARKERS[number % len(_MARKERS)],
        "markersize": 5.5 if is_open else 3.5,
        **({"markerfacecolor": "none"} if is_open else {}),
    }


def of_panel(numbers: pd.DataFrame, quantity: str, rule: str, alpha: float) -> pd.DataFrame:
    """Return what is drawn of a quantity, from the least depth on."""
    there = (numbers["quantity"] == quantity) & (numbers["rule"] == rule) & (numbers["alpha"] == alpha)
    return numbers[there].sort_values("depth")


def draw_line(axes: Any, own: pd.DataFrame, number: int, colour: str) -> None:
    """Draw means against depth, with bars from `low` to `high` where there are several seeds."""
    # None of a single seed.
    bars = np.nan_to_num(np.stack([own["mean"] - own["low"], own["high"] - own["mean"]])).clip(0)
    axes.errorbar(
        own["depth"], own["mean"], bars, color=colour, linestyle=style.line(number), linewidth=1,
        capsize=1.8, elinewidth=0.7, **marker(number),
    )  # fmt: skip


def draw_by_alpha(axes: Any, numbers: pd.DataFrame, quantity: str, rule: str, depths: Sequence[int]) -> None:
    """Draw a quantity against depth, a labelled line an alpha."""
    labels = []
    for number, alpha in enumerate(sorted(numbers["alpha"].unique())):
        line = of_panel(numbers, quantity, rule, alpha)
        if len(line):
            colour = GREYS[number % len(GREYS)]
            draw_line(axes, line, number, colour)
            labels.append((line, colour, f"$\\alpha={alpha:g}$"))
    frame_depths(axes, depths, room=4.5)
    label_ends(axes, labels)


def label_ends(axes: Any, lines: Sequence[tuple[pd.DataFrame, str, str]]) -> None:
    """Write a label beside the last point of each line, in its colour, so that none lies on another."""
    ends = [
        (*axes.transAxes.inverted().transform(axes.transData.transform(own[["depth", "mean"]].iloc[-1])), *rest)
        for own, *rest in lines
        if len(own)
    ]
    ends.sort(key=lambda end: end[1])
    for (x, y, colour, label), height in zip(ends, apart(np.array([end[1] for end in ends])), strict=True):
        axes.annotate(
            label, (x, y), (x + 0.06, height), xycoords="axes fraction", textcoords="axes fraction", fontsize=6,
            color=colour, va="center",
        )  # fmt: skip


def apart(heights: np.ndarray, *, gap: float = 0.075) -> np.ndarray:
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


def formula(size: float, rate: float, shift: float) -> str:
    """Return a power law as it is written."""
    # Without the sign of a zero.
    return f"${size:.3g}\\,/\\,(t+{shift:.3g})^{{{round(rate, 2) + 0.0:.2f}}}$"


def frame_depths(axes: Any, depths: Sequence[int], *, room: float) -> None:
    """Let a panel have a logarithmic axis of depths, with `room` times the last one for labels."""
    axes.set_xscale("log")
    some = sorted({depths[0], depths[-1]})
    axes.set_xticks(depths, labels=[f"{depth:,}" if depth in some else "" for depth in depths])
    axes.set_xticks([], minor=True)
    axes.set_xlim(depths[0] / 1.2, depths[-1] * room)
    axes.set_xlabel("depth $L$")


def note_on(
    settings: Settings, seeds: Iterable[int], missing: int, *parts: str, spread: str = "mean and 95 % interval"
) -> str:
    """Return the note of a figure on the grid."""
    grid, shown = settings["grid"], settings["shown"]
    described = (f"{grid['data']['source']}, width {grid['dim']}", f"{shown['activation']}, {shown['initialization']}")
    return style.described(settings["scale"], *described, *parts, seeds=seeds, missing=missing, spread=spread)


def there(numbers: pd.DataFrame) -> pd.DataFrame:
    """Return numbers of what is shown; raises MissingRunsError if there are none."""
    if numbers.empty:
        raise MissingRunsError(
            "no run of what depth_limit.shown asks for is there yet; without partial they are trained"
        )
    return numbers
