"""What is done, missing or failed, figure by figure.

Asks Snakemake, which alone knows, by way of its public `--summary`, and reads the logs of what is missing.
"""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

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


class Stage(NamedTuple):
    """The files of one rule that a figure needs."""

    rule: str
    done: int
    total: int
    failed: tuple[str, ...]
    """Logs that end in an error."""


class FigureStatus(NamedTuple):
    """A figure and the stages it stands on, last stage first."""

    figure: str
    state: str
    """drawn, out of date, incomplete or failed."""
    stages: tuple[Stage, ...]


def figure_status(figure: str, arguments: Sequence[str] = ()) -> FigureStatus:
    """Return how far the file `figure` is; `arguments` are passed on to Snakemake, such as ("--config", "scale=paper").

    Raises StatusError if Snakemake fails.
    """
    files = _summary([figure, *arguments])
    stages = []
    for rule in dict.fromkeys(file.rule for file in files):
        own = [file for file in files if file.rule == rule]
        logs = {log_of(file.path) for file in own if file.planned}
        failed = tuple(sorted(str(log) for log in logs if _ends_in_error(log)))
        stages.append(Stage(rule, sum(not file.planned for file in own), len(own), failed))
    if all(stage.done == stage.total for stage in stages):
        state = "drawn"
    elif any(stage.failed for stage in stages):
        state = "failed"
    elif any(file.path == figure and file.status != "missing" for file in files):
        state = "out of date"
    else:
        state = "incomplete"
    return FigureStatus(figure, state, tuple(stages))


def all_figures(arguments: Sequence[str] = ()) -> list[str]:
    """Return the figures of the workflow, in the order of its summary."""
    return [
        file.path for file in _summary(arguments) if file.path.startswith("figures/") and file.path.endswith(".pdf")
    ]


def report(statuses: Iterable[FigureStatus]) -> str:
    """Return each figure with its state, and below it what is done, missing and failed of each stage."""
    lines = []
    for status in statuses:
        lines.append(f"{status.figure}: {status.state}")
        for stage in reversed(status.stages):
            missing = stage.total - stage.done - len(stage.failed)
            parts = [f"{stage.done} done", f"{missing} to do", f"{len(stage.failed)} failed"]
            lines.append(f"  {stage.rule:32}" + ", ".join(parts))
            lines += [f"    see {log}" for log in stage.failed]
    return "\n".join(lines)


def _summary(arguments: Sequence[str]) -> list[File]:
    # The targets stand first: several of Snakemake's options take everything that follows them.
    command = [sys.executable, "-m", "snakemake", *arguments, "--summary", "--nolock"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StatusError(done.stderr.strip())
    rows = csv.DictReader(done.stdout.splitlines(), delimiter="\t")
    return [File(row["output_file"], row["rule"], row["status"], row["plan"] != "no update") for row in rows]


def log_of(output: str) -> Path:
    """Return the log of the job that makes `output`: the same tail under logs/."""
    path = Path(output)
    tail = path.relative_to("results") if path.parts[0] == "results" else path
    return Path("logs", tail).with_suffix(".log")


def _ends_in_error(log: Path) -> bool:
    try:
        text = log.read_text(encoding="utf-8")
    except OSError:
        return False
    return " ERROR failed\n" in text
