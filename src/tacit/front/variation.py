"""The p-variation of paths of any arrays or tensors, such as weights along the depth of one's own network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tacit.analysis import p_variation as exact
from tacit.analysis.landscapes import numbers_of


def p_variation(path: Any, p: float | Sequence[float]) -> Any:
    """Return V_p of a path, exactly: the largest sum of |X_j - X_i|^p over steps of all ways to walk along it.

    After Friz, Victoir 2010 and Cont, Rossier, Xu 2022; `tacit.analysis.p_variation` has the norm V_p^(1/p), and the
    partition that attains it.

    >>> import torch, tacit
    >>> tacit.p_variation([0, 1, 0.5, 2], p=2)
    4.0
    >>> layers = [torch.eye(3) * scale for scale in (1.0, 1.5, 1.0)]
    >>> [round(float(value), 6) for value in tacit.p_variation(layers, p=[1, 2])]
    [1.732051, 1.5]

    Args:
        path: (L,) or (L, ...) numbers, or a sequence of L arrays or tensors of one shape, whose distances are Euclidean
            (Frobenius); taken as float64.
        p: an exponent, 1 <= p < infinity, or several.

    Returns V_p in the unit of the path to the power p: a float, or an array (n,) of float64 for several exponents.

    Raises ValueError if a number is not finite, an exponent is none, or points have different shapes.
    """
    if hasattr(path, "detach"):
        path = numbers_of(path)
    elif isinstance(path, list | tuple) and any(hasattr(point, "shape") for point in path):
        points = [numbers_of(point) for point in path]
        if len({point.shape for point in points}) > 1:
            shapes = ", ".join(dict.fromkeys(str(point.shape) for point in points))
            raise ValueError(f"points of shapes {shapes}: a path has points of one shape; leave out other layers")
        path = np.stack(points)
    return exact.p_variation(path, p)
