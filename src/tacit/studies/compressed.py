"""The study on compressed networks (Khodak, Tenenholtz, Mackey, Fusi 2021, tables 1 and 2).

VGG, residual and wide residual networks of a share of their parameters: convolutions become factors of low rank or
decomposed tensors, started regularly or spectrally and decayed factor by factor or by the norm of the product, or most
of their weights are zero from the start (SNIP, GraSP, random tickets). Stages: `train` one network;
`tacit.studies.compressed_results` collects and judges.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tacit import store, streams
from tacit.data.images import ImageSet
from tacit.settings.compressed import TENSORS, RunSettings, Variant
from tacit.studies import classifiers

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from tacit.nn.factorizing import Draw, FactorizedModel
    from tacit.nn.pruning import Masks
    from tacit.training.images import LabelledImages

STUDY = "compressed"
AXES = ("source", "network", "depth", "width", *Variant._fields, "seed")
"""What tells runs from each other, as their files and tables have it."""
_LAYERS = store.Array("float64", "measured layers")
_SOME_LAYERS = store.Array("float64", "measured layers", optional=True)
RUN = store.Kind(
    "compressed run",
    {
        **classifiers.ARRAYS,
        # The share of images whose label is among the five largest logits.
        "test_top5_accuracy": store.Array("float64", "measured"),
        "held_out_top5_accuracy": store.Array("float64", "measured", optional=True),
        # By epoch, of the matrices of all layers that can be factorized.
        "frobenius_norms": _LAYERS,
        **{name: _SOME_LAYERS for name in ("nuclear_norms", "nuclear_bounds", "non_orthogonality")},
        # What is left of each of these layers.
        "layer_parameters": store.Array("int64", "layers"),
    },
    attributes=("parameters", "dense_parameters", "rank_scale", "empty_layers"),
)
"""Kind of file. Parameters are those that are not zero for ever; `rank_scale` is 0 where there is none; `empty_layers`
of a sparse network have no weight left."""


class Start(NamedTuple):
    """A network at its start."""

    network: nn.Module
    dense_parameters: int
    rank_scale: float = 0.0
    """0 where there is none."""
    masks: Masks | None = None
    """Of a sparse network, and already applied."""

    @property
    def parameters(self) -> int:
        """Parameters that are not zero for ever."""
        from tacit.nn.pruning import maskable_layers

        count = sum(parameter.numel() for parameter in self.network.parameters())
        if self.masks is None:
            return count
        pruned = {name: layer.weight.numel() for name, layer in maskable_layers(self.network).items()}
        return count - sum(pruned.values()) + sum(self.masks.kept().values())


class Named(NamedTuple):
    """Which network it is."""

    network: str
    depth: int
    width: int


def dense(settings: RunSettings, named: Named, *, seed: int) -> nn.Module:
    """Return the network that all variants of a seed are made of."""
    import torch

    from tacit.nn.scaled_convnets import ScaledConvNet
    from tacit.nn.vgg import VGG
    from tacit.nn.wide_resnets import WideResNet

    torch.manual_seed(streams.torch_seed(STUDY, "train", seed, "init", *named))
    images = settings.images
    sizes: dict[str, int] = {
        "width": named.width,
        "in_channels": images.channels,
        "num_classes": images.num_classes,
    }
    if named.network == "vgg":
        return VGG(named.depth, side=images.side, kaiming=settings.kaiming, **sizes)
    if named.network == "resnet":
        return ScaledConvNet(named.depth, kaiming=True, projected=True, **sizes)
    return WideResNet(named.depth, **sizes)


def replaced(named: Named) -> Callable[[str, nn.Module], bool]:
    """Return what tells which layers have factors in their place."""
    from tacit.nn import scaled_convnets, vgg, wide_resnets

    return {
        "vgg": vgg.after_the_first,
        "resnet": scaled_convnets.in_blocks,
        "wide_resnet": wide_resnets.in_groups,
    }[named.network]


def build(
    settings: RunSettings,
    variant: Variant,
    named: Named,
    *,
    seed: int,
    device: torch.device,
    images: LabelledImages | None = None,
) -> Start:
    """Return the network of a variant on a device; `images` are what SNIP and GraSP look at."""
    import torch

    whole = dense(settings, named, seed=seed)
    count = sum(parameter.numel() for parameter in whole.parameters())
    if variant.method == "dense":
        return Start(whole.to(device), count)
    generator = torch.Generator().manual_seed(
        streams.torch_seed(STUDY, "train", seed, variant.method, f"{variant.size:g}", *named)
    )
    if not variant.is_factorized:
        return _sparse(whole.to(device), settings, variant, named, images, generator, count)
    made = _factorized(whole, settings, variant, named, generator)
    return Start(made.model.to(device), count, made.rank_scale)


def blank(settings: RunSettings, variant: Variant, named: Named) -> nn.Module:
    """Return a network of a variant, on the CPU, to put weights into that were trained; of a sparse one masks, too."""
    import torch

    from tacit.nn.pruning import maskable_layers

    if variant.method == "dense" or variant.is_factorized:
        return build(settings, variant, named, seed=0, device=torch.device("cpu")).network
    network = dense(settings, named, seed=0)
    for layer in maskable_layers(network).values():
        layer.register_buffer("mask", torch.ones_like(layer.weight, requires_grad=False))
    return network


def _factorized(
    whole: nn.Module, settings: RunSettings, variant: Variant, named: Named, generator: torch.Generator
) -> FactorizedModel:
    from tacit.nn import factorizing

    spectral = variant.initialization == "spectral"
    if variant.method == "low_rank":
        return factorizing.factorize(
            whole,
            select=replaced(named),
            ratio=variant.size,
            spectral=spectral,
            matricisation=settings.matricisation,
            draw=_draw(settings, named),
            generator=generator,
        )
    from tacit.nn.tensor_layers import tensorize

    inside = replaced(named)
    return tensorize(
        whole,
        # Shortcuts stay dense: there is no depthwise part to take over their stride.
        select=lambda name, module: inside(name, module) and module.kernel_size != (1, 1),
        kind="tucker" if variant.method == "tucker" else "tensor_train",
        rank_scale=variant.size,
        spectral=spectral,
        core=settings.tucker_core,
        generator=generator,
    )


def _draw(settings: RunSettings, named: Named) -> Draw:
    """Return how both factors of a layer start regularly."""
    from tacit.nn import factorizing

    if named.network == "wide_resnet":
        return factorizing.fan_out_normal
    if named.network == "vgg" and not settings.kaiming:
        return factorizing.fan_in_normal
    return factorizing.kaiming_normal


def _sparse(
    network: nn.Module,
    settings: RunSettings,
    variant: Variant,
    named: Named,
    images: LabelledImages | None,
    generator: torch.Generator,
    count: int,
) -> Start:
    from tacit.nn import layout, pruning

    keep = pruning.kept_weights(network, variant.size)
    if variant.method == "random_tickets":
        layers = pruning.maskable_layers(network)
        masks = pruning.random_ticket(layers, keep, vgg=named.network == "vgg", generator=generator)
    else:
        assert images is not None
        numbers = sample(images.labels.cpu().numpy(), settings.samples_per_class, generator)
        numbers = numbers.to(images.labels.device)
        batch = images.batch(numbers, layout.memory_format(network, images.labels.device))
        seen: dict[str, Any] = {"chunk_size": settings.training.batch_size}
        # SNIP keeps what matters most to the loss, GraSP removes what holds gradients back most.
        if variant.method == "snip":
            masks = pruning.highest(pruning.snip_scores(network, batch, images.labels[numbers], **seen), keep)
        else:
            seen["redraw"] = generator if settings.redraw_head else None
            masks = pruning.lowest(pruning.grasp_scores(network, batch, images.labels[numbers], **seen), keep)
    return Start(network, count, masks=pruning.Masks(network, masks))


def sample(labels: np.ndarray, per_class: int, generator: torch.Generator) -> Tensor:
    """Return the numbers of `per_class` images of each class, or all of a class that has fewer, in random order."""
    import torch

    order = torch.randperm(len(labels), generator=generator).numpy()
    drawn = labels[order]
    places = [np.flatnonzero(drawn == label)[:per_class] for label in np.unique(labels)]
    return torch.from_numpy(order[np.sort(np.concatenate(places))])


def train(
    images: ImageSet,
    settings: RunSettings,
    variant: Variant,
    named: Named,
    *,
    seed: int,
    checkpoint: str | Path,
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Train one network and return arrays and attributes of RUN.

    Order of batches, shifts, squares and what is held out depend on the seed alone. Raises as
    `tacit.training.fitting.fit` does; an interrupted training continues from `checkpoint`.
    """
    # Here, because the tables do without torch.
    from tacit import devices
    from tacit.training import optimizers
    from tacit.training.images import Augmented, images_on

    own, stream = settings.training, (STUDY, "train", seed)
    with devices.acquire() as device:
        learned, test = images_on(device, images, settings.images)
        train_images, held_out = classifiers.divided(learned, own.held_out, (STUDY, "held out", seed))
        start = build(settings, variant, named, seed=seed, device=device, images=train_images)
        network = start.network
        trained = classifiers.fit(
            network,
            Augmented(train_images, padding=own.padding, flips=own.flips, cutout=own.cutout, stream=stream),
            test,
            held_out,
            own,
            plan=plan(settings, variant, named, start),
            rate=optimizers.stepwise(
                own.learning_rate, epochs=own.epochs, milestones=own.milestones, falls_by=own.falls_by
            ),
            stream=stream,
            coefficient=settings.coefficient,
            measure=lambda current: _norms(current, named),
            checkpoint=checkpoint,
            settings={"seed": seed} | named._asdict() | variant._asdict() | settings.plain(),
            performance=_performance,
            decays=[start.masks.mask_gradients] if start.masks else [],
        )
    arrays = trained.arrays | {"layer_parameters": np.array(_left(network, named, start.masks))}
    return arrays, {
        "parameters": start.parameters,
        "dense_parameters": start.dense_parameters,
        "rank_scale": start.rank_scale,
        "empty_layers": len(start.masks.empty()) if start.masks else 0,
    }


def plan(settings: RunSettings, variant: Variant, named: Named, start: Start) -> Any:
    """Return how the parameters of a network decay (`tacit.optim.decay_groups`)."""
    from tacit.nn import vgg
    from tacit.optim.decay_groups import decay_groups

    more: dict[str, Any] = {}
    factors: Any = variant.decay
    if factors == "scaled":
        more["ratio"] = start.parameters / start.dense_parameters
    if variant.method == "low_rank" and settings.decay_groups == "published":
        if named.network == "vgg" and factors == "frobenius":
            more["without_weight_decay"] = vgg.published_leak(start.network)
        if named.network == "wide_resnet" and factors != "frobenius":
            more["also_frobenius"] = lambda name: name.endswith("shortcut")
    if variant.method in TENSORS and factors == "frobenius" and settings.tensor_frobenius == "published":
        factors = "none"
    return decay_groups(start.network, settings.coefficient, factors=factors, **more)


def _norms(network: nn.Module, named: Named) -> dict[str, np.ndarray]:
    """Return Frobenius norms, and of two factors nuclear norms, their bounds, and how far from orthogonal they are."""
    import torch

    from tacit.analysis import factor_norms
    from tacit.nn.factorized import FactorizedMatrix, factorized_layers

    layers = list(factorized_layers(network).values())
    if not layers:
        norms = torch.stack([kernel.norm() for kernel in classifiers.kernels(network, replaced(named)).values()])
        return {"frobenius_norms": norms.double().cpu().numpy()}
    matrices = [layer.factors() for layer in layers if isinstance(layer, FactorizedMatrix)]
    if matrices:
        return factor_norms.measure(matrices)
    return {"frobenius_norms": factor_norms.frobenius_norms(layers).double().cpu().numpy()}


def _left(network: nn.Module, named: Named, masks: Masks | None) -> list[int]:
    """Return how many numbers of each layer that can be factorized are not zero for ever."""
    from tacit.nn.factorized import factorized_layers

    if layers := factorized_layers(network):
        return [sum(parameter.numel() for parameter in layer.parameters()) for layer in layers.values()]
    kept = masks.kept() if masks else {}
    kernels = classifiers.kernels(network, replaced(named))
    return [kept.get(name, kernel.numel()) for name, kernel in kernels.items()]


def _performance(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Return loss, accuracy, and accuracy among the five largest logits."""
    from tacit.training import evaluation

    nearest = logits.topk(min(5, logits.shape[1]), dim=1).indices
    among = (nearest == labels[:, None]).any(1).double().mean().item()
    return evaluation.performance(logits, labels) | {"top5_accuracy": among}
