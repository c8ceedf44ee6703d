"""Settings of when a training, or a descent, ends that gets no better."""

from __future__ import annotations

from tacit.settings.base import NonNegative, NonNegativeInt, Settings


class EarlyStopping(Settings):
    """By what it goes, those that are based on this one say: a loss or an error falls, an accuracy rises."""

    by: str
    least_change: NonNegative = 0.0
    """By more than this what is looked at must be over the best so far, to be better."""
    patience: NonNegativeInt = 0
    """It ends once more than so many looks in a row were no better."""
    cooldown: NonNegativeInt = 0
    """Of so many epochs at the beginning nothing is asked."""

    def check(self, epochs: int) -> None:
        """Raise ValueError if a training of so many epochs is over before anything is asked."""
        if self.cooldown >= epochs:
            raise ValueError(f"early_stopping.cooldown = {self.cooldown}: there are {epochs} epochs, so it never acts")
