"""The figure on power iteration: error against steps, a line a gap."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from tacit.figures import style
from tacit.figures.drawing import Drawing, Settings
from tacit.studies.power import RUNS
from tacit.studies.tables import over_seeds


def draw(numbers: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw the mean over seeds."""
    figure, axes = style.new(3.25, 2.4)
    for gap, rows in numbers.groupby("gap"):
        axes.plot(rows["step"], rows["mean"], label=f"gap {gap:g}")
    axes.set(xlabel="step", ylabel="error", yscale="log")
    axes.legend()
    style.note(figure, style.described(settings["scale"], seeds=numbers["seeds"], missing=missing))
    return figure


ERRORS = Drawing(
    {"runs": RUNS},
    lambda tables, settings: over_seeds(tables["runs"].groupby(["gap", "step"])["error"]).reset_index(),
    draw,
)
