"""What networks are trained to make small, of one batch.

An objective is called with a network, images (B, C, H, W), labels (B,) and what it has drawn for the step. It returns
the scalar to differentiate and what is recorded of the step, its `columns`, of which `loss` is one and, of images,
`accuracy` another. Of translations it is called with sentences (`Tokens`) in place of images, and without labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, nll_loss

from tacit import streams
from tacit.optim.long_range import Patch, regularizer

Network = Callable[..., Tensor]
"""Gives logits of images, (B, K) or (B,), or of the parts of `Tokens`; a module, or one that was compiled."""

PatchSampler = Callable[[np.random.Generator], tuple[Patch, Patch]]


class Tokens(NamedTuple):
    """Sentences and their translations as numbers of tokens (int64), with padding where they are shorter."""

    source: Tensor
    """(B, S), padded on the left."""
    previous: Tensor
    """(B, T), padded on the right: the target behind its end, so that each token stands under the one before it."""
    target: Tensor
    """(B, T), padded on the right."""


class Value(NamedTuple):
    """An objective on a batch."""

    scalar: Tensor
    """What is differentiated."""
    recorded: tuple[Tensor, ...]
    """A scalar for each of the columns."""


class Objective(Protocol):
    """What a network is trained to make small."""

    @property
    def columns(self) -> tuple[str, ...]:
        """What it records of a step."""
        ...

    def draw(self, epoch: int, steps: int) -> Sequence[Any]:
        """Return what is drawn at random for each step of an epoch, from streams named by the epoch."""
        ...

    def __call__(self, network: Network, images: Any, labels: Any, drawn: Any) -> Value:
        """Return the objective on a batch; raises nothing for what is not finite, which the engine looks for."""
        ...


class CrossEntropy:
    """Cross-entropy of several classes, mean over the batch."""

    columns: tuple[str, ...] = ("loss", "accuracy")

    def draw(self, epoch: int, steps: int) -> Sequence[None]:
        """Draw nothing."""
        return [None] * steps

    def __call__(self, network: Network, images: Tensor, labels: Tensor, drawn: None) -> Value:
        """Return the loss, and the share of right answers."""
        logits = network(images)
        loss = cross_entropy(logits, labels)
        return Value(loss, (loss, (logits.argmax(1) == labels).double().mean()))


class CrossEntropyWithOmega(CrossEntropy):
    """The same, recording Omega: squared norm of the gradient of an image's loss by its logits, mean over the batch.

    What is published is of the gradient of the batch's mean loss, and so smaller by the square of its size.
    """

    columns = ("loss", "accuracy", "omega")

    def __call__(self, network: Network, images: Tensor, labels: Tensor, drawn: None) -> Value:
        """Return the loss; of the step are recorded loss, accuracy and Omega."""
        logits = full(network(images))
        loss = cross_entropy(logits, labels)
        gradient = logits.detach().softmax(1)
        gradient[torch.arange(len(labels), device=labels.device), labels] -= 1
        correct = (logits.argmax(1) == labels).double().mean()
        return Value(loss, (loss, correct, gradient.square().sum(1).mean()))


class LongRangeBinaryCrossEntropy:
    """Binary cross-entropy of one logit, mean over the batch, plus `coefficient` times the long-range regulariser.

    Where the coefficient is positive, patches come from `sample_patches`, given the generator of the epoch, and the
    network should have been adapted to second derivatives (`tacit.nn.double_backward.adapt`). `stream` names the random
    numbers of the run.
    """

    columns = ("loss", "accuracy", "regularization")

    def __init__(self, *, coefficient: float, sample_patches: PatchSampler, stream: tuple[str | int, ...]):
        self.coefficient, self.sample_patches, self.stream = coefficient, sample_patches, stream

    def draw(self, epoch: int, steps: int) -> Sequence[tuple[Patch, Patch] | None]:
        """Draw a pair of patches for each step, if there is a regulariser."""
        if not self.coefficient > 0:
            return [None] * steps
        generator = streams.numpy_generator(*self.stream, "patches", epoch)
        return [self.sample_patches(generator) for _ in range(steps)]

    def __call__(self, network: Network, images: Tensor, labels: Tensor, drawn: tuple[Patch, Patch] | None) -> Value:
        """Return loss plus penalty; of the step are recorded the loss alone, the accuracy and the regulariser."""
        logits = full(network(images.requires_grad_(drawn is not None)))
        loss = binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
        correct = ((logits > 0) == (labels > 0.5)).double().mean()
        if drawn is None:
            return Value(loss, (loss, correct, torch.zeros_like(loss)))
        penalty = regularizer(network, images, logits, *drawn)
        return Value(loss + self.coefficient * penalty, (loss, correct, penalty))


class LabelSmoothedCrossEntropy:
    """Cross-entropy of tokens with a share of each label spread over all V of them, mean over those of the targets.

        (1 - smoothing) (-log p_y) + smoothing / V sum_v (-log p_v),

    in nats, without padding. `nll` records the part -log p_y. Raises ValueError for a share that is none.
    """

    columns: tuple[str, ...] = ("loss", "nll")

    def __init__(self, *, smoothing: float, padding: int):
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing = {smoothing}: a share of the label that is spread is 0 or more, below 1")
        self.smoothing, self.padding = smoothing, padding

    def draw(self, epoch: int, steps: int) -> Sequence[None]:
        """Draw nothing."""
        return [None] * steps

    def __call__(self, network: Network, images: Tokens, labels: None, drawn: None) -> Value:
        """Return the loss; of the step are recorded loss and negative log-likelihood (`nll`) a token."""
        source, previous, target = images
        loss, likelihood, tokens = self.sums(network(source, previous), target)
        return Value(loss / tokens, (loss / tokens, likelihood / tokens))

    def sums(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return loss and negative log-likelihood, sums over tokens, and the number of tokens, of logits (B, T, V)."""
        there = target != self.padding
        log_p = full(logits).log_softmax(-1)
        # Reproducible on a GPU, as what gathers is not.
        likelihood = nll_loss(log_p.flatten(0, 1), target.flatten(), ignore_index=self.padding, reduction="sum")
        spread = -(log_p.mean(-1) * there).sum()
        return (1 - self.smoothing) * likelihood + self.smoothing * spread, likelihood, there.sum()


def full(logits: Tensor) -> Tensor:
    """Return logits in single precision at least: what was computed in half is widened, and nothing narrowed."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
