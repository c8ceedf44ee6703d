"""Layers of networks that are compressed: VGG, ResNet with projected shortcuts, wide ResNet.

Sizes alone, without torch, so that planning can tell which shares of a network's parameters there are and how much
memory its training takes. The networks themselves are `tacit.nn.vgg`, `scaled_convnets` and `wide_resnets`; a test
holds them against this.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

Family = Literal["vgg", "resnet", "wide_resnet"]

VGG_STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Convolutions of each stage by the number of layers, of which three were fully connected in the original."""

VGG_WIDTHS = (1, 2, 4, 8, 8)
"""Channels of each stage, in widths."""

LEAST_SIDE = 2
"""Pixels of a side that a maximum of a VGG must leave, so that a batch of one image can be normalised."""


class Layer(NamedTuple):
    """A convolution, or the linear layer at the end, with a kernel of 1 and a side of 1."""

    outputs: int
    inputs: int
    kernel: int
    side: int
    """Of its output, in px."""
    replaced: bool
    """Whether a factorized network has factors in its place."""

    @property
    def weights(self) -> int:
        """Numbers in its kernel."""
        return self.outputs * self.inputs * self.kernel**2

    def factors(self, rank: int) -> int:
        """Return the numbers in factors of this rank, of the matrix (O k, I k)."""
        return rank * self.kernel * (self.outputs + self.inputs)


class Layout(NamedTuple):
    """All layers of a network in the order in which they are used, and the parameters besides their weights."""

    layers: tuple[Layer, ...]
    others: int
    """Scales and shifts of normalisations, and biases."""

    @property
    def parameters(self) -> int:
        """Parameters of the dense network."""
        return self.others + sum(layer.weights for layer in self.layers)

    def check_low_rank(self, ratio: float) -> None:
        """Raise ValueError if factors do not lead to a share of `ratio` of the parameters."""
        least, most = (self.factorized(most=which) / self.parameters for which in (False, True))
        if not least <= ratio <= most:
            raise ValueError(
                f"a ratio of {ratio:g}: with factors this network has shares from {least:.6f} to {most:.6f}"
            )

    def check_sparse(self, ratio: float, *, random_tickets: bool) -> None:
        """Raise ValueError if a share of `ratio` leaves no weight, or less of the linear layer than a ticket keeps."""
        kept = math.ceil(0.3 * self.layers[-1].weights) if random_tickets else 1
        least = self.others + kept
        if round(ratio * self.parameters) < least:
            raise ValueError(
                f"a ratio of {ratio:g}: a sparse network of this kind has {least / self.parameters:.6f} or more, as "
                "normalisations and biases stay" + (" and three tenths of the linear layer" if random_tickets else "")
            )

    def factorized(self, *, most: bool) -> int:
        """Return the parameters with factors of rank 1, or, if `most`, of as many ranks as a matrix has rows."""
        return self.others + sum(
            layer.factors(layer.outputs * layer.kernel if most else 1) if layer.replaced else layer.weights
            for layer in self.layers
        )


def layout(family: Family, depth: int, width: int, *, side: int, channels: int, classes: int) -> Layout:
    """Return the layout of a network for images of `side` px; raises ValueError if there is none of this depth."""
    check(family, depth)
    build = {"vgg": _vgg, "resnet": _resnet, "wide_resnet": _wide_resnet}[family]
    layers, normalised = build(depth, width, side, channels)
    head = Layer(classes, layers[-1].outputs, 1, 1, replaced=False)
    return Layout((*layers, head), 2 * sum(normalised) + classes)


def check(family: Family, depth: int) -> None:
    """Raise ValueError if there is no network of this family with so many layers."""
    if family == "vgg" and depth not in VGG_STAGES:
        raise ValueError(f"{depth} layers: a VGG has {', '.join(map(str, VGG_STAGES))} of them")
    if family == "resnet" and (depth < 8 or depth % 6 != 2):
        raise ValueError(f"{depth} layers: this layout has 6 n + 2 of them, 8, 14, 20, ...")
    if family == "wide_resnet" and (depth < 10 or depth % 6 != 4):
        raise ValueError(f"{depth} layers: a wide residual network has 6 n + 4 of them, 10, 16, 22, 28, ...")


Layers = tuple[list[Layer], Sequence[int]]
"""Convolutions, and the channels of each normalisation."""


def _vgg(depth: int, width: int, side: int, channels: int) -> Layers:
    layers: list[Layer] = []
    inputs = channels
    for count, widths in zip(VGG_STAGES[depth], VGG_WIDTHS, strict=True):
        side = side // 2 if layers and side // 2 >= LEAST_SIDE else side
        outputs = width * widths
        for _ in range(count):
            layers.append(Layer(outputs, inputs, 3, side, replaced=bool(layers)))
            inputs = outputs
    return layers, [layer.outputs for layer in layers]


def _resnet(depth: int, width: int, side: int, channels: int) -> Layers:
    layers, inputs = [Layer(width, channels, 3, side, replaced=False)], width
    for outputs in (width, 2 * width, 4 * width):
        side = side if outputs == width else -(-side // 2)
        for _ in range((depth - 2) // 6):
            layers += [Layer(outputs, size, 3, side, replaced=True) for size in (inputs, outputs)]
            if inputs != outputs:
                layers.append(Layer(outputs, inputs, 1, side, replaced=True))
            inputs = outputs
    return layers, [layer.outputs for layer in layers]


def _wide_resnet(depth: int, width: int, side: int, channels: int) -> Layers:
    layers, inputs, normalised = [Layer(16, channels, 3, side, replaced=False)], 16, []
    for stage in range(3):
        outputs, side = 16 * width * 2**stage, -(-side // 2) if stage else side
        for _ in range((depth - 4) // 6):
            layers += [Layer(outputs, size, 3, side, replaced=True) for size in (inputs, outputs)]
            normalised += [inputs, outputs]
            if inputs != outputs:
                layers.append(Layer(outputs, inputs, 1, side, replaced=True))
            inputs = outputs
    return layers, [*normalised, inputs]
