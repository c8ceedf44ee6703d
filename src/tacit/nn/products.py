"""Matrix products that are the same on processors of every maker.

On a CPU they are NumPy's, whose OpenBLAS can be held to one set of kernels (`tacit.processors`). PyTorch's are MKL's,
which goes its own ways on processors that are not Intel's: held to what is common to all it takes twice to three times
as long.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn


def multiply(left: Tensor, right: Tensor, *, out: Tensor) -> Tensor:
    """Write left @ right to `out`, with the shapes of `torch.matmul`, and return it; no gradients are followed."""
    product(left, right, out=out)()
    return out


def product(left: Tensor, right: Tensor, *, out: Tensor) -> Callable[[], object]:
    """Return what multiplies as `multiply` does each time it is called, for tensors that stay where they are.

    On a CPU looking up where they lie takes as long as multiplying small ones.
    """
    if _is_for_numpy(out):
        return partial(np.matmul, left.detach().numpy(), right.detach().numpy(), out.detach().numpy())
    return partial(torch.matmul, left, right, out=out)


def _is_for_numpy(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.dtype in (torch.float32, torch.float64)


class Linear(nn.Linear):
    """PyTorch's linear layer, with these products where its own would be MKL's."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return inputs @ weight.T + bias for inputs (B, in_features)."""
        if _is_for_numpy(inputs) and not torch.is_autocast_enabled("cpu"):
            return _Affine.apply(inputs, self.weight, self.bias)
        return super().forward(inputs)


class _Affine(torch.autograd.Function):
    """y = x @ weight.T + bias for x (B, I), weight (O, I), bias (O,)."""

    @staticmethod
    def forward(ctx, inputs, weight, bias):
        """Return y (B, O)."""
        ctx.save_for_backward(inputs, weight)
        return multiply(inputs, weight.T, out=inputs.new_empty(len(inputs), len(weight))).add_(bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        """Return gradients of inputs (if asked for), weight and bias."""
        inputs, weight = ctx.saved_tensors
        to_inputs = multiply(grad, weight, out=torch.empty_like(inputs)) if ctx.needs_input_grad[0] else None
        return to_inputs, multiply(grad.T, inputs, out=torch.empty_like(weight)), grad.sum(0)
