"""The only place that writes results: HDF5 files that describe themselves, and atomic replacement of any file.

A file appears under its final name complete or not at all: it is written beside it, flushed to disk and renamed. It
holds no times, host names or absolute paths, so writing the same content again gives the same bytes.

Layout of an HDF5 file: datasets by name; root attributes `format` ("tacit"), `format_version`, `kind` (such as
"pathfinder run"), `settings` (JSON of what the content depends on), and any others the writer adds.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd

from tacit.errors import UserError

FORMAT = "tacit"
FORMAT_VERSION = 1

_COMPRESSED_FROM = 4096
_CHUNK_BYTES = 1 << 20
_ABANDONED_SECONDS = 24 * 3600.0
"""After which a half-written file of another host is taken to be left over."""


class StoreError(UserError):
    """A file could not be read or written; the message names it and says what to do."""


class Record(NamedTuple):
    """The content of a file: arrays by name, the settings it depends on, and its other attributes."""

    arrays: dict[str, np.ndarray]
    settings: dict[str, Any]
    attributes: dict[str, Any]


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
        _flush(part)
        part.replace(path)
        _flush(path.parent)
        _discard_parts(path)
    except BaseException as error:
        # A folder that may not be written to does not even let go of what is not there.
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise StoreError(_writing_failed(path, error)) from error
        raise


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


def write_bytes(path: str | Path, content: bytes | memoryview) -> None:
    """Write `content` to a file at `path`, atomically; for what a library would break off oddly on a full disk."""
    with replacing(path) as part:
        part.write_bytes(content)


def write(
    path: str | Path,
    arrays: Mapping[str, np.ndarray],
    *,
    kind: str,
    settings: Mapping[str, Any],
    attributes: Mapping[str, str | int | float] | None = None,
) -> None:
    """Write `arrays` to an HDF5 file at `path`, atomically.

    `settings` must be plain (numbers, text, lists, dicts). Arrays of 4 kB and more are compressed, in chunks of
    about 1 MB along the first axis. Raises StoreError as `replacing` does.
    """
    root = {"format": FORMAT, "format_version": FORMAT_VERSION, "kind": kind, "settings": json.dumps(settings)}
    root |= attributes or {}
    # Built in memory, because the HDF5 library crashes rather than complains when a disk is full.
    # In the earliest format, because images of later ones have a wrong checksum in some versions of the library.
    with h5py.File("in memory", "w", driver="core", backing_store=False, libver="earliest") as file:
        file.attrs.update(root)
        for name, array in arrays.items():
            array = np.asarray(array)
            options = {}
            if array.nbytes >= _COMPRESSED_FROM:
                rows = max(1, _CHUNK_BYTES * len(array) // array.nbytes)
                shape = (min(rows, len(array)), *array.shape[1:])
                options = {"chunks": shape, "compression": "gzip", "compression_opts": 1}
                options["shuffle"] = array.itemsize > 1
            file.create_dataset(name, data=array, **options)
        file.flush()
        image = file.id.get_file_image()
    write_bytes(path, image)


def read(path: str | Path, *, kind: str, names: list[str] | None = None) -> Record:
    """Read a file that `write` made; only the arrays in `names`, if given.

    Raises StoreError if it is missing, truncated, of another program, of another `kind` or of a newer format.
    """
    path = Path(path)
    try:
        with h5py.File(path, "r") as file:
            attributes = {name: _plain(value) for name, value in file.attrs.items()}
            _check_origin(path, attributes, kind)
            arrays = {name: file[name][()] for name in (file if names is None else names)}
    except FileNotFoundError as error:
        raise StoreError(f"{path}: no such file; ask Snakemake for it by that name") from error
    except (OSError, KeyError) as error:
        advice = "delete it, and Snakemake makes it again"
        raise StoreError(f"{path}: damaged, or not an HDF5 file of Tacit ({error}); {advice}") from error
    for name in ("format", "format_version", "kind"):
        del attributes[name]
    return Record(arrays, json.loads(attributes.pop("settings")), attributes)


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write `table` as CSV, atomically, with as many digits as its numbers have."""
    with replacing(path) as part:
        table.to_csv(part, index=False, lineterminator="\n")


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a table that `write_table` made. Raises StoreError if it is missing or no table."""
    try:
        return pd.read_csv(path)
    except FileNotFoundError as error:
        raise StoreError(f"{path}: no such file; ask Snakemake for it by that name") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise StoreError(f"{path}: not a table ({error}); delete it, and Snakemake makes it again") from error


def _check_origin(path: Path, attributes: Mapping[str, Any], kind: str) -> None:
    if attributes.get("format") != FORMAT or "settings" not in attributes:
        raise StoreError(f"{path}: an HDF5 file, but not one of Tacit's; was it put there by hand? Move it away")
    if attributes["format_version"] > FORMAT_VERSION:
        version = attributes["format_version"]
        raise StoreError(f"{path}: format {version} of a newer Tacit, this one reads {FORMAT_VERSION}; update Tacit")
    if attributes["kind"] != kind:
        raise StoreError(f"{path}: holds a {attributes['kind']}, not a {kind}; was it moved or renamed? Delete it")


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _writing_failed(path: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{path}: no space left on the disk; free some and run the same command again"
    return f"{path}: could not be written ({error}); check that the folder exists and may be written to"
