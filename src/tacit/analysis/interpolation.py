"""Paths from one network to another (d'Ascoli, Sagun, Bruna, Biroli 2019, section on interpolation).

A path is seen at `points` networks, alpha = 0 the first and 1 the last. `linear` mixes weights; `curvilinear` moreover
gives every tensor of weights the mixed norm; `average` mixes logits; for the string see `tacit.training.chain`.

Weights of networks without dense layers are mixed as locally connected ones, which is the same as mixing those of the
fully connected networks they embed in: what they lack there are zeros at both ends.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from tacit.nn.local import LocalConv2d
from tacit.nn.untying import to_dense, to_local, weighted


def common_space(first: nn.Sequential, last: nn.Sequential, *, side: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Return both networks as locally connected ones, or as fully connected ones if either has dense layers instead."""
    kinds = [any(isinstance(module, nn.Conv2d | LocalConv2d) for module in network) for network in (first, last)]
    if all(kinds):
        return to_local(first, side=side), to_local(last, side=side)
    return to_dense(first, side=side), to_dense(last, side=side)


def tensors(network: nn.Sequential) -> list[Tensor]:
    """Return weights and biases of each layer; of a locally connected one those of all positions, inert ones too."""
    found: list[Tensor] = []
    for module in weighted(network):
        if isinstance(module, LocalConv2d):
            found += module.all_filters()
        else:
            found += [module.weight.detach(), _bias(module).detach()]
    return found


def with_tensors(network: nn.Sequential, values: Sequence[Tensor]) -> nn.Sequential:
    """Return a copy of `network` with weights and biases `values`, in the order of `tensors`."""
    network, following = copy.deepcopy(network), iter(values)
    with torch.no_grad():
        for module in weighted(network):
            weight, bias = next(following), next(following)
            if isinstance(module, LocalConv2d):
                module.set_filters(weight, bias)
            else:
                module.weight.copy_(weight)
                _bias(module).copy_(bias)
    return network


def _bias(module: nn.Conv2d | nn.Linear) -> Tensor:
    if module.bias is None:
        raise ValueError(f"a layer without a bias: {module}")
    return module.bias


def linear(first: Sequence[Tensor], last: Sequence[Tensor], alpha: float) -> list[Tensor]:
    """Return (1 - alpha) first + alpha last, tensor by tensor."""
    return [(1 - alpha) * a + alpha * b for a, b in zip(first, last, strict=True)]


def curvilinear(first: Sequence[Tensor], last: Sequence[Tensor], alpha: float) -> list[Tensor]:
    """Return the linear mix, each tensor rescaled to the linear mix of the norms; a mix that is zero stays zero."""
    mixed = []
    for a, b, c in zip(first, last, linear(first, last, alpha), strict=True):
        norm = (1 - alpha) * a.norm() + alpha * b.norm()
        mixed.append(c * torch.where(c.norm() > 0, norm / c.norm(), 1.0))
    return mixed


def alphas(points: int) -> np.ndarray:
    """Return `points` numbers evenly from 0 to 1."""
    return np.linspace(0, 1, points)


def along(first: nn.Sequential, last: nn.Sequential, points: int) -> list[nn.Sequential]:
    """Return `points` networks evenly on the straight line between two of one kind, ends included."""
    ends = tensors(first), tensors(last)
    return [with_tensors(first, linear(*ends, alpha)) for alpha in alphas(points)]
