"""The Is Same Class figures: test accuracy against the distance between images, and examples of pairs.

After Razin, Maman, Cohen 2022, section 6.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from tacit.figures import style
from tacit.figures.accuracy import draw_accuracy, footnote
from tacit.figures.drawing import Drawing, Settings
from tacit.figures.examples import draw_examples
from tacit.settings.images import Images
from tacit.studies import examples, locality
from tacit.studies.same_class import AXIS

CHANCE = 50.0
LABELS = {1: "one class", 0: "two classes"}


def draw(summary: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw `summary` (as `tacit.studies.locality.summarize` makes it).

    `settings` are those of the study; they say in a corner what was drawn. `missing` runs are counted there too.
    """
    pairs = settings["pairs"]
    of_train = " of training images" if pairs.get("test_from") else ""
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
            data=[*_data(settings), f"{pairs['num_train']:,} train, {pairs['num_test']:,} test pairs{of_train}"],
            network=settings["network"],
            missing=missing,
        ),
    )


ACCURACY = Drawing(
    {"runs": locality.table_of(AXIS)}, lambda tables, settings: locality.summarize(AXIS, tables["runs"]), draw
)


def draw_pairs(table: pd.DataFrame, *, settings: Settings, missing: int) -> Figure:
    """Draw examples (`tacit.studies.examples`) by distance and label; `settings` are those of images and canvas."""
    return draw_examples(
        table,
        labels=LABELS,
        difficulties="{:g} px",
        in_rows=True,
        footnote=style.described(
            settings["scale"], "first training pairs of each label", *_data(settings), missing=missing
        ),
    )


def _data(settings: Settings) -> list[str]:
    """Return what images there are, and on what canvas."""
    images, canvas = Images.from_plain(settings["images"]), settings["canvas"]
    return [
        images.title + ("" if images.classes is None else f" of {len(images.classes)} classes"),
        f"{images.side} x {images.side} px on {canvas['height']} x {canvas['width']} px",
    ]


EXAMPLES = Drawing({"examples": examples.TABLE}, lambda tables, settings: tables["examples"], draw_pairs)
