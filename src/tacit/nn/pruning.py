"""Networks that are sparse from the start: which weights are kept, and training that leaves the others at zero.

Weights of all convolutions and linear layers compete; biases and normalisation are never pruned. They are chosen before
the first step,

    SNIP (Lee, Ajanthan, Torr 2019):          keeps the largest  |w dL/dw|, the slope of the loss in a mask on w,
    GraSP (Wang, Zhang, Grosse 2020):         removes the largest  -w (H g), how fast |g|^2 / 2 rises as w shrinks,
    random tickets (Su et al. 2020):          keeps shares that depend on a layer's place alone, weights drawn,

with the gradient g and Hessian H of the loss L in the weights that compete. Kept weights start as they were. How many
are kept is met exactly; of equal scores the first are kept, by the order of layers and of weights in them.

A layer is named as in the model; scores and masks have the shape of its weight.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

log = logging.getLogger(__name__)

Maskable = nn.Conv2d | nn.Linear
"""Layers whose weights can be pruned."""

TEMPERATURE = 200.0
"""By which the published GraSP divides logits."""

LINEAR_SHARE = Fraction(3, 10)
"""Share of the weights of a linear layer that a random ticket keeps."""


def maskable_layers(model: nn.Module) -> dict[str, Maskable]:
    """Return convolutions and linear layers of a model by name, in the order of modules, each weight once."""
    found: dict[Tensor, tuple[str, Maskable]] = {}
    for name, module in model.named_modules():
        if isinstance(module, Maskable):
            found.setdefault(module.weight, (name, module))
    return dict(found.values())


def kept_weights(model: nn.Module, ratio: float) -> int:
    """Return how many weights to keep, so that a model has `ratio` of its parameters; all that is never pruned counts.

    Raises ValueError if that leaves less than one weight, or the ratio is above 1.
    """
    weights = sum(layer.weight.numel() for layer in maskable_layers(model).values())
    parameters = sum(parameter.numel() for parameter in model.parameters())
    rest = parameters - weights
    keep = round(ratio * parameters) - rest if 0 < ratio <= 1 else 0
    if keep < 1:
        least = (rest + 1) / parameters
        raise ValueError(
            f"ratio = {ratio}: {rest:,} of {parameters:,} parameters are never pruned, so it is {least:.4g} to 1"
        )
    return keep


@torch.enable_grad()
def snip_scores(
    model: nn.Module, images: Tensor, labels: Tensor, *, chunk_size: int | None = None
) -> dict[str, Tensor]:
    """Return |w dL/dw| of each weight, L being the mean cross-entropy of images (B, C, H, W) with labels (B,).

    Computed on a copy of `model` in training mode, `chunk_size` images at a time (all by default), each with its own
    statistics.
    """
    network, weights, chunks = _prepared(model, images, labels, chunk_size)
    gradients = _mean_gradients(network, weights, chunks, temperature=1.0)
    return {
        name: (weight.detach() * gradient).abs()
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
    }


@torch.enable_grad()
def grasp_scores(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    temperature: float = TEMPERATURE,
    chunk_size: int | None = None,
    redraw: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """Return -w (H g) of each weight; those with the largest are to be removed.

    With a generator `redraw`, of the CPU, weights of linear layers are drawn anew for this (Xavier, normal), as the
    published code does: of a head that starts small little would be left to see.

    The loss is the mean cross-entropy of logits divided by `temperature`, of images (B, C, H, W) with labels (B,).
    Computed on a copy of `model` in training mode, `chunk_size` images at a time (all by default), each with its own
    statistics: g is the mean over all, then H g is summed chunk by chunk.
    """
    network, weights, chunks = _prepared(model, images, labels, chunk_size)
    for layer in maskable_layers(network).values():
        if redraw is not None and isinstance(layer, nn.Linear):
            drawn = nn.init.xavier_normal_(torch.empty(layer.weight.shape), generator=redraw)
            layer.weight.data.copy_(drawn)
    # The last chunk is differentiated once for both, so that a batch in one chunk is passed through once.
    *others, last = chunks
    gradients = _mean_gradients(network, weights, others, temperature=temperature)
    (loss,) = _losses(network, [last], temperature)
    slopes = _slopes(loss, weights, create_graph=True)
    _add(gradients, [slope.detach() for slope in slopes])
    products = _along(slopes, gradients, weights)
    for loss in _losses(network, others, temperature):
        slopes = _slopes(loss, weights, create_graph=True)
        _add(products, _along(slopes, gradients, weights))
    return {name: -weight.detach() * product for (name, weight), product in zip(weights.items(), products, strict=True)}


def _slopes(value: Tensor, weights: Mapping[str, Tensor], *, create_graph: bool = False) -> list[Tensor]:
    """Return the gradient by each weight, 0 of those that nothing depends on."""
    found = torch.autograd.grad(value, list(weights.values()), create_graph=create_graph, materialize_grads=True)
    return list(found)


def _along(slopes: Sequence[Tensor], gradients: Sequence[Tensor], weights: Mapping[str, Tensor]) -> list[Tensor]:
    """Return the Hessian whose `slopes` are given times `gradients`."""
    product = torch.stack([(slope * gradient).sum() for slope, gradient in zip(slopes, gradients, strict=True)]).sum()
    return _slopes(product, weights)


Chunks = Sequence[tuple[Tensor, Tensor, float]]
"""Images, labels, and their share of the batch."""


def _prepared(
    model: nn.Module, images: Tensor, labels: Tensor, chunk_size: int | None
) -> tuple[nn.Module, dict[str, Tensor], Chunks]:
    """Return a copy in training mode of which only the weights are differentiated, these by name, and the chunks."""
    size = len(labels) if chunk_size is None else chunk_size
    if not len(labels) or size < 1:
        raise ValueError(f"{len(labels)} images, chunk_size = {chunk_size}: scores are of one image or more at a time")
    network = copy.deepcopy(model).train().requires_grad_(False)
    weights = {name: layer.weight.requires_grad_() for name, layer in maskable_layers(network).items()}
    pairs = zip(images.split(size), labels.split(size), strict=True)
    return network, weights, [(some, of_some, len(of_some) / len(labels)) for some, of_some in pairs]


def _losses(network: nn.Module, chunks: Chunks, temperature: float) -> Iterator[Tensor]:
    """Compute the loss chunk by chunk, each weighted by its share."""
    for images, labels, share in chunks:
        yield share * cross_entropy(network(images) / temperature, labels)


def _mean_gradients(
    network: nn.Module, weights: Mapping[str, Tensor], chunks: Chunks, *, temperature: float
) -> list[Tensor]:
    found = [torch.zeros_like(weight) for weight in weights.values()]
    for loss in _losses(network, chunks, temperature):
        _add(found, _slopes(loss, weights))
    return found


def _add(sums: list[Tensor], terms: Sequence[Tensor]) -> None:
    for total, term in zip(sums, terms, strict=True):
        total += term


def highest(scores: Mapping[str, Tensor], keep: int) -> dict[str, Tensor]:
    """Return masks, bool on the CPU, of the `keep` weights with the highest scores of all layers together.

    Of equal scores the first are kept. Raises ValueError if scores are not finite, or there are fewer than `keep`.
    """
    flat = torch.cat([score.detach().cpu().flatten() for score in scores.values()])
    if not flat.isfinite().all():
        raise ValueError("some scores of weights are not finite: the network cannot be pruned by them")
    _check_keep(keep, len(flat))
    # Not sorted: of 20 million weights one value is sought, and ties are settled by place, with any number of threads.
    least = flat.kthvalue(len(flat) - keep + 1).values
    kept = flat > least
    ties = (flat == least).nonzero().flatten()
    kept[ties[: keep - int(kept.sum())]] = True
    parts = kept.split([score.numel() for score in scores.values()])
    return {name: part.view(score.shape) for (name, score), part in zip(scores.items(), parts, strict=True)}


def lowest(scores: Mapping[str, Tensor], keep: int) -> dict[str, Tensor]:
    """Return masks of the `keep` weights with the lowest scores, as GraSP keeps them; else as `highest`."""
    return highest({name: -score for name, score in scores.items()}, keep)


def random_ticket_shares(layers: Mapping[str, Maskable], keep: int, *, vgg: bool = False) -> dict[str, float]:
    """Return which share of its weights each layer keeps in a random ticket of `keep` weights ("smart ratios").

    With k = L - l + 1, the l-th of L layers, from 1, has a share proportional to k^2 + k, for `vgg` divided by l^2, but
    linear layers have 0.3. What exceeds a layer goes to the next convolutions that have room; if none has, to the
    linear layers. Raises ValueError if `keep` is less than what linear layers have, or more than all weights.
    """
    amounts = _ticket(layers, keep, vgg=vgg)
    return {name: float(amount / layers[name].weight.numel()) for name, amount in amounts.items()}


def random_ticket(
    layers: Mapping[str, Maskable], keep: int, *, generator: torch.Generator, vgg: bool = False
) -> dict[str, Tensor]:
    """Return masks, bool on the CPU, of a random ticket of exactly `keep` weights, drawn uniformly within each layer.

    Layers keep the shares of `random_ticket_shares`, rounded by largest remainders, the first of equal ones.
    `generator` is one of the CPU. Raises as `random_ticket_shares` does.
    """
    amounts = _ticket(layers, keep, vgg=vgg)
    counts = {name: int(amount) for name, amount in amounts.items()}
    missing = keep - sum(counts.values())
    for name in sorted(amounts, key=lambda name: counts[name] - amounts[name])[:missing]:
        counts[name] += 1
    return {name: _drawn(layer.weight, counts[name], generator) for name, layer in layers.items()}


def _drawn(weight: Tensor, count: int, generator: torch.Generator) -> Tensor:
    mask = torch.zeros(weight.numel(), dtype=torch.bool)
    mask[torch.randperm(weight.numel(), generator=generator)[:count]] = True
    return mask.view(weight.shape)


def _ticket(layers: Mapping[str, Maskable], keep: int, *, vgg: bool) -> dict[str, Fraction]:
    """Return how many weights of each layer a ticket keeps, before rounding; they add up to `keep` exactly."""
    sizes = {name: layer.weight.numel() for name, layer in layers.items()}
    _check_keep(keep, sum(sizes.values()))
    amounts = {name: LINEAR_SHARE * sizes[name] for name, layer in layers.items() if isinstance(layer, nn.Linear)}
    left = keep - sum(amounts.values(), Fraction(0))
    if left < 0:
        raise ValueError(f"keep = {keep}: linear layers alone keep {float(keep - left):g} weights of a random ticket")
    parts = {}
    for place, name in enumerate(layers, start=1):
        if name not in amounts:
            rest = len(layers) - place + 1
            parts[name] = sizes[name] * Fraction(rest**2 + rest, place**2 if vgg else 1)
    whole = sum(parts.values())
    carried = Fraction(0) if parts else left
    for name, part in parts.items():
        wanted = left * part / whole + carried
        amounts[name] = min(wanted, Fraction(sizes[name]))
        carried = wanted - amounts[name]
    for name in layers:
        if carried and name not in parts:
            more = min(carried, sizes[name] - amounts[name])
            amounts[name] += more
            carried -= more
    return {name: amounts[name] for name in layers}


def _check_keep(keep: int, weights: int) -> None:
    if not 1 <= keep <= weights:
        raise ValueError(f"keep = {keep}: of {weights:,} weights at least one is kept and at most all are")


class Masks:
    """Masks on the weights of a model that stay through its training.

    The weights left out are set to zero once. With their gradients set to zero before each step they stay at exactly
    zero, as momentum and weight decay of what is zero are zero, too: nothing is multiplied in forward passes. That
    holds for optimizers whose step is zero where gradient and weight have always been, and as long as no other weights
    are put in their place. Layers hold their masks as
    buffers, `mask`, of the precision of weights, so that a training that is resumed has those that it began with.
    """

    def __init__(self, model: nn.Module, masks: Mapping[str, Tensor]):
        """Prune `model` by bool masks for all its layers of `maskable_layers`, or some.

        Says in the log which layers lose all weights. Raises ValueError for a mask of another shape or of no layer.
        """
        layers = maskable_layers(model)
        for name, mask in masks.items():
            shape = tuple(layers[name].weight.shape) if name in layers else None
            if name in layers and not isinstance(layers[name].weight, nn.Parameter):
                raise ValueError(f"a mask of {name!r}, {layers[name]}: its weight is computed from other parameters")
            if tuple(mask.shape) != shape or mask.dtype != torch.bool:
                raise ValueError(f"a mask {tuple(mask.shape)}, {mask.dtype}, of {name!r}: it is {shape}, torch.bool")
        self._layers = {name: layers[name] for name in masks}
        with torch.no_grad():
            for name, mask in masks.items():
                layer = layers[name]
                layer.weight.masked_fill_(~mask.to(layer.weight.device), 0)
                # A buffer, so that what is saved of a network says which weights those at zero are.
                layer.register_buffer("mask", torch.empty_like(layer.weight, requires_grad=False).copy_(mask))
        if empty := self.empty():
            log.warning("%d of %d layers lose all their weights: %s", len(empty), len(masks), ", ".join(empty))

    def kept(self) -> dict[str, int]:
        """Return how many weights each layer keeps."""
        return {name: int(cast(Tensor, layer.mask).sum(dtype=torch.float64)) for name, layer in self._layers.items()}

    def empty(self) -> list[str]:
        """Return the names of layers that lose all their weights."""
        return [name for name, count in self.kept().items() if not count]

    @torch.no_grad()
    def mask_gradients(self) -> None:
        """Set the gradients of weights left out to zero: the last of what `Minimize` calls before a step."""
        gradients: list[Tensor] = []
        masks: list[Tensor] = []
        for layer in self._layers.values():
            gradient, mask = layer.weight.grad, cast(Tensor, layer.mask)
            if gradient is None:
                continue
            # As the gradient lies in memory, once the model has been moved: all layers are then one computation.
            if (mask.device, mask.dtype, mask.stride()) != (gradient.device, gradient.dtype, gradient.stride()):
                mask = layer.mask = torch.empty_like(gradient).copy_(mask)
            gradients.append(gradient)
            masks.append(mask)
        if gradients:
            torch._foreach_mul_(gradients, masks)
