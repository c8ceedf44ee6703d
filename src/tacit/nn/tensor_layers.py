"""Convolutions with a tensor network: a filter for each channel, and a matrix that mixes channels as a tensor.

The layers that Khodak, Tenenholtz, Mackey, Fusi 2021 compare factorized layers with, after Gray, Crowley, Storkey 2019.
A convolution of I to O channels with a kernel (kh, kw) becomes a depthwise convolution D (I, kh, kw), and a 1 x 1
convolution whose matrix P (O, I) is a tensor network (`tacit.nn.tensor_networks`):

    W[o, i, p, q] = P[o, i] D[i, p, q].

Kernels of one tap have no depthwise part. The network is multiplied out in every pass, so that parameters are saved and
work is not.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tacit.nn import tensor_networks
from tacit.nn.factorized import Factorized, dense_convolution, own_copy, plain_kernel, thinned
from tacit.nn.factorizing import (
    FactorizedModel,
    Select,
    drawing_memory,
    like_the_layer,
    replaced,
    selected,
    two_sizes,
)
from tacit.nn.tensor_networks import Core, Kind, TensorNetwork


class TensorConv2d(Factorized):
    """A convolution of (B, I, H, W) to (B, O, H', W'), padded with zeros: one filter a channel, then a tensor.

    Parts of the network are parameters under the names of its fields, followed by `bias` and `depthwise.weight`, which
    are there or not. In evaluation, without gradients, on a processor, the matrix is kept from pass to pass beside a
    copy of the parts it was made of, and made anew as soon as one differs. So nothing that changes parameters has to
    say so; fused optimisers and writers to `.data` do not. Elsewhere a comparison would wait for the device.

    Args:
        network: of the matrix (O, I), row by row.
        filters: D (I, 1, kh, kw), or None for kernels of one tap.
        bias: (O,) or None.
        out_channels: O.
        in_channels: I.
        stride: (rows, columns), as `padding` and `dilation`.
        padding: zeros on each side.
        dilation: distance of taps.

    Raises ValueError if the network or the filters are not of so many channels.
    """

    def __init__(
        self,
        network: TensorNetwork,
        filters: Tensor | None = None,
        bias: Tensor | None = None,
        *,
        out_channels: int,
        in_channels: int,
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int] = (0, 0),
        dilation: tuple[int, int] = (1, 1),
    ):
        super().__init__()
        _check(network, filters, out_channels, in_channels)
        self.form = type(network)
        self.out_channels, self.in_channels = out_channels, in_channels
        self.kernel_size = (1, 1) if filters is None else (filters.shape[2], filters.shape[3])
        self.stride, self.padding, self.dilation = stride, padding, dilation
        for name, tensor in (*network._asdict().items(), ("bias", bias)):
            self.register_parameter(name, None if tensor is None else nn.Parameter(own_copy(tensor)))
        self.depthwise = None if filters is None else self._depthwise(filters)
        self._kept: tuple[TensorNetwork, Any, Tensor] | None = None

    def _depthwise(self, filters: Tensor) -> nn.Conv2d:
        sizes: dict[str, Any] = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}
        sizes |= {"groups": self.in_channels, "bias": False, "device": filters.device, "dtype": filters.dtype}
        conv = nn.utils.skip_init(nn.Conv2d, self.in_channels, self.in_channels, self.kernel_size, **sizes)
        conv.weight = nn.Parameter(own_copy(filters))
        return conv

    def factors(self) -> TensorNetwork:
        """Return the parts of the network."""
        return self.form(*(getattr(self, name) for name in self.form._fields))

    def matrix(self) -> Tensor:
        """Return P (O, I)."""
        return self.factors().tensor().reshape(self.out_channels, self.in_channels)

    def squared_norm(self) -> Tensor:
        """Return |P|^2 ()."""
        return self.factors().squared_norm()

    @property
    def weight(self) -> Tensor:
        """The kernel, computed anew."""
        return self.kernel()

    def kernel(self) -> Tensor:
        """Return W (O, I, kh, kw)."""
        matrix = self.matrix()[:, :, None, None]
        return matrix if self.depthwise is None else matrix * self.depthwise.weight.squeeze(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, O, H', W') of (B, I, H, W)."""
        stride, padding = (1, 1), (0, 0)
        if self.depthwise is None:
            x, stride, padding = thinned(x, self.kernel_size, self.stride, self.padding)
        else:
            x = self.depthwise(x)
        return functional.conv2d(x, plain_kernel(self._matrix()[:, :, None, None]), self.bias, stride, padding)

    def _matrix(self) -> Tensor:
        """Return P, that of an earlier pass if it can be kept and is still right."""
        if self.training or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self.matrix()
        parts = self.factors()
        # Under transformations of functions parts are no parameters, and may not be compared.
        if not all(isinstance(part, nn.Parameter) and part.device.type == "cpu" for part in parts):
            return self.matrix()
        precision = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
        if self._kept is None or not _same(self._kept, parts, precision):
            self._kept = (self.form(*map(own_copy, parts)), precision, self.matrix())
        return self._kept[-1]

    def train(self, mode: bool = True) -> TensorConv2d:
        """Set the mode; what was kept is let go."""
        self._kept = None
        return super().train(mode)

    @torch.no_grad()
    def dense(self) -> nn.Conv2d:
        """Return the one convolution with the kernel that filters and network make."""
        return dense_convolution(self.kernel(), self, self.stride, self.padding, self.dilation)

    def extra_repr(self) -> str:
        """Say what the network is, and what a convolution is made of."""
        shapes = ", ".join(f"{name} {tuple(part.shape)}" for name, part in self.factors()._asdict().items())
        sizes = f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
        channels = f"{self.in_channels}, {self.out_channels}"
        return f"{channels}, {sizes}, dilation={self.dilation}, {shapes}, bias={self.bias is not None}"


def tensorize(
    model: nn.Module,
    *,
    select: Select | None = None,
    kind: Kind,
    rank_scale: float,
    spectral: bool = False,
    core: Core = "tensor_train",
    generator: torch.Generator | None = None,
) -> FactorizedModel:
    """Return a copy of `model` with convolutions replaced by tensor layers; nothing is shared with it.

    Filters are drawn N(0, 2 / (kh kw I)), and matrices anew too, whatever the weights of `model` are, and truncated to
    the ranks: so little of them is kept that layers start much smaller than they were drawn. Precision, device, mode
    and what is frozen stay; a layer in several places stays one. On the meta device only shapes are right.

    Args:
        model: any module, a single layer too.
        select: which of all convolutions; by default every one but the first.
        kind: of the networks, "tensor_train" or "tucker".
        rank_scale: ranks relative to the modes of the tensors (`tensor_networks.ranks`).
        spectral: draw matrices N(0, 2 / O), as wide residual networks start; otherwise uniformly in
            [-1 / sqrt(I), 1 / sqrt(I)].
        core: how Tucker's core is stored.
        generator: of all draws, filters before matrix, layer after layer; by default PyTorch's own.

    Raises ValueError if the scale is not above 0 and up to 1, the form is none, no layer is selected, or a selected
    layer is no convolution or has no factorized form.
    """
    dense_parameters = sum(parameter.numel() for parameter in model.parameters())
    model = copy.deepcopy(model)
    replacements: dict[nn.Module, nn.Module] = {}
    ranks: dict[str, tuple[int, ...]] = {}
    for name, layer in selected(model, select).items():
        if not isinstance(layer, nn.Conv2d):
            raise ValueError(f"{name or 'the model'}, {layer}, cannot be a tensor: only convolutions can")
        dims = tensor_networks.fold(layer.out_channels, layer.in_channels)
        ranks[name] = tensor_networks.ranks(kind, dims, rank_scale)
        filters = _filters(layer, generator)
        matrix = _matrix(layer, generator, spectral=spectral)
        network = tensor_networks.decompose(matrix, kind, ranks[name], core=core)
        replacements[layer] = made = TensorConv2d(
            network,
            filters,
            layer.bias,
            out_channels=layer.out_channels,
            in_channels=layer.in_channels,
            stride=two_sizes(layer.stride),
            padding=two_sizes(layer.padding),
            dilation=two_sizes(layer.dilation),
        )
        like_the_layer(made, layer)
    model = replaced(model, replacements)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return FactorizedModel(model, rank_scale, parameters, dense_parameters, ranks)


def _filters(layer: nn.Conv2d, generator: torch.Generator | None) -> Tensor | None:
    """Draw one filter a channel, (I, 1, kh, kw); None for kernels of one tap."""
    height, width = two_sizes(layer.kernel_size)
    if height * width == 1:
        return None
    filters = drawing_memory(layer.weight, generator, layer.in_channels, 1, height, width)
    nn.init.normal_(filters, std=(2 / filters[:, 0].numel()) ** 0.5, generator=generator)
    return filters.to(layer.weight.device)


def _matrix(layer: nn.Conv2d, generator: torch.Generator | None, *, spectral: bool) -> Tensor:
    """Draw what is decomposed, (O, I)."""
    matrix = drawing_memory(layer.weight, generator, layer.out_channels, layer.in_channels)
    if spectral:
        nn.init.normal_(matrix, std=(2 / layer.out_channels) ** 0.5, generator=generator)
    else:
        bound = layer.in_channels**-0.5
        nn.init.uniform_(matrix, -bound, bound, generator=generator)
    return matrix.to(layer.weight.device)


def _same(kept: tuple[TensorNetwork, Any, Tensor], parts: TensorNetwork, precision: Any) -> bool:
    """Tell whether a matrix that was kept is that of these parts."""
    copies, before, _ = kept
    return before == precision and all(
        copied.dtype == part.dtype and torch.equal(copied, part) for copied, part in zip(copies, parts, strict=True)
    )


def _check(network: TensorNetwork, filters: Tensor | None, outputs: int, inputs: int) -> None:
    with torch.device("meta"):
        entries = type(network)(*(torch.empty(part.shape) for part in network)).tensor().numel()
    if entries != outputs * inputs:
        raise ValueError(f"a tensor of {entries} entries is no matrix {outputs} x {inputs}")
    if filters is not None and (filters.ndim != 4 or filters.shape[:2] != (inputs, 1)):
        raise ValueError(f"filters {tuple(filters.shape)}: for {inputs} channels they are ({inputs}, 1, kh, kw)")
