"""The one engine that trains networks.

A training is put together from parts: batches (`tacit.training.batches`), a way to take a step on one (`Step`; mostly
`Minimize`, an optimizer on an objective), what is measured at which epochs, at which epochs weights are kept, and a
rule of stopping. The engine runs them, looks for what is not finite, and can be saved and continued between any two
steps. Nothing is copied back from the device during an epoch.

Epochs count from 0, the network as it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from tacit.errors import DivergenceError
from tacit.events import Events
from tacit.nn import layout
from tacit.settings.networks import EarlyStopping, Followed
from tacit.training import finite, resumable
from tacit.training import precision as precisions
from tacit.training.batches import Drawn
from tacit.training.images import Examples
from tacit.training.keeping import Best, Keeper, Kept, named
from tacit.training.objectives import Objective
from tacit.training.stopping import Stalling

Measure = Callable[[], Mapping[str, Any]]
"""Returns quantities by name, of what is trained as it now is."""


class AfterStep(Protocol):
    """What is done to a network after each step of its optimizer, or noted of it."""

    @property
    def columns(self) -> tuple[str, ...]:
        """What is noted of each step."""
        ...

    def __call__(self, step: int) -> Tensor:
        """Act after step `step` of the whole training, from 0; return `columns`, without waiting for the device."""
        ...


class Step(Protocol):
    """Something that learns, a batch at a time."""

    @property
    def columns(self) -> tuple[str, ...]:
        """What is recorded of each step; `loss` and the like, from before the step.

        Those that begin with an underscore are written down, but not told.
        """
        ...

    @property
    def network(self) -> nn.Module:
        """All that learns."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it learns."""
        ...

    def begin(self, epoch: int, steps: int) -> None:
        """Draw what the steps of an epoch need."""
        ...

    def take(self, step: int, numbers: Any) -> Tensor:
        """Take step `step` of the epoch on the examples with these numbers; return its `columns`, float64."""
        ...

    def state(self) -> dict[str, Any]:
        """Return everything that a later process needs to continue from here."""
        ...

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        ...


class Minimize:
    """Steps of an optimizer on an objective, of images or sentences from `data`.

    `optimizer` is one over the parameters of `network`, which is moved to the order in memory that suits it. `rate`
    gives the learning rate from the time in epochs; without it that of the optimizer stays. `decays` are called before
    each step of the optimizer, one after the other, to add to the gradients or, the last, to clip them, and `after`
    after it. A compiled network cannot be differentiated twice.
    """

    def __init__(
        self,
        network: nn.Module,
        data: Examples,
        objective: Objective,
        optimizer: torch.optim.Optimizer,
        *,
        precision: str = "float32",
        channels_last: bool = True,
        compile: bool = False,
        rate: Callable[[float], float] | None = None,
        decays: Sequence[Callable[[], None]] = (),
        after: AfterStep | None = None,
    ):
        self.data, self.objective, self.optimizer = data, objective, optimizer
        self.precision, self.rate, self.decays, self.after = precision, rate, decays, after
        self.device = data.labels.device
        self.columns = objective.columns + (() if after is None else after.columns)
        precisions.use(precision, self.device)
        # Convolutions are a quarter quicker with channels last, and locally connected layers need them so.
        self.format = layout.memory_format(network, self.device, channels_last=channels_last)
        self.network = network.to(memory_format=self.format)
        self.forward = precisions.compiled(self.network) if compile else self.network
        self.dtype = next(network.parameters()).dtype
        self.drawn: Sequence[Any] = ()
        self.epoch = 0

    def begin(self, epoch: int, steps: int) -> None:
        """Draw what the steps of an epoch need."""
        self.epoch, self.drawn = epoch, self.objective.draw(epoch, steps)
        self.data.begin(epoch)

    def take(self, step: int, numbers: Any) -> Tensor:
        """Take a step; return what the objective records of it."""
        inputs, labels = self.data.batch(numbers, self.format), None
        if isinstance(inputs, Tensor):
            inputs, labels = inputs.to(self.dtype), self.data.labels[numbers]
        with precisions.autocast(self.precision, self.device):
            value = self.objective(self.forward, inputs, labels, self.drawn[step])
        if self.rate is not None:
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate(self.epoch + step / len(self.drawn))
        self.optimizer.zero_grad()
        value.scalar.backward()
        for decay in self.decays:
            decay()
        self.optimizer.step()
        found = torch.stack([recorded.detach().double() for recorded in value.recorded])
        if self.after is None:
            return found
        return torch.cat([found, self.after(self.epoch * len(self.drawn) + step).double()])

    def state(self) -> dict[str, Any]:
        """Return the states of network and optimizer."""
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])


class Engine:
    """A training under way; `resumable.run` runs it to its end.

    `run` and `advice` are words for an error: which run this is, and what to change if it diverges. `measure` is called
    at the epochs in `measured`, weights are kept in `keeper` at those in `kept` (the last epoch excepted, whose weights
    are those of the network itself, kept if it is among them or `keeps_last`), with what `keeps` returns if it is
    given, and in `best` those with which something that is measured, or a mean over the epoch (`train_loss`), is best.
    The training ends after `epochs`, or once `stops` says so, given the engine.
    """

    def __init__(
        self,
        step: Step,
        batches: Drawn,
        *,
        epochs: int,
        run: str,
        advice: str,
        measure: Measure | None = None,
        measured: Collection[int] = (),
        kept: Collection[int] = (),
        keeper: Keeper | None = None,
        keeps: Callable[[], Mapping[str, Tensor]] | None = None,
        keeps_last: bool = False,
        best: Best | None = None,
        stops: Callable[[Engine], bool] | None = None,
    ):
        self.moving, self.batches, self.epochs = step, batches, epochs
        self.run, self.advice = run, advice
        self.measure, self.measured, self.kept, self.keeper = measure, measured, kept, keeper
        self.keeps, self.keeps_last = keeps or dict, keeps_last
        self.best, self.stops = best, stops
        self.events = Events()
        self.epoch = self.step = 0
        self.rows: list[Tensor] = []
        """What the steps of each epoch done recorded: (steps, columns) float64, on the CPU."""
        self.current = torch.zeros(batches.steps, len(step.columns), dtype=torch.float64, device=step.device)
        """The same of this epoch, on the device, for which no step waits."""
        self.means: list[dict[str, float]] = []
        """Means over the examples, or tokens, of each epoch done."""
        self.measures: list[dict[str, Tensor]] = []
        """What was measured, float64, with its `epoch`."""

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or the rule of stopping says so."""
        return self.epoch >= self.epochs or (self.stops is not None and self.stops(self))

    @property
    def place(self) -> str:
        """Where the training is, in words."""
        return f"after {self.step} steps of epoch {self.epoch + 1}"

    def advance(self, pause: resumable.Pause = resumable.NEVER) -> bool:
        """Continue to the end of the epoch; return False if asked to pause before, but not without a step done."""
        step = self.moving
        batches = self.batches.of_epoch(self.epoch, step.device)
        if self.epoch == self.step == 0:
            self.look()
        step.begin(self.epoch, self.batches.steps)
        if self.step == 0:
            self.batches.seed_dropout(self.epoch)
        step.network.train()
        while self.step < len(batches):
            self.current[self.step] = step.take(self.step, batches[self.step])
            self.step += 1
            if pause.requested and self.step < len(batches):
                return False
        self._close_epoch()
        return True

    def _close_epoch(self) -> None:
        """Take what the steps recorded; raises DivergenceError for the first that is not finite."""
        rows = self.current[: self.step].to("cpu", copy=True)
        if bad := torch.nonzero(~torch.isfinite(rows)).tolist():
            step, column = bad[0]
            name = self.moving.columns[column].strip("_").replace("_", " ")
            raise DivergenceError(
                f"training diverged: the {name} of step {self.epoch * self.batches.steps + step} "
                f"(epoch {self.epoch + 1}) is not finite, {self.run}; {self.advice}"
            )
        self._note(rows)
        self.epoch, self.step = self.epoch + 1, 0
        self.look()
        self.events.write(self.epoch, self.scalars())

    def _note(self, rows: Tensor) -> None:
        weights = self.batches.weights(len(self.rows))
        self.rows.append(rows)
        columns = zip(self.moving.columns, rows.unbind(1), strict=True)
        # One after the other, which is one order on every machine.
        self.means.append(
            {
                name: sum(weight * value for weight, value in zip(weights, column.tolist(), strict=True)) / sum(weights)
                for name, column in columns
            }
        )

    def look(self) -> None:
        """Measure and keep what is trained as it is, if its epoch is one to do that at.

        Raises DivergenceError if a measure or a weight is not finite. The last step may do harm that shows in no loss,
        as statistics of infinite variance do.
        """
        when = f"after epoch {self.epoch} ({sum(map(len, self.rows))} steps), {self.run}"
        # Before they are measured, which not everything that is infinite can be.
        state = self.moving.network.state_dict()
        finite.check(state, when=when, advice=self.advice)
        # Where the training ends early there is a look besides.
        ends_here = self.stops is not None and self.stops(self)
        if self.measure is not None and (self.epoch in self.measured or ends_here):
            found = {"epoch": self.epoch, **self.measure()}
            tensors = {name: torch.as_tensor(value, dtype=torch.float64) for name, value in found.items()}
            finite.check(tensors, when=when, advice=self.advice)
            self.measures.append(tensors)
        self._keep(state)
        if self.best is not None and self.measures and self.measures[-1]["epoch"] == self.epoch:
            means = {f"train_{name}": value for name, value in self.means[-1].items()} if self.means else {}
            self.best.offer(self.epoch, {**means, **self.measures[-1]}, state)

    def _keep(self, state: Mapping[str, Tensor]) -> None:
        """Put weights on the disk, but for those of the last epoch, if they are to be kept."""
        if self.keeper is not None and self.epoch in self.kept and not self.finished:
            self.keeper.keep(self.epoch, {**state, **self.keeps()})

    def summary(self) -> str:
        """Return the last epoch in words."""
        words = [f"{name} {value:.4f}" for name, value in self.means[-1].items() if not name.startswith("_")]
        last = self.measures[-1] if self.measures else {}
        if last and last["epoch"] == self.epoch:
            told = (name for name in ("test_accuracy", "valid_loss") if name in last)
            words += [f"{name.replace('_', ' ')} {last[name].item():.4f}" for name in told]
        return "train " + ", ".join(words)

    def scalars(self) -> dict[str, float]:
        """Return means over the last epoch, and what was measured after it that is one number."""
        found = {f"train/{name.strip('_')}": value for name, value in self.means[-1].items()}
        last = self.measures[-1] if self.measures else {}
        if last and last["epoch"] == self.epoch:
            found |= {
                f"measured/{name}": value.item() for name, value in last.items() if name != "epoch" and value.ndim == 0
            }
        return found

    def column(self, name: str) -> np.ndarray:
        """Return what all steps recorded under `name`, (steps,) float64."""
        which = self.moving.columns.index(name)
        return torch.cat([rows[:, which] for rows in self.rows]).numpy() if self.rows else np.empty(0)

    def measured_arrays(self) -> dict[str, np.ndarray]:
        """Return all that was measured, one row a measurement, float64."""
        return {name: np.stack([row[name].numpy() for row in self.measures]) for name in self._measured_names}

    @property
    def _measured_names(self) -> list[str]:
        return list(self.measures[0]) if self.measures else []

    def kept_arrays(self) -> dict[str, Kept | Tensor]:
        """Return what was kept, by the names that it has in files: weights_<epoch>_<name>."""
        return named(self.weights() if self.best is None else {self.best.epoch: self.best.weights})

    def weights(self) -> dict[int, Mapping[str, Kept | Tensor]]:
        """Return what was kept by epoch: on the CPU at the last, before it on disk until it is used.

        `numpy()` of either returns its numbers.
        """
        found: dict[int, Mapping[str, Kept | Tensor]] = {}
        if self.keeper is not None:
            found.update(self.keeper.states)
        if self.epoch in self.kept or self.keeps_last:
            state = {**self.moving.network.state_dict(), **self.keeps()}
            found[self.epoch] = {name: tensor.detach().cpu() for name, tensor in state.items()}
        return found

    def state(self) -> dict[str, Any]:
        """Return everything that a later process needs to continue from here."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            # As few tensors, however many epochs there are.
            "rows": torch.cat(self.rows) if self.rows else self.current[:0].cpu(),
            "lengths": [len(rows) for rows in self.rows],
            "current": self.current,
            "measures": {name: torch.stack([row[name] for row in self.measures]) for name in self._measured_names},
            "kept": None if self.keeper is None else self.keeper.state(),
            "best": None if self.best is None else self.best.state(),
            "moving": self.moving.state(),
            **resumable.random_state(self.moving.device),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`; raises checkpoints.Damaged, before anything changed, if what was kept is damaged."""
        if self.keeper is not None:
            self.keeper.load_state(state["kept"])
        if self.best is not None:
            self.best.load_state(state["best"])
        self.epoch, self.step = state["epoch"], state["step"]
        columns = {name: values.unbind() for name, values in state["measures"].items()}
        self.measures = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        self.rows, self.means = [], []
        for rows in state["rows"].split(state["lengths"]):
            self._note(rows)
        self.current = state["current"].to(self.moving.device)
        self.moving.load_state(state["moving"])
        resumable.set_random_state(state, self.moving.device)

    def obstacle(self, state: Mapping[str, Any]) -> str:
        """Return why what ended as `state`, after fewer epochs, cannot go on as this training; empty if it can."""
        if state["lengths"] and state["lengths"][-1] < len(self.batches.weights(state["epoch"] - 1)):
            return "it ended in mid-epoch"
        there = {int(epoch) for epoch in state["measures"].get("epoch", ())}
        wanted = {epoch for epoch in self.measured if epoch <= state["epoch"]}
        if missing := sorted(wanted - there):
            return f"it was not measured after epoch {missing[0]}, as a longer one is"
        if self.best is not None and (more := sorted(there - wanted)):
            return f"what was best is of epochs that a longer one is not measured after, such as {more[-1]}"
        return ""

    def go_on(self) -> None:
        """Having loaded the end of a shorter training, be what this one is after as many epochs."""
        every = self.measures
        self.measures = [row for row in every if int(row["epoch"]) in self.measured]
        if self.stops is not None and self.stops(self):
            # It ends here however long it may be, and so is looked at here.
            self.measures = every
        self._keep(self.moving.network.state_dict())


def followed(own: Followed, epochs: int) -> dict[str, Any]:
    """Return the parts of an engine that keep weights, and end a training of so many epochs, as its settings say."""
    best = Best(own.best_by, greatest="accuracy" in own.best_by) if own.keep == "best epoch" else None
    stopping = own.early_stopping
    return {
        "kept": own.kept_of(epochs),
        "keeps_last": own.keeps_last,
        "best": best,
        "stops": None if stopping is None else lambda engine: stalled(engine, stopping),
    }


def stalled(engine: Engine, rule: EarlyStopping) -> bool:
    """Tell whether what is looked at has been no better for longer than the rule has patience."""
    stalling = Stalling(rule)
    for row in engine.measures:
        if epoch := int(row["epoch"]):
            name = rule.by.removeprefix("train_")
            stalling.see(epoch, row[rule.by].item() if rule.by in row else engine.means[epoch - 1][name])
    return stalling.is_over


def trailing(engine: Engine, column: str, *, least: float) -> int:
    """Return for how many epochs in a row, up to the last, the mean of a column has been at least `least`."""
    below = [number for number, means in enumerate(engine.means) if means[column] < least]
    return len(engine.means) - 1 - (below[-1] if below else -1)
