"""Ranks of factorized layers from one scale, and the scale that brings a model to a share of its size or of its work.

After Khodak, Tenenholtz, Mackey, Fusi 2021. The rank of a convolution (O, I, kh, kw) is round(scale O kh), at least 1;
that of a linear layer or an embedding is round(scale min(rows, columns)); ties go to the even number. What a factorized
layer costs follows from its rank r and its shape, parameters r (m + n) with (m, n) = (O kh, I kw), so that no network
is built to find a scale: `solve` bisects, as published, what is counted here.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

TOLERANCE = 1e-6
"""Of the published bisection, in both the scale and the share."""

Factorizable = nn.Conv2d | nn.Linear | nn.Embedding
"""Layers that can be factorized."""


def convolution_rank(rank_scale: float, out_channels: int, height: int) -> int:
    """Return the rank of a convolution with O `out_channels` and kernels of kh = `height` rows, at least 1.

    It goes by the rows of the matrix alone, so it can exceed the number of columns.
    """
    return max(round(rank_scale * out_channels * height), 1)


def matrix_rank(rank_scale: float, rows: int, columns: int) -> int:
    """Return the rank of a linear layer or an embedding; 0 if the scale is too small for it."""
    return round(rank_scale * min(rows, columns))


def matrix_shape(layer: Factorizable) -> tuple[int, int]:
    """Return (m, n) of the matrix that a layer is factorized as."""
    if isinstance(layer, nn.Conv2d):
        height, width = layer.kernel_size
        return layer.out_channels * height, layer.in_channels * width
    rows, columns = layer.weight.shape
    return rows, columns


def layer_rank(layer: Factorizable, rank_scale: float) -> int:
    """Return the rank that a layer gets; 0 for none."""
    if isinstance(layer, nn.Conv2d):
        return convolution_rank(rank_scale, layer.out_channels, layer.kernel_size[0])
    return matrix_rank(rank_scale, *matrix_shape(layer))


class LayerCost(NamedTuple):
    """What one layer costs, as it is and factorized."""

    layer: Factorizable
    dense: int
    per_rank: int
    """Cost of one rank of U and VT."""
    per_square: int = 0
    """Cost of one of the r^2 entries of M."""

    def at(self, rank_scale: float) -> int:
        """Return the cost of the factorized layer."""
        rank = layer_rank(self.layer, rank_scale)
        return rank * self.per_rank + rank**2 * self.per_square


class Cost(NamedTuple):
    """What a model costs: parameters, or multiply-adds."""

    layers: tuple[LayerCost, ...]
    """Those that are factorized."""
    rest: int
    """Of all else."""

    @property
    def dense(self) -> int:
        """Cost of the model as it is."""
        return self.rest + sum(layer.dense for layer in self.layers)

    def at(self, rank_scale: float) -> int:
        """Return the cost of the factorized model."""
        return self.rest + sum(layer.at(rank_scale) for layer in self.layers)

    def ratio(self, rank_scale: float) -> float:
        """Return the cost of the factorized model as a share of that of the dense one."""
        return self.at(rank_scale) / self.dense


class Solution(NamedTuple):
    """A scale, and what it leads to."""

    rank_scale: float
    amount: int
    """Parameters, or multiply-adds."""
    ratio: float


def solve(cost: Cost, target: float, *, tolerance: float = TOLERANCE) -> Solution:
    """Return the scale in [0, 1] whose ratio is nearest to `target`, by the published bisection.

    The best of all midpoints tried is taken, the earliest of equals. Since ranks are whole numbers, the ratio rises in
    steps and the target is met as well as one of its two neighbours does.

    Raises:
        ValueError: if `target` is not between 0 and 1, nothing is to be factorized, or no scale up to 1 comes near.
    """
    if not 0 < target < 1:
        raise ValueError(f"ratio = {target}: a share of the dense model lies between 0 and 1")
    if not cost.layers:
        raise ValueError("no layer is to be factorized, so there is no ratio to choose")
    least, most = cost.ratio(0), cost.ratio(1)
    if not least <= target <= most:
        raise ValueError(f"ratio = {target}: factorizing these layers leads to ratios from {least:.6f} to {most:.6f}")
    low, high, best = 0.0, 1.0, None
    while True:
        middle = (low + high) / 2
        ratio = cost.ratio(middle)
        if best is None or abs(ratio - target) < abs(best.ratio - target):
            best = Solution(middle, cost.at(middle), ratio)
        if high - low < tolerance or abs(ratio - target) < tolerance:
            return best
        low, high = (middle, high) if ratio < target else (low, middle)


def parameter_cost(model: nn.Module, layers: Iterable[Factorizable], *, factors: int = 2) -> Cost:
    """Count parameters of a model, of which `layers` are to be factorized; on any device, the meta device too.

    All parameters count, those of normalisation and biases too, and those that are used twice once. `factors` is 3 for
    a matrix M in the middle.
    """
    costs = tuple(
        LayerCost(layer, layer.weight.numel(), sum(matrix_shape(layer)), per_square=int(factors == 3))
        for layer in layers
    )
    whole = sum(parameter.numel() for parameter in model.parameters())
    return Cost(costs, whole - sum(cost.dense for cost in costs))


def multiply_add_cost(
    model: nn.Module, layers: Mapping[str, Factorizable], example: Tensor, *, factors: int = 2
) -> Cost:
    """Count the multiplications of convolutions and linear layers in one pass over `example`, a batch of any size.

    `layers`, by their names in `model`, are to be factorized, convolutions in their form with two convolutions. Padding
    counts as if it were pixels. With three factors M VT is formed once a pass. Nothing is computed: a copy of the model
    without memory (the meta device), in evaluation mode, sees an input of the shape of `example`.
    """
    passed = _calls(model, example)
    rest, costs = 0, []
    chosen = set(layers)
    for name, module in model.named_modules():
        if not isinstance(module, Factorizable):
            continue
        calls = passed.get(name, [])
        dense = sum(_dense(module, given, made) for given, made in calls)
        if name in chosen:
            per_rank = sum(_per_rank(module, given, made) for given, made in calls)
            per_square = matrix_shape(module)[1] * len(calls) if factors == 3 else 0
            costs.append(LayerCost(module, dense, per_rank, per_square))
        else:
            rest += dense
    return Cost(tuple(costs), rest)


Call = tuple[torch.Size, torch.Size]
"""The shapes of what a layer was given, and of what it made."""


def _calls(model: nn.Module, example: Tensor) -> dict[str, list[Call]]:
    """Return with which shapes each layer was called in a pass, by its name."""
    tensors = [*model.parameters(), *model.buffers()]
    # What deepcopy finds in its memo it does not copy, so that no weight is held twice.
    memo: dict[int, Any] = {id(tensor): _without_memory(tensor) for tensor in tensors}
    shadow = copy.deepcopy(model, memo).eval()
    passed: dict[str, list[Call]] = {}
    for name, module in shadow.named_modules():
        if isinstance(module, Factorizable):
            module.register_forward_hook(
                lambda _, given, made, name=name: passed.setdefault(name, []).append((given[0].shape, made.shape))
            )
    with torch.no_grad():
        shadow(example.to("meta"))
    return passed


def _without_memory(tensor: Tensor) -> Tensor:
    empty = tensor.detach().to("meta")
    return nn.Parameter(empty, requires_grad=False) if isinstance(tensor, nn.Parameter) else empty


def _dense(layer: Factorizable, given: torch.Size, made: torch.Size) -> int:
    if isinstance(layer, nn.Embedding):
        return 0
    if isinstance(layer, nn.Linear):
        return given.numel() * layer.out_features
    return made.numel() * layer.weight[0].numel()


def _per_rank(layer: Factorizable, given: torch.Size, made: torch.Size) -> int:
    if isinstance(layer, nn.Embedding):
        return made.numel()
    if isinstance(layer, nn.Linear):
        return given.numel() + made.numel()
    height, width = layer.kernel_size
    # One row of taps leaves out at once what the stride skips.
    between = made[-2] if height == 1 and layer.stride[0] > 1 else given[-2]
    examples = made.numel() // made[-3:].numel()
    return examples * (layer.in_channels * width * between * made[-1] + layer.out_channels * height * made[-2:].numel())
