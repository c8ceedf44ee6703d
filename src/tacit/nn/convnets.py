"""Small convolutional networks for 32 px images, as stacks that `tacit.nn.untying` can untie.

The skinny CNN of Sanford, Ardeshir, Hsu 2022 and the AlexNet variant of d'Ascoli et al. 2019. Zero padding is a layer
of its own before every convolution, so that layers have the numbers of the original checkpoints. PyTorch's default
initialisation, from its global generator.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from tacit.nn.products import Linear
from tacit.settings.convnets import POOL, POOL_STRIDE, Architecture

DROPOUT = 0.5
"""Before each hidden linear layer."""


class Sum(nn.Module):
    """Two networks whose logits are added, images (B, C, side, side) -> logits (B, K)."""

    def __init__(self, first: nn.Sequential, second: nn.Sequential):
        super().__init__()
        self.first, self.second = first, second

    def forward(self, images: Tensor) -> Tensor:
        """Return the sum of both logits."""
        return self.first(images) + self.second(images)


def build(architecture: Architecture, *, side: int, in_channels: int, classes: int) -> nn.Sequential:
    """Return a freshly initialised CNN, images (B, in_channels, side, side) -> logits (B, classes)."""
    layout, width = architecture.layout, architecture.width
    modules: list[nn.Module] = []
    channels = in_channels
    for conv in layout.convolutions:
        outputs = conv.widths * width
        modules.append(nn.ZeroPad2d(conv.padding))
        modules += [nn.Conv2d(channels, outputs, conv.kernel, stride=conv.stride), nn.ReLU()]
        if conv.pooled:
            modules.append(nn.MaxPool2d(POOL, POOL_STRIDE))
        channels = outputs
    modules.append(nn.Flatten())
    sizes = [channels * architecture.final_side(side) ** 2, *(width * widths for widths in layout.hidden)]
    for inputs, outputs in pairwise(sizes):
        modules += [nn.Dropout(DROPOUT), Linear(inputs, outputs), nn.ReLU()]
    modules.append(Linear(sizes[-1], classes))
    return nn.Sequential(*modules)
