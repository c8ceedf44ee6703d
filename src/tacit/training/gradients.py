"""Gradients of factorizations by their structure.

With E the gradient of the loss with respect to the end tensor, the chain rule through a product of matrices, or up
and down a mode tree, takes a few matrix products:

* matrix factorization, P_j = W_1 ... W_j:  dW_j = P_{j-1}^T E (W_{j+1} ... W_L)^T, from the last factor to the first;
* tree, node with matrix W over the Khatri-Rao product P of its children, H = P W:  dW = P^T dH, dP = dH W^T, and each
  child takes its share of dP; the root splits its children in two sides, T = (L * a) R^T, so that dL = (E R) * a.

None of it looks at single observations. Memory is set aside once; a step allocates nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tacit.nn.factorizations import Factorization, HierarchicalTensorFactorization, MatrixFactorization, middle
from tacit.nn.products import product


class MatrixGradient:
    """End matrix of factors W_1, ..., W_L and, given its gradient, theirs.

    Results are written to `end` (rows, columns) and to the `gradients`, one a factor; the caller fills
    `end_gradient` in between.
    """

    def __init__(self, factors: Sequence[Tensor], gradients: Sequence[Tensor]):
        self.factors, self.gradients = list(factors), list(gradients)
        rows = len(factors[0])
        self._products = [factors[0]] + [factors[0].new_empty(rows, factor.shape[1]) for factor in factors[1:]]
        self.end = self._products[-1]
        self.end_gradient = torch.empty_like(self.end)
        # Gradients of the products W_1 ... W_j; the first is W_1 itself.
        inner = [torch.empty_like(product) for product in self._products[1:-1]]
        self._descents = [self.gradients[0], *inner, self.end_gradient]
        products, descents = self._products, self._descents
        self._forward = [
            product(products[number - 1], self.factors[number], out=products[number])
            for number in range(1, len(self.factors))
        ]
        self._backward = []
        for number in range(len(self.factors) - 1, 0, -1):
            self._backward += [
                product(products[number - 1].T, descents[number], out=self.gradients[number]),
                product(descents[number], self.factors[number].T, out=descents[number - 1]),
            ]

    def forward(self) -> None:
        """Compute `end`."""
        for multiply in self._forward:
            multiply()

    def backward(self) -> None:
        """Compute the gradients from `end_gradient`."""
        if len(self.factors) == 1:
            self.gradients[0].copy_(self.end_gradient)
        for multiply in self._backward:
            multiply()


class _KhatriRao:
    """Row-wise Khatri-Rao product of matrices (d_i, R), and the share of its gradient that each takes."""

    def __init__(self, matrices: Sequence[Tensor], shares: Sequence[Tensor]):
        self.matrices, self.shares = list(matrices), list(shares)
        width = matrices[0].shape[1]
        sizes = [len(matrix) for matrix in matrices]
        self._partial = [matrices[0]]
        for count in range(2, len(sizes) + 1):
            self._partial.append(matrices[0].new_empty(math.prod(sizes[:count]), width))
        self.product = self._partial[-1]
        # Gradients of the partial products; that of the first matrix alone is its share.
        self._descents = [self.shares[0]] + [torch.empty_like(partial) for partial in self._partial[1:]]
        self.gradient = self._descents[-1]
        self._scratch = torch.empty_like(self.product)

    def forward(self) -> None:
        for before, matrix, after in zip(self._partial[:-1], self.matrices[1:], self._partial[1:], strict=True):
            rows, columns = len(before), len(matrix)
            torch.mul(before[:, None], matrix[None], out=after.view(rows, columns, -1))

    def backward(self) -> None:
        for last in range(len(self.matrices) - 1, 0, -1):
            before, matrix = self._partial[last - 1], self.matrices[last]
            whole = self._descents[last].view(len(before), len(matrix), -1)
            scratch = self._scratch[: len(before) * len(matrix)].view_as(whole)
            torch.mul(whole, before[:, None], out=scratch)
            torch.sum(scratch, 0, out=self.shares[last])
            torch.mul(whole, matrix[None], out=scratch)
            torch.sum(scratch, 1, out=self._descents[last - 1])


class TreeGradient:
    """End tensor of a hierarchical factorization and, given its gradient, those of its parameters.

    `matrices` and `gradients` are by level and node as in HierarchicalTensorFactorization; `output_gradient` is None
    if the output is fixed. `end` and `end_gradient` are tensors of the model's shape.
    """

    def __init__(
        self,
        model: HierarchicalTensorFactorization,
        matrices: Sequence[Sequence[Tensor]],
        output: Tensor,
        gradients: Sequence[Sequence[Tensor]],
        output_gradient: Tensor | None,
    ):
        tree = model.tree
        self.output, self.output_gradient = output, output_gradient
        nodes, shares = list(matrices[0]), list(gradients[0])
        # Of each inner node but the root: its children, and what multiplies their product forward and backward.
        self._nodes: list[tuple[_KhatriRao, Callable[[], object], list[Callable[[], object]]]] = []
        for level in range(1, tree.levels):
            above, above_shares = [], []
            for number, group in enumerate(tree.groups[level - 1]):
                children = _KhatriRao([nodes[child] for child in group], [shares[child] for child in group])
                matrix, gradient = matrices[level][number], gradients[level][number]
                value = matrix.new_empty(len(children.product), matrix.shape[1])
                share = torch.empty_like(value)
                back = [
                    product(children.product.T, share, out=gradient),
                    product(share, matrix.T, out=children.gradient),
                ]
                self._nodes.append((children, product(children.product, matrix, out=value), back))
                above.append(value)
                above_shares.append(share)
            nodes, shares = above, above_shares
        self._split_root(nodes, shares)
        leaves = tree.leaf_order
        places = [leaves.index(mode) for mode in range(tree.order)]
        sizes = [model.shape[mode] for mode in leaves]
        self._flat_end = output.new_empty(len(self._left.product), len(self._right.product))
        self._flat_gradient = torch.empty_like(self._flat_end)
        self.end = self._flat_end.view(sizes).permute(places)
        self.end_gradient = self._flat_gradient.view(sizes).permute(places)
        self._weighted = torch.empty_like(self._left.product)
        self._left_scratch = torch.empty_like(self._left.product)
        self._root_forward = product(self._weighted, self._right.product.T, out=self._flat_end)
        self._root_backward = [
            product(self._flat_gradient.T, self._weighted, out=self._right.gradient),
            product(self._flat_gradient, self._right.product, out=self._left_scratch),
        ]

    def _split_root(self, nodes: list[Tensor], shares: list[Tensor]) -> None:
        """Divide the root's children in two sides of as few rows as possible."""
        cut = middle([len(node) for node in nodes])
        self._left = _KhatriRao(nodes[:cut], shares[:cut])
        self._right = _KhatriRao(nodes[cut:], shares[cut:])

    def forward(self) -> None:
        """Compute `end`."""
        for children, multiply, _ in self._nodes:
            children.forward()
            multiply()
        self._left.forward()
        self._right.forward()
        torch.mul(self._left.product, self.output, out=self._weighted)
        self._root_forward()

    def backward(self) -> None:
        """Compute the gradients from `end_gradient`."""
        for multiply in self._root_backward:
            multiply()
        if self.output_gradient is not None:
            # The buffer of the left side's gradient is free until the next line.
            torch.mul(self._left_scratch, self._left.product, out=self._left.gradient)
            torch.sum(self._left.gradient, 0, out=self.output_gradient)
        torch.mul(self._left_scratch, self.output, out=self._left.gradient)
        self._right.backward()
        self._left.backward()
        for children, _, products in reversed(self._nodes):
            for multiply in products:
                multiply()
            children.backward()


def structured_gradient(
    model: Factorization, parameters: Sequence[Tensor], gradients: Sequence[Tensor]
) -> MatrixGradient | TreeGradient:
    """Return what computes the gradients of `model`.

    `parameters` hold the values and `gradients` take the results, both in the order of model.parameters().
    """
    if isinstance(model, MatrixFactorization):
        return MatrixGradient(parameters, gradients)
    counts = [len(model.matrices_of(level)) for level in range(model.tree.levels)]
    starts = [sum(counts[:level]) for level in range(len(counts) + 1)]

    def by_level(tensors: Sequence[Tensor]) -> list[Sequence[Tensor]]:
        return [tensors[start:end] for start, end in itertools.pairwise(starts)]

    if len(model.output):
        return TreeGradient(model, by_level(parameters), parameters[-1], by_level(gradients), gradients[-1])
    output = model.output_vector.to(parameters[0])
    return TreeGradient(model, by_level(parameters), output, by_level(gradients), None)
