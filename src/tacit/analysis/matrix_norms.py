"""Norms and ranks of completed matrices, and what theory says of them.

After Razin, Cohen 2020. The determinant of all solutions of [[?, z], [z', 0]] has the sign of -z z'. Gradient flow from
balanced factors keeps the sign of the determinant, so from a start of the other sign the loss can fall only as the
unobserved entry grows, and with it every norm, while the rank falls. (Without balance the flow can cross zero.)
Losses are half sums of squared residuals. NumPy alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tacit.analysis import ranks

RANK_CONSTANT = 2 * np.sqrt(12) / np.log(2)
"""Constant of the theorem's bound on the effective rank."""

DISTANCE_CONSTANT = 3 * np.sqrt(2)
"""Constant of the theorem's bound on the distance to rank one."""


def measure(ends: np.ndarray, *, schatten: Sequence[float] = (), precision: float) -> dict[str, np.ndarray]:
    """Return what is followed of end matrices (K, m, n), each (K,) float64 unless said otherwise.

    `singular_values` (K, min(m, n)); `frobenius_norm`, `nuclear_norm`, `spectral_norm`; `schatten_<p>` for each p;
    `effective_rank`; `rank`, the number of singular values above rounding of `precision`; `distance_to_rank_one`
    (Frobenius); `determinant` of square ones.
    """
    ends = np.asarray(ends, np.float64)
    values = np.linalg.svd(ends, compute_uv=False)
    found = {
        "singular_values": values,
        "frobenius_norm": np.sqrt((values**2).sum(1)),
        "nuclear_norm": values.sum(1),
        "spectral_norm": values[:, 0],
        "effective_rank": ranks.effective_rank(values),
        "rank": ranks.numerical_rank(values, longer_side=max(ends.shape[1:]), precision=precision).astype(np.float64),
        "distance_to_rank_one": np.sqrt((values[:, 1:] ** 2).sum(1)),
    }
    for p in schatten:
        found[f"schatten_{p:g}"] = (values**p).sum(1) ** (1 / p)
    if ends.shape[1] == ends.shape[2]:
        # By the singular values, since elimination loses the small one.
        sign, _ = np.linalg.slogdet(ends)
        found["determinant"] = sign * values.prod(1)
    return found


def envelope(loss: np.ndarray) -> np.ndarray:
    """Return the least |W_11| of all 2 x 2 matrices with determinant >= 0 and this loss, for z = z' = 1 and eps = 0.

    Sharp; holds for losses below 1/4, and is not a number above.
    """
    loss = np.asarray(loss, np.float64)
    shift = (np.sqrt(1 + 8 * loss) - 1) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(loss < 0.25, np.maximum(1 - shift, 0) ** 1.5 / np.sqrt(shift), np.nan)


def entry_bound(loss: np.ndarray) -> np.ndarray:
    """Return the simpler bound 1 / sqrt(2 loss) - 2 on |W_11|, for losses below 1/2."""
    return 1 / np.sqrt(2 * np.asarray(loss, np.float64)) - 2


def perturbed_bound(loss: np.ndarray, *, observed: tuple[float, float, float]) -> np.ndarray:
    """Return the bound on |W_11| for observed z, z', eps and a determinant of the sign of z z'.

    (|z| - r) (|z'| - r) / (|eps| + r) with r = sqrt(2 loss); 0 where r exceeds |z| or |z'|.
    """
    first, second, corner = (abs(value) for value in observed)
    root = np.sqrt(2 * np.asarray(loss, np.float64))
    bound = np.maximum(first - root, 0) * np.maximum(second - root, 0)
    with np.errstate(divide="ignore"):
        return bound / (corner + root)


def perturbed_entry(loss: np.ndarray, *, observed: tuple[float, float, float]) -> np.ndarray:
    """Return the closed form |z z'| / (|eps| + sqrt(2 loss)) that |W_11| follows at small losses, to leading order."""
    first, second, corner = (abs(value) for value in observed)
    return first * second / (corner + np.sqrt(2 * np.asarray(loss, np.float64)))


def norm_bound(loss: np.ndarray, *, constant: float = 1.0) -> np.ndarray:
    """Return the theorem's bound a / sqrt(loss) - b on any norm that is 1 on matrices of a single 1.

    `constant` is that of the weakened triangle inequality of a quasi-norm: 1 for norms, 2^(1/p - 1) for Schatten p < 1.
    """
    slope = 1 / (np.sqrt(2) * constant)
    return slope / np.sqrt(np.asarray(loss, np.float64)) - max(np.sqrt(2) * slope, 8 * constant**2)


def schatten_constant(p: float) -> float:
    """Return the constant of the weakened triangle inequality of the Schatten p quasi-norm."""
    return max(1.0, 2 ** (1 / p - 1))


def effective_rank_bound(loss: np.ndarray) -> np.ndarray:
    """Return the theorem's bound on the effective rank; solutions come as near to 1 as one likes."""
    return 1 + RANK_CONSTANT * np.sqrt(np.asarray(loss, np.float64))


def distance_bound(loss: np.ndarray) -> np.ndarray:
    """Return the theorem's bound on the Frobenius distance to matrices of rank one."""
    return DISTANCE_CONSTANT * np.sqrt(np.asarray(loss, np.float64))
