"""How exactly a training computes."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import Tensor, nn

from tacit import processors
from tacit.runlog import log


def use(precision: str, device: torch.device) -> None:
    """Let this process compute reproducibly and, on a GPU, multiply in `tf32` only if `precision` says so.

    Raises ProcessorError if the CPU was meant to be held to common instructions, but is not.
    """
    capability = processors.capability()
    if device.type == "cpu":
        log.info("computing on the CPU: %s", capability)
        processors.note(capability)
    else:
        processors.note(torch.cuda.get_device_name(device))
    # What use_deterministic_algorithms does but for the compiler, whose import takes a second and 150 MB.
    torch.set_deterministic_debug_mode("warn")
    # Nothing here reads memory before writing it, and filling every new tensor costs a tenth of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if device.type == "cuda":
        # Without it cuBLAS may add in another order each time; it is read when the first product is computed.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
        allowed = precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed


def dtype_of(precision: str) -> torch.dtype:
    """Return the type of weights and images: double in `float64`, else single."""
    return torch.float64 if precision == "float64" else torch.float32


def compiled(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return the network, compiled so that it computes reproducibly."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    return torch.compile(model)


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Return the context in which a network computes: in `bfloat16` products are of half precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
