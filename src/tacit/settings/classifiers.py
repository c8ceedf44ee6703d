"""How networks that tell classes apart are trained, shared by the studies on factorized layers."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tacit.settings import networks
from tacit.settings.base import Count, Distinct, Fraction, NonNegativeInt, Positive
from tacit.settings.images import Images
from tacit.settings.networks import Followed, Precision, evaluated

Metric = networks.Metric | Literal["held_out_loss", "held_out_accuracy"]


class EarlyStopping(networks.EarlyStopping):
    """When a training ends that gets no better, on the test, while learning, or on the images that are held out."""

    by: Metric = "test_loss"  # type: ignore[assignment]


class Training(Followed):
    """SGD with momentum, at a rate that falls at each milestone."""

    epochs: Count
    batch_size: Count
    learning_rate: Positive = 0.1
    momentum: Fraction = 0.9
    milestones: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Distinct] = (0.5, 0.75)
    """Shares of the epochs, rounded down to whole ones."""
    padding: NonNegativeInt = 4
    """Training images are shifted at random by up to so many px, black coming in."""
    flips: bool = False
    """Half of them are mirrored."""
    held_out: Annotated[float, Field(ge=0, lt=0.9)] = 0.0
    """Share of the training images that are not learned from, to choose an epoch by; the original has none."""
    every: Count = 1
    """Epochs between two looks at test accuracy and norms; the ends are always among them."""
    precision: Precision = "float32"
    compile: bool = False
    best_by: Metric = "test_loss"  # type: ignore[assignment]
    early_stopping: EarlyStopping | None = None

    @model_validator(mode="after")
    def _is_held_out(self) -> Self:
        chosen = [self.best_by, *([self.early_stopping.by] if self.early_stopping else [])]
        if not self.held_out and any(metric.startswith("held_out") for metric in chosen):
            raise ValueError("held_out_loss and held_out_accuracy are of images that are held out; set held_out")
        return self

    @model_validator(mode="after")
    def _milestones_are_later(self) -> Self:
        if early := [share for share in self.milestones if int(share * self.epochs) < 1]:
            raise ValueError(f"milestones: {early[0]:g} of {self.epochs} epochs is none; give a later one, or none")
        return self

    @property
    def measured(self) -> list[int]:
        """Epochs after which networks are looked at; 0 is before training."""
        return evaluated(self.epochs, self.every)

    def check_images(self, images: Images) -> None:
        """Raise ValueError if images cannot be shifted so far, or none are left to learn from."""
        if self.padding > images.side:
            raise ValueError(f"training.padding = {self.padding}: {images.source} has images of {images.side} px")
        if images.num_train_at_most * (1 - self.held_out) < 1:
            raise ValueError(f"training.held_out = {self.held_out:g} leaves no image of {images.source} to learn from")
