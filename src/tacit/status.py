"""What is done, running, missing or failed, figure by figure.

Asks Snakemake, which alone knows, by way of its public `--detailed-summary`, and, of what was never made, by a dry run,
and reads the logs of what is missing.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tacit import terminal, watch
from tacit.errors import UserError


class StatusError(UserError):
    """Snakemake could not say what there is; the message is its own."""


class File(NamedTuple):
    """One output of the workflow."""

    path: str
    rule: str
    status: str
    """"ok", "missing", or why it is out of date."""
    planned: bool
    """Whether the next call would make it anew."""
    inputs: tuple[str, ...]
    logs: tuple[str, ...]


class Stage(NamedTuple):
    """The files of one rule that a figure needs."""

    rule: str
    done: int
    total: int
    running: tuple[str, ...]
    """Logs of jobs under way."""
    failed: tuple[str, ...]
    """Logs that end in an error."""


class FigureStatus(NamedTuple):
    """A figure and the stages it stands on, first stage first."""

    figure: str
    state: str
    """drawn, out of date, running, incomplete or failed."""
    stages: tuple[Stage, ...]


def statuses(figures: Sequence[str] = (), arguments: Sequence[str] = ()) -> list[FigureStatus]:
    """Return how far files in `figures` are, or all figures there are.

    `arguments` are passed on to Snakemake, such as ("--config", "scale=paper"). Raises StatusError if Snakemake fails.
    """
    files = {file.path: file for file in _summary([*figures, *arguments])}
    asked = figures or [path for path in files if path.startswith("figures/") and path.endswith(".pdf")]
    if strange := [name for name in asked if name not in files]:
        raise StatusError(f"{strange[0]} is no file; name figures, such as figures/pathfinder.pdf, or none for all")
    # Snakemake tells what a file is made from once it was made; before, what it plans to make it from.
    if any(not file.inputs for file in files.values()):
        for path, inputs in _planned_inputs([*figures, *arguments]).items():
            if path in files:
                files[path] = files[path]._replace(inputs=inputs)
    at_work = watch.started() is not None
    return [_of_figure(figure, files, at_work=at_work) for figure in asked]


def _of_figure(figure: str, files: Mapping[str, File], *, at_work: bool) -> FigureStatus:
    needed = list(_needed(figure, files, set()))
    stages = []
    for rule in dict.fromkeys(file.rule for file in needed):
        own = [file for file in needed if file.rule == rule]
        ends = {log: _end_of(log) for file in own if file.planned for log in file.logs}
        running = tuple(sorted(log for log, end in ends.items() if end == "none")) if at_work else ()
        failed = tuple(sorted(log for log, end in ends.items() if end == "failed"))
        stages.append(Stage(rule, sum(not file.planned for file in own), len(own), running, failed))
    if all(stage.done == stage.total for stage in stages):
        state = "drawn"
    elif any(stage.running for stage in stages):
        state = "running"
    elif any(stage.failed for stage in stages):
        state = "failed"
    elif figure in files and files[figure].status != "missing":
        state = "out of date"
    else:
        state = "incomplete"
    return FigureStatus(figure, state, tuple(stages))


def _needed(path: str, files: Mapping[str, File], seen: set[str]) -> Iterator[File]:
    """Yield all that the file at `path` is made from and is not `seen` yet, each after what it is made from itself."""
    if path in seen or path not in files:
        return
    seen.add(path)
    for name in files[path].inputs:
        yield from _needed(name, files, seen)
    yield files[path]


def report(found: Iterable[FigureStatus]) -> str:
    """Return each figure with its state, and below it what is done, running, missing and failed of each stage."""
    lines = []
    for status in found:
        lines.append(f"{status.figure}: {status.state}")
        for stage in status.stages:
            missing = stage.total - stage.done - len(stage.running) - len(stage.failed)
            parts = [f"{stage.done} done", f"{len(stage.running)} running", f"{missing} to do"]
            lines.append(f"  {stage.rule:32}" + ", ".join([*parts, f"{len(stage.failed)} failed"]))
            lines += [f"    see {log}" for log in (*stage.running, *stage.failed)]
    return "\n".join(lines)


def _planned_inputs(arguments: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return, for each file that the next call would make, what it would be made from."""
    found: dict[str, tuple[str, ...]] = {}
    with tempfile.NamedTemporaryFile("r", encoding="utf-8") as plan:
        _snakemake([*arguments, "--dry-run", "--nolock", "--rerun-incomplete"], {terminal.PLAN_VARIABLE: plan.name})
        for line in plan:
            job = json.loads(line)
            found |= {path: tuple(job["input"]) for path in job["output"]}
    return found


def _snakemake(arguments: Sequence[str], variables: Mapping[str, str]) -> str:
    # The targets stand first: several of Snakemake's options take everything that follows them.
    command = [sys.executable, "-m", "snakemake", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | variables)
    if done.returncode != 0:
        # Some of its errors go to the one, some to the other.
        raise StatusError(done.stderr.strip() or done.stdout.strip() or f"Snakemake ended with {done.returncode}")
    return done.stdout


def _summary(arguments: Sequence[str]) -> list[File]:
    rows = csv.DictReader(_snakemake([*arguments, "--detailed-summary", "--nolock"], {}).splitlines(), delimiter="\t")
    return [
        File(
            path=row["output_file"],
            rule=row["rule"],
            status=row["status"],
            planned=row["plan"] != "no update",
            inputs=() if row["input-file(s)"] == "-" else tuple(row["input-file(s)"].split(",")),
            logs=tuple(row["log-file(s)"].split(",")),
        )
        for row in rows
    ]


def _end_of(log: str | Path) -> str:
    """Return how the last job with this log ended: done, failed, none if it has not yet; nothing if there is no log."""
    try:
        text = Path(log).read_text(encoding="utf-8")
    except OSError:
        return ""
    end = watch.end_of(text)
    return end if end in ("done", "failed") else "none"
