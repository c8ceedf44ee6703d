"""Settings of networks and their training, shared by the studies that train one on images."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from tacit.settings.base import Count, Fraction, NonNegative, NonNegativeInt, Positive, Settings


class Network(Settings):
    """A residual network with one logit."""

    name: Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet8", "resnet14", "resnet20"]
    """ImageNet layout (torchvision) for 18 and more layers except 20, CIFAR layout for 8, 14, 20 (He et al. 2016)."""
    width: Count = 64
    """Channels of the first stage; 64 is what the ImageNet layouts have, and they have no other."""
    stem_stride: Literal[1, 2] = 2
    """Of the first convolution; 2 is what the ImageNet layouts have, and they have no other."""
    dropout: Fraction = 0.0
    """Probability of dropping a feature after each stage but the last; 0 means no such layer."""

    @property
    def layers(self) -> int:
        """Number of layers."""
        return int(self.name.removeprefix("resnet"))

    @property
    def is_cifar(self) -> bool:
        """Whether the layout is that for CIFAR."""
        return self.layers in (8, 14, 20)

    @model_validator(mode="after")
    def _layout_exists(self) -> Self:
        if (self.width, self.stem_stride) != (64, 2) and not self.is_cifar:
            layouts = "only resnet8, resnet14 and resnet20 come in others"
            raise ValueError(f"{self.name} has a width of 64 and a stem_stride of 2; {layouts}")
        return self


class Training(Settings):
    """How a network is trained."""

    optimizer: Literal["sgd", "adam"]
    learning_rate: Positive
    momentum: Fraction
    """Of SGD; Adam has its own."""
    weight_decay: NonNegative
    batch_size: Count
    epochs: Count
    perfect_epochs: NonNegativeInt
    """Training stops once train accuracy has been 1 for more than this many epochs in a row."""
    precision: Literal["float32", "tf32", "bfloat16"]
    channels_last: bool
    compile: bool


class LongRangeRegularizer(Settings):
    """Patches whose interaction the regulariser encourages."""

    patch_size: Count
    distance: NonNegativeInt
    """Least gap between the two patches in px."""
    adjacent_only: bool = Field(default=False)
    """Take the gap as exact instead of least."""
