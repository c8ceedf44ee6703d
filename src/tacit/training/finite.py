"""Whether all that a training recorded, and the weights it ended with, are numbers.

For arrays and tensors alike; torch is not imported for arrays alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tacit.errors import DivergenceError


def first_bad(values: Mapping[str, Any]) -> str | None:
    """Return the name of the first of `values` (tensors, arrays or numbers) that is not finite everywhere, if any.

    Waits for a device once, however many of them lie there.
    """
    tensors = {}
    for name, value in values.items():
        if isinstance(value, np.ndarray | np.generic | float | int):
            if not np.isfinite(value).all():
                return name
        else:
            tensors[name] = value.detach().isfinite().all()
    if not tensors:
        return None
    import torch

    found = torch.stack(list(tensors.values())).tolist()
    return next((name for name, is_finite in zip(tensors, found, strict=True) if not is_finite), None)


def check(values: Mapping[str, Any], *, when: str, advice: str) -> None:
    """Raise DivergenceError unless all of `values` are finite; `when` names setting, seed and step or epoch."""
    if (bad := first_bad(values)) is not None:
        raise DivergenceError(f"diverged: {bad.replace('_', ' ')} is not finite {when}; {advice}")
