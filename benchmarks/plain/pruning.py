"""Scores of weights, and training of what is kept, as the published code of SNIP and GraSP has them.

Every layer has a mask that its weight is multiplied by in each forward pass; scores of SNIP are gradients in these.
GraSP takes gradients in two loops over the images, of which the second multiplies them with those of the first, layer
by layer, and goes backward through everything.
"""

from __future__ import annotations

import copy
from types import MethodType

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, cross_entropy, linear


def layers_of(network: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    """Return convolutions and linear layers in their order."""
    return [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]


def multiply_by_masks(network: nn.Module, masks: list[Tensor]) -> None:
    """Make every layer multiply its weight by its mask whenever it is called."""
    for layer, mask in zip(layers_of(network), masks, strict=True):
        layer.mask = mask  # type: ignore[assignment]
        own = _convolve if isinstance(layer, nn.Conv2d) else _connect
        layer.forward = MethodType(own, layer)  # type: ignore[method-assign]


def _convolve(layer: nn.Conv2d, x: Tensor) -> Tensor:
    return conv2d(x, layer.weight * layer.mask, layer.bias, layer.stride, layer.padding)


def _connect(layer: nn.Linear, x: Tensor) -> Tensor:
    return linear(x, layer.weight * layer.mask, layer.bias)


def snip(network: nn.Module, images: Tensor, labels: Tensor) -> list[Tensor]:
    """Return |dL/dc| for masks c of ones."""
    network = copy.deepcopy(network)
    masks = [torch.ones_like(layer.weight).detach().requires_grad_() for layer in layers_of(network)]
    for layer in layers_of(network):
        layer.weight.requires_grad_(False)
    multiply_by_masks(network, masks)
    cross_entropy(network(images), labels).backward()
    return [mask.grad.abs() for mask in masks]


def grasp(network: nn.Module, images: Tensor, labels: Tensor, *, chunk: int, temperature: float) -> list[Tensor]:
    """Return -w (H g) of the mean loss of chunks of equal size."""
    network = copy.deepcopy(network)
    weights = [layer.weight for layer in layers_of(network)]
    pairs = list(zip(images.split(chunk), labels.split(chunk), strict=True))
    gradients: list[Tensor] | None = None
    for some, of_some in pairs:
        loss = cross_entropy(network(some) / temperature, of_some)
        found = torch.autograd.grad(loss, weights, create_graph=False)
        gradients = list(found) if gradients is None else [a + b for a, b in zip(gradients, found, strict=True)]
    assert gradients is not None
    for some, of_some in pairs:
        loss = cross_entropy(network(some) / temperature, of_some)
        slopes = torch.autograd.grad(loss, weights, create_graph=True)
        along = torch.zeros(())
        for slope, gradient in zip(slopes, gradients, strict=True):
            along = along.to(slope) + (gradient.detach() * slope).sum()
        along.backward()
    # Both are sums over the chunks, where ours are means.
    return [-weight.detach() * weight.grad / len(pairs) ** 2 for weight in weights]
