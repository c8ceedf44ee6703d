"""Nesterov's momentum with a velocity that holds the rate, and decay apart from the gradient.

The variant of early fairseq by which Khodak, Tenenholtz, Mackey, Fusi 2021 train Transformers. With rate a, that of the
step before a', momentum m, gradient g and velocity v, at first 0,

    p <- p (1 - a decay),   p <- p + m^2 (a / a') v - (1 + m) a g,   v <- m (a / a') v - a g.

PyTorch's SGD with `nesterov` takes other steps: its velocity is of gradients, and its decay passes through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class Nesterov(torch.optim.Optimizer):
    """Nesterov's momentum over parameters, or groups of them with `lr`, `momentum` and `weight_decay` of their own.

    Decay is not part of the gradient. The rate may be changed between steps. Parameters without a gradient are left
    alone.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        *,
        lr: float = 0.25,
        momentum: float = 0.99,
        weight_decay: float = 0.0,
    ):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; raises ValueError for a hyper-parameter that is none."""
        for name, below in (("lr", float("inf")), ("momentum", 1.0), ("weight_decay", float("inf"))):
            value = param_group.get(name, self.defaults[name])
            if not 0 <= value < below:
                raise ValueError(f"{name} = {value}: it is 0 or larger" + (", below 1" if below == 1 else ""))
        super().add_param_group(param_group)

    @torch.no_grad()
    def step(  # type: ignore[override]
        self, closure: Callable[[], Tensor] | None = None
    ) -> Tensor | None:
        """Take one step; returns the loss if `closure` computes it."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            rate, momentum = group["lr"], group["momentum"]
            # After a rate of 0 all velocities are 0.
            before = group.get("previous_lr", rate)
            kept = momentum * (rate / before if before else 1.0)
            group["previous_lr"] = rate
            moving = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not moving:
                continue
            gradients = [parameter.grad for parameter in moving]
            velocities = [self._velocity(parameter) for parameter in moving]
            if group["weight_decay"]:
                torch._foreach_mul_(moving, 1 - rate * group["weight_decay"])
            torch._foreach_add_(moving, velocities, alpha=momentum * kept)
            torch._foreach_add_(moving, gradients, alpha=-(1 + momentum) * rate)
            torch._foreach_mul_(velocities, kept)
            torch._foreach_add_(velocities, gradients, alpha=-rate)
        return loss

    def _velocity(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(parameter)
        return state["velocity"]
