"""What a figure of the workflow is made of: the tables it stands on, the numbers drawn, the picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import pandas as pd
from matplotlib.figure import Figure

from tacit import store

Settings = Mapping[str, Any]
"""What a figure depends on besides its tables, as plain values; `scale` is always among them."""


class Draw(Protocol):
    """Draws `numbers`; a note in a corner says `settings["scale"]`, and how many runs are `missing`."""

    def __call__(self, numbers: pd.DataFrame, /, *, settings: Settings, missing: int) -> Figure:
        """Return the figure."""
        ...


class Drawing(NamedTuple):
    """A figure of the workflow; the rule names it, and `workflow/scripts/plot.py` makes it."""

    tables: Mapping[str, store.Table]
    """What it is drawn from: by the name of the rule's input, what that must be."""
    numbers: Callable[[Mapping[str, pd.DataFrame], Settings], pd.DataFrame]
    """Gives what is drawn, which is written beside the figure."""
    draw: Draw
