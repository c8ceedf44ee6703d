"""Settings of the Is Same Class study (Razin, Maman, Cohen 2022, section 6)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tacit.paths import Axes
from tacit.settings.base import (
    Digest,
    Distinct,
    NonNegative,
    NonNegativeInt,
    Pixels,
    Seed,
    Seeds,
    Settings,
    Some,
    check_memory,
    check_runs,
)
from tacit.settings.images import Images
from tacit.settings.networks import Network, Training

PAIRS = Axes(images=Digest, seed=int, train=int, test=int)
RUN = Axes(distance=NonNegativeInt, coefficient=NonNegative, seed=int)
"""What tells files from each other."""


class Canvas(Settings):
    """What two images are laid on."""

    height: Pixels
    width: Pixels

    def place(self, side: int, distance: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the top left corners (row, column) of two images of `side` px, `distance` px apart about the middle.

        Raises ValueError if they do not fit.
        """
        row = self.height // 2 - side // 2
        left = self.width // 2 - side - distance // 2
        right = left + side + distance
        if row < 0 or row + side > self.height or left < 0 or right + side > self.width:
            raise ValueError(
                f"two images of {side} px at a distance of {distance} px do not fit on a canvas of "
                f"{self.height} x {self.width} px"
            )
        return (row, left), (row, right)


class Pairs(Settings):
    """How many pairs of images are drawn."""

    seed: Seed
    num_train: Annotated[int, Field(ge=1, le=10**8)]
    num_test: Annotated[int, Field(ge=1, le=10**8)]
    test_from: Literal["test", "train"] = "test"
    """Images that test pairs are drawn from: test images, or training images, paired by draws of their own."""

    later: ClassVar[tuple[str, ...]] = ("test_from",)


class RunSettings(Settings):
    """What a run depends on besides its pairs, distance, coefficient and seed."""

    images: Images
    canvas: Canvas
    network: Network
    training: Training


class SameClassSettings(RunSettings):
    """The whole study: a run for each distance, coefficient and seed."""

    distances: Annotated[tuple[NonNegativeInt, ...], Some, Distinct]
    """Distances between the two images, in px."""
    coefficients: Annotated[tuple[NonNegative, ...], Some, Distinct]
    """Coefficients of the long-range regulariser; 0 trains without it."""
    seeds: Seeds
    """Number of runs of each setting."""
    pairs: Pairs

    @model_validator(mode="after")
    def _distances_fit(self) -> Self:
        for distance in self.distances:
            self.canvas.place(self.images.side, distance)
        return self

    @model_validator(mode="after")
    def _can_be_run(self) -> Self:
        check_runs(len(self.distances) * len(self.coefficients) * self.seeds)
        canvas, batch_size = (self.canvas.height, self.canvas.width), self.training.batch_size
        self.network.check_last_batch(self.pairs.num_train, batch_size, canvas)
        pixels = min(batch_size, self.pairs.num_train) * canvas[0] * canvas[1] * self.images.channels
        check_memory(pixels, each=4, what=f"batch_size = {batch_size:,}: a batch of such images")
        return self

    @property
    def run(self) -> RunSettings:
        """The part that training depends on."""
        return RunSettings(images=self.images, canvas=self.canvas, network=self.network, training=self.training)
