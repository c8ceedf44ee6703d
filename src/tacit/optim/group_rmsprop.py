"""Group RMSprop: gradient descent whose one step size adapts to the norm of the whole gradient.

After Arora, Cohen, Hu, Luo 2019 (deep matrix factorization), as used by Razin, Cohen 2020 and Razin, Maman, Cohen 2022:
with g all gradients together,

    v <- decay v + (1 - decay) |g|^2,    rate = learning_rate / (sqrt(v / (1 - decay^t)) + epsilon),

the same for every parameter, so the path is that of gradient flow in another time. The rate is at most
learning_rate / epsilon, which decides how long a descent stays near a saddle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor


class AdaptiveRate:
    """The step size of group RMSprop from one squared norm after the other, all of them Python's numbers (float64)."""

    def __init__(self, *, learning_rate: float, decay: float, epsilon: float):
        self.learning_rate, self.decay, self.epsilon = learning_rate, decay, epsilon
        self.steps, self.mean_square = 0, 0.0

    def __call__(self, squared_norm: float) -> float:
        """Return the rate of the next step, whose gradient has this squared norm."""
        self.steps += 1
        self.mean_square = self.decay * self.mean_square + (1 - self.decay) * squared_norm
        root = (self.mean_square / (1 - self.decay**self.steps)) ** 0.5
        return self.learning_rate / (root + self.epsilon)

    def state(self) -> dict[str, float]:
        """Return what a later step needs to continue from here, on any device; `power` is decay^steps."""
        return {"steps": self.steps, "mean_square": self.mean_square, "power": self.decay**self.steps}

    def load_state(self, state: Mapping[str, float]) -> None:
        """Continue from `state`."""
        self.steps, self.mean_square = int(state["steps"]), float(state["mean_square"])


class ResidentRate:
    """The same in the same precision, kept on a device: norms, mean and rates are tensors without dimensions there.

    Nothing is read back, and a step writes to the same memory each time, so that it can be recorded and replayed.
    """

    def __init__(self, *, learning_rate: float, decay: float, epsilon: float, device: torch.device):
        self.learning_rate, self.decay, self.epsilon = learning_rate, decay, epsilon
        self._mean_square = torch.zeros((), dtype=torch.float64, device=device)
        self._power = torch.ones((), dtype=torch.float64, device=device)
        self._steps = torch.zeros((), dtype=torch.int64, device=device)

    def __call__(self, squared_norm: Tensor) -> Tensor:
        """Return the rate (float64) of the next step, whose gradient has this squared norm, of any precision."""
        self._steps.add_(1)
        self._power.mul_(self.decay)
        self._mean_square.mul_(self.decay).add_(squared_norm.double(), alpha=1 - self.decay)
        root = self._mean_square.div(1 - self._power).sqrt_()
        return self.learning_rate / root.add_(self.epsilon)

    def state(self) -> dict[str, float]:
        """Return what a later step needs to continue from here, on any device."""
        return {
            "steps": self._steps.item(),
            "mean_square": self._mean_square.item(),
            "power": self._power.item(),
        }

    def load_state(self, state: Mapping[str, float]) -> None:
        """Continue from `state`."""
        self._steps.fill_(int(state["steps"]))
        self._mean_square.fill_(state["mean_square"])
        self._power.fill_(state["power"])


class GroupRMSprop(torch.optim.Optimizer):
    """Group RMSprop over any number of parameters; all of them share one rate.

    `weight_decay` times a parameter is added to its gradient. Parameters without gradient are left alone. With a
    learning rate `lr` the step is about `lr` long, in the Euclidean norm of all parameters, wherever the gradient keeps
    its size; a second parameter group is refused by a ValueError.

    >>> import torch, tacit
    >>> model = torch.nn.Linear(3, 1)
    >>> optimizer = tacit.GroupRMSprop(model.parameters(), lr=0.01)
    >>> model(torch.rand(5, 3)).square().mean().backward()
    >>> before = [parameter.detach().clone() for parameter in model.parameters()]
    >>> optimizer.step()
    >>> steps = [own.detach() - old for own, old in zip(model.parameters(), before)]
    >>> round(float(sum(step.square().sum() for step in steps)) ** 0.5, 4)
    0.01
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        *,
        lr: float = 1e-2,
        decay: float = 0.99,
        epsilon: float = 1e-6,
        weight_decay: float = 0.0,
    ):
        super().__init__(params, {"lr": lr, "decay": decay, "epsilon": epsilon, "weight_decay": weight_decay})
        self._rate = AdaptiveRate(learning_rate=lr, decay=decay, epsilon=epsilon)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Refuse a second group: all parameters share one rate, so they belong in one."""
        if self.param_groups:
            raise ValueError("all parameters share one rate, so they belong in one group")
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
        group = self.param_groups[0]
        moving = [parameter for parameter in group["params"] if parameter.grad is not None]
        gradients = [parameter.grad.add(parameter, alpha=group["weight_decay"]) for parameter in moving]
        if moving:
            rate = self._rate
            rate.learning_rate, rate.decay, rate.epsilon = group["lr"], group["decay"], group["epsilon"]
            # Read back once, however many parameters there are.
            length = rate(float(sum(gradient.double().square().sum() for gradient in gradients)))
            for parameter, gradient in zip(moving, gradients, strict=True):
                parameter.sub_(gradient, alpha=length)
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return the state, with the running mean and the number of steps."""
        shared = {"steps": self._rate.steps, "mean_square": self._rate.mean_square}
        return super().state_dict() | {"shared": shared}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a state that `state_dict` returned."""
        state = dict(state_dict)
        shared = state.pop("shared")
        super().load_state_dict(state)
        self._rate.steps, self._rate.mean_square = shared["steps"], shared["mean_square"]
