"""Trainings in processes of their own that can be killed, started quickly from a server that has imported torch."""

import contextlib
import importlib.util
import itertools
import logging
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import NamedTuple

from project import CHECKOUT

SCRIPTS = CHECKOUT / "workflow" / "scripts"

_context = multiprocessing.get_context("forkserver")
# The last is what torch imports when it makes an optimizer.
_context.set_forkserver_preload(
    ["tacit.studies.pathfinder", "tacit.training.networks", "tacit.training.descent", "torch._dynamo"]
)


class Job(NamedTuple):
    """A training as its script runs it."""

    script: str
    inputs: tuple[str, ...]
    identity: dict
    settings: dict


class Outcome(NamedTuple):
    """How a process ended."""

    code: int
    said: str


def _die_writing(number):
    """Have this process killed in the middle of writing its checkpoint of this number."""
    from tacit import files

    write, seen = files.Sink.write, []

    def write_half(sink, content):
        if ".pt." in sink.path.name and sink not in seen:
            seen.append(sink)
        # Behind the first line and the settings.
        if ".pt." in sink.path.name and len(seen) == number and sink.tell() > 1000:
            write(sink, memoryview(content)[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return write(sink, content)

    files.Sink.write = write_half


def _die_keeping(number):
    """Have this process killed in the middle of this number of writes of what it keeps of its epochs."""
    from tacit.training import keeping

    write, numbers = keeping.Keeper._write, itertools.count(1)

    def write_half(keeper, content):
        if next(numbers) == number:
            write(keeper, content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return write(keeper, content)

    keeping.Keeper._write = write_half


def _main(job, folder, dies_writing_checkpoint, dies_keeping, extendable):
    """Run the script's own function in `folder`; what it says goes to a file there."""
    if dies_writing_checkpoint:
        _die_writing(dies_writing_checkpoint)
    if dies_keeping:
        _die_keeping(dies_keeping)
    logging.basicConfig(filename=folder / "said.txt", level=logging.INFO, force=True)
    logging.getLogger("tacit").setLevel(logging.INFO)
    os.environ |= {"TACIT_DEVICE": "cpu", "TACIT_CHECKPOINT_EPOCHS": "1", "TACIT_CHECKPOINT_SECONDS": "0"}
    os.environ["TACIT_EXTENDABLE"] = str(extendable)
    import torch

    from tacit import checkpoints

    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location(job.script, SCRIPTS / f"{job.script}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    checkpoint = str(folder / "checkpoints" / "run.pt")
    module.main(
        *job.inputs, str(folder / "run.h5"), identity=job.identity, settings=job.settings, checkpoint=checkpoint
    )
    # As a job does when its result is safe.
    checkpoints.finish(checkpoint)


def warm_up():
    """Have the server import what it is to hand on, so that the first training takes no longer than others."""
    process = _context.Process(target=time.sleep, args=(0,))
    process.start()
    process.join()


class Training:
    """A job under way in a folder of its own."""

    def __init__(self, job, folder, *, dies_writing_checkpoint=0, dies_keeping=0, extendable=False):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        more = (dies_writing_checkpoint, dies_keeping, extendable)
        self._process = _context.Process(target=_main, args=(job, self.folder, *more))
        self._process.start()

    @property
    def run(self):
        return self.folder / "run.h5"

    @property
    def checkpoint(self):
        return self.folder / "checkpoints" / "run.pt"

    @property
    def alive(self):
        return self._process.is_alive()

    def send(self, number):
        """Send a signal; to a process that has just ended it makes no difference."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, number)

    def wait(self, seconds=120):
        """The exit status, which is minus the number of the signal for a killed process."""
        self._process.join(seconds)
        assert not self.alive, f"still running after {seconds} s"
        return self._process.exitcode

    @property
    def said(self):
        return (self.folder / "said.txt").read_text(encoding="utf-8")

    def files(self):
        """Everything in the folder that is not the log, hidden files included."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())

    def wait_for(self, condition, seconds=60):
        """Look as often as possible until `condition` holds, or the process has ended; tell which."""
        deadline = time.monotonic() + seconds
        while self.alive:
            if condition():
                return True
            assert time.monotonic() < deadline, "nothing happened"
        return False


SIGNALS = {"SIGTERM": signal.SIGTERM, "SIGKILL": signal.SIGKILL}
