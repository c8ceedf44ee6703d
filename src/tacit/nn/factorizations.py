"""Matrix, CP and hierarchical tensor factorizations.

After Razin, Maman, Cohen 2022, sections 3 to 5. Each is a module whose parameters multiply to an *end tensor*:

* `MatrixFactorization`, W = W_1 W_2 ... W_L;
* `HierarchicalTensorFactorization`, along a mode tree: leaf n has a matrix U_n (d_n, R_0), an inner node of level l a
  matrix (R_{l-1}, R_l) applied to the row-wise Khatri-Rao product of its children, the root a vector a;
* `CPFactorization`, the hierarchical one of a single level: a sum of `components` tensors of rank one.

Each is homogeneous of a degree that is its number of matrices and vectors. The end tensor and `forward`, which
evaluates it as a multilinear form, are plain differentiable PyTorch; the descent has quicker gradients of its own
(`tacit.training.gradients`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import reduce
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from tacit.settings.mode_trees import ModeTree, mode_tree


class MatrixFactorization(nn.Module):
    """W = W_1 W_2 ... W_L of (rows, columns); all inner sizes are the smaller side."""

    def __init__(self, rows: int, columns: int, depth: int):
        super().__init__()
        inner = min(rows, columns)
        sizes = [rows, *[inner] * (depth - 1), columns]
        self.factors = nn.ParameterList(torch.zeros(above, below) for above, below in itertools.pairwise(sizes))

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns of the end matrix."""
        return (len(self.factors[0]), self.factors[-1].shape[1])

    def end_tensor(self) -> Tensor:
        """Return the product of all factors (rows, columns)."""
        return reduce(torch.matmul, self.factors)

    def forward(self, matrices: Tensor) -> Tensor:
        """Return the inner products (n,) of the end matrix with `matrices` (n, rows, columns)."""
        return matrices.flatten(1) @ self.end_tensor().flatten()

    @torch.no_grad()
    def set_identity(self, scale: float) -> None:
        """Make each factor `scale` times the identity, cut or padded with zeros where it is not square."""
        for factor in self.factors:
            factor.copy_(scale * torch.eye(*factor.shape))


class HierarchicalTensorFactorization(nn.Module):
    """A tensor of `shape` along a mode tree, with as many channels at each level as `widths` says.

    `matrices[l]` are those of the nodes of level l; `output_vector` is that of the root, fixed to ones without
    `linear_output`. Parameters are in this order.
    """

    def __init__(self, shape: Sequence[int], tree: ModeTree, widths: Sequence[int], *, linear_output: bool = True):
        super().__init__()
        if len(widths) != tree.levels or len(shape) != tree.order:
            raise ValueError(f"{len(shape)} modes and {len(widths)} widths do not fit a tree of order {tree.order}")
        self.shape, self.tree = tuple(shape), tree
        inputs = [list(shape)] + [[widths[level - 1]] * len(tree.modes[level]) for level in range(1, tree.levels)]
        self.matrices = nn.ModuleList(
            nn.ParameterList(torch.zeros(size, width) for size in sizes)
            for sizes, width in zip(inputs, widths, strict=True)
        )
        self.output = nn.ParameterList([torch.zeros(widths[-1])] if linear_output else [])
        self.register_buffer("_ones", torch.ones(widths[-1]), persistent=False)

    _ones: Tensor

    def matrices_of(self, level: int) -> list[Tensor]:
        """Return the matrices of the nodes of a level."""
        return list(cast(nn.ParameterList, self.matrices[level]))

    @property
    def output_vector(self) -> Tensor:
        """The weights of the root's components (R,)."""
        return self.output[0] if len(self.output) else self._ones

    def end_tensor(self) -> Tensor:
        """Return the tensor of `shape`, modes in their own order."""
        nodes = self.matrices_of(0)
        for level, groups in enumerate(self.tree.groups):
            nodes = [reduce(khatri_rao, [nodes[child] for child in group]) for group in groups]
            if level + 1 < self.tree.levels:
                nodes = [node @ matrix for node, matrix in zip(nodes, self.matrices_of(level + 1), strict=True)]
        leaves = self.tree.leaf_order
        flat = nodes[0] @ self.output_vector
        return flat.view([self.shape[mode] for mode in leaves]).permute([leaves.index(m) for m in range(len(leaves))])

    def forward(self, vectors: Sequence[Tensor]) -> Tensor:
        """Return the multilinear form (n,) at `vectors`, one (n, d_n) a mode: n inputs at a time."""
        nodes = [vector @ matrix for vector, matrix in zip(vectors, self.matrices_of(0), strict=True)]
        for level, groups in enumerate(self.tree.groups):
            nodes = [reduce(torch.mul, [nodes[child] for child in group]) for group in groups]
            if level + 1 < self.tree.levels:
                nodes = [node @ matrix for node, matrix in zip(nodes, self.matrices_of(level + 1), strict=True)]
        return nodes[0] @ self.output_vector

    @torch.no_grad()
    def local_component_norms(self) -> dict[tuple[int, int], Tensor]:
        """Return, by level and number of each inner node, the norms (R,) of its local components, unsorted.

        Component r of a node is the product of the r-th columns of its children's matrices and the r-th row of its
        own; at the root the r-th output weight stands for that row.
        """
        norms = {}
        for level, node in self.tree.inner_nodes():
            children = [self.matrices_of(level - 1)[child] for child in self.tree.groups[level - 1][node]]
            if level == self.tree.levels:
                own = self.output_vector.abs()
            else:
                own = torch.linalg.vector_norm(self.matrices_of(level)[node], dim=1)
            columns = [torch.linalg.vector_norm(child, dim=0) for child in children]
            norms[level, node] = reduce(torch.mul, columns) * own
        return norms


class CPFactorization(HierarchicalTensorFactorization):
    """A sum of `components` tensors of rank one, weighted if `linear_output`."""

    def __init__(self, shape: Sequence[int], components: int, *, linear_output: bool = False):
        super().__init__(shape, mode_tree(len(shape), len(shape)), [components], linear_output=linear_output)

    @property
    def factors(self) -> list[Tensor]:
        """The matrices (d_n, components), one a mode, whose columns make the components."""
        return self.matrices_of(0)

    def component_norms(self) -> Tensor:
        """Return the norms of the components (R,), unsorted."""
        return self.local_component_norms()[1, 0]

    @torch.no_grad()
    def set_orthogonal(self, scale: float) -> None:
        """Make the components the products of unit vectors, one for each entry, every factor times `scale`.

        Raises ValueError unless there is one component an entry.
        """
        if len(self.output_vector) != math.prod(self.shape):
            raise ValueError(f"{math.prod(self.shape)} components are orthogonal here, not {len(self.output_vector)}")
        indices = torch.cartesian_prod(*(torch.arange(size) for size in self.shape))
        for mode, factor in enumerate(self.factors):
            factor.zero_()
            factor[indices[:, mode], torch.arange(len(indices))] = scale


Factorization = MatrixFactorization | HierarchicalTensorFactorization


def khatri_rao(left: Tensor, right: Tensor) -> Tensor:
    """Return the row-wise Khatri-Rao product (m n, R) of (m, R) and (n, R): all products of two rows."""
    return (left[:, None] * right[None]).flatten(0, 1)


@torch.no_grad()
def set_normal(model: nn.Module, generator: np.random.Generator, *, mean: float = 0.0, std: float) -> None:
    """Draw every parameter from a normal distribution, in the order in which the model has them.

    Drawn in float64, so that the precision of the model changes no more than the rounding.
    """
    for parameter in model.parameters():
        parameter.copy_(torch.from_numpy(mean + std * generator.standard_normal(parameter.shape)))


def middle(sizes: Sequence[int]) -> int:
    """Return where to cut a row of sizes (at least two), such that the products of both sides add up to the least."""
    return min(range(1, len(sizes)), key=lambda place: math.prod(sizes[:place]) + math.prod(sizes[place:]))


def matricize(tensor: Tensor, modes: Sequence[int]) -> Tensor:
    """Return `tensor` as a matrix whose rows are indexed by `modes` (from 0) and whose columns by all others."""
    others = [mode for mode in range(tensor.ndim) if mode not in modes]
    rows = math.prod(tensor.shape[mode] for mode in modes)
    return tensor.permute([*modes, *others]).reshape(rows, -1)


def count_parameters(model: nn.Module) -> int:
    """Return the number of trained numbers."""
    return sum(parameter.numel() for parameter in model.parameters())
