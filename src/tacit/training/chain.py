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
from tacit.training import finite, resumable
from tacit.training import precision as precisions
from tacit.training.images import Examples


class Chain:
    """A string of networks under way: its inner points learn in turn, its ends stay.

    For each batch and each inner point in order: one step of SGD on the mean cross-entropy, then
    theta_i += stiffness (theta_{i+1} + theta_{i-1} - 2 theta_i), with theta_{i-1} as it is by then.
    """

    def __init__(
        self,
        networks: Sequence[nn.Sequential],
        train: Examples,
        string: String,
        stream: tuple[str | int, ...],
        *,
        precision: str = "float32",
    ):
        self.networks, self.train, self.string, self.stream = list(networks), train, string, stream
        self.epoch = self.step = 0
        self.objective: list[float] = []
        """Of each batch of the epochs done: losses of the inner points plus energies of their two springs, before they
        are pulled."""
        device = train.labels.device
        self.batches = torch.arange(len(train.labels), device=device).split(string.batch_size)
        self.current = torch.zeros(len(self.batches), dtype=torch.float64, device=device)
        """The same of this epoch, on the device, for which no step waits."""
        self.format = layout.memory_format(nn.ModuleList(self.networks), train.labels.device)
        self.precision = precision
        precisions.use(precision, train.labels.device)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.epoch >= self.string.epochs

    def run_epoch(self, pause: resumable.Pause) -> bool:
        """Go on to the end of the epoch; return False if asked to pause before."""
        if self.step == 0:
            torch.manual_seed(streams.torch_seed(*self.stream, "dropout", self.epoch))
        while self.step < len(self.batches):
            self.update(self.batches[self.step])
            self.step += 1
            if pause.requested and self.step < len(self.batches):
                return False
        self._close_epoch()
        return True

    def _close_epoch(self) -> None:
        """Take the epoch's objectives; raise DivergenceError if one, or a weight after it, is not finite."""
        objective = self.current.tolist()
        if bad := [step for step, value in enumerate(objective, start=1) if not math.isfinite(value)]:
            number = len(self.objective) + bad[0]
            raise DivergenceError(
                f"the string diverged: loss and springs of batch {number} are not finite, {self.stream}; {self._advice}"
            )
        weights = {
            f"{name} of point {point}": tensor
            for point, network in enumerate(self._inner(), start=1)
            for name, tensor in network.state_dict().items()
        }
        finite.check(weights, when=f"after epoch {self.epoch + 1} of the string, {self.stream}", advice=self._advice)
        self.objective += objective
        self.epoch, self.step = self.epoch + 1, 0

    @property
    def _advice(self) -> str:
        string = self.string
        return f"reduce its learning_rate (now {string.learning_rate:g}) or its stiffness (now {string.stiffness:g})"

    def update(self, batch: Tensor) -> None:
        """Take one step of all inner points on the images numbered `batch`."""
        images, labels = self.train.batch(batch, self.format), self.train.labels[batch]
        objective = torch.zeros((), dtype=torch.float64, device=labels.device)
        for before, network, after in zip(self.networks, self.networks[1:], self.networks[2:], strict=False):
            network.train()
            with precisions.autocast(self.precision, labels.device):
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
        self.current[self.step] = objective

    def summary(self) -> str:
        """Return the last epoch in words."""
        return f"losses and springs {self.objective[-1]:.4f}"

    def state(self) -> dict[str, Any]:
        """Return everything that a later process needs to go on from here."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "objective": self.objective,
            "current": self.current,
            "inner": [network.state_dict() for network in self._inner()],
            **resumable.random_state(self.train.labels.device),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        self.epoch, self.step, self.objective = state["epoch"], state["step"], state["objective"]
        self.current = state["current"].to(self.current.device)
        for network, values in zip(self._inner(), state["inner"], strict=True):
            network.load_state_dict(values)
        resumable.set_random_state(state, self.train.labels.device)

    def _inner(self) -> Iterator[nn.Sequential]:
        yield from self.networks[1:-1]
