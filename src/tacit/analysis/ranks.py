"""Ranks of matrices from their singular values, NumPy arrays or torch tensors alike: neither library is imported here.

The effective rank is that of Roy and Vetterli 2007: exp of the entropy (natural logarithm) of the singular values over
their sum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

Array = TypeVar("Array", "np.ndarray", "Tensor")


def effective_rank(singular_values: Array) -> Array:
    """Return the effective rank of each row of singular values (..., k); zeros add nothing, alone they give 0."""
    total = singular_values.sum(-1)[..., None]
    shares = singular_values / (total + (total == 0))
    # exp(-sum p log p) as a product of p^-p, which is 1 for a share of zero.
    return (shares**-shares).prod(-1) * (total[..., 0] > 0)


def numerical_rank(singular_values: Array, *, longer_side: int, precision: float) -> Array:
    """Return how many singular values (..., k), descending, exceed rounding.

    That is the largest times the longer side of the matrix times the `precision` it was computed in.
    """
    return (singular_values > singular_values[..., :1] * longer_side * precision).sum(-1)
