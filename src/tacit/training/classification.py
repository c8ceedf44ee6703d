"""Training of a network of several classes by plain SGD at a constant rate, measured and kept at chosen epochs.

Loss: cross-entropy, mean over the batch. Batches have the order of the data in every epoch, or one from a stream named
by the run and the epoch, so that a training resumed in mid-epoch goes on as if it had never stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tacit import checkpoints, streams
from tacit.errors import DivergenceError
from tacit.nn import layout
from tacit.settings.untied import Sgd
from tacit.training import finite, precision, resumable
from tacit.training.images import Examples
from tacit.training.keeping import Keeper, Kept

Measure = Callable[[nn.Module], Mapping[str, Any]]


class Trained(NamedTuple):
    """What is left of a training."""

    steps: dict[str, np.ndarray]
    """loss and accuracy of the batch before each step, (steps,)"""
    measures: list[dict[str, np.ndarray]]
    """What was measured and the `epoch`, an entry for each epoch asked for."""
    weights: dict[int, dict[str, Kept | Tensor]]
    """State of the network at the epochs asked for: on the CPU at the last epoch, before it on disk until it is used
    (`numpy()` of either returns its numbers)."""


def fit(
    network: nn.Module,
    train: Examples,
    sgd: Sgd,
    *,
    learning_rate: float,
    epochs: int,
    measure: Measure,
    measured: Collection[int],
    kept: Collection[int],
    stream: tuple[str | int, ...],
    checkpoint: str | Path,
    settings: Mapping[str, Any],
) -> Trained:
    """Train `network`; epochs count from 0, the network as it is given.

    `settings` are everything the result depends on; a checkpoint of others is refused. Raises DivergenceError with the
    step at which the loss stopped being finite, Interrupted after SIGTERM or Ctrl-C.
    """
    keeper = Keeper(checkpoints.kept_of(checkpoint))
    loop = Loop(network, train, sgd, learning_rate, epochs, measure, measured, kept, stream, keeper)
    resumable.run(loop, epochs=epochs, checkpoint=checkpoint, settings=settings, by_time=True)
    return loop.trained()


class Loop:
    """A training under way."""

    def __init__(self, network, train, sgd, learning_rate, epochs, measure, measured, kept, stream, keeper):
        # Convolutions are a quarter quicker with channels last, and locally connected layers need them so.
        self.format = layout.memory_format(network, train.labels.device)
        self.network, self.train, self.sgd = network.to(memory_format=self.format), train, sgd
        self.learning_rate, self.epochs = learning_rate, epochs
        self.measure, self.measured, self.kept, self.stream = measure, set(measured), set(kept), stream
        self.optimizer = torch.optim.SGD(network.parameters(), lr=learning_rate)
        self.epoch = self.step = 0
        self.measures: list[dict[str, Any]] = []
        self.keeper = keeper
        self.batches = -(-len(train.labels) // sgd.batch_size)
        self.history: list[Tensor] = []
        """(2, steps) of each epoch"""
        self.current = torch.zeros(2, self.batches, dtype=torch.float64, device=train.labels.device)
        precision.use(sgd.precision, train.labels.device)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.epoch >= self.epochs

    def run_epoch(self, pause: resumable.Pause) -> bool:
        """Go on to the end of the epoch; return False if asked to pause before."""
        batches = self._order().split(self.sgd.batch_size)
        if self.epoch == self.step == 0 and not (self.measures or 0 in self.keeper):
            self.look()
        if self.step == 0:
            torch.manual_seed(streams.torch_seed(*self.stream, "dropout", self.epoch))
        self.network.train()
        while self.step < len(batches):
            self.update(batches[self.step])
            self.step += 1
            if pause.requested and self.step < len(batches):
                return False
        self._close_epoch()
        return True

    def _order(self) -> Tensor:
        count, device = len(self.train.labels), self.train.labels.device
        if self.sgd.order == "fixed":
            return torch.arange(count, device=device)
        shuffled = streams.numpy_generator(*self.stream, "order", self.epoch).permutation(count)
        return torch.from_numpy(shuffled).to(device)

    def update(self, batch: Tensor) -> None:
        """Take one step on the images numbered `batch`."""
        labels = self.train.labels[batch]
        with precision.autocast(self.sgd.precision, labels.device):
            logits = self.network(self.train.batch(batch, self.format))
            loss = cross_entropy(logits, labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            self.current[0, self.step] = loss
            self.current[1, self.step] = (logits.argmax(1) == labels).double().mean()

    def _close_epoch(self) -> None:
        steps = self.current.cpu()
        if bad := torch.nonzero(~torch.isfinite(steps).all(0)).flatten().tolist():
            step = self.epoch * self.batches + bad[0]
            raise self._diverged(f"the loss of step {step} (epoch {self.epoch + 1}) is not finite")
        self.history.append(steps.clone())
        self.epoch, self.step = self.epoch + 1, 0
        self.look()

    def _diverged(self, what: str) -> DivergenceError:
        advice = f"reduce the learning rate (now {self.learning_rate:g})"
        return DivergenceError(f"training diverged: {what}, {self.stream}; {advice}")

    def look(self) -> None:
        """Measure and keep the network as it is, if its epoch is one to do that at."""
        if self.epoch in self.measured:
            found = {"epoch": self.epoch} | dict(self.measure(self.network))
            tensors = {name: torch.as_tensor(value, dtype=torch.float64) for name, value in found.items()}
            if bad := finite.first_bad(tensors):
                raise self._diverged(f"after epoch {self.epoch}, {bad} is not finite")
            self.measures.append(tensors)
        if (self.epoch in self.kept or self.finished) and (bad := finite.first_bad(self.network.state_dict())):
            raise self._diverged(f"after epoch {self.epoch}, {bad} is not finite")
        # At the last epoch the network itself is what is kept.
        if self.epoch in self.kept and self.epoch < self.epochs:
            self.keeper.keep(self.epoch, self.network.state_dict())

    def summary(self) -> str:
        """Return the last epoch in words."""
        loss, accuracy = self.history[-1].mean(1).tolist()
        return f"train loss {loss:.4f}, accuracy {accuracy:.4f}"

    def trained(self) -> Trained:
        """Return what is left of the training."""
        loss, accuracy = torch.cat(self.history, 1).numpy()
        measures = [{name: value.numpy() for name, value in row.items()} for row in self.measures]
        weights: dict[int, dict[str, Kept | Tensor]] = dict(self.keeper.states)
        if self.epochs in self.kept:
            state = self.network.state_dict()
            weights[self.epochs] = {name: tensor.detach().cpu() for name, tensor in state.items()}
        return Trained({"step_loss": loss, "step_accuracy": accuracy}, measures, weights)

    def state(self) -> dict[str, Any]:
        """Return everything that a later process needs to go on from here."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "measures": self.measures,
            "kept": self.keeper.state(),
            "history": self.history,
            "current": self.current,
            "network": self.network.state_dict(),
            **resumable.random_state(self.current.device),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`; raises checkpoints.Damaged, before anything changed, if what was kept is not."""
        self.keeper.load_state(state["kept"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.measures, self.history = state["measures"], state["history"]
        self.current = state["current"].to(self.current.device)
        self.network.load_state_dict(state["network"])
        resumable.set_random_state(state, self.current.device)
