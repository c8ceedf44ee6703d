"""The string method: a chain of networks between two, which learn while springs hold them together.

After the code of d'Ascoli, Sagun, Bruna, Biroli 2019.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tacit.nn import layout
from tacit.settings.untied import String
from tacit.training import engine, resumable
from tacit.training import precision as precisions
from tacit.training.batches import Batches
from tacit.training.images import Examples


class Pull:
    """Steps of a string of networks: its inner points learn in turn, its ends stay.

    For each batch and each inner point in order: one step of SGD on the mean cross-entropy, then
    theta_i += stiffness (theta_{i+1} + theta_{i-1} - 2 theta_i), with theta_{i-1} as it is by then. Each point has a
    momentum of its own, of its steps and not of the springs. Recorded is the objective: losses of the inner points plus
    energies of their two springs, before they are pulled.
    """

    columns = ("objective",)

    def __init__(self, chain: Sequence[nn.Module], train: Examples, string: String, *, precision: str = "float32"):
        self.chain, self.train, self.string, self.precision = list(chain), train, string, precision
        self.device = train.labels.device
        inner = self.chain[1:-1]
        self.network = nn.ModuleDict({f"point {number}": network for number, network in enumerate(inner, start=1)})
        self.format = layout.memory_format(nn.ModuleList(self.chain), self.device)
        self.velocity = [torch.zeros_like(own) for own in self.network.parameters()] if string.momentum else []
        precisions.use(precision, self.device)

    def begin(self, epoch: int, steps: int) -> None:
        """Draw nothing."""

    def take(self, step: int, numbers: Tensor) -> Tensor:
        """Take one step of all inner points."""
        images, labels = self.train.batch(numbers, self.format), self.train.labels[numbers]
        objective = torch.zeros(1, dtype=torch.float64, device=self.device)
        velocities = iter(self.velocity)
        for before, network, after in zip(self.chain, self.chain[1:], self.chain[2:], strict=False):
            with precisions.autocast(self.precision, self.device):
                loss = cross_entropy(network(images), labels)
            gradients = torch.autograd.grad(loss, list(network.parameters()))
            objective += loss.detach()
            with torch.no_grad():
                for left, own, right, gradient in zip(
                    before.parameters(), network.parameters(), after.parameters(), gradients, strict=True
                ):
                    change = gradient
                    if self.string.weight_decay:
                        change = change.add(own, alpha=self.string.weight_decay)
                    if self.string.momentum:
                        change = next(velocities).mul_(self.string.momentum).add_(change)
                    own.sub_(change, alpha=self.string.learning_rate)
                    to_left, to_right = left - own, right - own
                    energy = to_left.square().sum().double() + to_right.square().sum().double()
                    objective += 0.5 * self.string.stiffness * energy
                    own.add_(to_left.add_(to_right), alpha=self.string.stiffness)
        return objective

    def state(self) -> dict[str, Any]:
        """Return the states of the inner points."""
        return {"network": self.network.state_dict(), "velocity": self.velocity}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self.network.load_state_dict(state["network"])
        for own, saved in zip(self.velocity, state["velocity"], strict=True):
            own.copy_(saved)


def fit(
    chain: Sequence[nn.Module],
    train: Examples,
    string: String,
    *,
    precision: str = "float32",
    stream: tuple[str | int, ...],
    checkpoint: str | Path,
    settings: Mapping[str, Any],
) -> np.ndarray:
    """Let the inner networks of `chain` learn, in place; return the objective of each batch, (steps,) float64.

    Batches have the order of the data. `stream` names the random numbers of dropout. `settings` are everything the
    result depends on; a checkpoint of others is refused. Raises DivergenceError, or Interrupted after SIGTERM or
    Ctrl-C.
    """
    moving = assemble(chain, train, string, precision=precision, stream=stream)
    resumable.run(
        moving,
        epochs=string.epochs,
        checkpoint=checkpoint,
        settings=settings,
        by_time=True,
        longer=resumable.Longer(("string.epochs",)),
    )
    return moving.column("objective")


def assemble(
    chain: Sequence[nn.Module], train: Examples, string: String, *, precision: str, stream: tuple[str | int, ...]
) -> engine.Engine:
    """Return the training of a string at its start."""
    return engine.Engine(
        Pull(chain, train, string, precision=precision),
        Batches(len(train.labels), string.batch_size, stream, "fixed"),
        epochs=string.epochs,
        run=f"the string, {stream}",
        advice=f"reduce its learning_rate (now {string.learning_rate:g}) or its stiffness (now {string.stiffness:g})",
    )
