"""What the tables of all studies have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from tacit.errors import UserError

if TYPE_CHECKING:
    from pandas.core.groupby import SeriesGroupBy


class MissingRunsError(UserError):
    """Runs that a figure needs are not there."""


def over_seeds(groups: SeriesGroupBy) -> pd.DataFrame:
    """Return of each group mean, unbiased standard deviation (none of a single seed), number of seeds."""
    return pd.DataFrame({"mean": groups.mean(), "std": groups.std(ddof=1), "seeds": groups.size()})
