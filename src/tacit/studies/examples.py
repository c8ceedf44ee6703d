"""A few examples of what a study learns from, as a table: one row a row of pixels, so that it holds what is drawn."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd

from tacit import store

PER_LABEL = 2
"""Examples of each label and difficulty that are shown."""
TABLE = store.Table(keys=("difficulty", "label", "example", "channel", "row"), numbers=("x0",))
"""What the table must be. Columns x0, x1, ... are levels of pixels, 0 to 255, from left to right."""


class Example(NamedTuple):
    """One image that a network is shown, before it is normalised."""

    difficulty: float
    label: int
    example: int
    """Its number among the training examples."""
    pixels: np.ndarray
    """(channels, height, width) uint8"""


def first_of_each(labels: np.ndarray) -> dict[int, np.ndarray]:
    """Return the numbers of the first PER_LABEL examples of each of the `labels` (n,)."""
    return {int(label): np.flatnonzero(labels == label)[:PER_LABEL] for label in np.unique(labels)}


def to_table(examples: Iterable[Example]) -> pd.DataFrame:
    """Return the table of all `examples`, which have images of one width."""
    parts = []
    for difficulty, label, example, pixels in examples:
        channels, height, width = pixels.shape
        part = pd.DataFrame(pixels.reshape(-1, width), columns=[f"x{column}" for column in range(width)])
        channel, row = np.divmod(np.arange(channels * height), height)
        parts.append(part.assign(difficulty=difficulty, label=label, example=example, channel=channel, row=row))
    table = pd.concat(parts, ignore_index=True)
    return table[[*TABLE.keys, *(name for name in table if name not in TABLE.keys)]]


def to_images(table: pd.DataFrame) -> list[Example]:
    """Return the examples of a table that `to_table` made, in its order."""
    columns = [name for name in table if name not in TABLE.keys]
    found = []
    for (difficulty, label, example), rows in table.groupby(["difficulty", "label", "example"], sort=False):
        ordered = rows.sort_values(["channel", "row"])
        pixels = ordered[columns].to_numpy(np.uint8).reshape(ordered["channel"].nunique(), -1, len(columns))
        found.append(Example(difficulty, label, example, pixels))
    return found
