"""Training of a network of several classes by plain SGD at a constant rate, measured and kept at chosen epochs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from tacit import checkpoints
from tacit.settings.untied import Sgd
from tacit.training import engine, resumable
from tacit.training.batches import Batches
from tacit.training.images import Examples
from tacit.training.keeping import Keeper, Kept
from tacit.training.objectives import CrossEntropy

Network = TypeVar("Network", bound=nn.Module)


class Trained(NamedTuple):
    """What is left of a training."""

    steps: dict[str, np.ndarray]
    """loss and accuracy of the batch before each step, (steps,)"""
    measures: dict[str, np.ndarray]
    """What was measured and the `epoch`, a row for each epoch asked for."""
    weights: dict[int, Mapping[str, Kept | Tensor]]
    """State of the network at the epochs asked for: on the CPU at the last epoch, before it on disk until it is used
    (`numpy()` of either returns its numbers)."""


def fit(
    network: Network,
    train: Examples,
    sgd: Sgd,
    *,
    learning_rate: float,
    epochs: int,
    measure: Callable[[Network], Mapping[str, Any]],
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
    optimizer = torch.optim.SGD(network.parameters(), lr=learning_rate)
    moving = engine.Engine(
        engine.Minimize(network, train, CrossEntropy(), optimizer, precision=sgd.precision),
        Batches(len(train.labels), sgd.batch_size, stream, sgd.order),
        epochs=epochs,
        run=str(stream),
        advice=f"reduce the learning rate (now {learning_rate:g})",
        measure=lambda: measure(network),
        measured=measured,
        kept=kept,
        keeper=Keeper(checkpoints.kept_of(checkpoint)),
    )
    resumable.run(moving, epochs=epochs, checkpoint=checkpoint, settings=settings, by_time=True)
    steps = {f"step_{name}": moving.column(name) for name in moving.moving.columns}
    return Trained(steps, moving.measured_arrays(), moving.weights())
