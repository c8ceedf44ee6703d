"""Where a job computes, and how jobs share GPUs.

`auto` means a GPU if there is one. A workstation's scheduler counts GPUs but does not say which one a job has, so
each job takes a lease: it locks one of `slots` files of one of the visible GPUs and holds it for its life. The kernel
frees the lock when the process ends, however it ends. Under Slurm the allocation rules; only jobs that share one with
several GPUs, as a group may, take leases among themselves.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import filelock

from tacit.errors import UserError
from tacit.runlog import log

if TYPE_CHECKING:
    import torch

DEVICE_VARIABLE = "TACIT_DEVICE"
"""Environment variable with `auto`, `cpu` or `cuda`; the workflow sets it from config.yaml."""

SLOTS_VARIABLE = "TACIT_GPU_SLOTS"
"""Environment variable with the number of jobs that may share one GPU."""

_POLL_SECONDS = 0.5
_REMIND_SECONDS = 60.0


class DeviceError(UserError):
    """The device asked for is not there."""


@contextlib.contextmanager
def acquire() -> Iterator[torch.device]:
    """Give the device that this job computes on, and hold a place on it until the block ends.

    Raises DeviceError if `cuda` is asked for and there is none.
    """
    import torch

    wanted = os.environ.get(DEVICE_VARIABLE, "auto")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise DeviceError("device is set to cuda, but torch sees no GPU here; set device: auto or cpu in config.yaml")
    if wanted == "cpu" or not torch.cuda.is_available():
        yield torch.device("cpu")
        return
    gpus, allocation = _names_of_visible_gpus(torch.cuda.device_count()), os.environ.get("SLURM_JOB_ID")
    if allocation and len(gpus) == 1:
        yield torch.device("cuda", 0)
        return
    slots = 1 if allocation else int(os.environ.get(SLOTS_VARIABLE, "1"))
    folder = Path(tempfile.gettempdir()) / f"tacit-gpus-{getpass.getuser()}{f'-{allocation}' if allocation else ''}"
    with lease(gpus, slots=slots, folder=folder) as index:
        yield torch.device("cuda", index)


@contextlib.contextmanager
def lease(names: Sequence[str], *, slots: int, folder: str | Path) -> Iterator[int]:
    """Hold one of `slots` places on one of the devices called `names`; give its index.

    Waits, and says for what, until a place is free. The lock files lie in `folder`, which must be on a local disk.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    started = reminded = time.monotonic() - _REMIND_SECONDS
    while True:
        # Slots outermost: jobs spread over the devices before any shares one.
        for slot in range(slots):
            for index, name in enumerate(names):
                lock = filelock.FileLock(folder / f"{name}-{slot}.lock")
                with contextlib.suppress(filelock.Timeout):
                    lock.acquire(timeout=0)
                    log.info("leased place %d of %d on GPU %s", slot + 1, slots, name)
                    try:
                        yield index
                    finally:
                        lock.release()
                    return
        now = time.monotonic()
        if now - reminded >= _REMIND_SECONDS:
            reminded = now
            waited = now - started - _REMIND_SECONDS
            log.warning("waiting for a free place on %s (%d each), %.0f s so far", ", ".join(names), slots, waited)
        time.sleep(_POLL_SECONDS)


def _names_of_visible_gpus(count: int) -> list[str]:
    """Return a name for each visible GPU that is the same in every process of this machine."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(index) for index in range(count)]
    return [name.strip().replace("/", "_") for name in names[:count]]
