"""Test accuracy against the difficulty of a task, one line for each coefficient of a regulariser.

After the figures of Razin, Maman, Cohen 2022 on locality.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from tacit.figures import style

_LOOKS = (
    (style.VERMILION, "d", "-"),
    (style.PURPLE, "o", "--"),
    (style.BLUE, "^", "-."),
    (style.GREEN, "s", ":"),
    (style.ORANGE, "v", "-"),
    (style.SKY, "P", "--"),
)


def draw_accuracy(
    summary: pd.DataFrame, *, difficulty: str, label: str, title: str, chance: float, footnote: str
) -> Figure:
    """Draw mean test accuracy (%) with error bars of one standard deviation over seeds.

    `summary` has columns `difficulty`, coefficient, mean, std. `footnote` names scale and data.
    """
    figure, axes = style.new(style.COLUMN, 2.6)
    ticks = sorted(summary[difficulty].unique())
    coefficients = sorted(summary["coefficient"].unique())
    step = min((b - a for a, b in itertools.pairwise(ticks)), default=1)
    for number, coefficient in enumerate(coefficients):
        colour, marker, line = _LOOKS[number % len(_LOOKS)]
        rows = summary[summary["coefficient"] == coefficient].sort_values(difficulty)
        # Side by side by a hair, so that no error bar hides another.
        shift = 0.035 * step * (number - (len(coefficients) - 1) / 2)
        bars = axes.errorbar(
            rows[difficulty] + shift,
            rows["mean"],
            rows["std"],
            label="no regularizer" if coefficient == 0 else f"coefficient {coefficient:g}",
            color=colour,
            marker=marker,
            linestyle=line,
            elinewidth=1.1,
            markeredgecolor="white",
            markeredgewidth=0.5,
        )
        for part in (*bars[1], *bars[2]):
            part.set_alpha(0.6)
    axes.axhline(chance, color="0.35", linewidth=0.9, linestyle=(0, (4, 3)))
    axes.annotate(
        "chance", (0, chance), (3, 2), xycoords=("axes fraction", "data"), textcoords="offset points",
        ha="left", va="bottom", fontsize=7, color="0.35",
    )  # fmt: skip
    axes.set_xticks(ticks)
    axes.set_xlim(ticks[0] - 0.3 * step, ticks[-1] + 0.3 * step)
    spread = summary["std"].fillna(0)
    low = min(chance, (summary["mean"] - spread).min())
    high = (summary["mean"] + spread).max()
    room = 0.06 * max(high - low, 5)
    axes.set_ylim(low - room, high + room)
    axes.set(xlabel=label, ylabel="test accuracy (%)", title=title)
    figure.legend(loc="outside upper center", ncols=min(len(coefficients), 2), handlelength=3, columnspacing=1.2)
    style.note(figure, footnote)
    return figure


def footnote(
    summary: pd.DataFrame, *, name: str, scale: str, data: Sequence[str], network: Mapping[str, Any], missing: int
) -> str:
    """Return what a figure says of itself in a corner: task, scale, what `data` it shows, network, number of seeds."""
    layout = network["name"] + ("" if network["width"] == 64 else f", width {network['width']}")
    return f"{name}, " + style.described(
        scale, *data, layout, seeds=summary["seeds"], missing=missing, spread="bars: one standard deviation"
    )
