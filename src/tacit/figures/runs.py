"""Figures of any runs: what they recorded, in panels that a user describes, and all that one of them recorded.

In place of the plotters of Razin, Maman, Cohen 2022 (dynamics; accuracy by difficulty) and of Razin, Cohen 2020 (an
entry by loss; errors by number of observations), and of the plots that their trainings save.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.colors
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation, LogLocator, MaxNLocator, NullFormatter

from tacit.errors import UserError
from tacit.figures import style
from tacit.settings.run_figures import Panel, RunFigure
from tacit.studies.gathered import Drawn, find
from tacit.studies.recorded import LookingError

SPREADS = {
    "interval": "means with 95 % intervals",
    "std": "means and one standard deviation",
    "quartiles": "medians with quartiles",
    "range": "medians, from least to greatest",
    "each": "each run a line",
}
"""What lines and bands are of several runs."""

_COLOURS = (style.BLUE, style.VERMILION, style.GREEN, style.PURPLE, style.ORANGE, style.SKY)
_MARKERS = ("o", "d", "^", "s", "v", "P")
_LETTERS_PER_INCH = 20
"""Letters of a legend that fit an inch."""

_FEW = 6
"""Lines that are told apart one by one; of more components, colours run from the first to the last."""


def draw(figure: RunFigure, drawn: Sequence[Drawn], *, footnote: str) -> Figure:
    """Draw the panels; `footnote` says what runs these are."""
    count = len(figure.panels)
    columns = figure.columns or min(count, 3)
    rows = -(-count // columns)
    width = {"column": style.COLUMN, "page": style.PAGE}[figure.width or ("column" if columns == 1 else "page")]
    letters = round(_LETTERS_PER_INCH * (width / columns - 0.6))
    labels = [_names(panel, part, letters) for panel, part in zip(figure.panels, drawn, strict=True)]
    legends = [figure.legend and len(names) > 1 for names in labels]
    below = [
        sum(1 + names[line].count("\n") for line in _legend_of(names, part)) if legend else 0
        for names, part, legend in zip(labels, drawn, legends, strict=True)
    ]
    tallest = sum(max(below[row * columns : (row + 1) * columns]) for row in range(rows))
    height = figure.height or rows * (2.2 if columns < 3 else 1.9) + 0.3 + 0.13 * tallest
    picture, axes = style.new(width, height, nrows=rows, ncols=columns, squeeze=False)
    places = list(axes.flat)
    for panel, part, names, legend, place in zip(figure.panels, drawn, labels, legends, places, strict=False):
        _draw_panel(place, panel, part, names, legend=legend)
    for place in places[count:]:
        place.set_axis_off()
    style.note(picture, footnote)
    # Once more, as room was made before ticks and legends had their places.
    picture.draw_without_rendering()
    return picture


def _names(panel: Panel, part: Drawn, letters: int) -> dict[str, str]:
    """Return what each line is called in the legend, in rows of so many letters."""
    lines = list(dict.fromkeys(part.numbers["line"]))
    if panel.labels is not None and len(panel.labels) != len(lines):
        said = "; ".join(line or "(the only one)" for line in lines)
        raise LookingError(f"{len(panel.labels)} labels, and there are {len(lines)} lines: {said}")
    called = panel.labels or lines
    return {line: "\n".join(textwrap.wrap(name, letters)) for line, name in zip(lines, called, strict=True)}


def _legend_of(names: Mapping[str, str], part: Drawn) -> list[str]:
    """Return the lines that a legend names: all, but of many components the first, some between, and the last."""
    lines = list(names)
    if len(lines) <= 2 * _FEW or not _are_components(part):
        return lines
    chosen = np.linspace(0, len(lines) - 1, _FEW).round().astype(int)
    return [lines[number] for number in chosen]


def _are_components(part: Drawn) -> bool:
    """Tell whether the lines are components of one quantity."""
    return part.numbers["component"].nunique() == part.numbers["line"].nunique() > 1


def _looks(panel: Panel, part: Drawn, lines: Sequence[str], *, legend: bool) -> dict[str, dict[str, Any]]:
    """Return how each line looks: those of few colours, and of dashes; components of one quantity by their place."""
    if panel.colours is not None:
        if strange := [name for name in panel.colours if not matplotlib.colors.is_color_like(name)]:
            raise UserError(f"{strange[0]} is no colour; a colour is a name such as black, or #rrggbb")
        if len(panel.colours) != len(lines):
            raise LookingError(f"{len(panel.colours)} colours, and there are {len(lines)} lines")
        return {
            line: {"color": colour, "linestyle": style.line(number)}
            for number, (line, colour) in enumerate(zip(lines, panel.colours, strict=True))
        }
    # Of components, and of too many lines for colours of their own, a gradient says which is which.
    if len(lines) > 2 * _FEW or (_are_components(part) and len(lines) > _FEW) or (not legend and len(lines) > 1):
        colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(lines)))
        thin = 1.2 if len(lines) <= 2 * _FEW else 0.7
        return {
            line: {"color": colours[number], "linestyle": style.line(number), "linewidth": thin}
            for number, line in enumerate(lines)
        }
    return {
        line: {"color": _COLOURS[number % _FEW], "linestyle": style.line(number)} for number, line in enumerate(lines)
    }


def _draw_panel(axes: Any, panel: Panel, part: Drawn, names: Mapping[str, str], *, legend: bool) -> None:
    lines = list(names)
    for axis in panel.log:
        if not (part.numbers["x" if axis == "x" else "value"] > 0).any():
            raise LookingError(f"{', '.join(panel.y)}: nothing on {axis} is above 0, as a logarithmic axis needs")
    handles = {}
    bands = part.numbers["low"].notna().any() and len(lines) <= 2 * _FEW
    for number, (line, look) in enumerate(_looks(panel, part, lines, legend=legend).items()):
        own = part.numbers[part.numbers["line"] == line]
        marked: dict[str, Any] = {}
        # The seventh line has the colour of the first, and another marker.
        marker = _MARKERS[(number + number // _FEW) % len(_MARKERS)]
        if part.points:
            marked = {"marker": marker, "markeredgecolor": "white", "markeredgewidth": 0.5}
        elif own.groupby("run", dropna=False).size().max() <= 3:
            marked = {"marker": marker, "markersize": 3}
        if part.points and own["run"].notna().all():
            marked |= {"linestyle": ""}
        pieces = [own] if part.points else [piece for _, piece in own.groupby("run", dropna=False, sort=False)]
        for piece in pieces:
            (handles[line],) = axes.plot(piece["x"], piece["value"], **(look | marked))
        if not bands:
            continue
        if part.points:
            low, high = own["value"] - own["low"], own["high"] - own["value"]
            axes.errorbar(
                own["x"], own["value"], [low, high], linestyle="", color=look["color"], elinewidth=1, alpha=0.6
            )
        else:
            axes.fill_between(own["x"], own["low"], own["high"], color=look["color"], alpha=0.2, linewidth=0)
    for where in panel.horizontal:
        axes.axhline(where, color="0.35", linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    for where in panel.vertical:
        axes.axvline(where, color="0.35", linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    _frame(axes, panel, part)
    if legend:
        shown = _legend_of(names, part)
        # Below the panel, where no line is hidden by it.
        axes.legend(
            [handles[line] for line in shown], [names[line] for line in shown], loc="upper center",
            bbox_to_anchor=(0.45, -0.28), handlelength=2.6, fontsize=6.5, borderaxespad=0, labelspacing=0.25,
            ncols=2 if len(shown) > 4 and max(map(len, shown)) < 14 else 1,
        )  # fmt: skip


def _frame(axes: Any, panel: Panel, part: Drawn) -> None:
    """Set scales, ends, ticks and words."""
    if not part.points:
        axes.margins(x=0.03)
    if "y" in panel.log:
        axes.set_yscale("log")
    if "x" in panel.log:
        axes.set_xscale("log")
    elif part.numbers["x"].mod(1).eq(0).all() and panel.x_ticks is None:
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    if panel.x_limits is not None:
        axes.set_xlim(*panel.x_limits)
    if panel.y_limits is not None:
        axes.set_ylim(*panel.y_limits)
    if panel.x_ticks is not None:
        axes.set_xticks(panel.x_ticks, labels=[f"{tick:g}" for tick in panel.x_ticks])
        axes.minorticks_off()
    if panel.y_ticks is not None:
        axes.set_yticks(panel.y_ticks, labels=[f"{tick:g}" for tick in panel.y_ticks])
    for name, ticks in (("x", panel.x_ticks), ("y", panel.y_ticks)):
        if name in panel.log and ticks is None:
            _label_log(axes.xaxis if name == "x" else axes.yaxis)
    quantities = list(dict.fromkeys(part.numbers["quantity"]))
    said = quantities[0].replace("_", " ") if len(quantities) == 1 else ""
    axes.set_xlabel(part.x.replace("_", " ") if panel.x_label is None else panel.x_label)
    axes.set_ylabel(said if panel.y_label is None else panel.y_label)
    if panel.title:
        axes.set_title(panel.title)


def _label_log(axis: Any) -> None:
    """Label powers of ten, and on a short axis what is between them, but so that no labels overlap."""
    low, high = sorted(axis.get_view_interval())
    between = (1.0, 2.0, 5.0) if high < 100 * low else (1.0,)
    axis.set_major_locator(LogLocator(subs=between))
    axis.set_major_formatter(LogFormatterSciNotation(labelOnlyBase=False, minor_thresholds=(np.inf, np.inf)))
    axis.set_minor_formatter(NullFormatter())


def footnote(figure: RunFigure, drawn: Sequence[Drawn]) -> str:
    """Return what a figure says of itself in a corner: scale, number of runs, what lines and bands are."""
    paths = list(dict.fromkeys(path for panel in figure.panels for path in find(panel.runs)))
    scales = list(dict.fromkeys(scale for path in paths if (scale := _scale_of(path))))
    said = [f"{' and '.join(scales)} scale"] if scales else []
    said.append(f"{len(paths)} run{'' if len(paths) == 1 else 's'}")
    spreads = [panel.spread for panel, part in zip(figure.panels, drawn, strict=True) if part.averaged]
    seeds = pd.concat([part.numbers["seeds"] for part in drawn]).dropna()
    if spreads:
        least, most = int(seeds.min()), int(seeds.max())
        said.append(f"{most} seeds a line" if least == most else f"{least} to {most} seeds a line")
        said += [SPREADS[spread] for spread in dict.fromkeys(spreads)]
    if not figure.legend and any(len(set(part.numbers["line"])) > 1 for part in drawn):
        said.append("components from dark to light")
    return ", ".join(said)


def _scale_of(path: str) -> str:
    """Return the scale in a path such as results/demo/...; empty if there is none."""
    parts = Path(path).parts
    place = parts.index("results") + 1 if "results" in parts else len(parts)
    return parts[place] if place < len(parts) - 1 and parts[place] != "data" else ""
