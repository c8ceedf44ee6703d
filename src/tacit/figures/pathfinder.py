"""The Pathfinder figure: test accuracy against path length (Razin, Maman, Cohen 2022, section 6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from tacit.figures.accuracy import draw_accuracy

CHANCE = 50.0


def draw(summary: pd.DataFrame, *, scale: str, settings: Mapping[str, Any], missing: int) -> Figure:
    """Draw `summary` (as `tacit.studies.pathfinder.summarize` makes it).

    `settings` are those of the study; they say in a corner what was drawn. `missing` runs are counted there too.
    """
    seeds = sorted(summary["seeds"].unique())
    number = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    data, network = settings["dataset"], settings["network"]
    layout = f"{network['name']}" + ("" if network["width"] == 64 else f", width {network['width']}")
    parts = [
        f"{scale} scale",
        f"{data['size']} x {data['size']} px",
        f"{data['num_train']:,} train, {data['num_test']:,} test",
        layout,
        f"{number} seed" + ("" if number == "1" else "s"),
    ]
    if missing:
        parts.insert(0, f"PARTIAL: {missing} runs missing")
    return draw_accuracy(
        summary,
        difficulty="path_length",
        label="path length (segments)",
        title="",
        chance=CHANCE,
        footnote="Pathfinder, " + ", ".join(parts),
    )
