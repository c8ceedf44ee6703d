"""Files that appear whole or not at all, and what the system's errors mean.

A file is written beside its final name, flushed to disk and renamed. When a file cannot be read or written now, that is
the machine's state (a permission, a lock, memory, space) and no damage: each such error is said in words of its own,
and nothing is lost for it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import hashlib
import io
import os
import time
from collections.abc import Iterator
from pathlib import Path

from tacit.errors import UserError

LOCKING_VARIABLE = "HDF5_USE_FILE_LOCKING"
"""Environment variable of the HDF5 library; FALSE reads files that another program has open for writing."""

_BUFFER = 1 << 20
"""Bytes that are read at a time."""

_ABANDONED_SECONDS = 24 * 3600.0
"""After which a half-written file of another host is taken to be left over."""


class StoreError(UserError):
    """A file could not be read or written; the message names it and says what to do."""


# Writing.


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a name to write to, and move it to `path` once the block ends well.

    The folder is made if need be. If the block fails, nothing is left and what `path` held before stays; what killed
    processes left of earlier attempts goes too. Raises StoreError if the disk is full or the folder may not be written
    to.
    """
    path = Path(path)
    # A name of its own for each process: one that a cluster was told to end may still be writing.
    part = path.with_name(f".{path.name}.{os.uname().nodename}-{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        flush(part)
        part.replace(path)
        flush(path.parent)
    except BaseException as error:
        # A folder that may not be written to does not even let go of what is not there.
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise StoreError(writing_failed(path, error)) from error
        raise
    # The file is safe by now, so what is left beside it fails nothing.
    with contextlib.suppress(OSError):
        _discard_parts(path)


class Sink(io.RawIOBase):
    """A new file at `path` that libraries write to which would crash rather than complain when a disk is full.

    It never fails them. After the first error what they write is kept in memory, so that they find what they wrote;
    whoever uses a sink calls `check` often, which raises that error (OSError), and before the file gets its name.
    """

    def __init__(self, path: str | Path):
        super().__init__()
        self.path = Path(path)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        self._place = self._end = 0
        self._unwritten: list[tuple[int, bytes]] = []
        self.error: OSError | None = None

    def check(self) -> None:
        """Raise the first error that writing met."""
        if self.error is not None:
            raise self.error

    def readable(self) -> bool:
        """Return that it is."""
        return True

    def writable(self) -> bool:
        """Return that it is."""
        return True

    def seekable(self) -> bool:
        """Return that it is."""
        return True

    def write(self, content) -> int:
        """Write at the present place; what finds no place on the disk is kept in memory."""
        view = memoryview(content).cast("B")
        begin, written = self._place, 0
        try:
            self.check()
            while written < len(view):
                written += os.pwrite(self._descriptor, view[written:], begin + written)
        except OSError as error:
            self.error = self.error or error
            self._unwritten.append((begin + written, bytes(view[written:])))
        self._place = begin + len(view)
        self._end = max(self._end, self._place)
        return len(view)

    def readinto(self, buffer) -> int:
        """Fill `buffer` from the present place on, with zeros behind the end; return how much was there."""
        view = memoryview(buffer).cast("B")
        begin, count = self._place, max(0, min(len(view), self._end - self._place))
        done = 0
        while done < count and (content := os.pread(self._descriptor, count - done, begin + done)):
            view[done : done + len(content)] = content
            done += len(content)
        view[done:] = bytes(len(view) - done)
        for place, content in self._unwritten:
            first, last = max(place, begin), min(place + len(content), begin + count)
            if first < last:
                view[first - begin : last - begin] = content[first - place : last - place]
        self._place += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, as files do."""
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._end}[whence]
        return self._place

    def tell(self) -> int:
        """Return the present place."""
        return self._place

    def truncate(self, size: int | None = None) -> int:
        """Cut off, or lengthen with zeros."""
        size = self._place if size is None else size
        try:
            self.check()
            os.ftruncate(self._descriptor, size)
        except OSError as error:
            self.error = self.error or error
        self._end = size
        return size

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            super().close()
            try:
                os.close(self._descriptor)
            except OSError as error:
                self.error = self.error or error


def write_bytes(path: str | Path, content: bytes | memoryview) -> None:
    """Write `content` to a file at `path`, atomically; for what a library would break off oddly on a full disk."""
    with replacing(path) as part:
        part.write_bytes(content)


def discard(path: str | Path) -> None:
    """Delete the file at `path`, if there is one, and what processes that were killed while writing it left behind."""
    path = Path(path)
    path.unlink(missing_ok=True)
    _discard_parts(path)


def _discard_parts(path: Path) -> None:
    """Delete what killed processes left of earlier attempts at `path`; what another one is writing stays."""
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        node, _, process = part.name.removeprefix(f".{path.name}.").removesuffix(".part").rpartition("-")
        own = node == os.uname().nodename and process.isdigit()
        with contextlib.suppress(FileNotFoundError):
            if not _is_alive(int(process)) if own else time.time() - part.stat().st_mtime > _ABANDONED_SECONDS:
                part.unlink()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process != os.getpid()


def flush(path: Path) -> None:
    """Have the file or folder at `path` on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# Reading.


class Source(io.RawIOBase):
    """An open file, of which libraries read that would not tell an error of the disk from damage.

    It never fails them, but gives zeros in place of what could not be read; `error` is the first reason.
    """

    def __init__(self, descriptor: int, first: int = 0):
        super().__init__()
        self._descriptor, self._first, self._place = descriptor, first, 0
        self.error: OSError | None = None
        self.size = os.fstat(descriptor).st_size - first

    def readable(self) -> bool:
        """Return that it is."""
        return True

    def seekable(self) -> bool:
        """Return that it is."""
        return True

    def readinto(self, buffer) -> int:
        """Fill `buffer` from the present place on, with zeros behind the end; return how much was there."""
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self.size - self._place))
        done = 0
        try:
            while done < count:
                done += _pread_into(self._descriptor, view[done:count], self._first + self._place + done)
        except OSError as error:
            self.error = self.error or error
        view[done:] = bytes(len(view) - done)
        self._place += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, as files do."""
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.size}[whence]
        return self._place

    def tell(self) -> int:
        """Return the present place."""
        return self._place


def _pread_into(descriptor: int, view: memoryview, place: int) -> int:
    count = os.preadv(descriptor, [view], place)
    if count == 0:
        raise OSError(errno.EIO, "the file became shorter while it was read")
    return count


@contextlib.contextmanager
def opened(path: str | Path) -> Iterator[int]:
    """Give a descriptor of the file at `path`, to read from.

    Raises StoreError, in words of its own for each reason, if it is missing or cannot be read now, also within the
    block. No file system is asked for more than it can: where files cannot be locked none need be, as all are replaced
    and never changed. One that another program has open for writing is left alone, unless LOCKING_VARIABLE is FALSE.
    """
    path = Path(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if os.environ.get(LOCKING_VARIABLE, "").upper() not in ("FALSE", "0"):
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise
                except OSError:
                    # A file system without locks.
                    pass
            yield descriptor
        finally:
            os.close(descriptor)
    except (OSError, MemoryError) as error:
        raise StoreError(reading_failed(path, error)) from error


def hashed(descriptor: int, first: int, last: int) -> hashlib.blake2b:
    """Return a hash (32 bytes) of the bytes of an open file from `first` to before `last`; raises OSError."""
    found, buffer = hashlib.blake2b(digest_size=32), memoryview(bytearray(_BUFFER))
    while first < last:
        count = _pread_into(descriptor, buffer[: min(_BUFFER, last - first)], first)
        found.update(buffer[:count])
        first += count
    return found


# Errors.

_MEMORY = "give the job more (mem_mb of its rule), or end other programs"
_PERMISSION = "permission denied: this user may not do that here; change owner or mode (chmod), or run as the owner"
_STATES = {
    errno.EACCES: _PERMISSION,
    errno.EPERM: _PERMISSION,
    errno.EROFS: "Read-only file system; mount it for writing, or put the project elsewhere",
    errno.ENOMEM: f"not enough memory; {_MEMORY}",
    errno.EMFILE: "this process has too many files open; raise the limit (ulimit -n)",
    errno.ENFILE: "this machine has too many files open; end other programs, or have the limit raised (fs.file-max)",
    errno.EAGAIN: (
        "another program has it open for writing; close it there, "
        f"or set {LOCKING_VARIABLE}=FALSE if you know that it does not write"
    ),
    errno.EIO: "the disk or its connection failed (input/output error); see to the machine (dmesg), then try again",
    errno.ENAMETOOLONG: "the name is longer than this file system takes; use a shorter path for the project",
    errno.EISDIR: "it is a folder; move it away",
    errno.ENOTDIR: "part of its path is a file, not a folder; move that away",
    errno.ESTALE: "the server of this file system was changed meanwhile (stale file handle); try again",
    errno.ETIMEDOUT: "the server of this file system does not answer; try again",
    errno.EFBIG: "it is larger than files may be here (ulimit -f)",
}


def state(error: BaseException) -> str | None:
    """Say what an error tells of the machine, and what to do; None if it is no error of the machine."""
    if isinstance(error, MemoryError):
        return _STATES[errno.ENOMEM]
    number = getattr(error, "errno", None) if isinstance(error, OSError) else None
    return _STATES.get(number) if number is not None else None


def reading_failed(path: Path, error: BaseException) -> str:
    """Return the message on a file that cannot be read now."""
    if isinstance(error, FileNotFoundError):
        return f"{path}: no such file; ask Snakemake for it by that name"
    return f"{path}: could not be read now: {state(error) or error}. What it holds is as it was"


def writing_failed(path: Path, error: OSError) -> str:
    """Return the message on a file that cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{path}: no space left on the disk; free some and run the same command again"
    reason = state(error) or f"{error}; check that the folder exists and may be written to"
    return f"{path}: could not be written: {reason}"
