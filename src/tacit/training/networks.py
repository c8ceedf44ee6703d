"""Training of a network with one logit, with or without the long-range regulariser (Razin, Maman, Cohen 2022)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from tacit import checkpoints, streams
from tacit.nn.double_backward import adapt
from tacit.settings.networks import Training
from tacit.training import engine, evaluation, optimizers, resumable
from tacit.training.batches import Batches
from tacit.training.images import Examples
from tacit.training.keeping import Keeper
from tacit.training.objectives import LongRangeBinaryCrossEntropy

METRICS = ("train_loss", "train_accuracy", "regularization", "test_loss", "test_accuracy", "learning_rate")
"""What is recorded of every epoch, or of those that are tested. Train loss is without the regulariser; train figures
are running ones."""


def fit(
    build: Callable[[], nn.Module],
    train: Examples,
    test: Examples,
    training: Training,
    objective: LongRangeBinaryCrossEntropy,
    *,
    checkpoint: str | Path,
    settings: Mapping[str, Any],
) -> dict[str, np.ndarray]:
    """Train a network and return METRICS by epoch, each (E,) float64, and `test_correct` of the last, (test,) uint8.

    Those of the test are of the `test_epochs`, which are among them unless that is every epoch. With them are
    weights_<epoch>_<name> of the epochs that `training.keep` says.

    `build` makes the network from torch's global generator. Labels are 0 or 1. The stream of `objective` names all
    random numbers of this run. `settings` are everything the result depends on; a checkpoint of others is refused.
    Raises DivergenceError with the step at which the loss stopped being finite, Interrupted after SIGTERM or Ctrl-C.
    """
    torch.manual_seed(streams.torch_seed(*objective.stream, "init"))
    network = build().to(train.labels.device)
    moving = assemble(network, train, test, training, objective, keeper=Keeper(checkpoints.kept_of(checkpoint)))
    resumable.run(
        moving,
        epochs=training.epochs,
        checkpoint=checkpoint,
        settings=settings,
        by_time=False,
        longer=resumable.Longer(("training.epochs",), optimizers.obstacle(training.schedule)),
    )
    logits = evaluation.predict(network, test, precision=training.precision, channels_last=training.channels_last)
    correct = evaluation.binary_correct(logits, test.labels)
    found = history(moving) | {"test_correct": correct.cpu().numpy().astype(np.uint8)}
    if training.evaluate_every > 1:
        found["test_epochs"] = moving.measured_arrays()["epoch"].astype(np.int64)
    return found | cast(dict[str, Any], moving.kept_arrays())


def assemble(
    network: nn.Module,
    train: Examples,
    test: Examples,
    training: Training,
    objective: LongRangeBinaryCrossEntropy,
    *,
    keeper: Keeper | None = None,
) -> engine.Engine:
    """Return the training of `network` at its start; `keeper` takes the weights of epochs that are kept."""
    coefficient, stream = objective.coefficient, objective.stream
    optimizer = optimizers.optimizer(
        network.parameters(),
        training.optimizer,
        learning_rate=training.learning_rate,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
    )
    step = engine.Minimize(
        network,
        train,
        objective,
        optimizer,
        precision=training.precision,
        channels_last=training.channels_last,
        # A compiled network cannot be differentiated twice, so only plain training is compiled.
        compile=training.compile and coefficient == 0,
        rate=optimizers.rate(training.schedule, training.learning_rate, epochs=training.epochs),
    )
    if coefficient > 0:
        adapt(network)

    def measure() -> dict[str, float]:
        logits = evaluation.predict(network, test, precision=training.precision, channels_last=training.channels_last)
        performance = evaluation.binary_performance(logits, test.labels)
        found = {f"test_{name}": value for name, value in performance.items()}
        return found | {"learning_rate": optimizer.param_groups[0]["lr"]}

    parts = engine.followed(training, training.epochs)
    stalls = parts["stops"]

    def stops(moving: engine.Engine) -> bool:
        is_perfect = engine.trailing(moving, "accuracy", least=1.0) > training.perfect_epochs
        return is_perfect or (stalls is not None and stalls(moving))

    return engine.Engine(
        step,
        Batches(len(train.labels), training.batch_size, stream),
        epochs=training.epochs,
        run=f"with coefficient {coefficient:g}, {stream}",
        advice=f"reduce learning_rate (now {training.learning_rate:g}) or the coefficient",
        measure=measure,
        measured=training.measured,
        keeper=keeper,
        **parts | {"stops": stops},
    )


def history(moving: engine.Engine) -> dict[str, np.ndarray]:
    """Return METRICS of the epochs done, or tested, each (E,) float64."""
    means = {name: np.array([row[name] for row in moving.means]) for name in moving.moving.columns}
    running = {"train_loss": means["loss"], "train_accuracy": means["accuracy"]}
    found = running | {"regularization": means["regularization"]} | moving.measured_arrays()
    return {name: found[name] for name in METRICS}
