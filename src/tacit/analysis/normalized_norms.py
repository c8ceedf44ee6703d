"""Norms of whole networks, and what is left of them once divided by the margin (Sanford, Ardeshir, Hsu 2022).

From squared norms of untied weights |V_l|^2 by layer and the mean margin. The published panel shows
ln(prod_l |V_l| / margin), which does not change when all weights of a homogeneous network are scaled alike.
"""

from __future__ import annotations

import numpy as np


def squared_norm(squared_norms: np.ndarray) -> np.ndarray:
    """Return sum_l |V_l|^2 of squared norms (..., L)."""
    return squared_norms.sum(axis=-1)


def log_product(squared_norms: np.ndarray) -> np.ndarray:
    """Return sum_l ln |V_l| of squared norms (..., L)."""
    return 0.5 * np.log(squared_norms).sum(axis=-1)


def log_product_legacy(squared_norms: np.ndarray, *, tied: bool) -> np.ndarray:
    """Return what the original code writes down: as `log_product`, but twice that for a network with tied weights."""
    return (2 if tied else 1) * log_product(squared_norms)


def over_margin(norm: np.ndarray, margin: np.ndarray, *, power: float = 1) -> np.ndarray:
    """Return norm / margin ** power; NaN where the margin is not positive. Older pictures have a power of 1/3."""
    return norm / _positive(margin) ** power


def minus_log_margin(log_norm: np.ndarray, margin: np.ndarray) -> np.ndarray:
    """Return log_norm - ln(margin); NaN where the margin is not positive."""
    return log_norm - np.log(_positive(margin))


def _positive(margin: np.ndarray) -> np.ndarray:
    return np.where(np.asarray(margin) > 0, margin, np.nan)
