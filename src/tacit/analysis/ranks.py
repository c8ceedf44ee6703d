"""Spectra and ranks of matrices and matricized tensors.

The effective rank is that of Roy and Vetterli 2007: exp of the entropy (natural logarithm) of the singular values over
their sum.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tacit.nn.factorizations import matricize


def effective_rank(singular_values: Tensor) -> Tensor:
    """Return the effective rank of each row of singular values (..., k); zeros add nothing, alone they give 0."""
    total = singular_values.sum(-1, keepdim=True)
    shares = singular_values / total.where(total > 0, 1)
    return torch.special.entr(shares).sum(-1).exp() * (total.squeeze(-1) > 0)


def numerical_rank(singular_values: Tensor, *, longer_side: int) -> Tensor:
    """Return how many singular values exceed rounding: the largest times `longer_side` times the precision."""
    precision = torch.finfo(singular_values.dtype).eps
    return (singular_values > singular_values[..., :1] * longer_side * precision).sum(-1)


def spectra(tensor: Tensor, mode_sets: Sequence[Sequence[int]]) -> list[Tensor]:
    """Return the singular values, descending, of the matricizations with each set of modes (from 0) as rows.

    Those of one shape are decomposed together.
    """
    matrices = [matricize(tensor, modes) for modes in mode_sets]
    by_shape: dict[torch.Size, list[int]] = {}
    for number, matrix in enumerate(matrices):
        by_shape.setdefault(matrix.shape, []).append(number)
    found: dict[int, Tensor] = {}
    for numbers in by_shape.values():
        values = torch.linalg.svdvals(torch.stack([matrices[number] for number in numbers]))
        found |= dict(zip(numbers, values, strict=True))
    return [found[number] for number in range(len(matrices))]


def largest(values: Tensor, count: int) -> Tensor:
    """Return the `count` largest of `values` (k,), descending; all of them if there are fewer."""
    return torch.topk(values, min(count, len(values))).values
