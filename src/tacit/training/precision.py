"""How exactly a training computes."""

from __future__ import annotations

import torch


def use(precision: str, device: torch.device) -> None:
    """Let this process compute reproducibly and, on a GPU, multiply in `tf32` only if `precision` says so."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Nothing here reads memory before writing it, and filling every new tensor costs a tenth of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = False
        allowed = precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
