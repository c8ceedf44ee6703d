"""What all benchmarks share: cases timed beside a plain reference, printed as a table or as JSON."""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Case:
    """One comparison; `ours` and `reference` are rates or times in `unit`."""

    case: str
    ours: float
    reference: float
    unit: str
    ratio: float
    """How many times quicker than the reference."""
    agreement: str
    """How both were found to agree, before they were timed."""
    note: str = ""
    """What else is to be said of it."""


def best_time(work: Callable[[], object], *, repeats: int = 3) -> float:
    """Return the least of `repeats` wall-clock times of `work`, in seconds."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def copy_project(folder: Path) -> Path:
    """Copy what Snakemake needs of this project into `folder`, and return it."""
    root = Path(__file__).parents[1]
    for name in ("Snakefile", "workflow", "config", "src", "profiles"):
        copy = shutil.copytree if (root / name).is_dir() else shutil.copy
        copy(root / name, folder / name)
    return folder


def arguments(description: str) -> argparse.ArgumentParser:
    """Return a parser that knows `--json`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    return parser


def on_a_device(parser: argparse.ArgumentParser) -> None:
    """Let a parser know where steps are taken."""
    parser.add_argument("--device", help="of torch; by default a GPU, if there is one")
    parser.add_argument("--threads", type=int, default=1, help="threads on a CPU; jobs of the workflow have one")


def chosen_device(given: argparse.Namespace) -> tuple[torch.device, str]:
    """Return where steps are to be taken, and its name; torch has as many threads as were asked for from here on."""
    # Here, because some benchmarks do without it.
    import torch

    torch.set_num_threads(given.threads)
    device = torch.device(given.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    gpu = device.type == "cuda"
    return device, torch.cuda.get_device_name() if gpu else f"{processor()}, {given.threads} thread(s)"


def report(cases: Iterable[Case], *, device: str, as_json: bool) -> None:
    """Print each case as soon as it is there, and all of them as JSON at the end if asked for."""
    done = []
    for case in cases:
        done.append(case)
        print(
            f"{case.case}: {case.ours:.4g} against {case.reference:.4g} {case.unit}, {case.ratio:.1f} times; "
            f"{case.agreement}" + (f"; {case.note}" if case.note else ""),
            flush=True,
        )
    if as_json:
        print(json.dumps({"cases": [asdict(case) for case in done], "device": device, "versions": versions()}))


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that computed; what is not installed is left out."""
    found = {"python": platform.python_version()}
    for name in ("tacit", "torch", "torchvision", "numpy", "numba", "scipy", "pillow", "tensorly"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def processor() -> str:
    """Return the name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
