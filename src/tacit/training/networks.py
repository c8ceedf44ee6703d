"""Training of a network with one logit on images that are on the device (`tacit.training.images`).

Nothing is copied back from there during an epoch. Order of batches, patches and dropout come from streams named by
seed and epoch, so that a training resumed in mid-epoch goes on as if it had never stopped.

Loss: binary cross-entropy, mean over the batch, plus `coefficient` times the long-range regulariser.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from tacit import streams
from tacit.errors import DivergenceError
from tacit.nn import layout
from tacit.nn.double_backward import adapt
from tacit.optim.long_range import Patch, regularizer
from tacit.settings.networks import Training
from tacit.training import finite, precision, resumable
from tacit.training.images import Examples

METRICS = ("train_loss", "train_accuracy", "regularization", "test_loss", "test_accuracy", "learning_rate")
"""What is recorded of every epoch. Train loss is without the regulariser; train figures are running ones."""

_EVALUATION_BATCH = 256


PatchSampler = Callable[[np.random.Generator], tuple[Patch, Patch]]


def fit(
    build: Callable[[], nn.Module],
    train: Examples,
    test: Examples,
    training: Training,
    *,
    coefficient: float,
    sample_patches: PatchSampler,
    stream: tuple[str | int, ...],
    checkpoint: str | Path,
    settings: Mapping[str, Any],
) -> dict[str, np.ndarray]:
    """Train a network and return METRICS by epoch, each (E,) float64.

    `build` makes the network from torch's global generator. Labels are 0 or 1. `stream` names the random numbers of
    this run. `settings` are everything the result depends on; a checkpoint of others is refused. Raises DivergenceError
    with the step at which the loss stopped being finite, Interrupted after SIGTERM or Ctrl-C.
    """
    device = train.labels.device
    torch.manual_seed(streams.torch_seed(*stream, "init"))
    loop = Loop(build().to(device), train, test, training, coefficient, sample_patches, stream)
    resumable.run(loop, epochs=training.epochs, checkpoint=checkpoint, settings=settings, by_time=False)
    return {name: np.array(values) for name, values in loop.history.items()}


class Loop:
    """A training under way; `fit` runs it to its end and `run_epoch` to the end of an epoch."""

    def __init__(self, model, train, test, training, coefficient, sample_patches, stream):
        self.train, self.test, self.training, self.stream = train, test, training, stream
        self.coefficient, self.sample_patches = coefficient, sample_patches
        device = train.labels.device
        precision.use(training.precision, device)
        self.format = layout.memory_format(model, device, channels_last=training.channels_last)
        self.model = model.to(memory_format=self.format)
        self.dtype = next(model.parameters()).dtype
        if coefficient > 0:
            adapt(self.model)
        # A compiled network cannot be differentiated twice, so only plain training is compiled.
        self.forward = precision.compiled(self.model) if training.compile and coefficient == 0 else self.model
        self.optimizer = _make_optimizer(self.model, training)
        self.epoch = self.step = self.perfect = 0
        self.history: dict[str, list[float]] = {name: [] for name in METRICS}
        # Sums over the epoch of loss, correct answers and regulariser, each times the batch size,
        # and the first step whose loss was not finite.
        self.sums = torch.zeros(3, dtype=torch.float64, device=device)
        self.first_bad = torch.full((), math.inf, dtype=torch.float64, device=device)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or train accuracy has been perfect for long enough."""
        return self.epoch >= self.training.epochs or self.perfect > self.training.perfect_epochs

    def run_epoch(self, pause: resumable.Pause) -> bool:
        """Go on to the end of the epoch; return False if asked to pause before."""
        train, size = self.train, self.training.batch_size
        order = streams.numpy_generator(*self.stream, "order", self.epoch).permutation(len(train.labels))
        batches = torch.from_numpy(order).to(train.labels.device).split(size)
        patches = streams.numpy_generator(*self.stream, "patches", self.epoch)
        pairs = [self.sample_patches(patches) if self.coefficient > 0 else None for _ in batches]
        if self.step == 0:
            torch.manual_seed(streams.torch_seed(*self.stream, "dropout", self.epoch))
        self.model.train()
        while self.step < len(batches):
            if pause.requested:
                return False
            self.update(batches[self.step], pairs[self.step])
            self.step += 1
        self._close_epoch()
        return True

    def update(self, batch: Tensor, pair: tuple[Patch, Patch] | None) -> None:
        """Take one step on the images numbered `batch`, with the regulariser on `pair` if there is one."""
        images = self.train.batch(batch, self.format).to(self.dtype)
        with self._autocast():
            logits = _full(self.forward(images.requires_grad_(pair is not None)))
            labels = self.train.labels[batch].to(logits.dtype)
            loss = objective = binary_cross_entropy_with_logits(logits, labels)
            if pair is not None:
                penalty = regularizer(self.forward, images, logits, *pair)
                objective = loss + self.coefficient * penalty
        self.optimizer.zero_grad()
        objective.backward()
        self.optimizer.step()
        with torch.no_grad():
            correct = ((logits > 0) == (labels > 0.5)).double().mean()
            penalty = torch.zeros_like(loss) if pair is None else penalty
            self.sums += len(batch) * torch.stack([loss.double(), correct, penalty.double()])
            now_bad = torch.where(torch.isfinite(objective), math.inf, float(self.step))
            self.first_bad = torch.minimum(self.first_bad, now_bad)

    def _close_epoch(self) -> None:
        steps = self.step
        first_bad = self.first_bad.item()
        if math.isfinite(first_bad):
            step = self.epoch * steps + int(first_bad)
            raise DivergenceError(
                f"training diverged: the loss of step {step} (epoch {self.epoch + 1}) is not finite, with coefficient "
                f"{self.coefficient:g}, {self.stream}; {self._advice}"
            )
        loss, accuracy, penalty = (self.sums / len(self.train.labels)).tolist()
        test_loss, test_accuracy = self._evaluate(self.test)
        values = (loss, accuracy, penalty, test_loss, test_accuracy, self.optimizer.param_groups[0]["lr"])
        row = dict(zip(METRICS, values, strict=True))
        # The state too: the last step may do harm that shows in no loss, as statistics of infinite variance do.
        finite.check(
            row | self.model.state_dict(),
            when=f"after epoch {self.epoch + 1} ({(self.epoch + 1) * steps} steps), with coefficient "
            f"{self.coefficient:g}, {self.stream}",
            advice=self._advice,
        )
        for name, value in row.items():
            self.history[name].append(value)
        self.perfect = self.perfect + 1 if accuracy >= 1 else 0
        self.epoch, self.step = self.epoch + 1, 0
        self.sums.zero_()

    @property
    def _advice(self) -> str:
        return f"reduce learning_rate (now {self.training.learning_rate:g}) or the coefficient"

    @torch.no_grad()
    def _evaluate(self, data: Examples) -> tuple[float, float]:
        self.model.eval()
        sums = torch.zeros(2, dtype=torch.float64, device=data.labels.device)
        numbers = torch.arange(len(data.labels), device=data.labels.device)
        for batch in numbers.split(_EVALUATION_BATCH):
            with self._autocast():
                logits = _full(self.model(data.batch(batch, self.format).to(self.dtype)))
            labels = data.labels[batch].to(logits.dtype)
            loss = binary_cross_entropy_with_logits(logits, labels, reduction="sum")
            sums += torch.stack([loss.double(), ((logits > 0) == (labels > 0.5)).double().sum()])
        loss, accuracy = (sums / len(data.labels)).tolist()
        return loss, accuracy

    def summary(self) -> str:
        """Return the last epoch in words."""
        last = {name: values[-1] for name, values in self.history.items()}
        return (
            f"train loss {last['train_loss']:.4f}, accuracy {last['train_accuracy']:.4f}, "
            f"regularization {last['regularization']:.4f}, test accuracy {last['test_accuracy']:.4f}"
        )

    def _autocast(self) -> torch.autocast:
        return precision.autocast(self.training.precision, self.train.labels.device)

    def state(self) -> dict[str, Any]:
        """Return everything that a later process needs to go on from here."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "perfect": self.perfect,
            "history": self.history,
            "sums": self.sums,
            "first_bad": self.first_bad,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            **resumable.random_state(self.sums.device),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        self.epoch, self.step, self.perfect = state["epoch"], state["step"], state["perfect"]
        self.history = state["history"]
        device = self.sums.device
        self.sums, self.first_bad = state["sums"].to(device), state["first_bad"].to(device)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        resumable.set_random_state(state, device)


def _full(logits: Tensor) -> Tensor:
    """Return logits in single precision at least: what was computed in half is widened, and nothing narrowed."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _make_optimizer(model: nn.Module, training: Training) -> torch.optim.Optimizer:
    shared = {"lr": training.learning_rate, "weight_decay": training.weight_decay, "fused": True}
    if training.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), **shared)
    return torch.optim.SGD(model.parameters(), momentum=training.momentum, **shared)
