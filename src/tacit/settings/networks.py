"""Settings of networks and their training, shared by the studies that train one on images."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tacit.settings import early_stopping
from tacit.settings.base import (
    Count,
    Fraction,
    NonNegative,
    NonNegativeInt,
    Pixels,
    Positive,
    Settings,
    check_unused,
)


class Network(Settings):
    """A residual network with one logit."""

    name: Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet8", "resnet14", "resnet20"]
    """ImageNet layout (torchvision) for 18 and more layers except 20, CIFAR layout for 8, 14, 20 (He et al. 2016)."""
    width: Annotated[int, Field(ge=1, le=1024)] = 64
    """Channels of the first stage; 64 is what the ImageNet layouts have, and they have no other."""
    stem_stride: Literal[1, 2] = 2
    """Stride of the first convolution; 2 is what the ImageNet layouts have, and they have no other."""
    dropout: Annotated[float, Field(ge=0, le=0.99)] = 0.0
    """Probability of dropping a feature after each stage but the last; 0 means no such layer."""

    @property
    def layers(self) -> int:
        """Number of layers."""
        return int(self.name.removeprefix("resnet"))

    @property
    def is_cifar(self) -> bool:
        """Whether the layout is that for CIFAR."""
        return self.layers in (8, 14, 20)

    def check_last_batch(self, images: int, batch_size: int, canvas: tuple[int, int]) -> None:
        """Raise ValueError if batch normalisation would meet a single number a channel, which has no variance.

        That is where a batch is one image, and the last feature map one pixel. `canvas` is height and width in px.
        """
        stride = 4 * self.stem_stride if self.is_cifar else 32
        last = batch_size if images % batch_size == 0 else images % batch_size
        if min(batch_size, images, last) == 1 and max(canvas) <= stride:
            raise ValueError(
                f"the last of the batches of {batch_size} out of {images} images has one image, of which {self.name} "
                f"makes one pixel a channel, which cannot be normalised; choose another batch_size"
            )

    @model_validator(mode="after")
    def _layout_exists(self) -> Self:
        if (self.width, self.stem_stride) != (64, 2) and not self.is_cifar:
            layouts = "only resnet8, resnet14 and resnet20 come in others"
            raise ValueError(f"{self.name} has a width of 64 and a stem_stride of 2; {layouts}")
        return self


Order = Literal["fixed", "random"]
"""Order of examples: that of the file in every epoch, or a new one in each."""

Precision = Literal["float32", "tf32", "bfloat16"]
"""Precision of products: tf32 shortens them on a GPU, bfloat16 anywhere; weights are float32 in any case."""

AnyPrecision = Literal["float32", "float64", "tf32", "bfloat16"]
"""The same, or float64: of weights, images and products."""


Optimizer = Literal["sgd", "adam"]

Schedule = Literal["constant", "cosine"]
"""Of the learning rate: constant, as published, or falling to 0 at the last step along half a cosine."""


Keep = Literal["none", "last epoch", "best epoch", "every epoch"] | Count
"""Of which epochs weights are written down; every one, or every so many, begins with 0, before training, and ends with
the last."""

Metric = Literal["test_loss", "test_accuracy", "train_loss", "train_accuracy"]
"""By what an epoch is the best: the least loss or the greatest accuracy, the earliest of equal ones."""


class EarlyStopping(early_stopping.EarlyStopping):
    """When a training ends that gets no better, on the test or while learning; a look is a test."""

    by: Metric = "test_loss"


class Followed(Settings):
    """What is kept of a training, and what ends it before its time."""

    keep: Keep = "none"
    best_by: Metric = "test_loss"
    early_stopping: EarlyStopping | None = None

    later: ClassVar[tuple[str, ...]] = ("keep", "best_by", "early_stopping")

    def kept_of(self, epochs: int) -> range:
        """Return the epochs, of so many, whose weights are written down, but for the last and the best."""
        if isinstance(self.keep, int):
            return range(0, epochs + 1, self.keep)
        return range(epochs + 1 if self.keep == "every epoch" else 0)

    @property
    def keeps_last(self) -> bool:
        """Whether the weights of the last epoch are written down, whichever that is."""
        return self.keep not in ("none", "best epoch")

    @model_validator(mode="after")
    def _best_is_kept(self) -> Self:
        if self.early_stopping is not None:
            # Whatever is followed is a training, with a number of epochs.
            self.early_stopping.check(self.epochs)  # type: ignore[attr-defined]
        if self.keep != "best epoch":
            check_unused(self, "best_by", why="means nothing unless keep is best epoch")
        return self


class Training(Followed):
    """How a network is trained."""

    optimizer: Optimizer
    learning_rate: Positive
    momentum: Fraction
    """Momentum of SGD; 0 with Adam, which has its own."""
    weight_decay: NonNegative
    batch_size: Count
    epochs: Count
    schedule: Schedule = "constant"
    perfect_epochs: NonNegativeInt
    """Training stops once train accuracy has been 1 for more than this many epochs in a row."""
    precision: Precision
    channels_last: bool
    compile: bool
    evaluate_every: Count = 1
    """Epochs between two tests; after the last there always is one."""

    later: ClassVar[tuple[str, ...]] = (*Followed.later, "evaluate_every")

    @property
    def measured(self) -> list[int]:
        """Epochs after which networks are tested."""
        return evaluated(self.epochs, self.evaluate_every)[1:]

    @model_validator(mode="after")
    def _momentum_is_used(self) -> Self:
        if self.momentum and self.optimizer != "sgd":
            raise ValueError(
                f"momentum = {self.momentum:g} is for the optimizer sgd; {self.optimizer} has its own; set momentum: 0"
            )
        return self


def evaluated(epochs: int, every: int) -> list[int]:
    """Return the epochs after which there is a look every so many, from 0, before training, to the last."""
    return sorted({*range(0, epochs + 1, every), epochs})


class LongRangeRegularizer(Settings):
    """Patches whose interaction the regulariser encourages."""

    patch_size: Pixels
    distance: NonNegativeInt
    """Least gap between the two patches in px."""
    adjacent_only: bool = Field(default=False)
    """Take the gap as exact instead of least."""
