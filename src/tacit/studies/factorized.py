"""The study on factorized layers of residual networks (Khodak, Tenenholtz, Mackey, Fusi 2021).

Convolutions inside the blocks of a CIFAR ResNet become products U VT of low rank, or of more parameters than they
replace. They start regularly or from the singular value decomposition of the dense start (spectral), and decay factor
by factor or by the norm of the product (Frobenius). Stages: `train` one network; `tacit.studies.factorized_results`
collects and judges.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tacit import store, streams
from tacit.data.images import ImageSet
from tacit.runlog import log
from tacit.settings.factorized import RunSettings, Variant
from tacit.studies import classifiers

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from tacit.nn.factorized import Factorized
    from tacit.training.engine import AfterStep
    from tacit.training.images import LabelledImages

STUDY = "factorized"
AXES = ("source", "depth", *Variant._fields, "seed")
"""What tells runs from each other, as their files and tables have it."""
_LAYERS = store.Array("float64", "measured layers")
_SOME_LAYERS = store.Array("float64", "measured layers", optional=True)
RUN = store.Kind(
    "factorized run",
    {
        **classifiers.ARRAYS,
        # After each step, and by epoch: of the matrices of all layers inside blocks.
        "step_norms": store.Array("float32", "steps layers", optional=True),
        "frobenius_norms": _LAYERS,
        "nuclear_norms": _LAYERS,
        "nuclear_bounds": _SOME_LAYERS,
        "non_orthogonality": _SOME_LAYERS,
        "ranks": store.Array("int64", "layers"),
    },
    attributes=("parameters", "dense_parameters", "deployed_parameters", "deployed_accuracy", "deployed_difference"),
)
"""Kind of file. Parameters are those in training, of the dense network, and once factors are multiplied;
`deployed_accuracy` is on the test set after that, `deployed_difference` how far logits moved, relative to the
largest."""


class Built(NamedTuple):
    """A network at its start."""

    network: nn.Module
    ranks: Sequence[int | tuple[int, ...]]
    """Of the layers inside blocks; of a dense one all that a matrix can have."""
    dense_parameters: int


def build(settings: RunSettings, variant: Variant, *, depth: int, seed: int) -> Built:
    """Return the network of a variant; the dense start that it is made of depends on depth and seed alone."""
    import torch

    from tacit.nn.factorizing import factorize
    from tacit.nn.scaled_convnets import ScaledConvNet, in_blocks

    torch.manual_seed(streams.torch_seed(STUDY, "train", seed, "init", depth))
    dense = ScaledConvNet(
        depth,
        width=settings.network.width,
        in_channels=settings.images.channels,
        num_classes=settings.images.num_classes,
        kaiming=True,
    )
    count = sum(parameter.numel() for parameter in dense.parameters())
    if variant.factors == "dense":
        return Built(dense, [min(matrix.shape) for matrix in classifiers.kernels(dense, in_blocks).values()], count)
    generator = torch.Generator().manual_seed(
        streams.torch_seed(STUDY, "train", seed, "factors", depth, f"{variant.rank_scale:g}")
    )
    made = factorize(
        dense,
        select=in_blocks,
        rank_scale=variant.rank_scale,
        factors=3 if variant.factors == "three" else 2,
        spectral=variant.initialization == "spectral",
        matricisation=settings.matricisation,
        residual=settings.residual if variant.factors == "three" else 0.0,
        generator=generator,
    )
    return Built(made.model, list(made.ranks.values()), count)


def train(
    images: ImageSet,
    settings: RunSettings,
    variant: Variant,
    *,
    depth: int,
    seed: int,
    checkpoint: str | Path,
    replayed: str | Path | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Train one network and return arrays and attributes of RUN.

    Order of batches, shifts and what is held out depend on the seed alone. `replayed` is the run whose norms are given
    to this one, if its decay says so. Raises as `tacit.training.fitting.fit` does; an interrupted training
    continues from `checkpoint`.
    """
    # Here, because the tables do without torch.
    from tacit import devices
    from tacit.nn.factorized import factorized_layers
    from tacit.optim.decay_groups import decay_groups
    from tacit.training import optimizers
    from tacit.training.images import Augmented, images_on

    own, stream = settings.training, (STUDY, "train", seed)
    if variant.decay in ("recorded", "replayed"):
        # Step by step one has the norms of the other, so both have all steps.
        if own.early_stopping is not None:
            log.info("does not stop early, as its norms are those of another run, or become them, step by step")
        own = own.model_copy(update={"early_stopping": None})
    with devices.acquire() as device:
        learned, test = images_on(device, images, settings.images)
        train_images, held_out = classifiers.divided(learned, own.held_out, (STUDY, "held out", seed))
        built = build(settings, variant, depth=depth, seed=seed)
        network = built.network.to(device)
        layers = list(factorized_layers(network).values())
        steps = own.epochs * -(-len(train_images.labels) // own.batch_size)
        trained = classifiers.fit(
            network,
            Augmented(train_images, padding=own.padding, flips=own.flips, stream=stream),
            test,
            held_out,
            own,
            plan=decay_groups(network, variant.coefficient, factors=_factor_decay(variant)),
            rate=optimizers.stepwise(
                own.learning_rate, epochs=own.epochs, milestones=own.milestones, warms_up=own.warms_up(depth)
            ),
            stream=stream,
            coefficient=variant.coefficient,
            measure=_norms,
            checkpoint=checkpoint,
            settings={"depth": depth, "seed": seed} | variant._asdict() | settings.plain(),
            after=_after(layers, variant, replayed, device, steps=steps),
        )
        attributes = _deployed(network, test, trained.logits, own.precision)
    arrays = trained.arrays | {"ranks": np.array(built.ranks)}
    if trained.noted is not None:
        arrays["step_norms"] = trained.noted.astype(np.float32)
    return arrays, attributes | {"dense_parameters": built.dense_parameters}


def _factor_decay(variant: Variant) -> Any:
    """Return how factors decay, as `tacit.optim.decay_groups` has it."""
    return {"replayed": "none", "recorded": "frobenius"}.get(variant.decay, variant.decay)


def _after(
    layers: Sequence[Factorized], variant: Variant, replayed: str | Path | None, device: torch.device, *, steps: int
) -> AfterStep | None:
    """Return what is done after each step: norms are recorded, or set to those of another run, or nothing."""
    import torch

    from tacit.training import norms

    if (variant.decay == "replayed") != (replayed is not None):
        raise ValueError(f"decay {variant.decay}: norms of another run are for replayed, and for nothing else")
    if replayed is not None:
        recorded = store.read(replayed, kind=RUN, names=["step_norms"]).arrays["step_norms"]
        if len(recorded) != steps:
            raise ValueError(f"{replayed}: norms of {len(recorded)} steps, but this training has {steps}")
        return norms.Replayed(layers, torch.from_numpy(recorded).to(device))
    return norms.Recorded(layers) if variant.decay == "recorded" else None


def _norms(network: nn.Module) -> dict[str, np.ndarray]:
    """Return what is measured of the matrices of all layers inside blocks, but what they have none of."""
    from tacit.analysis import factor_norms
    from tacit.nn.factorized import FactorizedMatrix, factorized_layers
    from tacit.nn.scaled_convnets import in_blocks

    layers = [
        layer.factors() if isinstance(layer, FactorizedMatrix) else layer.matrix()
        for layer in factorized_layers(network).values()
    ]
    found = factor_norms.measure(layers or list(classifiers.kernels(network, in_blocks).values()))
    return {name: values for name, values in found.items() if not np.isnan(values).all()}


def _deployed(network: nn.Module, test: LabelledImages, logits: Tensor, precision: str) -> dict[str, float]:
    """Return how large a network is, and how large and good it is once its factors are multiplied."""
    from tacit.nn.factorizing import collapse
    from tacit.training import evaluation

    deployed = collapse(network)
    found = evaluation.predict(deployed, test, precision=precision)
    counts = [sum(parameter.numel() for parameter in one.parameters()) for one in (network, deployed)]
    return {
        "parameters": counts[0],
        "deployed_parameters": counts[1],
        "deployed_accuracy": (found.argmax(1) == test.labels).double().mean().item(),
        "deployed_difference": ((found - logits).abs().max() / logits.abs().max()).item(),
    }
