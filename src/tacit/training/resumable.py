"""The outer loop of every training and descent: progress, checkpoints, and an end when one is asked for."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from tacit import checkpoints
from tacit.runlog import Progress, log


class Pause:
    """Tells a loop when to return in mid-epoch, so that it can be saved: on a request to end, or after some time."""

    def __init__(self, termination: checkpoints.Termination, seconds: float | None = None):
        self.termination, self.seconds = termination, seconds
        self.restart()

    def restart(self) -> None:
        """Count the time from now."""
        self.since = time.monotonic()

    @property
    def requested(self) -> bool:
        """Whether to return after the present step."""
        return self.termination.requested or self.due

    @property
    def due(self) -> bool:
        """Whether it is time to save."""
        return self.seconds is not None and time.monotonic() - self.since >= self.seconds


NEVER = Pause(checkpoints.Termination())
"""For a loop that nobody interrupts."""


class Loop(Protocol):
    """A training under way, that can be saved between any two steps."""

    epoch: int
    """Number of epochs done."""

    @property
    def place(self) -> str:
        """Where the training is, in words that follow `resuming` and `saved`."""
        ...

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        ...

    def advance(self, pause: Pause) -> bool:
        """Continue to the next end of an epoch, or evaluation; return False if asked to pause before.

        At least one step is taken in either case.
        """
        ...

    def summary(self) -> str:
        """Return in words what was reached with the last advance."""
        ...

    def state(self) -> dict[str, Any]:
        """Return everything that a later process needs to continue from here."""
        ...

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`, whose tensors are on the CPU.

        Raises checkpoints.Damaged, before anything changed, if something else that belongs to it is proven bad.
        """
        ...

    def obstacle(self, state: Mapping[str, Any]) -> str:
        """Return why what ended as `state`, after fewer epochs, cannot go on as this one; empty if it can."""
        ...

    def go_on(self) -> None:
        """Having loaded the end of a shorter training, be what this one is after as many epochs."""
        ...


class Longer(NamedTuple):
    """How a training that has ended can be made a longer one."""

    settings: tuple[str, ...] = ()
    """Settings that differ, as dotted paths; the first is the number of epochs, or what else measures its length."""
    obstacle: str = ""
    """Why it cannot; empty if it can."""


NO_LONGER = Longer(obstacle="it is of one length")
"""Of what is no training of a study, as a benchmark."""


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """Return the states of torch's global generators, as part of the state of a loop that draws from them."""
    found = {"random": torch.get_rng_state()}
    if device.type == "cuda":
        found["random_cuda"] = torch.cuda.get_rng_state(device)
    return found


def set_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Put torch's global generators into the states that `random_state` gave."""
    torch.set_rng_state(state["random"])
    if "random_cuda" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["random_cuda"], device)


def run(
    loop: Loop,
    *,
    epochs: int,
    checkpoint: str | Path,
    settings: Mapping[str, Any],
    by_time: bool,
    longer: Longer,
    what: str = "training",
) -> None:
    """Run `loop` to its end, from `checkpoint` if there is one of these `settings`, or from the end of a shorter one.

    It is saved every so many seconds if `by_time` (for epochs of milliseconds or of hours), else every so many epochs.
    `what` names it in the progress, of `epochs` at most. Raises Interrupted, after saving, on SIGTERM or Ctrl-C.
    """
    _begin(loop, checkpoint, settings, longer)
    progress = Progress(epochs, what=what, unit="epoch", done=loop.epoch)
    shown, started = loop.epoch, time.monotonic()
    with checkpoints.Termination() as termination:
        pause = Pause(termination, checkpoints.seconds_between() if by_time else None)
        while not loop.finished:
            ended = loop.advance(pause)
            if ended:
                now = time.monotonic()
                progress.advance(loop.epoch - shown, note=loop.summary() + f", {now - started:.2f} s")
                shown, started = loop.epoch, now
                due = pause.due if by_time else loop.epoch % checkpoints.epochs_between() == 0
                if loop.finished or not (due or termination.requested):
                    continue
            checkpoints.save(checkpoint, loop.state(), settings=settings)
            pause.restart()
            if termination.requested:
                log.warning("asked to end; saved %s", loop.place)
                raise checkpoints.Interrupted(143)
    progress.close()
    if checkpoints.ends_are_kept():
        checkpoints.save_end(checkpoint, loop.state(), settings=settings)


def _begin(loop: Loop, checkpoint: str | Path, settings: Mapping[str, Any], longer: Longer) -> None:
    """Let `loop` begin where its checkpoint, or the end of a shorter one, was; no state is left in memory."""
    # On the CPU, where what is only kept may stay; a loop takes the rest to its device.
    cpu = torch.device("cpu")
    place = Path(checkpoint)
    try:
        if (state := checkpoints.load(place, settings=settings, device=cpu)) is not None:
            loop.load_state(state)
            log.info("resuming %s", loop.place)
            return
        place = checkpoints.end_of(checkpoint)
        state = checkpoints.load_end(checkpoint, settings=settings, longer=longer.settings, device=cpu)
        if state is None:
            return
        if why := longer.obstacle or loop.obstacle(state):
            raise checkpoints.NotContinued(why)
        loop.load_state(state)
        loop.go_on()
        log.info("going on from the end of a shorter training, %s", loop.place)
    except checkpoints.Damaged as error:
        checkpoints.set_aside(place, str(error))
    except checkpoints.NotContinued as error:
        log.warning("training from the beginning, not from the end that is kept as %s: %s", place, error)
