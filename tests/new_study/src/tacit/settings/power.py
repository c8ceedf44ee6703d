"""Settings of a study on power iteration."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tacit.paths import Axes
from tacit.settings.base import Count, Distinct, Seeds, Settings, Some

Gap = Annotated[float, Field(ge=0.01, le=0.99)]

RUN = Axes(gap=Gap, seed=int)
"""What tells runs from each other."""


class RunSettings(Settings):
    """What a run depends on besides its gap and seed."""

    size: Annotated[int, Field(ge=2, le=1000)]
    """Rows of the matrix."""
    steps: Count


class PowerSettings(RunSettings):
    """The whole study: a run for each gap and seed."""

    gaps: Annotated[tuple[Gap, ...], Some, Distinct]
    """Second eigenvalue over the first."""
    seeds: Seeds

    @property
    def run(self) -> RunSettings:
        """The part that a run depends on."""
        return RunSettings(size=self.size, steps=self.steps)
