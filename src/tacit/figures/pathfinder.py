"""The Pathfinder figure: test accuracy against path length (Razin, Maman, Cohen 2022, section 6)."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from tacit.figures.accuracy import draw_accuracy, footnote
from tacit.figures.drawing import Drawing, Settings
from tacit.studies import locality
from tacit.studies.pathfinder import AXIS

CHANCE = 50.0


def draw(summary: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw `summary` (as `tacit.studies.locality.summarize` makes it).

    `settings` are those of the study; they say in a corner what was drawn. `missing` runs are counted there too.
    """
    data = settings["dataset"]
    return draw_accuracy(
        summary,
        difficulty="path_length",
        label="path length (segments)",
        title="",
        chance=CHANCE,
        footnote=footnote(
            summary,
            name="Pathfinder",
            scale=settings["scale"],
            data=[f"{data['size']} x {data['size']} px", f"{data['num_train']:,} train, {data['num_test']:,} test"],
            network=settings["network"],
            missing=missing,
        ),
    )


ACCURACY = Drawing(
    {"runs": locality.table_of(AXIS)}, lambda tables, settings: locality.summarize(AXIS, tables["runs"]), draw
)
