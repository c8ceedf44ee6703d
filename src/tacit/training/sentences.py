"""Parallel sentences on a device: batches by tokens, composed there, without a loader.

As in the published commands (Khodak et al. 2021 after fairseq). Training: pairs in a random order, sorted by the length
of the source and, within one length, of the target; put together in this order for as long as (pairs + 1) times the
longest sentence of either side is at most the number of tokens of a batch; the batches shuffled. Evaluation: the same
without any chance, each batch of one source length, so that no source is padded. Lengths count the end symbol.

Sources are padded on the left, targets on the right; a decoder is given the target with its end symbol in front.

`TokenBatches` are batches for the engine (`tacit.training.batches.Drawn`), and `Sentences` what it learns from. How
many batches there are, and of which lengths, is the same in every epoch, as sorted lengths are; which pairs are in
which, and in what order they come, is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tacit import streams
from tacit.data.subwords import END, PAD
from tacit.data.translation import Lines, Pairs
from tacit.training.objectives import Tokens

MOST_POSITIONS = 1022
"""Of a sentence in training, with its end symbol: what 1024 learned positions leave, of which two are not used."""


class Shape(NamedTuple):
    """What is known of a batch without asking the device."""

    pairs: int
    source: int
    """Tokens of the longest source."""
    target: int
    tokens: int
    """Tokens of all targets."""


class Group(NamedTuple):
    """Pairs that come together."""

    numbers: Tensor
    """(B,) int64, on the device"""
    shape: Shape


class TokenBatches:
    """Batches of pairs of sentences of these lengths, grouped by tokens, for training.

    Lengths (n,) count the end symbol. `most_tokens` bounds pairs times the longest sentence of a batch. Pairs longer
    than `most_positions`, or than a batch, are left out; `skipped` counts them. `stream` names the random numbers of
    the run. With `updates` there are so many batches in all, and the last epoch ends with the last of them. Raises
    ValueError if no pair is left.
    """

    def __init__(
        self,
        source: np.ndarray,
        target: np.ndarray,
        *,
        most_tokens: int,
        stream: tuple[str | int, ...],
        most_positions: int = MOST_POSITIONS,
        updates: int | None = None,
    ):
        self.stream, self._updates = stream, updates
        longest = np.maximum(source, target)
        bound = min(most_positions, most_tokens)
        self.kept = np.flatnonzero(longest <= bound)
        """Numbers of the pairs that are trained on."""
        self.skipped = len(longest) - len(self.kept)
        if not len(self.kept):
            raise ValueError(f"of {len(longest):,} pairs none is at most {bound} tokens long")
        self._source, self._target = source, target
        order = _sorted(self.kept, source, target)
        self._bounds = _grouped(longest[order], most_tokens)
        self._shapes = _shapes(order, self._bounds, source, target)

    @property
    def steps(self) -> int:
        """Number of batches in a whole epoch."""
        return len(self._shapes)

    @property
    def epochs(self) -> int:
        """Number of epochs that the updates take, one that is cut short included; raises ValueError without any."""
        if self._updates is None:
            raise ValueError("without updates there is no last epoch")
        return -(-self._updates // self.steps)

    def shapes(self, epoch: int) -> list[Shape]:
        """Return what is known of each batch of `epoch`, in the order of its steps."""
        return [self._shapes[place] for place in self._drawn(epoch)[1]]

    def weights(self, epoch: int) -> list[int]:
        """Return how many target tokens each batch of `epoch` has."""
        return [shape.tokens for shape in self.shapes(epoch)]

    def of_epoch(self, epoch: int, device: torch.device) -> tuple[Group, ...]:
        """Return each batch of `epoch` (from 0), its numbers on `device`."""
        shuffled, places = self._drawn(epoch)
        groups = np.split(_sorted(shuffled, self._source, self._target), self._bounds[1:-1])
        parts = [groups[place] for place in places]
        numbers = torch.from_numpy(np.concatenate(parts)).to(device).split([len(part) for part in parts])
        return tuple(map(Group, numbers, (self._shapes[place] for place in places)))

    def seed_dropout(self, epoch: int) -> None:
        """Let torch's global generators, which dropout draws from, begin an epoch."""
        torch.manual_seed(streams.torch_seed(*self.stream, "dropout", epoch))

    def _drawn(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the pairs in the random order of `epoch`, and the places of the batches in theirs."""
        generator = streams.numpy_generator(*self.stream, "order", epoch)
        left = None if self._updates is None else max(0, self._updates - epoch * self.steps)
        return generator.permutation(self.kept), generator.permutation(self.steps)[:left]


def evaluation_batches(
    source: np.ndarray, target: np.ndarray, *, most_tokens: int, most_pairs: int | None = None
) -> list[np.ndarray]:
    """Return the numbers of the pairs in each batch, all pairs, each batch of one source length.

    Lengths (n,) count the end symbol. A pair longer than `most_tokens` has a batch of its own.
    """
    order = _sorted(np.arange(len(source)), source, target)
    longest = np.maximum(source, target)[order]
    bounds = _grouped(longest, most_tokens, most=most_pairs, same=source[order])
    return np.split(order, bounds[1:-1]) if len(order) else []


def _sorted(numbers: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return pairs by length of source, then of target, those of equal lengths in the order in which they come."""
    return numbers[np.lexsort((target[numbers], source[numbers]))]


def _grouped(
    longest: np.ndarray, most_tokens: int, *, most: int | None = None, same: np.ndarray | None = None
) -> list[int]:
    """Return where groups of pairs begin, and the end of all, if each takes the next pair as long as it has room.

    `longest` (n,) are the longer sides of pairs in order. `most` bounds the pairs of a group, and all of a group have
    the same value in `same`.
    """
    bounds, widest = [0], 0
    for place, length in enumerate(longest.tolist()):
        size = place - bounds[-1]
        widest = max(widest, length)
        full = (size + 1) * widest > most_tokens or size == most
        if size and (full or (same is not None and same[place] != same[bounds[-1]])):
            bounds.append(place)
            widest = length
    return [*bounds, len(longest)] if len(longest) else bounds


def _shapes(order: np.ndarray, bounds: Sequence[int], source: np.ndarray, target: np.ndarray) -> list[Shape]:
    groups = np.split(order, bounds[1:-1])
    return [
        Shape(len(group), int(source[group].max()), int(target[group].max()), int(target[group].sum()))
        for group in groups
    ]


class _OnDevice(NamedTuple):
    """Sentences of one language on a device."""

    ids: Tensor
    begins: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, lines: Lines, device: torch.device) -> _OnDevice:
        begins, lengths = lines.offsets[:-1], lines.lengths
        return cls(*(torch.from_numpy(np.ascontiguousarray(part)).to(device) for part in (lines.ids, begins, lengths)))

    def padded(self, numbers: Tensor, width: int, *, left: bool) -> Tensor:
        """Return sentences (B, `width`) int64 with padding on one side."""
        lengths = self.lengths[numbers, None]
        places = torch.arange(width, device=numbers.device)[None] - (width - lengths if left else 0)
        inside = (places >= 0) & (places < lengths)
        # Where there is padding, any place in the memory will do.
        found = self.ids[torch.where(inside, self.begins[numbers, None] + places, 0)]
        return torch.where(inside, found.long(), PAD)


class Sentences:
    """Pairs of sentences on a device."""

    def __init__(self, device: torch.device, pairs: Pairs):
        self._source, self._target = (_OnDevice.of(side, device) for side in pairs)
        self._lengths = pairs.source.lengths, pairs.target.lengths
        self.device = device

    def __len__(self) -> int:
        return len(self._lengths[0])

    @property
    def labels(self) -> Tensor:
        """How many tokens each target has, (n,), its end included."""
        return self._target.lengths

    def begin(self, epoch: int) -> None:
        """Draw nothing."""

    def group(self, numbers: np.ndarray) -> Group:
        """Return pairs with these numbers (B,), such as those of `evaluation_batches`, as ones that come together."""
        source, target = (lengths[numbers] for lengths in self._lengths)
        shape = Shape(len(numbers), int(source.max()), int(target.max()), int(target.sum()))
        return Group(torch.from_numpy(numbers).to(self.device), shape)

    def batch(self, numbers: Group, memory_format: torch.memory_format = torch.contiguous_format) -> Tokens:
        """Return pairs that come together; the device is not waited for."""
        (chosen, shape) = numbers
        target = self._target.padded(chosen, shape.target, left=False)
        previous = target.new_full(target.shape, END)
        # The end symbol of a shorter sentence moved to the front, and leaves padding.
        previous[:, 1:] = target[:, :-1].masked_fill(target[:, :-1] == END, PAD)
        return Tokens(self._source.padded(chosen, shape.source, left=True), previous, target)
