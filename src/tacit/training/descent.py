"""Gradient descent on factorizations.

All parameters of a model lie in one vector and all gradients in another, so that a step is a few matrix products
(`tacit.training.gradients`), one squared norm and one update. After Razin, Cohen 2020 and Razin, Maman, Cohen 2022:
full batches unless a batch size is given, group RMSprop or SGD, an evaluation every so many epochs, and an end once
enough evaluations in a row found the observations fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tacit import checkpoints
from tacit.events import Events
from tacit.nn.factorizations import Factorization
from tacit.optim.group_rmsprop import AdaptiveRate, ResidentRate
from tacit.runlog import log
from tacit.settings.factorizations import Descent
from tacit.settings.following import Keep
from tacit.training import finite, precision, resumable
from tacit.training.batches import Batches
from tacit.training.gradients import structured_gradient
from tacit.training.keeping import Keeper, named
from tacit.training.observations import Observations
from tacit.training.stopping import Stalling

Measure = Callable[[Factorization, Tensor], Mapping[str, Tensor]]
"""Returns quantities by name from a model and its end tensor."""

Follow = Callable[[int, Tensor], Mapping[str, np.generic]]
"""Returns quantities by name from the number of an evaluation, from 1, and the end tensor; always the same names."""

_EAGER_STEPS = 3
"""Before one is recorded, so that libraries have set themselves up."""


def descend(
    model: Factorization,
    observed: Observations,
    descent: Descent,
    *,
    measure: Measure,
    follow: Follow | None = None,
    stream: tuple[str | int, ...],
    checkpoint: str | Path,
    settings: Mapping[str, Any],
    keep: Keep = "none",
) -> dict[str, Any]:
    """Fit `model` to what is observed; return its history, one row an evaluation.

    The model must lie on the device of the observations and in their precision. Rows hold, besides what `measure` and
    `follow` return for the model as it then is: `iterations` done, and of the last of them, before its step,
    `train_loss`, `train_mse` and the mean and greatest size of predictions, `train_prediction_mean` and
    `train_prediction_max`. With them are the parameters after the epochs that `keep` says, weights_<epoch>_<name>, of
    which NumPy makes arrays; those of every evaluation are read from the disk then. `stream` names the random order of
    mini-batches. `settings` are everything the result depends on; a checkpoint of others is refused. Raises
    DivergenceError once something measured is not finite, Interrupted after SIGTERM or Ctrl-C.
    """
    keeper = Keeper(checkpoints.kept_of(checkpoint)) if keep == "every evaluation" else None
    loop = Loop(model, observed, descent, measure=measure, follow=follow, stream=stream, keeper=keeper)
    resumable.run(
        loop,
        epochs=descent.epochs,
        checkpoint=checkpoint,
        settings=settings,
        by_time=True,
        longer=resumable.Longer(("descent.epochs",)),
        what="descent, at most",
    )
    log.info("ended after %d epochs: %s", loop.epoch, loop.ended)
    found: dict[str, Any] = {name: np.stack(rows) for name, rows in loop.history.items()}
    states: Mapping[int, Mapping[str, Any]] = {} if keeper is None else keeper.states
    if keep == "last epoch":
        # Which one it is shows at the end, as the descent may stop early.
        states = {loop.epoch: {name: tensor.cpu().numpy() for name, tensor in model.state_dict().items()}}
    return found | named(states)


class Loop:
    """A descent under way; `advance` runs it to its next evaluation.

    It moves the parameters of `model` into one vector, of which they are parts from then on. `keeper` takes them at the
    start and at every evaluation.
    """

    def __init__(
        self,
        model: Factorization,
        observed: Observations,
        descent: Descent,
        *,
        measure: Measure,
        follow: Follow | None = None,
        stream: tuple[str | int, ...],
        keeper: Keeper | None = None,
    ):
        self.model, self.observed, self.descent = model, observed, descent
        self.measure, self.follow, self.stream, self.keeper = measure, follow, stream, keeper
        # Products of single precision are never shortened, and sums have one order.
        precision.use("float32", observed.values.device)
        self.parameters, values = _flatten(model)
        self.gradient = torch.zeros_like(self.parameters)
        self.structure = structured_gradient(model, values, _parts(self.gradient, values))
        self.velocity = torch.zeros_like(self.parameters)
        settings = {"learning_rate": descent.learning_rate, "decay": descent.decay, "epsilon": descent.epsilon}
        device = self.parameters.device
        # On a GPU the rate stays there, so that nobody waits for it.
        resident = device.type != "cpu"
        self.rate = ResidentRate(**settings, device=device) if resident else AdaptiveRate(**settings)
        self.records = device.type == "cuda" and descent.batch_size == 0
        """Whether a step is recorded once and then replayed: the same operations on the same memory."""
        self._recording: torch.cuda.CUDAGraph | None = None
        size = descent.batch_size
        self.batches = Batches(len(observed), size, stream) if size else None
        self.events = Events()
        self.epoch = self.iterations = self.fitted = 0
        self.stalling = None if descent.early_stopping is None else Stalling(descent.early_stopping)
        self.history: dict[str, list[np.ndarray]] = {}

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or enough evaluations in a row found it fitted, or no better."""
        return bool(self.ended)

    @property
    def ended(self) -> str:
        """Why nothing is left to do; empty if something is."""
        if self.fitted > self.descent.patience:
            return "fitted"
        if self.stalling is not None and self.stalling.is_over:
            return f"{self.stalling.rule.by.replace('_', ' ')} got no better"
        return "as many epochs as allowed" if self.epoch >= self.descent.epochs else ""

    @property
    def place(self) -> str:
        """Where the descent is, in words."""
        return f"after {self.epoch} epochs"

    @torch.no_grad()
    def advance(self, pause: resumable.Pause = resumable.NEVER) -> bool:
        """Continue to the next evaluation, and evaluate; return False if asked to pause before."""
        if self.epoch == 0:
            self._keep()
        every = self.descent.evaluate_every
        last = min(self.epoch - self.epoch % every + every, self.descent.epochs)
        while self.epoch < last - 1:
            for batch in self._batches():
                self._take(batch)
            self.epoch += 1
            # When it is only time to save, the next evaluation is near enough.
            if pause.termination.requested:
                return False
        losses = [self._watched_step(batch) for batch in self._batches()]
        self.epoch += 1
        self._evaluate(losses)
        return True

    def summary(self) -> str:
        """Return the last evaluation in words."""
        return f"train loss {self.history['train_loss'][-1]:.3g}"

    def _take(self, batch: Observations) -> None:
        """Compute the end tensor and take one step; once recorded, by replaying that."""
        if self._recording is not None:
            self._recording.replay()
            self.iterations += 1
            return
        self.structure.forward()
        self.step(batch)
        if self.records and self.iterations >= _EAGER_STEPS:
            self._recording = self._record(batch)

    def _record(self, batch: Observations) -> torch.cuda.CUDAGraph:
        """Record what a step launches, without taking one: launching thirty small kernels takes longer than they do."""
        recording = torch.cuda.CUDAGraph()
        with torch.cuda.device(self.parameters.device), torch.cuda.graph(recording):
            self.structure.forward()
            self._launch(batch)
        return recording

    def step(self, batch: Observations) -> None:
        """Take one step on `batch`, from the end tensor as it is in `structure`."""
        self._launch(batch)
        self.iterations += 1

    def _launch(self, batch: Observations) -> None:
        structure, parameters, gradient, descent = self.structure, self.parameters, self.gradient, self.descent
        batch.gradient(structure.end, structure.end_gradient)
        structure.backward()
        if descent.weight_decay:
            gradient.add_(parameters, alpha=descent.weight_decay)
        if descent.optimizer == "sgd":
            if descent.momentum:
                gradient = self.velocity.mul_(descent.momentum).add_(gradient)
            parameters.add_(gradient, alpha=-descent.learning_rate)
            return
        squared = torch.dot(gradient, gradient)
        if isinstance(self.rate, ResidentRate):
            parameters.addcmul_(gradient, self.rate(squared), value=-1)
        else:
            parameters.add_(gradient, alpha=-self.rate(squared.item()))

    def _watched_step(self, batch: Observations) -> tuple[int, Tensor, Tensor, Tensor]:
        """Take one step on `batch`; return its size, and before the step loss, mean squared error, predictions."""
        self.structure.forward()
        predictions = batch.predictions(self.structure.end)
        residuals = predictions - batch.values
        self.step(batch)
        return len(batch), batch.loss.mean(residuals), residuals.square().mean(), predictions.abs()

    def _batches(self) -> Iterator[Observations]:
        if self.batches is None:
            yield self.observed
            return
        for rows in self.batches.of_epoch(self.epoch, self.observed.values.device):
            yield self.observed.subset(rows)

    def _evaluate(self, losses: list[tuple[int, Tensor, Tensor, Tensor]]) -> None:
        total = sum(size for size, *_ in losses)
        loss = reduce(torch.add, [size * mean for size, mean, _, _ in losses]) / total
        error = reduce(torch.add, [size * mean for size, _, mean, _ in losses]) / total
        predicted = torch.cat([predictions for *_, predictions in losses])
        self.structure.forward()
        end = self.structure.end
        # Before anything is decomposed, which fails in its own way on what is not finite. If a parameter is not finite,
        # the end tensor is not, as each is a factor of it.
        self._check({"loss": loss, "end_tensor": torch.linalg.vector_norm(end)})
        row: dict[str, Tensor | np.generic] = {
            "iterations": np.int64(self.iterations),
            "train_loss": loss,
            "train_mse": error,
            "train_prediction_mean": predicted.mean(),
            "train_prediction_max": predicted.max(),
            **self.measure(self.model, end),
        }
        if self.follow is not None:
            row |= self.follow(len(self.history.get("iterations", ())) + 1, end)
        arrays = _to_host(row)
        self._check(arrays)
        for name, value in arrays.items():
            self.history.setdefault(name, []).append(value)
        fitted = self.history["train_mse"][-1] < self.descent.tolerance
        self.fitted = self.fitted + 1 if fitted else 0
        self.events.write(
            self.epoch, {f"measured/{name}": float(value) for name, value in arrays.items() if not value.ndim}
        )
        if self.stalling is not None:
            self.stalling.see(self.epoch, float(self.history[self.stalling.rule.by][-1]))
        self._keep()

    def _keep(self) -> None:
        if self.keeper is not None:
            self.keeper.keep(self.epoch, self.model.state_dict())

    def _check(self, values: Mapping[str, Any]) -> None:
        """Raise DivergenceError if one of the values is not finite."""
        run, rate = " ".join(map(str, self.stream)), self.descent.learning_rate
        finite.check(
            values,
            when=f"after {self.iterations} iterations of {run}, with learning_rate {rate:g}",
            advice="lower the learning rate or the scale of initialisation",
        )

    def state(self) -> dict[str, Any]:
        """Return everything that a later process needs to continue from here."""
        return {
            "epoch": self.epoch,
            "iterations": self.iterations,
            "fitted": self.fitted,
            "parameters": self.parameters,
            "velocity": self.velocity,
            "rate": self.rate.state(),
            "history": {name: torch.from_numpy(np.stack(rows)) for name, rows in self.history.items()},
            **({} if self.keeper is None else {"kept": self.keeper.state()}),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`; raises checkpoints.Damaged, before anything changed, if what was kept is damaged."""
        if self.keeper is not None:
            self.keeper.load_state(state["kept"])
        self.epoch, self.iterations, self.fitted = state["epoch"], state["iterations"], state["fitted"]
        self.parameters.copy_(state["parameters"])
        self.velocity.copy_(state["velocity"])
        self.rate.load_state(state["rate"])
        self.history = {name: list(rows.cpu().numpy()) for name, rows in state["history"].items()}
        if self.stalling is not None:
            every = self.descent.evaluate_every
            for number, value in enumerate(self.history.get(self.stalling.rule.by, []), start=1):
                self.stalling.see(min(number * every, self.epoch), float(value))

    def obstacle(self, state: Mapping[str, Any]) -> str:
        """Return why what ended as `state`, after fewer epochs, cannot go on as this descent; empty if it can."""
        if state["epoch"] % self.descent.evaluate_every:
            return f"it was evaluated after epoch {state['epoch']}, where a longer one is not"
        return ""

    def go_on(self) -> None:
        """Do nothing: where an evaluation is due, the end is like any."""


def _to_host(row: Mapping[str, Tensor | np.generic]) -> dict[str, np.ndarray]:
    """Return copies of tensors as arrays; those on a device come in one piece, for which it is waited once."""
    tensors = {name: value.detach() for name, value in row.items() if isinstance(value, Tensor)}
    if all(tensor.device.type == "cpu" for tensor in tensors.values()):
        arrays = {name: tensor.numpy().copy() for name, tensor in tensors.items()}
    else:
        arrays = _in_one_piece(tensors)
    return {name: arrays[name] if name in arrays else np.asarray(value) for name, value in row.items()}


def _in_one_piece(tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    # Double precision holds single precision, and whole numbers up to 2^53, as they are.
    whole = torch.cat([tensor.reshape(-1).double() for tensor in tensors.values()]).cpu()
    parts = whole.split([tensor.numel() for tensor in tensors.values()])
    return {
        name: part.to(tensor.dtype).view(tensor.shape).numpy()
        for (name, tensor), part in zip(tensors.items(), parts, strict=True)
    }


@torch.no_grad()
def _flatten(model: Factorization) -> tuple[Tensor, list[Tensor]]:
    """Move all parameters of `model` into one vector; return it and its parts."""
    parameters = list(model.parameters())
    flat = torch.cat([parameter.reshape(-1) for parameter in parameters])
    parts = _parts(flat, parameters)
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.data = part
    return flat, parts


def _parts(flat: Tensor, shaped: Sequence[Tensor]) -> list[Tensor]:
    """Return views of parts of a vector, one after the other, with the shapes of `shaped`."""
    lengths = [tensor.numel() for tensor in shaped]
    return [part.view_as(tensor) for part, tensor in zip(flat.split(lengths), shaped, strict=True)]
