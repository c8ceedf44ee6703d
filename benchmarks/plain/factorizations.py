"""Plain matrix and tensor factorizations and their descent.

Fits the models of the incremental rank learning experiments of Razin, Maman and Cohen (2022), "Implicit Regularization
in Hierarchical Tensor Factorization and Deep Convolutional Neural Networks": deep matrix factorization, CP tensor
factorization and hierarchical tensor factorization, by full batch descent with one step size for all parameters.

This module is written to be read, not to be fast.  A model is evaluated sample by sample on dense inputs, gradients
come from autograd, the end tensor of a hierarchical model is its value on every one-hot input, and the norm of a
component is the norm of the component written out in full.

Conventions: n is the number of samples, N the order of a tensor and d_k the size of its mode k; R is a number of
components.  An input of a tensor model is a list with one (n, d_k) tensor for each mode.  Modes, nodes and components
are counted from 0.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class MatrixFactorization(nn.Module):
    """The matrix W = W1 W2 ... WL."""

    def __init__(self, factors: Sequence[Tensor]) -> None:
        """Start at copies of ``factors``, the matrices W1, ..., WL."""
        super().__init__()
        self.factors = nn.ParameterList([factor.detach().clone() for factor in factors])

    def end(self) -> Tensor:
        """Return W, of shape (rows, cols)."""
        return functools.reduce(torch.matmul, self.factors)

    def forward(self, measurements: Tensor) -> Tensor:
        """Return the inner product of W with each of the ``measurements``, of shape (n, rows, cols)."""
        return (measurements * self.end()).sum((1, 2))


class CPFactorization(nn.Module):
    """The tensor that is the sum over r of w_r times the outer product of the r-th columns of all factors."""

    def __init__(self, factors: Sequence[Tensor], weights: Tensor | None = None) -> None:
        """Start at copies of ``factors``, one (d_k, R) matrix a mode, and ``weights``, (R,), all 1 if not given."""
        super().__init__()
        self.factors = nn.ParameterList([factor.detach().clone() for factor in factors])
        self.weights = None if weights is None else nn.Parameter(weights.detach().clone())

    def end(self) -> Tensor:
        """Return the tensor, of shape (d_0, ..., d_{N-1})."""
        modes = "".join(chr(ord("A") + mode) for mode in range(len(self.factors)))
        terms = [f"{mode}r" for mode in modes]
        operands = list(self.factors)
        if self.weights is not None:
            terms.append("r")
            operands.append(self.weights)
        return torch.einsum(f"{','.join(terms)}->{modes}", *operands)

    def forward(self, x: Sequence[Tensor]) -> Tensor:
        """Return the tensor contracted with each sample, of shape (n,)."""
        contracted = [vectors @ factor for vectors, factor in zip(x, self.factors, strict=True)]
        components = functools.reduce(operator.mul, contracted)
        if self.weights is not None:
            components = components * self.weights
        return components.sum(1)


def node_groups(count: int, pool_size: int, pattern: str) -> list[list[int]]:
    """Return which of the ``count`` nodes of a layer are pooled together, a list of nodes for each new node."""
    if pattern == "checkerboard":
        return [list(range(start, min(start + pool_size, count))) for start in range(0, count, pool_size)]
    if pattern == "half":
        if pool_size != 2:
            raise ValueError(f"the pattern 'half' pools 2 nodes, not {pool_size}")
        groups = [[node, node + math.ceil(count / 2)] for node in range(count // 2)]
        return [*groups, [count // 2]] if count % 2 == 1 else groups
    if pattern == "checkerboard_sq":
        side, patch = math.isqrt(count), math.isqrt(pool_size)
        if side**2 != count or patch**2 != pool_size or side % patch != 0:
            raise ValueError(f"{count} nodes are not a square grid made of square patches of {pool_size}")
        corners = [(row, col) for row in range(0, side, patch) for col in range(0, side, patch)]
        offsets = [(row, col) for row in range(patch) for col in range(patch)]
        return [[(top + row) * side + left + col for row, col in offsets] for top, left in corners]
    raise ValueError(f"unknown pattern {pattern!r}")


class HierarchicalFactorization(nn.Module):
    """The hierarchical tensor factorization over the mode tree that pools nodes by a pattern, layer by layer."""

    def __init__(
        self, layers: Sequence[Sequence[Tensor]], output: Tensor, pool_size: int = 2, pattern: str = "checkerboard"
    ) -> None:
        """Start at copies of the given tensors.

        Args:
            layers: for each hidden layer the matrices of its nodes.  Those of layer 0 have d_k rows; a matrix of a
                later layer has as many rows as the matrices of the node's children have columns.
            output: (R,), the output vector; R is the number of columns in the last layer.
            pool_size: the number of nodes pooled into one.
            pattern: "checkerboard", "half" or "checkerboard_sq".
        """
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ParameterList([matrix.detach().clone() for matrix in matrices]) for matrices in layers
        )
        self.output = nn.Parameter(output.detach().clone())
        self.groups = [node_groups(len(matrices), pool_size, pattern) for matrices in layers]
        expected = [*(len(matrices) for matrices in layers[1:]), 1]
        if [len(groups) for groups in self.groups] != expected or any(len(matrices) < 2 for matrices in layers):
            raise ValueError("the numbers of matrices in the layers do not fit the pooling")

    def end(self) -> Tensor:
        """Return the tensor, of shape (d_0, ..., d_{N-1})."""
        shape = [len(matrix) for matrix in self.layers[0]]
        indices = torch.cartesian_prod(*(torch.arange(size, device=self.output.device) for size in shape))
        return self(one_hot(indices, shape, self.output.dtype)).reshape(shape)

    def forward(self, x: Sequence[Tensor]) -> Tensor:
        """Return the tensor contracted with each sample, of shape (n,)."""
        nodes = list(x)
        for matrices, groups in zip(self.layers, self.groups, strict=True):
            channels = [node @ matrix for node, matrix in zip(nodes, matrices, strict=True)]
            nodes = [functools.reduce(operator.mul, [channels[child] for child in group]) for group in groups]
        return nodes[0] @ self.output


def one_hot(indices: Tensor, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Return the index tuples ``indices``, of shape (n, N), as one (n, d_k) tensor of one-hot rows for each mode."""
    return [functional.one_hot(column, size).to(dtype) for column, size in zip(indices.T, shape, strict=True)]


def one_hot_matrices(indices: Tensor, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
    """Return for each index pair in ``indices``, of shape (n, 2), the matrix that is 1 there: (n, rows, cols)."""
    rows, cols = one_hot(indices, shape, dtype)
    return rows[:, :, None] * cols[:, None, :]


class GroupRMSprop:
    """Gradient descent with its step divided by the bias-corrected root mean square of the norm of the gradient.

    The norm is that of the gradients of all parameters together.  A parameter without a gradient is left out.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        """Start with no steps made; ``alpha`` is the decay of the moving average of the squared norm."""
        self.parameters = list(parameters)
        self.lr, self.alpha, self.eps, self.weight_decay = lr, alpha, eps, weight_decay
        self.steps = 0
        self.mean_square = 0.0

    @torch.no_grad()
    def step(self) -> None:
        """Make one step."""
        moved = [parameter for parameter in self.parameters if parameter.grad is not None]
        gradients = [parameter.grad for parameter in moved]
        if self.weight_decay != 0:
            gradients = [parameter.grad + self.weight_decay * parameter for parameter in moved]
        squared_norm = float(sum(gradient.square().sum() for gradient in gradients))
        self.steps += 1
        self.mean_square = self.alpha * self.mean_square + (1 - self.alpha) * squared_norm
        corrected = self.mean_square / (1 - self.alpha**self.steps)
        step_size = self.lr / (math.sqrt(corrected) + self.eps)
        for parameter, gradient in zip(moved, gradients, strict=True):
            parameter -= step_size * gradient


def loss_value(name: str, predictions: Tensor, targets: Tensor, huber_beta: float = 1.0) -> Tensor:
    """Return the mean loss over all samples: "l2" squared, "l1" absolute, "huber" smooth L1 error."""
    if name == "l2":
        return functional.mse_loss(predictions, targets)
    if name == "l1":
        return functional.l1_loss(predictions, targets)
    if name == "huber":
        return functional.smooth_l1_loss(predictions, targets, beta=huber_beta)
    raise ValueError(f"unknown loss {name!r}")


def descend(
    model: nn.Module,
    inputs: Tensor | Sequence[Tensor],
    targets: Tensor,
    *,
    steps: int,
    optimizer: GroupRMSprop | torch.optim.Optimizer,
    loss: str = "l2",
    huber_beta: float = 1.0,
    evaluate: Callable[[nn.Module, int], object] | None = None,
    every: int = 25,
) -> list[float]:
    """Make ``steps`` full batch steps and return the loss before each of them.

    After every ``every`` steps ``evaluate`` is called with the model and the number of steps made so far.
    """
    losses = []
    for step in range(1, steps + 1):
        model.zero_grad()
        value = loss_value(loss, model(inputs), targets, huber_beta)
        losses.append(value.item())
        value.backward()
        optimizer.step()
        if evaluate is not None and step % every == 0:
            with torch.no_grad():
                evaluate(model, step)
    return losses


def _outer_norm(vectors: Sequence[Tensor]) -> Tensor:
    """Return the norm of the outer product of ``vectors``, built in full."""
    tensor = functools.reduce(lambda left, right: torch.tensordot(left, right, dims=0), vectors)
    return torch.linalg.vector_norm(tensor)


@torch.no_grad()
def component_norms(model: CPFactorization) -> Tensor:
    """Return the norm of each component, of shape (R,), in the order of the components."""
    rows = [] if model.weights is None else [model.weights[None, :]]  # a weight is one more vector, with one entry
    matrices = [*model.factors, *rows]
    return torch.stack([_outer_norm([matrix[:, r] for matrix in matrices]) for r in range(matrices[0].shape[1])])


@torch.no_grad()
def local_component_norms(model: HierarchicalFactorization) -> dict[tuple[int, ...], Tensor]:
    """Return the norms of the local components of each inner node, by the sorted modes of the node.

    A component is the outer product of a column of each child's matrix and the row of the node's own matrix (at the
    root the entry of the output vector).  A node that passed a layer alone joins nothing there and has no components.
    """
    norms = {}
    modes = [(mode,) for mode in range(len(model.layers[0]))]
    own_matrices = [*model.layers[1:], [model.output[:, None]]]
    for matrices, groups, owns in zip(model.layers, model.groups, own_matrices, strict=True):
        modes = [tuple(sorted(mode for child in group for mode in modes[child])) for group in groups]
        for node, group, own in zip(modes, groups, owns, strict=True):
            if len(group) > 1:
                components = [[*(matrices[child][:, r] for child in group), own[r]] for r in range(len(own))]
                norms[node] = torch.stack([_outer_norm(vectors) for vectors in components])
    return norms
