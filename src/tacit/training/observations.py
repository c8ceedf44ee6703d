"""What is observed of a matrix or tensor, and how a loss over it depends on the end tensor.

Each kind gives, for an end tensor, the mean loss of its residuals and the gradient of that mean with respect to the
end tensor, without a loop over observations:

* `Entries`: entries at given indices; a mask over the tensor stands for products with one-hot matrices;
* `Matrices`: inner products with dense matrices;
* `RankOne`: inner products with tensors of rank one, whose vectors are merged to two sides, so that the end tensor is
  taken as a matrix between them: y_i = l_i^T T r_i.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tacit.nn.factorizations import middle
from tacit.nn.products import multiply
from tacit.settings.factorizations import Descent


class Loss:
    """Mean over residuals of their square, absolute value or Huber loss (quadratic below `threshold`, over it)."""

    def __init__(self, name: str, threshold: float = 1.0):
        self.name, self.threshold = name, threshold
        # What `slope_` leaves out, because multiplying by it is free elsewhere.
        self.factor = 2.0 if name == "l2" else 1.0

    @classmethod
    def of(cls, descent: Descent) -> Loss:
        """Return the loss that settings name."""
        return cls(descent.loss, descent.huber_threshold)

    def mean(self, residuals: Tensor) -> Tensor:
        """Return the loss of `residuals`, without dimensions."""
        if self.name == "l2":
            return residuals.square().mean()
        if self.name == "l1":
            return residuals.abs().mean()
        near, far = residuals.square() / (2 * self.threshold), residuals.abs() - self.threshold / 2
        return torch.where(residuals.abs() < self.threshold, near, far).mean()

    def slope_(self, residuals: Tensor) -> Tensor:
        """Replace `residuals` by the derivative of their loss, over `factor`."""
        if self.name == "l1":
            return residuals.sign_()
        if self.name == "huber":
            return residuals.div_(self.threshold).clamp_(-1, 1)
        return residuals


class Entries:
    """Entries of a tensor of `shape` at distinct flat indices (n,), row-major; observed values (n,)."""

    def __init__(self, shape: Sequence[int], indices: Tensor, values: Tensor, loss: Loss):
        self.shape, self.indices, self.values, self.loss = tuple(shape), indices, values, loss
        self._known = values.new_zeros(math.prod(shape))
        self._known[indices] = values
        self._known = self._known.view(self.shape)
        self._weights = values.new_zeros(math.prod(shape))
        self._weights[indices] = loss.factor / len(indices)
        self._weights = self._weights.view(self.shape)

    def __len__(self) -> int:
        return len(self.values)

    def subset(self, rows: Tensor) -> Entries:
        """Return some of the observations."""
        return Entries(self.shape, self.indices[rows], self.values[rows], self.loss)

    def predictions(self, end: Tensor) -> Tensor:
        """Return what the end tensor says of each observation (n,)."""
        return end.reshape(-1)[self.indices]

    def gradient(self, end: Tensor, out: Tensor) -> None:
        """Write the gradient with respect to `end` to `out`."""
        torch.sub(end, self._known, out=out)
        self.loss.slope_(out).mul_(self._weights)


class Matrices:
    """Inner products of a matrix with dense ones (n, rows, columns); observed values (n,)."""

    def __init__(self, matrices: Tensor, values: Tensor, loss: Loss):
        self.matrices, self.values, self.loss = matrices.flatten(1), values, loss

    def __len__(self) -> int:
        return len(self.values)

    def subset(self, rows: Tensor) -> Matrices:
        """Return some of the observations."""
        return Matrices(self.matrices[rows], self.values[rows], self.loss)

    def predictions(self, end: Tensor) -> Tensor:
        """Return what the end matrix says of each observation (n,)."""
        return multiply(self.matrices, end.reshape(-1), out=torch.empty_like(self.values))

    def gradient(self, end: Tensor, out: Tensor) -> None:
        """Write the gradient with respect to `end` to `out`."""
        slopes = self.loss.slope_(self.predictions(end).sub_(self.values)).mul_(self.loss.factor / len(self))
        multiply(self.matrices.T, slopes, out=out.view(-1))


class RankOne:
    """Inner products of a tensor with the tensor products of `vectors`, one (n, d_n) a mode; observed values (n,)."""

    def __init__(self, vectors: Sequence[Tensor], values: Tensor, loss: Loss):
        self.vectors, self.values, self.loss = list(vectors), values, loss
        cut = middle([vector.shape[1] for vector in vectors])
        left, right = _merge(vectors[:cut]), _merge(vectors[cut:])
        self._matrix_shape = (left.shape[1], right.shape[1])
        # The longer side goes through the matrix product, what is left is of the shorter.
        self._transposed = left.shape[1] > right.shape[1]
        self._short, self._long = (right, left) if self._transposed else (left, right)
        self._scratch = torch.empty_like(self._short)
        self._gradient = values.new_empty(self._short.shape[1], self._long.shape[1])

    def __len__(self) -> int:
        return len(self.values)

    def subset(self, rows: Tensor) -> RankOne:
        """Return some of the observations."""
        return RankOne([vector[rows] for vector in self.vectors], self.values[rows], self.loss)

    def predictions(self, end: Tensor) -> Tensor:
        """Return what the end tensor says of each observation (n,)."""
        matrix = end.reshape(self._matrix_shape)
        multiply(self._long, matrix if self._transposed else matrix.T, out=self._scratch)
        return self._scratch.mul_(self._short).sum(1)

    def gradient(self, end: Tensor, out: Tensor) -> None:
        """Write the gradient with respect to `end` to `out`."""
        slopes = self.loss.slope_(self.predictions(end).sub_(self.values)).mul_(self.loss.factor / len(self))
        torch.mul(self._short, slopes[:, None], out=self._scratch)
        multiply(self._scratch.T, self._long, out=self._gradient)
        out.copy_((self._gradient.T if self._transposed else self._gradient).reshape(out.shape))


Observations = Entries | Matrices | RankOne


def observations(record: Any, descent: Descent, *, rows: slice, device: torch.device) -> Observations:
    """Return the observations in `rows` of a file that `tacit.data.sensing` describes, on `device`."""
    arrays = record.arrays
    kind, loss = getattr(torch, descent.precision), Loss.of(descent)

    def load(name: str) -> Tensor:
        return torch.from_numpy(arrays[name][rows]).to(device, kind)

    values = load("values")
    if "indices" in arrays:
        indices = torch.from_numpy(arrays["indices"][rows]).to(device)
        return Entries(arrays["target"].shape, indices, values, loss)
    if "matrices" in arrays:
        return Matrices(load("matrices"), values, loss)
    return RankOne([load(f"vectors_{mode + 1}") for mode in range(arrays["target"].ndim)], values, loss)


def _merge(vectors: Sequence[Tensor]) -> Tensor:
    """Return all products of entries of the vectors of each observation, (n, d_1 d_2 ...)."""
    merged = vectors[0]
    for vector in vectors[1:]:
        merged = (merged[:, :, None] * vector[:, None]).flatten(1)
    return merged
