"""Convolution and batch normalisation whose gradient can be differentiated again at the cost of a gradient.

A loss on input gradients, such as the long-range regulariser, is differentiated twice. PyTorch's own second derivatives
are general and slow: that of a convolution is a convolution whose kernel is as large as the image, that of batch
normalisation some thirty passes over the data. Both have short forms.

*Convolution.* y = x * w is bilinear, so its input gradient, a transposed convolution of (dy, w), has derivatives that
are again a convolution (to dy) and an ordinary weight gradient (to w).

*Batch normalisation* over the N values of a channel: with z = (x - mean) s the normalised input, s the inverse standard
deviation, g the weight and a = dL/dy,

    dL/dx = g s (a - <a> - z <a z>),                  <.> the mean over the channel.

For an adjoint u of dL/dx, with U = <u z>, T = <u a> - <u><a> - U <a z>, the derivatives are

    to a:  g s (u - <u> - z U),
    to g:  N s T,
    to x:  -g s^2 (U (a - <a>) + <a z> (u - <u>) + (T - 2 U <a z>) z).

`adapt` puts these layers in place of PyTorch's. What they do not support says so: differentiating twice what is not an
input gradient (that is, weight gradients), groups, dilation and strings as padding.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

from tacit.compiled import kernel

_FUSED = (torch.float32, torch.float64)
"""Precisions of which there is compiled code."""

_input_gradients_only = False


@contextlib.contextmanager
def input_gradients_only() -> Iterator[None]:
    """Within this block backward passes leave out the gradients of weights.

    Autograd tells built-in functions which gradients are asked for, but not functions written in Python.
    """
    global _input_gradients_only
    _input_gradients_only = True
    try:
        yield
    finally:
        _input_gradients_only = False


def adapt(model: nn.Module) -> nn.Module:
    """Make all convolutions and batch normalisations of `model` twice differentiable at little cost, in place.

    Parameters and their names stay as they are. Raises ValueError for a convolution with groups or dilation.
    """
    for name, module in model.named_modules():
        if type(module) is nn.Conv2d:
            plain = module.groups == 1 and module.dilation == (1, 1) and module.padding_mode == "zeros"
            if not plain or isinstance(module.padding, str) or module.bias is not None:
                raise ValueError(f"convolution {name} has groups, dilation, a bias, or padding other than by zeros")
            module.__class__ = _Conv2d
        elif type(module) is nn.BatchNorm2d:
            module.__class__ = _BatchNorm2d
            if module.weight.device.type == "cpu" and module.weight.dtype in _FUSED:
                # No image, but compiled code, whose time does not count in the rate of the training to come.
                row, channel = (torch.zeros(shape, dtype=module.weight.dtype).numpy() for shape in ((1, 1), 1))
                _normalization_second_derivatives(row, row, row, channel, channel, channel, row, row)
    return model


class _Conv2d(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        if torch.is_autocast_enabled(x.device.type):
            x, weight = (t.to(torch.get_autocast_dtype(x.device.type)) for t in (x, weight))
        return _Convolution.apply(x, weight, self.stride, self.padding)


class _BatchNorm2d(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        return _Normalization.apply(
            x, self.weight, self.bias, self.running_mean, self.running_var, self.momentum, self.eps
        )


def _convolution_gradient(dy, x, w, stride, padding, which):
    none = (0, 0)
    return torch.ops.aten.convolution_backward(dy, x, w, None, stride, padding, (1, 1), False, none, 1, which)


class _Convolution(Function):
    """y = x * w."""

    @staticmethod
    def forward(ctx, x, w, stride, padding):
        ctx.save_for_backward(x, w)
        ctx.stride, ctx.padding = stride, padding
        return functional.conv2d(x, w, None, stride, padding)

    @staticmethod
    def backward(ctx, dy):
        x, w = ctx.saved_tensors
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dx = _ConvolutionInputGradient.apply(dy, w, x.detach(), ctx.stride, ctx.padding)
        if ctx.needs_input_grad[1] and not _input_gradients_only:
            dw = _convolution_weight_gradient(dy, x, w, ctx.stride, ctx.padding)
        return dx, dw, None, None


class _ConvolutionInputGradient(Function):
    """dx of a convolution; `x` lends only its shape."""

    @staticmethod
    def forward(ctx, dy, w, x, stride, padding):
        ctx.save_for_backward(dy, w)
        ctx.stride, ctx.padding = stride, padding
        return _convolution_gradient(dy, x, w, stride, padding, (True, False, False))[0]

    @staticmethod
    def backward(ctx, u):
        dy, w = ctx.saved_tensors
        to_dy = _Convolution.apply(u, w, ctx.stride, ctx.padding) if ctx.needs_input_grad[0] else None
        to_w = _convolution_weight_gradient(dy, u, w, ctx.stride, ctx.padding) if ctx.needs_input_grad[1] else None
        return to_dy, to_w, None, None, None


@torch.autograd.function.once_differentiable
def _once(ctx, *gradients):
    raise RuntimeError("weight gradients cannot be differentiated again here; only input gradients can")


class _ConvolutionWeightGradient(Function):
    """dw of a convolution; not to be differentiated."""

    @staticmethod
    def forward(ctx, dy, x, w, stride, padding):
        return _convolution_gradient(dy, x, w, stride, padding, (False, True, False))[1]

    backward = staticmethod(_once)  # type: ignore[assignment]


def _convolution_weight_gradient(dy, x, w, stride, padding):
    return _ConvolutionWeightGradient.apply(dy, x, w.detach(), stride, padding)


class _Normalization(Function):
    """Batch normalisation in training mode; updates the running statistics."""

    @staticmethod
    def forward(ctx, x, weight, bias, running_mean, running_var, momentum, eps):
        y, mean, scale = torch.native_batch_norm(x, weight, bias, running_mean, running_var, True, momentum, eps)
        ctx.save_for_backward(x, weight, mean, scale)
        ctx.eps = eps
        return y

    @staticmethod
    def backward(ctx, dy):
        x, weight, mean, scale = ctx.saved_tensors
        dx, dweight, dbias = _NormalizationGradient.apply(dy, x, weight, mean, scale, ctx.eps)
        return dx, dweight, dbias, None, None, None, None


class _NormalizationGradient(Function):
    """dx, dweight, dbias of batch normalisation; only dx can be differentiated again."""

    @staticmethod
    def forward(ctx, dy, x, weight, mean, scale, eps):
        ctx.save_for_backward(dy, x, weight, mean, scale)
        ctx.set_materialize_grads(False)
        dx, dweight, dbias = torch.ops.aten.native_batch_norm_backward(
            dy, x, weight, None, None, mean, scale, True, eps, (True, True, True)
        )
        ctx.mark_non_differentiable(dweight, dbias)
        return dx, dweight, dbias

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, u, _, __):
        if u is None:
            return (None,) * 6
        dy, x, weight, mean, scale = ctx.saved_tensors
        return *normalization_second_derivatives(u, dy, x, weight, mean, scale), None, None, None


def normalization_second_derivatives(
    u: Tensor, dy: Tensor, x: Tensor, weight: Tensor, mean: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the derivatives of <u, dL/dx> with respect to dy, x (B, C, H, W) and weight (C,).

    `mean` and `scale` (C,) are the batch mean and inverse standard deviation. On the CPU, in channels-last order, the
    sums and the results take one fused pass each.
    """
    last = torch.channels_last
    fused = x.device.type == "cpu" and x.dtype in _FUSED
    if fused and all(t.is_contiguous(memory_format=last) for t in (u, dy, x)):
        rows = [t.permute(0, 2, 3, 1).reshape(-1, t.shape[1]).numpy() for t in (u, dy, x)]
        channels = [t.numpy() for t in (weight.detach(), mean, scale)]
        to_dy, to_x = torch.empty_like(u), torch.empty_like(u)
        out = [t.permute(0, 2, 3, 1).view(-1, t.shape[1]).numpy() for t in (to_dy, to_x)]
        to_weight = _normalization_second_derivatives(*rows, *channels, *out)
        return to_dy, to_x, torch.from_numpy(to_weight)
    shape, over = (1, -1, 1, 1), (0, 2, 3)
    count = x.numel() // x.shape[1]
    mean, scale, weight = (t.to(x.dtype).view(shape) for t in (mean, scale, weight))
    z = (x - mean) * scale
    mean_u, mean_a = u.mean(over, keepdim=True), dy.mean(over, keepdim=True)
    mean_uz, mean_az = (u * z).mean(over, keepdim=True), (dy * z).mean(over, keepdim=True)
    t = (u * dy).mean(over, keepdim=True) - mean_u * mean_a - mean_uz * mean_az
    to_dy = weight * scale * (u - mean_u - z * mean_uz)
    inner = mean_uz * (dy - mean_a) + mean_az * (u - mean_u) + (t - 2 * mean_uz * mean_az) * z
    return to_dy, -weight * scale**2 * inner, (count * scale * t).flatten()


@kernel(fastmath={"contract", "reassoc", "nsz"})
def _normalization_second_derivatives(u, a, x, weight, mean, scale, to_a, to_x):
    count, channels = x.shape
    sums = np.zeros((5, channels), np.float64)
    block = np.empty((5, channels), x.dtype)
    # Sums run in the working precision over blocks of rows, and over blocks in double.
    for first in range(0, count, 128):
        block[:] = 0
        for i in range(first, min(first + 128, count)):
            for c in range(channels):
                z = (x[i, c] - mean[c]) * scale[c]
                block[0, c] += u[i, c]
                block[1, c] += a[i, c]
                block[2, c] += u[i, c] * z
                block[3, c] += a[i, c] * z
                block[4, c] += u[i, c] * a[i, c]
        sums += block
    sums /= count
    factors = np.empty((6, channels), x.dtype)
    to_weight = np.empty(channels, x.dtype)
    for c in range(channels):
        mean_u, mean_a, mean_uz, mean_az, mean_ua = sums[:, c]
        t = mean_ua - mean_u * mean_a - mean_uz * mean_az
        first, second = weight[c] * scale[c], -weight[c] * scale[c] ** 2
        factors[0, c], factors[1, c], factors[2, c] = first, -first * mean_uz, -first * mean_u
        factors[3, c], factors[4, c] = second * mean_uz, second * mean_az
        factors[5, c] = second * (t - 2 * mean_uz * mean_az)
        to_weight[c] = count * scale[c] * t
        sums[0, c] = -(factors[3, c] * mean_a + factors[4, c] * mean_u)
    constant = sums[0].astype(x.dtype)
    for i in range(count):
        for c in range(channels):
            z = (x[i, c] - mean[c]) * scale[c]
            to_a[i, c] = factors[0, c] * u[i, c] + factors[1, c] * z + factors[2, c]
            to_x[i, c] = factors[3, c] * a[i, c] + factors[4, c] * u[i, c] + factors[5, c] * z + constant[c]
    return to_weight
