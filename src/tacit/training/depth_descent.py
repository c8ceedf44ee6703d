"""Gradient descent on residual networks of thousands of layers, and what is recorded of it.

Plain descent, with full batches or mini-batches in the order of the data. Of epoch e are recorded loss, metrics, Omega
and learning rate, of the weights before its steps, and p-variations of the weights after them, as the original does;
besides, p-variations of the initial weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from tacit.analysis.class_metrics import ClassMetrics, class_metrics
from tacit.analysis.p_variation import p_variation_norm
from tacit.errors import DivergenceError
from tacit.events import Events
from tacit.nn.deep_residual import Network
from tacit.settings.depth_limit import Descent, Variation
from tacit.training import resumable
from tacit.training.depth_kernel import Pass, Samples

ADVICE = "lower the learning rate, or take a greater gamma or depth"


class Rated(NamedTuple):
    """A learning rate, as a rule of the p-variation norm that the last epoch ended with."""

    rule: str
    first: float
    """Of the first epoch: c, or c L^(2 alpha - 1) of `scaled`."""
    gain: float
    """10 with relu, else 2."""

    @property
    def is_dynamic(self) -> bool:
        """Whether the rate goes by the variation."""
        return self.rule.startswith("dynamic")

    def after(self, variation: float) -> float:
        """Return the rate of the next epoch; raises DivergenceError if the rule gives none."""
        if not self.is_dynamic:
            return self.first
        if self.rule == "dynamic_guarded":
            variation = max(variation, 1.0)
        rate = self.gain * self.first / variation**2 if variation else np.inf
        if not np.isfinite(rate):
            raise DivergenceError(
                f"the dynamic learning rate is {self.gain:g} * {self.first:g} / {variation:g}^2; take the rule "
                "dynamic_guarded, in which the variation counts as at least 1, or an initialisation that varies more"
            )
        return rate


def first_rate(rule: str, learning_rate: float, *, depth: int, alpha: float) -> float:
    """Return the learning rate of the first epoch."""
    return learning_rate * depth ** (2 * alpha - 1) if rule == "scaled" else learning_rate


class Loop:
    """A descent under way (`resumable.Loop`), of `weights` (L, d, d), which it trains and holds.

    `scale` is L^beta, by which weights are multiplied before their variation is computed; `also` are exponents besides
    those of `variation` for the initial weights. Epochs `kept` have their weights written down. `through` is
    `depth_kernel.pass_through` or what does the same. Raises DivergenceError while it advances.
    """

    def __init__(
        self,
        network: Network,
        weights: np.ndarray,
        samples: Samples,
        descent: Descent,
        variation: Variation,
        *,
        rated: Rated,
        scale: float,
        also: tuple[float, ...],
        kept: tuple[int, ...],
        through: Callable[..., Pass],
        threads: int,
    ):
        self.network, self.weights, self.samples, self.descent = network, weights, samples, descent
        self.epoch, self.batch, self.rate = 0, 0, rated.first
        self.rated, self.scale, self.through, self.threads = rated, scale, through, threads
        self.events = Events()
        self.records: dict[str, list[float]] = {}
        self.snapshots: dict[int, np.ndarray] = {}
        self._sums: dict[str, float] = {}
        self._variation, self._kept = variation, set(kept)
        asked = (descent.p_var,) if rated.is_dynamic else ()
        self.exponents = tuple(sorted({*variation.p, *asked}))
        self.measured: dict[int, list[float]] = {}
        self.initial_exponents = tuple(sorted({*self.exponents, *also}))
        self.initial: list[float] = []
        size = descent.batch_size or len(samples.inputs)
        self._bounds = [(first, first + size) for first in range(0, len(samples.inputs), size)]

    @property
    def place(self) -> str:
        """Epoch and batch."""
        return f"after {self.epoch} epochs" + (f" and {self.batch} batches" if self.batch else "")

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.epoch >= self.descent.epochs

    def summary(self) -> str:
        """Return the last loss in words."""
        return f"train loss {self.records['loss'][-1]:.3g}"

    def advance(self, pause: resumable.Pause) -> bool:
        """Take steps to the end of the epoch, unless asked to pause."""
        if self.epoch == 0 and self.batch == 0:
            self.initial = self._norms(self.initial_exponents)
            self._keep()
        while self.batch < len(self._bounds):
            self._step(self.samples.part(*self._bounds[self.batch]))
            self.batch += 1
            if pause.requested and self.batch < len(self._bounds):
                return False
        self._end_epoch()
        return True

    def _step(self, samples: Samples) -> None:
        found = self.through(self.network, self.weights, samples, threads=self.threads)
        number = len(samples.inputs)
        values = {
            "loss": found.loss,
            "omega": found.omega,
            "omega_logged": found.omega / number**2,
            "learning_rate": self.rate,
            "delta": self.network.delta,
        }
        if len(samples.labels):
            values |= metrics_of(found, samples)._asdict()
        self.weights -= self.weights.dtype.type(self.rate) * found.gradient
        if self.network.trains_delta:
            self.network = self.network._replace(delta=self.network.delta - self.rate * found.delta_gradient)
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + number * value
        state: dict[str, Any] = {"loss": found.loss, "delta": self.network.delta, "weights": self.weights}
        for name, value in state.items():
            if not np.isfinite(value).all():
                where = f"in epoch {self.epoch + 1}" + (f", batch {self.batch + 1}" if len(self._bounds) > 1 else "")
                raise DivergenceError(f"diverged: {name} is not finite {where}; {ADVICE}")

    def _end_epoch(self) -> None:
        for name, total in self._sums.items():
            self.records.setdefault(name, []).append(total / len(self.samples.inputs))
        self._sums = {}
        self.epoch, self.batch = self.epoch + 1, 0
        self.events.write(self.epoch, {f"train/{name}": values[-1] for name, values in self.records.items()})
        due = self.finished or self.epoch % self._variation.every == 0
        if self.rated.is_dynamic or due:
            norms = self._norms(self.exponents)
            if due:
                self.measured[self.epoch] = norms
            self._rate_after(norms)
        self._keep()

    def _rate_after(self, norms: list[float]) -> None:
        if self.rated.is_dynamic and not self.finished:
            self.rate = self.rated.after(norms[self.exponents.index(self.descent.p_var)])

    def _norms(self, exponents: tuple[float, ...]) -> list[float]:
        path = self.weights.reshape(len(self.weights), -1).astype(np.float64) * self.scale
        return np.asarray(p_variation_norm(path, exponents)).tolist()

    def _keep(self) -> None:
        if self.epoch in self._kept:
            self.snapshots[self.epoch] = self.weights.copy()

    def state(self) -> dict[str, Any]:
        """Return weights, records and place."""
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "rate": self.rate,
            "delta": self.network.delta,
            "weights": torch.from_numpy(self.weights),
            "records": self.records,
            "sums": self._sums,
            "initial": self.initial,
            "measured": {str(epoch): norms for epoch, norms in self.measured.items()},
            "snapshots": {str(epoch): torch.from_numpy(weights) for epoch, weights in self.snapshots.items()},
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.epoch, self.batch, self.rate = state["epoch"], state["batch"], state["rate"]
        self.network = self.network._replace(delta=state["delta"])
        self.weights = state["weights"].numpy()
        self.records, self._sums, self.initial = state["records"], state["sums"], state["initial"]
        self.measured = {int(epoch): norms for epoch, norms in state["measured"].items()}
        self.snapshots = {int(epoch): weights.numpy() for epoch, weights in state["snapshots"].items()}

    def obstacle(self, state: Mapping[str, Any]) -> str:
        """Return nothing: a descent of fewer epochs can always go on."""
        return ""

    def go_on(self) -> None:
        """Having loaded the end of a shorter descent, be what this one is after as many epochs."""
        norms = self.measured[self.epoch]
        if self.epoch % self._variation.every:
            del self.measured[self.epoch]
        self._rate_after(norms)


def metrics_of(found: Pass, samples: Samples) -> ClassMetrics:
    """Return the metrics of a classification."""
    return class_metrics(found.outputs.argmax(1), samples.labels, num_classes=found.outputs.shape[1])
