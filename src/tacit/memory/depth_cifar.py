"""Convolutional residual networks of many layers."""

from __future__ import annotations

from tacit.memory import networks, training
from tacit.settings.depth_cifar import RunSettings


def train(settings: RunSettings, depth: int, *, gpu: bool) -> int:
    """Return MB of one training."""
    sizes = settings.network.width, depth, settings.training.batch_size
    return training(networks.scaled(settings.images, *sizes), gpu=gpu)
