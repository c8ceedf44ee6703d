"""Locally connected convolution: every position has a filter and a bias of its own.

P = d * d positions of an output map, k * k taps, C input and O output channels; a tap and channel (a, b, c) is number
(a * k + b) * C + c of D = k * k * C.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from tacit.nn.products import multiply

_CHUNK_BYTES = {"cpu": 2**21, "cuda": 2**30}
"""Bytes of windows gathered at a time: on a processor what its cache holds, elsewhere enough to launch few kernels."""


class LocalProduct(torch.autograd.Function):
    """y[n, i, j] = bias[i, j] + window(n, i, j) @ weight[i, j] for images (B, H, W, C), windows being k x k, s apart.

    weight (side * side, D, O) and bias (side * side, O) are of the first `side` x `side` positions, row by row;
    y (B, side, side, O).
    Windows are gathered a chunk of positions at a time, forward and once more backward: writing all of them to memory
    takes longer than multiplying them.
    """

    @staticmethod
    def forward(ctx, images, weight, bias, kernel, stride, side):
        """Return y."""
        ctx.save_for_backward(images, weight)
        ctx.layout = kernel, stride, side
        outputs = images.new_empty(len(images), side, side, weight.shape[2])
        for chunk in _chunks(images, weight, side):
            windows = _windows(images, chunk, kernel, stride)
            product = windows.new_empty(*windows.shape[:2], weight.shape[2])
            multiply(windows, weight[chunk.numbers], out=product).add_(bias[chunk.numbers, None])
            outputs[:, chunk.i, chunk.j] = product.unflatten(0, chunk.shape).permute(2, 0, 1, 3)
        return outputs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        """Return gradients of images (if asked for), weight and bias."""
        images, weight = ctx.saved_tensors
        kernel, stride, side = ctx.layout
        grad = grad.permute(1, 2, 0, 3).reshape(side * side, len(images), -1)
        grad_images = torch.zeros_like(images) if ctx.needs_input_grad[0] else None
        grad_weight = torch.empty_like(weight)
        for chunk in _chunks(images, weight, side):
            part = grad[chunk.numbers]
            windows = _windows(images, chunk, kernel, stride)
            multiply(windows.mT, part, out=grad_weight[chunk.numbers])
            if grad_images is not None:
                back = multiply(part, weight[chunk.numbers].mT, out=torch.empty_like(windows))
                _add_windows(grad_images, back, chunk, kernel, stride)
        return grad_images, grad_weight, grad.sum(1), None, None, None


def _cast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return tensors in the precision that autocast has for products, if it is on; its own casts end at a Function."""
    kind = tensors[0].device.type
    return tuple(t.to(torch.get_autocast_dtype(kind)) for t in tensors) if torch.is_autocast_enabled(kind) else tensors


class _Chunk(NamedTuple):
    """Neighbouring positions: part of one row, or whole rows."""

    i: slice
    j: slice
    shape: tuple[int, int]
    numbers: slice


def _chunks(images: Tensor, weight: Tensor, side: int) -> Iterator[_Chunk]:
    budget = _CHUNK_BYTES.get(images.device.type, 2**26)
    most = max(1, budget // (len(images) * weight.shape[1] * weight.element_size()))
    height, width = max(1, most // side), min(most, side)
    for i in range(0, side, height):
        for j in range(0, side, width):
            shape = min(height, side - i), min(width, side - j)
            first = i * side + j
            yield _Chunk(slice(i, i + shape[0]), slice(j, j + shape[1]), shape, slice(first, first + math.prod(shape)))


def _windows(images: Tensor, chunk: _Chunk, kernel: int, stride: int) -> Tensor:
    """Return the windows (positions, B, D) of a chunk, contiguous."""
    rows, columns = (stride * (n - 1) + kernel for n in chunk.shape)
    top, left = stride * chunk.i.start, stride * chunk.j.start
    patch = images[:, top : top + rows, left : left + columns]
    windows = patch.unfold(1, kernel, stride).unfold(2, kernel, stride)  # (B, rows, columns, C, a, b)
    return windows.permute(1, 2, 0, 4, 5, 3).reshape(math.prod(chunk.shape), len(images), -1)


def _add_windows(images: Tensor, windows: Tensor, chunk: _Chunk, kernel: int, stride: int) -> None:
    """Add windows (positions, B, D) of a chunk to the places in `images` that they are of."""
    windows = windows.view(*chunk.shape, len(images), kernel, kernel, -1)
    top, left = stride * chunk.i.start, stride * chunk.j.start
    if chunk.shape == (1, 1):
        images[:, top : top + kernel, left : left + kernel] += windows[0, 0]
        return
    bottom, right = (stride * (n - 1) + 1 for n in chunk.shape)
    for a in range(kernel):
        rows = slice(top + a, top + a + bottom, stride)
        for b in range(kernel):
            columns = slice(left + b, left + b + right, stride)
            images[:, rows, columns] += windows[:, :, :, a, b].permute(2, 0, 1, 3)


class LocalConv2d(nn.Module):
    """A convolution with filters and biases of their own at each of d x d positions.

    Images (B, C, side, side), framed by `padding` zeros; maps (B, O, d, d), d being `side_out`.

    Positions beyond the first `live` rows and columns are never used by what follows. They get no gradient, so their
    parameters are buffers (`inert_weight`, `inert_bias`), they are not computed, and the output there is zero.

    weight (live * live, D, O), bias (live * live, O), inert_* (P - live * live, ...).

    >>> import torch, tacit
    >>> layer = tacit.LocalConv2d(3, 4, 5, side=8, padding=2, generator=torch.default_generator)
    >>> layer(torch.rand(2, 3, 8, 8)).shape, layer.weight.shape
    (torch.Size([2, 4, 8, 8]), torch.Size([64, 75, 4]))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        side: int,
        stride: int = 1,
        padding: int = 0,
        live: int | None = None,
        generator: torch.Generator,
    ):
        """Make the layer for images of `side` px, with filters drawn from `generator`."""
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.side_out = (side + 2 * padding - kernel_size) // stride + 1
        self.live = self.side_out if live is None else live
        taps = in_channels * kernel_size**2
        used = self.live**2
        self.weight = nn.Parameter(torch.empty(used, taps, out_channels))
        self.bias = nn.Parameter(torch.empty(used, out_channels))
        self.register_buffer("inert_weight", torch.empty(self.side_out**2 - used, taps, out_channels))
        self.register_buffer("inert_bias", torch.empty(self.side_out**2 - used, out_channels))
        self.reset_parameters(generator)

    inert_weight: Tensor
    inert_bias: Tensor

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw all filters and biases uniformly within 1 / sqrt(D), as PyTorch draws those of a convolution."""
        bound = 1 / math.sqrt(self.weight.shape[1])
        for tensor in (self.weight, self.bias, self.inert_weight, self.inert_bias):
            nn.init.uniform_(tensor, -bound, bound, generator)

    @torch.no_grad()
    def set_filters(self, weight: Tensor, bias: Tensor) -> None:
        """Take filters (P, D, O) and biases (P, O) of all positions, row by row."""
        used = self._used()
        for own, inert, given in ((self.weight, self.inert_weight, weight), (self.bias, self.inert_bias, bias)):
            own.copy_(given[used])
            inert.copy_(given[~used])

    @torch.no_grad()
    def all_filters(self) -> tuple[Tensor, Tensor]:
        """Return filters (P, D, O) and biases (P, O) of all positions, row by row; not to be written to."""
        used = self._used()
        if used.all():
            return self.weight.detach(), self.bias.detach()
        weight = self.weight.new_empty(self.side_out**2, *self.weight.shape[1:])
        bias = self.bias.new_empty(self.side_out**2, *self.bias.shape[1:])
        weight[used], weight[~used] = self.weight, self.inert_weight
        bias[used], bias[~used] = self.bias, self.inert_bias
        return weight, bias

    def _used(self) -> Tensor:
        used = torch.zeros(self.side_out, self.side_out, dtype=torch.bool, device=self.weight.device)
        used[: self.live, : self.live] = True
        return used.flatten()

    def forward(self, images: Tensor) -> Tensor:
        """Return maps (B, O, d, d), channels last in memory."""
        images = functional.pad(images, (self.padding,) * 4) if self.padding else images
        images = images.permute(0, 2, 3, 1).contiguous()
        arguments = self.kernel_size, self.stride, self.live
        outputs = LocalProduct.apply(*_cast(images, self.weight, self.bias), *arguments)
        missing = self.side_out - self.live
        if missing:
            outputs = functional.pad(outputs, (0, 0, 0, missing, 0, missing))
        return outputs.permute(0, 3, 1, 2)

    def extra_repr(self) -> str:
        """Say what is printed between the brackets."""
        _, taps, outputs = self.weight.shape
        shape = f"{taps // self.kernel_size**2}, {outputs}, {self.kernel_size}"
        return f"{shape}, stride={self.stride}, padding={self.padding}, side_out={self.side_out}"
