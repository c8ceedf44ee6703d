"""Training of a network by an objective, of classes or of translations, measured and kept at chosen epochs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from tacit import checkpoints
from tacit.training import engine, resumable
from tacit.training.batches import Drawn
from tacit.training.images import Examples
from tacit.training.keeping import Best, Keeper, Kept
from tacit.training.objectives import CrossEntropy, Objective

Network = TypeVar("Network", bound=nn.Module)


class Trained(NamedTuple):
    """What is left of a training."""

    steps: dict[str, np.ndarray]
    """What the objective recorded of the batch before each step, such as loss and accuracy, (steps,)"""
    measures: dict[str, np.ndarray]
    """What was measured and the `epoch`, a row for each epoch asked for."""
    weights: dict[int, Mapping[str, Kept | Tensor]]
    """State of the network at the epochs asked for: on the CPU at the last epoch, before it on disk until it is used
    (`numpy()` of either returns its numbers)."""
    kept: dict[str, Kept | Tensor]
    """The best weights, if they were asked for, else those, by the names that they have in files."""
    best: Best | None = None
    """The best weights of the epochs that were measured, if they were asked for."""


def fit(
    network: Network,
    train: Examples,
    optimizer: torch.optim.Optimizer,
    batches: Drawn,
    *,
    epochs: int,
    advice: str,
    measure: Callable[[Network], Mapping[str, Any]],
    measured: Collection[int],
    kept: Collection[int],
    checkpoint: str | Path,
    settings: Mapping[str, Any],
    longer: resumable.Longer,
    objective: Objective | None = None,
    precision: str = "float32",
    compile: bool = False,
    rate: Callable[[float], float] | None = None,
    decays: Sequence[Callable[[], None]] = (),
    after: engine.AfterStep | None = None,
    keeps: Callable[[], Mapping[str, Tensor]] | None = None,
    keeps_last: bool = False,
    best: Best | None = None,
    stops: Callable[[engine.Engine], bool] | None = None,
    run: str = "",
) -> Trained:
    """Train `network` by an optimizer over its parameters; epochs count from 0, the network as it is given.

    The objective is cross-entropy unless another is given; `rate` gives the learning rate from the time in epochs,
    where it changes; `decays` add to gradients before each step, and `after` acts after it; `keeps` gives what is kept
    with the weights of the network, by names of their own; `keeps_last`, `best` and `stops` are those of the engine.
    `advice` says what to change if it diverges, and `run`, by default the stream of `batches`, which run it is.
    `settings` are everything the result depends on; a checkpoint of others is refused, and `longer` says which of them
    may differ in the end of a shorter training that is gone on from. Raises DivergenceError with the step at which the
    loss stopped being finite, Interrupted after SIGTERM or Ctrl-C.
    """
    step = engine.Minimize(
        network,
        train,
        objective or CrossEntropy(),
        optimizer,
        precision=precision,
        compile=compile,
        rate=rate,
        decays=decays,
        after=after,
    )
    moving = engine.Engine(
        step,
        batches,
        epochs=epochs,
        run=run or str(batches.stream),
        advice=advice,
        measure=lambda: measure(network),
        measured=measured,
        kept=kept,
        keeper=Keeper(checkpoints.kept_of(checkpoint)),
        keeps=keeps,
        keeps_last=keeps_last,
        best=best,
        stops=stops,
    )
    resumable.run(moving, epochs=epochs, checkpoint=checkpoint, settings=settings, by_time=True, longer=longer)
    steps = {f"step_{name}": moving.column(name) for name in moving.moving.columns}
    return Trained(steps, moving.measured_arrays(), moving.weights(), moving.kept_arrays(), moving.best)
