"""The Is Same Class figure: test accuracy against distance between images (Razin, Maman, Cohen 2022, section 6)."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from tacit.figures.accuracy import draw_accuracy, footnote
from tacit.figures.drawing import Drawing, Settings
from tacit.settings.images import Images
from tacit.studies import locality
from tacit.studies.same_class import AXIS

CHANCE = 50.0


def draw(summary: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw `summary` (as `tacit.studies.locality.summarize` makes it).

    `settings` are those of the study; they say in a corner what was drawn. `missing` runs are counted there too.
    """
    images, canvas, pairs = Images.from_plain(settings["images"]), settings["canvas"], settings["pairs"]
    return draw_accuracy(
        summary,
        difficulty="distance",
        label="distance between images (px)",
        title="",
        chance=CHANCE,
        footnote=footnote(
            summary,
            name="Is Same Class",
            scale=settings["scale"],
            data=[
                images.title + ("" if images.classes is None else f" of {len(images.classes)} classes"),
                f"{images.side} x {images.side} px on {canvas['height']} x {canvas['width']} px",
                f"{pairs['num_train']:,} train, {pairs['num_test']:,} test pairs",
            ],
            network=settings["network"],
            missing=missing,
        ),
    )


ACCURACY = Drawing(
    {"runs": locality.table_of(AXIS)}, lambda tables, settings: locality.summarize(AXIS, tables["runs"]), draw
)
