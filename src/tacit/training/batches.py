"""Which examples each step of an epoch is taken on, from streams named by the run and the epoch.

Nothing is drawn from a sequence that runs on from epoch to epoch, so that a training resumed in mid-epoch continues as
if it had never stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from tacit import streams
from tacit.settings.networks import Order


class Drawn(Protocol):
    """Batches of examples, drawn anew for each epoch."""

    @property
    def stream(self) -> tuple[str | int, ...]:
        """Names the random numbers of the run."""
        ...

    @property
    def steps(self) -> int:
        """Number of batches in an epoch; only the last may be cut short."""
        ...

    def weights(self, epoch: int) -> list[int]:
        """Return how much each batch of `epoch` counts in means over it."""
        ...

    def of_epoch(self, epoch: int, device: torch.device) -> Sequence[Any]:
        """Return each batch of `epoch` (from 0): numbers of examples on `device`, or what else gives them."""
        ...

    def seed_dropout(self, epoch: int) -> None:
        """Let torch's global generators, which dropout draws from, begin an epoch."""
        ...


@dataclass(frozen=True)
class Batches:
    """Batches of `count` examples, `size` in each, the last of an epoch with what is left."""

    count: int
    size: int
    stream: tuple[str | int, ...]
    """Names the random numbers of the run."""
    order: Order = "random"

    @property
    def steps(self) -> int:
        """Number of batches in an epoch."""
        return -(-self.count // self.size)

    def sizes(self) -> list[int]:
        """Return how many examples each batch has."""
        return [min(self.size, self.count - first) for first in range(0, self.count, self.size)]

    def weights(self, epoch: int) -> list[int]:
        """Return how many examples each batch of `epoch` has, which is the same in all."""
        return self.sizes()

    def of_epoch(self, epoch: int, device: torch.device) -> tuple[Tensor, ...]:
        """Return the numbers of the examples in each batch of `epoch` (from 0), on `device`."""
        if self.order == "fixed":
            numbers = torch.arange(self.count)
        else:
            generator = streams.numpy_generator(*self.stream, "order", epoch)
            numbers = torch.from_numpy(generator.permutation(self.count))
        return numbers.to(device).split(self.size)

    def seed_dropout(self, epoch: int) -> None:
        """Let torch's global generators, which dropout draws from, begin an epoch."""
        torch.manual_seed(streams.torch_seed(*self.stream, "dropout", epoch))
