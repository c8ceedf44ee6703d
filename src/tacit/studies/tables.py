"""What the tables of all studies have in common."""

from __future__ import annotations

import pandas as pd

from tacit.errors import UserError


class MissingRunsError(UserError):
    """Runs that a figure needs are not there."""


def count_missing(runs: pd.DataFrame, num_runs: int, *, partial: bool) -> int:
    """Return how many of `num_runs` the table lacks; raises MissingRunsError if some and not `partial`."""
    missing = num_runs - len(runs)
    if missing and not partial:
        advice = "run Snakemake again, or draw with partial: true"
        raise MissingRunsError(f"{missing} of {num_runs} runs are missing; {advice}")
    return missing


def judged(claim: str, measured: str, held: bool) -> dict[str, str]:
    """Return a row of a table of claims."""
    return {"claim": claim, "measured": measured, "held": "yes" if held else "no"}
