"""Named random streams.

Every random number in Tacit comes from a stream that is named by what it is for: the study or kind of data, the use,
and what tells one such use from another, as in ``("untied", "train", seed, "order", epoch)``. The images of Pathfinder
have the stream ``("pathfinder", seed, path_length)``, in which each has a place of its own by its number. So nothing
depends on the order in which work happens to be done, and shards, cores, restarts and hosts change no number.

The name is hashed to a 128-bit key of NumPy's Philox generator (Salmon et al. 2011), whose output is a pure function of
key and counter. Torch's generators, for initial weights and dropout, start from a seed that is cut out of the key; they
are torch's own, which on a GPU give other numbers than on a CPU.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def key(*name: str | int) -> int:
    """Return the 128-bit key of the stream called `name`.

    Raises TypeError for parts that are neither text nor whole numbers: floats print in more than one way,
    and a name must not depend on how.
    """
    for part in name:
        if isinstance(part, bool) or not isinstance(part, str | int):
            raise TypeError(f"a stream is named by text and whole numbers, not {type(part).__name__}: {part!r}")
    text = json.dumps(name, ensure_ascii=True, separators=(",", ":"))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")


def philox(stream_key: int, counter: int = 0) -> np.random.Generator:
    """Return a generator at position `counter` of the stream with key `stream_key`.

    Positions are 2**128 draws apart, so they never overlap. Of use in loops, where hashing the name
    once and counting is quicker than a new name for each item.
    """
    return np.random.Generator(np.random.Philox(key=stream_key, counter=counter << 128))


def numpy_generator(*name: str | int) -> np.random.Generator:
    """Return a NumPy generator (Philox) at the start of the stream called `name`."""
    return philox(key(*name))


def torch_seed(*name: str | int) -> int:
    """Return the 63-bit seed that torch generators of the stream called `name` start from."""
    return key(*name) >> 65


def torch_generator(*name: str | int, device: str | torch.device = "cpu") -> torch.Generator:
    """Return a torch generator on `device`, seeded from the stream called `name`."""
    import torch

    return torch.Generator(device=device).manual_seed(torch_seed(*name))
