"""Residual networks of thousands of layers."""

from __future__ import annotations

from tacit.memory import training
from tacit.memory.images import image_set
from tacit.settings.depth_limit import RunSettings
from tacit.settings.images import Images

_TILE, _GROUPS, _PADDED = 64, 16, 16
"""As tacit.training.depth_kernel has them."""


def train(settings: RunSettings, depth: int, *, threads: int, gpu: bool) -> int:
    """Images as float64 twice, weights and their gradients, those of each group, and states of a tile a thread."""
    data = settings.data
    if isinstance(data, Images):
        numbers = data.channels * data.side**2
        content = image_set(data.source, data.side) * 2 + 3 * 8 * numbers * (
            data.num_train_at_most + data.num_test_at_most
        )
        samples = data.num_train_at_most
    else:
        content, samples = 8 * 8 * data.num_samples, data.num_samples
    each = 4 if settings.descent.precision == "float32" else 8
    width = -(-settings.dim // _PADDED) * _PADDED
    groups = min(_GROUPS, -(-samples // _TILE))
    content += each * depth * width * (groups * width + 8 * settings.dim + threads * _TILE)
    content += each * depth * settings.dim**2 * (4 + 2 * len(settings.kept)) + 4 * each * samples * width
    return training(content, gpu=gpu)
