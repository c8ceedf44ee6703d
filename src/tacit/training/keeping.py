"""What a training keeps of its epochs, on disk as it comes, so that neither memory nor checkpoints grow with it.

States of a network lie one behind the other in a file that is only ever appended to. A checkpoint names its length and
digest; what is behind that, of a process that was killed later, is written again, to the same bytes. States are read
one array at a time, each compared with its digest.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from tacit import files
from tacit.checkpoints import Damaged
from tacit.files import StoreError

_CLOSED = -1
"""In place of the descriptor of a file that is not open."""

_LENGTH = 8
"""Bytes that tell how long the description of an array is, which stands before it."""


def _raw(array: np.ndarray) -> memoryview:
    """Return the bytes of a contiguous array, which are not copied."""
    return memoryview(array.reshape(-1).view(np.uint8).data)


class Kept:
    """An array in the file; NumPy reads it when it is used (`numpy.asarray`)."""

    def __init__(self, keeper: Keeper, description: Mapping[str, Any], place: int):
        self._keeper, self._place = keeper, place
        self.dtype, self.shape = np.dtype(description["dtype"]), tuple(description["shape"])
        self._digest = description["digest"]

    @property
    def nbytes(self) -> int:
        """Number of bytes."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        content = np.empty(self.shape, self.dtype)
        self._keeper.read(self._place, _raw(content), self._digest)
        return content if dtype is None else content.astype(dtype, copy=False)

    def numpy(self) -> np.ndarray:
        """Return the array itself."""
        return np.asarray(self)


class Best:
    """The weights with which what is measured as `name` was best so far, on the CPU, the earliest of equal ones.

    That is the least, or with `greatest` the greatest.
    """

    def __init__(self, name: str, *, greatest: bool = False):
        self.name, self.greatest = name, greatest
        self.epoch, self.value = -1, float("-inf") if greatest else float("inf")
        self.weights: dict[str, Tensor] = {}

    def offer(self, epoch: int, measures: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
        """Take the weights of `epoch` if they are better than those before."""
        if self.name not in measures:
            # As of means over an epoch, before the first.
            return
        value = float(measures[self.name])
        if value > self.value if self.greatest else value < self.value:
            self.epoch, self.value = epoch, value
            self.weights = {name: tensor.detach().to("cpu", copy=True) for name, tensor in state.items()}

    def state(self) -> dict[str, Any]:
        """Return everything that a checkpoint needs."""
        return {"epoch": self.epoch, "value": self.value, "weights": self.weights}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self.epoch, self.value, self.weights = state["epoch"], state["value"], dict(state["weights"])


def named(states: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Return all arrays of states by epoch, by the names that they have in files: weights_<epoch>_<name>."""
    return {f"weights_{epoch}_{name}": array for epoch, state in states.items() for name, array in state.items()}


class Keeper:
    """States of networks by epoch, in the file at `path`, which is made when the first one comes."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.states: dict[int, dict[str, Kept]] = {}
        self._file = _CLOSED
        self._length, self._hash = 0, hashlib.blake2b(digest_size=32)

    def keep(self, epoch: int, state: Mapping[str, Tensor]) -> None:
        """Append what a network is at `epoch`; raises StoreError if it cannot be written."""
        try:
            if self._file == _CLOSED:
                self._begin()
            self.states[epoch] = {name: self._append(epoch, name, tensor) for name, tensor in state.items()}
        except OSError as error:
            raise StoreError(files.writing_failed(self.path, error)) from error

    def _begin(self) -> None:
        # A new file: one of that name may be another process's, of this run, which Snakemake's end left behind.
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)

    def _append(self, epoch: int, name: str, tensor: Tensor) -> Kept:
        content = np.asarray(tensor.detach().cpu().numpy(), order="C")
        raw = _raw(content)
        description = {"epoch": epoch, "name": name, "dtype": content.dtype.str, "shape": list(content.shape)}
        description["digest"] = hashlib.blake2b(raw, digest_size=16).hexdigest()
        line = json.dumps(description).encode()
        for part in (len(line).to_bytes(_LENGTH, "little"), line, raw):
            self._write(memoryview(part))
        return Kept(self, description, self._length - len(raw))

    def _write(self, content: memoryview) -> None:
        """Write behind what is there, at a place of its own: another process at this run would write the same."""
        done = 0
        while done < len(content):
            done += os.pwrite(self._file, content[done:], self._length + done)
        self._length += len(content)
        self._hash.update(content)

    def read(self, place: int, out: memoryview, digest: str) -> None:
        """Fill `out` from `place` on; raises StoreError if that is not what was written, or cannot be read now."""
        done = 0
        try:
            while done < len(out) and (count := os.preadv(self._file, [out[done:]], place + done)):
                done += count
        except OSError as error:
            raise StoreError(files.reading_failed(self.path, error)) from error
        if hashlib.blake2b(out, digest_size=16).hexdigest() != digest:
            raise StoreError(
                f"{self.path}: not what was written to it, as its digest tells; see to the disk, and end other "
                "processes of this run; then run the same command again"
            )

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint needs to name; by then all is on the disk."""
        if self._file != _CLOSED:
            try:
                os.fsync(self._file)
            except OSError as error:
                raise StoreError(files.writing_failed(self.path, error)) from error
        return {"length": self._length, "digest": self._hash.hexdigest()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue behind what a checkpoint named.

        Raises Damaged if that is not there as it was written, StoreError if it cannot be read now.
        """
        if state["length"] == 0:
            return
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
            self._check(state["length"], state["digest"])
            self._index(state["length"])
        except Damaged:
            self._forget()
            raise
        except FileNotFoundError as error:
            raise Damaged(f"{self.path.name}, which belongs to it, is missing") from error
        except OSError as error:
            raise StoreError(files.reading_failed(self.path, error)) from error

    def _check(self, length: int, digest: str) -> None:
        """Compare the first `length` bytes with a digest of them all, and leave `_hash` as it was after them."""
        is_whole = os.fstat(self._file).st_size >= length
        if is_whole:
            self._hash = files.hashed(self._file, 0, length)
        if not is_whole or self._hash.hexdigest() != digest:
            raise Damaged(f"{self.path.name}, which belongs to it, is not what was written")
        self._length = length

    def _index(self, length: int) -> None:
        """Find the arrays in the first `length` bytes, which are known to be right."""
        place = 0
        while place < length:
            size = int.from_bytes(os.pread(self._file, _LENGTH, place), "little")
            description = json.loads(os.pread(self._file, size, place + _LENGTH))
            array = Kept(self, description, place + _LENGTH + size)
            self.states.setdefault(description["epoch"], {})[description["name"]] = array
            place += _LENGTH + size + array.nbytes

    def _forget(self) -> None:
        """Be as new."""
        os.close(self._file)
        self._file, self._length, self._hash = _CLOSED, 0, hashlib.blake2b(digest_size=32)

    def __del__(self) -> None:
        if self._file != _CLOSED:
            os.close(self._file)
