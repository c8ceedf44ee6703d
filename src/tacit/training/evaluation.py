"""What a trained network answers, and how good that is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from tacit.nn import layout
from tacit.training import precision as precisions
from tacit.training.images import Examples
from tacit.training.objectives import LabelSmoothedCrossEntropy

BATCH = 256
"""Images that are predicted together."""


@torch.no_grad()
def predict(
    network: nn.Module, examples: Examples, *, precision: str = "float32", channels_last: bool = True
) -> Tensor:
    """Return the logits (N, K) of K classes, or (N,) of one logit, of a network in evaluation mode."""
    training = network.training
    network.eval()
    device = examples.labels.device
    order = layout.memory_format(network, device, channels_last=channels_last)
    dtype = next(network.parameters()).dtype
    with precisions.autocast(precision, device):
        numbers = torch.arange(len(examples.labels), device=device)
        logits = [network(examples.batch(batch, order).to(dtype)) for batch in numbers.split(BATCH)]
    network.train(training)
    return torch.cat(logits)


@torch.no_grad()
def token_losses(
    network: nn.Module,
    examples: Examples,
    batches: Iterable[Any],
    objective: LabelSmoothedCrossEntropy,
    *,
    precision: str = "float32",
) -> dict[str, float]:
    """Return `loss` and `nll` (negative log-likelihood, nats a token) of translations, the network in evaluation mode.

    `batches` give the pairs that are passed together, as the examples are asked for them; means are over the tokens of
    all of them.
    """
    training = network.training
    network.eval()
    totals = torch.zeros(3, dtype=torch.float64, device=examples.labels.device)
    for numbers in batches:
        source, previous, target = examples.batch(numbers, torch.contiguous_format)
        with precisions.autocast(precision, source.device):
            totals += torch.stack([part.double() for part in objective.sums(network(source, previous), target)])
    network.train(training)
    loss, nll, tokens = totals.tolist()
    return {"loss": loss / tokens, "nll": nll / tokens}


def performance(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Return mean cross-entropy (`loss`) and `accuracy` (0 to 1) of logits (N, K) and labels."""
    logits = logits.double()
    correct = logits.argmax(1) == labels
    return {"loss": cross_entropy(logits, labels).item(), "accuracy": correct.double().mean().item()}


def binary_performance(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Return mean binary cross-entropy (`loss`) and `accuracy` (0 to 1) of logits (N,) and labels 0 or 1."""
    logits = logits.double()
    loss = binary_cross_entropy_with_logits(logits, labels.double())
    return {"loss": loss.item(), "accuracy": binary_correct(logits, labels).double().mean().item()}


def binary_correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Return whether the answers in logits (N,) to labels 0 or 1 are right, (N,) bool."""
    return (logits > 0) == (labels > 0.5)
