"""Plain tensor layers: decompositions by exact trains, and networks that are contracted in every pass.

What the tensor comparisons of Khodak, Tenenholtz, Mackey and Fusi (2021) do, as their library does it.  A matrix is a
tensor with three modes, row by row, and is written as an exact train of cores first; then trains are orthogonalised
from left to right by QR and truncated from right to left by singular value decompositions.

This module is written to be read, not to be fast.  Cores have shape (left, mode, right), factors (mode, rank).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


def exact_train(tensor: Tensor) -> list[Tensor]:
    """Return the cores of a tensor, exactly, by full singular value decompositions from left to right."""
    cores, rest, left = [], tensor, 1
    for mode in tensor.shape[:-1]:
        vectors, values, right = torch.linalg.svd(rest.reshape(left * mode, -1), full_matrices=False)
        cores.append(vectors.reshape(left, mode, -1))
        rest, left = values[:, None] * right, len(values)
    return [*cores, rest.reshape(left, -1, 1)]


def orthogonalise(cores: Sequence[Tensor]) -> list[Tensor]:
    """Return the same train with all cores but the last left-orthonormal, by QR from left to right."""
    done = list(cores)
    for k in range(len(done) - 1):
        left, mode, right = done[k].shape
        q, r = torch.linalg.qr(done[k].reshape(left * mode, right))
        done[k] = q.reshape(left, mode, -1)
        done[k + 1] = torch.einsum("ij,jbk->ibk", r, done[k + 1])
    return done


def truncate(cores: Sequence[Tensor], ranks: Sequence[int]) -> list[Tensor]:
    """Return a train with the given ranks between cores, the norm in the first, truncated from right to left."""
    done = orthogonalise(cores)
    for k in range(len(done) - 1, 0, -1):
        left, mode, right = done[k].shape
        vectors, values, rows = torch.linalg.svd(done[k].reshape(left, mode * right), full_matrices=False)
        kept = min(ranks[k - 1], len(values))
        done[k] = rows[:kept].reshape(kept, mode, right)
        done[k - 1] = torch.einsum("ibj,jk->ibk", done[k - 1], vectors[:, :kept] * values[:kept])
    return done


def tensor_train(matrix: Tensor, dims: Sequence[int], ranks: Sequence[int]) -> list[Tensor]:
    """Return the three cores of a matrix."""
    return truncate(exact_train(matrix.double().reshape(*dims)), ranks)


def tucker(matrix: Tensor, dims: Sequence[int], ranks: Sequence[int]) -> list[Tensor]:
    """Return the three cores of Tucker's core, and the three factors, of a matrix, truncated from the last mode."""
    cores = orthogonalise(exact_train(matrix.double().reshape(*dims)))
    factors: list[Tensor] = []
    for k in range(len(cores) - 1, -1, -1):
        left, mode, right = cores[k].shape
        q, r = torch.linalg.qr(cores[k].permute(0, 2, 1).reshape(left * right, mode))
        vectors, values, rows = torch.linalg.svd(r.T, full_matrices=False)
        kept = min(ranks[k], len(values))
        factors.insert(0, vectors[:, :kept])
        inner = q @ (rows[:kept].T * values[:kept])
        cores[k] = inner.reshape(left, right, kept).permute(0, 2, 1)
        if k:
            q, r = torch.linalg.qr(cores[k].reshape(left, kept * right).T)
            cores[k] = q.T.reshape(-1, kept, right)
            cores[k - 1] = torch.einsum("ibj,kj->ibk", cores[k - 1], r)
    return [*cores, *factors]


class TensorConvolution(nn.Module):
    """A depthwise convolution, and one of 1 x 1 whose matrix is contracted by einsum in every pass."""

    def __init__(self, parts: Sequence[Tensor], filters: Tensor, *, outputs: int, stride: int) -> None:
        """Start at copies of ``parts``, three cores or three cores and three factors, and ``filters``."""
        super().__init__()
        self.parts = nn.ParameterList([part.detach().clone() for part in parts])
        self.filters = nn.Parameter(filters.detach().clone())
        self.outputs, self.stride = outputs, stride

    def matrix(self) -> Tensor:
        """Return the matrix, (outputs, inputs)."""
        formula = "zaj,jbk,kcy->abc" if len(self.parts) == 3 else "zil,ljm,mky,ai,bj,ck->abc"
        return torch.einsum(formula, *self.parts).reshape(self.outputs, -1)

    def forward(self, x: Tensor) -> Tensor:
        """Return features of features."""
        x = functional.conv2d(x, self.filters, None, self.stride, padding=1, groups=len(self.filters))
        return functional.conv2d(x, self.matrix()[:, :, None, None])


def penalty(layers: Sequence[TensorConvolution], coefficient: float) -> Tensor:
    """Return half of ``coefficient`` times the squared norms of all matrices, contracted for it."""
    return coefficient / 2 * sum(layer.matrix().square().sum() for layer in layers)
