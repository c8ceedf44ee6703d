"""Optimizers and schedules of learning rates, as settings name them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from tacit.settings.networks import Optimizer, Schedule


def optimizer(
    parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
    name: Optimizer,
    *,
    learning_rate: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
) -> torch.optim.Optimizer:
    """Return an optimizer over parameters, or groups of them that may have a weight decay of their own.

    `momentum` is of sgd, as adam has its own.
    """
    if name == "adam":
        return torch.optim.Adam(parameters, lr=learning_rate, weight_decay=weight_decay, fused=True)
    return torch.optim.SGD(parameters, lr=learning_rate, weight_decay=weight_decay, momentum=momentum, fused=True)


def velocities(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, torch.Tensor], *, prefix: str
) -> dict[str, torch.Tensor]:
    """Return the momentum that SGD has of each of these parameters, zero before the first step, by prefixed name."""
    states = optimizer.state
    return {
        f"{prefix}{name}": states[parameter]["momentum_buffer"] if parameter in states else torch.zeros_like(parameter)
        for name, parameter in parameters.items()
    }


def begin_with(optimizer: torch.optim.Optimizer, velocities: Mapping[torch.Tensor, torch.Tensor]) -> None:
    """Let SGD begin with a momentum of each parameter, in place of none."""
    for parameter, velocity in velocities.items():
        optimizer.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(velocity)


def rate(schedule: Schedule, learning_rate: float, *, epochs: int) -> Callable[[float], float] | None:
    """Return the learning rate as a function of the time in epochs; None if it does not change."""
    if schedule == "constant":
        return None
    return lambda time: learning_rate * (1 + math.cos(math.pi * time / epochs)) / 2


def obstacle(schedule: Schedule) -> str:
    """Return why a training at such a rate cannot go on for more epochs, once it has ended; empty if it can."""
    return "" if schedule == "constant" else f"its learning rate depends on the number of epochs (schedule: {schedule})"


def stepwise(
    learning_rate: float,
    *,
    epochs: int,
    milestones: Iterable[float],
    warms_up: bool = False,
    falls_by: float = 10,
) -> Callable[[float], float]:
    """Return the rate, as a function of the time in epochs, that is divided by `falls_by` at each milestone.

    These are shares of `epochs`, rounded down to whole ones. If it `warms_up`, the first epoch has a tenth of the rate,
    as He et al. 2016 have it for their deepest networks.
    """
    ends = [int(share * epochs) for share in milestones]

    def rate(time: float) -> float:
        passed = sum(time >= end for end in ends)
        if warms_up and time < 1 and not passed:
            return learning_rate / 10
        # Divided, not multiplied by 0.1 again and again: 0.1, 0.01, 0.001 are what they are written.
        return learning_rate / falls_by**passed

    return rate


def inverse_square_root(learning_rate: float, *, steps: int, constant: int) -> Callable[[float], float]:
    """Return the rate, as a function of the time in epochs of so many `steps`, that falls with the root of time.

    After t steps it is learning_rate sqrt(constant / t), and `learning_rate` for the first `constant` of them. Raises
    ValueError if there is not one at least of both.
    """
    if steps < 1 or constant < 1:
        raise ValueError(f"steps = {steps}, constant = {constant}: both are 1 or more")

    def rate(time: float) -> float:
        done = round(time * steps)
        return learning_rate * (constant / max(done, constant)) ** 0.5

    return rate


def clipping(parameters: Iterable[nn.Parameter], norm: float) -> Callable[[], None]:
    """Return what shortens the gradient of all `parameters` together to `norm`, in the Euclidean norm, if it is longer.

    Among the decays of a step it comes last, so that they are clipped with the gradient of the loss. Nothing is read
    back from a GPU.
    """
    if not norm > 0:
        raise ValueError(f"norm = {norm}: it is larger than 0")
    parameters = list(parameters)

    def clip() -> None:
        nn.utils.clip_grad_norm_(parameters, norm)

    return clip
