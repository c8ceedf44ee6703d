"""How much memory jobs need, in MB, from the sizes of what they work on; without torch, for the workflow to ask for.

Each is a sum of what the libraries take when nothing is loaded yet (measured) and of the arrays that are there at once
(counted), with a quarter more for what allocators hold back. The tests compare with what jobs were measured to take.
"""

from __future__ import annotations

import math

NUMPY, NUMBA, TORCH = 300, 500, 1100
"""MB of a process with NumPy, HDF5 and Pillow; with Numba, which may have to compile; with torch."""

GPU = 3000
"""MB that torch and the driver take in the machine's memory besides, in a job that may find a GPU."""

FLOAT = 4
EVALUATED = 256
"""Images of a batch on which networks are tested, at most."""


def total(base: float, content: float) -> int:
    """Return MB, in hundreds: `base` MB and 1.25 times `content` bytes."""
    return 100 * math.ceil((base + 1.25 * content / 1e6) / 100)


def training(content: float, *, gpu: bool) -> int:
    """Return MB of a training: torch, with a GPU if there may be one, and 1.25 times `content` bytes."""
    return total(TORCH + (GPU if gpu else 0), content)
