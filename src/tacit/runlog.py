"""What a job says while it runs: a log file, the terminal, progress.

Messages go through the standard `logging` module to both the log file of the job and the terminal. Progress is a
bar on a terminal and a line now and then in the log. An error ends in the log with its traceback; on the terminal
a user's mistake is one message without one.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from tacit.errors import UserError

log = logging.getLogger("tacit")


class _LogFile(logging.FileHandler):
    """The log of a job, without which it goes on: if it cannot be written, the terminal is told once."""

    def __init__(self, path: Path):
        super().__init__(path, mode="w", encoding="utf-8")
        self._complained = False

    def handleError(self, record: logging.LogRecord) -> None:
        """Go on without what could not be written."""
        if not self._complained:
            self._complained = True
            _without_log(self.baseFilename, sys.exc_info()[1])

    def close(self) -> None:
        """Close the file; what is still held back may find no place either."""
        try:
            super().close()
        except OSError as error:
            if not self._complained:
                _without_log(self.baseFilename, error)


def _without_log(path: str | Path, error: BaseException | None) -> None:
    # Nobody reads a terminal that is gone.
    with contextlib.suppress(OSError, ValueError):
        print(f"{path}: the log could not be written ({error}); the job goes on without", file=sys.stderr)


def _open_log(path: Path) -> logging.Handler:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _LogFile(path)
    except OSError as error:
        _without_log(path, error)
        return logging.NullHandler()


@contextlib.contextmanager
def to(path: str | Path) -> Iterator[None]:
    """Send what the block logs to the file `path` and to the terminal.

    An exception is written to the log with its traceback and ends the process with status 1. A log that cannot be
    written fails no job.
    """
    path = Path(path)
    file = _open_log(path)
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    terminal = logging.StreamHandler()
    terminal.setLevel(logging.WARNING)
    terminal.setFormatter(logging.Formatter(f"{path.with_suffix('')}: %(message)s"))
    log.setLevel(logging.INFO)
    log.propagate = False
    log.handlers = [file, terminal]
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").handlers = [file]
    started = time.monotonic()
    try:
        yield
        log.info("done in %.1f s", time.monotonic() - started)
    except UserError as error:
        terminal.setLevel(logging.CRITICAL + 1)
        log.exception("failed")
        print(f"\nError: {error}\n", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        # Before a training heeds it itself, and in short jobs.
        terminal.setLevel(logging.CRITICAL + 1)
        log.warning("asked to end, before there was anything to save")
        raise SystemExit(1) from None
    except Exception as error:
        log.exception("failed")
        if _is_out_of_memory(error):
            said = str(error).partition("\n")[0] or type(error).__name__
            advice = "give the job more (mem_mb of its rule), or reduce the batch size or what it works on"
            print(f"\nError: out of memory ({said}); {advice}\n", file=sys.stderr)
        raise SystemExit(1) from None
    finally:
        file.close()


def _is_out_of_memory(error: Exception) -> bool:
    """Tell whether memory was asked for in vain; torch has no type of error for that of the machine."""
    return isinstance(error, MemoryError) or "out of memory" in str(error) or "can't allocate memory" in str(error)


_FIRST_SECONDS = 2.0
"""Seconds until the first line of progress."""


class Progress:
    """Counts steps of long work: a bar if the terminal is one, and a line in the log every `every` seconds."""

    def __init__(self, total: int, *, what: str, unit: str, done: int = 0, every: float = 10.0):
        self._bar = tqdm(total=total, initial=done, desc=what, unit=unit, leave=False, disable=not sys.stderr.isatty())
        self._what, self._unit, self._total, self._done, self._every = what, unit, total, done, every
        self._started = time.monotonic()
        # The first line comes soon, as somebody may be waiting for a sign of life.
        self._reported = self._started - max(every - _FIRST_SECONDS, 0)
        self._first = done

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count `count` more steps; `note` follows in the log line."""
        self._done += count
        self._bar.update(count)
        if note:
            self._bar.set_postfix_str(note)
        now = time.monotonic()
        if now - self._reported >= self._every or self._done >= self._total:
            self._reported = now
            rate = (self._done - self._first) / max(now - self._started, 1e-9)
            said = f"{self._what}: {self._done} of {self._total} {self._unit}s, {rate:.3g} {self._unit}s/s"
            log.info("%s%s", said, f", {note}" if note else "")

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()
