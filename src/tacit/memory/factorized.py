"""Residual networks with factorized layers."""

from __future__ import annotations

from tacit.memory import networks, training
from tacit.settings.factorized import RunSettings


def train(settings: RunSettings, depth: int, rank_scale: float, factors: str, *, gpu: bool) -> int:
    """Return MB of one training, with the kernels that factors are multiplied to."""
    # Of a square matrix n x n, rank_scale n (n + n) numbers, and with a matrix in the middle (rank_scale n)^2.
    weights = 1 + 2 * rank_scale + (rank_scale**2 if factors == "three" else 0)
    # In each that is two convolutions a map of r channels.
    between = min(3 * rank_scale, 1) if rank_scale < 1 else 0
    sizes = settings.network.width, depth, settings.training.batch_size
    return training(networks.scaled(settings.images, *sizes, weights=weights, between=between), gpu=gpu)
