"""Pathfinder."""

from __future__ import annotations

import math

from tacit.memory import NUMBA, NUMPY, total, training
from tacit.memory.networks import residual
from tacit.settings.pathfinder import Dataset, PathfinderSettings, Rendering


def render(rendering: Rendering, images: int) -> int:
    """All images of a shard, and the random numbers and canvases of those being drawn."""
    window = math.prod(rendering.window)
    return total(NUMBA, images * (window + 100) + 64 * 8 * 100_000 + 40 * window * rendering.antialias**2)


def assemble(dataset: Dataset, rendering: Rendering, images_per_shard: int) -> int:
    """Two shards of raw images, one being read, and the dataset twice, in order and split."""
    raw = 2 * images_per_shard * (math.prod(rendering.window) + 100)
    return total(NUMPY, raw + 2 * (dataset.num_train + dataset.num_test) * (dataset.size**2 + 8))


def train(settings: PathfinderSettings, *, gpu: bool) -> int:
    """The dataset in two layouts, and the training."""
    dataset = settings.dataset
    data = 2 * (dataset.num_train + dataset.num_test) * dataset.size**2
    batch = settings.training.batch_size
    return training(data + residual(settings.network, (dataset.size,) * 2, 1, batch), gpu=gpu)
