"""Residual networks in training."""

from __future__ import annotations

import math

from tacit.memory import EVALUATED, FLOAT
from tacit.memory.images import image_set
from tacit.settings.images import Images
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


def scaled(images: Images, width: int, depth: int, batch_size: int, *, weights: float = 1, between: float = 0) -> float:
    """Return the bytes of a CIFAR network whose shortcuts have no parameters, in training, with its images.

    Six copies of the weights, which are `weights` times those of convolutions. Of every map of an image of a batch what
    convolution, normalisation and ReLU keep, and gradients; `between` is the share of such maps that factorized
    convolutions have besides. Of a test batch eight of the largest map.
    """
    blocks, places = (depth - 2) // 6, images.side**2
    dense = blocks * 18 * width**2 * (1 + 4 + 16)
    # Maps have a half of the numbers at each stage; two a block.
    maps = width * places * (1 + 2 * blocks * (1 + 0.5 + 0.25)) * (1 + between)
    batch = min(batch_size, images.num_train_at_most)
    content = FLOAT * (6 * dense * weights + 5 * batch * maps + 8 * EVALUATED * width * places)
    return 3 * image_set(images.source, images.side) + content
