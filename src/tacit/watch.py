"""What the jobs under way are doing, read from their logs, wherever they run."""

from __future__ import annotations

import fcntl
import platform
import re
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

_NOTE = ("tacit", "call")
"""The file that a call holds, in the folder of Snakemake."""

WAIT = 5.0
"""Seconds in which a call of Snakemake that was just made begins."""

_TAIL = 4000
"""Bytes at the end of a log that are read; a line has some hundred."""

_LINE = re.compile(r"^\S+ \S+ (?:INFO|WARNING) (.*)$")
_PROGRESS = re.compile(r"(?P<what>.+?): (?P<done>\d+) of (?P<total>\d+) (?P<unit>\w+)s, (?P<rate>[\d.e+-]+) \w+/s")
_ENDS = re.compile(r" (?:INFO (done) in |ERROR (failed)$|WARNING (asked to end))", re.M)


class Running(NamedTuple):
    """A job under way."""

    log: str
    said: str
    """Its last line, without the time."""
    done: int | None = None
    total: int | None = None
    unit: str = ""
    seconds_left: float | None = None
    rate: float | None = None
    """Units a second."""

    @property
    def name(self) -> str:
        """The job, as its log is called."""
        return self.log.partition("/")[2].removesuffix(".log")


def running(folder: str | Path = "logs", *, since: float) -> list[Running]:
    """Return the jobs whose logs changed after `since` (seconds since the epoch) and do not say that they ended."""
    found = []
    for path in sorted(Path(folder).rglob("*.log")):
        # Those of the cluster's own are no logs of jobs.
        if "slurm" in path.parts:
            continue
        try:
            if path.stat().st_mtime < since:
                continue
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - _TAIL))
                text = file.read().decode("utf-8", errors="replace")
        except OSError:
            continue
        if not end_of(text):
            found.append(_of(str(path), text))
    return found


def end_of(text: str) -> str:
    """Return how a job ended that wrote this log: done, failed, asked to end; nothing if it does not say so."""
    ends = [word for words in _ENDS.findall(text) for word in words if word]
    return ends[-1] if ends else ""


def _of(path: str, text: str) -> Running:
    lines = [match[1] for line in text.splitlines() if (match := _LINE.match(line))]
    # By which a log begins.
    lines = [line for line in lines if not line.startswith("code ")]
    for line in reversed(lines):
        if match := _PROGRESS.match(line):
            done, total, rate = int(match["done"]), int(match["total"]), float(match["rate"])
            left = (total - done) / rate if rate > 0 else None
            return Running(path, line, done, total, match["unit"], left, rate)
    return Running(path, lines[-1] if lines else "starting")


def line(jobs: Sequence[Running], *, most: int = 4) -> str:
    """Return what the first few jobs are doing, in one line."""
    words = [_spoken(job) for job in jobs[:most]]
    more = [f"and {len(jobs) - most} more"] if len(jobs) > most else []
    return f"{len(jobs)} running: " + "; ".join([*words, *more])


def lines(jobs: Iterable[Running]) -> list[str]:
    """Return a line for each job, with a bar where there is something to count."""
    return [f"{_bar(job)} {_spoken(job)}" for job in jobs]


def _spoken(job: Running) -> str:
    if job.done is None:
        return f"{job.name}, {job.said.partition(':')[0][:60]}"
    left = "" if job.seconds_left is None else f", at most {duration(job.seconds_left)} left"
    rate = "" if not job.rate else f", {pace(job.rate, job.unit)}"
    return f"{job.name}, {job.unit} {job.done} of {job.total}{rate}{left}"


def _bar(job: Running, width: int = 20) -> str:
    filled = round(width * job.done / job.total) if job.done is not None and job.total else 0
    return "[" + "#" * filled + "." * (width - filled) + "]"


def pace(rate: float, unit: str) -> str:
    """Return a rate as people say it: 12 steps/s, or 3.1 s an epoch."""
    return f"{rate:.3g} {unit}s/s" if rate >= 1 else f"{1 / rate:.3g} s a{'n' if unit[:1] in 'aeiou' else ''} {unit}"


def duration(seconds: float) -> str:
    """Return a time as people say it: 9 s, 2 min 10 s, 3 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def hold(folder: str | Path = ".snakemake") -> TextIO | None:
    """Note that this process is a call of Snakemake under way, until it ends or is killed, if the result is kept.

    The note is a lock on a file, of which the system lets go when a process is gone, however it went. Where there are
    no such locks there is no note, and None.
    """
    path = Path(folder, *_NOTE)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w", encoding="utf-8")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.write(platform.node())
        file.flush()
    except OSError:
        return None
    return file


def started(folder: str | Path = ".snakemake") -> float | None:
    """Return when the call of Snakemake under way in this folder began; None if there is none, or it was killed."""
    since = _locked_since(folder)
    return None if since is None or _was_killed(since, folder) else since


def _locked_since(folder: str | Path) -> float | None:
    times = [path.stat().st_mtime for path in Path(folder, "locks").glob("*.lock")]
    return min(times, default=None)


def _was_killed(since: float, folder: str | Path) -> bool:
    """Tell whether the call whose locks are here since then is gone; of one on another machine nobody can tell."""
    path = Path(folder, *_NOTE)
    try:
        if path.stat().st_mtime < since:
            return False  # It is of an earlier call.
        with path.open(encoding="utf-8") as file:
            if file.read() != platform.node():
                return False
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return True
    except OSError:
        return False


def follow(*, every: float = 2.0, wait: float = WAIT) -> None:
    """Show the jobs under way until no call of Snakemake is: on a terminal in place, elsewhere whatever is new.

    A call that begins within WAIT seconds is waited for.
    """
    shown: list[str] = []
    in_place = sys.stdout.isatty()
    until = time.monotonic() + wait
    while started() is None and _locked_since(".snakemake") is None and time.monotonic() < until:
        time.sleep(0.2)
    while (since := started()) is not None:
        before, shown = shown, lines(running(since=since)) or ["no job has begun to write its log"]
        if in_place:
            # A longer line would take two, of which one would stay.
            width = shutil.get_terminal_size().columns - 1
            shown = [one if len(one) <= width else f"{one[: width - 1]}…" for one in shown]
            print("\033[F\033[K" * len(before) + "\n".join(shown), flush=True)
        elif new := [line for line in shown if line not in before]:
            print("\n".join(new), flush=True)
        time.sleep(every)
    killed = _locked_since(".snakemake") is not None
    more = "; the last one was killed: snakemake --unlock, then the same command goes on"
    print("no call of Snakemake is under way here" + (more if killed else ""))
