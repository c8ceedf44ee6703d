"""What networks of a study are shown: a few examples of each label and difficulty, side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tacit.figures import style
from tacit.studies.examples import Example, to_images

_GAP = 0.04
"""Between the examples of a cell, of the longer side of one."""
_TITLES, _NOTE = 0.22, 0.3
"""Inches above all images and below."""
_LABELS = 0.3
"""Inches to their left."""


def draw_examples(
    table: pd.DataFrame, *, labels: Mapping[int, str], difficulties: str, in_rows: bool, footnote: str
) -> Figure:
    """Draw `table` (tacit.studies.examples) as cells of images, those of one label and difficulty in each.

    `difficulties` says what a difficulty is, such as "path length {:g}". Difficulties are columns and labels rows, or
    with `in_rows` the other way round. `footnote` names scale and data.
    """
    examples = to_images(table)
    most = max(Counter((example.difficulty, example.label) for example in examples).values())
    shown = sorted({example.difficulty for example in examples})
    words = [difficulties.format(value) for value in shown]
    cells = [[_cell(examples, value, label, most) for value in shown] for label in labels]
    across, down = words, [name.replace(" ", "\n") for name in labels.values()]
    if in_rows:
        cells, across, down = [list(row) for row in zip(*cells, strict=True)], list(labels.values()), words
    height, width, _ = cells[0][0].shape
    page = style.PAGE if len(across) > 1 else style.COLUMN
    inches = (page - _LABELS) / len(across) * height / width
    figure, axes = style.new(
        page, _TITLES + _NOTE + 1.02 * len(down) * inches, nrows=len(down), ncols=len(across), squeeze=False
    )
    figure.set_layout_engine("constrained", w_pad=0.01, h_pad=0.01, wspace=0.04, hspace=0.02)
    for line, row, word in zip(axes, cells, down, strict=True):
        if in_rows:
            line[0].set_ylabel(word, rotation=0, ha="right", va="center")
        else:
            line[0].set_ylabel(word)
        for place, cell in zip(line, row, strict=True):
            place.imshow(cell, interpolation="nearest")
            place.set_xticks([])
            place.set_yticks([])
            place.grid(visible=False)
            place.spines[:].set_visible(False)
    for place, word in zip(axes[0], across, strict=True):
        place.set_title(word)
    style.note(figure, footnote)
    return figure


def _cell(examples: list[Example], difficulty: float, label: int, most: int) -> np.ndarray:
    """Return the examples of one cell side by side, (height, width, 4) uint8: red, green, blue and opacity.

    There is room for `most`; where there are fewer, of a label of which there are not that many, nothing is seen.
    """
    chosen = [example.pixels for example in examples if (example.difficulty, example.label) == (difficulty, label)]
    height, width = examples[0].pixels.shape[1:]
    # Transparent, and not white, as images can be as white as the page.
    gap = np.zeros((height, max(1, round(_GAP * max(height, width))), 4), np.uint8)
    parts = []
    for pixels in chosen:
        colours = np.broadcast_to(np.moveaxis(pixels, 0, -1), (height, width, 3))
        parts += [gap, np.concatenate([colours, np.full((height, width, 1), 255, np.uint8)], axis=2)]
    parts += [gap, np.zeros((height, width, 4), np.uint8)] * (most - len(chosen))
    return np.concatenate(parts[1:], axis=1)
