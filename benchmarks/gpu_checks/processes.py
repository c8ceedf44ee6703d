"""What takes several processes: the unit tests with a GPU in sight, a lease on it, a training killed and resumed."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gpu_checks import engines

ROOT = Path(__file__).parents[2]

RESUMED_TOLERANCE = 1e-5
"""Of a killed and resumed training against the undisturbed one; on a CPU there is none."""


class Outcome(NamedTuple):
    """Of one check."""

    check: str
    ok: bool
    said: str


class Tests(NamedTuple):
    """Of one file of unit tests."""

    file: str
    ok: bool
    said: str
    """Its last line, and of what failed the first lines."""


def environment(**changes: str) -> dict[str, str]:
    """Return this process's environment, in which this checkout is what is imported, with `changes`."""
    paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)} | changes


def unit_tests(*, jobs: int, seconds: float) -> Iterator[Tests]:
    """Run each file of quick unit tests in a process of its own, `jobs` at a time; yield how it went."""
    if importlib.util.find_spec("pytest") is None:
        yield Tests("tests/unit", True, "skipped: pytest is not installed")
        return
    files = sorted((ROOT / "tests" / "unit").glob("test_*.py"))
    # One card for all of them.
    environ = environment(OMP_NUM_THREADS="1", TACIT_GPU_SLOTS=str(jobs))

    def run(file: Path) -> Tests:
        options = ["-q", "-m", "not slow", "-p", "no:cacheprovider", "--noconftest", "-o", "addopts=-rfE", "--tb=short"]
        command = [sys.executable, "-m", "pytest", str(file), *options]
        done = _run(command, environ, seconds)
        lines = done.said.strip().splitlines() or ["nothing was said"]
        # 5: every test of the file is left out.
        ok = done.code in (0, 5)
        missing = re.findall(r"ModuleNotFoundError: No module named '([\w.]+)'", done.said)
        absent = [name for name in missing if importlib.util.find_spec(name.partition(".")[0]) is None]
        if not ok and absent:
            return Tests(file.name, True, f"skipped: {absent[0]} is not installed")
        failed = [line for line in lines if line.startswith(("E  ", "FAILED", "ERROR"))]
        return Tests(file.name, ok, "\n".join([lines[-1], *([] if ok else failed[:12])]))

    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(run, files)


class Done(NamedTuple):
    """Of a command; its code is that of a kill if it took too long."""

    code: int
    said: str


def _run(command: list[str], environ: dict[str, str], seconds: float) -> Done:
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environ, timeout=seconds, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
    except subprocess.TimeoutExpired as expired:
        said = expired.stdout or b""
        said = said.decode(errors="replace") if isinstance(said, bytes) else said
        return Done(-signal.SIGKILL, f"{said}\nE  not done after {seconds:g} s")
    return Done(done.returncode, done.stdout)


HOLDER = textwrap.dedent(
    """
    import logging, time
    logging.basicConfig(level=logging.INFO)
    from tacit import devices
    with devices.acquire() as device:
        print(device, flush=True)
        time.sleep(120)
    """
)


def lease(uuid: str) -> Outcome:
    """Have two processes ask for the one GPU, which the second knows by UUID; kill the first."""
    check = "a lease on one card under two names"
    with tempfile.TemporaryDirectory() as folder:
        environ = environment(TACIT_DEVICE="cuda", TACIT_GPU_SLOTS="1", TMPDIR=folder)
        first = _hold(Path(folder) / "first", environ)
        second = None
        try:
            if not _wait(lambda: first.said("stdout"), first, 60):
                return Outcome(check, False, f"the first got none: {first.said('stderr')[-500:]}")
            second = _hold(Path(folder) / "second", environ | {"CUDA_VISIBLE_DEVICES": f"GPU-{uuid}"})
            if not _wait(lambda: "waiting for a free place" in second.said("stderr"), second, 60):
                return Outcome(check, False, f"the second did not wait: {second.said('stderr')[-500:]}")
            time.sleep(2)
            if second.said("stdout"):
                return Outcome(check, False, "both had it at a time")
            killed = time.monotonic()
            first.process.send_signal(signal.SIGKILL)
            if not _wait(lambda: second.said("stdout"), second, 30):
                return Outcome(check, False, "the second got none after the first was killed")
            locks = sorted(path.name for path in Path(folder).glob("tacit-gpus-*/*"))
            waited = f"the second had it {time.monotonic() - killed:.1f} s after the first was killed (SIGKILL)"
            return Outcome(check, locks == [f"{uuid}-0.lock"], f"{waited}; locks: {', '.join(locks)}")
        finally:
            for holder in (first, second):
                if holder is not None:
                    holder.end()


class Holder(NamedTuple):
    """A process, and the files that it writes to."""

    process: subprocess.Popen
    path: Path

    def said(self, what: str) -> str:
        """Return what it wrote to `stdout` or `stderr`."""
        return self.path.with_suffix(f".{what}").read_text(encoding="utf-8", errors="replace")

    def end(self) -> None:
        """Kill it, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()


def _hold(path: Path, environ: dict[str, str]) -> Holder:
    out, err = (path.with_suffix(suffix).open("w") for suffix in (".stdout", ".stderr"))
    with out, err:
        return Holder(subprocess.Popen([sys.executable, "-c", HOLDER], env=environ, stdout=out, stderr=err), path)


def _wait(condition: Callable[[], object], holder: Holder, seconds: float) -> bool:
    """Wait until `condition` holds; return False if it does not in time, or the process ended before."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline or holder.process.poll() is not None:
            return bool(condition())
        time.sleep(0.05)
    return True


def resumed(kind: str, device: str) -> Outcome:
    """Kill a training of this kind after it has saved itself, run it again, and compare with one undisturbed."""
    check = f"killed and resumed: {kind}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _train(folder / "undisturbed", kind, device, pause=0.0).wait(120)
        disturbed = _train(folder / "disturbed", kind, device, pause=0.5)
        checkpoint, result = folder / "disturbed.pt", folder / "disturbed.npz"
        deadline = time.monotonic() + 120
        while not checkpoint.exists() and disturbed.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        disturbed.kill()
        disturbed.wait()
        log = (folder / "disturbed.log").read_text(encoding="utf-8")
        if result.exists() or not checkpoint.exists():
            return Outcome(check, False, f"it was not killed between a checkpoint and its end: {log[-500:]}")
        _train(folder / "disturbed", kind, device, pause=0.0).wait(120)
        log = (folder / "disturbed.log").read_text(encoding="utf-8")
        if not result.exists() or not (folder / "undisturbed.npz").exists():
            return Outcome(check, False, f"it did not end: {log[-500:]}")
        if "resuming" not in log:
            return Outcome(check, False, f"it did not resume: {log[-500:]}")
        with np.load(folder / "undisturbed.npz") as one, np.load(result) as other:
            apart, where = engines.difference(dict(one), dict(other))
        if apart == 0:
            return Outcome(check, True, "every bit equal")
        return Outcome(check, apart <= RESUMED_TOLERANCE, f"{where} differs by {apart:.1e}, of {RESUMED_TOLERANCE:g}")


def _train(path: Path, kind: str, device: str, *, pause: float) -> subprocess.Popen:
    """Start `train_here` in a process; it logs to `path`.log."""
    given = ["--kind", kind, "--path", str(path), "--device", device, "--pause", str(pause)]
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--part", "train", *given]
    environ = environment(TACIT_CHECKPOINT_SECONDS="0", TACIT_CHECKPOINT_EPOCHS="1")
    with path.with_suffix(".log").open("w") as log:
        return subprocess.Popen(command, env=environ, stdout=log, stderr=subprocess.STDOUT)


def train_here(kind: str, path: Path, device: str, pause: float) -> None:
    """Run a training that saves itself to `path`.pt, and write its numbers to `path`.npz."""
    import logging

    import torch

    logging.basicConfig(level=logging.INFO)
    numbers = engines.resumed_kinds()[kind](torch.device(device), str(path.with_suffix(".pt")), pause)
    part = path.with_suffix(".part.npz")
    np.savez(part, **numbers)
    part.rename(path.with_suffix(".npz"))
