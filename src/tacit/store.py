"""The only place that writes and reads results: HDF5 files and tables that describe themselves, checked before use.

A file appears under its final name complete or not at all (`tacit.files`). It holds no times, host names or absolute
paths, so writing the same content again gives the same bytes.

Layout of an HDF5 file: first a user block of 512 bytes, which HDF5 itself leaves alone, with the digest of all that
follows; then datasets by name, with checksums of their own; root attributes `format` ("tacit"), `format_version`,
`kind` (such as "pathfinder run"), `settings` (JSON of what the content depends on), and any others the writer adds.
The digest is compared before the HDF5 library sees the file, and what is read is compared with what the kind of file
declares, so that a flipped bit, a file put there by hand or a link to elsewhere is named and never followed.

A table is a plain CSV file; its digest and what it was made of lie beside it in a hidden file (JSON).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd

from tacit import files, provenance
from tacit.files import StoreError, discard, replacing, write_bytes

__all__ = [
    "Array",
    "Contents",
    "Kind",
    "Record",
    "StoreError",
    "Table",
    "contents",
    "discard",
    "read",
    "read_table",
    "replacing",
    "write",
    "write_bytes",
    "write_table",
]

FORMAT = "tacit"
FORMAT_VERSION = 2

_COMPRESSED_FROM = 4096
_CHUNK_BYTES = 1 << 20
_USERBLOCK = 512
_MAGIC = b"Tacit file, BLAKE2b-256 of what follows byte 512: "
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
_LARGEST_ATTRIBUTE = 1 << 20
_LARGEST_RATIO = 400
"""Size of an array over what it takes in the file; more is no data of ours, but a trap, above _NO_TRAP bytes."""
_NO_TRAP = 1 << 26

_AGAIN = "delete it, and Snakemake makes it again (asked for by this path, if nothing that is to do needs it)"


class Array(NamedTuple):
    """What an array of a file must be."""

    dtype: str
    """Names of NumPy types, separated by blanks, or `float`, `int` for those of any size."""
    shape: str = ""
    """Lengths of its axes, separated by blanks: numbers; names, equal in all arrays of the file; `*` for any length;
    `...` for any number of axes."""
    finite: bool = True
    optional: bool = False


class Kind(NamedTuple):
    """A kind of file: its name, and all that one may hold."""

    name: str
    arrays: Mapping[str, Array]
    """Arrays by name, or by pattern (`*` stands for any letters) of which there may be any number, also none."""
    attributes: Sequence[str] = ()
    """Those besides `settings` that must be there, as finite numbers."""

    def of(self, name: str) -> Array | None:
        """Return what is declared of the array called `name`; None if nothing is."""
        if name in self.arrays:
            return self.arrays[name]
        return next((array for pattern, array in self.arrays.items() if fnmatchcase(name, pattern)), None)

    def declared(self, name: str) -> Array:
        """Return what is declared of the array called `name`; raises KeyError if nothing is."""
        found = self.of(name)
        if found is None:
            raise KeyError(name)
        return found


class Record(NamedTuple):
    """The content of a file: arrays by name, the settings it depends on, and its other attributes."""

    arrays: dict[str, np.ndarray]
    settings: dict[str, Any]
    attributes: dict[str, Any]
    digest: str = ""
    """Digest of the whole file, hexadecimal; equal content has the same."""


class Contents(NamedTuple):
    """What a file of whatever kind says of itself, without the values of its arrays."""

    kind: str
    arrays: dict[str, tuple[np.dtype, tuple[int, ...]]]
    """Type and shape of each array by its name."""
    settings: dict[str, Any]
    attributes: dict[str, Any]
    """All others than format, kind and settings."""
    digest: str
    """Of the whole file."""


class _UndeclaredError(Exception):
    """What is in a file, or about to be, is not what its kind declares."""


# Writing.


def write(
    path: str | Path,
    arrays: Mapping[str, Any],
    *,
    kind: Kind,
    settings: Mapping[str, Any],
    attributes: Mapping[str, str | int | float] | None = None,
) -> None:
    """Write `arrays` to an HDF5 file at `path`, atomically, one after the other and without copies of them.

    Values of `arrays` may be anything that NumPy makes an array of, so that what is kept on disk is read when it is
    its turn. `settings` must be plain (numbers, text, lists, dicts). Arrays of 4 kB and more are compressed, in chunks
    of about 1 MB along the first axis. Raises StoreError as `replacing` does, and if something is not what `kind`
    declares.
    """
    path = Path(path)
    root: dict[str, Any] = {"format": FORMAT, "format_version": FORMAT_VERSION, "kind": kind.name}
    root |= {"settings": json.dumps(settings), **(attributes or {}), **provenance.attributes()}
    with replacing(path) as part:
        sink = files.Sink(part)
        try:
            _write_content(path, sink, arrays, kind, root)
        except (Exception, MemoryError):
            # The library's complaint is but a consequence.
            sink.check()
            raise
        finally:
            sink.close()
        sink.check()
        with part.open("r+b", buffering=0) as file:
            size = file.seek(0, 2)
            file.seek(0)
            found = files.hashed(file.fileno(), _USERBLOCK, size).hexdigest().encode()
            file.write((_MAGIC + found + b"\n").ljust(_USERBLOCK, b"\0"))


def _write_content(
    path: Path, sink: files.Sink, arrays: Mapping[str, Any], kind: Kind, root: Mapping[str, Any]
) -> None:
    lengths: dict[str, int] = {}
    try:
        _check_names(arrays, kind, None)
        _check_attributes(root, kind)
        # In the earliest format, which every version of the library reads.
        with h5py.File(sink, "w", libver="earliest", userblock_size=_USERBLOCK) as file:
            file.attrs.update(root)
            for name, value in arrays.items():
                array = np.asarray(value)
                _check_array(name, array.dtype, array.shape, kind, lengths)
                _check_finite(name, array, kind)
                file.create_dataset(name, data=array, **_layout(array))
                del array
                sink.check()
            file.flush()
    except _UndeclaredError as error:
        raise StoreError(f"{path}: not written, as it would be no {kind.name}: {error}") from None


def _layout(array: np.ndarray) -> dict[str, Any]:
    """Return how an array lies in the file; what has no elements or no axes can have no checksum of its own."""
    if array.ndim == 0 or array.size == 0:
        return {}
    if array.nbytes < _COMPRESSED_FROM:
        return {"chunks": array.shape, "fletcher32": True}
    rows = min(len(array), max(1, _CHUNK_BYTES * len(array) // array.nbytes))
    options = {"chunks": (rows, *array.shape[1:]), "compression": "gzip", "compression_opts": 1, "fletcher32": True}
    return options | {"shuffle": array.itemsize > 1}


# Reading.


def read(path: str | Path, *, kind: Kind, names: Iterable[str] | None = None) -> Record:
    """Read a file that `write` made; only the arrays in `names`, if given.

    Raises StoreError if it is missing, damaged, of another program, of another `kind` or another format, if it is not
    what `kind` declares, or if it cannot be read now.
    """
    path, chosen = Path(path), None if names is None else list(names)
    with files.opened(path) as descriptor:
        found = _check_digest(path, descriptor)
        source = files.Source(descriptor)
        try:
            with h5py.File(source, "r") as file:
                attributes = _read_attributes(file)
                _check_origin(path, attributes, kind)
                arrays = _read_arrays(file, kind, chosen)
                settings = json.loads(attributes.pop("settings"))
                _check_attributes(attributes, kind)
        except (StoreError, MemoryError):
            raise
        except _UndeclaredError as error:
            message = f"{path}: no {kind.name} as this Tacit writes them: {error}; {_AGAIN}"
            raise StoreError(message) from None
        except Exception as error:
            if source.error is not None:
                raise source.error from error
            raise StoreError(_damaged(path, str(error) or type(error).__name__)) from error
        if source.error is not None:
            raise source.error
    for name in ("format", "format_version", "kind"):
        del attributes[name]
    return Record(arrays, settings, attributes, found)


def describe(path: str | Path) -> provenance.Description:
    """Return what a file or table of Tacit says of itself.

    Raises StoreError if it is missing, damaged, of another program or format, or if it cannot be read now. Of a table
    the content is compared when it is read.
    """
    path = Path(path)
    if path.suffix == ".csv":
        return _describe_table(path)
    with files.opened(path) as descriptor:
        # The library may crash on a damaged file, or not come back, and one flipped bit may make another seed.
        digest = _check_digest(path, descriptor)
        source = files.Source(descriptor)
        try:
            with h5py.File(source, "r") as file:
                attributes = _read_attributes(file)
                _check_format(path, attributes)
                made_by = tuple(map(tuple, json.loads(attributes.get("made_by", "[]"))))
                settings = json.loads(attributes["settings"])
                return provenance.Description(settings, made_by, digest, ((made_by, 1),))
        except (StoreError, MemoryError):
            raise
        except Exception as error:
            if source.error is not None:
                raise source.error from error
            raise StoreError(_damaged(path, str(error) or type(error).__name__)) from error


def contents(path: str | Path) -> Contents:
    """Return what an HDF5 file says of itself, of whatever kind it is; `read` gives its arrays.

    Raises StoreError as `describe` does.
    """
    path = Path(path)
    with files.opened(path) as descriptor:
        digest = _check_digest(path, descriptor)
        source = files.Source(descriptor)
        try:
            with h5py.File(source, "r") as file:
                attributes = _read_attributes(file)
                _check_format(path, attributes)
                there = {name: _layout_of(file, name) for name in file}
                settings = json.loads(attributes.pop("settings"))
        except (StoreError, MemoryError):
            raise
        except Exception as error:
            if source.error is not None:
                raise source.error from error
            raise StoreError(_damaged(path, str(error) or type(error).__name__)) from error
    kind = str(attributes.pop("kind", ""))
    for name in ("format", "format_version"):
        del attributes[name]
    return Contents(kind, there, settings, attributes, digest)


def _layout_of(file: h5py.File, name: str) -> tuple[np.dtype, tuple[int, ...]]:
    if not isinstance(file.get(name, getlink=True), h5py.HardLink) or file.get(name, getclass=True) is not h5py.Dataset:
        raise _UndeclaredError(f"{name} is no array")
    return file[name].dtype, file[name].shape or ()


def _check_digest(path: Path, descriptor: int) -> str:
    """Return the digest of an open file; raises StoreError if it is not that of the content."""
    source = files.Source(descriptor)
    head = source.read(_USERBLOCK)
    if source.error is not None:
        raise source.error
    if head[: len(_MAGIC)] != _MAGIC:
        # Before formats had digests, or of another program: told apart where the library can.
        if _is_hdf5(source):
            raise StoreError(_foreign(path))
        raise StoreError(_damaged(path, "it does not begin as one"))
    found = files.hashed(descriptor, _USERBLOCK, source.size).hexdigest()
    if head != (_MAGIC + found.encode() + b"\n").ljust(_USERBLOCK, b"\0"):
        declared = head[len(_MAGIC) :].partition(b"\n")[0].decode("ascii", "replace")
        raise StoreError(_damaged(path, f"its content has the digest {found[:12]}..., not {declared[:12]}..."))
    return found


def _is_hdf5(source: files.Source) -> bool:
    for place in (0, *(_USERBLOCK << k for k in range(8))):
        source.seek(place)
        if source.read(8) == b"\x89HDF\r\n\x1a\n":
            return True
    return False


def _foreign(path: Path) -> str:
    return (
        f"{path}: an HDF5 file, but not one of Tacit's, or of an older Tacit that wrote no checksums; "
        "if it was put there by hand, move it away, otherwise delete it, and Snakemake makes it again"
    )


def _damaged(path: Path, reason: str) -> str:
    return f"{path}: damaged, or not an HDF5 file of Tacit ({reason}); {_AGAIN}"


def _read_attributes(file: h5py.File) -> dict[str, Any]:
    found = {}
    for name in file.attrs:
        attribute = file.attrs.get_id(name)
        if attribute.get_storage_size() > _LARGEST_ATTRIBUTE or attribute.shape not in ((), (1,)):
            raise _UndeclaredError(f"its attribute {name} is no number and no text")
        value = file.attrs[name]
        value = value.item() if isinstance(value, np.generic) else value
        if not isinstance(value, str | int | float):
            raise _UndeclaredError(f"its attribute {name} is no number and no text")
        found[name] = value
    return found


def _check_format(path: Path, attributes: Mapping[str, Any]) -> None:
    if attributes.get("format") != FORMAT or not isinstance(attributes.get("settings"), str):
        raise StoreError(_foreign(path))
    version = attributes.get("format_version")
    if not isinstance(version, int) or version != FORMAT_VERSION:
        newer = isinstance(version, int) and version > FORMAT_VERSION
        advice = "of a newer Tacit, this one reads {0}; update Tacit" if newer else "while this Tacit reads {0}; {1}"
        raise StoreError(f"{path}: format {version} {advice.format(FORMAT_VERSION, _AGAIN)}")


def _check_origin(path: Path, attributes: Mapping[str, Any], kind: Kind) -> None:
    _check_format(path, attributes)
    if attributes.get("kind") != kind.name:
        raise StoreError(
            f"{path}: holds a {attributes.get('kind')}, not a {kind.name}; was it moved or renamed? Delete it"
        )


def _read_arrays(file: h5py.File, kind: Kind, chosen: list[str] | None) -> dict[str, np.ndarray]:
    there = list(file)
    _check_names(there, kind, chosen)
    lengths: dict[str, int] = {}
    return {name: _read_array(file, name, kind, lengths) for name in (there if chosen is None else chosen)}


def _read_array(file: h5py.File, name: str, kind: Kind, lengths: dict[str, int]) -> np.ndarray:
    """Return one array; nothing is followed out of the file, and nothing made room for, before it was looked at."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise _UndeclaredError(f"{name} is a link to elsewhere")
    if file.get(name, getclass=True) is not h5py.Dataset:
        raise _UndeclaredError(f"{name} is no array")
    dataset = file[name]
    plist = dataset.id.get_create_plist()
    if dataset.is_virtual or plist.get_external_count():
        raise _UndeclaredError(f"{name} lies in another file")
    if {plist.get_filter(number)[0] for number in range(plist.get_nfilters())} - _FILTERS:
        raise _UndeclaredError(f"{name} is packed in a way that Tacit does not use")
    if dataset.shape is None:
        raise _UndeclaredError(f"{name} has no shape")
    _check_array(name, dataset.dtype, dataset.shape, kind, lengths)
    size = math.prod(dataset.shape) * dataset.dtype.itemsize
    if size > max(_NO_TRAP, _LARGEST_RATIO * dataset.id.get_storage_size()):
        raise _UndeclaredError(f"{name} says that it has {size:,} bytes, which the file has no room for")
    array = dataset[()]
    array = array if isinstance(array, np.ndarray) else np.asarray(array)
    _check_finite(name, array, kind)
    return array


# What a kind declares.


def _check_names(names: Iterable[str], kind: Kind, chosen: Iterable[str] | None) -> None:
    there = set(names)
    if strange := sorted(name for name in there if kind.of(name) is None):
        raise _UndeclaredError(f"there is {strange[0]}, which none has")
    needed = {name for name, array in kind.arrays.items() if not (array.optional or "*" in name)}
    if missing := sorted((needed | set(chosen or ())) - there):
        raise _UndeclaredError(f"{missing[0]} is missing")


def _check_array(name: str, dtype: np.dtype, shape: tuple[int, ...], kind: Kind, lengths: dict[str, int]) -> None:
    """Compare type and shape with what is declared; `lengths` are those of named axes met so far."""
    declared = kind.declared(name)
    allowed = declared.dtype.split()
    general = {"f": "float", "i": "int", "u": "int"}.get(dtype.kind)
    if not (dtype.isnative and (dtype.name in allowed or general in allowed)):
        raise _UndeclaredError(f"{name} is {dtype.name}, not {' or '.join(allowed)}")
    axes = declared.shape.split()
    fits = len(axes) == len(shape)
    if "..." in axes:
        place = axes.index("...")
        fits = len(shape) >= len(axes) - 1
        axes[place : place + 1] = ["*"] * (len(shape) - len(axes) + 1)
    for axis, length in zip(axes, shape, strict=False):
        if axis != "*":
            fits = fits and length == (int(axis) if axis.isdigit() else lengths.setdefault(axis, length))
    if not fits:
        found, known = " x ".join(map(str, shape)), ", ".join(f"{axis} = {size}" for axis, size in lengths.items())
        wanted = f"({declared.shape})" + (f", where {known}" if known else "")
        raise _UndeclaredError(f"{name} has the shape ({found}), not {wanted}")


def _check_finite(name: str, array: np.ndarray, kind: Kind) -> None:
    if array.dtype.kind != "f" or not kind.declared(name).finite or array.size == 0:
        return
    # Extremes are NaN or infinite if anything is, and need no array of their own.
    if not (np.isfinite(array.min()) and np.isfinite(array.max())):
        raise _UndeclaredError(f"{name} is not finite everywhere")


def _check_attributes(attributes: Mapping[str, Any], kind: Kind) -> None:
    for name in kind.attributes:
        value = attributes.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise _UndeclaredError(f"its attribute {name} is {value!r}, not a number")


# Tables.


class Table(NamedTuple):
    """What a table must be."""

    keys: Sequence[str]
    """Columns that tell its rows apart; no two rows have the same values there, of which some may be empty."""
    numbers: Sequence[str] = ()
    """Further columns, of finite numbers."""
    others: Sequence[str] = ()
    """Further columns, of anything."""


def description_of_table(path: str | Path) -> Path:
    """Return where the description of the table at `path` lies: its digest, and what it was made of."""
    path = Path(path)
    return path.with_name(f".{path.name}.json")


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write `table` as CSV, atomically, with as many digits as its numbers have, and its description beside it."""
    path, origin = Path(path), provenance.origin()
    content = table.to_csv(index=False, lineterminator="\n").encode()
    description: dict[str, Any] = {"blake2b": _digest_of(content), "made_by": origin.made_by, "inputs": origin.inputs}
    description |= {"runs": origin.runs, "asked": origin.asked, "collected": origin.paths}
    description["this"] = _digest_of(json.dumps(description).encode())
    # First, as a table without a description could not be told from one that lost it.
    write_bytes(description_of_table(path), f"{json.dumps(description, indent=1)}\n".encode())
    write_bytes(path, content)


def read_table(path: str | Path, *, expected: Table) -> pd.DataFrame:
    """Read a table that `write_table` made.

    Raises StoreError if it is missing, not as it was written, not what is `expected`, or if it cannot be read now.
    """
    path = Path(path)
    if _digest_of(_read_bytes(path)) != _describe_table(path).digest:
        raise StoreError(f"{path}: it was damaged or edited since it was written; {_AGAIN}")
    try:
        table = pd.read_csv(path)
    except MemoryError as error:
        raise StoreError(files.reading_failed(path, error)) from error
    except (ValueError, UnicodeDecodeError) as error:
        raise StoreError(f"{path}: not a table ({error}); {_AGAIN}") from error
    if complaint := _complaint(table, expected):
        raise StoreError(f"{path}: {complaint}; {_AGAIN}")
    return table


def _digest_of(content: bytes) -> str:
    return hashlib.blake2b(content).hexdigest()


def _describe_table(path: Path) -> provenance.Description:
    beside = description_of_table(path)
    try:
        content = _read_bytes(beside)
    except StoreError as error:
        if beside.exists() or not path.exists():
            raise
        reason = f"its description, {beside.name}, is not beside it, so nobody knows whether it is whole"
        raise StoreError(f"{path}: {reason}; {_AGAIN}") from error
    try:
        found = json.loads(content)
        if found.pop("this") != _digest_of(json.dumps(found).encode()):
            raise ValueError("it was damaged or edited since it was written")
        made_by = tuple(map(tuple, found["made_by"]))
        runs = tuple((tuple(map(tuple, made)), int(count)) for made, count in found["runs"])
        asked, collected = provenance.asked_pairs(found["asked"]), tuple(map(str, found["collected"]))
        return provenance.Description({}, made_by, str(found["blake2b"]), runs, asked, collected)
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(_damaged(path, f"its description, {beside.name}, cannot be read: {error}")) from error


def _read_bytes(path: Path) -> bytes:
    with files.opened(path) as descriptor:
        source = files.Source(descriptor)
        content = source.readall()
        if source.error is not None:
            raise source.error
    return content


def _complaint(table: pd.DataFrame, expected: Table) -> str | None:
    """Say what a table lacks; None if it lacks nothing."""
    wanted = [*expected.keys, *expected.numbers, *expected.others]
    if missing := [name for name in wanted if name not in table]:
        return f"it has no column {missing[0]}"
    doubled = table[table.duplicated(list(expected.keys), keep=False)] if expected.keys else table[:0]
    if len(doubled):
        row = ", ".join(f"{name} {value}" for name, value in doubled.iloc[0][list(expected.keys)].items())
        return f"{len(doubled)} rows are of the same run ({row})"
    for name in expected.numbers:
        # Columns of no rows are of no kind.
        if len(table) and (table[name].dtype.kind not in "iufb" or not np.isfinite(table[name].to_numpy(float)).all()):
            return f"its column {name} holds what is no finite number"
    return None
