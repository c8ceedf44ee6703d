"""Singular values of matrices and matricized tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tacit.nn.factorizations import matricize


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
