"""Loss, accuracy and margins of a classifier (Sanford, Ardeshir, Hsu 2022). N samples, K classes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


def margins(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return two margins (N,) of logits (N, K): `top2` and `legacy`.

    top2: logit of the label minus the greatest of the others. legacy, as published: the same for wrong answers, but for
    right ones minus the second smallest of all logits, which is nearly their whole range.
    """
    right = logits.gather(1, labels[:, None])
    others = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    top2 = right[:, 0] - others
    legacy = torch.where(top2 > 0, right[:, 0] - logits.kthvalue(2).values, top2)
    return {"top2": top2, "legacy": legacy}


def performance(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Return mean cross-entropy, accuracy (0 to 1) and mean margins of logits (N, K)."""
    logits = logits.double()
    found = {
        "loss": cross_entropy(logits, labels),
        "accuracy": (logits.argmax(1) == labels).double().mean(),
    }
    found |= {f"margin_{name}": values.mean() for name, values in margins(logits, labels).items()}
    return {name: value.item() for name, value in found.items()}
