"""Event files for TensorBoard, beside the log of a training; no result depends on them, and nothing is sent anywhere.

The workflow says by an environment variable whether there are to be any, and each job where its log lies.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER_VARIABLE = "TACIT_TENSORBOARD"
"""Environment variable with the folder of all event files; without it there are none."""

_place: Path | None = None


def begin(log: str | Path) -> None:
    """Let event files of this job lie in the folder of all, under the path of its `log` without the first part."""
    global _place
    folder = os.environ.get(FOLDER_VARIABLE)
    _place = Path(folder, *Path(log).with_suffix("").parts[1:]) if folder else None


class Events:
    """Scalars of a training by epoch; does nothing where no event files are asked for.

    A training that goes on from a checkpoint, or begins anew, takes back what was written of later epochs.
    """

    def __init__(self) -> None:
        self._writer: Any = None

    def write(self, epoch: int, values: Mapping[str, float]) -> None:
        """Write values by name."""
        if _place is None:
            return
        if self._writer is None:
            # Here, as it takes a second, and belongs to no installation that did not ask for it.
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(_place), purge_step=epoch)
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()
