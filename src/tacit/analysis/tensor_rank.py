"""Estimated CP rank of a tensor: the least number of components that alternating least squares (ALS) fits it with.

After Razin, Cohen 2020: binary search over the number of components, each judged by one ALS fit (or the best of several
random starts) and an absolute tolerance on the mean squared error over all entries. So with |T| = 1 a relative error
of sqrt(tolerance * entries) is accepted, 2.3 % of an 8 x 8 x 8 tensor at 1e-6. An estimate from above, as a fit that
fails need not mean that there is none. NumPy, float64.
"""

from __future__ import annotations

from functools import reduce

import numpy as np
from scipy.linalg import khatri_rao

_ZERO = 1e-8
"""A tensor whose entries are all at most this has rank 0."""

_PINV_CUTOFF = 1e-15


def estimate_rank(
    tensor: np.ndarray, *, tolerance: float, sweeps: int, restarts: int, generator: np.random.Generator
) -> int:
    """Return the estimated CP rank of `tensor`; 0 if it is zero, -1 if linear algebra failed in a fit."""
    tensor = np.asarray(tensor, np.float64)
    if np.abs(tensor).max() <= _ZERO:
        return 0
    best = tensor.size // max(tensor.shape)
    first, last = 0, best - 1
    while first <= last:
        middle = (first + last) // 2
        try:
            fitted = any(
                fits(tensor, middle + 1, tolerance=tolerance, sweeps=sweeps, generator=generator)
                for _ in range(restarts)
            )
        except np.linalg.LinAlgError:
            return -1
        if fitted:
            best, last = middle + 1, middle - 1
        else:
            first = middle + 1
    return best


def fits(tensor: np.ndarray, components: int, *, tolerance: float, sweeps: int, generator: np.random.Generator) -> bool:
    """Tell whether ALS with so many components, from one random start, gets the mean squared error below `tolerance`.

    Factors start as standard normal; in a sweep each mode in turn is set to its least-squares solution. The error after
    a sweep comes from what the last of these computed anyway: |T|^2 - 2 <T, X> + |X|^2, with the reconstruction itself
    formed only near the tolerance, where that difference loses its digits.
    """
    order = tensor.ndim
    factors = [generator.standard_normal((size, components)) for size in tensor.shape]
    grams = [factor.T @ factor for factor in factors]
    unfolded = [np.moveaxis(tensor, mode, 0).reshape(size, -1) for mode, size in enumerate(tensor.shape)]
    whole = float((tensor**2).sum())
    for _ in range(sweeps):
        for mode in range(order):
            others = [number for number in range(order) if number != mode]
            gram = reduce(np.multiply, [grams[number] for number in others])
            products = unfolded[mode] @ reduce(khatri_rao, [factors[number] for number in others])
            solution = products @ _pseudo_inverse(gram)
            norms = np.linalg.norm(factors[mode], axis=0)
            factors[mode] = solution / norms
            grams[mode] = factors[mode].T @ factors[mode]
        # The last mode by its least-squares solution, before it was divided.
        square = whole - 2 * float((products * solution).sum()) + float((gram * (solution.T @ solution)).sum())
        if square < 2 * tolerance * tensor.size + 1e-9 * whole:
            rebuilt = solution @ reduce(khatri_rao, factors[:-1]).T
            square = float(((rebuilt - unfolded[-1]) ** 2).sum())
            if square < tolerance * tensor.size:
                return True
        if not np.isfinite(square):
            raise np.linalg.LinAlgError("a fit is not finite")
    return False


def _pseudo_inverse(gram: np.ndarray) -> np.ndarray:
    """Return the pseudo-inverse of a symmetric positive semidefinite matrix, by its eigenvalues."""
    values, vectors = np.linalg.eigh(gram)
    large = np.abs(values) > _PINV_CUTOFF * np.abs(values).max()
    inverse = np.divide(1, values, out=np.zeros_like(values), where=large)
    return (vectors * inverse) @ vectors.T
