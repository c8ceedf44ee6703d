"""Exact conversion of a convolutional network to wider kinds of network.

After d'Ascoli, Sagun, Bruna, Biroli 2019, section 2, and Sanford, Ardeshir, Hsu 2022. A convolution applies one filter
at every position. Giving each position a filter of its own makes a locally connected layer; letting every output see
every input makes a fully connected one. `to_local` and `to_dense` carry a stack of layers (padding, square
convolutions, ReLU, pooling, dropout, linear layers) into these larger spaces, without changing the function that it
computes; `tie` projects back. Symbols as in `tacit.nn.local`.
"""

from __future__ import annotations

import copy
import math
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from tacit.nn.local import LocalConv2d
from tacit.nn.products import Linear

_KEPT = (nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.ZeroPad2d, nn.Dropout, nn.Flatten, nn.Linear)
"""Layers that are the same in all kinds of network."""


class Layer(NamedTuple):
    """Where a convolution of a stack lies, and which of its untied weights can ever get a gradient."""

    in_channels: int
    out_channels: int
    kernel: int
    stride: int
    side_in: int
    """Side of the map that it sees, padding included."""
    side: int
    """d, of the map it makes."""
    live: Tensor
    """(P, k * k) bool: neither does the tap look at padding, nor is the position unused by what follows."""
    live_outputs: Tensor
    """(P,) bool: positions that are used by what follows."""
    live_inputs: Tensor
    """(side_in * side_in,) bool: places that are not padding."""

    @property
    def positions(self) -> int:
        """P."""
        return self.side**2

    def columns(self) -> Tensor:
        """Return, for each position and (a, b, c), the number of the input it sees, (P, D); inputs are (c, u, v)."""
        at = torch.arange(self.side) * self.stride
        taps = torch.arange(self.kernel)
        u = (at[:, None, None, None] + taps[:, None]).expand(self.side, self.side, self.kernel, self.kernel)
        v = (at[:, None, None] + taps).expand(self.side, self.side, self.kernel, self.kernel)
        channels = torch.arange(self.in_channels) * self.side_in**2
        return ((u * self.side_in + v)[..., None] + channels).reshape(self.positions, -1)

    def mask(self) -> Tensor:
        """Return which weights (O * P, C * side_in ** 2) of a fully connected layer are local, bool."""
        mask = torch.zeros(self.positions, self.in_channels * self.side_in**2, dtype=torch.bool)
        mask.scatter_(1, self.columns(), True)
        return mask.repeat(self.out_channels, 1)

    def local_weight(self, module: nn.Module) -> Tensor:
        """Return the filters (P, D, O) of this layer in a network of any kind; of a dense layer those on the mask."""
        match module:
            case nn.Conv2d():
                tied = module.weight.detach().permute(2, 3, 1, 0).flatten(0, 2)
                return tied.expand(self.positions, -1, -1)
            case LocalConv2d():
                return module.all_filters()[0]
            case nn.Linear():
                dense, columns = self._by_position(module), self.columns().to(module.weight.device)
                return dense.gather(2, columns.expand(len(dense), -1, -1)).permute(1, 2, 0)
        raise TypeError(f"no layer with filters: {module}")

    def off_local_weight(self, module: nn.Linear) -> Tensor:
        """Return a copy of the weights (O, P, inputs) of a dense layer, with those on the mask set to zero."""
        columns = self.columns().to(module.weight.device)
        return self._by_position(module).scatter(2, columns.expand(self.out_channels, -1, -1), 0.0)

    def _by_position(self, module: nn.Linear) -> Tensor:
        return module.weight.detach().unflatten(0, (self.out_channels, self.positions))


Weighted = nn.Conv2d | LocalConv2d | nn.Linear
"""Layers with weights."""


def weighted(network: nn.Sequential) -> list[Weighted]:
    """Return the layers with weights, in order: those of one number correspond in all kinds of one network."""
    return [module for module in network if isinstance(module, Weighted)]


def layers(cnn: nn.Sequential, *, side: int) -> list[Layer]:
    """Describe the convolutions of a CNN (or of the network `to_local` made of one) on images of `side` px.

    Which outputs are used is found by sending ones forward and gradients back through the stack with all weights one
    and every maximum replaced by a mean: where no gradient arrives, none ever can. Raises ValueError for layers that
    cannot be converted.
    """
    seen, found = torch.ones(1, 1, side, side), []
    for module in cnn:
        _check(module)
        match module:
            case nn.Conv2d() | LocalConv2d():
                filters = module.weight.new_ones(1, 1, *_kernel(module), device="cpu", dtype=torch.float32)
                seen = functional.pad(seen, (_padding(module),) * 4)
                # One more, because a bias makes any output differ from zero, even one that sees nothing but padding.
                outputs = functional.conv2d(seen, filters, stride=module.stride) + 1
                outputs.requires_grad_().retain_grad()
                found.append((module, seen, outputs))
                seen = outputs
            case nn.MaxPool2d() | nn.AvgPool2d():
                arguments = module.kernel_size, module.stride, module.padding, module.ceil_mode
                seen = functional.avg_pool2d(seen, *arguments)
            case nn.ZeroPad2d():
                seen = module(seen)
        if seen.shape[-1] != seen.shape[-2]:
            raise ValueError(
                f"only square maps can be untied, not {' x '.join(map(str, seen.shape[-2:]))} after {module}"
            )
    if found:
        seen.sum().backward()
    return [_describe(module, seen, outputs) for module, seen, outputs in found]


def _describe(module: nn.Conv2d | LocalConv2d, inputs: Tensor, outputs: Tensor) -> Layer:
    (kernel, _), (stride, _) = _kernel(module), _pair(module.stride)
    assert outputs.grad is not None
    real, used = inputs[0, 0].detach() > 0, outputs.grad[0, 0].flatten() > 0
    windows = real.unfold(0, kernel, stride).unfold(1, kernel, stride).reshape(len(used), kernel**2)
    if isinstance(module, nn.Conv2d):
        channels = module.in_channels, module.out_channels
    else:
        channels = module.weight.shape[1] // kernel**2, module.weight.shape[2]
    sides = inputs.shape[-1], outputs.shape[-1]
    return Layer(*channels, kernel, stride, *sides, windows & used[:, None], used, real.flatten())


def to_local(cnn: nn.Sequential, *, side: int) -> nn.Sequential:
    """Return the locally connected network that computes what `cnn` does, on images of `side` px.

    Layers keep their places, and so the names of their parameters; those that are locally connected already are copied.
    Biases that a convolution lacks are zero and become trainable. Nothing is shared with `cnn`.
    """
    described = iter(layers(cnn, side=side))
    converted: list[nn.Module] = []
    for module in cnn:
        if isinstance(module, nn.Conv2d):
            converted.append(_to_local(module, next(described)))
            continue
        if isinstance(module, LocalConv2d):
            next(described)
        converted.append(copy.deepcopy(module))
    return nn.Sequential(*converted)


def _to_local(conv: nn.Conv2d, layer: Layer) -> LocalConv2d:
    used = layer.live_outputs.view(layer.side, layer.side)
    live = 1 + int(torch.nonzero(used).max())
    padding = _padding(conv)
    local = LocalConv2d(
        layer.in_channels,
        layer.out_channels,
        layer.kernel,
        side=layer.side_in - 2 * padding,
        stride=layer.stride,
        padding=padding,
        live=live,
        generator=torch.default_generator,
    ).to(conv.weight)
    bias = conv.bias.detach() if conv.bias is not None else conv.weight.new_zeros(layer.out_channels)
    local.set_filters(layer.local_weight(conv), bias.expand(layer.positions, -1))
    return local


def to_dense(network: nn.Sequential, *, side: int) -> nn.Sequential:
    """Return the fully connected network that computes what a CNN or a locally connected `network` does.

    Each convolution becomes three layers: flatten (the padded map, (c, u, v)), linear, unflatten. Nothing is
    shared; a network without convolutions is copied.
    """
    if not any(isinstance(module, nn.Conv2d | LocalConv2d) for module in network):
        return copy.deepcopy(network)
    described, converted = iter(layers(network, side=side)), []
    for module in network:
        if isinstance(module, nn.Conv2d | LocalConv2d):
            converted += _to_dense(module, next(described))
        else:
            converted.append(copy.deepcopy(module))
    return nn.Sequential(*converted)


@torch.no_grad()
def _to_dense(module: nn.Conv2d | LocalConv2d, layer: Layer) -> list[nn.Module]:
    inputs, outputs = layer.in_channels * layer.side_in**2, layer.out_channels * layer.positions
    linear = nn.utils.skip_init(Linear, inputs, outputs, device=module.weight.device, dtype=module.weight.dtype)
    weight = layer.local_weight(module).permute(2, 0, 1)
    columns = layer.columns().to(weight.device).expand(len(weight), -1, -1)
    linear.weight.zero_()
    linear.weight.view(layer.out_channels, layer.positions, inputs).scatter_(2, columns, weight)
    if isinstance(module, LocalConv2d):
        linear.bias.copy_(module.all_filters()[1].T.flatten())
    elif module.bias is None:
        linear.bias.zero_()
    else:
        linear.bias.copy_(module.bias.repeat_interleave(layer.positions))
    padding = _padding(module)
    before = [nn.ZeroPad2d(padding)] if padding else []
    return [*before, nn.Flatten(), linear, nn.Unflatten(1, (layer.out_channels, layer.side, layer.side))]


def tie(network: nn.Sequential) -> nn.Sequential:
    """Return the CNN nearest to a locally connected network: filters and biases are means over all positions."""
    tied = []
    for module in network:
        if not isinstance(module, LocalConv2d):
            tied.append(copy.deepcopy(module))
            continue
        weight, bias = (tensor.mean(0) for tensor in module.all_filters())
        kernel = module.kernel_size
        inputs, outputs = len(weight) // kernel**2, weight.shape[1]
        conv = nn.Conv2d(inputs, outputs, kernel, stride=module.stride, padding=module.padding).to(weight)
        with torch.no_grad():
            conv.weight.copy_(weight.view(kernel, kernel, inputs, outputs).permute(3, 2, 0, 1))
            cast(Tensor, conv.bias).copy_(bias)
        tied.append(conv)
    return nn.Sequential(*tied)


def reset(network: nn.Sequential, generator: torch.Generator) -> nn.Sequential:
    """Draw all weights and biases anew, uniformly within 1 / sqrt(fan in), from `generator`; return `network`."""
    for module in weighted(network):
        if isinstance(module, LocalConv2d):
            module.reset_parameters(generator)
            continue
        # As PyTorch draws those of its layers.
        nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
        if module.bias is not None:
            bound = 1 / math.sqrt(module.weight[0].numel())
            nn.init.uniform_(module.bias, -bound, bound, generator)
    return network


def _check(module: nn.Module) -> None:
    """Raise ValueError unless conversion of `module` is exact."""
    if isinstance(module, nn.Conv2d):
        sizes = (module.kernel_size, module.stride, module.padding)
        square = all(isinstance(size, tuple) and len(set(size)) == 1 for size in sizes)
        plain = module.groups == 1 and module.dilation == (1, 1) and module.padding_mode == "zeros"
        if not (square and plain):
            raise ValueError(f"only square convolutions without groups and dilation can be untied, not {module}")
    elif isinstance(module, nn.MaxPool2d) and (_pair(module.dilation) != (1, 1) or module.return_indices):
        raise ValueError(f"only pooling without dilation and indices is known here, not {module}")
    elif not isinstance(module, (*_KEPT, LocalConv2d)):
        raise ValueError(f"no exact conversion of this layer is known: {module}")


def _kernel(module: nn.Conv2d | LocalConv2d) -> tuple[int, int]:
    return _pair(module.kernel_size)


def _padding(module: nn.Conv2d | LocalConv2d) -> int:
    return _pair(module.padding)[0]


def _pair(value: Any) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)
