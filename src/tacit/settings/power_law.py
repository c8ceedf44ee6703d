"""Settings of the fit of a power law to a series, shared by the studies that have one of Omega."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from tacit.settings.base import Settings


class PowerLaw(Settings):
    """How the power law of Omega along a training is fitted."""

    window: Annotated[int, Field(ge=0, le=100_000)] = 5
    """Consecutive epochs of which the largest and the least are left out; 0: none are."""
    period: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Every epoch whose number it divides is left out before that; 0: none is."""
    with_shift: bool = False
    """Whether T0 of C / (t + T0)^rho is fitted, too, instead of 1."""

    @model_validator(mode="after")
    def _leaves_steps(self) -> Self:
        for name, least in (("window", 3), ("period", 2)):
            if 0 < (value := getattr(self, name)) < least:
                raise ValueError(f"{name} = {value} leaves out all epochs; give {least} or more, or 0 for none")
        return self

    def check(self, points: int, *, what: str) -> None:
        """Raise ValueError if a series of so many points, which are called `what`, has too few for the window."""
        left = points - (points // self.period if self.period else 0)
        if self.window > left:
            raise ValueError(f"power_law.window = {self.window}: there are only {left} {what}")
