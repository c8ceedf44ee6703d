"""Checkpoints of a training under way, so that a killed job resumes where it was.

A checkpoint is no result: it lies outside the outputs that Snakemake knows (which are deleted before a rerun), is
replaced atomically, carries the settings it belongs to, and is deleted once the run file is written. Layout: one line
with what it is, its length and its digest; the settings it belongs to, as JSON; what torch wrote.

The digest is compared before anything else is looked at. What is proven bad, or belongs to other settings, is set aside
under another name, the log says why, and the training starts from the beginning. What only cannot be read now (for a
permission, memory, a failing disk) fails the job and stays. Checkpoints are read without unpickling arbitrary objects.

On request the state at the end of a training is not deleted but stays as its end, from which a longer one goes on.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import shutil
import signal
import threading
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import IO, Any, cast

import torch

from tacit import files, processors, provenance
from tacit.files import StoreError
from tacit.runlog import log

EPOCHS_VARIABLE = "TACIT_CHECKPOINT_EPOCHS"
"""Environment variable with the number of epochs between checkpoints."""

SECONDS_VARIABLE = "TACIT_CHECKPOINT_SECONDS"
"""Environment variable with the least number of seconds between checkpoints, where epochs are no measure."""

ENDS_VARIABLE = "TACIT_EXTENDABLE"
"""Environment variable that says whether trainings keep their end."""

MOST_DAMAGED, MOST_SUPERSEDED = 3, 3
"""Checkpoints of one run that are kept aside: damaged ones, and those of other settings."""

_MAGIC = b"Tacit checkpoint 2"
_COMPUTED_ON = "computed on"
"""Beside the state: what the run computed on until then, for its file."""

_HEAD = len(_MAGIC) + 2 * (1 + 20) + 1 + 64 + 1
"""Bytes of the first line: magic, lengths of settings and of content, digest of both."""


class Interrupted(SystemExit):
    """The work was asked to end and has saved a checkpoint."""


class Damaged(Exception):
    """A checkpoint, or what belongs to it, is proven not to be what was written."""


def epochs_between() -> int:
    """Return after how many epochs a training is to be saved; the workflow sets it from config.yaml."""
    return int(os.environ.get(EPOCHS_VARIABLE, "1"))


def seconds_between() -> float:
    """Return after how many seconds a training is to be saved whose epochs are very short or very long."""
    return float(os.environ.get(SECONDS_VARIABLE, "30"))


def kept_of(path: str | Path) -> Path:
    """Return where a training whose checkpoint is at `path` keeps what would make each checkpoint longer."""
    return Path(f"{path}.kept")


def end_of(path: str | Path) -> Path:
    """Return where a training whose checkpoint is at `path` keeps its end."""
    return Path(f"{path}.end")


def ends_are_kept() -> bool:
    """Tell whether trainings keep their end; the workflow says it from config.yaml."""
    return os.environ.get(ENDS_VARIABLE) == "True"


def save(path: str | Path, state: Mapping[str, Any], *, settings: Mapping[str, Any]) -> None:
    """Write `state` (tensors, numbers, text, lists and dicts of them), atomically and without a copy of it.

    `settings` are whatever the state depends on. Raises StoreError if it cannot be written.
    """
    identity = _canonical(settings).encode()
    with files.replacing(path) as part:
        sink = files.Sink(part)
        try:
            content = _Hashing(sink, identity)
            torch.save({**state, _COMPUTED_ON: processors.noted()}, cast(IO[bytes], content))
            sink.check()
            sink.seek(0)
            sink.write(_head(len(identity), content.length, content.hash.hexdigest()))
        finally:
            sink.close()
        sink.check()


class _Hashing:
    """What torch writes to: a sink behind the first line and the settings, and a digest of all that passes."""

    def __init__(self, sink: files.Sink, identity: bytes):
        self.sink, self.hash, self.length = sink, hashlib.blake2b(identity, digest_size=32), 0
        sink.write(_head(0, 0, "0" * 64))
        sink.write(identity)

    def write(self, content) -> int:
        # After a failure nothing is worth keeping, and torch must not be told.
        if self.sink.error is None:
            self.hash.update(content)
            self.sink.write(content)
        size = memoryview(content).nbytes
        self.length += size
        return size

    def flush(self) -> None:
        """Do nothing, as nothing is held back."""


def _head(identity: int, content: int, digest: str) -> bytes:
    return b"%s %020d %020d %s\n" % (_MAGIC, identity, content, digest.encode())


def load(path: str | Path, *, settings: Mapping[str, Any], device: torch.device) -> dict[str, Any] | None:
    """Return the state saved at `path`, or None if there is none that belongs to `settings`.

    One that was set aside in favour of other settings is found again. Raises StoreError if there is one that cannot be
    read now.
    """
    path = Path(path)
    wanted = _canonical(settings)
    try:
        identity = _identity(path)
        if identity is not None and identity != wanted:
            _supersede(path, identity, wanted)
            identity = None
        if identity is None and _take_back(path, wanted):
            identity = _identity(path)
    except Damaged as error:
        set_aside(path, str(error))
        return None
    return None if identity is None else _content(path, device)


class NotContinued(Exception):
    """There is an end, but not one that a training can go on from; says why."""


def load_end(path: str | Path, *, settings: Mapping[str, Any], longer: Sequence[str], device: torch.device) -> Any:
    """Return the state at the end of a training that differs in its length alone, or None if no end is kept.

    `longer` are the settings, as dotted paths, that may differ; the first is the length of the training. What else the
    training keeps is copied beside the checkpoint. Raises NotContinued if the end is of another training, or StoreError
    if it cannot be read now; one that is proven bad is set aside.
    """
    end = end_of(path)
    try:
        identity = _identity(end)
    except Damaged as error:
        set_aside(end, str(error))
        return None
    if identity is None:
        return None
    found, wanted = json.loads(identity), json.loads(_canonical(settings))
    differing = _differing(found, wanted)
    if others := [name for name in differing if name not in longer]:
        raise NotContinued(f"it is of other settings ({', '.join(others)})")
    if not differing:
        raise NotContinued("it is that of the same training, which is asked for anew")
    before, after = (_at(place, longer[0]) for place in (found, wanted))
    if before >= after:
        raise NotContinued(f"{longer[0]} is {before} there, and {after} is asked for")
    state = _content(end, device)
    _copy(kept_of(end), kept_of(path))
    return state


def _at(settings: Mapping[str, Any], name: str) -> Any:
    return reduce(lambda block, part: block[part], name.split("."), settings)


def _copy(origin: Path, to: Path) -> None:
    try:
        to.unlink(missing_ok=True)
        if origin.exists():
            shutil.copyfile(origin, to)
    except OSError as error:
        raise StoreError(files.writing_failed(to, error)) from error


def _identity(path: Path) -> str | None:
    """Return the settings that the checkpoint at `path` belongs to, None if there is none; raises Damaged."""
    try:
        path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(files.reading_failed(path, error)) from error
    with files.opened(path) as descriptor:
        settings, content, digest, size = _lengths(descriptor)
        if size != _HEAD + settings + content:
            raise Damaged(f"it is {size:,} bytes long in place of {_HEAD + settings + content:,}")
        if files.hashed(descriptor, _HEAD, size).hexdigest() != digest:
            raise Damaged("its content is not what was written, as its digest tells")
        return os.pread(descriptor, settings, _HEAD).decode()


def _lengths(descriptor: int) -> tuple[int, int, str, int]:
    """Return the lengths of settings and content, the digest, and the size of the file; raises Damaged."""
    size = os.fstat(descriptor).st_size
    found = re.fullmatch(rb"%s (\d{20}) (\d{20}) ([0-9a-f]{64})\n" % _MAGIC, os.pread(descriptor, _HEAD, 0))
    if not found:
        raise Damaged("it is no checkpoint of this Tacit")
    return int(found[1]), int(found[2]), found[3].decode(), size


def _content(path: Path, device: torch.device) -> dict[str, Any]:
    """Return what torch wrote into a checkpoint whose digest is right."""
    with files.opened(path) as descriptor:
        source = files.Source(descriptor, _HEAD + _lengths(descriptor)[0])
        try:
            state = torch.load(cast(IO[bytes], source), map_location=device, weights_only=True)
        except Exception as error:
            if source.error is not None:
                raise source.error from error
            # Its content is proven to be what was written, so the reason is another.
            reason = (str(error) or type(error).__name__).splitlines()[0]
            advice = "give the job more memory (mem_mb of its rule), or, to start from the beginning, delete it"
            raise StoreError(f"{path}: whole, but torch cannot load it now ({reason}); {advice}") from error
    processors.noted_before(state.pop(_COMPUTED_ON))
    return state


def _supersede(path: Path, identity: str, wanted: str) -> None:
    """Set aside, under a name of its own, a checkpoint of other settings; going back to them finds it again."""
    others = sorted(
        path.parent.glob(f"{glob.escape(path.name)}.of-{'[0-9a-f]' * 12}"), key=lambda other: other.stat().st_mtime
    )
    for other in others[: max(0, len(others) + 1 - MOST_SUPERSEDED)]:
        log.warning("checkpoint %s, of settings left long ago, is deleted", other)
        kept_of(other).unlink(missing_ok=True)
        other.unlink(missing_ok=True)
    place = _aside(path, identity)
    _rename(path, place)
    differing = ", ".join(_differing(json.loads(identity), json.loads(wanted)))
    log.warning(
        "starting from the beginning: checkpoint %s is refused, it belongs to other settings (%s); it is kept as %s",
        path, differing, place.name,
    )  # fmt: skip


def _take_back(path: Path, wanted: str) -> bool:
    """Bring back the checkpoint of these settings that was set aside; return whether there was one."""
    place = _aside(path, wanted)
    if not place.exists():
        return False
    _rename(place, path)
    log.info("checkpoint %s is of these settings, and the training continues from it", place)
    return True


def _aside(path: Path, identity: str) -> Path:
    return path.with_name(f"{path.name}.of-{hashlib.blake2b(identity.encode(), digest_size=6).hexdigest()}")


def set_aside(path: str | Path, reason: str) -> None:
    """Rename a checkpoint that is proven bad, with what belongs to it, and log the reason.

    Raises StoreError if there are MOST_DAMAGED of this run already: then it is the machine that must be looked at.
    """
    path = Path(path)
    places = [path.with_name(f"{path.name}.damaged-{number}") for number in range(1, MOST_DAMAGED + 1)]
    place = next((place for place in places if not place.exists()), None)
    if place is None:
        raise StoreError(
            f"{path}: damaged ({reason}), as {MOST_DAMAGED} of this run were before; see to the disk and the memory of "
            f"this machine, then delete {path.name}.damaged-* and run the same command again"
        )
    _rename(path, place)
    log.warning("starting from the beginning: checkpoint %s is refused, %s; it is kept as %s", path, reason, place.name)


def _rename(path: Path, place: Path) -> None:
    try:
        if kept_of(path).exists():
            kept_of(path).replace(kept_of(place))
        path.replace(place)
    except OSError as error:
        raise StoreError(files.writing_failed(place, error)) from error


def _differing(found: Any, wanted: Any, at: str = "") -> list[str]:
    """Return the keys at which two settings differ, as dotted paths."""
    if not (isinstance(found, dict) and isinstance(wanted, dict)):
        return [] if found == wanted else [at or "all"]
    keys = [*found, *(key for key in wanted if key not in found)]
    none = object()
    return [
        key
        for name in keys
        for key in _differing(found.get(name, none), wanted.get(name, none), f"{at}.{name}" if at else name)
    ]


_ends: set[Path] = set()
"""Checkpoints that this process saved at the end of a training."""


def save_end(path: str | Path, state: Mapping[str, Any], *, settings: Mapping[str, Any]) -> None:
    """Save a training that has ended, to be its end; that it cannot be saved is no reason for it to fail."""
    try:
        save(path, state, settings=settings)
        _ends.add(Path(path))
    except StoreError as error:
        log.warning("the end of the training is not kept: %s", error)


def finish(path: str | Path) -> None:
    """Do with the checkpoint at `path` what is to be done once the result is safe: delete it, or keep it as the end."""
    if Path(path) not in _ends or not Path(path).exists():
        discard(path)
        return
    end = end_of(path)
    try:
        kept_of(end).unlink(missing_ok=True)
        _rename(Path(path), end)
    except (OSError, StoreError) as error:
        log.warning("the end of the training is not kept: %s", error)
        discard(path)
    _ends.discard(Path(path))


def discard(path: str | Path) -> None:
    """Delete the checkpoint at `path`, if there is one, whole or half written, and what belongs to it.

    The result is safe by then, so nothing fails if it cannot be deleted; the log says so.
    """
    for own in (Path(path), kept_of(path)):
        try:
            files.discard(own)
        except OSError as error:
            log.warning("%s is of no more use, but could not be deleted: %s", own, files.state(error) or error)


def _canonical(settings: Mapping[str, Any]) -> str:
    """Return what a checkpoint belongs to: settings, and the code and the inputs of the present job."""
    return json.dumps({**settings, **provenance.identity()}, sort_keys=True)


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
