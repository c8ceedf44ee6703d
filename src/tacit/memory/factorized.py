"""Residual networks with factorized layers."""

from __future__ import annotations

from tacit.memory import EVALUATED, FLOAT, training
from tacit.memory.images import image_set
from tacit.settings.factorized import RunSettings


def train(settings: RunSettings, depth: int, rank_scale: float, factors: str, *, gpu: bool) -> int:
    """Six copies of the weights, and the kernels that factors are multiplied to; of every map of an image of a batch
    what convolutions, normalisation and ReLU keep, and gradients; of a test batch eight of the largest map; images.
    """
    images, width = settings.images, settings.network.width
    blocks, places = (depth - 2) // 6, images.side**2
    dense = blocks * 18 * width**2 * (1 + 4 + 16)
    # Of a square matrix n x n, rank_scale n (n + n) numbers, and with a matrix in the middle (rank_scale n)^2.
    weights = dense * (1 + 2 * rank_scale + (rank_scale**2 if factors == "three" else 0))
    # Maps have a half of the numbers at each stage; two a block, and one more of r channels in each that is two
    # convolutions.
    maps = (
        width * places * (1 + 2 * blocks * (1 + 0.5 + 0.25)) * (1 + (min(3 * rank_scale, 1) if rank_scale < 1 else 0))
    )
    data = 3 * image_set(images.source, images.side)
    batch = min(settings.training.batch_size, images.num_train_at_most)
    return training(data + FLOAT * (6 * weights + 5 * batch * maps + 8 * EVALUATED * width * places), gpu=gpu)
