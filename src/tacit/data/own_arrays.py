"""Arrays of a user's own, read from NumPy files (.npy), after a look at all that may be wrong with one.

Nothing is unpickled. Whatever is wrong ends in one message: which file, why, and what to do.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from tacit import files
from tacit.data import own_files
from tacit.errors import UserError

_MOST_BYTES = 2_000_000_000
_LARGEST = 1e6
"""As of entries that are written in settings."""


class OwnArrayError(UserError):
    """A file of a user's own is missing, cannot be read, or holds no array of the shape that is asked for."""


def path_of(name: str) -> Path:
    """Return the path that a setting names."""
    return Path(name).expanduser()


def complaint(name: str, shape: Sequence[int], *, at_least: bool = False) -> str | None:
    """Say why a file holds no array of numbers of this `shape`, by its first lines alone; None if it seems to.

    With `at_least` it may be longer along its first axis.
    """
    path = path_of(name)
    if said := own_files.complaint(path):
        return f"{name}: {said}; it must be a NumPy file of shape {_spoken(shape, at_least)}"
    try:
        with path.open("rb") as file:
            return _odd(name, file, shape, at_least)
    except OSError as error:
        return files.reading_failed(path, error)


def read(name: str, shape: Sequence[int], *, at_least: bool = False, digest: str | None = None) -> np.ndarray:
    """Return the array (float64) of a file, with `at_least` no more of it than `shape` says.

    Raises OwnArrayError if there is none, if it is none of finite numbers in this shape, none of which is larger than
    a million, or if its content is not that of `digest` (`own_files.digest_of`), if given.
    """
    path = path_of(name)
    if said := complaint(name, shape, at_least=at_least):
        raise OwnArrayError(said)
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except (OSError, MemoryError) as error:
        raise OwnArrayError(files.reading_failed(path, error)) from error
    if len(content) > _MOST_BYTES:
        raise OwnArrayError(f"{name}: has more than {_MOST_BYTES:,} bytes")
    if digest is not None and hashlib.blake2b(content).hexdigest()[:20] != digest:
        raise OwnArrayError(f"{name}: was changed since this job was planned; run the same command again")
    # Again, as this is what is read.
    if said := _odd(name, io.BytesIO(content), shape, at_least):
        raise OwnArrayError(said)
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except ValueError as error:
        raise OwnArrayError(f"{name}: is cut off or damaged ({_short(error)}); write it anew") from error
    array = np.ascontiguousarray(array[: shape[0]], np.float64)
    if not np.isfinite(array).all() or np.abs(array).max(initial=0) > _LARGEST:
        raise OwnArrayError(f"{name}: numbers must be finite, and at most {_LARGEST:,.0f} in size")
    return array


def _odd(name: str, file: IO[bytes], shape: Sequence[int], at_least: bool) -> str | None:
    try:
        version = npy.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"version {version[0]}.{version[1]}")
        header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        found, _, dtype = header(file)
    except OSError:
        raise
    except Exception as error:
        # Of a header that is no such thing anything may come.
        return f"{name}: is no NumPy file of one array of numbers, as numpy.save writes it ({_short(error)})"
    if dtype.kind not in "fiu":
        return f"{name}: holds an array of {dtype}, not of numbers; write real or whole numbers"
    fits = len(found) == len(shape) and found[1:] == tuple(shape[1:])
    if not fits or found[0] < shape[0] or (found[0] > shape[0] and not at_least):
        return f"{name}: has the shape {_spoken(found)}, not {_spoken(shape, at_least)}; change it, or the settings"
    return None


def _short(error: Exception) -> str:
    said = (str(error) or type(error).__name__).splitlines()[0]
    return said if len(said) < 80 else f"{said[:80]} ..."


def _spoken(shape: Sequence[int], at_least: bool = False) -> str:
    first, *others = map(str, shape or ("no",))
    return " x ".join([f"{first} or more" if at_least else first, *others])
