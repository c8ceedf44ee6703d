"""Checkpoints of a training under way, so that a killed job resumes where it was.

A checkpoint is no result: it lies outside the outputs that Snakemake knows (which are deleted before a rerun), is
replaced atomically, carries the settings it belongs to, and is deleted once the run file is written. One that belongs
to other settings, is damaged or of another format is refused: the training starts from the beginning and the log
says why. Checkpoints are read without unpickling arbitrary objects.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tacit import store
from tacit.runlog import log

EPOCHS_VARIABLE = "TACIT_CHECKPOINT_EPOCHS"
"""Environment variable with the number of epochs between checkpoints."""

SECONDS_VARIABLE = "TACIT_CHECKPOINT_SECONDS"
"""Environment variable with the least number of seconds between checkpoints, where epochs are no measure."""

_FORMAT = 1


class Interrupted(SystemExit):
    """The work was asked to end and has saved a checkpoint."""


def epochs_between() -> int:
    """Return after how many epochs a training is to be saved; the workflow sets it from config.yaml."""
    return int(os.environ.get(EPOCHS_VARIABLE, "1"))


def seconds_between() -> float:
    """Return after how many seconds a training is to be saved whose epochs are very short or very long."""
    return float(os.environ.get(SECONDS_VARIABLE, "30"))


def save(path: str | Path, state: Mapping[str, Any], *, settings: Mapping[str, Any]) -> None:
    """Write `state` (tensors, numbers, text, lists and dicts of them), atomically.

    `settings` are whatever the state depends on. Raises StoreError if it cannot be written.
    """
    content = io.BytesIO()
    torch.save({"format": _FORMAT, "settings": _canonical(settings), "state": dict(state)}, content)
    store.write_bytes(path, content.getbuffer())


def load(path: str | Path, *, settings: Mapping[str, Any], device: torch.device) -> dict[str, Any] | None:
    """Return the state saved at `path`, or None if there is none that belongs to `settings`."""
    path = Path(path)
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location=device, weights_only=True)
        if content["format"] != _FORMAT:
            reason = f"its format is {content['format']}, this Tacit reads {_FORMAT}"
        elif content["settings"] != _canonical(settings):
            reason = "it belongs to other settings"
        else:
            return content["state"]
    except (RuntimeError, OSError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError) as error:
        reason = f"it is damaged ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
    log.warning("starting from the beginning: checkpoint %s is refused, %s", path, reason)
    return None


def discard(path: str | Path) -> None:
    """Delete the checkpoint at `path`, if there is one, whole or half written."""
    store.discard(path)


def _canonical(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)


class Termination:
    """Turns a request to end (SIGTERM, Ctrl-C) into a flag, so that a training can save itself first.

    A context manager; within it `requested` becomes true when a signal arrives, and on the way out the
    handlers are as before. Outside the main thread, where Python allows no handlers, it never is.
    """

    def __init__(self) -> None:
        self.requested = False
        self._former: dict[int, Any] = {}

    def __enter__(self) -> Termination:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._former[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        self.requested = True
