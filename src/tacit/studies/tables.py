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
    """Return of each group mean, standard deviation (of the seeds at hand, not the unbiased one), number of seeds."""
    return pd.DataFrame({"mean": groups.mean(), "std": groups.std(ddof=0), "seeds": groups.size()})


def judged_gap(claim: str, gap: float, error: float, *, seeds: int, least: float = 0) -> dict[str, str]:
    """Return a row on a difference in percentage points, which counts above `least` and twice its standard error.

    `seeds` is the least number of runs that it was taken from; from one nothing can be judged.
    """
    if seeds == 0:
        return {"claim": claim, "measured": "nothing", "held": "not to be judged, as runs are missing"}
    measured = f"{gap:+.1f} percentage points"
    if seeds == 1:
        return {"claim": claim, "measured": measured, "held": "not to be judged from one seed"}
    return judged(claim, f"{measured} (standard error {error:.1f})", gap > max(2 * error, least))


def judged(claim: str, measured: str, held: bool) -> dict[str, str]:
    """Return a row of a table of claims."""
    return {"claim": claim, "measured": measured, "held": "yes" if held else "no"}
