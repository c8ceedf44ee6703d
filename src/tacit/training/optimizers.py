"""Optimizers and schedules of learning rates, as settings name them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn

from tacit.settings.networks import Optimizer, Schedule


def optimizer(
    parameters: Iterable[nn.Parameter],
    name: Optimizer,
    *,
    learning_rate: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
) -> torch.optim.Optimizer:
    """Return an optimizer over parameters; `momentum` is of sgd, as adam has its own."""
    if name == "adam":
        return torch.optim.Adam(parameters, lr=learning_rate, weight_decay=weight_decay, fused=True)
    return torch.optim.SGD(parameters, lr=learning_rate, weight_decay=weight_decay, momentum=momentum, fused=True)


def rate(schedule: Schedule, learning_rate: float, *, epochs: int) -> Callable[[float], float] | None:
    """Return the learning rate as a function of the time in epochs; None if it does not change."""
    if schedule == "constant":
        return None
    return lambda time: learning_rate * (1 + math.cos(math.pi * time / epochs)) / 2
