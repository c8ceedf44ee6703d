"""The string method: a chain of networks between two, which learn while springs hold them together.

After the code of d'Ascoli, Sagun, Bruna, Biroli 2019.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tacit import streams
from tacit.errors import DivergenceError
from tacit.nn import layout
from tacit.settings.untied import String
from tacit.training import precision, resumable
from tacit.training.images import Examples


class Chain:
    """A string of networks under way: its inner points learn in turn, its ends stay.

    For each batch and each inner point in order: one step of SGD on the mean cross-entropy, then
    theta_i += stiffness (theta_{i+1} + theta_{i-1} - 2 theta_i), with theta_{i-1} as it is by then.
    """

    def __init__(
        self, networks: Sequence[nn.Sequential], train: Examples, string: String, stream: tuple[str | int, ...]
    ):
        self.networks, self.train, self.string, self.stream = list(networks), train, string, stream
        self.epoch = self.step = 0
        self.objective: list[float] = []
        """Of each batch: losses of the inner points plus energies of their two springs, before they are pulled."""
        self.format = layout.memory_format(nn.ModuleList(self.networks), train.labels.device)
        precision.use("float32", train.labels.device)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.epoch >= self.string.epochs

    def run_epoch(self, pause: resumable.Pause) -> bool:
        """Go on to the end of the epoch; return False if asked to pause before."""
        labels = self.train.labels
        batches = torch.arange(len(labels), device=labels.device).split(self.string.batch_size)
        if self.step == 0:
            torch.manual_seed(streams.torch_seed(*self.stream, "dropout", self.epoch))
        while self.step < len(batches):
            self.update(batches[self.step])
            self.step += 1
            if pause.requested and self.step < len(batches):
                return False
        self.epoch, self.step = self.epoch + 1, 0
        return True

    def update(self, batch: Tensor) -> None:
        """Take one step of all inner points on the images numbered `batch`."""
        images, labels = self.train.batch(batch, self.format), self.train.labels[batch]
        objective = torch.zeros((), dtype=torch.float64, device=labels.device)
        for before, network, after in zip(self.networks, self.networks[1:], self.networks[2:], strict=False):
            network.train()
            loss = cross_entropy(network(images), labels)
            gradients = torch.autograd.grad(loss, list(network.parameters()))
            objective += loss.detach()
            with torch.no_grad():
                for left, own, right, gradient in zip(
                    before.parameters(), network.parameters(), after.parameters(), gradients, strict=True
                ):
                    own.sub_(gradient, alpha=self.string.learning_rate)
                    to_left, to_right = left - own, right - own
                    energy = to_left.square().sum().double() + to_right.square().sum().double()
                    objective += 0.5 * self.string.stiffness * energy
                    own.add_(to_left.add_(to_right), alpha=self.string.stiffness)
        self.objective.append(objective.item())
        if not math.isfinite(self.objective[-1]):
            string = self.string
            raise DivergenceError(
                f"the string diverged: loss and springs of batch {len(self.objective)} are not finite, {self.stream}; "
                f"reduce its learning_rate (now {string.learning_rate:g}) or its stiffness (now {string.stiffness:g})"
            )

    def summary(self) -> str:
        """Return the last epoch in words."""
        return f"losses and springs {self.objective[-1]:.4f}"

    def state(self) -> dict[str, Any]:
        """Return everything that a later process needs to go on from here."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "objective": self.objective,
            "inner": [network.state_dict() for network in self._inner()],
            **resumable.random_state(self.train.labels.device),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        self.epoch, self.step, self.objective = state["epoch"], state["step"], state["objective"]
        for network, values in zip(self._inner(), state["inner"], strict=True):
            network.load_state_dict(values)
        resumable.set_random_state(state, self.train.labels.device)

    def _inner(self) -> Iterator[nn.Sequential]:
        yield from self.networks[1:-1]
