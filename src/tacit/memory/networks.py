"""Residual networks in training."""

from __future__ import annotations

import math

from tacit.memory import EVALUATED, FLOAT
from tacit.settings.networks import Network

_IMAGENET: dict[int, tuple[int, ...]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


def residual(network: Network, sides: tuple[int, int], channels: int, batch: int) -> int:
    """Return the bytes of a residual network in training.

    Six copies of the weights (own, gradient, two of an optimizer, a checkpoint being written, a gradient in another
    layout). Of every map three for each image of a batch (convolution, normalisation, ReLU), and these three times, for
    their gradients and for the second backward pass of the regulariser. Of a test batch eight of the largest map.
    """
    places = math.prod(-(-side // network.stem_stride) for side in sides)
    width, bottleneck = network.width, network.layers >= 50
    maps, weights = [width * places], [channels * width * (9 if network.is_cifar else 49)]
    if network.is_cifar:
        blocks_each = (network.layers - 2) // 6
        stages: tuple[int, ...] = (blocks_each, blocks_each, blocks_each)
    else:
        stages, places = _IMAGENET[network.layers], -(-places // 4)
        maps.append(width * places)
    inputs = width
    for number, blocks in enumerate(stages):
        inner = width * 2**number
        outputs = inner * (4 if bottleneck else 1)
        places = -(-places // (4 if number else 1))
        for _ in range(blocks):
            if bottleneck:
                maps += [4 * inner * places if number else inner * places, inner * places, outputs * places]
                weights += [inputs * inner, 9 * inner**2, inner * outputs]
            else:
                maps += [inner * places, inner * places]
                weights += [9 * inputs * inner, 9 * inner**2]
            if inputs != outputs:
                maps.append(outputs * places)
                weights.append(inputs * outputs)
            inputs = outputs
    return FLOAT * (6 * sum(weights) + 9 * batch * sum(maps) + 8 * EVALUATED * max(maps))
