"""What the studies on factorized layers share: images that are held out, a training that is looked at, accuracies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from tacit import store, streams
from tacit.errors import UserError
from tacit.settings.classifiers import Training
from tacit.studies import ledger

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tacit.optim.decay_groups import DecayPlan
    from tacit.training.engine import AfterStep
    from tacit.training.images import Augmented, LabelledImages

_STEPS, _MEASURED = store.Array("float64", "steps"), store.Array("float64", "measured")
ARRAYS = {
    # Of the batch before each step, and after it.
    "step_loss": _STEPS,
    "step_accuracy": _STEPS,
    # By epoch, the first before training.
    **{name: _MEASURED for name in ("epoch", "learning_rate", "test_loss", "test_accuracy")},
    "held_out_loss": store.Array("float64", "measured", optional=True),
    "held_out_accuracy": store.Array("float64", "measured", optional=True),
    "test_correct": store.Array("uint8", "images"),
    # State of the network at the epochs that are kept, weights_<epoch>_<name>.
    "weights_*": store.Array("float32 int64", "..."),
}
"""What every such run file holds."""


class Trained(NamedTuple):
    """What is left of a training."""

    arrays: dict[str, np.ndarray]
    """ARRAYS, and what else was measured."""
    noted: np.ndarray | None
    """What was noted after each step, (steps, columns), if anything was."""
    logits: Tensor
    """Of the test images, at the end."""


def divided(
    images: LabelledImages, share: float, stream: tuple[str | int, ...]
) -> tuple[LabelledImages, LabelledImages | None]:
    """Return images to learn from, and those that are held out, if there are to be any."""
    import torch

    if not share:
        return images, None
    order = torch.from_numpy(streams.numpy_generator(*stream).permutation(len(images.labels)))
    order = order.to(images.labels.device)
    if len(order) < 2:
        raise UserError("there is one training image, and training.held_out wants some besides")
    count = min(max(1, round(share * len(order))), len(order) - 1)

    def part(numbers: Tensor) -> LabelledImages:
        pixels = images.images._replace(pixels=images.images.pixels[numbers])
        return images._replace(images=pixels, labels=images.labels[numbers])

    return part(order[count:]), part(order[:count])


def fit(
    network: nn.Module,
    train: Augmented,
    test: LabelledImages,
    held_out: LabelledImages | None,
    own: Training,
    *,
    plan: DecayPlan,
    rate: Callable[[float], float],
    stream: tuple[str | int, ...],
    coefficient: float,
    measure: Callable[[nn.Module], Mapping[str, Any]],
    checkpoint: str | Path,
    settings: Mapping[str, Any],
    performance: Callable[[Tensor, Tensor], dict[str, float]] | None = None,
    decays: Sequence[Callable[[], None]] = (),
    after: AfterStep | None = None,
) -> Trained:
    """Train a network by SGD, its parameters decaying as `plan` says, and look at it every few epochs.

    What is looked at is `performance` on the test images and what is held out, by default loss and accuracy, and what
    `measure` finds. `decays` act on gradients besides, `after` after each step. Raises as
    `tacit.training.fitting.fit` does; an interrupted training continues from `checkpoint`.
    """
    from tacit.training import engine, evaluation, fitting, optimizers, resumable
    from tacit.training.batches import Batches

    shares = "its learning rate falls at shares of all epochs (milestones)" if own.milestones else ""
    performance = performance or evaluation.performance

    def look(current: nn.Module) -> dict[str, Any]:
        found = dict(measure(current))
        for name, images in (("test", test), ("held_out", held_out)):
            if images is not None:
                seen = performance(evaluation.predict(current, images, precision=own.precision), images.labels)
                found |= {f"{name}_{quantity}": value for quantity, value in seen.items()}
        return found

    trained = fitting.fit(
        network,
        train,
        optimizers.optimizer(plan.groups, "sgd", learning_rate=own.learning_rate, momentum=own.momentum),
        Batches(len(train.labels), own.batch_size, stream),
        epochs=own.epochs,
        advice=f"reduce learning_rate (now {own.learning_rate:g}) or coefficient (now {coefficient:g})",
        measure=look,
        measured=own.measured,
        checkpoint=checkpoint,
        settings=settings,
        **engine.followed(own, own.epochs),
        longer=resumable.Longer(("training.epochs",), shares),
        precision=own.precision,
        compile=own.compile,
        rate=rate,
        decays=[*([plan.frobenius.add_gradients] if plan.frobenius.terms else []), *decays],
        after=after,
    )
    arrays = {name: values for name, values in trained.steps.items() if not name.startswith("step__")}
    noted = [values for name, values in trained.steps.items() if name.startswith("step__")]
    arrays |= trained.measures
    arrays["learning_rate"] = np.array([rate(epoch) for epoch in arrays["epoch"]])
    logits = evaluation.predict(network, test, precision=own.precision)
    arrays["test_correct"] = (logits.argmax(1) == test.labels).cpu().numpy().astype(np.uint8)
    arrays |= cast(dict[str, Any], trained.kept)
    return Trained(arrays, np.stack(noted, 1) if noted else None, logits)


def kernels(network: nn.Module, chosen: Callable[[str, nn.Module], bool]) -> dict[str, Tensor]:
    """Return the kernels of chosen convolutions by name, as the matrices that factorized ones are."""
    from torch import nn

    from tacit.nn.factorized import matricised

    return {
        name: matricised(module.weight.detach())
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and chosen(name, module)
    }


# Of all runs.

Answers = Mapping[tuple[Any, ...], np.ndarray]
"""By axes of a run, the seed last: right or not, (test images,) of 0 and 1."""


def combined(answers: Answers, weights: Mapping[tuple[Any, ...], float]) -> ledger.Estimate | None:
    """Estimate a sum of accuracies of networks, by their axes without the seed, times weights, in percentage points.

    None if there is no seed of which all are there.
    """
    seeds = sorted({key[-1] for key in answers})
    there = [seed for seed in seeds if all((*network, seed) in answers for network in weights)]
    if not there:
        return None
    block = np.stack([sum(weight * answers[*network, seed] for network, weight in weights.items()) for seed in there])
    return ledger.scaled(ledger.contrast([block]), 100)


def best_and_chosen(arrays: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return `best_accuracy` on the test set of all epochs, and `chosen_accuracy` of the best by what was held out."""
    accuracy, chosen = arrays["test_accuracy"], np.nan
    if "held_out_accuracy" in arrays:
        chosen = accuracy[int(arrays["held_out_accuracy"].argmax())]
    return {"best_accuracy": accuracy.max(), "chosen_accuracy": chosen}
