"""Which instructions of the processor the libraries compute with, so that processors give the same numbers.

PyTorch, oneDNN, MKL, OpenBLAS and NumPy look at the processor when they are loaded, and choose kernels that add in
another order on each kind. Held, they take those that all x86-64 processors since about 2015 have in common (AVX2 and
FMA), and MKL the ones that it has for every maker; and they use one thread, as sums are divided among several. The
variables must be in the environment before a library is loaded: with `processor: common` the workflow puts them into
that of every job, and a notebook calls `hold` first.

Not held are libraries of other versions, other kinds of processors (ARM), and GPUs. MKL's square roots and logarithms
(`torch.sqrt` and `torch.log` on a CPU) start from approximations that differ between makers in any case, so Tacit uses
none.

Imports nothing that computes.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tacit.errors import UserError

HELD = "x86-64 AVX2, 1 thread"
"""The capability of all processors that are held."""

THREADS = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
"""Variables that libraries take the number of their threads from."""

_used: list[str] = []
"""What the present run computed on; see `note`."""

_NEEDED = {"avx2", "fma"}
_CHOOSING = (
    "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_CBWR", "OPENBLAS_CORETYPE",
    "NPY_DISABLE_CPU_FEATURES",
)  # fmt: skip
"""Variables by which libraries are told what to choose."""

_TELLING = ("sse4_1", "avx", "avx2", "fma", "avx512f", "avx512vl", "avx512_vnni", "avx512_bf16", "amx_tile")
"""Flags by which libraries choose their kernels, as Linux calls them."""


class ProcessorError(UserError):
    """The libraries were loaded before they were held."""


def hold() -> None:
    """Hold this process, and those it starts, to the common instructions; of no effect where there are none.

    Raises ProcessorError if NumPy or PyTorch were loaded without, and so have chosen already.
    """
    wanted = variables()
    missing = {name: value for name, value in wanted.items() if os.environ.get(name) != value}
    loaded = [name for name in ("numpy", "torch") if name in sys.modules]
    if missing and loaded:
        raise ProcessorError(
            f"{' and '.join(loaded)} had chosen their instructions when imported; call tacit.processors.hold() before,"
            f" in a fresh process, or set {' '.join(f'{name}={value!r}' for name, value in missing.items())}"
        )
    os.environ.update(missing)


def variables() -> dict[str, str]:
    """Return the environment in which libraries are held; empty on processors that lack the common instructions."""
    chosen = _instructions()
    return chosen | THREADS if chosen else {}


def capability() -> str:
    """Return what the bytes of results depend on besides settings and versions: HELD, or what this process has.

    Raises ProcessorError if the environment says that PyTorch is held, but it was loaded before.
    """
    wanted, torch = _instructions(), sys.modules.get("torch")
    threads = str(torch.get_num_threads()) if torch else os.environ.get("OMP_NUM_THREADS", str(os.cpu_count()))
    count = f"{threads} thread{'s' if threads != '1' else ''}"
    if not wanted or any(os.environ.get(name) != value for name, value in wanted.items()):
        told = [f"{name}={os.environ[name]}" for name in _CHOOSING if name in os.environ]
        return ", ".join([f"native: {describe()}", count, *told])
    if torch and (found := torch.backends.cpu.get_cpu_capability()) != "AVX2":
        raise ProcessorError(
            f"PyTorch computes with {found}, though {', '.join(wanted)} hold it to AVX2: they were set after it was "
            "imported; set them, or call tacit.processors.hold(), before"
        )
    return f"x86-64 AVX2, {count}"


def note(device: str) -> None:
    """Take down that the present run computes on this (a GPU's name, or the capability of the processor)."""
    if device not in _used:
        _used.append(device)


def noted() -> list[str]:
    """Return what the present run computed on, in order."""
    return list(_used)


def noted_before(devices: Iterable[str]) -> None:
    """Take down what the process computed on that this one goes on from."""
    _used[:] = dict.fromkeys([*devices, *_used])


def computed_on() -> str:
    """Return what the bytes of the present run depend on besides settings and versions, as its file says it."""
    return ", then ".join(_used) or capability()


def _instructions() -> dict[str, str]:
    if not _flags() >= _NEEDED:
        return {}
    return {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        # On a processor of another maker than Intel MKL has this branch and one of its own choice.
        "MKL_CBWR": "COMPATIBLE",
        "OPENBLAS_CORETYPE": "Haswell",
        "NPY_DISABLE_CPU_FEATURES": beyond_avx2(),
    }


def describe() -> str:
    """Return architecture, maker and instructions of this processor, as far as libraries look at them."""
    text, flags = _description(), _flags()
    maker = re.search(r"^(?:vendor_id|CPU implementer)\s*:\s*(.*)$", text, re.MULTILINE)
    found = [platform.machine(), maker.group(1) if maker else "", *(name for name in _TELLING if name in flags)]
    return " ".join(filter(None, found))


def beyond_avx2() -> str:
    """Return what the installed NumPy calls the instructions beyond AVX2 that it has kernels for."""
    try:
        numpy = tuple(map(int, version("numpy").split(".")[:2]))
    except PackageNotFoundError:
        return ""
    if numpy >= (2, 4):
        return "X86_V4 AVX512_ICL AVX512_SPR"
    return "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR"


def _flags() -> set[str]:
    """Return the flags of an x86-64 processor under Linux; nothing elsewhere."""
    found = re.search(r"^flags\s*:(.*)$", _description(), re.MULTILINE)
    return set(found.group(1).split()) if found and platform.machine() == "x86_64" else set()


def _description() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
