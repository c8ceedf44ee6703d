"""The study on convolutional residual networks of many layers (thesis on weight regularity in the depth limit).

Blocks are scaled by n^-0.75, n being the blocks of a stage, and the learning rate grows with depth as L^0.45: then
networks of all depths should learn alike, and Omega fall along training as a power law.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from tacit import store, streams
from tacit.data.images import ImageSet
from tacit.settings.depth_cifar import RunSettings, Training
from tacit.studies import ledger
from tacit.studies.depth_gradients import FITTED, comparable, fitted, kept_points
from tacit.studies.depth_limit import by_seed, power_off

if TYPE_CHECKING:
    from torch import nn

    from tacit.training.images import Augmented, LabelledImages

STUDY = "depth_cifar"
_STEPS, _MEASURED = store.Array("float64", "steps"), store.Array("float64", "measured")
RUN = store.Kind(
    "depth cifar run",
    {
        # Of the batch before each step; Omega is that of single images.
        **{f"step_{name}": _STEPS for name in ("loss", "accuracy", "omega")},
        "step_images": store.Array("int64", "steps"),
        # By epoch that is tested, the first before training.
        **{name: _MEASURED for name in ("epoch", "test_loss", "test_accuracy", "test_top2")},
        "test_correct": store.Array("uint8", "images"),
        # State of the network at the epochs that are kept, weights_<epoch>_<name>.
        "weights_*": store.Array("float32 int64", "..."),
    },
)
"""Kind of file."""

AXES = ["depth", "seed"]
RUNS = store.Table(
    keys=AXES,
    numbers=("test_accuracy", "test_top2", "test_loss", "train_loss", "learning_rate"),
    others=(*FITTED, "points"),
)
CURVES = store.Table(keys=(*AXES, "epoch"), numbers=("test_loss", "test_accuracy"), others=("train_loss",))
GRADIENTS = store.Table(keys=(*AXES, "step"), numbers=("time", "images", "omega", "omega_logged", "kept"))
"""What the tables must be; `time` is in epochs. Of a training too short for a fit there is none."""

SOURCE = "thesis on weight regularity"
PUBLISHED_RATE, PUBLISHED_SIZE = 0.61, 7.1e-5 * 128**2
"""rho and C of Omega that the README of the original has for CIFAR-10 and a depth that it does not name; C in the unit
of single images, from batches of 128."""

POINTS, LEAST_ACCURACY, LEAST_RATE, CHANGE, OFF = 5.0, 50.0, 0.01, 0.1, 0.2
"""Percentage points that depth may cost; accuracy in % from which on networks count as having learned; rate from which
on Omega counts as falling; power of the depth up to which something counts as the same; part by which a number may
differ from the published one."""


def train(
    images: ImageSet, settings: RunSettings, *, depth: int, seed: int, checkpoint: str | Path
) -> dict[str, np.ndarray]:
    """Train one network and return the arrays of RUN.

    Initialisation, order of batches and shifts depend on the seed alone (and the depth, of the first). Raises as
    `tacit.training.fitting.fit` does; an interrupted training continues from `checkpoint`.
    """
    # Here, because the tables do without torch.
    import torch

    from tacit import devices
    from tacit.training import engine, fitting, optimizers, resumable
    from tacit.training.batches import Batches
    from tacit.training.images import Augmented, images_on
    from tacit.training.objectives import CrossEntropyWithOmega

    own, stream = settings.training, (STUDY, "train", seed)
    rate = own.learning_rate(depth)
    with devices.acquire() as device:
        train_images, test_images = images_on(device, images, settings.images)
        torch.manual_seed(streams.torch_seed(*stream, "init", depth))
        network = build(settings, depth=depth).to(device)
        batches = Batches(len(train_images.labels), own.batch_size, stream)
        trained = fitting.fit(
            network,
            Augmented(train_images, padding=own.padding, flips=own.flips, stream=stream),
            optimizers.optimizer(
                network.parameters(), "sgd", learning_rate=rate, momentum=own.momentum, weight_decay=own.weight_decay
            ),
            batches,
            epochs=own.epochs,
            advice=f"reduce rate_factor or rate_exponent (the learning rate is {rate:g})",
            measure=lambda current: _evaluate(current, test_images, settings, seed=seed)[0],
            measured=own.measured,
            **engine.followed(own, own.epochs),
            checkpoint=checkpoint,
            settings={"depth": depth, "seed": seed} | settings.plain(),
            longer=resumable.Longer(("training.epochs",), optimizers.obstacle(own.schedule)),
            objective=CrossEntropyWithOmega(),
            precision=own.precision,
            compile=own.compile,
            rate=optimizers.rate(own.schedule, rate, epochs=own.epochs),
        )
        _, correct = _evaluate(network, test_images, settings, seed=seed)
    sizes = np.tile(batches.sizes(), len(trained.steps["step_loss"]) // batches.steps)
    arrays = {**trained.steps, "step_images": sizes.astype(np.int64), **trained.measures, "test_correct": correct}
    return arrays | cast(dict[str, Any], trained.kept)


def build(settings: RunSettings, *, depth: int) -> nn.Module:
    """Return the network, drawn from torch's global generator."""
    from tacit.nn.scaled_convnets import ScaledConvNet

    return ScaledConvNet(
        depth,
        width=settings.network.width,
        delta_exponent=settings.network.delta_exponent,
        in_channels=settings.images.channels,
        num_classes=settings.images.num_classes,
    )


def _evaluate(
    network: nn.Module, test: LabelledImages, settings: RunSettings, *, seed: int
) -> tuple[dict[str, float], np.ndarray]:
    """Return loss, accuracy and top-2 accuracy of the test, and which answers are right."""
    from tacit.training import evaluation
    from tacit.training.images import Augmented

    if settings.evaluation == "published":
        moved = Augmented(test, padding=settings.training.padding, flips=False, stream=(STUDY, "test", seed))
        logits, among = _as_published(network, moved, settings)
    else:
        logits = evaluation.predict(network, test, precision=settings.training.precision)
        among = (logits.topk(2, dim=1).indices == test.labels[:, None]).any(1)
    found = evaluation.performance(logits, test.labels)
    found = {f"test_{name}": value for name, value in found.items()} | {"test_top2": among.double().mean().item()}
    correct = logits.argmax(1) == test.labels
    return found, correct.cpu().numpy().astype(np.uint8)


def _as_published(network: nn.Module, test: Augmented, settings: RunSettings) -> tuple[Any, Any]:
    """Return logits and which labels are among any two best of their batch, with the statistics of batches."""
    import torch

    from tacit.nn import layout
    from tacit.training import precision

    # Its running statistics move, which must not reach the training.
    network, device = copy.deepcopy(network).train(), test.labels.device
    order = layout.memory_format(network, device, channels_last=True)
    logits, among = [], []
    with torch.no_grad(), precision.autocast(settings.training.precision, device):
        for numbers in torch.arange(len(test.labels), device=device).split(settings.training.batch_size):
            logits.append(network(test.batch(numbers, order)))
            among.append(torch.isin(test.labels[numbers], logits[-1].topk(2, dim=1).indices))
    return torch.cat(logits), torch.cat(among)


# Tables.


def tables(
    runs: Iterable[str | Path], *, fit: Mapping[str, Any], published: bool, missing: int
) -> dict[str, pd.DataFrame]:
    """Return tables of runs, of epochs and of steps, and what is claimed.

    `fit` says how the power law of Omega is fitted; `published` whether runs are the published ones; `missing` is
    the number of runs that are not there.
    """
    rows, curves, gradients, answers = [], [], [], {}
    for path in runs:
        run = store.read(path, kind=RUN)
        axes = {name: run.settings[name] for name in AXES}
        arrays, training = run.arrays, Training.from_plain(run.settings["training"])
        answers[axes["depth"], axes["seed"]] = arrays["test_correct"].astype(float)
        tested = arrays["epoch"].astype(int)
        steps = len(arrays["step_loss"]) // tested[-1]
        weights = arrays["step_images"].reshape(-1, steps)
        train_loss = (arrays["step_loss"].reshape(-1, steps) * weights).sum(1) / weights.sum(1)
        series = _gradients(arrays, steps, fit)
        gradients.append(series.assign(**axes))
        values = {name: arrays[name] for name in ("epoch", "test_loss", "test_accuracy", "test_top2")}
        curves.append(pd.DataFrame(values | {"train_loss": [np.nan, *train_loss[tested[1:] - 1]]}).assign(**axes))
        ends = {name: arrays[name][-1] for name in ("test_accuracy", "test_top2", "test_loss")}
        ends |= {"train_loss": train_loss[-1], "learning_rate": training.learning_rate(axes["depth"])}
        rows.append(axes | ends | _law(series, axes, fit))
    columns = [*AXES, *RUNS.numbers, *RUNS.others]
    found = pd.DataFrame(rows, columns=columns).sort_values(AXES, ignore_index=True)
    return {
        "runs": found,
        "curves": pd.concat(curves).sort_values([*AXES, "epoch"], ignore_index=True),
        "gradients": pd.concat(gradients).sort_values([*AXES, "step"], ignore_index=True)[
            [*GRADIENTS.keys, *GRADIENTS.numbers]
        ],
        "claims": claims(found, answers, published=published, missing=missing),
    }


def _gradients(arrays: Mapping[str, np.ndarray], steps: int, fit: Mapping[str, Any]) -> pd.DataFrame:
    """Return Omega step by step; logged as published, which makes the short last batch of an epoch stand out."""
    omega, number = arrays["step_omega"], np.arange(1, len(arrays["step_omega"]) + 1)
    sizes = arrays["step_images"]
    values = {"step": number, "time": number / steps, "images": sizes, "omega": omega, "omega_logged": omega / sizes**2}
    return pd.DataFrame(values | {"kept": kept_points(omega, fit)})


def _law(series: pd.DataFrame, axes: Mapping[str, int], fit: Mapping[str, Any]) -> dict[str, float]:
    used = series[series["kept"] == 1]
    generator = streams.numpy_generator(STUDY, "bootstrap", axes["depth"], axes["seed"])
    return {"points": len(used)} | fitted(used["time"], used["omega"], fit, generator)


def claims(
    runs: pd.DataFrame, answers: Mapping[tuple[int, int], np.ndarray], *, published: bool, missing: int
) -> pd.DataFrame:
    """Judge that networks of all depths learn alike: rows of the ledger. Those of one seed share batches and images."""
    book = ledger.Ledger(STUDY, missing=missing)
    depths = sorted(runs["depth"].unique())
    first, last = depths[0], depths[-1]
    seeds = sorted(seed for seed in set(runs["seed"]) if (first, seed) in answers and (last, seed) in answers)
    found = None
    if len(depths) > 1 and seeds:
        block = np.stack([answers[last, seed] - answers[first, seed] for seed in seeds])
        found = ledger.scaled(ledger.contrast([block]), 100)
    text = f"With {last} layers test accuracy is not more than {POINTS:g} points below that with {first}"
    book.judge("depth_costs_little", SOURCE, text, found, above=-POINTS, unit="percentage points")
    accuracy, _ = by_seed(runs, "test_accuracy")
    least = ledger.mean(100 * accuracy.min(1)) if len(accuracy) else None
    text = f"Networks of all depths learn: the least test accuracy is above {LEAST_ACCURACY:g} %"
    book.judge("all_learn", SOURCE, text, least, above=LEAST_ACCURACY, unit="%")
    rates, _ = by_seed(runs, "rate")
    sizes, _ = by_seed(runs, "size")
    deepest = rates[:, -1] if len(rates) else np.empty(0)
    text = f"Omega falls along the training: rate rho of its power law, with {last} layers"
    book.judge("omega_rate", SOURCE, text, ledger.mean(deepest) if len(deepest) else None, above=LEAST_RATE, unit="rho")
    for name, words in (("rate", "rate rho"), ("size", "size C")):
        found = power_off(comparable(runs, name), name, 0)
        text = (
            f"The {words} of the power law of Omega is the same in all depths: size of the power of L that it goes with"
        )
        book.judge(f"omega_{name}_depth", SOURCE, text, found, below=CHANGE, unit="power of L")
    if published:
        for name, values, is_so in (("rate", rates, PUBLISHED_RATE), ("size", sizes, PUBLISHED_SIZE)):
            off = None
            if len(values):
                how = "size of the difference of each seed, mean over seeds, Student's t"
                off = ledger.mean(np.abs(values[:, -1] / is_so - 1))._replace(how=how)
            text = (
                f"With {last} layers the {name} of the power law of Omega is the published one, {is_so:.3g}: part off"
            )
            book.judge(f"omega_{name}_published", SOURCE, text, off, below=OFF, unit="of it")
    return book.table()
