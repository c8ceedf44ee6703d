"""Settings of the study on convolutional residual networks of many layers (thesis on weight regularity)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tacit.paths import Axes
from tacit.settings import layouts
from tacit.settings.base import (
    Count,
    Distinct,
    Fraction,
    NonNegative,
    NonNegativeInt,
    Positive,
    Seeds,
    Settings,
    Some,
    check_memory,
    check_runs,
)
from tacit.settings.images import Images, check_side
from tacit.settings.networks import Followed, Precision, Schedule, evaluated
from tacit.settings.power_law import PowerLaw

Depth = Annotated[int, Field(ge=8, le=10_000)]
"""6 n + 2 layers."""

RUN = Axes(depth=Depth, seed=int)
"""What tells files from each other."""


class Network(Settings):
    """The CIFAR layout of He et al. 2016, with blocks scaled by n^-a, n being the blocks of a stage."""

    width: Annotated[int, Field(ge=1, le=1024)] = 16
    """Channels of the first stage."""
    delta_exponent: Annotated[float, Field(ge=0, le=4)] = 0.75
    """a"""


class Training(Followed):
    """How a network of L layers is trained: SGD at a rate of c L^b."""

    epochs: Count
    batch_size: Count
    rate_factor: Positive = 1.0
    """c"""
    rate_exponent: Annotated[float, Field(ge=-4, le=4)] = 0.45
    """b"""
    momentum: Fraction = 0.0
    weight_decay: NonNegative = 0.0
    schedule: Schedule = "constant"
    padding: NonNegativeInt = 4
    """Training images are shifted at random by up to so many px, black coming in."""
    flips: bool = False
    """Half of them are mirrored."""
    precision: Precision = "float32"
    compile: bool = False
    evaluate_every: Count = 1
    """Epochs between two tests; before the first and after the last there always is one."""

    later: ClassVar[tuple[str, ...]] = (*Followed.later, "evaluate_every")

    @property
    def measured(self) -> list[int]:
        """Epochs after which networks are tested; 0 is before training."""
        return evaluated(self.epochs, self.evaluate_every)

    def learning_rate(self, depth: int) -> float:
        """Return the rate of a network of so many layers."""
        return self.rate_factor * depth**self.rate_exponent


class RunSettings(Settings):
    """What a run depends on besides its depth and seed."""

    images: Images
    network: Network = Network()
    training: Training
    evaluation: Literal["correct", "published"] = "correct"
    """Of the test: `correct`, or as published, on shifted images with the statistics of their batch, where an image is
    among the best two if its label is among those of any image of the batch."""


class DepthCifarSettings(RunSettings):
    """The whole study: a run for each depth and seed."""

    depths: Annotated[tuple[Depth, ...], Some, Distinct]
    seeds: Seeds
    power_law: PowerLaw = PowerLaw(window=27)
    """How the power law of Omega is fitted, in steps."""
    omega_shown: Literal["logged", "corrected"] = "logged"
    """Of `depth_gradients`: as the original logs it, smaller by the square of the images of a step, so that short last
    batches of epochs stand out; or that of single images."""

    @model_validator(mode="after")
    def _can_be_run(self) -> Self:
        check_runs(len(self.depths) * self.seeds)
        for depth in self.depths:
            layouts.check("resnet", depth)
        images, batch = self.images, self.training.batch_size
        self.power_law.check(self.training.epochs * -(-images.num_train_at_most // batch), what="steps")
        if self.training.padding > images.side:
            raise ValueError(f"training.padding = {self.training.padding}: images have {images.side} px")
        check_side(images)
        # Three maps a layer, and their gradients.
        pixels = images.side**2 * self.network.width * min(batch, images.num_train_at_most)
        check_memory(6 * pixels * max(self.depths), each=4, what=f"batch_size = {batch:,}: a batch at such depths")
        weights = max(self.depths) * 9 * (4 * self.network.width) ** 2
        check_memory(6 * weights, each=4, what=f"width = {self.network.width}: a network of such depths")
        return self

    @property
    def is_published(self) -> bool:
        """Whether the law of Omega is comparable with the published one: all of CIFAR-10, that network and training."""
        asked = Images(source="cifar10", mean=(0.5,) * 3, std=(0.5,) * 3)
        own = self.training.model_copy(update={"compile": False})
        same = (self.images.drawn, self.images.statistics) == (asked.drawn, asked.statistics)
        as_published = (self.network, own) == (Network(), Training(epochs=16, batch_size=128))
        return same and as_published and {*self.depths} <= {56, 104, 224} and not self.power_law.with_shift

    @property
    def run(self) -> RunSettings:
        """The part that a run depends on."""
        return RunSettings(images=self.images, network=self.network, training=self.training, evaluation=self.evaluation)
