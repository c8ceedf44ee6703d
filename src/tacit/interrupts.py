"""Ctrl-C at the start of a job, while Python still reads its code.

There is nothing to save then, and an exception would end in the middle of some import, with a trace that says nothing.
So a script of Snakemake that imports this module, as one does by `tacit.jobs`, ends at once and in silence, until it is
told to `heed`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(1)


# Snakemake gives its scripts an object of this name.
if hasattr(sys.modules.get("__main__"), "snakemake"):
    signal.signal(signal.SIGINT, _end)


def heed() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again."""
    # Signals are an affair of the main thread.
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.default_int_handler)
