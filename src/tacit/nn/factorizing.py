"""Replacing layers of a model by factorized ones, and factorized layers by dense ones.

After Khodak, Tenenholtz, Mackey, Fusi 2021, sections 2 and 3. The factors start from the weights of the layer that they
replace, drawn or trained (spectral initialisation: the nearest matrix of this rank, balanced), or are drawn anew. A
matrix M between the two starts as the identity, so that it changes nothing at first. Collapsed, a model has the size it
had before, whatever the ranks were: training with more parameters than are deployed is "wide" (a rank scale above 1) or
"deep" (three factors).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tacit.nn import rank_solver
from tacit.nn.factorized import (
    Factorized,
    FactorizedConv2d,
    FactorizedEmbedding,
    FactorizedLinear,
    FactorizedMatrix,
    Matricisation,
    factorized_layers,
    matricised,
)
from tacit.nn.factors import Factors, spectral_factors
from tacit.nn.rank_solver import Factorizable

Select = Callable[[str, nn.Module], bool]
"""Tells from its name and the layer itself whether a convolution, linear layer or embedding is to be factorized."""

Draw = Callable[[Tensor, Factorizable, torch.Generator | None], object]
"""Fills one factor, (m, r) or (r, n), in place; it is told the layer that is replaced, and the generator to use."""


def kaiming_normal(factor: Tensor, layer: Factorizable, generator: torch.Generator | None) -> None:
    """Draw N(0, 2 / columns): each factor as a linear layer before a ReLU."""
    nn.init.kaiming_normal_(factor, nonlinearity="relu", generator=generator)


def fan_in_normal(factor: Tensor, layer: Factorizable, generator: torch.Generator | None) -> None:
    """Draw both factors N(0, 2 / (I kh kw)), of the layer that is replaced, as published for VGG."""
    nn.init.normal_(factor, std=(2 / layer.weight[0].numel()) ** 0.5, generator=generator)


def fan_out_normal(factor: Tensor, layer: Factorizable, generator: torch.Generator | None) -> None:
    """Draw both factors N(0, 2 / (O kh kw)), of the layer that is replaced, as published for wide residual networks."""
    nn.init.normal_(factor, std=(2 / layer.weight[:, 0].numel()) ** 0.5, generator=generator)


def normal(std: float) -> Draw:
    """Return what draws N(0, std^2), as published for embeddings with std 0.1."""
    return lambda factor, _, generator: nn.init.normal_(factor, std=std, generator=generator)


def uniform(bound: float) -> Draw:
    """Return what draws uniformly in [-bound, bound], as published for linear layers of a Transformer with 0.1."""
    return lambda factor, _, generator: nn.init.uniform_(factor, -bound, bound, generator=generator)


class FactorizedModel(NamedTuple):
    """A model with factorized layers, and how large it is."""

    model: nn.Module
    rank_scale: float
    parameters: int
    """Of the factorized model."""
    dense_parameters: int
    """Of the model it was made of, and so of the collapsed one."""
    ranks: Mapping[str, int | tuple[int, ...]]
    """Of each factorized layer, by name, in the order of the modules; those of tensors are several."""

    @property
    def ratio(self) -> float:
        """Parameters of the factorized model as a share of those of the dense one."""
        return self.parameters / self.dense_parameters


def factorize(
    model: nn.Module,
    *,
    select: Select | None = None,
    rank_scale: float | None = None,
    ratio: float | None = None,
    factors: int = 2,
    spectral: bool = True,
    matricisation: Matricisation = "repaired",
    draw: Draw = kaiming_normal,
    residual: float = 0.0,
    one_convolution: bool | None = None,
    generator: torch.Generator | None = None,
) -> FactorizedModel:
    """Return a copy of `model` with layers factorized; nothing is shared with it.

    A layer in several places is factorized once, and shared as before. Precision, device, mode and what is frozen stay.

    Args:
        model: any module, a single layer too.
        select: which of all convolutions, linear layers and embeddings; by default every convolution but the first.
        rank_scale: ranks relative to the size of layers (`rank_solver`).
        ratio: or parameters of the factorized model as a share of those of `model`.
        factors: 3 puts a square matrix M between U and VT.
        spectral: start from the best approximation of the weights of `model`; otherwise from `draw`.
        matricisation: of kernels, for the spectral start; "published" does not keep the kernels.
        draw: what fills U and then VT, layer after layer, if the start is not spectral.
        residual: standard deviation of noise on the identity that M starts as.
        one_convolution: form of convolutions; by default with one if the rank scale is 1 or more, else with two.
        generator: of all draws; by default PyTorch's own.

    Raises ValueError if not exactly one of `rank_scale` and `ratio` is given, the ratio is out of reach, no layer is
    selected, a rank would be 0, or a selected layer has no factorized form.
    """
    if (rank_scale is None) == (ratio is None):
        raise ValueError("give either rank_scale or ratio")
    if factors not in (2, 3) or residual < 0 or (residual and factors == 2):
        raise ValueError(f"factors = {factors}, residual = {residual}: factors are 2, or 3 with noise on M")
    model = copy.deepcopy(model)
    layers = selected(model, select)
    cost = rank_solver.parameter_cost(model, layers.values(), factors=factors)
    if rank_scale is None:
        assert ratio is not None
        rank_scale = rank_solver.solve(cost, ratio).rank_scale
    ranks = _ranks(layers, rank_scale)
    one = rank_scale >= 1 if one_convolution is None else one_convolution
    replacements: dict[nn.Module, nn.Module] = {}
    for name, layer in layers.items():
        rank = ranks[name]
        parts = _spectral(layer, rank, matricisation) if spectral else _drawn(layer, rank, draw, generator)
        if factors == 3:
            parts = parts._replace(M=_nearly_identity(parts, residual, generator))
        replacements[layer] = _factorized(layer, parts, one_convolution=one)
    return FactorizedModel(replaced(model, replacements), rank_scale, cost.at(rank_scale), cost.dense, ranks)


def collapse(model: nn.Module) -> nn.Module:
    """Return a copy of `model` with its factorized layers as dense ones: equal outputs, nothing shared with `model`.

    >>> import torch, tacit
    >>> wide = tacit.factorize(torch.nn.Linear(6, 4), 2.0, select=[""]).model
    >>> wide.rank, tacit.collapse(wide)
    (8, Linear(in_features=6, out_features=4, bias=True))
    """
    model = copy.deepcopy(model)
    return replaced(model, {layer: layer.dense() for layer in factorized_layers(model).values()})


def selected(model: nn.Module, select: Select | None = None) -> dict[str, Factorizable]:
    """Return the layers to factorize by name, in the order of modules, each once; as `factorize` selects.

    Raises ValueError if there is none, or one has no factorized form.
    """
    layers = {name: module for name, module in model.named_modules() if isinstance(module, Factorizable)}
    if select is None:
        convolutions = [name for name, layer in layers.items() if isinstance(layer, nn.Conv2d)]
        chosen = {name: layers[name] for name in convolutions[1:]}
    else:
        chosen = {name: layer for name, layer in layers.items() if select(name, layer)}
    if not chosen:
        already = len(factorized_layers(model))
        more = f", and {already} that are factorized already" if already else ""
        raise ValueError(f"no layer is selected; there are {', '.join(map(repr, layers)) or 'none to factorize'}{more}")
    owners: dict[Tensor, list[str]] = {}
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(parameter, []).append(name)
    for name, layer in chosen.items():
        reason = _obstacle(layer)
        if len(owners.get(layer.weight, ())) > 1:
            reason = f"its weight is also that of {[other for other in owners[layer.weight] if other != name]}"
        if reason:
            raise ValueError(f"{name or 'the model'}, {layer}, cannot be factorized: {reason}")
    return chosen


def _obstacle(layer: Factorizable) -> str | None:
    """Say why a layer has no factorized form, if so."""
    if type(layer).forward not in (nn.Conv2d.forward, nn.Linear.forward, nn.Embedding.forward):
        return f"{type(layer).__name__} has a forward pass of its own"
    if layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks:
        return "it has hooks, which would be lost"
    if layer._buffers:
        return f"it has buffers, which would be lost: {', '.join(layer._buffers)}"
    if not isinstance(layer.weight, nn.Parameter) or nn.utils.parametrize.is_parametrized(layer):
        return "its weight is computed from other parameters"
    if isinstance(layer, nn.Embedding):
        if layer.max_norm is not None or layer.scale_grad_by_freq or layer.sparse:
            return "max_norm, scale_grad_by_freq and sparse gradients are of whole rows of a table"
    elif isinstance(layer, nn.Conv2d):
        if layer.groups != 1:
            return "it has groups"
        if layer.padding_mode != "zeros":
            return f"it pads by {layer.padding_mode!r}, not by zeros"
        if isinstance(layer.padding, str):
            return f"padding {layer.padding!r} is no number of pixels"
    return None


def _ranks(layers: dict[str, Factorizable], rank_scale: float) -> dict[str, int]:
    if not 0 < rank_scale < float("inf"):
        raise ValueError(f"rank_scale = {rank_scale}: it is larger than 0")
    ranks = {name: rank_solver.layer_rank(layer, rank_scale) for name, layer in layers.items()}
    without = [name or "the model" for name, rank in ranks.items() if not rank]
    if without:
        raise ValueError(f"rank_scale = {rank_scale} gives a rank of 0 to {', '.join(without)}; take a larger one")
    return ranks


def _spectral(layer: Factorizable, rank: int, matricisation: Matricisation) -> Factors:
    weight = layer.weight.detach()
    if not weight.isfinite().all():
        raise ValueError(f"the weight of {layer} is not finite, and so has no singular values")
    parts = spectral_factors(matricised(weight, matricisation) if isinstance(layer, nn.Conv2d) else weight, rank)
    return _without_padding(layer, parts)


def _drawn(layer: Factorizable, rank: int, draw: Draw, generator: torch.Generator | None) -> Factors:
    rows, columns = rank_solver.matrix_shape(layer)
    parts = Factors(
        drawing_memory(layer.weight, generator, rows, rank), drawing_memory(layer.weight, generator, rank, columns)
    )
    draw(parts.U, layer, generator)
    draw(parts.VT, layer, generator)
    return _without_padding(layer, Factors(parts.U.to(layer.weight.device), parts.VT.to(layer.weight.device)))


def _without_padding(layer: Factorizable, parts: Factors) -> Factors:
    """Make the row of padding zero in U if it is so in the table."""
    if isinstance(layer, nn.Embedding) and layer.padding_idx is not None and not layer.weight[layer.padding_idx].any():
        parts.U[layer.padding_idx] = 0
    return parts


def _nearly_identity(parts: Factors, residual: float, generator: torch.Generator | None) -> Tensor:
    rank = len(parts.VT)
    identity = torch.eye(rank, dtype=parts.U.dtype, device=parts.U.device)
    if residual:
        noise = nn.init.normal_(drawing_memory(parts.U, generator, rank, rank), std=residual, generator=generator)
        identity += noise.to(identity.device)
    return identity


def drawing_memory(like: Tensor, generator: torch.Generator | None, *shape: int) -> Tensor:
    """Return memory to draw into, which lies where the generator does."""
    return torch.empty(shape, dtype=like.dtype, device=like.device if generator is None else generator.device)


def _factorized(layer: Factorizable, parts: Factors, *, one_convolution: bool) -> FactorizedMatrix:
    made: FactorizedMatrix
    if isinstance(layer, nn.Conv2d):
        made = FactorizedConv2d(
            parts,
            layer.bias,
            kernel_size=two_sizes(layer.kernel_size),
            stride=two_sizes(layer.stride),
            padding=two_sizes(layer.padding),
            dilation=two_sizes(layer.dilation),
            one_convolution=one_convolution,
        )
    elif isinstance(layer, nn.Linear):
        made = FactorizedLinear(parts, layer.bias)
    else:
        made = FactorizedEmbedding(parts, padding_idx=layer.padding_idx)
    like_the_layer(made, layer)
    return made


def like_the_layer(made: Factorized, layer: Factorizable) -> None:
    """Give what replaces a layer its mode, and what of it is frozen."""
    for parameter in made.parameters():
        parameter.requires_grad_(layer.weight.requires_grad)
    if made.bias is not None and not isinstance(layer, nn.Embedding) and layer.bias is not None:
        made.bias.requires_grad_(layer.bias.requires_grad)
    made.train(layer.training)


def two_sizes(sizes: tuple[int, ...] | str) -> tuple[int, int]:
    """Return sizes of a convolution that can be factorized, which are two numbers, as such."""
    assert not isinstance(sizes, str)
    first, second = sizes
    return first, second


def replaced(model: nn.Module, replacements: dict[nn.Module, nn.Module]) -> nn.Module:
    """Put replacements wherever the modules were, `model` itself included, and return the model."""
    for parent in list(model.modules()):
        # Under every name: children that are the same module are named once by `named_children`.
        for name, child in list(parent._modules.items()):
            if child in replacements:
                setattr(parent, name, replacements[child])
    return replacements.get(model, model)
