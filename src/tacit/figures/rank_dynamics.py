"""The rank dynamics figures: components over iterations (Razin, Maman, Cohen 2022, sections 3 to 5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import matplotlib.ticker
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tacit.figures import style
from tacit.figures.drawing import Drawing, Settings
from tacit.settings.factorizations import FactorizationName
from tacit.studies.rank_dynamics_results import COMPONENTS, CURVES, RUNS, main_quantities, node_quantities, summarize

_DISTINCT = 5
"""Components with a colour of their own; those after them are a thin grey."""

_TITLES = {
    "matrix": "matrix factorization",
    "tensor": "tensor factorization",
    "hierarchical": "hierarchical factorization",
}


class Panel(NamedTuple):
    """One quantity of one factorization."""

    factorization: FactorizationName
    quantity: str
    title: str
    label: str


def factorization_panels(main: Mapping[FactorizationName, str]) -> list[Panel]:
    """Return the panels of the first figure; `main` names the quantity of each factorization."""
    labels = {"matrix": "singular values", "tensor": "component norms", "hierarchical": "local component norms"}
    return [Panel(name, quantity, _TITLES[name], labels[name]) for name, quantity in main.items()]


def node_panels(quantities: Sequence[str]) -> list[Panel]:
    """Return the panels of the second figure, one for each of these quantities of the hierarchical factorization."""
    found = []
    for quantity in quantities:
        local = quantity.startswith("local_component_norms_")
        modes = ", ".join(part for part in quantity.split("_") if part.isdigit())
        title = f"node {{{modes}}}" if local else f"matricization {{{modes}}}"
        found.append(Panel("hierarchical", quantity, title, "local component norms" if local else "singular values"))
    return found


def draw_factorizations(summary: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw one quantity of each factorization."""
    return draw(summary, factorization_panels(main_quantities(summary)), settings=settings, missing=missing)


def draw_nodes(summary: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw quantities of nodes of the hierarchical factorization."""
    return draw(summary, node_panels(node_quantities(summary)), settings=settings, missing=missing)


def draw(summary: pd.DataFrame, rows: Sequence[Panel], *, settings: Settings, missing: int) -> Figure:
    """Draw the panels side by side, one row a task, from `summary` (tacit.studies.rank_dynamics_results.summarize).

    Lines are medians over seeds, bands reach from the least to the greatest. `settings` are those of the study;
    `missing` runs are counted in a corner.
    """
    tasks = list(dict.fromkeys(summary["task"]))
    figure, axes = style.new(style.PAGE, 0.8 + 1.7 * len(tasks), nrows=len(tasks), ncols=len(rows), squeeze=False)
    for task, line in zip(tasks, axes, strict=True):
        for panel, place in zip(rows, line, strict=True):
            chosen = summary[(summary["task"] == task) & (summary["factorization"] == panel.factorization)]
            _draw_panel(place, chosen[chosen["quantity"] == panel.quantity])
            place.set_ylabel(panel.label)
            if task == tasks[0]:
                place.set_title(panel.title)
            if task == tasks[-1]:
                place.set_xlabel("iterations")
            if len(tasks) > 1 and place is line[-1]:
                place.annotate(
                    task, (1, 0.5), (4, 0), xycoords="axes fraction", textcoords="offset points",
                    rotation=270, va="center", ha="left",
                )  # fmt: skip
    most = int(summary["component"].max())
    handles = [
        Line2D([], [], color=_colour(number), linestyle=style.line(number), label=f"{number + 1}")
        for number in range(min(_DISTINCT, most))
    ]
    if most > _DISTINCT:
        handles.append(Line2D([], [], color=_colour(_DISTINCT), linewidth=1, label="others"))
    figure.legend(
        handles=handles, title="component, by size", title_fontsize=7,
        loc="outside upper center", ncols=len(handles), handlelength=2.4, columnspacing=1.2,
    )  # fmt: skip
    style.note(figure, _footnote(summary, rows, settings, missing))
    return figure


def _draw_panel(axes: Any, curves: pd.DataFrame) -> None:
    if curves.empty:
        axes.annotate("no run yet", (0.5, 0.5), xycoords="axes fraction", ha="center", va="center", color="0.4")
        return
    for component, curve in curves.groupby("component", sort=True):
        number = int(component) - 1
        colour = _colour(number)
        thin = number >= _DISTINCT
        if curve["seeds"].iloc[0] > 1:
            axes.fill_between(curve["iteration"], curve["low"], curve["high"], color=colour, alpha=0.2, linewidth=0)
        axes.plot(
            curve["iteration"], curve["median"], color=colour, linestyle="-" if thin else style.line(number),
            linewidth=0.8 if thin else 1.5, zorder=2 if thin else 3,
        )  # fmt: skip
    axes.margins(x=0)
    # A run that went astray would flatten all others; its band leaves the panel, which the caption says.
    axes.set_ylim(0, min(1.05 * curves["high"].max(), 1.6 * curves["median"].max()))
    axes.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(_thousands))
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5, integer=True))


def _thousands(value: float, _: int) -> str:
    return f"{value / 1000:g}k" if value else "0"


def _colour(number: int) -> Any:
    """Return the colour of a component, from 0: dark to light by size, then grey."""
    if number >= _DISTINCT:
        return "0.62"
    return matplotlib.colormaps["viridis"](np.linspace(0, 0.9, _DISTINCT)[number])


def _footnote(summary: pd.DataFrame, rows: Sequence[Panel], settings: Settings, missing: int) -> str:
    blocks = [settings[name] for name in dict.fromkeys(panel.factorization for panel in rows)]
    shapes = [" x ".join(map(str, block["problem"]["shape"])) for block in blocks]
    counts = list(dict.fromkeys(f"{block['descent']['num_observations']:,}" for block in blocks))
    problems = [" and ".join([", ".join(shapes[:-1]), shapes[-1]] if len(shapes) > 1 else shapes)]
    problems.append(f"{' or '.join(counts)} observations")
    return style.described(
        settings["scale"],
        *problems,
        seeds=summary["seeds"],
        missing=missing,
        spread="lines: medians, bands: least to greatest",
    )


def _curves_of(panels: Callable[[pd.DataFrame], Sequence[Panel]]) -> Callable[..., pd.DataFrame]:
    """Return what gives the curves in these panels, of which `panels` tells from the table of components."""

    def numbers(tables: Mapping[str, pd.DataFrame], settings: Settings) -> pd.DataFrame:
        drawn = [(panel.factorization, panel.quantity) for panel in panels(tables["components"])]
        return summarize(tables["curves"], tables["runs"], drawn)

    return numbers


_TABLES = {"runs": RUNS, "components": COMPONENTS, "curves": CURVES}
FACTORIZATIONS = Drawing(
    _TABLES, _curves_of(lambda components: factorization_panels(main_quantities(components))), draw_factorizations
)
NODES = Drawing(_TABLES, _curves_of(lambda components: node_panels(node_quantities(components))), draw_nodes)
