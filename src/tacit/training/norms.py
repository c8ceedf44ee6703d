"""Norms of factorized layers along a training: written down after every step, or set to what was.

After Khodak, Tenenholtz, Mackey, Fusi 2021: a run without decay that is given the norms of one with Frobenius decay
tells what this decay does through them. Nothing waits for the device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tacit.analysis import factor_norms
from tacit.nn.factorized import Factorized


class Recorded:
    """Notes |U VT| of each layer after each step, in columns that are not told."""

    def __init__(self, layers: Sequence[Factorized]):
        self.layers = layers
        self.columns = tuple(f"_norm_{number}" for number in range(len(layers)))

    def __call__(self, step: int) -> Tensor:
        """Return the norms (L,)."""
        return factor_norms.frobenius_norms(self.layers)


class Replayed:
    """Scales U and VT of each layer after each step, such that |U VT| is what `targets` (steps, L) say."""

    columns: tuple[str, ...] = ()

    def __init__(self, layers: Sequence[Factorized], targets: Tensor):
        """Raises ValueError if targets are not of so many layers."""
        if targets.shape[1] != len(layers):
            raise ValueError(f"norms of {targets.shape[1]} layers, but there are {len(layers)}")
        self.layers, self.targets = layers, targets
        self._nothing = torch.empty(0, device=targets.device)

    def __call__(self, step: int) -> Tensor:
        """Set the norms; return nothing."""
        factor_norms.normalise(self.layers, self.targets[step])
        return self._nothing
