"""Convolutional residual networks of many layers."""

from __future__ import annotations

from tacit.memory import EVALUATED, FLOAT, training
from tacit.memory.images import image_set
from tacit.settings.depth_cifar import RunSettings


def train(settings: RunSettings, depth: int, *, gpu: bool) -> int:
    """Six copies of the weights; of every map of an image of a batch what convolution, normalisation and ReLU keep, and
    gradients; of a test batch eight of the largest map; images.
    """
    images, width = settings.images, settings.network.width
    blocks, places = (depth - 2) // 6, images.side**2
    weights = blocks * 18 * width**2 * (1 + 4 + 16)
    # Maps have a half of the numbers at each stage; two a block.
    maps = width * places * (1 + 2 * blocks * (1 + 0.5 + 0.25))
    data = 3 * image_set(images.source, images.side)
    batch = min(settings.training.batch_size, images.num_train_at_most)
    return training(data + FLOAT * (6 * weights + 5 * batch * maps + 8 * EVALUATED * width * places), gpu=gpu)
