"""Where a job computes, and how jobs share GPUs.

`auto` means a GPU if there is one that works. A scheduler counts GPUs but does not say which one a job has, so each
job takes a lease: it locks one of `slots` files of one of the visible GPUs and holds it for its life. The kernel frees
the lock when the process ends, however it ends. A GPU goes by the UUID that torch reports, as its number and other
names depend on who asks. So it is under Slurm: a job that has its allocation alone gets its place at once, while
trainings that share one take turns. Lock files lie in a folder of the user on a local disk.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
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

VISIBLE_VARIABLE = "CUDA_VISIBLE_DEVICES"
"""CUDA's own, with the GPUs that a process may see."""

_POLL_SECONDS = 0.5
_REMIND_SECONDS = 60.0
_NVIDIA, _DISPLAY = "0x10de", "0x03"
"""Vendor and class of a GPU on the PCI bus."""


class DeviceError(UserError):
    """The device asked for is not there, or does not work."""


@contextlib.contextmanager
def acquire() -> Iterator[torch.device]:
    """Give the device that this job computes on, and hold a place on it until the block ends.

    The log says which it is and why; a GPU that is there and cannot be used is a warning. Raises DeviceError if `cuda`
    is asked for and no GPU can be used.
    """
    import torch

    wanted = os.environ.get(DEVICE_VARIABLE, "auto")
    if wanted == "cpu":
        log.info("computing on the CPU, as device is set to cpu")
        yield torch.device("cpu")
        return
    if not torch.cuda.is_available():
        reason, faulty = _why_unavailable()
        _do_without(wanted, reason, faulty=faulty)
        yield torch.device("cpu")
        return
    names = {uuid_of(index): index for index in range(torch.cuda.device_count())}
    while names:
        with lease(list(names), slots=int(os.environ.get(SLOTS_VARIABLE, "1")), folder=lock_folder()) as place:
            name = list(names)[place]
            device = torch.device("cuda", names[name])
            trouble = _trouble_with(device)
            if not trouble:
                log.info("computing on %s (%s, UUID %s)", device, torch.cuda.get_device_name(device), name)
                yield device
                return
        del names[name]
        if names:
            log.warning("GPU %s cannot be used: %s; trying another", name, trouble)
    _do_without(wanted, f"GPU {name} cannot be used: {trouble}", faulty=True)
    yield torch.device("cpu")


def uuid_of(index: int) -> str:
    """Return the UUID that torch reports of the GPU it numbers `index`; a part of one (MIG) has its own."""
    import torch

    return str(torch.cuda.get_device_properties(index).uuid)


def lock_folder() -> Path:
    """Return the folder of this user's lock files, made if need be; raises DeviceError if it cannot be used."""
    # By number, because a user in a container may have no name.
    user = os.getuid()
    advice = "let TMPDIR name a folder of yours on a local disk"
    try:
        folder = Path(tempfile.gettempdir()) / f"tacit-gpus-{user}"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = folder.stat().st_uid
    except OSError as error:
        raise DeviceError(f"no place for locks on GPUs: {error}; {advice}") from error
    if owner != user:
        raise DeviceError(f"{folder}, for locks on GPUs, belongs to user {owner}, not to {user}; {advice}")
    return folder


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
                if not _taken(lock):
                    continue
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
            log.warning(
                "waiting for a free place on GPU %s, %.0f s so far; gpu_slots lets %d share one",
                ", ".join(names),
                waited,
                slots,
            )
        time.sleep(_POLL_SECONDS)


def _taken(lock: filelock.FileLock) -> bool:
    """Take the lock if it is free; tell whether it was."""
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return False
    return True


def _do_without(wanted: str, reason: str, *, faulty: bool) -> None:
    """Say why there is no GPU: raise DeviceError if one is asked for, warn if one is there that does not work."""
    if wanted == "cuda":
        raise DeviceError(f"device is set to cuda, but {reason}; set device: auto or cpu in config.yaml")
    if faulty:
        log.warning("computing on the CPU, which may take very long: %s", reason)
    else:
        log.info("computing on the CPU: %s", reason)


def _why_unavailable() -> tuple[str, bool]:
    """Return why torch has no GPU, and whether there is one nonetheless."""
    visible = os.environ.get(VISIBLE_VARIABLE)
    if visible is not None and visible.strip() in ("", "-1"):
        return f"{VISIBLE_VARIABLE}={visible} hides all GPUs", False
    evidence = _signs_of_a_gpu()
    if not evidence:
        return "torch sees no GPU here", False
    shown = "" if visible is None else f" with {VISIBLE_VARIABLE}={visible}"
    return f"there is a GPU here ({evidence}), but torch cannot use it{shown}: {_initialisation_error()}", True


def _initialisation_error() -> str:
    """Return what torch says when it is told to use a GPU."""
    import torch

    if not (torch.version.cuda or torch.version.hip):
        return f"this torch ({torch.__version__}) is built for the CPU alone; install one built for CUDA"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return _first_line(error)
    return "it finds none; see what nvidia-smi says, and whether this job may open /dev/nvidia*"


def _trouble_with(device: torch.device) -> str:
    """Return why nothing can be computed on `device`, or nothing if it works."""
    import torch

    try:
        if (torch.ones(2, device=device) + 1).sum().item() == 4:
            return ""
    except RuntimeError as error:
        return _first_line(error)
    return "it adds wrongly"


def _signs_of_a_gpu(root: Path = Path("/")) -> str:
    """Return what tells that this machine has an NVIDIA GPU, or nothing."""
    if nodes := sorted((root / "dev").glob("nvidia[0-9]*")):
        return f"/dev/{nodes[0].name}"
    for slot in sorted((root / "sys/bus/pci/devices").glob("*")):
        with contextlib.suppress(OSError):
            vendor, kind = ((slot / name).read_text(encoding="ascii").strip() for name in ("vendor", "class"))
            if vendor == _NVIDIA and kind.startswith(_DISPLAY):
                return f"NVIDIA on the PCI bus at {slot.name}"
    if program := shutil.which("nvidia-smi"):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            said = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=20, check=True).stdout
            if said.startswith("GPU "):
                return f"nvidia-smi lists {said.splitlines()[0].partition(' (UUID')[0]}"
    return ""


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
