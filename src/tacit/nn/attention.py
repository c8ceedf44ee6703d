"""Attention of several heads, computed for all of them at once, as Khodak, Tenenholtz, Mackey, Fusi 2021 translate.

Vectors x (N, T, D) read from others y (N, S, D). With queries Q, keys K and values V of H heads, each of width d, which
need not be D / H, and a matrix O that brings what is read back to D,

    out = sum_h softmax(x Q_h^T K_h y^T / sqrt(d) + mask) y V_h^T O_h^T,

so a head is two products of low rank, Q_h^T K_h and O_h V_h. No matrix has a bias, and nothing is dropped.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from tacit.nn.factors import Factors, balanced, heads_by_columns, heads_by_rows

HIDDEN = -1e9
"""Added to logits of what is not to be seen; finite, so that what sees nothing has no undefined numbers."""


class KeysValues(NamedTuple):
    """What is read from."""

    keys: Tensor
    """(N, H, S, d)"""
    values: Tensor
    """(N, H, S, d)"""

    def followed_by(self, more: KeysValues) -> KeysValues:
        """Return these and more (N, H, S', d) after them."""
        return KeysValues(torch.cat([self.keys, more.keys], 2), torch.cat([self.values, more.values], 2))

    def rows(self, numbers: Tensor) -> KeysValues:
        """Return the rows with these numbers (n,), out of N."""
        return KeysValues(self.keys[numbers], self.values[numbers])


class Attention(nn.Module):
    """Attention of `heads` heads of width `head_width` d between vectors of `width` D."""

    def __init__(self, width: int, *, heads: int, head_width: int):
        super().__init__()
        self.heads, self.head_width = heads, head_width
        self.query, self.key, self.value = (nn.Linear(width, heads * head_width, bias=False) for _ in range(3))
        self.output = nn.Linear(heads * head_width, width, bias=False)

    def forward(self, x: Tensor, y: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return what x (N, T, D) reads from y (N, S, D); see `read` for the mask."""
        return self.read(x, self.offer(y), mask)

    def offer(self, y: Tensor) -> KeysValues:
        """Return keys and values of y (N, S, D)."""
        return KeysValues(self._of_heads(self.key(y)), self._of_heads(self.value(y)))

    def read(self, x: Tensor, offered: KeysValues, mask: Tensor | None = None) -> Tensor:
        """Return what x (N, T, D) reads, (N, T, D).

        The mask is added to logits (N, H, T, S): 0, or `HIDDEN` for what is not seen; it may have sizes of 1.
        """
        queries = self._of_heads(self.query(x) * self.head_width**-0.5)
        logits = queries @ offered.keys.mT
        if mask is not None:
            logits = logits + mask
        found = logits.softmax(-1) @ offered.values
        return self.output(found.transpose(1, 2).flatten(2))

    def _of_heads(self, x: Tensor) -> Tensor:
        """Return (N, H, T, d) of (N, T, H d)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def query_key(self) -> Factors:
        """Return the products Q_h^T K_h (H, D, D) by which heads compare; views of the weights."""
        return Factors(heads_by_rows(self.query.weight, self.heads).mT, heads_by_rows(self.key.weight, self.heads))

    def output_value(self) -> Factors:
        """Return the products O_h V_h (H, D, D) by which heads write; views of the weights."""
        return Factors(heads_by_columns(self.output.weight, self.heads), heads_by_rows(self.value.weight, self.heads))


@torch.no_grad()
def balance(model: nn.Module, *, query_key: bool = True, output_value: bool = True) -> None:
    """Give all attention in a model its spectral start, in place: balanced factors of the products that it has.

    What the model computes stays as it is up to rounding, as products of heads have no larger rank than their factors.
    """
    for module in model.modules():
        if isinstance(module, Attention):
            products = [module.query_key()] * query_key + [module.output_value()] * output_value
            for product in products:
                start = balanced(product.U, product.VT)
                product.U.copy_(start.U)
                product.VT.copy_(start.VT)
