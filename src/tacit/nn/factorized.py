"""Layers whose weights are products of factors, and what all such layers share: convolution, linear layer, embedding.

After Khodak, Tenenholtz, Mackey, Fusi 2021, section 2. A kernel W (O, I, kh, kw) is seen as a matrix with m = O kh rows
(o, p) and n = I kw columns (i, q),

    W[o, i, p, q] = (U M VT)[o kh + p, i kw + q],   U (m, r), VT (r, n), M (r, r) or absent,

so that convolving with it is the same as convolving along rows with the r filters (I, 1, kw) of M VT, and what comes of
it along columns with the O filters (r, kh, 1) of U. A linear layer (O, I) and an embedding (N, D) are matrices as they
are. Any rank of at least 1 is possible, more than min(m, n) too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from tacit.nn.factors import Factors

Matricisation = Literal["repaired", "published"]
"""How a kernel becomes a matrix for the spectral initialisation.

"repaired" is as the layers read it: rows (o, p), columns (i, q). "published" cuts the kernel as it lies in memory,
(o, i, p, q), into rows of I kw numbers, so that a layer started from it has the numbers of a filter in another order.
"""


def matricised(kernel: Tensor, matricisation: Matricisation = "repaired") -> Tensor:
    """Return a kernel (O, I, kh, kw) as a matrix (O kh, I kw)."""
    outputs, inputs, height, width = kernel.shape
    if matricisation == "repaired":
        kernel = kernel.transpose(1, 2)
    elif matricisation != "published":
        raise ValueError(f"matricisation = {matricisation!r}: it is 'repaired' or 'published'")
    return kernel.reshape(outputs * height, inputs * width)


def kernel_of(matrix: Tensor, kernel_size: tuple[int, int], matricisation: Matricisation = "repaired") -> Tensor:
    """Return the kernel (O, I, kh, kw) whose matrix (O kh, I kw) is given; for "repaired" a view."""
    height, width = kernel_size
    outputs, inputs = matrix.shape[0] // height, matrix.shape[1] // width
    if matricisation == "repaired":
        return matrix.view(outputs, height, inputs, width).transpose(1, 2)
    if matricisation != "published":
        raise ValueError(f"matricisation = {matricisation!r}: it is 'repaired' or 'published'")
    return matrix.reshape(outputs, inputs, height, width)


class Factorized(nn.Module):
    """A layer whose weight is a product of several parameters: a matrix of factors, or a tensor network.

    A bias (if any) is no part of the product.
    """

    bias: nn.Parameter | None

    def factors(self) -> tuple[Any, ...]:
        """Return the parameters of the product, named as they are registered; None for one that is absent."""
        raise NotImplementedError

    def matrix(self) -> Tensor:
        """Return the product as a matrix, whose Frobenius norm is that of the product."""
        raise NotImplementedError

    @property
    def weight(self) -> Tensor:
        """The weight that a dense layer would have, computed anew: modules that use that of an inner layer find it."""
        return self.matrix()

    def squared_norm(self) -> Tensor:
        """Return the squared Frobenius norm () of the product."""
        raise NotImplementedError

    def dense(self) -> nn.Module:
        """Return a layer of PyTorch with the same outputs; nothing is shared with it."""
        raise NotImplementedError


class FactorizedMatrix(Factorized):
    """What layers with U VT share: the parameters U, VT, M (if any) and bias (if any), registered in this order."""

    U: nn.Parameter
    VT: nn.Parameter
    M: nn.Parameter | None

    def __init__(self, factors: Factors, bias: Tensor | None = None):
        """Take copies of factors and bias; raises ValueError if they do not fit each other, or have rank 0."""
        super().__init__()
        _check(factors)
        for name, tensor in (*factors._asdict().items(), ("bias", bias)):
            self.register_parameter(name, None if tensor is None else nn.Parameter(own_copy(tensor)))

    @property
    def rank(self) -> int:
        """Number r of columns of U."""
        return self.VT.shape[0]

    def factors(self) -> Factors:
        """Return the parameters of the product."""
        return Factors(self.U, self.VT, self.M)

    def matrix(self) -> Tensor:
        """Return the product, (m, n)."""
        return self.factors().product()

    def squared_norm(self) -> Tensor:
        """Return the squared Frobenius norm () of the product."""
        return self.factors().squared_norm()

    def extra_repr(self) -> str:
        """Say how large the matrix is, and of what rank."""
        rows, columns, number = len(self.U), self.VT.shape[1], 2 if self.M is None else 3
        return f"{rows} x {columns}, rank={self.rank}, factors={number}, bias={self.bias is not None}"


class FactorizedConv2d(FactorizedMatrix):
    """A convolution of (B, I, H, W) to (B, O, H', W'), without groups, padded with zeros.

    Args:
        factors: of the matrix (O kh, I kw).
        bias: (O,) or None.
        kernel_size: (kh, kw).
        stride: (rows, columns), as `padding` and `dilation`.
        padding: zeros on each side.
        dilation: distance of taps.
        one_convolution: form the kernel in every pass and convolve once. Otherwise convolve twice, which takes the
            fewer operations the smaller the rank; outputs are equal up to rounding.
    """

    def __init__(
        self,
        factors: Factors,
        bias: Tensor | None = None,
        *,
        kernel_size: tuple[int, int],
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int] = (0, 0),
        dilation: tuple[int, int] = (1, 1),
        one_convolution: bool = False,
    ):
        super().__init__(factors, bias)
        (rows, columns), (height, width) = (len(factors.U), factors.VT.shape[1]), kernel_size
        if rows % height or columns % width:
            raise ValueError(f"a matrix {rows} x {columns} is none of kernels {height} x {width}")
        self.out_channels, self.in_channels = rows // height, columns // width
        self.kernel_size, self.stride, self.padding, self.dilation = kernel_size, stride, padding, dilation
        self.one_convolution = one_convolution

    @property
    def weight(self) -> Tensor:
        """The kernel, computed anew."""
        return self.kernel()

    def kernel(self) -> Tensor:
        """Return W (O, I, kh, kw)."""
        return kernel_of(self.matrix(), self.kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, O, H', W') of (B, I, H, W)."""
        x, stride, padding = thinned(x, self.kernel_size, self.stride, self.padding)
        if self.one_convolution:
            return functional.conv2d(x, plain_kernel(self.kernel()), self.bias, stride, padding, self.dilation)
        (height, width), (down, along) = self.kernel_size, self.dilation
        rows = self.factors().right().view(self.rank, self.in_channels, 1, width)
        columns = self.U.view(self.out_channels, height, self.rank).transpose(1, 2).unsqueeze(-1)
        x = functional.conv2d(x, rows, None, (1, stride[1]), (0, padding[1]), (1, along))
        return functional.conv2d(x, plain_kernel(columns), self.bias, (stride[0], 1), (padding[0], 0), (down, 1))

    @torch.no_grad()
    def dense(self) -> nn.Conv2d:
        """Return the convolution with the kernel that the factors make."""
        return dense_convolution(self.kernel(), self, self.stride, self.padding, self.dilation)

    def extra_repr(self) -> str:
        """Say what a convolution is made of."""
        form = "one convolution" if self.one_convolution else "two convolutions"
        sizes = f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
        return f"{super().extra_repr()}, {sizes}, dilation={self.dilation}, {form}"


class FactorizedLinear(FactorizedMatrix):
    """A linear layer of (..., I) to (..., O), with factors of the matrix (O, I) and a bias (O,) or none."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., O) of (..., I)."""
        return functional.linear(functional.linear(x, self.factors().right()), self.U, self.bias)

    @torch.no_grad()
    def dense(self) -> nn.Linear:
        """Return the linear layer with the product as weight."""
        outputs, inputs = len(self.U), self.VT.shape[1]
        like: dict[str, Any] = {"device": self.U.device, "dtype": self.U.dtype, "bias": self.bias is not None}
        return _filled(nn.utils.skip_init(nn.Linear, inputs, outputs, **like), self.matrix(), self)


class FactorizedEmbedding(FactorizedMatrix):
    """An embedding of numbers (...) below N as vectors (..., D), with factors of the matrix (N, D).

    Row `padding_idx` of U, if given, gets no gradient from what is looked up. Where it is zero, as it is after
    replacing an embedding whose own row is zero, its vector stays zero whatever VT learns.
    """

    def __init__(self, factors: Factors, *, padding_idx: int | None = None):
        super().__init__(factors)
        self.padding_idx = padding_idx

    def forward(self, numbers: Tensor) -> Tensor:
        """Return vectors (..., D) of numbers (...)."""
        return functional.embedding(numbers, self.U, padding_idx=self.padding_idx) @ self.factors().right()

    @torch.no_grad()
    def dense(self) -> nn.Embedding:
        """Return the embedding with the product as table."""
        rows, columns = len(self.U), self.VT.shape[1]
        table = nn.utils.skip_init(
            nn.Embedding, rows, columns, padding_idx=self.padding_idx, device=self.U.device, dtype=self.U.dtype
        )
        return _filled(table, self.matrix(), self)


def factorized_layers(model: nn.Module) -> dict[str, Factorized]:
    """Return the factorized layers of a model by name, in the order of its modules, each once."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Factorized)}


Dense = TypeVar("Dense", nn.Conv2d, nn.Linear, nn.Embedding)


def dense_convolution(
    kernel: Tensor, source: Factorized, stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int]
) -> nn.Conv2d:
    """Return the convolution with a kernel (O, I, kh, kw), and the bias, mode and trainability of `source`."""
    outputs, inputs, height, width = kernel.shape
    conv = nn.utils.skip_init(
        nn.Conv2d,
        inputs,
        outputs,
        (height, width),
        stride=stride,
        padding=padding,
        dilation=dilation,
        bias=source.bias is not None,
        device=kernel.device,
        dtype=kernel.dtype,
    )
    return _filled(conv, kernel, source)


def thinned(
    x: Tensor, kernel_size: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
) -> tuple[Tensor, tuple[int, int], tuple[int, int]]:
    """Return the rows and columns that a stride leaves of x where the kernel has one tap, stride, and padding.

    That is less work for the first of two convolutions. And it leaves none of 1 x 1 kernels with a stride on few
    channels, as the second would be with a small rank: those oneDNN gets wrong (`tacit.nn.layout`).
    """
    (height, width), (down, along), (above, beside) = kernel_size, stride, padding
    if height == 1 and down > 1:
        x = (functional.pad(x, (0, 0, above, above)) if above else x)[..., ::down, :]
        down, above = 1, 0
    if width == 1 and along > 1:
        x = (functional.pad(x, (beside, beside)) if beside else x)[..., ::along]
        along, beside = 1, 0
    return x, (down, along), (above, beside)


def _filled(layer: Dense, weight: Tensor, source: Factorized) -> Dense:
    """Give `layer` a weight, and the bias, mode and trainability of `source`."""
    layer.weight.copy_(weight)
    layer.weight.requires_grad_(source.factors()[0].requires_grad)
    if source.bias is not None and not isinstance(layer, nn.Embedding) and layer.bias is not None:
        layer.bias.copy_(source.bias)
        layer.bias.requires_grad_(source.bias.requires_grad)
    layer.train(source.training)
    return layer


def plain_kernel(kernel: Tensor) -> Tensor:
    """Return a kernel in the order of its dimensions.

    Strides of a view with one channel can pass for channels last, and would turn the order of images from here on.
    """
    return kernel.clone(memory_format=torch.contiguous_format)


def own_copy(tensor: Tensor) -> Tensor:
    """Return a copy in the order of its dimensions, through which no gradient flows."""
    return tensor.detach().clone(memory_format=torch.contiguous_format)


def _check(factors: Factors) -> None:
    """Raise ValueError unless the factors are matrices that can be multiplied, of rank 1 or more."""
    shapes: Sequence[tuple[int, ...]] = [tuple(factor.shape) for factor in factors if factor is not None]
    rank = shapes[0][-1]
    right, middle = (rank, shapes[1][-1]), (rank, rank)
    if any(len(shape) != 2 for shape in shapes) or shapes[1] != right or any(shape != middle for shape in shapes[2:]):
        raise ValueError(f"factors U, VT, M of shapes {shapes}: they are (m, r), (r, n) and perhaps (r, r)")
    if rank < 1:
        raise ValueError("a layer of rank 0 computes nothing: factors have a rank of 1 or more")
