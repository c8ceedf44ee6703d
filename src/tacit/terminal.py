"""What a call of Snakemake says on the terminal besides what Snakemake does.

A line now and then on what is running; reasons of jobs in short; at the end what was drawn, what was judged, and how
long it took; after Ctrl-C that trainings saved themselves, in place of errors that are none. All of it goes through the
logger of Snakemake, so that it stands in its order among the rest, and in its log file.
"""

from __future__ import annotations

import contextlib
import csv
import json
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from tacit import watch

LONGEST_REASON = 200
"""Letters of a reason that are shown."""

PLAN_VARIABLE = "TACIT_PLAN"
"""Names a file to which a line is added for each job: its inputs and outputs, as JSON."""

INTERVALS = (4.0, 6.0, 10.0, 10.0, 10.0, 20.0, 30.0)
"""Seconds between lines on what is running; the last one stays."""


def _quiet(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say nothing of what Ctrl-C ended."""
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)


class Terminal(logging.Filter):
    """Changes what a logger of Snakemake says, and adds to it; made in the main thread, before jobs are planned."""

    def __init__(self, logger: logging.Logger):
        super().__init__()
        self._logger = logger
        self._interrupted = False
        self._started = time.time()
        self._ended = threading.Event()
        self._note: TextIO | None = None
        logger.addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Shorten reasons, say where the log is; after Ctrl-C leave out errors of jobs that were asked to end."""
        event = getattr(getattr(record, "event", None), "name", "")
        if event == "JOB_INFO":
            if path := os.environ.get(PLAN_VARIABLE):
                files = {name: list(map(str, getattr(record, name, None) or ())) for name in ("input", "output")}
                with Path(path).open("a", encoding="utf-8") as plan:
                    plan.write(json.dumps(files) + "\n")
            record.reason = shortened(str(getattr(record, "reason", "")))
            log, said = getattr(record, "log", None), getattr(record, "rule_msg", None)
            if said and log:
                record.rule_msg = f"{said}  (log: {log[0]})"
            for name in ("input", "output"):
                setattr(record, name, some(getattr(record, name, ())))
        return not (self._interrupted and record.levelno >= logging.ERROR)

    def begin(self) -> None:
        """Tell from now on what is running, and heed Ctrl-C; jobs are about to begin."""
        self._started = time.time()
        self._note = watch.hold()
        # Another thread than the main one cannot be asked to, and is not when Snakemake is called by another program.
        with contextlib.suppress(ValueError):
            before = signal.getsignal(signal.SIGINT)

            def interrupted(number: int, frame: Any) -> None:
                if self._interrupted:
                    # At the second one Snakemake ends without another word.
                    self.fail()
                self._interrupted = True
                sys.excepthook = _quiet
                if callable(before):
                    before(number, frame)

            signal.signal(signal.SIGINT, interrupted)
        threading.Thread(target=self._tell, daemon=True, name="tacit: what is running").start()

    def _tell(self) -> None:
        last = ""
        for number in range(10**9):
            if self._ended.wait(INTERVALS[min(number, len(INTERVALS) - 1)]):
                return
            jobs = watch.running(since=self._started)
            said = watch.line(jobs) if jobs else last
            if said != last:
                last = said
                self._logger.info(said)

    def end(self, *, drawn: Iterable[str], judged: Iterable[str]) -> None:
        """Say which figures of `drawn` are new, what new tables of claims, of `judged`, say, and how long it took."""
        self._ended.set()
        figures = [path for path in drawn if self._is_new(path)]
        tables = [path for path in judged if self._is_new(path)]
        lines = [f"drawn: {path}" for path in figures]
        lines += [line for path in tables for line in verdicts(path)]
        if lines:
            took = watch.duration(time.time() - self._started)
            self._logger.info("\n".join(["", *lines, f"after {took}"]))

    def fail(self) -> None:
        """Say once, if it was Ctrl-C, that the same command goes on."""
        first = not self._ended.is_set()
        self._ended.set()
        if self._interrupted and first:
            self._logger.warning(
                "\nStopped. What is finished is kept, and trainings under way saved what they had; the same command "
                "goes on from there."
            )

    def _is_new(self, path: str) -> bool:
        with contextlib.suppress(OSError):
            return Path(path).stat().st_mtime >= self._started
        return False


def shortened(reason: str, longest: int = LONGEST_REASON) -> str:
    """Return a reason without the parameters that changed, and with the first of many files."""
    reason = re.sub(
        r"Params have changed since last execution: .*?(?=; [A-Z]|$)", "settings or code changed", reason, flags=re.S
    )
    if len(reason) <= longest:
        return reason
    cut = reason[:longest].rpartition(", ")[0] or reason[:longest]
    more = reason[len(cut) :].count(", ")
    return f"{cut}, and {more} more" if more else f"{cut} ..."


def some(files: Sequence[str], most: int = 5) -> list[str]:
    """Return the first of many files, and how many more there are."""
    files = list(files or ())
    return files if len(files) <= most else [*files[:most], f"and {len(files) - most} more"]


def verdicts(path: str | Path) -> list[str]:
    """Return what a table of claims says in short: a line for the table, and one for each claim that is decided."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    counts = ", ".join(
        f"{sum(row['verdict'] == verdict for row in rows)} {verdict}" for verdict in ("held", "not held", "undecided")
    )
    # It lies in results/<scale>/.
    scale = Path(path).parts[1]
    lines = [f"claims: {counts}  ({path}; python -m tacit claims --scale {scale} prints them)"]
    return lines + [f"  {row['verdict']:10} {row['claim']}" for row in rows if row["verdict"] != "undecided"]
