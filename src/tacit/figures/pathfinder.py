"""The Pathfinder figures: test accuracy against path length, and examples (Razin, Maman, Cohen 2022, section 6)."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from tacit.figures import style
from tacit.figures.accuracy import draw_accuracy, footnote
from tacit.figures.drawing import Drawing, Settings
from tacit.figures.examples import draw_examples
from tacit.studies import examples, locality
from tacit.studies.pathfinder import AXIS

CHANCE = 50.0
LABELS = {1: "connected", 0: "not connected"}
"""Whether the two marked ends are those of one path."""


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
            data=[
                f"{data['size']} x {data['size']} px",
                f"{settings.get('train_on') or data['num_train']:,} train, {data['num_test']:,} test",
            ],
            network=settings["network"],
            missing=missing,
        ),
    )


ACCURACY = Drawing(
    {"runs": locality.table_of(AXIS)}, lambda tables, settings: locality.summarize(AXIS, tables["runs"]), draw
)


def draw_images(table: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw examples (`tacit.studies.examples`) by path length and label.

    `settings` are those of the dataset and of the rendering.
    """
    data, window = settings["dataset"], settings["rendering"]["window"]
    return draw_examples(
        table,
        labels=LABELS,
        difficulties="path length {:g}",
        in_rows=False,
        footnote=style.described(
            settings["scale"],
            f"first training images of each label, {data['size']} x {data['size']} px",
            f"rendered at {window[0]} x {window[1]} px",
            missing=missing,
        ),
    )


EXAMPLES = Drawing({"examples": examples.TABLE}, lambda tables, settings: tables["examples"], draw_images)
