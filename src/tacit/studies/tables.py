"""What the tables of all studies have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import special

from tacit.errors import UserError

if TYPE_CHECKING:
    from pandas.core.groupby import SeriesGroupBy


class MissingRunsError(UserError):
    """Runs that a figure needs are not there."""


def rows_with(table: pd.DataFrame, **values: Any) -> pd.DataFrame:
    """Return the rows that have these values; all of them, if there are none to have."""
    fitting = [table[name] == value for name, value in values.items()]
    return table[np.logical_and.reduce(fitting)] if fitting else table


def over_seeds(groups: SeriesGroupBy) -> pd.DataFrame:
    """Return of each group mean, unbiased standard deviation (none of a single seed), number of seeds."""
    return pd.DataFrame({"mean": groups.mean(), "std": groups.std(ddof=1), "seeds": groups.size()})


def interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean and 95 % interval (Student's t) over the first axis, seeds; without an interval of a single one."""
    number, mean = len(values), values.mean(0)
    if number < 2:
        return mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    half = special.stdtrit(number - 1, 0.975) * values.std(0, ddof=1) / number**0.5
    return mean, mean - half, mean + half


def over_seeds_of(values: np.ndarray) -> dict[str, float]:
    """Return mean, ends of its 95 % interval and number of seeds of values (seeds,), as columns of a table."""
    mean, low, high = map(float, interval(values))
    return {"mean": mean, "low": low, "high": high, "seeds": len(values)}
