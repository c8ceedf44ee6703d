"""Matrices as products of factors: decompositions that balance them, Frobenius norms, batches of equal shape.

After Khodak, Tenenholtz, Mackey, Fusi 2021, sections 2 and 3. A matrix W (m, n) is

    U VT   or   U M VT,   with U (m, r), VT (r, n) and M (r, r),

and any number of leading dimensions makes a stack of such products, as for the heads of attention (H, m, r), (H, r, n).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor


class Factors(NamedTuple):
    """The factors of a matrix, in the order in which layers register them."""

    U: Tensor
    """(..., m, r)"""
    VT: Tensor
    """(..., r, n)"""
    M: Tensor | None = None
    """(..., r, r), between the two; None stands for the identity."""

    def product(self) -> Tensor:
        """Return U VT or U M VT, (..., m, n)."""
        return self.U @ self.right()

    def right(self) -> Tensor:
        """Return VT or M VT, (..., r, n)."""
        return self.VT if self.M is None else self.M @ self.VT

    def squared_norm(self) -> Tensor:
        """Return the squared Frobenius norm (...) of the product, by the cheaper of product and Gram matrices."""
        (m, rank), n = self.U.shape[-2:], self.VT.shape[-1]
        if m * n < rank * (m + n):
            return self.product().square().sum((-2, -1))
        right = self.right()
        # A trace of two positive semidefinite matrices, below zero by rounding alone.
        return ((self.U.mT @ self.U) * (right @ right.mT)).sum((-2, -1)).clamp(min=0)


def heads_by_rows(weight: Tensor, heads: int) -> Tensor:
    """Return the part of each head (H, d, D) of the weight (H d, D) of queries, keys or values, as a view."""
    return weight.unflatten(0, (heads, -1))


def heads_by_columns(weight: Tensor, heads: int) -> Tensor:
    """Return the part of each head (H, D, d) of the weight (D, H d) by which attention writes, as a view."""
    return weight.unflatten(1, (heads, -1)).transpose(0, 1)


Product = TypeVar("Product", bound=tuple[Any, ...])
"""Named parts of a product, tensors or None: factors of a matrix, or the parts of a tensor network."""


def each(
    compute: Callable[[Product, list[int]], Sequence[Tensor]],
    factors: Sequence[Product],
    *,
    batched: bool | None = None,
) -> list[Sequence[Tensor]]:
    """Return what `compute` makes of each of many `factors`, in their order.

    Batched, those of one kind, shape, precision and device are computed as one stack (k, ..., m, r): `compute` is given
    it and the k places of its members in `factors`, and returns stacks (k, ...). Otherwise it is given one after
    another, without a leading dimension, and the list of its one place. That is the default on a CPU: small products
    take no longer one by one there, and batches of them are shared out to threads, which wait for each other for
    milliseconds whenever another process has a core.
    """
    groups: dict[tuple, list[int]] = {}
    found: list[Sequence[Tensor]] = [()] * len(factors)
    for place, member in enumerate(factors):
        first = member[0]
        if batched or (batched is None and first.device.type != "cpu"):
            shapes = tuple(None if part is None else part.shape for part in member)
            groups.setdefault((type(member), shapes, first.dtype, first.device), []).append(place)
        else:
            found[place] = compute(member, [place])
    for places in groups.values():
        members = [factors[place] for place in places]
        parts = (None if part[0] is None else torch.stack(part) for part in zip(*members, strict=True))
        kind: Callable[..., Product] = type(members[0])
        stack = kind(*parts)
        for place, *results in zip(places, *(result.unbind() for result in compute(stack, places)), strict=True):
            found[place] = results
    return found


def spectral_factors(matrix: Tensor, rank: int) -> Factors:
    """Return the balanced factors of the best approximation of a matrix (m, n) by one of `rank`.

    With the singular value decomposition A diag(s) B^T, U is A sqrt(s) and VT is sqrt(s) B^T, both cut at `rank`.
    Columns and rows beyond min(m, n) are zero, and so are their gradients: they never learn. Decomposed in float64.
    """
    left, values, right = torch.linalg.svd(matrix.detach().double(), full_matrices=False)
    return _balanced(left, values, right, rank, matrix.dtype)


def balanced(U: Tensor, VT: Tensor) -> Factors:
    """Return balanced factors of the same products of a stack: U^T U = VT VT^T = diag(s), s descending.

    U (..., m, r), VT (..., r, n). This is the spectral initialisation of attention, whose products have at most this
    rank already: queries and keys (U = Q_h^T, VT = K_h), outputs and values (U = O_h, VT = V_h). Only matrices
    (r, r) are decomposed, in float64.
    """
    left, upper = torch.linalg.qr(U.detach().double())
    right, lower = torch.linalg.qr(VT.detach().double().mT)
    inner_left, values, inner_right = torch.linalg.svd(upper @ lower.mT, full_matrices=False)
    return _balanced(left @ inner_left, values, inner_right @ right.mT, U.shape[-1], U.dtype)


def _balanced(left: Tensor, values: Tensor, right: Tensor, rank: int, dtype: torch.dtype) -> Factors:
    """Return A sqrt(s) and sqrt(s) B^T cut, or filled with zeros, to `rank`."""
    kept = min(rank, values.shape[-1])
    root = values[..., :kept] ** 0.5
    U = left.new_zeros(*left.shape[:-1], rank)
    VT = right.new_zeros(*right.shape[:-2], rank, right.shape[-1])
    U[..., :kept] = left[..., :kept] * root[..., None, :]
    VT[..., :kept, :] = root[..., None] * right[..., :kept, :]
    return Factors(U.to(dtype), VT.to(dtype))
